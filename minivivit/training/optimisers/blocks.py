"""Blocks of arrays: what lets an elementwise update of millions of numbers stay in the processor's cache.

An optimiser's formula, written plainly, makes a temporary array for each operation. On whole tensors these temporaries
are as large as the tensor and travel to memory and back; on blocks of it they stay in the cache. The numbers are the
same to the bit, because every element is computed for itself.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy

from minivivit.backend import Array, num_threads, parallel_blocks

# 2^15 float64 numbers are 256 KiB; the four or five blocks of an AdamW update fit in a second-level cache.
BLOCK_ELEMENTS = 32768


def split_into_blocks(*arrays: Array, xp: Any = numpy) -> list[tuple[Array, ...]]:
    """Cut arrays of one shape along their first axis into views of about `BLOCK_ELEMENTS` elements.

    Slices of the first axis are views whatever the strides, so what is written to a block is written to the array.
    A GPU gets each array in one piece: there a block would only be one more kernel to launch.

    Parameters
    ----------
    *arrays : arrays of the same shape, with at least one axis
    xp : module
        The arrays' library.

    Returns
    -------
    list of tuples
        One tuple a block, with the view of each array in the order given.
    """
    rows = len(arrays[0])
    row_elements = max(1, arrays[0].size // max(1, rows))
    step = max(1, rows if xp is not numpy else BLOCK_ELEMENTS // row_elements)
    return [tuple(array[start : start + step] for array in arrays) for start in range(0, rows, step)]


def for_each_block(update: Callable[..., None], blocks: Sequence[tuple], xp: Any = numpy) -> None:
    """Call ``update(*block)`` for every block, the blocks dealt out evenly to the threads.

    Each call must write only to its own block; then the result does not depend on the number of threads.
    """

    def run(share: Sequence[tuple]) -> None:
        for block in share:
            update(*block)

    count = num_threads()
    shares = [blocks[first::count] for first in range(min(count, len(blocks)))]
    parallel_blocks([lambda share=share: run(share) for share in shares], xp)  # type: ignore[misc]
