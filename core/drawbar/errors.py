"""Every error a user can cause, as one tree; each says what, expected, found and what to do.

DrawbarError
├── DefinitionError          the code that defines assets is wrong
│   ├── CycleError             assets need each other in a circle
│   ├── DuplicateAssetError    two assets of one name
│   ├── UnknownAssetError      no asset of that name
│   ├── KeyFormatError         a name that cannot be an AssetKey
│   ├── TypeMismatchError      what one asset makes does not fit where another takes it
│   ├── OptionError            an option of `@asset` that does not exist or does not fit
│   ├── PartitionError         a partition that does not exist, or dimensions that do not meet
│   └── ContractError          a contract that cannot be read, or that its upstream cannot keep
├── ParameterError           a run parameter is missing, unknown or of the wrong type
├── ConfigError              a configuration file or key is wrong
├── SourceError              an external input is missing or cannot be read
├── FingerprintError         code or a value cannot be digested
├── CheckError               a value failed a blocking check
├── FormatError              a value the format cannot hold, or bytes it cannot read
├── StoreError               the store cannot be used
│   ├── StoreUnreachableError  it is not there, or does not answer
│   ├── StoreDeniedError       no permission
│   ├── DiskFullError          no space, here or on a host
│   └── CorruptError           a record or value is not what its name says
├── TargetError              a target cannot be used
│   ├── UnknownTargetError     no target of that name
│   ├── UnreachableError       the host does not answer, or the connection broke
│   ├── HostKeyError           the host's key is unknown or changed
│   ├── AuthenticationError    the host refuses this user
│   ├── PreflightError         the host has no Python, package or device that fits
│   └── ProtocolError          the two ends do not understand each other
├── JobError                 a job ended otherwise than with a value
│   ├── RemoteError            the user's function raised
│   ├── OutOfMemoryError       killed by the kernel, or CUDA had no memory left
│   ├── KilledError            ended by a signal or by its own exit
│   ├── TimedOutError          ran longer than it may
│   ├── CancelledError         somebody asked it to stop
│   ├── ActorDiedError         an actor ended, perhaps while it was called
│   └── LostError              its supervisor or its folder is gone
├── RunError                 a run ended with assets that failed
└── LineageError             OpenLineage is misconfigured
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class DrawbarError(Exception):
    """Root of the tree. Catch it to catch all of drawbar's own errors.

    `what` is the fault in one sentence; `expected`, `found`, `todo` and `where` (file and line of the user's code)
    are shown below it, each on its own line where it is given.
    """

    def __init__(self, what: str, *, expected: str = "", found: str = "", todo: str = "", where: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.expected = expected
        self.found = found
        self.todo = todo
        self.where = where

    def __str__(self) -> str:
        """The whole message: the sentence, then one indented line per known detail."""
        details = (("at", self.where), ("expected", self.expected), ("found", self.found), ("do", self.todo))
        return "\n".join([self.what, *(f"  {label}: {text}" for label, text in details if text)])

    def __reduce__(self) -> tuple[Any, ...]:
        """Keyword arguments survive pickling, so that an error can cross processes."""
        return _rebuild, (type(self), self.what), self.__dict__


def _rebuild(kind: type[DrawbarError], what: str) -> DrawbarError:
    error = kind.__new__(kind, what)
    Exception.__init__(error, what)
    return error


def did_you_mean(name: str, known: Iterable[str], *, otherwise: str = "") -> str:
    """A hint that names the closest of `known`, or `otherwise` where none is close.

    >>> did_you_mean("embedings", ["urls", "embeddings"])
    "did you mean 'embeddings'?"
    """
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else otherwise


class DefinitionError(DrawbarError):
    """The code that defines assets is wrong."""


class CycleError(DefinitionError):
    """Assets need each other in a circle."""


class DuplicateAssetError(DefinitionError):
    """Two assets of one name."""


class UnknownAssetError(DefinitionError):
    """No asset of that name."""


class KeyFormatError(DefinitionError):
    """A name that cannot be an AssetKey."""


class TypeMismatchError(DefinitionError):
    """What one asset makes does not fit where another takes it."""


class OptionError(DefinitionError):
    """An option of `@asset` that does not exist or does not fit."""


class PartitionError(DefinitionError):
    """A partition that does not exist or is of another kind, or dimensions that do not meet."""


class ContractError(DefinitionError):
    """A contract that cannot be read, or that what comes from upstream cannot keep."""


class ParameterError(DrawbarError):
    """A run parameter is missing, unknown or of the wrong type."""


class ConfigError(DrawbarError):
    """A configuration file or key is wrong."""


class SourceError(DrawbarError):
    """An external input is missing or cannot be read."""


class FingerprintError(DrawbarError):
    """Code or a value cannot be digested."""


class CheckError(DrawbarError):
    """A value failed a blocking check: it is kept for inspection, and is no one's input; `checks` are all outcomes."""

    checks: tuple[Any, ...] = ()


class FormatError(DrawbarError):
    """A value the format cannot hold, or bytes it cannot read."""


class StoreError(DrawbarError):
    """The store cannot be used."""


class StoreUnreachableError(StoreError):
    """The store is not there, or does not answer."""


class StoreDeniedError(StoreError):
    """No permission to read or write the store."""


class DiskFullError(StoreError):
    """No space left, here or on a host."""


class CorruptError(StoreError):
    """A record or value is not what its name says."""


class TargetError(DrawbarError):
    """A target cannot be used."""


class UnknownTargetError(TargetError):
    """No target of that name."""


class UnreachableError(TargetError):
    """The host does not answer, or the connection broke; jobs on it go on."""


class HostKeyError(TargetError):
    """The host's key is unknown or changed."""


class AuthenticationError(TargetError):
    """The host refuses this user."""


class PreflightError(TargetError):
    """The host has no Python, package or device that fits."""


class ProtocolError(TargetError):
    """The two ends do not understand each other: a frame with a wrong length, type or digest."""


class JobError(DrawbarError):
    """A job ended otherwise than with a value; `outcome` holds everything known about its end."""

    outcome: Any = None


class RemoteError(JobError):
    """The user's function raised, and the original exception could not be rebuilt here.

    `type_name`, `message` and `traceback` (text, with the remote source lines) are what the host reported.
    """

    type_name: str = ""
    message: str = ""
    traceback: str = ""


class OutOfMemoryError(JobError):
    """Killed by the kernel for memory, or CUDA had no memory left."""


class KilledError(JobError):
    """Ended by a signal or by its own exit, without a value."""


class TimedOutError(JobError):
    """Ran longer than it may."""


class CancelledError(JobError):
    """Somebody asked it to stop."""


class ActorDiedError(JobError):
    """An actor has ended: before a call, or during one, which then may have been carried out or not.

    `carried_out` is False where it was not, and None where nobody can know.
    """

    carried_out: bool | None = None


class LostError(JobError):
    """Its supervisor or its folder is gone: nobody can say how it ended."""


class RunError(DrawbarError):
    """A run ended with assets that failed; `result` holds how each of them ended."""

    result: Any = None


class LineageError(DrawbarError):
    """OpenLineage is misconfigured."""
