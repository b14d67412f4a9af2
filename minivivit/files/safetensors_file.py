"""Tensors in the safetensors format.

    8 bytes           length n of the header, little-endian
    n bytes           JSON: {name: {"dtype": "F32", "shape": [...], "data_offsets": [begin, end]}, ...}
    the rest          the numbers, little-endian, row-major, without gaps

The header is judged before any of it is believed: what overlaps, leaves a gap or contradicts its shape is refused, as
the safetensors library refuses it (a test holds the two verdicts together). The numbers are then read from their
offsets straight into the arrays, see `tensor_data`: the library's NumPy reader goes through a memory map, which for a
while holds every number twice, and has no bfloat16.
"""

import json
import os
from collections.abc import Iterable, Mapping
from io import BufferedIOBase
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy
from numpy.typing import DTypeLike

from minivivit.errors import InputError
from minivivit.files.atomic import atomic_path
from minivivit.files.json_file import MAX_JSON_BYTES, parse_json_object
from minivivit.files.tensor_data import (
    STORED_TYPES,
    array_dtype,
    check_data_file,
    check_dtype_argument,
    check_shape,
    choose_names,
    quoted,
    read_array,
)

DTYPE_NAMES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64", "BOOL": "bool"} | {
    f"{kind}{bits}": f"{word}{bits}" for kind, word in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)
}
# The bits of one element, for each type that the format has.
BITS = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "BF16": 16, "F16": 16, "F32": 32, "F64": 64, "C64": 64, "BOOL": 8} | {
    **{f"F8_{kind}": 8 for kind in ("E5M2", "E4M3", "E8M0", "E4M3FNUZ", "E5M2FNUZ")},
    **{f"{kind}{bits}": bits for kind in "IU" for bits in (8, 16, 32, 64)},
}
WRITTEN_DTYPES = {"float16": "F16", "float32": "F32", "float64": "F64"}


class _Entry(NamedTuple):
    """A tensor of the file; `start` counts from the beginning of the file, in bytes."""

    shape: tuple[int, ...]
    dtype: str
    start: int


def _read_header(path: Path) -> tuple[dict[str, _Entry], dict[str, str]]:
    """The tensors, in the order of the data, and the metadata: of a header that neither itself nor the file belies."""
    check_data_file(path)
    with open(path, "rb") as file:
        length, size = int.from_bytes(file.read(8), "little"), path.stat().st_size
        if length > min(size - 8, MAX_JSON_BYTES):
            raise InputError(
                f"{path} has {size:,} bytes, but would begin with a header of {length:,}; it is truncated or not a "
                "safetensors file: copy or download it again"
            )
        header = parse_json_object(file.read(length), f"the header of {path}", strict=True)
    metadata = header.pop("__metadata__", None)
    metadata = {} if metadata is None else metadata
    reason = _malformed(header, metadata)
    if not reason:
        ordered = dict(sorted(header.items(), key=lambda item: item[1]["data_offsets"]))
        for name, entry in ordered.items():
            check_shape(path, name, tuple(entry["shape"]))
        reason = _contradiction(ordered, size - 8 - length)
    if reason:
        raise InputError(f"{path} is not a valid safetensors file ({reason}); copy or download it again")
    entries = {}
    for name, entry in ordered.items():
        dtype, start = entry["dtype"], 8 + length + entry["data_offsets"][0]
        entries[name] = _Entry(tuple(entry["shape"]), DTYPE_NAMES.get(dtype, dtype.lower()), start)
    return entries, metadata


def _malformed(header: dict[str, Any], metadata: Any) -> str:
    """What in a header has not the form that the format gives it; what an entry says beyond that is passed over."""
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        return "its metadata is no object of texts"
    for name, entry in header.items():
        if not isinstance(entry, dict):
            return f"the entry of {quoted(name)} is no object"
        dtype, lists = entry.get("dtype"), [entry.get("shape"), entry.get("data_offsets")]
        if not isinstance(dtype, str) or dtype not in BITS:
            return f"the dtype of {quoted(name)} is {quoted(dtype)}"
        whole = all(isinstance(numbers, list) and all(type(n) is int and n >= 0 for n in numbers) for numbers in lists)
        if not whole or len(entry["data_offsets"]) != 2:
            return f"the shape of {quoted(name)} is {quoted(lists[0])}, its data_offsets are {quoted(lists[1])}"
    return ""


def _contradiction(ordered: dict[str, Any], num_bytes: int) -> str:
    """Where a header contradicts itself or the `num_bytes` behind it, which its tensors must fill one after another."""
    end = 0
    for name, entry in ordered.items():
        begin, stop = entry["data_offsets"]
        bits = prod(entry["shape"]) * BITS[entry["dtype"]]
        if begin != end:
            return f"{quoted(name)} begins at byte {begin:,} of the numbers, where {end:,} was expected"
        if 8 * (stop - begin) != bits:
            return f"{quoted(name)} has {stop - begin:,} bytes, where its shape and dtype take {bits / 8:,.15g}"
        end = stop
    return "" if end == num_bytes else f"its tensors have {end:,} bytes; behind the header are {num_bytes:,}"


def safetensors_index(path: str | os.PathLike[str]) -> dict[str, tuple[tuple[int, ...], str]]:
    """The tensors of a safetensors file, ``{name: (shape, dtype name)}``, without reading their numbers.

    Raises
    ------
    InputError
        As `read_safetensors`.
    """
    return {name: (entry.shape, entry.dtype) for name, entry in _read_header(Path(path))[0].items()}


def read_safetensors(
    path: str | os.PathLike[str], dtype: DTypeLike | None = None, names: Iterable[str] | None = None
) -> dict[str, numpy.ndarray]:
    """Read tensors from a safetensors file.

    Parameters
    ----------
    path : path-like
    dtype : {None, "float32", "float64"}
        Of the arrays. None keeps float32 and float64 and widens float16 and bfloat16 to float32.
    names : iterable of str, optional
        Only these.

    Returns
    -------
    dict
        Name -> C-contiguous, writable array. Memory: the arrays once, and a block of 4 MiB.

    Raises
    ------
    InputError
        For a file that is missing, empty, truncated or damaged, whose header claims more than the file holds or names
        a tensor twice; for tensors that are not floating-point; for names that are not in it.
    """
    path = Path(path)
    check_dtype_argument(dtype)
    entries, _ = _read_header(path)
    wanted = choose_names(entries, names, path)
    targets = {name: array_dtype(path, name, entries[name].dtype, dtype) for name in wanted}
    arrays = {}
    with open(path, "rb") as file:
        for name in wanted:
            entry = entries[name]
            file.seek(entry.start)
            source = f"{path}: tensor {quoted(name)}"
            flat = read_array(file, prod(entry.shape), entry.dtype, targets[name], "<", source)
            arrays[name] = flat.reshape(entry.shape)
    return arrays


class SafetensorsReader:
    """A safetensors file of which any part of any tensor can be read: the header is judged once, when it is made.

    Parameters
    ----------
    path : path-like

    Attributes
    ----------
    index : dict
        ``{name: (shape, dtype name)}``, in the order of the data.
    metadata : dict of str to str
        What the file says beside its tensors.

    Raises
    ------
    InputError
        As `read_safetensors`.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self._entries, self.metadata = _read_header(self.path)
        self.index = {name: (entry.shape, entry.dtype) for name, entry in self._entries.items()}

    def read_elements(self, name: str, start: int, count: int) -> numpy.ndarray:
        """`count` elements of a tensor from its `start`-th on, row-major: (count,), half precisions as float32."""
        entry = self._entries[name]
        if not 0 <= start <= start + count <= prod(entry.shape):
            raise InputError(f"{self.path}: tensor {quoted(name)} has no elements {start} to {start + count}")
        dtype = array_dtype(self.path, name, entry.dtype, None)
        with open(self.path, "rb") as file:
            file.seek(entry.start + start * numpy.dtype(STORED_TYPES[entry.dtype]).itemsize)
            return read_array(file, count, entry.dtype, dtype, "<", f"{self.path}: tensor {quoted(name)}")


def check_writable(tensors: Mapping[str, numpy.ndarray]) -> None:
    """Refuse, before anything is written, what is not a dict of NumPy floating-point arrays with usable names."""
    for name, array in tensors.items():
        if not isinstance(name, str) or name == "__metadata__":
            raise InputError(f"{quoted(name)} cannot be the name of a tensor in a safetensors file")
        if not isinstance(array, numpy.ndarray):
            kind = f"{type(array).__module__}.{type(array).__name__}"
            raise InputError(f"tensor {quoted(name)} is a {kind}; expected a NumPy array (minivivit.backend.to_numpy)")
        if array.dtype.name not in WRITTEN_DTYPES:
            expected = ", ".join(WRITTEN_DTYPES)
            raise InputError(f"tensor {quoted(name)} has dtype {array.dtype}; expected one of {expected}")


def write_safetensors_to(
    file: BufferedIOBase, tensors: Mapping[str, numpy.ndarray], metadata: Mapping[str, str] | None
) -> None:
    """Write a safetensors file to an open binary file, tensor by tensor.

    By hand, because ``safetensors.numpy.save_file`` copies all tensors to bytes first in the older versions that we
    support (0.4.5, 0.6.2), which doubles the memory; here a copy is made only of a tensor that is not contiguous, and
    dropped before the next.
    """
    # Widest elements first, then by name: as the reference implementation orders them, so that all stay aligned.
    ordered = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))
    header: dict[str, object] = {"__metadata__": {"format": "pt", **(metadata or {})}}
    end = 0
    for name in ordered:
        begin, end = end, end + tensors[name].nbytes
        dtype = WRITTEN_DTYPES[tensors[name].dtype.name]
        header[name] = {"dtype": dtype, "shape": list(tensors[name].shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for name in ordered:
        array = numpy.ascontiguousarray(tensors[name], tensors[name].dtype.newbyteorder("<"))
        file.write(array.reshape(-1).view(numpy.uint8).data)


def write_safetensors(
    path: str | os.PathLike[str], tensors: Mapping[str, numpy.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Write `tensors` to one safetensors file, atomically.

    Parameters
    ----------
    path : path-like
    tensors : mapping
        Name -> array of float16, float32 or float64, of any strides and byte order.
    metadata : mapping of str to str, optional
        Written beside ``{"format": "pt"}``, without which transformers refuses a file.

    Raises
    ------
    InputError
        For a tensor that is no NumPy array of these types; nothing is written then.
    """
    check_writable(tensors)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        write_safetensors_to(file, tensors, metadata)
