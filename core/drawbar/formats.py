"""The Format port, and the registry of built-in formats and those of plugins: where values become bytes for the store.

Values come from `run` and go to the store as `Encoded`, and back. The built-in formats themselves are in
`drawbar.agent.encoding`, because a host must encode exactly as the client does; their errors become FormatErrors here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from drawbar.agent import encoding
from drawbar.agent.encoding import Buffer, Encoded, EncodingError
from drawbar.errors import DrawbarError, FormatError, did_you_mean

__all__ = ["Buffer", "Encoded", "Format", "Formats", "default"]


class Format(Protocol):
    """How one kind of value is written and read: what a plugin gives.

    `name` is what users write in `format=` and what records say; `extensions` begin with a dot, the first is the usual
    one. `decode(encode(value))` must equal `value` in value and type, and equal values should give equal bytes.
    """

    name: str
    extensions: tuple[str, ...]

    def claims(self, value: Any) -> bool:
        """Whether values like this one are written in this format unless the user names another; must be quick."""
        ...

    def encode(self, value: Any) -> Encoded:
        """The value as bytes; FormatError where it does not fit. The result's `format` is this format's `name`."""
        ...

    def decode(self, data: Buffer, type: str, ext: str, folder: str | None) -> Any:  # noqa: A002 - as in Encoded
        """The value; `type` and `ext` are what `encode` said, `folder` is where files may be put."""
        ...


class Formats:
    """All formats that this process knows; a plugin's comes before the built-in ones.

    >>> formats = Formats()
    >>> made = formats.encode({"a": 1})
    >>> made.format, formats.decode(made.join(), made.format, made.type)
    ('json', {'a': 1})
    """

    def __init__(self, plugins: Sequence[Format] = ()) -> None:
        """FormatError where two formats have one name: bytes in the store must mean the same to everyone."""
        self._plugins: dict[str, Format] = {}
        for plugin in plugins:
            if plugin.name in encoding.EXTENSIONS or plugin.name in self._plugins:
                raise FormatError(
                    f"There are two formats named {plugin.name!r}.",
                    expected="a name of its own for each format",
                    found=f"{type(plugin).__module__}.{type(plugin).__qualname__}",
                    todo="rename the plugin's format, or uninstall one of the plugins",
                )
            self._plugins[plugin.name] = plugin

    @property
    def known(self) -> tuple[str, ...]:
        """The names of all formats, plugins' first."""
        return (*self._plugins, *encoding.EXTENSIONS)

    def travels(self, name: str) -> bool:
        """Whether a host has the format of that name, too; FormatError where nobody has."""
        return self._named(name) is None

    def encode(self, value: Any, format: str | None = None, trust: str = "pickle") -> Encoded:  # noqa: A002 - the users' word
        """`value` in the format named, or else in the one that fits it best.

        FormatError where the value does not fit, where the format's library is missing (it says what to install), and
        for a pickle where `trust` is "data".
        """
        plugin = self._named(format) if format is not None else self._claiming(value)
        if plugin is not None:
            return self._encode_by(plugin, value)
        try:
            return encoding.encode(value, format, trust)
        except EncodingError as error:
            raise told(error) from error

    def decode(  # noqa: PLR0917 - the fields of a record, in its order
        self,
        data: Buffer,
        format: str,  # noqa: A002 - the users' word
        type: str,  # noqa: A002 - as in Encoded
        ext: str = "",
        folder: str | None = None,
        trust: str = "pickle",
    ) -> Any:
        """The value that `encode` made `data` from; a `bytearray` is taken over, and its memory shared.

        FormatError where the bytes are not what they should be, and for a pickle where `trust` is "data".
        """
        plugin = self._named(format)
        try:
            if plugin is not None:
                return plugin.decode(data, type, ext, folder)
            return encoding.decode(data, format, type, ext, folder, trust)
        except DrawbarError:
            raise
        except EncodingError as error:
            raise told(error) from error
        except Exception as error:  # of a plugin; what it raises can be anything
            raise FormatError(
                f"The bytes cannot be read as {format}.",
                expected=f"the {format} format, whole and unchanged",
                found=f"{error.__class__.__name__}: {error}",
                todo="make the asset again",
            ) from error

    def for_path(self, path: Path, wanted: Any = None) -> Any:
        """What a file from outside holds, read by its extension as the annotation `wanted` asks for.

        See `drawbar.reading.read` for what can be read as what; a plugin's extension is read by the plugin, except
        as a Path, str or bytes.
        """
        from drawbar import reading

        kind = reading.kind_of(wanted)
        for plugin in self._plugins.values():
            if kind not in reading.RAW and path.name.endswith(plugin.extensions):
                return self.decode(reading.content(path), plugin.name, kind, path.suffix)
        return reading.read(path, kind)

    def encode_for(self, value: Any, ext: str) -> Encoded:
        """`value` as a file whose name ends with `ext` should hold it: what `path=` publishes.

        Beside the formats' own extensions these are `.csv`, `.tsv` and `.jsonl` for tables and lists of dicts, and
        `.json` for tables and arrays. An extension that says nothing gets the value in its own format. FormatError
        where the value cannot be written so.
        """
        from drawbar import publishing

        for plugin in self._plugins.values():
            if ext in plugin.extensions:
                return self._encode_by(plugin, value)
        if self._claiming(value) is None:
            written = publishing.write(value, ext)
            if written is not None:
                return written
        return self.encode(value)

    def _named(self, name: str) -> Format | None:
        """The plugin's format of that name, None for a built-in one."""
        plugin = self._plugins.get(name)
        if plugin is None and name not in encoding.EXTENSIONS:
            raise FormatError(
                f"There is no format named {name!r}.",
                expected=", ".join(self.known),
                found=repr(name),
                todo=did_you_mean(name, self.known, otherwise="use one of these, or install the plugin that brings it"),
            )
        return plugin

    def _claiming(self, value: Any) -> Format | None:
        for plugin in self._plugins.values():
            if plugin.claims(value):
                return plugin
        return None

    def _encode_by(self, plugin: Format, value: Any) -> Encoded:
        try:
            made = plugin.encode(value)
        except DrawbarError:
            raise
        except EncodingError as error:
            raise told(error) from error
        except Exception as error:
            raise FormatError(
                f"The format {plugin.name!r} could not write a value of type {encoding.type_name(value)}.",
                found=f"{type(error).__name__}: {error}",
                todo="name another format with `format=`, or tell the plugin's authors",
            ) from error
        if made.format != plugin.name:
            raise FormatError(
                f"The format {plugin.name!r} gave a value in another format.",
                expected=f"Encoded(format={plugin.name!r}, …)",
                found=repr(made.format),
                todo="tell the plugin's authors",
            )
        return made


def default(plugins: Sequence[Format] = ()) -> Formats:
    """The built-in formats, and those of plugins before them.

    >>> default().known[:3]
    ('parquet', 'npy', 'npz')
    """
    return Formats(plugins)


def told(error: EncodingError) -> FormatError:
    """The client's error for one of the agent's, which cannot import ours."""
    return FormatError(error.what, expected=error.expected, found=error.found, todo=error.todo)
