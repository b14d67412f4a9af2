"""From the first tensor that differs to the mistakes that explain it."""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy

from minivivit.errors import InputError
from minivivit.verification.comparison.causes.anywhere import general_hypotheses
from minivivit.verification.comparison.causes.places import hypotheses
from minivivit.verification.comparison.evidence.cause import Cause
from minivivit.verification.comparison.evidence.evidence import (
    LARGEST_SAMPLE,
    Evidence,
    config_of,
    first_sample,
    relative_error,
    weights_of,
)
from minivivit.verification.comparison.nonfinite import nonfinite_causes
from minivivit.verification.tensors.layouts import find_layout, undo_layout
from minivivit.verification.tensors.source import TensorSource

# Tensors of another shape are ours in another layout when they then agree as closely as this.
SAME_IN_ANOTHER_LAYOUT = 1e-2


def likely_causes(comparison: Any, ours: TensorSource, theirs: TensorSource, model: Any = None) -> list[Cause]:
    """What may have gone wrong at the first tensor that differs.

    Nothing is guessed from the look of an error. For every mistake that is known at that place of the network, the
    tensor that it would have made is computed from our inputs and weights, and the mistake is claimed only where that
    tensor is theirs: within the rounding budget, or a hundred times closer than ours is. So a claim is right unless two
    mistakes make the same numbers, and then both are named.

    Parameters
    ----------
    comparison : minivivit.verification.comparison.verdict.Comparison
        Of the two.
    ours, theirs : TensorSource
        Only tensors around the first divergence are read, of the first clip, and of at most 128 MB each in float64;
        what is larger (scores at full size) is left unexamined.
    model : VivitModel or VivitForVideoClassification, optional
        That made ours. Without it, weights are read from the directory that our trace's metadata name, if that is
        there; without weights, fewer mistakes can be told.

    Returns
    -------
    causes : list of Cause
        Best first; empty where nothing diverges or nothing known explains it.
    """
    row = comparison.first_divergent
    if row is None or row.name not in ours:
        return []
    heads = comparison.heads
    if row.error is None:
        return _other_layout(row, ours, theirs, heads)
    evidence = Evidence(
        row.name,
        ours,
        _reader(comparison, ours, theirs, heads),
        weights_of(model, ours.metadata),
        config_of(model, ours.metadata),
        row.allowed,
    )
    for guesses in (hypotheses, general_hypotheses):
        try:
            causes = evidence.explained_by(guesses(evidence))
        except (ValueError, IndexError, ZeroDivisionError):  # tensors under our names, of shapes that ours never have
            causes = []
        if causes:
            return causes
    return list(nonfinite_causes(evidence, row.error))


def _reader(
    comparison: Any, ours: TensorSource, theirs: TensorSource, heads: int | None
) -> Callable[[str], numpy.ndarray | None]:
    """A function from our name to the first sample of their tensor, in our layout. It keeps the latest one."""
    rows = {row.name: row for row in comparison.rows if row.error is not None}
    kept: dict[str, numpy.ndarray | None] = {}

    def read(name: str) -> numpy.ndarray | None:
        if name not in kept:
            kept.clear()
            kept[name] = _read_theirs(rows[name], ours, theirs, heads) if name in rows else None
        return kept[name]

    return read


def _read_theirs(row: Any, ours: TensorSource, theirs: TensorSource, heads: int | None) -> numpy.ndarray | None:
    shape, their_shape = ours.shapes[row.name], theirs.shapes[row.their_name]
    if row.layout == "" and their_shape == shape:
        return first_sample(theirs, row.their_name)
    if prod(their_shape) > 4 * LARGEST_SAMPLE:
        return None
    try:
        array = undo_layout(theirs.read(row.their_name), row.layout, shape, heads).reshape(shape)
    except (InputError, ValueError):
        return None
    return array[:1] if shape else array


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
