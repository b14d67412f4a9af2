"""Which clips of a batch, or which batches, are to be made: all, unless several processes share them."""

from collections.abc import Callable, Sequence

# From how many there are to the places of those that are wanted.
Wanted = Callable[[int], Sequence[int]]


def all_of_them(count: int) -> Sequence[int]:
    """Every one."""
    return range(count)
