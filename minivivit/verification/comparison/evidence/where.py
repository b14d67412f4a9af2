"""Where a tensor is wrong: the clips, times, tokens, heads, rows or columns that hold all of the error."""

from dataclasses import dataclass
from math import prod

import numpy

from minivivit.config import VivitConfig
from minivivit.verification.comparison.evidence.axes import Axis, axes_of, ranges, shaped, split_grid, split_heads

# Slices that are right stay below this part of the worst one, and below what is allowed where that is known.
RIGHT_PART, WITHOUT_BUDGET = 0.1, 1e-3
# Of more places than this part of an axis it is no news that they are wrong.
LARGEST_SHARE = 0.75


@dataclass(frozen=True)
class Place:
    """Where all of an error lies along one axis.

    Attributes
    ----------
    axis : str
        What the axis counts, such as ``"token"`` or ``"row of the grid"``.
    indices : list of (first, last)
        The wrong ones, from 0, in runs, both ends counted.
    sentence : str
    """

    axis: str
    indices: list[tuple[int, int]]
    sentence: str


def places(
    name: str,
    ours: numpy.ndarray,
    theirs: numpy.ndarray,
    allowed: float | None = None,
    config: VivitConfig | None = None,
    clips: int | None = None,
) -> list[Place]:
    """The axes along which some places hold all of the error, while the rest lies within what rounding explains.

    Parameters
    ----------
    name : str
        Of ours.
    ours, theirs : arrays of one shape
    allowed : float, optional
        The relative error that rounding explains.
    config : VivitConfig, optional
        Tells times, rows, columns and heads.
    clips : int, optional
        In the batch.

    Returns
    -------
    list of Place
        From the first axis to the last; empty where the error is everywhere.
    """
    axes = axes_of(name, ours.shape, config, clips)
    if not axes or ours.size == 0 or ours.shape != theirs.shape:
        return []
    ours, theirs = _scaled(ours, theirs)
    difference = _difference(ours, theirs)
    if not difference.any():
        return []
    rms = float(numpy.sqrt(numpy.square(ours, where=numpy.isfinite(ours), out=numpy.zeros(ours.shape)).mean()))
    views = [axes]
    if config is not None and ".attention" in name:
        views.append(split_heads(axes, config.num_attention_heads))
    found: list[Place] = []
    for view in views:
        for place in _along(shaped(difference, view), view, allowed, rms):
            if all(place.axis != other.axis for other in found) and not place.axis.startswith("feature of"):
                found.append(_exchanged(place, view, ours, theirs, allowed))
    return [*found, *_on_the_grid(found, axes, difference, allowed, rms, config)]


def _scaled(*tensors: numpy.ndarray) -> list[numpy.ndarray]:
    """Tensors in units of their largest entry, so that no square overflows."""
    with numpy.errstate(all="ignore"):
        sizes = [numpy.abs(tensor, where=numpy.isfinite(tensor), out=numpy.zeros(tensor.shape)) for tensor in tensors]
        unit = max(float(size.max(initial=0.0)) for size in sizes) or 1.0
        return [tensor / unit for tensor in tensors]


def _difference(ours: numpy.ndarray, theirs: numpy.ndarray) -> numpy.ndarray:
    """Absolute differences; where one is NaN or infinite and the other is something else, as large as can be."""
    with numpy.errstate(all="ignore"):
        same = (ours == theirs) | (numpy.isnan(ours) & numpy.isnan(theirs))
        difference = numpy.where(same, 0.0, numpy.abs(theirs - ours))
    finite = difference[numpy.isfinite(difference)]
    return numpy.where(numpy.isfinite(difference), difference, max(1.0, float(finite.max(initial=0.0)) * 1e6))


def _along(difference: numpy.ndarray, axes: list[Axis], allowed: float | None, rms: float) -> list[Place]:
    found = []
    unit = float(difference.max())
    squares = numpy.square(difference / unit)
    for place, axis in enumerate(axes):
        others = tuple(other for other in range(difference.ndim) if other != place)
        errors = numpy.sqrt(squares.mean(axis=others)) * unit
        wrong = _wrong(errors, allowed, rms)
        if wrong and len(wrong) <= max(1, LARGEST_SHARE * axis.size) and axis.size > 1:
            words = axis.words(wrong)
            found.append(Place(axis.name, ranges(wrong), f"only {words}"))
    return found


def _wrong(errors: numpy.ndarray, allowed: float | None, rms: float) -> list[int]:
    """The places whose error is no rounding; none where it cannot be told from the others'."""
    worst = float(errors.max())
    limit = WITHOUT_BUDGET * worst if allowed is None else min(allowed * rms, RIGHT_PART * worst)
    order = numpy.sort(errors)
    wrong = [int(index) for index in numpy.flatnonzero(errors > limit)]
    rest = order[: len(order) - len(wrong)]
    if not rest.size or order[len(order) - len(wrong)] * RIGHT_PART < rest[-1]:
        return []
    return wrong


def _exchanged(
    place: Place, axes: list[Axis], ours: numpy.ndarray, theirs: numpy.ndarray, allowed: float | None
) -> Place:
    """The same place, and that its entries stand in one another's places where they do."""
    number = [axis.name for axis in axes].index(place.axis)
    wrong = [index for first, last in place.indices for index in range(first, last + 1)]
    if not 1 < len(wrong) <= 16:
        return place
    right, left = (numpy.moveaxis(shaped(tensor, axes), number, 0) for tensor in (ours, theirs))
    order = []
    for index in wrong:
        errors = [float(numpy.linalg.norm(left[index] - right[other])) for other in wrong]
        best = int(numpy.argmin(errors))
        if not errors[best] <= (allowed or 1e-6) * float(numpy.linalg.norm(right[wrong[best]])):
            return place
        order.append(wrong[best])
    if sorted(order) != wrong or order == wrong:
        return place
    words = axes[number].words(wrong)
    how = "exchanged" if len(wrong) == 2 else f"in the order {', '.join(map(str, order))}"
    return Place(place.axis, place.indices, f"only {words}, {how}")


def _on_the_grid(
    found: list[Place],
    axes: list[Axis],
    difference: numpy.ndarray,
    allowed: float | None,
    rms: float,
    config: VivitConfig | None,
) -> list[Place]:
    """Times, rows and columns of the grid whose tokens are the wrong ones, where the CLS token is right."""
    split = None if config is None else split_grid(axes, config)
    if split is None:
        return []
    views, number = split
    by_axis = shaped(difference, axes)
    token = next((place for place in found if place.axis == axes[number].name), None)
    if token is None or (axes[number].has_cls and token.indices[0][0] == 0):
        return []
    by_axis = numpy.delete(shaped(difference, axes), [0] if axes[number].has_cls else [], axis=number)
    names = {axis.name for axis in axes}
    new = [place for place in _along(shaped(by_axis, views), views, allowed, rms) if place.axis not in names]
    box = prod(axis.size for axis in views if axis.name not in names)
    for place in new:
        box = box // next(axis.size for axis in views if axis.name == place.axis) * count(place)
    return new if count(token) == box > 1 else []  # else the tokens say it better


def count(place: Place) -> int:
    """How many of the axis are wrong."""
    return sum(last - first + 1 for first, last in place.indices)
