"""Arrays in NumPy's .npz format: a zip archive of .npy files. Nothing in it is ever unpickled."""

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
    array_dtype,
    check_data_file,
    check_dtype_argument,
    check_shape,
    choose_names,
    quoted,
    read_array,
)
from minivivit.files.torch_file import DAMAGED_ARCHIVE_ERRORS

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
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except InputError:
        raise
    except DAMAGED_ARCHIVE_ERRORS as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> InputError:
    reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return InputError(f"{path} is not a whole .npz file ({reason}); copy or download it again")


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
    if file.tell() + prod(shape) * dtype.itemsize != member.file_size:
        raise InputError(
            f"{path}: {quoted(member.filename)} claims the shape {str(shape)[:100]} of {name}, which does not agree "
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
