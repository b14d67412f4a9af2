"""What can go wrong at any tensor; tried where nothing that belongs to the place explains it."""

from collections.abc import Iterator

import numpy

from minivivit.verification.comparison.evidence.evidence import (
    Evidence,
    Hypothesis,
    leading,
    relative_error,
)
from minivivit.verification.comparison.general.orders import order_hypotheses

# Numbers by which tensors are recognised before they are compared whole.
FINGERPRINT = 4096
# Tensors to which a bias was added last. (Attention averages, so that any error looks constant after it.)
WITH_BIAS = ("dense", "query", "key", "value", "patch_embeddings", "layernorm_before", "layernorm_after", "layernorm")


def general_hypotheses(evidence: Evidence) -> Iterator[Hypothesis]:
    """Zeros, a factor, a constant vector, another order, another tensor."""
    ours, theirs = evidence.sample(evidence.name), evidence.read_theirs(evidence.name)
    if ours is None or theirs is None or not theirs.shape or theirs.shape != ours.shape:
        return
    if not numpy.isfinite(theirs).all():
        return
    yield Hypothesis("never written", "with nothing but zeros", "the tensor was not filled", numpy.zeros_like(ours))
    yield from _factor(evidence, ours, theirs)
    if evidence.name.endswith(WITH_BIAS):
        yield from _constant_vector(evidence, ours, theirs)
    yield from _orders(evidence, ours)
    yield from order_hypotheses(evidence)
    yield from _other_tensors(evidence, theirs)


def _factor(evidence: Evidence, ours: numpy.ndarray, theirs: numpy.ndarray) -> Iterator[Hypothesis]:
    square = float(numpy.square(ours).sum())
    if square == 0 or ours.size < 4:
        return
    factor = evidence.fitted("factor", float((ours * theirs).sum()) / square)
    yield Hypothesis(
        "a constant factor",
        f"times {factor:.6g}",
        "a scale is missing or applied twice (a mean for a sum, a loss scale, 1/sqrt(d))",
        factor * ours,
        is_fit=True,
    )


def _constant_vector(evidence: Evidence, ours: numpy.ndarray, theirs: numpy.ndarray) -> Iterator[Hypothesis]:
    """The same vector added at every token."""
    if ours.ndim == 3 and ours.shape[1] > 3:
        shift = evidence.fitted("shift", (theirs - ours).mean(axis=1, keepdims=True))
        yield Hypothesis(
            "bias differs",
            "plus the same vector at every token",
            "a bias is left out, added twice, or of another layer",
            ours + shift,
            is_fit=True,
        )


def _orders(evidence: Evidence, ours: numpy.ndarray) -> Iterator[Hypothesis]:
    """The tokens in another order; matrices transposed."""
    if ours.ndim == 3 and ours.shape[1] > 1:
        for shift in (1, -1):
            yield Hypothesis(
                "token order",
                f"with the tokens moved on by {shift} in a circle",
                "check where the CLS token stands",
                numpy.roll(ours, shift, 1),
            )
    is_matrix = ours.ndim >= 3 or (ours.ndim == 2 and evidence.is_parameter)
    if is_matrix and ours.shape[-1] == ours.shape[-2] > 1:
        yield Hypothesis("transposed", "with its last two axes swapped", "transpose it", ours.swapaxes(-1, -2))


def _other_tensors(evidence: Evidence, theirs: numpy.ndarray) -> Iterator[Hypothesis]:
    """What we call by another name."""
    head = theirs.reshape(-1)[:FINGERPRINT]
    for other, shape in evidence.ours.shapes.items():
        if other == evidence.name or not shape or evidence.sample_shape(other) != theirs.shape:
            continue
        first = next(iter(evidence.ours.blocks(other)))[: head.size]
        if evidence.index_in(other) == 0 and first.size == head.size and relative_error(first, head) > 0.05:
            continue
        sample = evidence.sample(other)
        if sample is not None and leading(sample, theirs) is not None:
            yield Hypothesis(
                "another tensor",
                f"in {other}",
                "the tensor is recorded under a wrong name, or a step is left out",
                sample,
                is_elsewhere=True,
            )
