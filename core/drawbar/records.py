"""What a record and a journal entry hold, as dataclasses and as the JSON that a person finds in the store.

Facts come here from a run that made a value; text goes to the store, and back to plans, audits and lineage.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, TypeAlias

from drawbar.errors import CorruptError, DefinitionError
from drawbar.events import Made
from drawbar.keys import AssetKey

LAYOUT = 1


Content: TypeAlias = bytes | bytearray


@dataclass(frozen=True, slots=True)
class Parts:
    """What a Version is the digest of, kept so that `explain` can name what changed.

    `digest` is that of all code together, and `code` maps functions, classes and constants to theirs; `params` maps
    names to what a person reads and its digest; `inputs` maps parameters to upstream DataVersions (`parameter[label]`
    where one takes many); `env` holds requirements; `packages` the installed versions where the project asks for them
    to count; `declared` is a version that the user wrote; `options` are those that change what comes out.
    """

    digest: str = ""
    code: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    env: tuple[str, ...] = ()
    format: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)
    declared: str = ""
    partition: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> Content:
        """The parts as they stand by themselves, for a transient asset, which has no record."""
        return f"{_told(self)}\n".encode()

    @classmethod
    def from_json(cls, text: Content) -> Parts | None:
        """The inverse of `to_json`; None for what cannot be read, as it is there for explanations only."""
        try:
            return _parts(json.loads(text.decode()))
        except (KeyError, TypeError, ValueError, AttributeError):
            return None


@dataclass(frozen=True, slots=True)
class Record:
    """One value that was made: what it was made from, what came out, and who made it, when, where and at what cost.

    Times are aware UTC; `seconds` is how long the making took; `bytes` the size of the encoded value. `checks` and
    `profile` are as in `events.Made`; `checked` maps the checks that it passed, by name, to the digests of their code.
    """

    key: AssetKey
    version: str
    data_version: str
    value: str
    format: str
    ext: str
    type: str
    bytes: int
    rows: int | None
    columns: tuple[tuple[str, str], ...]
    parts: Parts
    run_id: str
    at: datetime
    by: str
    host: str
    target: str
    seconds: float
    job: str = ""
    checks: tuple[Mapping[str, Any], ...] = ()
    profile: Mapping[str, Any] | None = None
    checked: Mapping[str, str] = field(default_factory=dict)

    @property
    def told(self) -> str:
        """When and by whom it was made, as a plan says it."""
        return f"made {self.at:%Y-%m-%d %H:%M} UTC by {self.by}@{self.host}"

    def to_json(self) -> Content:
        """The record as it stands in the store: one JSON object, in three lines: which it is, what it is, of what."""
        head = {"drawbar": LAYOUT, "key": str(self.key), "at": self.at.isoformat()}
        body = {name: getattr(self, name) for name in _PLAIN}
        return f'{_encode(head)[:-1]},\n {_encode(body)[1:-1]},\n "parts": {_told(self.parts)}}}\n'.encode()

    @classmethod
    def from_json(cls, text: Content, where: str, key: AssetKey | None = None) -> Record:
        """The inverse of `to_json`; CorruptError says what is wrong with the file at `where`.

        `key` is whose record it should be, where that is known.
        """
        try:
            body = json.loads(text.decode())
            layout = body["drawbar"]
            if layout != LAYOUT:
                raise CorruptError(
                    f"A record of layout {layout} cannot be read.",
                    expected=f"layout {LAYOUT}",
                    found=f"layout {layout}, in {where}",
                    todo="use the release of drawbar that wrote it",
                )
            values = {name: body[name] for name in _PLAIN if name in body or name not in _LATER}
            values["columns"] = tuple((str(name), str(kind)) for name, kind in values["columns"])
            values["checks"] = tuple(values.get("checks", ()))
            for name, kind in _KINDS.items():
                if not isinstance(values[name], kind) or isinstance(values[name], bool):
                    raise TypeError(f"{name} is {values[name]!r}")  # noqa: TRY301  # one place words the error
            return cls(
                **values,
                key=key if key is not None and str(key) == body["key"] else AssetKey.parse(body["key"]),
                at=datetime.fromisoformat(body["at"]),
                parts=_parts(body["parts"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError, DefinitionError) as error:
            said = error.what if isinstance(error, DefinitionError) else error
            raise CorruptError(
                "A record in the store cannot be read.",
                expected="JSON as drawbar writes it",
                found=f"{type(error).__name__}: {said}, in {where}",
                todo="remove that file: the asset is then made again when it is next wanted",
            ) from None

    def made(self, uri: str, published: str = "", pattern: str = "") -> Made:
        """The value as events tell of it."""
        return Made(
            key=self.key,
            data_version=self.data_version,
            version=self.version,
            uri=uri,
            published=published,
            pattern=pattern if published else "",
            format=self.format,
            type=self.type,
            bytes=self.bytes,
            rows=self.rows,
            columns=self.columns,
            run_id=self.run_id,
            at=self.at,
            checks=self.checks,
            profile=self.profile,
        )


_PARTS = tuple(f.name for f in fields(Parts))
_PLAIN = tuple(f.name for f in fields(Record) if f.name not in ("key", "at", "parts"))
# What records that were written first do not have.
_LATER = ("checks", "profile", "checked", "partition", "options")
_KINDS: dict[str, type | tuple[type, ...]] = {
    "version": str,
    "data_version": str,
    "value": str,
    "format": str,
    "bytes": int,
    "type": str,
    "run_id": str,
    "seconds": (int, float),
}
_encode = json.JSONEncoder(ensure_ascii=False).encode


def _told(parts: Parts) -> str:
    return _encode({name: _plain(getattr(parts, name)) for name in _PARTS})


def _parts(body: Mapping[str, Any]) -> Parts:
    values = {name: body[name] for name in _PARTS if name in body or name not in _LATER}
    values["env"] = tuple(values["env"])
    return Parts(**values)


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


@dataclass(frozen=True, slots=True)
class Ending:
    """How one asset ended in one run, as the journal keeps it."""

    key: str
    state: str
    reason: str = ""
    version: str = ""
    data_version: str = ""
    target: str = ""
    seconds: float = 0.0
    bytes: int = 0
    run_id: str = ""
    error: str = ""


_ENDING = tuple(f.name for f in fields(Ending))


@dataclass(frozen=True, slots=True)
class Journal:
    """One walk: who asked for what, when, and how each asset ended. `ended` is None until then."""

    run_id: str
    namespace: str
    started: datetime
    by: str
    host: str
    pid: int
    wanted: tuple[str, ...]
    params: Mapping[str, str] = field(default_factory=dict)
    ended: datetime | None = None
    state: str = "running"
    assets: tuple[Ending, ...] = ()

    @property
    def file(self) -> str:
        """Its path in the store; names sort by time."""
        stamp = self.started.astimezone(UTC).strftime("%Y-%m-%dT%H-%M-%S.%fZ")
        return f"{self.namespace}/runs/{stamp}-{self.run_id}.json"

    def to_json(self) -> Content:
        """The journal entry as it stands in the store."""
        body = {f.name: _plain(getattr(self, f.name)) for f in fields(self) if f.name != "assets"}
        body["started"] = self.started.isoformat()
        body["ended"] = self.ended.isoformat() if self.ended else None
        head = ",\n ".join(f"{_encode(name)}: {_encode(value)}" for name, value in {"drawbar": LAYOUT, **body}.items())
        rows = _encode([{name: getattr(one, name) for name in _ENDING} for one in self.assets])
        # A quote inside a text is escaped, so this can only be where one asset ends and the next begins.
        rows = rows.replace('}, {"key"', '},\n  {"key"')
        return f'{{{head},\n "assets": {rows}}}\n'.encode()

    @classmethod
    def from_json(cls, text: Content, where: str) -> Journal:
        """The inverse of `to_json`; CorruptError says what is wrong with the file at `where`."""
        try:
            body = json.loads(text)
            body.pop("drawbar")
            body["started"] = datetime.fromisoformat(body["started"])
            body["ended"] = datetime.fromisoformat(body["ended"]) if body["ended"] else None
            body["wanted"] = tuple(body["wanted"])
            body["assets"] = tuple(Ending(**one) for one in body["assets"])
            return cls(**body)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CorruptError(
                "A run's journal in the store cannot be read.",
                found=f"{type(error).__name__}: {error}, in {where}",
                todo="remove that file; it is history only",
            ) from None
