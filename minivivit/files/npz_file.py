"""Arrays in NumPy's .npz format: a zip archive of .npy files. Nothing in it is ever unpickled.

An array of Python objects is a pickle behind a header. The index says that it is there; its bytes stay unread.
"""

import errno
import os
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO, NamedTuple

import numpy
from numpy.typing import DTypeLike

from minivivit.errors import InputError
from minivivit.files.quiet import warnings_held_back
from minivivit.files.tensor_data import (
    BLOCK_ELEMENTS,
    array_dtype,
    check_data_file,
    check_dtype_argument,
    check_memory,
    check_shape,
    choose_names,
    quoted,
    read_array,
    reason_of,
)
from minivivit.files.torch_file import DAMAGED_ARCHIVE_ERRORS, check_directory_size

# The longest name of an array: many times what any has. Zip archives allow 65,535 letters.
MAX_NAME_LETTERS = 1000
# JAX's bfloat16, which NumPy does not know, is written as two bytes without a meaning.
BFLOAT16 = "V2"


class _Header(NamedTuple):
    """What a .npy file says of its array."""

    shape: tuple[int, ...]
    dtype: str
    byte_order: str
    fortran_order: bool


@contextmanager
def _open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open the archive, and turn what damage makes `zipfile` and `numpy` raise into one clear error."""
    check_data_file(path)
    check_directory_size(path)
    with _one_clear_error(path), zipfile.ZipFile(path) as archive:
        yield archive


@contextmanager
def _one_clear_error(path: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except OSError as error:
        if error.errno != errno.EINVAL:  # EINVAL: the archive's own offsets led outside of it
            raise
        raise _damaged(path, error) from None
    except DAMAGED_ARCHIVE_ERRORS as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} is not a whole .npz file ({reason_of(error)}); copy or download it again")


def _read_header(path: Path, file: IO[bytes], member: zipfile.ZipInfo) -> _Header:
    """Read the header, after which the file stands at the first number; the size of the file must bear it out."""
    try:
        with warnings_held_back():  # of headers that look like Python 2's
            version = numpy.lib.format.read_magic(file)
            of_version_1 = version == (1, 0)
            read = numpy.lib.format.read_array_header_1_0 if of_version_1 else numpy.lib.format.read_array_header_2_0
            shape, fortran_order, dtype = read(file)
    except OSError:
        raise
    except Exception as error:  # NumPy reads the header with Python's own parser, which fails in many ways
        raise _damaged(path, error) from None
    name = "bfloat16" if dtype.str.endswith(BFLOAT16) else dtype.name
    check_shape(path, member.filename, shape)
    if dtype.hasobject:
        return _Header(shape, "object", "<", fortran_order)
    if file.tell() + prod(shape) * dtype.itemsize != member.file_size:
        raise InputError(
            f"{path}: {quoted(member.filename)} claims the shape {quoted(shape)} of {name[:60]}, which does not agree "
            f"with its {member.file_size:,} bytes; it is damaged"
        )
    return _Header(shape, name, ">" if dtype.str.startswith(">") else "<", fortran_order)


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """Name of the array -> its file in the archive."""
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if name in members:
            raise InputError(f"{path} holds the array {quoted(name)} twice; write it again, once")
        if len(name) > MAX_NAME_LETTERS:
            raise InputError(
                f"{path} holds an array of a name of {len(name):,} letters, {quoted(name)}; is it damaged?"
            )
        members[name] = member
    return members


def npz_index(path: str | os.PathLike[str]) -> dict[str, tuple[tuple[int, ...], str]]:
    """The arrays of an .npz file, ``{name: (shape, dtype name)}``, without reading their numbers.

    Raises
    ------
    InputError
        As `read_npz`.
    """
    path = Path(path)
    index = {}
    with _open_archive(path) as archive:
        for name, member in _members(archive, path).items():
            with archive.open(member) as file:
                header = _read_header(path, file, member)
            index[name] = (header.shape, header.dtype)
    return index


def read_npz(
    path: str | os.PathLike[str], dtype: DTypeLike | None = None, names: Iterable[str] | None = None
) -> dict[str, numpy.ndarray]:
    """Read floating-point arrays from an .npz file.

    Parameters
    ----------
    path : path-like
    dtype : {None, "float32", "float64"}
        Of the arrays. None keeps float32 and float64 and widens float16 and bfloat16 to float32.
    names : iterable of str, optional
        Only these. A small compressed file can hold huge arrays: look at `npz_index` first.

    Returns
    -------
    dict
        Name -> array. Memory: the arrays once, and a block of 4 MiB.

    Raises
    ------
    InputError
        For a file that is missing, empty or damaged (every array has a checksum); for an array that is not as large as
        its shape says or is not floating-point; for an array that is there twice, and for names that are not in it.
    """
    path = Path(path)
    check_dtype_argument(dtype)
    arrays = {}
    with _open_archive(path) as archive:
        members = _members(archive, path)
        for name in choose_names(members, names, path):
            with archive.open(members[name]) as file:
                header = _read_header(path, file, members[name])
                target = array_dtype(path, name, header.dtype, dtype)
                source = f"{path}: array {quoted(name)}"
                count, order = prod(header.shape), header.byte_order
                flat = read_array(file, count, header.dtype, target, order, source)  # type: ignore[arg-type]
            arrays[name] = flat.reshape(header.shape, order="F" if header.fortran_order else "C")
    return arrays


class NpzReader:
    """An .npz file of which arrays are read a block at a time: its list of members is read once, when this is made.

    Parameters
    ----------
    path : path-like

    Raises
    ------
    InputError
        As `read_npz`.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        check_data_file(self.path)
        check_directory_size(self.path)
        with _one_clear_error(self.path):
            self._archive = zipfile.ZipFile(self.path)  # closed with this object
            self._members = _members(self._archive, self.path)

    def blocks(self, name: str) -> Iterator[numpy.ndarray]:
        """An array, row-major, as flat arrays of at most 2**20 elements: a small compressed file can hold a huge one.

        One in Fortran's order is read whole first, and so must fit into the memory.
        """
        with _one_clear_error(self.path), self._archive.open(self._members[name]) as file:
            header = _read_header(self.path, file, self._members[name])
            dtype = array_dtype(self.path, name, header.dtype, None)
            source, count = f"{self.path}: array {quoted(name)}", prod(header.shape)
            if header.fortran_order and len(header.shape) > 1:
                check_memory(count * dtype.itemsize, source)
                flat = read_array(file, count, header.dtype, dtype, header.byte_order, source)  # type: ignore[arg-type]
                flat = flat.reshape(header.shape, order="F").reshape(-1)
                yield from (flat[start : start + BLOCK_ELEMENTS] for start in range(0, count, BLOCK_ELEMENTS))
                return
            for start in range(0, count, BLOCK_ELEMENTS):
                size = min(BLOCK_ELEMENTS, count - start)
                yield read_array(file, size, header.dtype, dtype, header.byte_order, source)  # type: ignore[arg-type]
