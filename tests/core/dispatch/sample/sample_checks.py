"""A user's checks, and assets that take a partition or many values, as they are written in a project."""

from drawbar import CheckResult, Partition, Partitioned, check, expand


def rows(count):
    """The asset that the checks here look at."""
    return list(range(count))


@check(rows, min=2)
def enough(value):
    """A number against bounds."""
    return len(value)


@check(rows)
@check("others", blocking=False)
def grown(value, last):
    """Needs the value before."""
    return CheckResult(
        last is None or len(value) >= len(last),
        expected="as many as before",
        found=len(value),
        details={"before": last},
    )


def of_its_day(value, *, partition):
    """Needs the partition."""
    return partition is not None and (partition.key, partition.start.day) == ("2026-11-20", 20)


async def each_row(value):
    """Several results, awaited."""
    return [CheckResult(row != 1, column=f"row {row}", found=row) for row in value]


def broken(value):
    """Raises."""
    return value["no such key"]  # the very line


@expand(model=["small", "large"])
def day_of(partition: Partition, model="small"):
    """What a function sees of its partition."""
    assert isinstance(partition, Partition)
    return [partition.key, partition.start.isoformat(), partition.end.isoformat(), str(partition.start.tzinfo)]


def partition_back(partition):
    """The partition itself as a value."""
    return [partition]


def kind_of_many(many):
    """What a parameter over many partitions receives."""
    return [type(many).__name__, list(many), [many[label] for label in many]]


def lazily(many: Partitioned[list]):
    """Values that are loaded one at a time."""
    assert isinstance(many, Partitioned)
    return [len(many), [[label, sum(value)] for label, value in many.items()]]


def reads_secret(value):
    """A check that tells what it should not."""
    import os

    return CheckResult(
        False,
        found=f"it is {os.environ.get('SECRET_OF_CHECKS')}",
        details={"also": [os.environ.get("SECRET_OF_CHECKS")]},
    )


def spoils(value):
    """Changes what it should look at."""
    value.append("spoiled")
    return True


def filled(value):
    """Changes an array, whose bytes may be the very ones that are kept."""
    value[:] = 7
    return True


def steps(count):
    """An array."""
    import numpy as np

    return np.arange(float(count))
