"""Tensors in PyTorch's own file format (``pytorch_model.bin``, ``torch.save``), read without PyTorch.

Since PyTorch 1.6 such a file is an uncompressed zip archive:

    NAME/data.pkl     a pickle of the state dict; where a tensor's numbers should stand, it names a record
    NAME/data/0       the numbers of the first storage, raw; then 1, 2, ...
    NAME/byteorder    "little" or "big" (newer files)

A tensor is a view of a storage: offset, shape and strides, all counted in elements. Several tensors may share one.
The pickle is read by `restricted_pickle`, which cannot run code; numbers are read only when everything that the
pickle claims about them has been checked against the sizes of the records, and those against the size of the file.
"""

import errno
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy
from numpy.typing import DTypeLike

from minivivit.errors import InputError
from minivivit.files import restricted_pickle
from minivivit.files.tensor_data import (
    array_dtype,
    check_data_file,
    check_dtype_argument,
    check_shape,
    choose_names,
    quoted,
    read_array,
    reason_of,
)

# A tensor takes some 150 bytes of pickle, so this is room for 13,000 tensors; the full-size model has 200.
MAX_PICKLE_BYTES = 2 * 1024 * 1024
# Views may overlap and repeat (stride 0), so that tensors may be larger than the file that they are in. Without such
# views a byte of the file is at most half an element; this leaves room for four times that, and for any small model.
MAX_ELEMENTS_PER_BYTE = 2
ALWAYS_ALLOWED_ELEMENTS = 8 * 1024 * 1024

# What an archive says of its records, at its end: 150 bytes each. Filled for that purpose, `zipfile` takes a second for
# every 2 MB of it.
MAX_DIRECTORY_BYTES = 4 * 1024 * 1024

# What `zipfile` raises, besides OSError, when an archive is damaged in one way or another.
DAMAGED_ARCHIVE_ERRORS = (
    *(zipfile.BadZipFile, struct.error, zlib.error),
    *(ValueError, RuntimeError, NotImplementedError, EOFError, OverflowError),
)

# torch.FloatStorage and its kin, which the pickle uses to name dtypes, and the bytes of an element.
STORAGE_TYPES = {
    "torch.HalfStorage": ("float16", 2),
    "torch.BFloat16Storage": ("bfloat16", 2),
    "torch.FloatStorage": ("float32", 4),
    "torch.DoubleStorage": ("float64", 8),
    "torch.BoolStorage": ("bool", 1),
    "torch.ByteStorage": ("uint8", 1),
    "torch.CharStorage": ("int8", 1),
    "torch.ShortStorage": ("int16", 2),
    "torch.IntStorage": ("int32", 4),
    "torch.LongStorage": ("int64", 8),
    "torch.ComplexFloatStorage": ("complex64", 8),
    "torch.ComplexDoubleStorage": ("complex128", 16),
}


@dataclass(frozen=True, slots=True)
class _Storage:
    """`count` elements in the record ``data/KEY``."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A strided view of a storage, in elements; known to lie inside it."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


# --------------------------------------------------------------------------------------------------------------------
# What the pickle may call. Each of these is safe with any arguments and takes no memory.
# --------------------------------------------------------------------------------------------------------------------


def _are_sizes(values: Any) -> bool:
    """Whether this is a tuple of at most 32 integers from 0 to 2^62, which further arithmetic cannot blow up."""
    return type(values) is tuple and len(values) <= 32 and all(type(n) is int and 0 <= n <= 1 << 62 for n in values)


def _rebuild_tensor(arguments: tuple) -> _Tensor:
    """``torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata])``."""
    if len(arguments) not in (6, 7) or type(arguments[0]) is not _Storage:
        raise UnpicklingError("its pickle describes a tensor in an unknown way (_rebuild_tensor_v2)")
    if len(arguments) == 7 and arguments[6]:
        raise UnpicklingError("its pickle has a tensor with conjugate or negative bits; call resolve_neg() first")
    storage, offset, shape, strides = arguments[:4]
    if not (_are_sizes((offset,)) and _are_sizes(shape) and _are_sizes(strides) and len(shape) == len(strides)):
        raise UnpicklingError("its pickle has a tensor whose offset, shape or strides are no sizes")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if 0 not in shape and last >= storage.count:
        raise UnpicklingError(
            f"its pickle has a tensor that ends at element {last + 1:.6g} of storage {quoted(storage.key)}, "
            f"which has {storage.count:,}"
        )
    return _Tensor(storage, offset, shape, strides)


def _rebuild_parameter(arguments: tuple) -> _Tensor:
    """``torch._utils._rebuild_parameter(tensor, requires_grad, hooks)``: the tensor is all that is wanted."""
    if len(arguments) != 3 or type(arguments[0]) is not _Tensor:
        raise UnpicklingError("its pickle describes a parameter in an unknown way (_rebuild_parameter)")
    return arguments[0]


def _ordered_dict(arguments: tuple) -> dict:
    """``collections.OrderedDict()``, which torch.save creates empty and fills afterwards."""
    if arguments:
        raise UnpicklingError("its pickle calls collections.OrderedDict with arguments, which torch.save does not")
    return {}


ALLOWED: dict[str, Callable[[tuple], Any] | None] = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    **dict.fromkeys(STORAGE_TYPES),
}


# --------------------------------------------------------------------------------------------------------------------
# The archive
# --------------------------------------------------------------------------------------------------------------------


class _Archive:
    """An open PyTorch file: its records by name, the tensors that its pickle describes, its byte order."""

    def __init__(self, path: Path, archive: zipfile.ZipFile):
        self.path, self.archive = path, archive
        self.records = {record.filename: record for record in archive.infolist()}
        self.check_records()
        roots = [root for root, _, name in (name.partition("/") for name in self.records) if name == "data.pkl"]
        if len(roots) != 1:
            raise InputError(f"{path} is a zip archive, but not one that torch.save wrote: it has no record data.pkl")
        self.root = roots[0]
        self.byte_order = self.read_byte_order()
        self.storages: dict[str, _Storage] = {}
        self.tensors = self.read_pickle()
        self.check_total_size()

    def check_records(self) -> None:
        """Records that overlap, repeat or are compressed are how a small file claims to be a large one."""
        records = self.archive.infolist()
        if len(self.records) < len(records):
            raise InputError(f"{self.path} has two records of one name; torch.save does not write such a file")
        compressed = next((record for record in records if record.compress_type != zipfile.ZIP_STORED), None)
        if compressed:
            raise InputError(
                f"{self.path}: record {quoted(compressed.filename)} is compressed, which torch.save never does; "
                "load it with PyTorch and save it again"
            )
        claimed, size = sum(record.file_size for record in records), self.path.stat().st_size
        if claimed > size:
            raise InputError(f"{self.path} has {size:,} bytes, but its records claim {claimed:,}; the file is damaged")

    def read_byte_order(self) -> str:
        record = self.records.get(f"{self.root}/byteorder")
        if record is None:
            return "<"
        value = self.archive.read(record) if record.file_size <= 16 else b""
        if value not in (b"little", b"big"):
            raise InputError(f"{self.path}: its record byteorder is neither 'little' nor 'big'; the file is damaged")
        return "<" if value == b"little" else ">"

    def read_pickle(self) -> dict[str, _Tensor]:
        record = self.records[f"{self.root}/data.pkl"]
        if record.file_size > MAX_PICKLE_BYTES:
            raise InputError(
                f"{self.path}: its pickle has {record.file_size:,} bytes; for a state dict at most "
                f"{MAX_PICKLE_BYTES:,} were expected: save the model's state_dict() alone"
            )
        try:
            value = restricted_pickle.load(self.archive.read(record), ALLOWED, self.find_storage)
        except UnpicklingError as error:
            raise InputError(f"{self.path}: {error}") from None
        return _state_dict(self.path, value)

    def find_storage(self, persistent_id: Any) -> _Storage:
        """The storage that ``("storage", torch.FloatStorage, key, device, count)`` names, its size checked."""
        if type(persistent_id) is not tuple or len(persistent_id) != 5 or persistent_id[0] != "storage":
            raise UnpicklingError("its pickle names a storage in an unknown way")
        tag, key, count = persistent_id[1], persistent_id[2], persistent_id[4]
        name = tag.name if type(tag) is restricted_pickle.Global else ""
        if name not in STORAGE_TYPES or type(key) is not str or not _are_sizes((count,)):
            raise UnpicklingError("its pickle names a storage in an unknown way")
        dtype, item_size = STORAGE_TYPES[name]
        record = self.records.get(f"{self.root}/data/{key}")
        if record is None:
            raise UnpicklingError(f"its storage {quoted(key)} is missing; the file is damaged")
        if record.file_size != count * item_size:
            raise UnpicklingError(
                f"its storage {quoted(key)} has {record.file_size:,} bytes, but {count:.6g} elements of {dtype} were "
                "promised; the file is damaged"
            )
        storage = _Storage(key, dtype, count)
        if self.storages.setdefault(key, storage) != storage:
            raise UnpicklingError(f"its storage {quoted(key)} is said to have two dtypes; the file is damaged")
        return storage

    def check_total_size(self) -> None:
        for name, tensor in self.tensors.items():
            check_shape(self.path, name, tensor.shape)
        items, size = sum(prod(tensor.shape) for tensor in self.tensors.values()), self.path.stat().st_size
        if items > max(MAX_ELEMENTS_PER_BYTE * size, ALWAYS_ALLOWED_ELEMENTS):
            raise InputError(
                f"{self.path} has {size:,} bytes, but its tensors claim {items:.6g} numbers; such views are refused: "
                "make the tensors contiguous and save them again"
            )

    def read(self, names: list[str], dtype: DTypeLike | None) -> dict[str, numpy.ndarray]:
        """The named tensors. Each storage is read once, and let go before the next one."""
        by_storage: dict[str, list[str]] = {}
        for name in names:
            by_storage.setdefault(self.tensors[name].storage.key, []).append(name)
        arrays: dict[str, numpy.ndarray] = {}
        for key, users in by_storage.items():
            storage = self.storages[key]
            target = array_dtype(self.path, users[0], storage.dtype, dtype)
            with self.archive.open(self.records[f"{self.root}/data/{key}"]) as file:
                source = f"{self.path}: storage {quoted(key)}"
                stored = storage.dtype
                elements = read_array(file, storage.count, stored, target, self.byte_order, source)  # type: ignore[arg-type]
            for name in users:
                arrays[name] = _take_view(elements, self.tensors[name], share=len(users) == 1)
        return {name: arrays[name] for name in names}


def _take_view(elements: numpy.ndarray, tensor: _Tensor, share: bool) -> numpy.ndarray:
    """The tensor as an array of its own; with `share`, without a copy where the tensor is its whole storage."""
    if 0 in tensor.shape:
        return numpy.empty(tensor.shape, elements.dtype)
    strides = tuple(stride * elements.itemsize for stride in tensor.strides)
    view = numpy.lib.stride_tricks.as_strided(elements[tensor.offset :], tensor.shape, strides)
    if share and view.flags.c_contiguous and view.size == elements.size:
        return elements.reshape(tensor.shape)
    return numpy.array(view, order="C")


def _is_dict_of_tensors(value: Any) -> bool:
    return type(value) is dict and all(type(k) is str and type(v) is _Tensor for k, v in value.items())


def _state_dict(path: Path, value: Any) -> dict[str, _Tensor]:
    """The dict of tensors that the pickle holds: all of it, or the one entry that is such a dict."""
    if _is_dict_of_tensors(value):
        return value
    if type(value) is not dict:
        raise InputError(f"{path} holds a {type(value).__name__.strip('_')}; a state dict was expected: name -> tensor")
    # Each object once: a small pickle can hold one large dict a hundred thousand times.
    distinct = {id(entry): key for key, entry in value.items()}.values()
    inner = [key for key in distinct if value[key] and _is_dict_of_tensors(value[key])]
    if len(inner) == 1 and not any(type(entry) is _Tensor for entry in value.values()):
        return value[inner[0]]
    other = next(key for key, entry in value.items() if type(key) is not str or type(entry) is not _Tensor)
    raise InputError(
        f"{path} is not one dict of tensors: entry {quoted(other)} is a {type(value[other]).__name__.strip('_')}; "
        "save the model's state_dict() alone"
    )


def check_directory_size(path: Path) -> None:
    """Refuse a zip archive whose list of records is absurdly long, before `zipfile` reads it.

    The list's size stands in the record that ends the archive, 22 bytes and a comment; in a zip64 archive in a record
    of 56 bytes before that, with 20 bytes between. They are looked for where `zipfile` looks.
    """
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - 22 - 65535 - 76))
        tail = file.read()
    plain = tail[-22:-18] == b"PK\5\6" and tail.endswith(b"\0\0")
    end = len(tail) - 22 if plain else tail.rfind(b"PK\5\6")
    size = int.from_bytes(tail[end + 12 : end + 16], "little") if end >= 0 else 0
    if end >= 76 and tail[end - 20 : end - 16] == b"PK\6\7":
        size = int.from_bytes(tail[end - 76 + 40 : end - 76 + 48], "little")
    if size > MAX_DIRECTORY_BYTES:
        raise InputError(
            f"{path} is a zip archive whose list of records has {size:,} bytes, more than {MAX_DIRECTORY_BYTES:,}; is "
            "it damaged?"
        )


@contextmanager
def _open_archive(path: Path) -> Iterator[_Archive]:
    """Open a PyTorch file, and turn what a damaged archive makes `zipfile` raise into one clear error."""
    check_data_file(path)
    with open(path, "rb") as file:
        start = file.read(4)
    if start[:1] == b"\x80":
        raise InputError(
            f"{path} is in PyTorch's format from before version 1.6, which is not read here; with PyTorch installed, "
            "save it again:  torch.save(torch.load(path, weights_only=True), path)"
        )
    if start != b"PK\x03\x04":
        raise InputError(f"{path} is not a file that torch.save wrote: it is no zip archive; copy or download it again")
    check_directory_size(path)
    try:
        with zipfile.ZipFile(path) as archive:
            yield _Archive(path, archive)
    except InputError:
        raise
    except OSError as error:
        if error.errno != errno.EINVAL:  # EINVAL: the archive's own offsets led outside of it
            raise
        raise InputError(f"{path} is a damaged zip archive; copy or download it again") from None
    except DAMAGED_ARCHIVE_ERRORS as error:
        raise InputError(f"{path} is a damaged zip archive ({reason_of(error)}); copy or download it again") from None


# --------------------------------------------------------------------------------------------------------------------
# Public
# --------------------------------------------------------------------------------------------------------------------


def torch_index(path: str | os.PathLike[str]) -> dict[str, tuple[tuple[int, ...], str]]:
    """The tensors of a PyTorch file, ``{name: (shape, dtype name)}``, without reading their numbers.

    Raises
    ------
    InputError
        As `read_torch`.
    """
    with _open_archive(Path(path)) as archive:
        return {name: (tensor.shape, tensor.storage.dtype) for name, tensor in archive.tensors.items()}


def read_torch(
    path: str | os.PathLike[str], dtype: DTypeLike | None = None, names: Iterable[str] | None = None
) -> dict[str, numpy.ndarray]:
    """Read tensors from a file that ``torch.save`` (1.6 or newer) wrote, without PyTorch and without running code.

    Parameters
    ----------
    path : path-like
        The file. It holds a dict of tensors, or a dict with exactly one entry that is one
        (``{"state_dict": {...}, "epoch": 3}``).
    dtype : {None, "float32", "float64"}
        Of the arrays. None keeps float32 and float64 and widens float16 and bfloat16 to float32.
    names : iterable of str, optional
        Only these.

    Returns
    -------
    dict
        Name -> C-contiguous, writable array that owns its memory: tensors that shared a storage no longer do.

    Raises
    ------
    InputError
        For a file that is missing, empty, damaged (every record has a checksum), of the format before PyTorch 1.6, or
        claims more than it holds; for a pickle that refers to anything but tensors and dicts; for tensors that are not
        floating-point; for names that are not in it.

    Notes
    -----
    Memory: the arrays once, and a block of 4 MiB. Storages that several tensors share, or that are larger than the
    one tensor that uses them, are held beside the copies while these are made.
    """
    path = Path(path)
    check_dtype_argument(dtype)
    with _open_archive(path) as archive:
        wanted = choose_names(archive.tensors, names, path)
        for name in wanted:
            array_dtype(path, name, archive.tensors[name].storage.dtype, dtype)
        return archive.read(wanted, dtype)
