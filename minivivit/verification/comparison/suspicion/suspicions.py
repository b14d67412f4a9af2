r"""Tensors whose error no budget exceeds, and that no rounding of their own operator makes.

A budget measures what rounding does to a whole run: the error of a tensor is mostly inherited, and beside that a
mistake in one operator may be small. So here each operator is run on what theirs was given: in float64, on their own
recorded inputs and the weights as their precision stores them. What theirs put out may then differ by nothing but the
rounding of the operator's own steps, which is known beforehand. For the textbook's steps, of which step k may move
entry i by at most :math:`s_{ik}` (see `minivivit.verification.comparison.suspicion.operators`), let
:math:`s_i^2 = \sum_k s_{ik}^2`. Rounding errors are spread evenly over what is at most, and their signs are as good as
random: those of K steps make an error whose rms is about :math:`0.4 s` (a number rounded to nearest is off by 0.41 of
the most in rms), whatever its inputs' errors. So theirs is suspicious where

- the whole error is more than the norm of s: six times the rounding errors that the textbook has, or each at its most;
- that of one row (a token) or column (a feature) is more than twice that;
- one entry's is more than four times, which K = 16 steps of the most in one direction would be.

Inherited errors gather: in outlying features, in the CLS token, where a softmax is saturated. Those of one operator on
known inputs do not, beyond what s says of each entry.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy

from minivivit.files.tensor_data import quoted
from minivivit.verification.comparison.evidence.axes import axes_of
from minivivit.verification.comparison.evidence.evidence import config_of, weights_of
from minivivit.verification.comparison.suspicion.operators import SMALLEST, Array, Expected, unit_of
from minivivit.verification.comparison.suspicion.places import Place, expected
from minivivit.verification.comparison.suspicion.reading import Blocks, Rows
from minivivit.verification.rounding.precisions import round_to_precision
from minivivit.verification.tensors.source import TensorSource

# Of the whole, of a row or a column, of one entry: from the widest to the narrowest.
LIMITS = {"whole": 1.0, "row": 2.0, "column": 2.0, "entry": 4.0}
# Partial sums are so many times the result, squared, where terms cancel.
CANCELLED = 16.0
# A part that has so much of the error is where it is.
MOST = 0.75


@dataclass(frozen=True)
class Suspicion:
    """A tensor that rounding of its own operator does not make.

    Attributes
    ----------
    tensor : str
        Our name.
    part : {"whole", "row", "column", "entry", "activation"}
        Of what the error is too large; a row is a token's, a column a feature's. "activation" where it is as large as
        another GELU makes it.
    index : tuple of int
        Of the row, column or entry in the tensor, without the axes that it takes whole.
    times : float or None
        How many times the error is the rounding of the operator's steps; None for an activation.
    limit : float or None
        How many times it may be.
    sentence : str
    """

    tensor: str
    part: str
    index: tuple[int, ...]
    times: float | None
    limit: float | None
    sentence: str


@dataclass(frozen=True)
class LocalError:
    """The error of one operator on known inputs, in units of its rounding.

    Attributes
    ----------
    times : dict of str to float
        Of the whole, and the largest of a row, a column and an entry.
    row, column : int
        The worst of them.
    entry : tuple of int
        Row and column of the worst entry.
    shares : dict of str to float
        Of the squares of the error, in the worst of each part.
    mistake : str
        A known one that explains it, in words; "" for none.
    """

    times: dict[str, float]
    row: int
    column: int
    entry: tuple[int, int]
    shares: dict[str, float]
    mistake: str

    @property
    def part(self) -> str:
        """The narrowest part that has most of the error, of those whose error is too large; "" where none is."""
        parts = [part for part in LIMITS if self.times[part] > LIMITS[part]]
        narrow = [part for part in parts if self.shares[part] >= MOST]
        return narrow[-1] if narrow else parts[0] if parts else ""


def suspicions(
    judged: Mapping[str, str], ours: TensorSource, blocks: Callable[[str], Blocks | None], model: Any = None
) -> list[Suspicion]:
    """The suspicious tensors, in the order of execution.

    Parameters
    ----------
    judged : dict of str to str
        Our names of tensors whose errors are within their budgets -> the precision that theirs works in there. Only
        half precision is looked at.
    ours : TensorSource
    blocks : callable
        From our name to a function that gives the blocks of theirs, in our layout; None where they have none.
    model : VivitModel or VivitForVideoClassification, optional
        That made ours; without it, weights are read from where our trace says that they are, if they still are.
    """
    found = []
    for name, error, rows in local_errors(judged, ours, blocks, model):
        if error.mistake:
            sentence = f"{quoted(name)} is within its budget, but {error.mistake}"
            found.append(Suspicion(name, "activation", (), None, None, sentence))
        elif error.part:
            found.append(_suspicion(name, error, rows, ours, model))
    return found


def local_errors(
    judged: Mapping[str, str], ours: TensorSource, blocks: Callable[[str], Blocks | None], model: Any = None
) -> Iterator[tuple[str, LocalError, Array]]:
    """(name, error, rows that were looked at) of every tensor whose operator and inputs are known."""
    half = {name: precision for name, precision in judged.items() if precision in SMALLEST}
    config = config_of(model, ours.metadata) if half else None
    if config is None:
        return
    rows, weights = Rows(ours.shapes, blocks), weights_of(model, ours.metadata)
    for name, precision in half.items():
        if len(ours.shapes[name]) < 2:
            continue

        def parameter(called: str, precision: str = precision) -> Array | None:
            if weights is None or called not in weights:
                return None
            return round_to_precision(weights.read(called), precision).astype("float64")

        with numpy.errstate(all="ignore"):  # what overflows is not judged
            found = expected(Place(name, rows, parameter, config, unit_of(precision)))
        theirs = None if found is None else rows.of(name)
        if found is None or theirs is None:
            continue
        picked = slice(None) if found.picked is None else found.picked
        if theirs[picked].shape == found.values.shape:
            yield name, _local_error(theirs[picked], found), rows.indices(name)[picked]


def _local_error(theirs: Array, found: Expected) -> LocalError:
    squares, variance = numpy.square(theirs - found.values), found.variance
    known = numpy.isfinite(variance) & numpy.isfinite(squares)
    squares, variance = numpy.where(known, squares, 0.0), numpy.where(known, variance, 0.0)
    in_part = variance + found.partial
    # in the whole, only where terms cancel, or where what was below full precision was taken for 0
    variance = numpy.where(found.partial > CANCELLED * variance, in_part, variance)
    by_row, by_column = (_quotient(squares.sum(axis), in_part.sum(axis)) for axis in (1, 0))
    entries = _quotient(squares, in_part)
    entry = tuple(map(int, numpy.unravel_index(entries.argmax(), entries.shape)))
    quotients = {
        "whole": _quotient(squares.sum(keepdims=True), variance.sum(keepdims=True)),
        "row": by_row,
        "column": by_column,
        "entry": entries,
    }
    times = {part: math.sqrt(values.max()) for part, values in quotients.items()}
    times = times if found.in_parts else {part: times[part] * (part == "whole") for part in times}
    row, column, total = int(by_row.argmax()), int(by_column.argmax()), squares.sum() or 1.0
    carried = {"whole": total, "row": squares[row].sum(), "column": squares[:, column].sum(), "entry": squares[entry]}
    shares = {part: float(value / total) for part, value in carried.items()}
    words = found.mistake(theirs) if found.mistake is not None else ""
    return LocalError(times, row, column, (entry[0], entry[1]), shares, words)


def _quotient(squares: Array, variance: Array) -> Array:
    """0 where nothing is known."""
    return numpy.divide(squares, variance, out=numpy.zeros_like(squares), where=variance > 0)


def _suspicion(name: str, error: LocalError, rows: Array, ours: TensorSource, model: Any) -> Suspicion:
    shape, clips = ours.shapes[name], ours.shapes.get("pixel_values", (0,))[0]
    part = error.part
    row, column = {"row": (error.row, None), "column": (None, error.column), "entry": error.entry}.get(
        part, (None, None)
    )
    index: tuple[int, ...] = ()
    words: list[str] = []
    axes = axes_of(name, shape, config_of(model, ours.metadata), clips or None)
    if row is not None:
        sizes = tuple(axis.size for axis in axes[:-1])
        places = numpy.unravel_index(rows[row], sizes)
        words += [axis.words([int(place)]) for axis, place in zip(axes, places, strict=False) if axis.size > 1]
        index += tuple(map(int, numpy.unravel_index(rows[row], shape[:-1])))
    if column is not None:
        words.append(axes[-1].words([column]))
        index += (column,)
    where = f" in {', '.join(words)}" if words else ""
    times = error.times[part]
    sentence = (
        f"{quoted(name)} is within its budget, but computed from what theirs recorded before it, its error is "
        f"{times:.1f} times the rounding of its own steps{where}, where {LIMITS[part]:g} is the most that these explain"
    )
    return Suspicion(name, part, index, times, LIMITS[part], sentence)
