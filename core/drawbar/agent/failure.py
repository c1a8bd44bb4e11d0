"""An exception as data: the text that its author wants to see, and the exception itself where it can travel.

Called by the worker for whatever the user's function raised; what it makes is `error` of the outcome.
"""

from __future__ import annotations

import os
import pickle
import traceback
from typing import Any, Optional

from . import outcomes, payload
from .blobs import Blobs
from .pump import Masker

MESSAGE_LIMIT = 16 << 10
TRACEBACK_LIMIT = 256 << 10
_PICKLE_LIMIT = 8 << 20
_THEIRS = (f"{os.sep}asyncio{os.sep}", f"{os.sep}importlib{os.sep}", "<frozen importlib", "<frozen zipimport")


def describe(error: BaseException, masker: Masker, keep: Optional[Blobs]) -> dict[str, Any]:
    """The error object of the outcome. With `keep`, the pickled exception is kept as a blob, if it survives that.

    Texts are masked and bounded: 16 Ki characters of message, 256 Ki of traceback.
    """
    kind = type(error)
    return outcomes.error(
        kind.__qualname__,
        _cut(masker.text(_message(error)), MESSAGE_LIMIT),
        kind.__module__,
        _cut(masker.text(_traceback(error)), TRACEBACK_LIMIT),
        notes=[_cut(masker.text(str(note)), MESSAGE_LIMIT) for note in getattr(error, "__notes__", None) or ()][:100],
        blob=_keep(error, masker, keep) if keep else None,
    )


def out_of_device_memory(error: BaseException) -> bool:
    """Whether a GPU had no memory left, as torch and cupy say it."""
    return any(
        kind.__name__ == "OutOfMemoryError" and kind.__module__.partition(".")[0] in ("torch", "cupy")
        for kind in type(error).__mro__
    )


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as fault:  # the user's own __str__ may raise anything
        return f"<its message cannot be had: {type(fault).__name__}>"


def _traceback(error: BaseException) -> str:
    """The traceback with source lines, without the frames that lead to the user's function."""
    frame = error.__traceback__
    while frame is not None and _leads_in(frame.tb_frame.f_code.co_filename):
        frame = frame.tb_next
    return "".join(traceback.format_exception(type(error), error, frame))


def _leads_in(path: str) -> bool:
    ours = os.path.dirname(_leads_in.__code__.co_filename) + "/"  # bytecode keeps the name that it was compiled under
    return path.startswith((ours, "<frozen")) or any(part in path for part in _THEIRS)


def _keep(error: BaseException, masker: Masker, blobs: Blobs) -> Optional[str]:
    """The digest of the pickled exception; None where it does not come back from a pickle, or holds a secret."""
    try:
        data = payload.dumps(error, protocol=5)
        if len(data) > _PICKLE_LIMIT or masker.holds(data) or type(pickle.loads(data)) is not type(error):
            return None
        return blobs.store([data])[0]
    except BaseException:
        # Any part of the user's exception may refuse in any way, and the disk may be full: then the text must do.
        return None


def _cut(text: str, limit: int) -> str:
    """`text`, without its middle where it is longer than `limit` characters; only what JSON and UTF-8 can hold."""
    if len(text) > limit:
        half = limit // 2
        text = f"{text[:half]}\n[drawbar: {len(text) - limit} characters left out]\n{text[-half:]}"
    return text.encode("utf-8", "backslashreplace").decode()
