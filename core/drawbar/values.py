"""Values on their way: from the store, memory or an external input to a function, and out to where `path=` says.

Inputs come here from `making` and leave as Python values for a function in this process, or as `Stored` for a job.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drawbar import fits
from drawbar.agent.encoding import actors
from drawbar.agent.encoding.base import ITERATOR
from drawbar.agent.lazily import Partitioned
from drawbar.asset import MISSING, filled
from drawbar.errors import SourceError
from drawbar.events import Made
from drawbar.external import is_remote, local_path
from drawbar.files import Files, Part, open_files
from drawbar.formats import Formats
from drawbar.keys import AssetKey
from drawbar.planner import Planner
from drawbar.records import Record
from drawbar.selection import Unit
from drawbar.store import folder_of
from drawbar.work import Input, Many

if TYPE_CHECKING:
    from drawbar.dispatch import port
    from drawbar.dispatch.port import Stored, ValueRef


def _type_taken(type_: str, format_: str, wanted: Any, fn: Callable[..., Any] | None) -> str:
    """The type by which a list is read as its taker wants it: an iterator, or a sequence that loads item by item."""
    lazy = fits.lazy_items(fits.resolve(wanted, fn)) if type_ == "list" and wanted is not MISSING else None
    return lazy if lazy == ITERATOR or (lazy and format_ == "items") else type_


def _as_taken(record: Record, wanted: Any, fn: Callable[..., Any] | None) -> Record:
    taken = _type_taken(record.type, record.format, wanted, fn)
    return record if taken == record.type else replace(record, type=taken)


def _is_actor(one: Input) -> bool:
    if one.record is not None:
        return one.record.format == "actor"
    return actors.holds(one.held if one.cell is None else one.cell.value())


@dataclass(slots=True)
class Values:
    """How a run reads and publishes values. Files and folders are put into temporary folders that end with the run."""

    planner: Planner
    formats: Formats
    live: Callable[[Unit, Any], Any] | None = None
    _places: dict[str, Files] = field(default_factory=dict)
    _folders: list[tempfile.TemporaryDirectory[str]] = field(default_factory=list)

    def value(self, one: Input | Many, wanted: Any, fn: Callable[..., Any] | None) -> Any:
        """The value of an input, for a function that runs in this process."""
        if isinstance(one, Many):
            inner = fits.values_of(fits.resolve(wanted, fn)) or MISSING
            if fits.is_lazy(fits.resolve(wanted, fn)):
                return Partitioned({label: partial(self.value, each, inner, fn) for label, each in one.inputs.items()})
            return {label: self.value(each, inner, fn) for label, each in one.inputs.items()}
        if one.held is not MISSING or one.cell is not None:
            value = one.held if one.cell is None or one.held is not MISSING else one.cell.value()
            if actors.holds(value):
                return self._alive(one, value)
            plain = type(value) is not list or _type_taken("list", "", wanted, fn) != ITERATOR
            return value if plain else iter(value)
        if one.record is not None:
            value = self.decoded(_as_taken(one.record, wanted, fn))
            return self._alive(one, value) if actors.holds(value) else value
        return self._source(one, fits.resolve(wanted, fn))

    def _alive(self, one: Input, described: Any) -> Any:
        """The actor itself; its description, where nothing here reaches targets."""
        return described if self.live is None else self.live(self.planner.units[one.name], described)

    def _source(self, one: Input, wanted: Any) -> Any:
        unit = self.planner.units[one.name]
        assert unit.asset.source is not None
        source = unit.asset.source.at(unit.partition)
        if is_remote(source):
            folder, _, name = source.path.rpartition("/")
            content = open_files(folder).read(name)
            if content is None:
                raise SourceError(f"The source {one.name} is gone.", expected=one.made.uri, found="nothing there")
            path = Path(self.folder(one.made.key)) / name
            path.write_bytes(content)
        else:
            path = local_path(source, self.planner.config.root)
        return self.formats.for_path(path, wanted)

    def stored(self, one: Input | Many, wanted: Any, fn: Callable[..., Any]) -> Stored | port.Many | Any:
        """An input as a job takes it: by its digest, its bytes read only if the target lacks them; an actor, alive."""
        from drawbar.dispatch import port

        inputs = one.inputs.values() if isinstance(one, Many) else (one,)
        if any(map(_is_actor, inputs)):
            return self.value(one, wanted, fn)
        if isinstance(one, Many):
            inner = fits.values_of(fits.resolve(wanted, fn)) or MISSING
            values = {label: self._stored(each, inner, fn) for label, each in one.inputs.items()}
            return port.Many(values, fits.is_lazy(fits.resolve(wanted, fn)))
        return self._stored(one, wanted, fn)

    def _stored(self, one: Input, wanted: Any, fn: Callable[..., Any]) -> Stored:
        from drawbar.dispatch.port import Stored

        if one.record is not None:
            return self.kept(_as_taken(one.record, wanted, fn))
        encoded = self.formats.encode(self.value(one, wanted, fn) if one.cell is None else one.cell.value())
        whole, taken = encoded.join(), _type_taken(encoded.type, encoded.format, wanted, fn)
        return Stored(encoded.digest(), encoded.format, taken, encoded.ext, encoded.bytes, lambda: whole)

    def kept(self, record: Record) -> Stored:
        """A value of the store as a job takes it."""
        from drawbar.dispatch.port import Stored

        store = self.planner.store
        read, url = partial(store.read, record), store.uri(record)
        return Stored(record.data_version, record.format, record.type, record.ext, record.bytes, read, url)

    def in_store(self, key: AssetKey, value: ValueRef) -> bool:
        """Whether the target put it into this store; not where a job is adopted that was another store's."""
        place = f"{folder_of(key)}/values/{value.digest}{value.ext}"
        return value.stored is not None and self.planner.store.files.size(place) == value.bytes

    def opened(self, one: Stored, key: AssetKey) -> Any:
        """The value that `kept` gave, for this process."""
        folder = self.folder(key) if one.format in ("file", "folder") else None
        return self.formats.decode(one.read(), one.format, one.type, one.ext, folder, self.planner.config.trust)

    def decoded(self, record: Record) -> Any:
        """The value of a record, read from the store and checked."""
        content = self.planner.store.read(record)
        return self.formats.decode(
            content, record.format, record.type, record.ext, self.folder_if_path(record), self.planner.config.trust
        )

    def published(self, unit: Unit, record: Record) -> Made:
        """The value as events tell of it, once its copy lies where `path=` says."""
        uri = self.planner.store.uri(record)
        return record.made(uri, self.publish(unit, record), unit.asset.options.path or "")

    def publish(self, unit: Unit, record: Record) -> str:
        """Put a copy where `path=` says, whole or not at all, unless this very value is there; where that is, or ""."""
        path = unit.asset.options.path
        if not path:
            return ""
        if unit.partition is not None:
            path = filled(path, unit.partition)
        if "://" not in path:
            path = str(self.planner.config.root / Path(path).expanduser())
        folder, _, name = path.rpartition("/")
        place = open_files(folder or "/")
        marker = f"{folder_of(record.key)}/published.json"
        store = self.planner.store
        told = f'{{"path": "{place.uri(name)}", "data_version": "{record.data_version}"}}\n'.encode()
        if bytes(store.files.read(marker) or b"") == told and place.size(name) is not None:
            return place.uri(name)
        place.write(name, self._as_published(record, name))
        self._places[place.root] = place
        store.files.write(marker, [told])
        return place.uri(name)

    def _as_published(self, record: Record, name: str) -> Sequence[Part]:
        """The value in the format that the published name's extension asks for."""
        ext = Path(name).suffix
        if not ext or ext == record.ext:
            return [self.planner.store.read(record)]
        return self.formats.encode_for(self.decoded(record), ext).parts

    def tidy(self) -> None:
        """Remove what writing published copies has left beside them; when nothing is written any more."""
        for place in self._places.values():
            place.tidy()

    def folder(self, key: AssetKey) -> str:
        """A new folder for values that are files; it goes when this object does."""
        made = tempfile.TemporaryDirectory(prefix=f"drawbar-{key.name.rpartition('/')[2]}-", ignore_cleanup_errors=True)
        self._folders.append(made)
        return made.name

    def folder_if_path(self, record: Record) -> str | None:
        """A folder for a value that is a file or a folder; None for every other kind."""
        return self.folder(record.key) if record.format in ("file", "folder") else None
