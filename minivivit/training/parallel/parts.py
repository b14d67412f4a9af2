"""Which clips of a batch are whose."""

from itertools import pairwise


def cut(clips: range, count: int) -> list[range]:
    """`count` parts, one after the other, as even as can be, the larger ones first; with too few clips, empty ones."""
    size, larger = divmod(len(clips), count)
    edges = [part * size + min(part, larger) for part in range(count + 1)]
    return [clips[start:stop] for start, stop in pairwise(edges)]


def pieces_of(clips: range, count: int) -> list[range]:
    """Up to `count` parts, none of them empty."""
    return [piece for piece in cut(clips, min(count, max(1, len(clips)))) if piece]


def pieces_of_batches(num_clips: int, batch_size: int, num_pieces: int) -> list[list[range]]:
    """The clips in batches, each of them cut into up to `num_pieces`."""
    firsts = range(0, num_clips, batch_size)
    batches = [range(first, min(first + batch_size, num_clips)) for first in firsts]
    return [pieces_of(batch, num_pieces) for batch in batches]


def clips_of(rank: int, num_ranks: int, batch_size: int) -> range:
    """The clips of a batch that a rank computes; none where there are fewer clips than ranks."""
    return cut(range(batch_size), num_ranks)[rank]
