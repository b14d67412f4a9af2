"""Tensors by name, wherever they lie, read a block at a time: what traces are compared from."""

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy

from minivivit.backend import Array, to_numpy
from minivivit.errors import InputError
from minivivit.files.json_file import parse_json_object, read_json
from minivivit.files.npz_file import NpzReader, npz_index
from minivivit.files.safetensors_file import SafetensorsReader
from minivivit.files.tensor_data import BLOCK_ELEMENTS, STORED_TYPES, check_memory, listed, quoted
from minivivit.files.weights import read_shard_index

# A trace is laid out as transformers lays out sharded checkpoints; this is the name of its index.
TRACE_INDEX = "trace.safetensors.index.json"
INDEX_FILES = (TRACE_INDEX, "model.safetensors.index.json")
# In the metadata of a safetensors file: its names in the order of execution, a JSON list.
ORDER = "order"
WIDTHS = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}  # bytes


class TensorSource:
    """Tensors by name, in the order in which they were made.

    Attributes
    ----------
    path : str
        Where they lie, for messages.
    shapes : dict of str to tuple of int
        Name -> shape, in the order of execution (a file without a list of it: in the file's order).
    dtypes : dict of str to str
        Name -> dtype as stored, such as ``"bfloat16"``.
    metadata : dict
        What the index says beside the names; empty for a single file.
    left_out : dict of str to str
        Name -> dtype of what is stored there too and is no floating-point tensor.
    order_given : bool
        Whether the order was written down as that of execution, and is not just how the file lies.
    """

    path: str
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str]
    metadata: dict[str, Any]
    left_out: dict[str, str]
    order_given: bool = False

    def blocks(self, name: str) -> Iterator[numpy.ndarray]:
        """The tensor, row-major, as flat arrays of float64 of at most 2**20 elements, one after the other."""
        raise NotImplementedError

    def read(self, name: str) -> numpy.ndarray:
        """The whole tensor, in float64."""
        check_memory(8 * math.prod(self.shapes[name]), f"{self.path}: tensor {quoted(name)}")
        array = numpy.empty(self.shapes[name], "float64")
        flat, start = array.reshape(-1), 0
        for block in self.blocks(name):
            flat[start : start + block.size] = block
            start += block.size
        return array

    def __contains__(self, name: str) -> bool:
        return name in self.shapes

    @property
    def alphabetical(self) -> bool:
        """Whether the names are sorted, as writers do that know no order: by name, or those of one dtype by name."""
        names = list(self.shapes)
        by_width = sorted(names, key=lambda name: (-WIDTHS[self.dtypes[name]], name))
        return not self.order_given and len(names) > 2 and names in (by_width, sorted(names))

    def _index(self, entries: Mapping[str, tuple[tuple[int, ...], str]]) -> None:
        stored = {name: dtype for name, (_, dtype) in entries.items()}
        self.dtypes = {name: dtype for name, dtype in stored.items() if dtype in STORED_TYPES}
        self.left_out = {name: dtype for name, dtype in stored.items() if name not in self.dtypes}
        self.shapes = {name: entries[name][0] for name in self.dtypes}
        if self.left_out and not self.shapes:
            raise InputError(f"{self.path} holds no floating-point tensor, only {listed(self.left_out)}")


class ArraySource(TensorSource):
    """Arrays in memory: a dict of names to NumPy or CuPy arrays, in order."""

    def __init__(self, arrays: Mapping[str, Array], metadata: Mapping[str, Any] | None = None, path: str = "memory"):
        self.path, self.metadata = path, dict(metadata or {})
        self.arrays = {name: numpy.asarray(to_numpy(array)) for name, array in arrays.items()}
        self._index({name: (array.shape, array.dtype.name) for name, array in self.arrays.items()})

    def blocks(self, name: str) -> Iterator[numpy.ndarray]:
        """See `TensorSource`."""
        return _cut(self.arrays[name])


class NpzSource(TensorSource):
    """An .npz file."""

    def __init__(self, path: Path):
        self.path, self.metadata = str(path), {}
        self._index(npz_index(path))
        self.reader = NpzReader(path)

    def blocks(self, name: str) -> Iterator[numpy.ndarray]:
        """See `TensorSource`."""
        yield from map(_widened, self.reader.blocks(name))


class SafetensorsSource(TensorSource):
    """A safetensors file, or a directory of them with an index."""

    def __init__(self, path: Path):
        self.path, self.metadata = str(path), {}
        self.readers: dict[str, SafetensorsReader] = {}  # name of a tensor -> the file that it is in
        if not path.is_dir():
            reader = SafetensorsReader(path)
            self.readers = dict.fromkeys(reader.index, reader)
            order = _written_order(reader)
            self.order_given = order is not None
            self._index({name: reader.index[name] for name in order or reader.index})
            return
        index = next((path / name for name in INDEX_FILES if (path / name).is_file()), None)
        if index is None:
            raise InputError(f"{path} holds no {TRACE_INDEX}; expected a directory that minivivit trace wrote")
        found: dict[str, tuple[tuple[int, ...], str]] = {}
        for shard, names in read_shard_index(index).items():
            reader = SafetensorsReader(path / shard)
            if names != reader.index.keys():
                odd = listed(sorted(names ^ reader.index.keys()))
                raise InputError(f"{index} and {shard} do not agree about {odd}; the trace is damaged: write it again")
            found |= reader.index
            self.readers |= dict.fromkeys(names, reader)
        contents = read_json(index)
        self.metadata = contents.get("metadata", {})
        if not isinstance(self.metadata, dict):
            raise InputError(f"the metadata of {index} is {quoted(self.metadata)}; expected an object")
        self.order_given = index.name == TRACE_INDEX
        self._index({name: found[name] for name in contents["weight_map"]})

    def blocks(self, name: str) -> Iterator[numpy.ndarray]:
        """See `TensorSource`."""
        size = math.prod(self.shapes[name])
        for start in range(0, size, BLOCK_ELEMENTS):
            count = min(BLOCK_ELEMENTS, size - start)
            yield _widened(self.readers[name].read_elements(name, start, count))


def _written_order(reader: SafetensorsReader) -> list[str] | None:
    """The names of a safetensors file in the order of execution, where its metadata say it; what they omit comes last.

    Raises
    ------
    InputError
        For an order that is no list of names of the file.
    """
    text = reader.metadata.get(ORDER)
    if text is None:
        return None
    known = dict.fromkeys(reader.index)
    where = f"the metadata {ORDER!r} of {reader.path}"
    order = parse_json_object(f'{{"{ORDER}": {text}}}'.encode(), where)[ORDER]
    if not isinstance(order, list) or any(not isinstance(name, str) for name in order):
        raise InputError(f"{where} is {quoted(order)}; expected a list of names")
    strange = [name for name in order if name not in known]
    if strange or len(set(order)) < len(order):
        raise InputError(f"{where} names {listed(strange or order, 3)}, which it does not hold, or names one twice")
    return list(dict.fromkeys([*order, *known]))


def open_source(source: str | os.PathLike[str] | Mapping[str, Array] | TensorSource) -> TensorSource:
    """The tensors of a trace's directory, a ``.safetensors`` file, an ``.npz`` file, or a dict of arrays.

    Raises
    ------
    InputError
        For what is none of these, is damaged, or holds tensors of which none is floating-point.
    """
    if isinstance(source, TensorSource):
        return source
    if isinstance(source, Mapping):
        return ArraySource(source)
    path = Path(source)
    if not path.exists():
        raise InputError(f"{path} does not exist; expected a trace's directory, a .safetensors file or an .npz file")
    if path.is_dir() or path.suffix == ".safetensors":
        return SafetensorsSource(path)
    if path.suffix == ".npz":
        return NpzSource(path)
    raise InputError(f"{path} is no trace by its name; expected a directory, a .safetensors file or an .npz file")


def _cut(array: numpy.ndarray) -> Iterator[numpy.ndarray]:
    """Flat blocks of float64."""
    flat = numpy.ascontiguousarray(array).reshape(-1)
    for start in range(0, flat.size, BLOCK_ELEMENTS):
        yield _widened(flat[start : start + BLOCK_ELEMENTS])


def _widened(block: numpy.ndarray) -> numpy.ndarray:
    """In float64; what a NaN becomes is a NaN, of which NumPy would warn where it is a signalling one."""
    with numpy.errstate(invalid="ignore"):
        return block.astype("float64", copy=False)
