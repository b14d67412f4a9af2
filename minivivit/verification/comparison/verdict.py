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
from minivivit.verification.comparison.evidence.cause import Cause
from minivivit.verification.comparison.evidence.evidence import num_samples
from minivivit.verification.comparison.evidence.where import Place
from minivivit.verification.comparison.inheritance import NOTHING, Floor, Inheritance
from minivivit.verification.comparison.judgement import Budget, is_unbounded, judge
from minivivit.verification.comparison.likely_causes import likely_causes, places_of
from minivivit.verification.comparison.mapping import Counterpart, Pair
from minivivit.verification.comparison.other_shape import why_another_shape
from minivivit.verification.comparison.pairing import pair_tensors
from minivivit.verification.comparison.suspicion.suspicions import Suspicion, suspicions
from minivivit.verification.comparison.working_precision import (
    Blocks,
    Storage,
    WorkingPrecision,
    stored_precisions,
)
from minivivit.verification.tensors.error import PRECISIONS, TensorError, tensor_error, unit_roundoff
from minivivit.verification.tensors.layouts import (
    FIND,
    OtherShapeError,
    Shape,
    find_layout,
    find_layouts,
    keeps_order,
    undo_layout,
)
from minivivit.verification.tensors.source import ArraySource, TensorSource, open_source

# Theirs may have been computed in another precision when most errors are above this part of its budget.
LIKENESS = 0.1
# Of a unit roundoff: more than storing makes, with a margin for what the finer precision makes.
COMPUTED = 1.2
INPUT = "pixel_values"

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
        "equal"; "rounding" or, with tolerances, "close"; "suspicious" (within its budget, and no rounding of its own
        operator); "diverged"; "shape" (theirs does not fit); "missing" (the mapping says that theirs must have it, and
        it has not); "unjudged" (no budget, or one without bound).
    guessed : bool
        Whether shape and order paired them, not names.
    layout_found : bool
        Whether the layout was found, not told.
    precision : str
        By whose budget it was judged; "" where none judged.
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
    guessed: bool = False
    layout_found: bool = False
    precision: str = ""


@dataclass
class Comparison:
    """What `compare` found.

    Attributes
    ----------
    rows : list of Row
        The pairs, in the order of execution.
    precision : str
        By which theirs was judged; the coarsest, where tensors were judged by several (see `Row.precision`).
    tolerances : tuple of float, or None
        (rtol, atol), where these judged instead.
    unpaired_ours, unpaired_theirs : list of str
        Tensors that only one side has.
    notes : list of str
        What the reader must know beside the verdict.
    causes : list of Cause
        Likely ones of the first divergence.
    places : list of Place
        Where the first tensor that differs is wrong, if only parts of it are.
    suspicions : list of Suspicion
        In half precision, where nothing diverges: tensors within their budgets that no rounding of their own operator
        makes of what it was given.
    config : dict
        Of our model, as its trace says; empty where it does not.
    """

    rows: list[Row]
    precision: str
    tolerances: tuple[float, float] | None
    unpaired_ours: list[str]
    unpaired_theirs: list[str]
    notes: list[str] = field(default_factory=list)
    causes: list[Cause] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    suspicions: list[Suspicion] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def first_divergent(self) -> Row | None:
        """The first row, in the order of execution, that differs by more than is allowed, or in shape."""
        return next((row for row in self.rows if row.status in ("diverged", "shape")), None)

    @property
    def kind(self) -> str:
        """The verdict in a word.

        "diverged" (by more than is allowed, or in shape), "missing" (the mapping says that theirs must have what it
        lacks), "suspicious" (nothing exceeds what is allowed, and rounding is no explanation all the same: see
        `suspicions`), "unjudged" (something differs, and nothing says how much rounding explains), or "agrees".
        """
        statuses = {row.status for row in self.rows}
        if statuses & {"diverged", "shape"}:
            return "diverged"
        return next((kind for kind in ("missing", "suspicious", "unjudged") if kind in statuses), "agrees")

    @property
    def agrees(self) -> bool:
        """Whether every pair was judged, and none diverges, is suspicious, of another shape, or missing."""
        return self.kind == "agrees"

    @property
    def exit_code(self) -> int:
        """Of the command: 0 agrees, 1 diverged or missing, 3 unjudged, 4 suspicious."""
        return {"agrees": 0, "unjudged": 3, "suspicious": 4}.get(self.kind, 1)

    @property
    def hints(self) -> list[str]:
        """The likely causes, in words."""
        return [cause.sentence for cause in self.causes]

    @property
    def heads(self) -> int | None:
        """Attention heads of our model, where its trace says so."""
        heads = self.config.get("num_attention_heads")
        return heads if isinstance(heads, int) and heads > 0 else None

    @property
    def verdict(self) -> str:
        """The result in a sentence or two; names in it are quoted and escaped."""
        missing = [row.their_name for row in self.rows if row.status == "missing"]
        absent = f" Theirs lacks {listed(missing, 3)}, which the mapping says it must have." if missing else ""
        guessed = sum(row.guessed for row in self.rows)
        guesses = f" {guessed} of the pairs are guesses, by shape and order." if guessed else ""
        row, number = self.first_divergent, len(self.rows)
        if row is None:
            return f"{_agreement(self)}{_suspicious(self)}{_unjudged(self)}{absent}{guesses}{_unseen(self)}"
        place = f"{quoted(row.name)} ({self.rows.index(row) + 1} of {number})"
        if row.status == "shape" or row.error is None:
            shapes = f"ours is {row.shape}, theirs {row.their_shape}"
            shapes += why_another_shape(row.name, row.their_shape or (), row.shape, self.config)
            return f"The first tensor that differs is {place}: {shapes}.{absent}{guesses}"
        what = "the tolerances" if self.tolerances else f"rounding to {row.precision or self.precision}"
        return f"The first tensor that differs by more than {what} is {place}: {_extent(row)}.{absent}{guesses}"

    def to_json(self) -> dict[str, Any]:
        """A dict that JSON can hold.

        Numbers are numbers. Those that JSON has not are null, and a field beside them, of their name and "_is", says
        which: "inf", "-inf" or "nan". `causes` and `places` are lists of objects, each with the name of its tensor.
        """
        first = self.first_divergent
        result = dataclasses.asdict(self)
        del result["config"]
        head = {
            "format": "minivivit-comparison/1",
            "kind": self.kind,
            "agrees": self.agrees,
            "exit_code": self.exit_code,
            "verdict": self.verdict,
            "first_divergent": None if first is None else first.name,
        }
        for said in (*result["causes"], *result["places"]):
            said["tensor"] = head["first_divergent"]
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


def _suspicious(comparison: Comparison) -> str:
    """What no budget exceeds, and rounding does not explain."""
    found = comparison.suspicions
    if not found:
        return ""
    what = "1 tensor is suspicious" if len(found) == 1 else f"{len(found)} tensors are suspicious, the first"
    return f" But {what}: {found[0].sentence}."


def _unjudged(comparison: Comparison) -> str:
    """What a precision that overflows in our own run as well cannot judge."""
    rows = [row for row in comparison.rows if row.status == "unjudged" and row.budget is not None]
    if not rows:
        return ""
    return (
        f" Not judged: {len(rows)}, where our own run in {comparison.precision} overflows, so that its budget bounds "
        f"nothing; the first is {quoted(rows[0].name)}."
    )


def _unseen(comparison: Comparison) -> str:
    """Agreement says nothing about what was not compared."""
    names = comparison.unpaired_ours
    return f" Not compared: {len(names)} of ours that theirs lacks ({listed(names, 1)})." if names else ""


def _extent(row: Row) -> str:
    """How large a divergence is."""
    assert row.error is not None
    if row.error.num_lost:
        entries = "entry is" if row.error.num_lost == 1 else "entries are"
        return (
            f"{row.error.num_lost:,} {entries} NaN or infinite in theirs and finite in ours, the first at "
            f"{row.error.where}: ours {row.error.ours:.6g}, theirs {row.error.theirs:.6g}"
        )
    if row.error.num_nonfinite:
        entries = "entry" if row.error.num_nonfinite == 1 else "entries"
        return (
            f"{row.error.num_nonfinite:,} {entries} NaN or infinite in one and not in the other, the first at "
            f"{row.error.where}: ours {row.error.ours:.6g}, theirs {row.error.theirs:.6g}"
        )
    times = f"{row.excess:,.0f}" if row.excess >= 10 else f"{row.excess:.1f}"
    return f"its relative error of {row.error.relative_l2:.1e} is {times} times what is allowed"


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        result: dict[str, Any] = {}
        for key, entry in value.items():
            lost = isinstance(entry, float) and not math.isfinite(entry)
            result |= {key: None, f"{key}_is": str(entry)} if lost else {key: _jsonable(entry)}
        return result
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
        Our names -> theirs, see `minivivit.verification.comparison.mapping.apply_mapping`. What it does not name is
        paired by equal names.
    by_order : bool
        Pair what the mapping does not name by shape and order instead, see
        `minivivit.verification.comparison.pairing.pair_by_order`.
    precision : {"float64", "float32", "tf32", "bfloat16", "float16"}, optional
        In which theirs was computed. Left out, each tensor is judged by how it, and what it is made of, is stored: see
        `minivivit.verification.comparison.working_precision`.
    rtol, atol : float, optional
        When either is given, these decide instead of the budgets, as in `numpy.allclose`: a tensor diverges where
        abs(d) > atol + rtol * abs(ours). The one that is left out is 0.
    find_layouts : bool
        Find layout differences and undo them, see `minivivit.verification.tensors.layouts.find_layouts`.
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
    pairs, notes = pair_tensors(ours, theirs, mapping, by_order, find_layouts)
    _check_floating_point(pairs, theirs)
    unit_roundoff(precision or "float64")
    tolerances = None if rtol is None and atol is None else (_tolerance(rtol, "rtol"), _tolerance(atol, "atol"))
    stored = stored_precisions(ours, theirs, {pair.name: pair.their_name for pair in pairs})
    coarsest = max(stored.values(), key=unit_roundoff, default="float64")
    working = WorkingPrecision(ours, stored, precision or (coarsest if tolerances is not None else None))
    config = ours.metadata.get("config")
    left = {pair.name for pair in pairs}, {pair.their_name for pair in pairs}
    comparison = Comparison(
        rows=[],
        precision=working.now,
        tolerances=tolerances,
        unpaired_ours=[name for name in ours.shapes if name not in left[0]],
        unpaired_theirs=[name for name in theirs.shapes if name not in left[1]],
        notes=notes,
        config=config if isinstance(config, dict) else {},
    )
    inheritance = Inheritance(ours.shapes, comparison.heads)
    for pair in pairs:
        row, blocks = compare_pair(pair, ours, theirs, comparison, find_layouts)
        if tolerances is None and blocks is not None:
            row = _worked(row, working, inheritance, blocks)
        if tolerances is None and row.status == "unjudged" and not working.may_judge():
            raise InputError(_no_budget(ours, working.now))
        comparison.precision = working.now
        comparison.rows.append(row)
        if on_row is not None:
            on_row(row)
    _judge_the_rest(comparison, working)
    _settle_layout(comparison, ours, theirs, model, working)
    _explain(comparison, ours, theirs, model)
    comparison.notes += [*_left_out(ours, "ours"), *_left_out(theirs, "theirs"), *_notes(comparison, ours, working)]
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


def _settle_layout(
    comparison: Comparison, ours: TensorSource, theirs: TensorSource, model: Any, working: WorkingPrecision
) -> None:
    """Where the first tensor that differs is like ours in no layout: take the layout in which its error has a cause."""
    first = comparison.first_divergent
    if first is None or first.error is None or not first.layout_found:
        return
    place = comparison.rows.index(first)
    array, other = ours.read(first.name), theirs.read(first.their_name)
    for layout in find_layouts(array, other, comparison.heads):
        pair = Pair(first.name, first.their_name, layout, guessed=first.guessed)
        row, _ = compare_pair(pair, ours, theirs, comparison)
        if comparison.tolerances is None:
            row = _judged(row, *working.budgets(first.precision), first.precision)
        comparison.rows[place] = dataclasses.replace(row, layout_found=True)
        if row.status != "diverged" or likely_causes(comparison, ours, theirs, model):
            return
    comparison.rows[place] = first


def compare_pair(
    pair: Pair, ours: TensorSource, theirs: TensorSource, comparison: Comparison, any_layout: bool = False
) -> tuple[Row, Blocks | None]:
    """The row of a pair, without a judgement unless tolerances give one; and what gives the blocks of theirs."""
    name, shape = pair.name, ours.shapes[pair.name]
    if pair.their_name not in theirs:
        return Row(name, pair.their_name, pair.layout, shape, None, None, None, None, math.inf, "missing"), None
    their_shape = theirs.shapes[pair.their_name]
    found = pair.layout == FIND or (any_layout and pair.layout == "")
    try:
        layout, blocks = their_blocks(pair, ours, theirs, comparison.heads, any_layout)
    except OtherShapeError as misfit:
        if comparison.first_divergent is None:  # then it is the mapping that may be mended
            why = why_another_shape(name, misfit.shape, shape, comparison.config)
            why = why or why_another_shape(name, their_shape, shape, comparison.config)
            raise InputError(f"{quoted(pair.their_name)}: {misfit}{why}") from None
        layout, blocks = pair.layout, None
    if blocks is None:
        row = Row(name, pair.their_name, layout, shape, their_shape, None, None, None, math.inf, "shape", pair.guessed)
        return row, None
    error = tensor_error(ours.blocks(name), blocks(), shape, comparison.precision)
    status, excess = "unjudged", math.nan
    if comparison.tolerances is not None:
        excess = (
            math.inf if error.num_nonfinite else _tolerance_excess(ours.blocks(name), blocks(), *comparison.tolerances)
        )
        status = "diverged" if excess > 1 else "equal" if error.where is None else "close"
    how = pair.guessed, found
    return Row(name, pair.their_name, layout, shape, their_shape, error, None, None, excess, status, *how), blocks


def their_blocks(
    pair: Pair, ours: TensorSource, theirs: TensorSource, heads: int | None, any_layout: bool = False
) -> tuple[str, Callable[[], Iterator[numpy.ndarray]] | None]:
    """The layout of theirs, and a function that gives its blocks in ours; None where the shapes do not fit.

    Where a layout has to be undone, their tensor is read whole; where one has to be found, ours too.
    """
    shape, their_shape, layout = ours.shapes[pair.name], theirs.shapes[pair.their_name], pair.layout
    fits = _without_ones(shape) == _without_ones(their_shape)
    if layout == "" and not any_layout:
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
        except OtherShapeError:
            raise
        except InputError as error:
            raise InputError(f"{quoted(pair.their_name)}: {error}") from None
        if keeps_order(layout):
            return layout, lambda: theirs.blocks(pair.their_name)
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


def _worked(row: Row, working: WorkingPrecision, inheritance: Inheritance, blocks: Blocks) -> Row:
    """The row, judged in the precision that theirs works in there.

    Where that overflows in our own run, and theirs is finite, a coarser one of more range judges if there is one.
    """
    storage = None
    if row.error is not None and row.error.where is not None:
        storage = working.see(row.name, row.error, blocks)

    def judged_by(precision: str, storage: Storage | None = None) -> Row:
        budgets, before = working.budgets(precision)
        floor = inheritance.floor(row.name, row.shape, budgets, precision)
        return _judged(row, budgets, before, precision, storage, floor)

    judged = judged_by(working.now, storage)
    if row.error is not None and storage is None and judged.status != "equal":
        suspected = working.suspects(row.error.relative_l2, row.name) if judged.status == "diverged" else None
        other = judged if suspected is None else judged_by(suspected)
        if suspected is not None and other.status == "rounding":
            working.become(suspected)
            judged = other
        working.latest = {}
    if judged.status == "unjudged" and judged.budget is not None:
        others = map(judged_by, _coarser(working.now))
        judged = next((other for other in others if other.status != "unjudged"), judged)
    if judged.status == "rounding" and judged.error is not None:
        inheritance.accept(row.name, judged.error)
    return judged


def _coarser(precision: str) -> list[str]:
    return [name for name in PRECISIONS if unit_roundoff(name) > unit_roundoff(precision)]


def _judged(
    row: Row,
    budgets: Mapping[str, Budget],
    before: Mapping[str, Budget],
    precision: str,
    storage: Storage | None = None,
    floor: Floor = NOTHING,
) -> Row:
    """The row with a status, by the budget of its tensor and that of the tensor before it."""
    error, budget = row.error, budgets.get(row.name)
    if error is None:
        return row
    if error.where is None:
        return dataclasses.replace(row, budget=budget, excess=0.0, status="equal", precision=precision)
    if error.num_lost:  # whatever the budget
        return dataclasses.replace(row, budget=budget, excess=math.inf, status="diverged", precision=precision)
    if budget is None:
        return row
    arguments = budget, before.get(row.name), math.prod(row.shape), precision
    allowed, excess = judge(row.name, error, *arguments, floor, num_samples(row.name, row.shape))
    if storage is not None and not is_unbounded(budget):
        allowed, excess = storage.judge(row.name, *arguments)
    status = "unjudged" if math.isnan(excess) else "diverged" if excess > 1 else "rounding"
    judged_by = "" if status == "unjudged" else precision
    return dataclasses.replace(row, budget=budget, allowed=allowed, excess=excess, status=status, precision=judged_by)


def _judge_the_rest(comparison: Comparison, working: WorkingPrecision) -> None:
    """Judge what came before the first tensor that was computed in the precision for which there are budgets."""
    for place, row in enumerate(comparison.rows):
        if row.status == "unjudged" and row.budget is None:
            if not working.budgets(working.now)[0]:
                raise InputError(_no_budget(working.ours, working.now))
            comparison.rows[place] = _judged(row, *working.budgets(working.now), working.now)


def _explain(comparison: Comparison, ours: TensorSource, theirs: TensorSource, model: Any) -> None:
    """Where and why something differs; what is suspicious where nothing does."""
    if comparison.first_divergent is not None:
        comparison.places += places_of(comparison, ours, theirs, model)
        comparison.causes += likely_causes(comparison, ours, theirs, model)
    elif comparison.tolerances is None:
        _suspect(comparison, ours, theirs, model)


def _suspect(comparison: Comparison, ours: TensorSource, theirs: TensorSource, model: Any) -> None:
    """Look once more at what agrees in half precision: see `minivivit.verification.comparison.suspicion`.

    What was judged by a precision of more range, since our own run overflows in theirs, is left out.
    """
    coarsest = unit_roundoff(comparison.precision)
    rows = {row.name: row for row in comparison.rows if row.error is not None and not row.guessed}

    def blocks(name: str) -> Blocks | None:
        if name not in rows:
            return None
        pair = Pair(name, rows[name].their_name, rows[name].layout)
        return their_blocks(pair, ours, theirs, comparison.heads)[1]

    judged: dict[str, str] = {}
    for name, row in rows.items():
        known = row.status in ("equal", "rounding") and unit_roundoff(row.precision) <= coarsest
        if known and (judged or _is_computed(row)):
            judged[name] = row.precision
    comparison.suspicions += suspicions(judged, ours, blocks, model)
    found = {suspicion.tensor for suspicion in comparison.suspicions}
    comparison.rows[:] = [
        dataclasses.replace(row, status="suspicious") if row.name in found else row for row in comparison.rows
    ]


def _is_computed(row: Row) -> bool:
    """Whether it was computed in its precision: what is only stored in that is off by u at most."""
    assert row.error is not None
    return row.error.relative_l2 > COMPUTED * unit_roundoff(row.precision)


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


def _notes(comparison: Comparison, ours: TensorSource, working: WorkingPrecision) -> list[str]:
    notes = working.note()
    hiding = ours.metadata.get("hiding_weights")
    if comparison.agrees and isinstance(hiding, list) and hiding:
        notes.append(
            f"ours was traced with weights of which {listed(hiding, 4)}: theirs may lack them and agree; trace "
            "with --perturb"
        )
    unjudged = [row.name for row in comparison.rows if row.status == "unjudged" and row.budget is None]
    if unjudged:
        notes.append(
            f"{len(unjudged)} of {len(comparison.rows)} pairs differ and have no rounding budget, so they are not "
            f"judged: {listed(unjudged, 3)}"
        )
    by_others = [row for row in comparison.rows if row.precision not in ("", comparison.precision)]
    overflowing = [row for row in by_others if unit_roundoff(row.precision) > unit_roundoff(comparison.precision)]
    if overflowing:
        notes.append(
            f"{len(overflowing)} pairs are judged by {overflowing[0].precision}, since {comparison.precision} "
            f"overflows there in our own run: the first is {quoted(overflowing[0].name)}"
        )
    if comparison.first_divergent is not None and comparison.tolerances is None:
        fitting = next((name for name in _coarser(comparison.precision) if _fits(comparison, working, name)), None)
        if fitting is not None:
            notes.append(
                f"all of it is within what rounding to {fitting} explains: if theirs computes in that, say --precision "
                f"{fitting}"
            )
    return notes


def _fits(comparison: Comparison, working: WorkingPrecision, precision: str) -> bool:
    """Whether every tensor is within the budgets of another precision, and most errors are about as large as these.

    So must be all those that were computed before the first divergence: one that is finer was not computed in that.
    """
    judged = [_judged(row, *working.budgets(precision), precision) for row in comparison.rows]
    if not all(row.status in ("equal", "rounding") for row in judged):
        return False
    alike = [
        (row.name, row.error.relative_l2 > LIKENESS * row.budget["relative_l2"])
        for row in judged
        if row.error and row.budget
    ]
    diverged = [row.status in ("diverged", "shape") for row in comparison.rows]
    before = {row.name for row in comparison.rows[: diverged.index(True)]} - {INPUT}
    if not all(like for name, like in alike if name in before):
        return False
    return sum(like for _, like in alike) > len(alike) / 2
