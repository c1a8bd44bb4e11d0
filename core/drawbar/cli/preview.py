"""The beginning of a stored value, read by its format: rows of a table, lines of a text, shapes of arrays.

A record and its bytes come here from the store; text or a table goes to the terminal. No format that can run code is
opened, and no library is loaded but the one that reads this format.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Sequence
from typing import Any

from drawbar.agent.encoding.items import Item, Items
from drawbar.cli import output
from drawbar.formats import default
from drawbar.plugins import formats
from drawbar.records import Record
from drawbar.store import Store

# Beyond this, in bytes, looking at the beginning would cost more than it tells.
_LARGEST = 256 << 20
_COLUMNS = 12
_CELL = 60
_FROM_PYTHON = 'from Python: drawbar.run(graph, ["{name}"])["{name}"].value()'


def preview(place: Store, record: Record, rows: int) -> Any:
    """The first `rows` rows, lines or entries, as something that rich prints. CorruptError if it was changed."""
    read = _READERS.get(record.format)
    if read is None:
        return f"A value in the format {record.format} is not opened here; {_FROM_PYTHON.format(name=record.key.name)}"
    if record.bytes > _LARGEST:
        return f"{output.size(record.bytes)} is too much to look into; {_FROM_PYTHON.format(name=record.key.name)}"
    return read(place.read(record), record, rows)


def _table(content: bytearray, record: Record, rows: int) -> Any:
    """Rows by pyarrow or polars, whichever is there; neither needs the library that wrote them."""
    names, lines = _by_pyarrow(content, rows) or _by_polars(content, rows) or ([], [])
    if not names:
        return "Its rows are shown where pyarrow or polars is installed." if record.columns else "No columns."
    shown = names[:_COLUMNS]
    table = output.table(*shown, wide=shown)
    for column in table.columns:
        column.max_width = _CELL
    for line in lines:
        table.add_row(*(_cell(value) for value in line[:_COLUMNS]))
    more = [f"{len(names) - _COLUMNS} more columns: {', '.join(names[_COLUMNS:])}"] if len(names) > _COLUMNS else []
    if record.rows is not None and record.rows > len(lines):
        more.append(f"… {record.rows - len(lines)} more rows")
    from rich.console import Group

    return Group(table, *(output.one_line(one) for one in more))


def _by_pyarrow(content: bytearray, rows: int) -> tuple[list[str], list[Sequence[Any]]] | None:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        return None
    file = parquet.ParquetFile(pa.BufferReader(content))
    names = [str(name) for name in file.schema_arrow.names]
    batch = next(file.iter_batches(batch_size=max(1, rows)), None)
    columns = [column.to_pylist()[:rows] for column in batch.columns] if batch is not None else []
    return names, list(zip(*columns, strict=True))


def _by_polars(content: bytearray, rows: int) -> tuple[list[str], list[Sequence[Any]]] | None:
    try:
        import polars as pl
    except ImportError:
        return None
    frame = pl.read_parquet(io.BytesIO(content), n_rows=rows)
    return frame.columns, list[Sequence[Any]](frame.rows())


def _cell(value: Any) -> str:
    text = "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    return output.one_line(text if len(text) <= _CELL else f"{text[: _CELL - 1]}…")


def _text(content: bytearray, _record: Record, rows: int) -> str:
    return _lines(content.decode("utf-8", "replace").split("\n"), rows)


def _json(content: bytearray, _record: Record, rows: int) -> str:
    return _lines(json.dumps(json.loads(content), ensure_ascii=False, indent=1).split("\n"), rows * 2)


def _lines(lines: list[str], rows: int) -> str:
    more = [f"… {len(lines) - rows} more lines"] if len(lines) > rows else []
    return "\n".join([*(output.visible(line[:200]) for line in lines[:rows]), *more])


def _array(content: bytearray, record: Record, _rows: int) -> str:
    value = default(formats()).decode(content, record.format, record.type, record.ext)
    if isinstance(value, dict):
        return "\n".join(_lines_of(value))
    return output.visible(f"{_shape(value)}\n{value!r}")


def _lines_of(arrays: dict[str, Any]) -> list[str]:
    return [f"{output.one_line(name)}: {_shape(value)}" for name, value in arrays.items()]


def _shape(value: Any) -> str:
    return f"{getattr(value, 'dtype', '')}{list(getattr(value, 'shape', ()))}"


def _tensors(content: bytearray, _record: Record, rows: int) -> str:
    """Names, types and shapes, from the header alone: eight bytes of length, then JSON (the safetensors format)."""
    end = 8 + int.from_bytes(content[:8], "little")
    entries = {name: one for name, one in json.loads(content[8:end]).items() if name != "__metadata__"}
    return _lines([f"{name}: {one['dtype']}{one['shape']}" for name, one in entries.items()], max(rows, 20))


def _bytes(content: bytearray, _record: Record, rows: int) -> str:
    pieces = [content[start : start + 16] for start in range(0, min(len(content), rows * 16), 16)]
    lines = [f"{place * 16:08x}  {piece.hex(' '):47}  {_printable(piece)}" for place, piece in enumerate(pieces)]
    return "\n".join(lines)


def _printable(piece: bytes | bytearray) -> str:
    return "".join(chr(one) if 32 <= one < 127 else "." for one in piece)  # noqa: PLR2004  # what ASCII prints


def _file(content: bytearray, record: Record, rows: int) -> str:
    if b"\0" in content[:4096]:
        return _bytes(content, record, rows)
    return _text(content, record, rows)


def _folder(content: bytearray, _record: Record, rows: int) -> str:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return _lines([f"{output.size(one.size):>9}  {one.name}" for one in archive.getmembers()], max(rows, 20))


def _items(content: bytearray, _record: Record, rows: int) -> str:
    """What the items are; of plain ones also what they hold."""
    items = Items(content)
    names = items.keys or range(len(items))
    lines = [_item(name, items.item(at)) for at, name in zip(range(max(rows, 1)), names, strict=False)]
    more = [f"… {len(items) - len(lines)} more items"] if len(items) > len(lines) else []
    return "\n".join([*lines, *more])


def _item(name: object, item: Item) -> str:
    kind = f"{item.type} ({item.format}, {output.size(len(item.data)) or 'empty'})"
    text = bytes(item.data[:200]).decode("utf-8", "replace") if item.format in ("json", "text") else kind
    return output.one_line(f"{name}: {text}")


_READERS: dict[str, Callable[[bytearray, Record, int], Any]] = {
    "parquet": _table,
    "text": _text,
    "json": _json,
    "npy": _array,
    "npz": _array,
    "safetensors": _tensors,
    "bytes": _bytes,
    "file": _file,
    "folder": _folder,
    "items": _items,
}
