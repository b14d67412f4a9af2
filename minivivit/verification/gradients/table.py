"""Are the gradients of a model right? Central differences of its loss, for chosen parameters and for the pixels."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy

from minivivit.backend import Array, array_namespace
from minivivit.errors import InputError
from minivivit.files.tensor_data import listed, quoted
from minivivit.models.classification import VivitForVideoClassification
from minivivit.verification.gradients.check import SMALLEST_SCALE, STEP, central_difference

PIXELS = "pixel_values"
# An error up to this part of the gradient's largest entry is taken for the central differences' own: the loss of a deep
# model is known to some 1e-15, which a step divides. A wrong term shows as an error of 1e-3 to 1.
TOLERANCE = 1e-6
# A step is a part of the parameter's root mean square, or of this where that is smaller: what a bias of 1e-9 is added
# to is larger, and the loss changes over distances of that size.
SMALLEST_SIZE = 1e-2
# Where the first step shows an error, these follow: a longer one against rounding, and a
# shorter one against kinks (relu, a maximum). A right gradient passes with one of them, a wrong one with none.
STEPS = (STEP, 30 * STEP, STEP / 30)


@dataclass(frozen=True)
class GradientRow:
    """How well the gradient to one parameter, or to the pixels, agrees.

    Attributes
    ----------
    name : str
    shape : tuple of int
    num_checked : int
        How many entries were moved one by one, beside the random direction.
    relative_error : float
        The largest difference, relative to the largest entry of this gradient, or to 1e-3 of the largest of all of the
        model's gradients if that is larger: what should be 0 comes out as rounding noise.
    where : tuple of int, or None
        Index of the entry with that difference; None when it is the derivative along the random direction.
    analytic, numeric : float
        What the backward pass says there, and what central differences say.
    passed : bool
        Whether the error is within `TOLERANCE`.
    """

    name: str
    shape: tuple[int, ...]
    num_checked: int
    relative_error: float
    where: tuple[int, ...] | None
    analytic: float
    numeric: float
    passed: bool


def choose_parameters(names: Sequence[str], patterns: Sequence[str] | None, rng: numpy.random.Generator) -> list[str]:
    """Names that match a shell pattern; without patterns one of each kind, from a layer that is drawn.

    Parameters
    ----------
    names : sequence of str
        Of the parameters, and ``"pixel_values"``.
    patterns : sequence of str, optional
        Such as ``"*.layer.0.*"`` or a whole name.
    rng : numpy.random.Generator
        Draws the layers.

    Returns
    -------
    list of str
        In the order of `names`.

    Raises
    ------
    InputError
        For a pattern that no name matches.
    """
    if patterns is not None:
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise InputError(f"no parameter matches the pattern {quoted(pattern)}; names are {listed(names, 3)}")
        return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
    kinds: dict[str, list[str]] = {}
    for name in names:
        kinds.setdefault(re.sub(r"\.layer\.\d+\.", ".layer.*.", name), []).append(name)
    drawn = {alike[rng.integers(len(alike))] for alike in kinds.values()}
    return [name for name in names if name in drawn]


def num_passes(sizes: Sequence[int], num_entries: int) -> int:
    """How many forward passes `gradient_table` makes for parameters of these sizes, if all gradients are right."""
    return sum(4 * (min(num_entries, size) + (size > num_entries)) for size in sizes)


def gradient_table(
    model: VivitForVideoClassification,
    pixel_values: Array,
    labels: Array,
    names: Sequence[str],
    *,
    rng: numpy.random.Generator,
    num_entries: int = 2,
    interpolate_pos_encoding: bool = False,
    on_pass: Callable[[], Any] | None = None,
) -> list[GradientRow]:
    """Compare the backward pass with central differences of the loss.

    Of each parameter `num_entries` are drawn and moved one by one, and then all of its entries at once in a random
    direction, where an error in any of them shows. How far, and why, `minivivit.verification.gradients.check` says.
    That is four forward passes for each number that is compared, and one backward pass for all of them together.

    Parameters
    ----------
    model : VivitForVideoClassification
        In float64. Its parameters are moved in place, and put back.
    pixel_values : array, shape (batch, frames, channels, height, width)
    labels : array
        See `minivivit.models.loss`.
    names : sequence of str
        Of parameters, and ``"pixel_values"``.
    rng : numpy.random.Generator
        Draws entries and directions.
    num_entries : int
        With 0, only the random direction is taken.
    interpolate_pos_encoding : bool
        As in ``model.forward``.
    on_pass : callable, optional
        Called after each forward pass: a progress bar listens here.

    Returns
    -------
    list of GradientRow
        One for each name, in order.

    Raises
    ------
    InputError
        When the model is not in float64, when its loss is not finite, and for what the model refuses.
    """
    if model.dtype != numpy.float64:
        raise InputError(f"the model is in {model.dtype}; central differences need dtype='float64'")
    pixels = model.xp.array(model.checked_pixels(pixel_values), order="C")

    def loss() -> Array:
        value = model.forward(pixels, labels, interpolate_pos_encoding, return_dict=True).loss
        if on_pass is not None:
            on_pass()
        return value

    value, gradients = model.loss_and_gradients(
        pixels, labels, interpolate_pos_encoding=interpolate_pos_encoding, gradient_checkpointing=True
    )
    if not numpy.isfinite(float(value)):
        raise InputError(f"the loss is {float(value)}; check gradients where it is finite")
    smallest = SMALLEST_SCALE * max(float(abs(gradient).max()) for gradient in gradients.values())
    leaves = {**model.state_dict(), PIXELS: pixels}
    return [_check(name, loss, leaves[name], gradients[name], smallest, num_entries, rng) for name in names]


def _check(
    name: str,
    loss: Callable[[], Array],
    leaf: Array,
    gradient: Array,
    smallest: float,
    num_entries: int,
    rng: numpy.random.Generator,
) -> GradientRow:
    """Check one gradient; with another step where the first one shows an error."""
    places = rng.choice(leaf.size, min(num_entries, leaf.size), replace=False).tolist()
    direction = None
    if len(places) < leaf.size:
        direction = rng.standard_normal(leaf.size)
        direction = array_namespace(leaf).asarray(direction / numpy.linalg.norm(direction))
    rows = []
    for step in STEPS:
        row = _compare(name, loss, leaf, gradient, smallest, places, direction, step)
        if row.passed:
            return row
        rows.append(row)
    return min(rows, key=lambda row: row.relative_error)


def _compare(
    name: str,
    loss: Callable[[], Array],
    leaf: Array,
    gradient: Array,
    smallest: float,
    places: list[int],
    direction: Array | None,
    step: float,
) -> GradientRow:
    """Check one gradient with one step: at `places`, and in a direction."""
    assert leaf.flags.c_contiguous  # a flat copy would be moved in vain
    before, flat, flat_gradient = leaf.copy(), leaf.reshape(-1), gradient.reshape(-1)
    h = step * max(float((leaf * leaf).mean()) ** 0.5, SMALLEST_SIZE)
    found: list[tuple[tuple[int, ...] | None, float, float]] = []  # where, analytic, numeric
    try:
        for place in places:
            numeric = central_difference(loss, 1.0, flat[place : place + 1], 1.0, h)
            where = numpy.unravel_index(place, leaf.shape)
            found.append((tuple(map(int, where)), float(flat_gradient[place]), numeric))
        if direction is not None:
            numeric = central_difference(loss, 1.0, flat, direction, h)
            found.append((None, float((flat_gradient * direction).sum()), numeric))
    finally:
        leaf[...] = before  # after an interruption too
    errors = numpy.array([abs(analytic - numeric) for _, analytic, numeric in found])
    worst = int(errors.argmax())  # NaN counts as the largest
    scale = max(float(abs(gradient).max()), smallest, *(abs(numeric) for _, _, numeric in found)) or 1.0
    error = float(errors[worst]) / scale
    return GradientRow(name, tuple(leaf.shape), len(places), error, *found[worst], error <= TOLERANCE)
