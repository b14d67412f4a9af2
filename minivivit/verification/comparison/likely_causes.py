"""From the first tensor that differs to the mistakes that explain it."""

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import numpy

from minivivit.errors import InputError
from minivivit.verification.comparison.causes.places import hypotheses
from minivivit.verification.comparison.evidence.axes import axes_of
from minivivit.verification.comparison.evidence.cause import Cause
from minivivit.verification.comparison.evidence.evidence import (
    LARGEST_SAMPLE,
    Evidence,
    Hypothesis,
    Shared,
    config_of,
    num_samples,
    read_sample,
    relative_error,
    weights_of,
)
from minivivit.verification.comparison.evidence.where import Place, places
from minivivit.verification.comparison.general.anywhere import general_hypotheses
from minivivit.verification.comparison.nonfinite import nonfinite_causes
from minivivit.verification.tensors.layouts import find_layout, keeps_order, undo_layout
from minivivit.verification.tensors.source import TensorSource

# Tensors of another shape are ours in another layout when they then agree as closely as this.
SAME_IN_ANOTHER_LAYOUT = 1e-2
# Causes whose names have one of these words move numbers about, as a layout does.
ORDERS = ("order", "reversed", "transposed", "swapped")


def likely_causes(comparison: Any, ours: TensorSource, theirs: TensorSource, model: Any = None) -> list[Cause]:
    """What may have gone wrong at the first tensor that differs.

    Nothing is guessed from the look of an error. For every mistake that is known at that place of the network, the
    tensor that it would have made is computed from our inputs and weights, and the mistake is claimed only where that
    tensor is theirs, in every clip, to what rounding explains. Where two mistakes explain it equally well, neither is
    claimed. A mistake in some clips alone, while the others are right, is called that.

    Parameters
    ----------
    comparison : minivivit.verification.comparison.verdict.Comparison
        Of the two.
    ours, theirs : TensorSource
        Only tensors around the first divergence are read, a clip at a time where they are larger than 128 MB in
        float64; a clip that is larger itself (scores at full size) is left unexamined.
    model : VivitModel or VivitForVideoClassification, optional
        That made ours. Without it, weights are read from the directory that our trace's metadata name, if that is
        there; without weights, fewer mistakes can be told.

    Returns
    -------
    causes : list of Cause
        Of one name; empty where nothing diverges, nothing known explains it, or more than one thing does.
    """
    row = comparison.first_divergent
    if row is None or row.name not in ours:
        return []
    heads = comparison.heads
    if row.error is None:
        return _other_layout(row, ours, theirs, heads)
    read, shared = _reader(comparison, ours, theirs, heads), Shared()
    weights, config = weights_of(model, ours.metadata), config_of(model, ours.metadata)

    def evidence_of(index: int) -> Evidence:
        evidence = Evidence(row.name, ours, lambda name: None, weights, config, row.allowed, index, shared)
        evidence.read_theirs = lambda name: read(name, evidence.index_in(name)) if name in ours else None
        evidence.their_samples = lambda other: read(row.name, other)
        evidence.is_guess = row.guessed
        return evidence

    samples = num_samples(row.name, row.shape)
    worst = row.error.where[0] if samples > 1 and row.error.where else 0
    for guesses in (hypotheses, general_hypotheses):
        shared.fits.clear()
        shared.wanted = None
        try:
            causes = _confirmed(guesses, evidence_of, worst, samples, _sample_words(row, ours, config))
        except (ValueError, IndexError, ZeroDivisionError):  # tensors under our names, of shapes that ours never have
            causes = []
        if causes:
            return causes if len({cause.name for cause in causes}) == 1 and not _is_layout(row, causes[0]) else []
    return list(nonfinite_causes(evidence_of(0), row.error))


def _is_layout(row: Any, cause: Cause) -> bool:
    """Whether another layout than the one that was found explains their tensor as well as the cause does."""
    if not row.layout_found or keeps_order(row.layout):
        return False
    return row.shape == row.their_shape or any(word in cause.name for word in ORDERS)


def _confirmed(
    guesses: Callable[[Evidence], Iterator[Hypothesis]],
    evidence_of: Callable[[int], Evidence],
    worst: int,
    samples: int,
    describe: Callable[[list[int]], str],
) -> list[Cause]:
    """The causes that explain the worst sample, and every other one that is wrong.

    Where others are right, and would not be with the mistake, it is of some samples alone, and the sentence says which.
    """
    first = evidence_of(worst)
    claims = first.best(first.claims(guesses(first)))
    first.shared.wanted = {claim.key for claim in claims}
    right: dict[tuple[str, str], set[int]] = {claim.key: set() for claim in claims}
    for index in range(samples):
        if index == worst or not claims:
            continue
        evidence = evidence_of(index)
        explained = evidence.agreeing(guesses(evidence))
        refuted = [claim for claim in claims if claim.key not in explained]
        if refuted and not evidence.is_right():
            claims = [claim for claim in claims if claim not in refuted]
        else:
            for claim in refuted:
                right[claim.key].add(index)
    found = []
    for claim in claims:
        wrong = [index for index in range(samples) if index not in right[claim.key]]
        found.append(claim.confined_to(f"only {describe(wrong)} wrong: " if right[claim.key] else ""))
    return found


def places_of(comparison: Any, ours: TensorSource, theirs: TensorSource, model: Any = None) -> list[Place]:
    """Where the first tensor that differs is wrong; empty where it is wrong everywhere, or too large.

    Parameters
    ----------
    comparison, ours, theirs, model
        As for `likely_causes`.
    """
    row = comparison.first_divergent
    if row is None or row.error is None or row.name not in ours or prod(row.shape) > LARGEST_SAMPLE:
        return []
    other = _read_theirs(row, ours, theirs, comparison.heads)
    if other is None:
        return []
    config = config_of(model, ours.metadata)
    return places(row.name, ours.read(row.name), other, row.allowed, config, _clips(ours))


def _clips(ours: TensorSource) -> int | None:
    """Clips in the batch."""
    shape = ours.shapes.get("pixel_values", ())
    return shape[0] if shape else None


def _sample_words(row: Any, ours: TensorSource, config: Any) -> Callable[[list[int]], str]:
    """From indices along the first axis to words with their verb, such as "clip 0 is"."""
    axes, clips = axes_of(row.name, row.shape, config, _clips(ours)), _clips(ours)
    inner = row.shape[0] // clips if clips and row.shape and row.shape[0] % clips == 0 else 1

    def words(indices: list[int]) -> str:
        by_clip = sorted({index // inner for index in indices})
        by_inner = sorted({index % inner for index in indices})
        if inner == 1 or len(indices) == len(by_clip) * inner:
            found = axes[0].words(by_clip)
        elif len(axes) > 1 and clips and len(indices) == len(by_inner) * clips:
            found = axes[1].words(by_inner)
        else:
            found = f"{len(indices)} entries of the first axis"
        return f"{found} {'is' if len(indices) == 1 or found.split()[0] == axes[0].name else 'are'}"

    return words


def _reader(
    comparison: Any, ours: TensorSource, theirs: TensorSource, heads: int | None
) -> Callable[[str, int], numpy.ndarray | None]:
    """A function from our name and a sample to that of their tensor, in our layout. It keeps the latest ones."""
    rows = {row.name: row for row in comparison.rows if row.error is not None}
    kept: dict[str, numpy.ndarray | None] = {}

    def read(name: str, index: int) -> numpy.ndarray | None:
        if name not in rows:
            return None
        shape = ours.shapes[name]
        if prod(shape) > LARGEST_SAMPLE and rows[name].layout == "" and theirs.shapes[rows[name].their_name] == shape:
            return read_sample(theirs, rows[name].their_name, index)
        if name not in kept:
            while len(kept) > 1:
                kept.pop(next(iter(kept)))
            kept[name] = _read_theirs(rows[name], ours, theirs, heads)
        whole = kept[name]
        return whole if whole is None or num_samples(name, shape) == 1 else whole[index : index + 1]

    return read


def _read_theirs(row: Any, ours: TensorSource, theirs: TensorSource, heads: int | None) -> numpy.ndarray | None:
    """Their whole tensor in our layout; None where it is too large."""
    shape = ours.shapes[row.name]
    sample = prod(shape) // max(1, num_samples(row.name, shape))
    if sample > LARGEST_SAMPLE or prod(theirs.shapes[row.their_name]) > 4 * LARGEST_SAMPLE:
        return None
    try:
        return undo_layout(theirs.read(row.their_name), row.layout, shape, heads).reshape(shape)
    except (InputError, ValueError):
        return None


def _other_layout(row: Any, ours: TensorSource, theirs: TensorSource, heads: int | None) -> list[Cause]:
    """Tensors of different shapes: the same numbers in another layout, or not."""
    shape, their_shape = ours.shapes[row.name], theirs.shapes.get(row.their_name)
    if their_shape is None or max(prod(shape), prod(their_shape)) > LARGEST_SAMPLE:
        return []
    tensor, other = ours.read(row.name), theirs.read(row.their_name)
    layout = find_layout(tensor, other, heads)
    if not layout:
        return []
    error = relative_error(tensor, undo_layout(other, layout, tensor.shape, heads))
    if error > max(SAME_IN_ANOTHER_LAYOUT, row.allowed or 0.0):
        return []
    sentence = (
        f"another layout: theirs equals ours after {layout!r}, to {error:.0e}; name that layout in the mapping, or let "
        "layouts be found"
    )
    return [Cause("another layout", sentence)]
