"""Two traces compared: the first tensor, in the order of execution, that rounding does not explain."""

import dataclasses
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy

from minivivit.backend import Array
from minivivit.errors import InputError
from minivivit.files.tensor_data import listed, quoted
from minivivit.verification.comparison.judgement import Budget, budgets_before, budgets_in, judge
from minivivit.verification.comparison.likely_causes import likely_causes
from minivivit.verification.comparison.pairing import Counterpart, Pair, pair_by_name, pair_by_order
from minivivit.verification.tensors.error import PRECISIONS, TensorError, tensor_error, unit_roundoff
from minivivit.verification.tensors.layouts import FIND, Shape, find_layout, undo_layout
from minivivit.verification.tensors.source import ArraySource, TensorSource, open_source

# Theirs may have been computed in another precision when most errors are above this part of its budget.
LIKENESS = 0.1

Source = str | os.PathLike[str] | Mapping[str, Array] | TensorSource


@dataclass(frozen=True)
class Row:
    """One tensor of ours and theirs.

    Attributes
    ----------
    name, their_name : str
    layout : str
        What was done to theirs, see `minivivit.verification.tensors.layouts`; "" for nothing.
    shape, their_shape : tuple of int
        Of ours, and of theirs as it is stored (None where they have none).
    error : TensorError or None
        Theirs, in our layout, less ours; None where that cannot be had.
    budget : dict or None
        ``{"relative_l2", "max_abs", "rms"}`` of our own run in the precision; None where there is none.
    allowed : float or None
        The relative_l2 up to which rounding explains the error; None without a budget, or with tolerances.
    excess : float
        How many times the error is what is allowed: above 1 it has diverged. Infinite where it cannot be compared, NaN
        where there is nothing to judge by.
    status : str
        "equal"; "rounding" or, with tolerances, "close"; "diverged"; "shape" (theirs does not fit); "missing" (the
        mapping names a tensor that they do not have); "unjudged" (no budget).
    """

    name: str
    their_name: str
    layout: str
    shape: Shape
    their_shape: Shape | None
    error: TensorError | None
    budget: Budget | None
    allowed: float | None
    excess: float
    status: str


@dataclass
class Comparison:
    """What `compare` found.

    Attributes
    ----------
    rows : list of Row
        The pairs, in the order of execution.
    precision : str
        By which theirs was judged.
    tolerances : tuple of float, or None
        (rtol, atol), where these judged instead.
    unpaired_ours, unpaired_theirs : list of str
        Tensors that only one side has.
    notes : list of str
        What the reader must know beside the verdict.
    hints : list of str
        Likely causes of the first divergence.
    config : dict
        Of our model, as its trace says; empty where it does not.
    """

    rows: list[Row]
    precision: str
    tolerances: tuple[float, float] | None
    unpaired_ours: list[str]
    unpaired_theirs: list[str]
    notes: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def first_divergent(self) -> Row | None:
        """The first row, in the order of execution, that differs by more than is allowed, or in shape."""
        return next((row for row in self.rows if row.status in ("diverged", "shape")), None)

    @property
    def agrees(self) -> bool:
        """Whether nothing diverges, is of another shape, or is missing."""
        return not any(row.status in ("diverged", "shape", "missing") for row in self.rows)

    @property
    def heads(self) -> int | None:
        """Attention heads of our model, where its trace says so."""
        heads = self.config.get("num_attention_heads")
        return heads if isinstance(heads, int) and heads > 0 else None

    @property
    def verdict(self) -> str:
        """The result in a sentence or two; names in it are quoted and escaped."""
        missing = [row.their_name for row in self.rows if row.status == "missing"]
        absent = f" Theirs lacks {listed(missing, 3)}, which the mapping names." if missing else ""
        row, number = self.first_divergent, len(self.rows)
        if row is None:
            return f"{_agreement(self)}{absent}{_unseen(self)}"
        place = f"{quoted(row.name)} ({self.rows.index(row) + 1} of {number})"
        if row.status == "shape" or row.error is None:
            return f"The first tensor that differs is {place}: ours is {row.shape}, theirs {row.their_shape}.{absent}"
        what = "the tolerances" if self.tolerances else f"rounding to {self.precision}"
        return f"The first tensor that differs by more than {what} is {place}: {_extent(row)}.{absent}"

    def to_json(self) -> dict[str, Any]:
        """A dict that JSON can hold; infinities and NaN become the strings "inf", "-inf" and "nan"."""
        first = self.first_divergent
        result = dataclasses.asdict(self)
        del result["config"]
        head = {
            "format": "minivivit-comparison/1",
            "agrees": self.agrees,
            "verdict": self.verdict,
            "first_divergent": None if first is None else first.name,
        }
        return _jsonable(head | result)


def _agreement(comparison: Comparison) -> str:
    judged = [row for row in comparison.rows if row.status in ("equal", "rounding", "close")]
    count = (
        f"{len(judged)} of {len(comparison.rows)} pairs agree"
        if len(judged) < len(comparison.rows)
        else (f"All {len(judged)} pairs agree" if len(judged) > 1 else "The one pair agrees")
    )
    if all(row.status == "equal" for row in judged):
        return f"{count} to the bit."
    if comparison.tolerances:
        return f"{count} within rtol {comparison.tolerances[0]:g} and atol {comparison.tolerances[1]:g}."
    return f"{count} within what rounding to {comparison.precision} explains."


def _unseen(comparison: Comparison) -> str:
    """Agreement says nothing about what was not compared."""
    names = comparison.unpaired_ours
    return f" Not compared: {len(names)} of ours that theirs lacks ({listed(names, 1)})." if names else ""


def _extent(row: Row) -> str:
    """How large a divergence is."""
    assert row.error is not None
    if row.error.num_nonfinite:
        entries = "entry" if row.error.num_nonfinite == 1 else "entries"
        return (
            f"{row.error.num_nonfinite:,} {entries} NaN or infinite in one and not in the other, the first at "
            f"{row.error.where}: ours {row.error.ours:.6g}, theirs {row.error.theirs:.6g}"
        )
    times = f"{row.excess:,.0f}" if row.excess >= 10 else f"{row.excess:.1f}"
    return f"its relative error of {row.error.relative_l2:.1e} is {times} times what is allowed"


def _jsonable(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _jsonable(entry) for key, entry in value.items()}
    return [_jsonable(entry) for entry in value] if isinstance(value, list | tuple) else value


# --------------------------------------------------------------------------------------------------------------------
# Comparing
# --------------------------------------------------------------------------------------------------------------------


def compare(
    ours: Source,
    theirs: Source,
    *,
    mapping: Mapping[str, Counterpart] | None = None,
    by_order: bool = False,
    precision: str | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    find_layouts: bool = False,
    model: Any = None,
    on_row: Callable[[Row], Any] | None = None,
) -> Comparison:
    """Compare the tensors of two traces, and find the first that differs by more than rounding.

    Parameters
    ----------
    ours, theirs : path, dict of arrays, or TensorSource
        See `minivivit.verification.tensors.source.open_source`. They are read block by block; where a layout has to be
        undone, the tensor of theirs is read whole, and where one has to be found, ours too.
    mapping : dict, optional
        Our names -> theirs, see `minivivit.verification.comparison.pairing.pair_by_name`. What it does not name is
        paired by equal names.
    by_order : bool
        Pair by shape and order instead of by name, see `minivivit.verification.comparison.pairing.pair_by_order`.
    precision : {"float64", "float32", "tf32", "bfloat16", "float16"}, optional
        In which theirs was computed. Left out, the lowest one that either is stored in.
    rtol, atol : float, optional
        When either is given, these decide instead of the budgets, as in `numpy.allclose`: a tensor diverges where
        abs(d) > atol + rtol * abs(ours). The one that is left out is 0.
    find_layouts : bool
        Find layout differences and undo them, see `minivivit.verification.tensors.layouts.find_layout`.
    model : VivitModel or VivitForVideoClassification, optional
        That made ours: its weights help to find the cause.
    on_row : callable, optional
        Called with each row as it is made.

    Raises
    ------
    InputError
        When nothing can be paired; when something differs and there is neither a budget for the precision nor a
        tolerance; for a mapping or a layout that is none, a mapping that names what is no floating-point tensor, and
        for what `open_source` refuses.
    """
    ours, theirs = open_source(ours), open_source(theirs)
    if by_order:
        pairs = pair_by_order(ours, theirs, find_layouts)
    else:
        pairs = pair_by_name(list(ours.shapes), mapping or {}, theirs.shapes)
    if not pairs:
        raise InputError(_no_pair(ours, theirs))
    _check_floating_point(pairs, theirs)
    precision = precision or _stored_precision(ours, theirs, pairs)
    unit_roundoff(precision)
    tolerances = None if rtol is None and atol is None else (_tolerance(rtol, "rtol"), _tolerance(atol, "atol"))
    budgets = budgets_in(ours, precision) if tolerances is None else {}
    config = ours.metadata.get("config")
    left = {pair.name for pair in pairs}, {pair.their_name for pair in pairs}
    comparison = Comparison(
        rows=[],
        precision=precision,
        tolerances=tolerances,
        unpaired_ours=[name for name in ours.shapes if name not in left[0]],
        unpaired_theirs=[name for name in theirs.shapes if name not in left[1]],
        config=config if isinstance(config, dict) else {},
    )
    before = budgets_before(ours, budgets)
    for pair in pairs:
        row = _compare_pair(pair, ours, theirs, comparison, find_layouts)
        row = _judged(row, budgets, before, precision) if tolerances is None else row
        if tolerances is None and not budgets and row.status == "unjudged":
            raise InputError(_no_budget(ours, precision))
        comparison.rows.append(row)
        if on_row is not None:
            on_row(row)
    comparison.notes += [*_left_out(ours, "ours"), *_left_out(theirs, "theirs"), *_notes(comparison, ours)]
    if comparison.first_divergent is not None:
        comparison.hints += [cause.sentence for cause in likely_causes(comparison, ours, theirs, model)]
    return comparison


def _check_floating_point(pairs: list[Pair], theirs: TensorSource) -> None:
    """Refuse a mapping to what cannot be compared: it would look as if it were missing."""
    for pair in pairs:
        if pair.their_name in theirs.left_out:
            raise InputError(
                f"the mapping pairs {quoted(pair.name)} with {quoted(pair.their_name)} of {theirs.path}, which is "
                f"{theirs.left_out[pair.their_name]} and no floating-point tensor; store it as one"
            )


def _tolerance(value: float | None, name: str) -> float:
    if value is not None and not 0 <= value < math.inf:
        raise InputError(f"{name} is {value}; expected a number of at least 0")
    return value or 0.0


def _stored_precision(ours: TensorSource, theirs: TensorSource, pairs: list[Pair]) -> str:
    """The coarsest precision that a paired tensor is stored in."""
    stored = {theirs.dtypes[pair.their_name] for pair in pairs if pair.their_name in theirs}
    stored |= {ours.dtypes[pair.name] for pair in pairs}
    return max(stored, key=unit_roundoff)


def _compare_pair(
    pair: Pair, ours: TensorSource, theirs: TensorSource, comparison: Comparison, find_layouts: bool
) -> Row:
    """The row of a pair, without a judgement unless tolerances give one."""
    name, shape = pair.name, ours.shapes[pair.name]
    if pair.their_name not in theirs:
        return Row(name, pair.their_name, pair.layout, shape, None, None, None, None, math.inf, "missing")
    their_shape = theirs.shapes[pair.their_name]
    layout, blocks = their_blocks(pair, ours, theirs, comparison.heads, find_layouts)
    if blocks is None:
        return Row(name, pair.their_name, layout, shape, their_shape, None, None, None, math.inf, "shape")
    error = tensor_error(ours.blocks(name), blocks(), shape, comparison.precision)
    status, excess = "unjudged", math.nan
    if comparison.tolerances is not None:
        excess = (
            math.inf if error.num_nonfinite else _tolerance_excess(ours.blocks(name), blocks(), *comparison.tolerances)
        )
        status = "diverged" if excess > 1 else "equal" if error.where is None else "close"
    return Row(name, pair.their_name, layout, shape, their_shape, error, None, None, excess, status)


def their_blocks(
    pair: Pair, ours: TensorSource, theirs: TensorSource, heads: int | None, find_layouts: bool = False
) -> tuple[str, Callable[[], Iterator[numpy.ndarray]] | None]:
    """The layout of theirs, and a function that gives its blocks in ours; None where the shapes do not fit.

    Where a layout has to be undone, their tensor is read whole; where one has to be found, ours too.
    """
    shape, their_shape, layout = ours.shapes[pair.name], theirs.shapes[pair.their_name], pair.layout
    fits = _without_ones(shape) == _without_ones(their_shape)
    if layout == "" and not find_layouts:
        return layout, (lambda: theirs.blocks(pair.their_name)) if fits else None
    if layout in ("", FIND):
        sizes = math.prod(shape), 3 * math.prod(shape)  # query, key and value may be one tensor
        found = None
        if math.prod(their_shape) in sizes:
            array = theirs.read(pair.their_name)
            found = find_layout(ours.read(pair.name), array, heads)
        if found is None:
            return "", None
        layout = found
    else:
        try:  # the steps, with a tensor that takes no memory, before theirs is read
            undo_layout(numpy.broadcast_to(numpy.float64(0), their_shape), layout, shape, heads)
        except InputError as error:
            raise InputError(f"{quoted(pair.their_name)}: {error}") from None
        array = theirs.read(pair.their_name)
    undone = ArraySource({"": undo_layout(array, layout, shape, heads)})
    return layout, lambda: undone.blocks("")


def _without_ones(shape: Shape) -> Shape:
    return tuple(size for size in shape if size != 1)


def _tolerance_excess(
    ours: Iterator[numpy.ndarray], theirs: Iterator[numpy.ndarray], rtol: float, atol: float
) -> float:
    """The largest abs(theirs - ours) / (atol + rtol * abs(ours)) of what is finite in both."""
    excess = 0.0
    for left, right in zip(ours, theirs, strict=True):
        finite = numpy.isfinite(left) & numpy.isfinite(right)
        left, right = left[finite], right[finite]
        with numpy.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
            quotient = abs(right - left) / (atol + rtol * abs(left))
        quotient[right == left] = 0.0
        excess = max(excess, float(quotient.max(initial=0.0)))
    return excess


# --------------------------------------------------------------------------------------------------------------------
# Judging
# --------------------------------------------------------------------------------------------------------------------


def _judged(row: Row, budgets: Mapping[str, Budget], before: Mapping[str, Budget], precision: str) -> Row:
    """The row with a status, by the budget of its tensor and that of the tensor before it."""
    error, budget = row.error, budgets.get(row.name)
    if error is None:
        return row
    if error.where is None:
        return dataclasses.replace(row, budget=budget, excess=0.0, status="equal")
    if budget is None:
        return row
    allowed, excess = judge(row.name, error, budget, before.get(row.name), math.prod(row.shape), precision)
    status = "diverged" if excess > 1 else "rounding"
    return dataclasses.replace(row, budget=budget, allowed=allowed, excess=excess, status=status)


def _no_pair(ours: TensorSource, theirs: TensorSource) -> str:
    return (
        f"no tensor of {ours.path} has its like in {theirs.path} (ours: {listed(ours.shapes, 2)}; theirs: "
        f"{listed(theirs.shapes, 2)}); give a mapping (--map FILE), or pair by shape and order (--pair order)"
    )


def _no_budget(ours: TensorSource, precision: str) -> str:
    of_all = ours.metadata.get("rounding_budgets")
    known = [name for name in PRECISIONS if name in of_all] if isinstance(of_all, dict) else []
    return (
        f"{ours.path} has no rounding budget for {precision} (it has {', '.join(known) or 'none'}): make ours with "
        f" minivivit trace ... --budget {precision}, or give --rtol and --atol"
    )


# --------------------------------------------------------------------------------------------------------------------
# Notes
# --------------------------------------------------------------------------------------------------------------------


def _left_out(source: TensorSource, whose: str) -> list[str]:
    if not source.left_out:
        return []
    return [f"{whose} also holds what is no floating-point tensor and is not compared: {listed(source.left_out, 3)}"]


def _notes(comparison: Comparison, ours: TensorSource) -> list[str]:
    notes = []
    unjudged = [row.name for row in comparison.rows if row.status == "unjudged"]
    if unjudged:
        notes.append(
            f"{len(unjudged)} of {len(comparison.rows)} pairs differ and have no rounding budget, so they are not "
            f"judged: {listed(unjudged, 3)}"
        )
    first = comparison.first_divergent
    if first is not None and comparison.tolerances is None:
        coarser = [name for name in PRECISIONS if unit_roundoff(name) > unit_roundoff(comparison.precision)]
        fitting = next((name for name in coarser if _fits(comparison, ours, name)), None)
        if fitting is not None:
            notes.append(
                f"all of it is within what rounding to {fitting} explains: if theirs computes in that, say --precision "
                f"{fitting}"
            )
    return notes


def _fits(comparison: Comparison, ours: TensorSource, precision: str) -> bool:
    """Whether every tensor is within the budgets of another precision, and most errors are about as large as these."""
    budgets = budgets_in(ours, precision)
    before = budgets_before(ours, budgets)
    judged = [_judged(row, budgets, before, precision) for row in comparison.rows]
    if not all(row.status in ("equal", "rounding") for row in judged):
        return False
    errors = [(row.error.relative_l2, row.budget["relative_l2"]) for row in judged if row.error and row.budget]
    return sum(error > LIKENESS * budget for error, budget in errors) > len(errors) / 2
