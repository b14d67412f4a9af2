"""The right numbers in another order: clips, times, places, tokens, heads, features, rows of a gradient."""

from collections.abc import Iterator

import numpy

from minivivit.verification.comparison.evidence.axes import Axis, axes_of, split_heads
from minivivit.verification.comparison.evidence.evidence import LARGEST_SAMPLE, Evidence, Hypothesis

# Slices are recognised by this many of their numbers; one of fewer than the second may be like another by chance.
FINGERPRINT, FEWEST = 256, 4
# Slices more than this many are left alone: each is held against all others.
MOST_SLICES = 4096
# Axes whose orders have hypotheses of their own.
NAMED_ELSEWHERE = ("frame", "class", "pixel row", "pixel column")
# Tensors whose features are those of one head after the other.
WITH_HEADS = (".attention.attention", ".query", ".key", ".value")
# A slice is recognised when it comes this close to one of ours, relative to all of them.
RECOGNISED = 1e-2


def order_hypotheses(evidence: Evidence) -> Iterator[Hypothesis]:
    """Entries of the first axis, then those of each other axis, in another order.

    The order is read off one sample, and is a guess like any other: all entries of all samples have to agree with it.
    """
    yield from _orders_of_samples(evidence)
    ours, theirs = evidence.sample(evidence.name), evidence.read_theirs(evidence.name)
    if ours is None or theirs is None or ours.shape != theirs.shape or ours.ndim < 2:
        return
    axes, in_heads = axes_of(evidence.name, ours.shape, evidence.config, 1), False
    heads = evidence.config.num_attention_heads if evidence.config and evidence.name.endswith(WITH_HEADS) else 1
    apart = split_heads(axes, heads)
    if len(apart) > len(axes):
        shape = [axis.size for axis in apart]
        for guess in _orders_along(evidence, ours.reshape(shape), theirs.reshape(shape), len(apart) - 2, apart[-2]):
            in_heads = True
            yield Hypothesis(guess.cause, guess.mistake, guess.advice, guess.tensor.reshape(ours.shape))
    if [axis.size for axis in axes] == list(ours.shape):
        for place, axis in enumerate(axes):
            if not (in_heads and axis.name == "feature"):  # whole heads: that says more
                yield from _orders_along(evidence, ours, theirs, place, axis)


def _orders_along(
    evidence: Evidence, ours: numpy.ndarray, theirs: numpy.ndarray, place: int, axis: Axis
) -> Iterator[Hypothesis]:
    if not 1 < axis.size <= MOST_SLICES or ours.size // axis.size < FEWEST or axis.name in NAMED_ELSEWHERE:
        return
    found = matched(*(numpy.moveaxis(tensor, place, 0).reshape(axis.size, -1) for tensor in (ours, theirs)))
    order = evidence.fitted(f"order of {axis.name}", found)
    if order is None or sorted(order) != list(range(axis.size)) or order == sorted(order):
        return
    cause, mistake = _named(order, axis, "temporal" in evidence.name)
    yield Hypothesis(cause, mistake, f"check the order of the {axis.name} axis", numpy.take(ours, order, axis=place))


def _named(order: list[int], axis: Axis, temporal: bool) -> tuple[str, str]:
    """(cause, mistake); in a temporal encoder tokens are times."""
    kept = int(axis.has_cls)
    what = "times" if axis.name == "token" and temporal else f"{axis.name}s"
    if order[kept:] == list(range(axis.size))[kept:][::-1] and axis.size > kept + 1:
        how = f"with the {what} in reverse" + (", but for the CLS token" if kept and order[0] == 0 else "")
    else:
        moved = [index for index, other in enumerate(order) if index != other]
        if len(moved) == 2:
            how = f"with {what} {moved[0]} and {moved[1]} exchanged"
        else:
            how = f"with the {what} in the order {', '.join(map(str, order[:12]))}" + (", ..." * (axis.size > 12))
    if what == "times" and order[kept:] == list(range(axis.size))[kept:][::-1]:
        return "times reversed", how
    return "feature order" if axis.name in ("row", "column") else f"{axis.name} order", how


def matched(ours: numpy.ndarray, theirs: numpy.ndarray) -> list[int] | None:
    """For each row of theirs the row of ours that is most like it; None where one is like none.

    Distances are those of a few columns, ||a - b||^2 = ||a||^2 + ||b||^2 - 2 <a, b>.
    """
    step = max(1, ours.shape[1] // FINGERPRINT)
    left, right = theirs[:, ::step][:, :FINGERPRINT], ours[:, ::step][:, :FINGERPRINT]
    if not (numpy.isfinite(left).all() and numpy.isfinite(right).all()):
        return None
    scale = float(numpy.square(right).sum(axis=1).mean()) ** 0.5 or 1.0
    left, right = left / scale, right / scale
    distances = -2 * left @ right.T + numpy.square(right).sum(axis=1) + numpy.square(left).sum(axis=1)[:, None]
    order = distances.argmin(axis=1)
    errors = numpy.linalg.norm(left - right[order], axis=1)
    return None if errors.max() > RECOGNISED else [int(index) for index in order]


def _orders_of_samples(evidence: Evidence) -> Iterator[Hypothesis]:
    """Clips, and times or places that are folded into the first axis, in another order."""
    shape, name = evidence.ours.shapes[evidence.name], evidence.name
    ours = evidence.sample(name)
    if ours is None or not 1 < shape[0] <= MOST_SLICES or numpy.prod(shape) > LARGEST_SAMPLE:
        return
    if ours.shape == shape:  # a parameter, which has no samples
        return
    whole = evidence.shared.whole(evidence.ours, name)
    if "order of samples" not in evidence.shared.fits:
        evidence.fitted("order of samples", _read_order(evidence, whole))
    order = evidence.shared.fits["order of samples"]
    if order is None or order == list(range(shape[0])):
        return
    clips = evidence.ours.shapes.get("pixel_values", shape)[0]
    named = name_order(order, clips if shape[0] % max(clips, 1) == 0 else shape[0], evidence)
    if named is not None:
        yield Hypothesis(*named, whole[order[evidence.index]][None])


def _read_order(evidence: Evidence, whole: numpy.ndarray) -> list[int] | None:
    read = [evidence.their_samples(index) for index in range(len(whole))]
    samples = [sample for sample in read if sample is not None]
    if len(samples) < len(read):
        return None
    return matched(whole.reshape(len(whole), -1), numpy.concatenate(samples).reshape(len(whole), -1))


def name_order(order: list[int], clips: int, evidence: Evidence) -> tuple[str, str, str] | None:
    """(cause, mistake, advice) of an order of the first axis: of clips, or of times or places inside each clip."""
    inner = len(order) // clips
    axes = axes_of(evidence.name, evidence.ours.shapes[evidence.name], evidence.config, clips)
    what = f"{axes[1].name}s" if inner > 1 and len(axes) > 1 else "entries"
    table = numpy.array(order).reshape(clips, inner)
    straight = numpy.arange(len(order)).reshape(clips, inner)
    shown = ", ".join(map(str, order[:12])) + (", ..." if len(order) > 12 else "")
    if inner == 1:
        return "batch order", f"of the clips {shown}", "the clips of the batch are in another order"
    if clips > 1 and (table == table[:, :1] - table[:, :1] % inner + numpy.arange(inner)).all():
        first = ", ".join(str(clip // inner) for clip in table[:, 0].tolist())
        return "batch order", f"of the clips {first}", "the clips of the batch are in another order"
    for folded in (straight.T.reshape(-1), straight.reshape(inner, clips).T.reshape(-1)):
        if order == folded.tolist():
            return (
                f"{what} folded in another order",
                f"with ({what}, clips) folded where (clips, {what}) are expected",
                f"fold clips and {what} with the clips slowest",
            )
    if (table == straight[:, ::-1]).all():
        return f"{what} reversed", f"with the {what} of each clip in reverse", f"check the order of the {what}"
    grid = evidence.config.grid_size if evidence.config else (0, 0, 0)
    if inner == grid[1] * grid[2]:
        swapped = numpy.arange(inner).reshape(grid[1:]).T.reshape(-1)
        if (table == straight[:, swapped]).all():
            return "height and width swapped", "with rows and columns of the places swapped", "rows are slower"
    steps = table - straight[:, :1]
    if (steps == steps[0]).all() and (steps >= 0).all() and (steps < inner).all():
        listed = ", ".join(map(str, steps[0, :12].tolist())) + (", ..." if inner > 12 else "")
        return f"{what[:-1]} order", f"with the {what} of each clip in the order {listed}", f"check the {what}"
    return None
