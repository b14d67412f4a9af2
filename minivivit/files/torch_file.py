"""Tensors in PyTorch's own file format (``pytorch_model.bin``, ``torch.save``), read without PyTorch.

Since PyTorch 1.6 such a file is an uncompressed zip archive:

    NAME/data.pkl     a pickle of the state dict; where a tensor's numbers should stand, it names a record
    NAME/data/0       the numbers of the first storage, raw; then 1, 2, ...
    NAME/byteorder    "little" or "big" (newer files)

The pickle is read by `restricted_pickle`, which cannot run code; numbers are read only when everything that the
pickle claims about them has been checked against the sizes of the records, and those against the size of the file.
Older files are read by `torch_legacy_file`.
"""

import errno
import os
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Any

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
from minivivit.files.torch_legacy_file import LegacyFile
from minivivit.files.torch_pickle import (
    ALLOWED,
    MAX_PICKLE_BYTES,
    Storage,
    Tensor,
    are_sizes,
    find_state_dict,
    storage_type,
)

# Views may overlap and repeat (stride 0), so that tensors may be larger than the file that they are in. Without such
# views a byte of the file is at most half an element; this leaves room for four times that, and for any small model.
MAX_ELEMENTS_PER_BYTE = 2
ALWAYS_ALLOWED_ELEMENTS = 8 * 1024 * 1024

# What an archive says of its records, at its end: 150 bytes each. Filled for that purpose, `zipfile` takes a second for
# every 2 MB of it.
MAX_DIRECTORY_BYTES = 4 * 1024 * 1024
# Where a tar archive says that it is one.
TAR_MARK = (257, b"ustar")

# What `zipfile` raises, besides OSError, when an archive is damaged in one way or another.
DAMAGED_ARCHIVE_ERRORS = (
    *(zipfile.BadZipFile, struct.error, zlib.error),
    *(ValueError, RuntimeError, NotImplementedError, EOFError, OverflowError),
)

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
        self.storages: dict[str, Storage] = {}
        self.tensors = self.read_pickle()

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

    def read_pickle(self) -> dict[str, Tensor]:
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
        return find_state_dict(self.path, value)

    def find_storage(self, persistent_id: Any) -> Storage:
        """The storage that ``("storage", torch.FloatStorage, key, device, count)`` names, its size checked."""
        if type(persistent_id) is not tuple or len(persistent_id) != 5 or persistent_id[0] != "storage":
            raise UnpicklingError("its pickle names a storage in an unknown way")
        tag, key, count = persistent_id[1], persistent_id[2], persistent_id[4]
        dtype, item_size = storage_type(tag)
        if type(key) is not str or not are_sizes((count,)):
            raise UnpicklingError("its pickle names a storage in an unknown way")
        record = self.records.get(f"{self.root}/data/{key}")
        if record is None:
            raise UnpicklingError(f"its storage {quoted(key)} is missing; the file is damaged")
        if record.file_size != count * item_size:
            raise UnpicklingError(
                f"its storage {quoted(key)} has {record.file_size:,} bytes, but {count:.6g} elements of {dtype} were "
                "promised; the file is damaged"
            )
        storage = Storage(key, dtype, count)
        if self.storages.setdefault(key, storage) != storage:
            raise UnpicklingError(f"its storage {quoted(key)} is said to have two dtypes; the file is damaged")
        return storage

    def open(self, key: str) -> IO[bytes]:
        """The record of a storage, at its first element."""
        return self.archive.open(self.records[f"{self.root}/data/{key}"])


def _check_total_size(file: _Archive | LegacyFile) -> None:
    """Refuse views that would take far more memory than the file has bytes."""
    for name, tensor in file.tensors.items():
        check_shape(file.path, name, tensor.shape)
    items, size = sum(prod(tensor.shape) for tensor in file.tensors.values()), file.path.stat().st_size
    if items > max(MAX_ELEMENTS_PER_BYTE * size, ALWAYS_ALLOWED_ELEMENTS):
        raise InputError(
            f"{file.path} has {size:,} bytes, but its tensors claim {items:.6g} numbers; such views are refused: "
            "make the tensors contiguous and save them again"
        )


def _read(file: _Archive | LegacyFile, names: list[str], dtype: DTypeLike | None) -> dict[str, numpy.ndarray]:
    """The named tensors. Each storage is read once, and let go before the next one."""
    by_storage: dict[str, list[str]] = {}
    for name in names:
        by_storage.setdefault(file.tensors[name].storage.key, []).append(name)
    arrays: dict[str, numpy.ndarray] = {}
    for key, users in by_storage.items():
        storage = file.tensors[users[0]].storage
        target = array_dtype(file.path, users[0], storage.dtype, dtype)
        with file.open(key) as numbers:
            source = f"{file.path}: storage {quoted(key)}"
            elements = read_array(numbers, storage.count, storage.dtype, target, file.byte_order, source)  # type: ignore[arg-type]
        for name in users:
            arrays[name] = _take_view(elements, file.tensors[name], share=len(users) == 1)
    return {name: arrays[name] for name in names}


def _take_view(elements: numpy.ndarray, tensor: Tensor, share: bool) -> numpy.ndarray:
    """The tensor as an array of its own; with `share`, without a copy where the tensor is its whole storage."""
    if 0 in tensor.shape:
        return numpy.empty(tensor.shape, elements.dtype)
    strides = tuple(stride * elements.itemsize for stride in tensor.strides)
    view = numpy.lib.stride_tricks.as_strided(elements[tensor.offset :], tensor.shape, strides)
    if share and view.flags.c_contiguous and view.size == elements.size:
        return elements.reshape(tensor.shape)
    return numpy.array(view, order="C")


@contextmanager
def _open(path: Path) -> Iterator[_Archive | LegacyFile]:
    """Open a PyTorch file of either format."""
    check_data_file(path)
    with open(path, "rb") as file:
        start = file.read(4)
        file.seek(TAR_MARK[0])
        is_tar = file.read(len(TAR_MARK[1])) == TAR_MARK[1]
        file.seek(0)
        if start[:1] == b"\x80":
            legacy = LegacyFile(path, file)
            _check_total_size(legacy)
            yield legacy
            return
    if is_tar:
        raise InputError(
            f"{path} is a tar archive, PyTorch's format from before version 0.2, which only PyTorch itself reads; save "
            "it again there:  torch.save(torch.load(path, weights_only=False), path)"
        )
    if start != b"PK\x03\x04":
        raise InputError(f"{path} is not a file that torch.save wrote: it is no zip archive; copy or download it again")
    with _open_archive(path) as archive:
        yield archive


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
    """Open a zip archive, and turn what a damaged one makes `zipfile` raise into one clear error."""
    check_directory_size(path)
    try:
        with zipfile.ZipFile(path) as archive:
            opened = _Archive(path, archive)
            _check_total_size(opened)
            yield opened
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
    with _open(Path(path)) as file:
        return {name: (tensor.shape, tensor.dtype) for name, tensor in file.tensors.items()}


def read_torch(
    path: str | os.PathLike[str], dtype: DTypeLike | None = None, names: Iterable[str] | None = None
) -> dict[str, numpy.ndarray]:
    """Read tensors from a file that ``torch.save`` (0.2 or newer) wrote, without PyTorch and without running code.

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
        For a file that is missing, empty, damaged (since PyTorch 1.6 every record has a checksum), a tar archive (as
        before PyTorch 0.2), or claims more than it holds; for a pickle that refers to anything but tensors and dicts;
        for tensors that are not floating-point; for names that are not in it.

    Notes
    -----
    Memory: the arrays once, and a block of 4 MiB. Storages that several tensors share, or that are larger than the
    one tensor that uses them, are held beside the copies while these are made.
    """
    path = Path(path)
    check_dtype_argument(dtype)
    with _open(path) as file:
        wanted = choose_names(file.tensors, names, path)
        for name in wanted:
            array_dtype(path, name, file.tensors[name].dtype, dtype)
        return _read(file, wanted, dtype)
