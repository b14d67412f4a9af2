"""Floating-point tensors as bytes of a file: read block by block into arrays, half precisions widened.

Reading in blocks into the final array keeps the peak at the weights themselves plus one block. A memory map would not:
its pages count as the process's memory as soon as they are touched, beside the arrays that they are copied to.
"""

import os
import reprlib
from collections.abc import Iterable
from io import BufferedIOBase
from math import prod
from pathlib import Path

import numpy
from numpy.typing import DTypeLike

from minivivit.backend import DTYPES
from minivivit.errors import InputError

# The types that weights come in, and how NumPy reads their bytes. NumPy has no bfloat16, but a bfloat16 is the upper
# half of the float32 of the same value: read it as a 16-bit integer, shift it up by 16 bits, call it a float32.
STORED_TYPES = {"float16": "f2", "bfloat16": "u2", "float32": "f4", "float64": "f8"}

BLOCK_ELEMENTS = 1 << 20
LARGEST_ARRAY_BYTES = 1 << 62


# ``repr`` that looks at no more of a value than a line can show, whatever a file makes of it: text of megabytes, lists
# in lists in lists, whole numbers of more digits than Python writes.
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother, _SHORT.maxlong = 4, 100, 100, 60
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxset = _SHORT.maxfrozenset = _SHORT.maxdict = 30


def quoted(name: object) -> str:
    """A name found in a file, fit for a one-line message: quoted, escaped, not longer than 100 characters."""
    if isinstance(name, str):
        text = repr(str(name[:100]))
        return text if len(name) <= 100 and len(text) <= 100 else f"{text[:96].rstrip(text[0])}...{text[0]}"
    try:
        text = " ".join(_SHORT.repr(name).split())
    except ValueError:  # more digits than Python writes
        text = f"a {type(name).__name__} of more digits than can be shown"
    return text if len(text) <= 100 else text[:97] + "..."


def listed(names: Iterable[str], limit: int = 5) -> str:
    """The first few names, quoted, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(map(quoted, names[:limit])) + more


def all_listed(items: Iterable[str], letters: int = 20_000) -> str:
    """All of `items`, as far as `letters` go, and how many more there are: names of a whole model, but no megabytes.

    An item that comes from a hostile file is cut short and kept on the line.
    """
    items, shown, length = list(items), [], 0
    for item in items:
        shown.append(item if item.isprintable() and len(item) <= 300 else repr(item[:300]))
        length += len(shown[-1]) + 2
        if length > letters:
            break
    more = f" and {len(items) - len(shown):,} more" if len(shown) < len(items) else ""
    return ", ".join(shown) + more


def reason_of(error: BaseException) -> str:
    """What another library says of a file, fit for a one-line message: its first line, of at most 200 characters."""
    line = next(iter(str(error)[:1000].splitlines()), "") or type(error).__name__
    return "".join(letter if letter.isprintable() else " " for letter in line[:200])


def check_is_file(path: Path, expected: str) -> None:
    """Refuse a directory, and what is not there or is no file, where `expected` should be."""
    if path.is_dir():
        raise InputError(f"{path} is a directory; expected {expected}: give the name of the file")
    if not path.is_file():
        raise InputError(f"{path} does not exist or is not a file; expected {expected} there")


def check_data_file(path: Path) -> None:
    """Refuse what cannot be a file of tensors: nothing there, nothing in it, or a Git LFS pointer in its place."""
    check_is_file(path, "a file of weights")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty; copy or download it again")
    with open(path, "rb") as file:
        if file.read(20) == b"version https://git-":
            raise InputError(f"{path} is a Git LFS pointer, not the weights; run  git lfs pull  in its repository")


def check_dtype_argument(dtype: DTypeLike | None) -> None:
    """Refuse a `dtype` argument that is not None, "float32" or "float64" (or the NumPy type of that name)."""
    if dtype is None:
        return
    try:
        name = numpy.dtype(dtype).name
    except TypeError:
        name = ""
    if name not in DTYPES:
        raise InputError(f"dtype is {quoted(dtype)}; expected None or one of {', '.join(map(repr, DTYPES))}")


def choose_names(available: Iterable[str], names: Iterable[str] | None, path: Path) -> list[str]:
    """The names to read: all that are available, or those asked for once it is known that the file has them."""
    if names is None:
        return list(available)
    wanted = list(names)
    known = set(available)
    missing = [name for name in wanted if name not in known]
    if missing:
        raise InputError(f"{path} has no tensor {listed(missing)}; it holds {len(known)}: {listed(sorted(known), 3)}")
    return wanted


def array_dtype(path: Path, name: str, stored: str, dtype: DTypeLike | None) -> numpy.dtype:
    """The dtype of the array that a tensor stored as `stored` becomes: `dtype`, or, where that is None, its own type if
    NumPy computes with it (float32, float64) and float32 for the half precisions. Weights of other types are refused.
    """
    if stored not in STORED_TYPES:
        expected = ", ".join(STORED_TYPES)
        raise InputError(f"{path}: tensor {quoted(name)} has dtype {stored}; weights are one of {expected}")
    own = stored if stored in DTYPES else "float32"
    return numpy.dtype(own if dtype is None else dtype)


def check_shape(path: Path, name: str, shape: tuple[int, ...]) -> None:
    """Refuse shapes that no array can have although they hold few elements or none: (0, 2**62, 2**62), (-2, -3)."""
    possible = len(shape) <= 32 and all(type(size) is int and 0 <= size <= LARGEST_ARRAY_BYTES for size in shape)
    if not possible or prod(max(size, 1) for size in shape) * 8 > LARGEST_ARRAY_BYTES:
        raise InputError(f"{path}: tensor {quoted(name)} has an impossible shape {quoted(shape)}; the file is damaged")


def check_memory(count: int, what: str) -> None:
    """Refuse to take `count` bytes of memory for `what` where the machine does not have them."""
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else count
    if count > available:
        raise InputError(
            f"{what} takes {count / 1e9:,.1f} GB, but this machine has {available / 1e9:,.1f} GB of memory"
        )


def read_array(
    file: BufferedIOBase, count: int, stored: str, dtype: numpy.dtype, byte_order: str, source: str
) -> numpy.ndarray:
    """Read the next `count` elements of type `stored` from `file` into a new array.

    Parameters
    ----------
    file : binary file
        Stands at the first element. The caller has checked that `count` elements fit into it: `count` numbers of
        memory are taken at once.
    count : int
    stored : str
        A key of `STORED_TYPES`.
    dtype : numpy.dtype
        Of the result, in native byte order. A value too large for it becomes an infinity (see `check_finite`).
    byte_order : {"<", ">"}
        Of the file.
    source : str
        Where the bytes come from, for the error.

    Returns
    -------
    numpy.ndarray of shape (count,)
    """
    array = numpy.empty(count, dtype)
    stored_dtype = numpy.dtype(byte_order + STORED_TYPES[stored])
    buffer = numpy.empty(0 if stored_dtype == dtype else min(count, BLOCK_ELEMENTS), stored_dtype)
    for start in range(0, count, BLOCK_ELEMENTS):
        block = array[start : start + BLOCK_ELEMENTS]
        if stored_dtype == dtype:
            _read_exactly(file, block, source)
            continue
        elements = buffer[: block.size]
        _read_exactly(file, elements, source)
        if stored == "bfloat16":
            elements = (elements.astype(numpy.uint32) << 16).view(numpy.float32)
        with numpy.errstate(over="ignore", invalid="ignore"):
            block[...] = elements
    return array


def _read_exactly(file: BufferedIOBase, block: numpy.ndarray, source: str) -> None:
    """Fill `block` with the next bytes of `file`."""
    remaining = block.view(numpy.uint8).data
    while remaining:
        received = file.readinto(remaining)
        if not received:
            raise InputError(f"{source} ends {len(remaining):,} bytes too early; copy or download it again")
        remaining = remaining[received:]


def check_finite(path: str | os.PathLike[str], name: str, array: numpy.ndarray) -> None:
    """Refuse NaN and infinities, by the name of the tensor that holds them. `array` is contiguous, of any shape."""
    elements = array.reshape(-1)
    for start in range(0, elements.size, BLOCK_ELEMENTS):
        finite = numpy.isfinite(elements[start : start + BLOCK_ELEMENTS])
        if not finite.all():
            position = tuple(int(i) for i in numpy.unravel_index(start + int(finite.argmin()), array.shape))
            too_large = ", or its numbers need dtype='float64'" if array.dtype != numpy.float64 else ""
            raise InputError(
                f"{path}: tensor {quoted(name)} holds {array[position]} at {position} when read as {array.dtype}, but "
                f"weights must be finite: the training diverged or the file is damaged{too_large}"
            )
