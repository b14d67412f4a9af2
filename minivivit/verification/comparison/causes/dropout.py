"""Dropout that was left on: it leaves zeros, and everything else larger by one factor."""

from collections.abc import Iterator

import numpy

from minivivit.verification.comparison.evidence.evidence import Evidence, Hypothesis

# Slices of nothing but zeros are a mask's when chance makes them this seldom.
UNLIKELY = 1e-6
# Rates of dropout that anyone uses lie between these; the share of zeros must agree with the factor this closely.
LOWEST_RATE, HIGHEST_RATE = 0.005, 0.9


def dropout_hypotheses(
    evidence: Evidence, dropped: numpy.ndarray, beside: numpy.ndarray | float = 0.0
) -> Iterator[Hypothesis]:
    r"""Theirs is :math:`beside + m \circ dropped / (1 - p)` with a mask m of zeros and ones.

    The mask is read off their tensor, where theirs is `beside`; p follows from the size of the rest, and has to agree
    with the share of zeros. A whole sample that is dropped or scaled is stochastic depth, of which this knows nothing.

    Parameters
    ----------
    dropped : array
        What goes into the dropout, of the shape of the tensor that differs.
    beside : array or 0
        What is added to it afterwards.
    """
    theirs = evidence.read_theirs(evidence.name)
    if theirs is None or theirs[:1].shape != dropped.shape or not numpy.isfinite(theirs).all():
        return
    branch = theirs[:1] - beside
    noise = (evidence.budget or 0.0) * float(numpy.abs(theirs).mean())
    scale = float(numpy.abs(dropped).mean())
    kept = numpy.abs(branch) > max(1e-4 * scale, noise)
    visible = numpy.abs(dropped) > max(1e-2 * scale, 5 * noise)
    if not (visible & kept).any():
        return
    rate = evidence.fitted("rate", 1 - 1 / float(numpy.median(branch[visible & kept] / dropped[visible & kept])))
    zeros = 1 - float(kept[visible].mean())
    spread = (LOWEST_RATE / visible.sum()) ** 0.5  # standard deviation of a share of zeros, at least
    if not LOWEST_RATE < rate < HIGHEST_RATE or abs(zeros - rate) > 0.2 * rate + 5 * spread:
        return
    if _gathered(visible, kept, rate):
        return
    zeros = evidence.fitted("zeros", zeros)
    yield Hypothesis(
        "dropout left on",
        f"after dropout at a rate of {rate:.2g} ({zeros:.1%} of the entries are 0, the rest is {1 / (1 - rate):.3g} "
        "times as large)",
        "switch to inference: model.eval() in PyTorch, deterministic=True in Flax",
        beside + numpy.where(kept, dropped / (1 - rate), 0.0),
    )


def _gathered(visible: numpy.ndarray, kept: numpy.ndarray, rate: float) -> bool:
    """Whether whole columns, tokens or heads are zeros, which chance would hardly make: a mask, and no dropout."""
    for axis in range(visible.ndim):
        others = tuple(other for other in range(visible.ndim) if other != axis)
        seen, left = visible.sum(axis=others), (visible & kept).sum(axis=others)
        if visible.shape[axis] > 1 and ((left == 0) & (rate**seen * visible.size < UNLIKELY)).any():
            return True
    return False
