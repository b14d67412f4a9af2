"""Gradient check: is a backward pass the derivative of its forward pass?"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy

from minivivit.backend import Array, array_namespace
from minivivit.errors import InputError
from minivivit.models.parameters import flatten, map_tree

# The step, for numbers of size 1: the fifth root of float64's rounding error. `check_gradients` says why.
STEP = float(numpy.finfo("float64").eps) ** (1 / 5)  # 7.4e-4
# An error counts relative to at least this part of the largest gradient: what should be 0 comes out as rounding noise.
SMALLEST_SCALE = 1e-3


@dataclass(frozen=True)
class InputReport:
    """How well the gradient to one input agrees.

    Attributes
    ----------
    name : str
        Of the input; inside a tree, with dots.
    num_entries, num_checked : int
        How many entries the input has, and how many were moved one by one.
    max_abs_error : float
        Largest difference between the backward pass and the central differences.
    max_rel_error : float
        The same relative to the largest entry of this gradient, or to 1e-3 of the largest of all gradients if that is
        larger.
    where : tuple of int, or None
        Index of the entry with the largest error; None when it is the derivative along the random direction.
    analytic, numeric : float
        The two numbers that differ most: from the backward pass, and from central differences.
    """

    name: str
    num_entries: int
    num_checked: int
    max_abs_error: float
    max_rel_error: float
    where: tuple[int, ...] | None
    analytic: float
    numeric: float

    def __str__(self) -> str:
        place = "a random direction" if self.where is None else f"entry {self.where}"
        return (
            f"{self.name}: relative error {self.max_rel_error:.1e} at {place}, where the backward pass says "
            f"{self.analytic:.12g} and central differences say {self.numeric:.12g}"
        )


@dataclass(frozen=True)
class GradientReport:
    """What `check_gradients` found: one `InputReport` an input, in order. True in a condition when all agree."""

    inputs: tuple[InputReport, ...]
    tolerance: float

    @property
    def failures(self) -> list[InputReport]:
        """The inputs whose gradient is wrong. (NaN is wrong too.)"""
        return [report for report in self.inputs if not report.max_rel_error <= self.tolerance]

    @property
    def passed(self) -> bool:
        """Whether all gradients are right."""
        return not self.failures

    def __bool__(self) -> bool:
        return self.passed

    def __getitem__(self, name: str) -> InputReport:
        return {report.name: report for report in self.inputs}[name]

    def __str__(self) -> str:
        return "\n".join(f"{'ok   ' if r not in self.failures else 'WRONG'} {r}" for r in self.inputs)


def assert_gradients(*args: Any, **kwargs: Any) -> GradientReport:
    """`check_gradients` that does not return when a gradient is wrong.

    Raises
    ------
    AssertionError
        One line that names the inputs whose gradients are wrong, and where.
    """
    report = check_gradients(*args, **kwargs)
    if not report:
        raise AssertionError("wrong gradients: " + "; ".join(map(str, report.failures)))
    return report


def check_gradients(
    forward: Callable[..., tuple],
    backward: Callable[[Array, Any], Any],
    inputs: Mapping[str, Any],
    *,
    rng: numpy.random.Generator,
    tolerance: float = 1e-8,
    max_entries: int | None = None,
    step: float = STEP,
) -> GradientReport:
    r"""Compare a forward/backward pair with central differences, in float64.

    The output y is projected on a random r, :math:`L = \sum_j r_j y_j`, so that one backward pass with dy = r gives the
    gradient of the single number L. Then one entry of an input at a time is moved by h and 2h to either side, and

    .. math::
        \frac{\partial L}{\partial x_i} \approx
        \frac{8\,(L(x_i + h) - L(x_i - h)) - (L(x_i + 2h) - L(x_i - 2h))}{12 h}

    In the Taylor series of the four terms everything up to h^4 cancels but the derivative; what is left is

    .. math:: \text{truncation} \approx \frac{h^4}{30} L^{(5)}, \qquad \text{rounding} \approx \frac{\epsilon |L|}{h}

    Their sum is smallest near :math:`h = \epsilon^{1/5} \approx 7 \cdot 10^{-4}` for a function that changes over
    distances of 1, and is then about :math:`\epsilon^{4/5} \approx 3 \cdot 10^{-13}`. (The two-point formula reaches
    :math:`\epsilon^{2/3} \approx 4 \cdot 10^{-11}` at best.) So h is that number times the root mean square of the
    input, which stands for the distance over which the function changes. The tolerance leaves room for functions that
    bend more sharply; a wrong term shows as an error of 1e-3 to 1.

    Where an input has more than `max_entries` entries, that many are drawn and moved one by one, and besides all of its
    entries are moved at once in one random direction v of length 1, to compare :math:`\sum_i v_i\, dx_i`: an error in
    any entry shows there too.

    Parameters
    ----------
    forward : callable
        ``forward(**inputs) -> (y, cache)`` or ``(y, ..., cache)``: the first is the output that is checked, the last
        goes to `backward`. It must be a function of its inputs alone: random masks are drawn beforehand, or from a
        generator that each call makes anew from the same seed. Fix what is not differentiated with
        ``functools.partial``.
    backward : callable
        ``backward(dy, cache)`` returns the gradients: a tuple in the order of `inputs`; or a dict with their names; or,
        for a single input, its gradient itself. The gradient of a tree is a tree of the same names.
    inputs : dict of names to float arrays, or to trees (nested dicts) of float arrays
        Copied, and converted to float64.
    rng : numpy.random.Generator
        Draws r, the entries to check and the directions.
    tolerance : float
        Largest relative error that passes (see `InputReport`).
    max_entries : int, optional
        Left out, every entry of every input is moved.
    step : float
        h for an input whose root mean square is 1. Make it smaller near a kink (of a maximum, of relu): within 2h of
        one, central differences mean nothing.

    Returns
    -------
    report : GradientReport
        ``if check_gradients(...)`` asks whether all gradients are right; printing it shows each input's error.

    Raises
    ------
    InputError
        When there is nothing to compare: an input that is not of a float dtype, a gradient that is missing or of
        another shape, a forward pass that gives NaN, or two outputs for the same inputs.

    Examples
    --------
    >>> from functools import partial
    >>> from minivivit.ops.layer_norm import layer_norm_backward, layer_norm_forward
    >>> rng = numpy.random.default_rng(0)
    >>> inputs = {"x": rng.normal(size=(3, 5)), "weight": rng.normal(size=5), "bias": rng.normal(size=5)}
    >>> report = check_gradients(partial(layer_norm_forward, eps=1e-6), layer_norm_backward, inputs, rng=rng)
    >>> report.passed
    True
    """
    inputs = {name: _own_float64(name, value) for name, value in inputs.items()}
    leaves = flatten(inputs)
    if not leaves:
        raise InputError("there is no input to check; pass at least one float array")

    def output() -> Array:
        return forward(**inputs)[0].copy()  # a forward pass may return its input itself, which is about to move

    y, *_, cache = forward(**inputs)
    if not bool(array_namespace(y).isfinite(y).all()):
        raise InputError("forward gave NaN or infinity; check gradients where the output is finite")
    if not bool((y == output()).all()):
        raise InputError("forward gave two outputs for the same inputs; draw its random numbers beforehand")
    projection = array_namespace(y).asarray(rng.standard_normal(y.shape))
    gradients = _by_name(backward(projection.copy(), cache), inputs)
    for name, leaf in leaves.items():
        _check_shape(name, gradients.get(name), leaf)
    gradients = {name: gradients[name].copy() for name in leaves}
    comparisons = {
        name: list(_compare(output, projection, leaf, gradients[name], rng, max_entries, step))
        for name, leaf in leaves.items()
    }
    sizes = {name: _largest(gradients[name], comparisons[name]) for name in leaves}
    smallest = SMALLEST_SCALE * max(sizes.values())
    reports = [
        _report(name, leaf, comparisons[name], max(sizes[name], smallest) or 1.0) for name, leaf in leaves.items()
    ]
    return GradientReport(tuple(reports), tolerance)


# (index or None, the backward pass's number, central differences' number)
_Comparison = tuple[tuple[int, ...] | None, float, float]


def _compare(
    output: Callable[[], Array],
    projection: Array,
    leaf: Array,
    gradient: Array,
    rng: numpy.random.Generator,
    max_entries: int | None,
    step: float,
) -> Iterator[_Comparison]:
    """Move the entries of one input, which `output` sees: every one, or some and then all in a random direction."""
    xp = array_namespace(leaf)
    h = step * (float((leaf * leaf).mean()) ** 0.5 or 1.0)
    flat, flat_gradient = leaf.reshape(-1), gradient.reshape(-1)  # a view: what is moved in it moves in the input
    if max_entries is None or leaf.size <= max_entries:
        places = numpy.arange(leaf.size)
    else:
        places = rng.choice(leaf.size, max_entries, replace=False)
    for place in places.tolist():
        numeric = central_difference(output, projection, flat[place : place + 1], 1.0, h)
        index = tuple(int(i) for i in numpy.unravel_index(place, leaf.shape))
        yield index, float(flat_gradient[place]), numeric
    if len(places) < leaf.size:
        direction = rng.standard_normal(leaf.size)
        direction = xp.asarray(direction / numpy.linalg.norm(direction))
        numeric = central_difference(output, projection, flat, direction, h)
        yield None, float((flat_gradient * direction).sum()), numeric


def central_difference(
    output: Callable[[], Array], projection: Array | float, moved: Array, direction: Array | float, h: float
) -> float:
    """Derivative of the projected output while `moved` goes along `direction`; `moved` is put back afterwards.

    Parameters
    ----------
    output : callable
        What comes out for what `moved` holds.
    projection : array of the output's shape, or float
        The derivative is that of ``(projection * output()).sum()``.
    moved : array
        Of float64, such as a view of some entries of a larger array.
    direction : array of the shape of `moved`, or float
    h : float
        `moved` goes to h and 2h on either side; `check_gradients` has the formula and says how far is best.

    Returns
    -------
    float
    """
    start = moved.copy()

    def output_at(distance: float) -> Array:
        moved[...] = start + distance * direction
        return output()

    # The outputs are subtracted before they are projected: entries that do not change then add no rounding.
    difference = 8 * (output_at(h) - output_at(-h)) - (output_at(2 * h) - output_at(-2 * h))
    moved[...] = start
    return float((projection * difference).sum()) / (12 * h)


def _report(name: str, leaf: Array, comparisons: list[_Comparison], scale: float) -> InputReport:
    errors = numpy.array([abs(analytic - numeric) for _, analytic, numeric in comparisons])
    worst = int(errors.argmax())  # NaN counts as the largest
    where, analytic, numeric = comparisons[worst]
    num_checked = sum(index is not None for index, _, _ in comparisons)
    error = float(errors[worst])
    return InputReport(name, leaf.size, num_checked, error, error / scale, where, analytic, numeric)


def _largest(gradient: Array, comparisons: list[_Comparison]) -> float:
    """The largest entry of a gradient by either count."""
    return max(float(abs(gradient).max()), *(abs(numeric) for _, _, numeric in comparisons))


def _own_float64(name: str, value: Any) -> Any:
    """A float64 copy of an array or a tree of arrays, in the order of C, so that its entries can be moved in place."""
    if isinstance(value, Mapping):
        return map_tree(lambda leaf: _own_float64(name, leaf), dict(value))
    if numpy.dtype(getattr(value, "dtype", object)).kind != "f" or value.size == 0:
        raise InputError(
            f"input {name!r} is not a float array with entries; fix what is not differentiated with functools.partial"
        )
    return array_namespace(value).array(value, dtype="float64", order="C")


def _by_name(gradients: Any, inputs: Mapping[str, Any]) -> dict[str, Array]:
    """The gradients under the flat names of the inputs, from any of the forms that `backward` may return."""
    if isinstance(gradients, tuple | list):
        if len(gradients) != len(inputs):
            raise InputError(f"backward gave {len(gradients)} gradients; expected one each for {', '.join(inputs)}")
        return flatten(dict(zip(inputs, gradients, strict=True)))
    if isinstance(gradients, Mapping) and set(gradients) >= set(inputs):
        return flatten(gradients)
    if len(inputs) == 1:
        return flatten({next(iter(inputs)): gradients})
    raise InputError(f"backward gave one gradient; expected one each for {', '.join(inputs)}")


def _check_shape(name: str, gradient: Array | None, leaf: Array) -> None:
    if gradient is None:
        raise InputError(f"backward gave no gradient for {name!r}")
    if tuple(gradient.shape) != tuple(leaf.shape):
        raise InputError(f"the gradient of {name!r} has shape {tuple(gradient.shape)}; expected {tuple(leaf.shape)}")
