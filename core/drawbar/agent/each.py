"""A function called for each item of a list: what came of every one, in order, whatever the others do.

Called where the function is: by a worker on a host, and by the client for what it runs itself. The outcomes go, as one
`items` container, to the client's fan-out, which keeps each value by itself and tells of what failed.
"""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, Iterable, Iterator, Optional, Tuple, Union

from .encoding import Encoded, EncodingError, encode, type_name
from .encoding.items import Item, Items, Writer, item_of

FAILED = "failed"
"""The format that an item has in place of its value where its function raised: an error object as json."""

Described = Dict[str, Any]
Describe = Callable[[BaseException], Described]


def one(
    call: Callable[[Any], Any],
    item: Any,
    format: Optional[str],  # noqa: A002 - the users' word
    trust: str,
    describe: Describe,
) -> Item:
    """What came of one item: its value, encoded, or its error (of format FAILED), as `describe` tells it.

    What ends a thread or a process on purpose is no item's fault and is raised; `sys.exit` in a function is one's.
    """
    try:
        value = call(item)
    except (Exception, SystemExit) as error:  # the user's function may raise anything
        return failed(describe(error))
    try:
        return item_of(encode(value, format, trust))
    except EncodingError as error:
        told = describe(error)
        notes = [
            f"{label}: {getattr(error, label)}" for label in ("expected", "found", "todo") if getattr(error, label)
        ]
        return failed({**told, "message": error.what, "notes": notes, "traceback": ""})
    except Exception as error:  # and so may what it returns, when it is pickled
        told = describe(error)
        return failed({**told, "message": f"a value of type {type_name(value)} cannot be kept: {told['message']}"})


def failed(told: Described) -> Item:
    """An error object as the outcome of an item."""
    return Item(FAILED, str(told.get("type")), "", json.dumps(told).encode())


def apply(
    call: Callable[[Any], Any],
    items: Iterable[Any],
    format: Optional[str],  # noqa: A002 - the users' word
    trust: str,
    describe: Describe,
) -> Encoded:
    """What came of all items, as one container; in memory is one at a time.

    >>> made = apply(lambda item: 6 // item, [3, 0], None, "pickle", lambda error: {"type": type(error).__name__})
    >>> [(item.format, bytes(item.data)) for item, _ in outcomes(made.join())]
    [('json', b'2'), ('failed', b'{"type": "ZeroDivisionError"}')]
    """
    with Writer() as made:
        for item in items:
            made.add(one(call, item, format, trust, describe))
        return made.finish()


def outcomes(data: Union[bytes, bytearray, memoryview]) -> Iterator[Tuple[Item, Optional[Described]]]:
    """Each outcome that `apply` wrote: the encoded value, or beside it the error; EncodingError for other bytes."""
    items = Items(data)
    for at in range(len(items)):
        item = items.item(at)
        yield item, error_of(item)


def error_of(item: Item) -> Optional[Described]:
    """The error that stands in the place of a value; None where it is a value."""
    return json.loads(bytes(item.data)) if item.format == FAILED else None
