"""What a call leaves in the end: the value of a coroutine, the list of what a generator yields.

Whatever a user's function returned comes here, on a host and in the client; the value goes on to checks and formats.
"""

from __future__ import annotations

import types
from typing import Any


def finished(value: Any) -> Any:
    """The value itself; a coroutine is awaited, and a generator's rows, also an asynchronous one's, become a list.

    >>> finished(number * 2 for number in range(3))
    [0, 2, 4]
    """
    if isinstance(value, types.CoroutineType):
        import asyncio

        value = asyncio.run(value)
    if isinstance(value, types.GeneratorType):
        return list(value)
    if isinstance(value, types.AsyncGeneratorType):
        import asyncio

        return asyncio.run(_collected(value))
    return value


async def _collected(rows: Any) -> list[Any]:
    return [row async for row in rows]
