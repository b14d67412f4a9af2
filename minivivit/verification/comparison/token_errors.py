"""The error of each token of a tensor: where in the clip, in time, rows and columns, it goes wrong."""

import math
import sys

import numpy

from minivivit.verification.comparison.pairing import Pair
from minivivit.verification.comparison.verdict import Comparison, Row, Source, their_blocks
from minivivit.verification.tensors.layouts import undo_layout
from minivivit.verification.tensors.source import open_source

SMALLEST_UNIT = 1e-300
Grid = tuple[int, int, int]  # tubelets in time, rows, columns
Tokens = tuple[numpy.ndarray, float | None]  # errors of the shape of the grid, and the CLS token's


def rms_by_position(row: Row, comparison: Comparison, ours: Source, theirs: Source) -> numpy.ndarray:
    """Root mean square of theirs less ours along the last axis: an array of the shape without it.

    Both are read block by block. Entries that are not finite in both count as 0. Squares are summed in units of the
    largest difference, so that they neither overflow nor vanish.
    """
    ours, theirs = open_source(ours), open_source(theirs)
    _, blocks = their_blocks(Pair(row.name, row.their_name, row.layout), ours, theirs, comparison.heads)
    assert blocks is not None
    width = row.shape[-1] if row.shape else 1
    unit = _unit(row)
    squares = numpy.zeros(math.prod(row.shape[:-1]))
    start = 0
    with numpy.errstate(over="ignore", invalid="ignore", under="ignore"):
        for left, right in zip(ours.blocks(row.name), blocks(), strict=True):
            difference = _difference(left, right, unit)
            difference[~numpy.isfinite(difference)] = 0.0
            first = start // width
            sums = numpy.bincount((numpy.arange(start, start + left.size) // width) - first, difference**2)
            squares[first : first + sums.size] += sums
            start += left.size
    return _times(numpy.sqrt(squares / max(width, 1)), unit).reshape(row.shape[:-1])


def _unit(row: Row) -> float:
    """The largest difference of a pair, as far as float64 holds it; 1 where there is none."""
    largest = row.error.max_abs if row.error is not None else 0.0
    return min(max(largest, SMALLEST_UNIT), sys.float_info.max) if largest else 1.0


def _difference(ours: numpy.ndarray, theirs: numpy.ndarray, unit: float) -> numpy.ndarray:
    """(theirs - ours) / unit by way of halves, whose difference cannot overflow."""
    return (theirs * 0.5 - ours * 0.5) / (unit * 0.5)


def _times(errors: numpy.ndarray, unit: float) -> numpy.ndarray:
    """`errors` back in their own unit; what float64 cannot hold is its largest number."""
    with numpy.errstate(over="ignore", under="ignore"):
        return numpy.minimum(errors * unit, sys.float_info.max)


def token_errors(errors: numpy.ndarray, grid: Grid) -> Tokens | None:
    """Errors by position put in their places in the clip.

    Parameters
    ----------
    errors : array
        Of the shape of a tensor without its last axis; its last axis counts tokens: of the clip; of a frame, where an
        axis before it, or the batch axis, counts times; or of a time, likewise.
    grid : (times, rows, columns)

    Returns
    -------
    tokens : array, shape (times, rows, columns)
        Root mean square over all else. A time without rows and columns gives (times, 1, 1).
    cls : float or None
        The CLS token's, where there is one.
    """
    times, rows, columns = grid
    if errors.ndim < 2 or errors.size == 0:
        return None
    unit = float(errors.max()) or 1.0
    with numpy.errstate(under="ignore"):
        squares, cls, number = (errors / unit) ** 2, None, errors.shape[-1]
    for tokens, shape in ((math.prod(grid), grid), (rows * columns, (1, rows, columns)), (times, (times, 1, 1))):
        if number not in (tokens, tokens + 1):
            continue
        if number == tokens + 1:
            cls, squares = float(numpy.sqrt(squares[..., 0].mean())) * unit, squares[..., 1:]
        others = math.prod(squares.shape[:-1])
        missing = math.prod(grid) // tokens  # frames of a clip or places of a frame: an axis before this one
        if missing > 1 and others % missing == 0:
            squares = squares.reshape(-1, missing, tokens).mean(axis=0)
            squares = squares if tokens == rows * columns else squares.T
            return _times(numpy.sqrt(squares.reshape(grid)), unit), cls
        return _times(numpy.sqrt(squares.reshape(-1, tokens).mean(axis=0).reshape(shape)), unit), cls
    return None


def pixel_errors(row: Row, comparison: Comparison, ours: Source, theirs: Source, grid: Grid) -> Tokens | None:
    """Root mean square of theirs less ours over the pixels of each tubelet; None when they are not frames.

    Both clips are read whole.
    """
    ours, theirs = open_source(ours), open_source(theirs)
    if len(row.shape) != 5:
        return None
    batch, frames, channels, height, width = row.shape
    depth, tall, wide = (size // number for size, number in zip((frames, height, width), grid, strict=True))
    if 0 in (batch, depth, channels, tall, wide):
        return None
    clip = undo_layout(theirs.read(row.their_name), row.layout, row.shape, comparison.heads)
    unit = _unit(row)
    with numpy.errstate(over="ignore", invalid="ignore", under="ignore"):
        difference = _difference(ours.read(row.name), clip, unit)
    difference = numpy.nan_to_num(difference, nan=0.0, posinf=0.0, neginf=0.0)
    times, rows, columns = grid
    whole = difference[:, : times * depth, :, : rows * tall, : columns * wide]  # no tubelet covers what is left
    tubelets = whole.reshape(batch, times, depth, channels, rows, tall, columns, wide)
    with numpy.errstate(under="ignore"):
        return _times(numpy.sqrt((tubelets**2).mean(axis=(0, 2, 3, 5, 7))), unit), None
