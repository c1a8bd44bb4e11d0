"""Assets whose annotations hold pandera schemas."""

from typing import Annotated

import pandas as pd
import pandera.pandas as pa
from pandera.typing import DataFrame


class Scores(pa.DataFrameModel):
    """What scores look like."""

    score: float = pa.Field(ge=0)


def doubled(scores: DataFrame[Scores]) -> DataFrame[Scores]:
    """An asset that demands of its input what it promises of its value."""
    return scores * 2


def scored(scores) -> Annotated[pd.DataFrame, pa.DataFrameSchema({"score": pa.Column(float, pa.Check.le(5))})]:
    """A schema object beside a plain type."""
    return pd.DataFrame({"score": scores})


def wide():
    """More columns than wanted."""
    return pd.DataFrame({"score": [1.0, None], "more": [1, 2]})
