"""numpy arrays and scalars as npy, dicts of arrays as npz: the files that `numpy.load` reads.

Arrays come from functions and are written as views of their own memory; bytes are read back without a copy where the
caller gives a buffer that may be written to. Object arrays are never written, and never read.
"""

from __future__ import annotations

import io
import math
import zipfile
from typing import Any, Dict

from .base import Buffer, Encoded, EncodingError, library, root, type_name, unfit, unreadable, writable

_HOLDS = "a numpy array or scalar whose dtype is numbers, bools, times, fixed-width text, or a structure of these"
_HOLDS_NPZ = "a dict with str keys of numpy arrays without objects"
_OLDEST = (1980, 1, 1, 0, 0, 0)  # the first date that zip knows; the same in every file, so that equal means equal


def encode_npy(value: Any) -> Encoded:
    """An array or numpy scalar as npy; EncodingError where its dtype would not come back the same."""
    if not is_array(value):
        raise unfit(value, "npy", _HOLDS)
    numpy = library("numpy", "npy")
    scalar = isinstance(value, numpy.generic)
    if not scalar and type(value) is not numpy.ndarray:
        raise unfit(value, "npy", _HOLDS)
    array = numpy.asarray(value)
    _check_dtype(numpy, value, array.dtype)
    if scalar and array.dtype.kind in "US" and array[()] != value:
        raise unfit(value, "npy", _HOLDS, "text that ends in NUL characters, which numpy's arrays drop")
    array = _without_padding(numpy, array)
    rows = array.shape[0] if array.ndim else None
    kind = f"numpy.{type(value).__name__}" if scalar else "numpy.ndarray"
    return Encoded("npy", ".npy", _npy_parts(numpy, array), kind, rows, ())


def decode_npy(data: Buffer, type_: str) -> Any:
    """The array in `data`, or the numpy scalar where `type_` names one; it can be written to."""
    numpy = library("numpy", "npy")
    array = _read_npy(numpy, writable(data))
    if type_ in ("numpy.ndarray", ""):
        return array
    if array.ndim:
        unreadable("npy", f"an array of shape {array.shape} where {type_} was expected")
    return array[()]


def encode_npz(value: Any) -> Encoded:
    """A dict of arrays as npz: a zip without compression, one npy for each array, in the dict's order."""
    if type(value) is not dict or not all(type(key) is str and _zip_name(key) for key in value):
        raise unfit(value, "npz", _HOLDS_NPZ)
    numpy = library("numpy", "npz")
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for key, array in value.items():
            if type(array) is not numpy.ndarray:
                raise unfit(value, "npz", _HOLDS_NPZ, f"{type_name(array)} at {key!r}")
            _check_dtype(numpy, array, array.dtype)
            entry = zipfile.ZipInfo(f"{key}.npy", _OLDEST)
            with archive.open(entry, "w", force_zip64=True) as member:
                for part in _npy_parts(numpy, _without_padding(numpy, array)):
                    member.write(part)
    return Encoded("npz", ".npz", [sink.getvalue()], "dict[str, numpy.ndarray]", None, ())


def decode_npz(data: Buffer) -> Dict[str, Any]:
    """The dict of arrays in `data`; a compressed entry is refused, for nobody can say how large it would become."""
    numpy = library("numpy", "npz")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                unreadable("npz", "a compressed entry")
            if sum(entry.file_size for entry in entries) > len(data):
                unreadable("npz", "entries larger than the file")
            return {_key(entry): _read_npy(numpy, writable(archive.read(entry))) for entry in entries}
    except EncodingError:
        raise
    except Exception as error:
        unreadable("npz", error)


def _zip_name(key: str) -> bool:
    """Whether a zip gives the name back as it was."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in key and "\\" not in key


def _key(entry: zipfile.ZipInfo) -> str:
    if not entry.filename.endswith(".npy"):
        unreadable("npz", f"an entry named {entry.filename!r}")
    return entry.filename[: -len(".npy")]


def _check_dtype(numpy: Any, value: Any, dtype: Any) -> None:
    """Raise EncodingError unless npy gives this dtype back: no objects, no extension types, no zero-width items."""
    fits = not dtype.hasobject and dtype.itemsize and dtype.metadata is None
    if fits:
        describe = numpy.lib.format
        try:
            fits = describe.descr_to_dtype(describe.dtype_to_descr(dtype)) == dtype
        except (TypeError, ValueError):
            fits = False
    if not fits:
        raise unfit(value, "npy", _HOLDS, f"dtype {dtype}")


def _npy_parts(numpy: Any, array: Any) -> list[Buffer]:
    """The npy header and the array's memory; only an array with gaps is copied first."""
    if not (array.flags.c_contiguous or array.flags.f_contiguous):
        array = array.copy(order="C")
    facts = numpy.lib.format.header_data_from_array_1_0(array)
    header = io.BytesIO()
    try:
        numpy.lib.format.write_array_header_1_0(header, facts)
    except ValueError:  # longer than 64 KiB, or a field name beyond latin-1
        try:
            header = io.BytesIO()
            numpy.lib.format.write_array_header_2_0(header, facts)
        except ValueError as error:
            raise unfit(array, "npy", _HOLDS, str(error)) from error
    parts: list[Buffer] = [header.getvalue()]
    if array.size:
        flat = (array.T if facts["fortran_order"] else array).reshape(-1)
        parts.append(memoryview(flat.view(numpy.uint8)))
    return parts


def _read_npy(numpy: Any, view: memoryview) -> Any:
    """The array over `view`, which it keeps; every number in the header is checked against the length of the data."""
    source = io.BytesIO(view[:_LONGEST_HEADER])
    try:
        version = numpy.lib.format.read_magic(source)
        read = {(1, 0): numpy.lib.format.read_array_header_1_0, (2, 0): numpy.lib.format.read_array_header_2_0}
        shape, fortran, dtype = read[version](source)
        if dtype.hasobject or not dtype.itemsize:
            unreadable("npy", f"dtype {dtype}")
        if any(type(size) is not int or size < 0 for size in shape):
            unreadable("npy", f"shape {shape}")
        start = source.tell()
        count = math.prod(shape)
        if count * dtype.itemsize != len(view) - start:
            unreadable("npy", f"{len(view) - start} bytes of data for shape {shape} of {dtype}")
        if not count:
            return numpy.empty(shape, dtype, order="F" if fortran else "C")
        return numpy.frombuffer(view, dtype, count, start).reshape(shape, order="F" if fortran else "C")
    except EncodingError:
        raise
    except Exception as error:
        unreadable("npy", error)


_LONGEST_HEADER = 1 << 20


def _without_padding(numpy: Any, array: Any) -> Any:
    """`array`, or a copy whose bytes between a structure's fields are zero: they are chance, and part of a digest."""
    if not array.dtype.names:
        return array
    clean = numpy.zeros(array.shape, array.dtype)
    _copy_fields(clean, array)
    return clean


def _copy_fields(target: Any, source: Any) -> None:
    for name in source.dtype.names:
        if source.dtype[name].names:
            _copy_fields(target[name], source[name])
        else:
            target[name] = source[name]


def is_array(value: object) -> bool:
    """Whether `value` belongs to numpy (told by the name of its module, without importing numpy)."""
    return root(value) == "numpy"
