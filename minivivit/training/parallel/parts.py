"""Which clips of a batch are whose."""

from dataclasses import dataclass

import numpy


@dataclass(frozen=True)
class Part:
    """The clips of one piece of a batch that one rank computes.

    Attributes
    ----------
    piece : int
        Which piece of the batch; with one rank, a part is a piece.
    first, size : int
        The first clip of the piece, and how many it has.
    start, stop : int
        The clips of the part: `start` up to but without `stop`.
    """

    piece: int
    first: int
    size: int
    start: int
    stop: int


def batch_parts(batch_size: int, num_pieces: int, rank: int = 0, num_ranks: int = 1) -> list[Part]:
    """The parts of a rank, one a piece; none of a piece with too few clips for all ranks.

    The batch is cut into pieces, as even as can be, whatever the number of ranks: what is drawn for a piece (dropout)
    is then the same. Each piece is cut into a part for each rank. Where that does not come out even, the ranks that are
    next in turn have one clip more, so that in all pieces together no rank has two more than another.
    """
    parts = []
    for piece, (first, stop) in enumerate(_cut(0, batch_size, min(num_pieces, batch_size))):
        edges = _cut(first, stop, num_ranks)
        start, end = edges[(rank - first) % num_ranks]
        if start < end:
            parts.append(Part(piece, first, stop - first, start, end))
    return parts


def rows_of(parts: list[Part]) -> list[int]:
    """The clips of all parts."""
    return [row for part in parts for row in range(part.start, part.stop)]


def _cut(first: int, stop: int, count: int) -> list[tuple[int, int]]:
    """(start, stop) of `count` parts, as even as can be, the larger ones first."""
    sizes = [len(part) for part in numpy.array_split(numpy.arange(first, stop), count)]
    edges = [first, *(first + int(edge) for edge in numpy.cumsum(sizes))]
    return [(edges[index], edges[index + 1]) for index in range(count)]
