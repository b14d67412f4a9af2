"""Rows of their tensors in our layout: some of a large tensor, evenly spread, all of a small one."""

import math
from collections.abc import Callable, Iterator, Mapping

import numpy

Array = numpy.ndarray
Blocks = Callable[[], Iterator[Array]]
# So many rows of a tensor are looked at, and so many tensors of that many rows kept.
ROWS, KEPT = 160, 8


class Rows:
    """Rows of tensors, which is all axes but the last taken together.

    Parameters
    ----------
    shapes : dict of str to tuple of int
        Of our tensors.
    blocks : callable
        From our name to a function that gives the blocks of theirs; None where they have none that can be compared.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], blocks: Callable[[str], Blocks | None]):
        self.shapes, self.blocks = shapes, blocks
        self.kept: dict[str, Array] = {}

    def indices(self, name: str) -> Array:
        """Which rows are looked at."""
        number = math.prod(self.shapes[name][:-1])
        return numpy.unique(numpy.linspace(0, number - 1, min(number, ROWS)).round().astype(int))

    def of(self, name: str, indices: Array | None = None) -> Array | None:
        """Those rows, or others, (rows, features)."""
        if indices is not None:
            return self._read(name, indices)
        if name not in self.kept:
            found = self._read(name, self.indices(name)) if name in self.shapes else None
            if found is None:
                return None
            while len(self.kept) >= KEPT:
                self.kept.pop(next(iter(self.kept)))
            self.kept[name] = found
        return self.kept[name]

    def _read(self, name: str, indices: Array) -> Array | None:
        blocks = self.blocks(name) if name in self.shapes else None
        if blocks is None:
            return None
        width = self.shapes[name][-1]
        order = numpy.argsort(indices, kind="stable")
        places = (indices[order, None] * width + numpy.arange(width)).reshape(-1)
        flat, start = numpy.empty(places.size), 0
        for block in blocks():
            low, high = numpy.searchsorted(places, (start, start + block.size))
            flat[low:high] = block[places[low:high] - start]
            start += block.size
            if high == places.size:
                break
        rows = numpy.empty((len(indices), width))
        rows[order] = flat.reshape(len(indices), width)
        return rows
