"""Trees of arrays in Flax's msgpack format: what scenic's train states are saved in.

MessagePack maps with, for what it has no type for, three extension types:

    1   an array: MessagePack again, [shape, name of the dtype, bytes in C order]
    2   a complex number
    3   a NumPy scalar, written as an array without axes

Flax cuts an array of more than 2^30 bytes into pieces of at most that:

    {"__msgpack_chunked_array__": true, "shape": {"0": ..., "1": ...}, "chunks": {"0": array, ...}}
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from io import BufferedIOBase, BytesIO
from math import prod
from pathlib import Path
from typing import Any

import numpy

from minivivit.errors import InputError, MissingExtraError
from minivivit.files.atomic import atomic_path
from minivivit.files.tensor_data import STORED_TYPES, check_data_file, quoted, reason_of

try:
    import msgpack
except ImportError:
    msgpack = None

ARRAY, SCALAR = 1, 3
CHUNKED = "__msgpack_chunked_array__"
MAX_CHUNK_BYTES = 1 << 30
WRITTEN_DTYPES = ("float16", "float32", "float64")

# What a tree of weights can be: far more than any has, and far less than what would fill the memory. Its arrays are
# limited by the bytes that the file holds; its dicts and names, of which a few bytes can make many, by these.
MAX_DICTS, MAX_ENTRIES, MAX_NAME_BYTES, MAX_DEPTH = 100_000, 10_000, 1_000, 64
MAX_EXTENSION_BYTES = MAX_CHUNK_BYTES + 4096

Progress = Callable[[int], object]


# --------------------------------------------------------------------------------------------------------------------
# Reading
# --------------------------------------------------------------------------------------------------------------------


def read_flax_msgpack(
    path: str | os.PathLike[str], places: Iterable[tuple[str, ...]], progress: Progress | None = None
) -> dict[str, Any]:
    """Read one subtree of arrays from a file that Flax wrote.

    Parameters
    ----------
    path : path-like
    places : paths of keys, such as ``("optimizer", "target")``
        Where the subtree may be. The first that the file has is read. All else in the file is walked over, so that a
        truncated file is noticed, but never held.
    progress : callable, optional
        Called with the number of bytes of each piece that was read.

    Returns
    -------
    dict
        Nested, with arrays of float16, float32 or float64 as leaves; bfloat16 is widened to float32.

    Raises
    ------
    InputError
        For a file that is missing, empty, truncated or damaged; that has none of the places; whose subtree holds
        anything but dicts and floating-point arrays, or an array that is not as large as its shape says.
    MissingExtraError
        Where the package msgpack is not installed.
    """
    require_msgpack("reading scenic checkpoints")
    path, places = Path(path), list(places)
    check_data_file(path)
    try:
        for place in places:
            tree = _read_place(path, place, progress)
            if tree is not None:
                return {key: _join_chunks(value, path, key) for key, value in _as_dict(tree, path, place).items()}
    except InputError as error:
        raise InputError(str(error) if str(path) in str(error) else f"{path}: {error}") from None
    except (msgpack.UnpackException, ValueError, RecursionError, TypeError) as error:
        reason = reason_of(error) if str(error) else "it ends too early"
        if not _reads_what_is_sound():
            version = ".".join(map(str, msgpack.version))
            raise InputError(
                f"{path} cannot be read: the installed msgpack {version} fails on sound files too ({reason}); install "
                "another: pip install --upgrade msgpack"
            ) from error
        raise InputError(f"{path} is not a whole Flax msgpack file ({reason}); copy or download it again") from None
    wanted = " or ".join(map("/".join, places))
    raise InputError(f"{path} holds no weights that are known: expected a tree of arrays under {wanted}")


def _read_place(path: Path, place: tuple[str, ...], progress: Progress | None) -> Any:
    """The subtree at `place`, or None where the file has no such keys."""
    with open(path, "rb") as file, open(path, "rb") as peek:
        stream = _Stream(_Reports(file, progress), peek)
        found = _find(stream, place)
        if stream.unpacker.tell() != path.stat().st_size:
            raise InputError(
                f"{path} has {path.stat().st_size:,} bytes, but its tree ends after {stream.unpacker.tell():,}; it is "
                "damaged or not a Flax msgpack file"
            )
    return found


def _reads_what_is_sound() -> bool:
    """Whether an error speaks of the file: the library reads one that is known to be whole (from flax 0.12.8)."""
    sound = bytes.fromhex("82a6706172616d7381a162c71501939102a7666c6f61743332c4080000803f00000040a47374657003")
    try:
        tree = _find(_Stream(_Reports(BytesIO(sound), None), BytesIO(sound)), ("params",))
        return tree["b"].tolist() == [1.0, 2.0]
    except (msgpack.UnpackException, ValueError, RecursionError, InputError):
        return False


class _Stream:
    """The values of a file one after the other, dict by dict: what msgpack would skip or build at once, it also holds.

    msgpack comes in two forms: compiled, and in Python where it has no wheel for the interpreter or
    ``MSGPACK_PUREPYTHON`` is set. Only the second holds its limits against heads, and what is skipped, too.

    Parameters
    ----------
    file : what msgpack reads
    peek : binary file
        The same file once more, in which to look at the type of what stands next.
    """

    def __init__(self, file: "_Reports", peek: BufferedIOBase):
        self.peek, self.num_dicts = peek, 0
        self.unpacker = msgpack.Unpacker(
            file,
            raw=False,
            ext_hook=_extension,
            max_buffer_size=MAX_EXTENSION_BYTES + (1 << 20),
            max_ext_len=MAX_EXTENSION_BYTES,
            max_str_len=MAX_NAME_BYTES,
            max_map_len=(1 << 32) - 1,  # dicts and lists are read by their heads alone, and never built by msgpack
            max_array_len=(1 << 32) - 1,
            max_bin_len=0,
        )

    def next_kind(self, depth: int) -> str:
        """What stands next: a dict, a list or a leaf."""
        if depth > MAX_DEPTH:
            raise InputError(f"its dicts are nested more than {MAX_DEPTH} deep; that is no tree of weights")
        self.peek.seek(self.unpacker.tell())
        first = self.peek.read(1)
        if b"\x80" <= first <= b"\x8f" or first in (b"\xde", b"\xdf"):
            return "dict"
        return "list" if b"\x90" <= first <= b"\x9f" or first in (b"\xdc", b"\xdd") else "leaf"

    def names(self, most: int | None = None) -> Iterator[str]:
        """Past the head of a dict, its keys; the caller takes what stands after each."""
        length = self.unpacker.read_map_header()
        self.num_dicts += 1
        if most is not None and (length > most or self.num_dicts > MAX_DICTS):
            raise InputError(f"it holds more than {MAX_DICTS:,} dicts, or one of more than {most:,} entries")
        for _ in range(length):
            key = self.unpacker.unpack()
            if type(key) is not str:
                raise InputError(f"a key in it is a {type(key).__name__}; expected names")
            yield key


def _find(stream: _Stream, place: tuple[str, ...], depth: int = 0) -> Any:
    """Read what stands next: all of it where `place` is (), else what `place` leads to, past everything else."""
    if not place:
        return _read(stream, depth)
    if stream.next_kind(depth) != "dict":
        _skip(stream, depth)
        return None
    found = None
    for key in stream.names():
        if key == place[0] and found is None:
            found = _find(stream, place[1:], depth + 1)
        else:
            _skip(stream, depth + 1)
    return found


def _read(stream: _Stream, depth: int) -> Any:
    """A dict with all that is in it, or a leaf."""
    kind = stream.next_kind(depth)
    if kind == "list":
        raise InputError("it holds a list among its weights; expected dicts and arrays alone")
    if kind == "leaf":
        return stream.unpacker.unpack()
    tree: dict[str, Any] = {}
    for key in stream.names(MAX_ENTRIES):
        if key in tree:
            raise InputError(f"the key {quoted(key)} occurs twice in a dict")
        tree[key] = _read(stream, depth + 1)
    return tree


def _skip(stream: _Stream, depth: int) -> None:
    """Past what stands next, a leaf at a time."""
    kind = stream.next_kind(depth)
    if kind == "leaf":
        stream.unpacker.skip()
        return
    for _ in stream.names() if kind == "dict" else range(stream.unpacker.read_array_header()):
        _skip(stream, depth + 1)


def _as_dict(tree: Any, path: Path, place: tuple[str, ...]) -> dict[str, Any]:
    """What was found at a place, which must be a dict."""
    if not isinstance(tree, dict) or CHUNKED in tree:
        raise InputError(f"{path} holds no tree of arrays under {'/'.join(place)}, but a {type(tree).__name__}")
    return tree


def _extension(code: int, data: bytes) -> Any:
    """An array from its bytes; nothing else can be a weight."""
    if code not in (ARRAY, SCALAR):
        raise InputError(f"it holds a MessagePack extension of type {code} among its weights; expected arrays alone")
    fields = msgpack.unpackb(data, raw=False, max_map_len=0, max_array_len=64, max_ext_len=0, max_str_len=64)
    if type(fields) is not list or len(fields) != 3 or type(fields[0]) is not list or type(fields[2]) is not bytes:
        raise InputError("an array in it is not [shape, name of the dtype, bytes]")
    shape, dtype, content = fields
    if type(dtype) is not str or dtype not in STORED_TYPES:
        raise InputError(f"an array in it has dtype {quoted(dtype)}; weights are one of {', '.join(STORED_TYPES)}")
    if not all(type(size) is int and size >= 0 for size in shape) or len(shape) > 32:
        raise InputError(f"an array in it has an impossible shape {quoted(shape)}")
    stored = numpy.dtype(STORED_TYPES[dtype]).newbyteorder("<")
    if prod(shape) * stored.itemsize != len(content) or prod(max(size, 1) for size in shape) >= 1 << 59:
        raise InputError(
            f"an array in it claims the shape {quoted(shape)} of {dtype}, but has {len(content):,} bytes: the file "
            "is damaged"
        )
    array = numpy.frombuffer(content, stored)
    if dtype == "bfloat16":  # the upper half of a float32
        array = (array.astype(numpy.uint32) << 16).view(numpy.float32)
    return array.reshape(shape)


def _join_chunks(tree: Any, path: Path, name: str) -> Any:
    """Put arrays that Flax cut into pieces together, and refuse leaves that are no arrays."""
    if isinstance(tree, numpy.ndarray):
        return tree
    if not isinstance(tree, dict):
        kind = type(tree).__name__
        raise InputError(
            f"{path} holds a {kind} under {quoted(name)}; expected a dict or an array of floating-point numbers"
        )
    if CHUNKED not in tree:
        return {key: _join_chunks(value, path, f"{name}/{key}") for key, value in tree.items()}
    try:
        shape, chunks = (_numbered(tree[key]) for key in ("shape", "chunks"))
        if all(type(size) is int and size >= 0 for size in shape) and all(chunk.ndim == 1 for chunk in chunks):
            return numpy.concatenate(chunks).reshape(shape)
    except (KeyError, TypeError, AttributeError, ValueError):
        pass
    raise InputError(f"{path}: the pieces of {quoted(name)} do not make up the array that they claim; it is damaged")


def _numbered(values: dict[str, Any]) -> list[Any]:
    """{"0": a, "1": b} as [a, b]"""
    return [values[str(index)] for index in range(len(values))]


# --------------------------------------------------------------------------------------------------------------------
# Writing
# --------------------------------------------------------------------------------------------------------------------


def write_flax_msgpack(path: str | os.PathLike[str], tree: Mapping[str, Any], progress: Progress | None = None) -> None:
    """Write a tree of arrays as ``flax.serialization.msgpack_serialize`` does, array by array, atomically.

    Parameters
    ----------
    path : path-like
    tree : nested mapping
        Leaves are NumPy arrays of float16, float32 or float64, whole numbers or None.
    progress : callable, optional
        Called with the number of bytes of each piece that was written.

    Raises
    ------
    InputError
        For other leaves, and keys that are no strings.
    MissingExtraError
        Where the package msgpack is not installed.
    """
    require_msgpack("writing scenic checkpoints")
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        _write_tree(_Reports(file, progress), msgpack.Packer(use_bin_type=True), tree, "")


def _write_tree(file: "_Reports", packer: Any, tree: Any, name: str) -> None:
    if isinstance(tree, Mapping):
        file.write(packer.pack_map_header(len(tree)))
        for key, value in tree.items():
            if not isinstance(key, str):
                raise InputError(f"{quoted(key)} in the tree at {quoted(name)} is no string; expected names as keys")
            file.write(packer.pack(key))
            _write_tree(file, packer, value, f"{name}/{key}" if name else key)
    elif isinstance(tree, numpy.ndarray):
        if tree.dtype.name not in WRITTEN_DTYPES:
            raise InputError(f"{quoted(name)} has dtype {tree.dtype}; expected one of {', '.join(WRITTEN_DTYPES)}")
        _write_array(file, packer, tree)
    elif tree is None or isinstance(tree, int):
        file.write(packer.pack(tree))
    else:
        raise InputError(f"{quoted(name)} is a {type(tree).__name__}; expected a NumPy array or a dict of them")


def _write_array(file: "_Reports", packer: Any, array: numpy.ndarray) -> None:
    if array.nbytes <= MAX_CHUNK_BYTES:
        content = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        data = packer.pack([list(array.shape), array.dtype.name, content])
        # Packer.pack_ext_type returns nothing before msgpack 1.1
        file.write(packer.pack(msgpack.ExtType(ARRAY, data)))
        return
    flat, size = array.reshape(-1), MAX_CHUNK_BYTES // array.itemsize
    pieces = [flat[start : start + size] for start in range(0, flat.size, size)]
    shape = {str(axis): extent for axis, extent in enumerate(array.shape)}
    file.write(packer.pack_map_header(3) + packer.pack(CHUNKED) + packer.pack(True))
    file.write(packer.pack("shape") + packer.pack(shape) + packer.pack("chunks") + packer.pack_map_header(len(pieces)))
    for index, piece in enumerate(pieces):
        file.write(packer.pack(str(index)))
        _write_array(file, packer, piece)


class _Reports:
    """A binary file that says how many bytes went through it."""

    def __init__(self, file: BufferedIOBase, progress: Progress | None):
        self.file, self.progress = file, progress or (lambda count: None)

    def read(self, count: int) -> bytes:
        data = self.file.read(count)
        self.progress(len(data))
        return data

    def write(self, data: bytes) -> None:
        self.file.write(data)
        self.progress(len(data))


def require_msgpack(purpose: str) -> None:
    """Say how to install msgpack where it is missing."""
    if msgpack is None:
        raise MissingExtraError("msgpack", "scenic", purpose)
