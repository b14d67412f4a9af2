r"""Rounding budgets: how far a correct computation in a lower precision strays from float64, tensor by tensor.

A port in bfloat16 differs from float64, and the question is whether by rounding or by a mistake. Theory does not
answer it. Its bounds grow with the number of terms of every sum and multiply up from layer to layer: after twelve
layers they forbid nothing. The rule of thumb that errors are "about the unit roundoff" fails the other way: layer norm
divides by a spread that may be small, softmax turns an absolute error of its scores into a relative one, a residual
stream carries a few features that are hundreds of times the others, and the gradient of a key's bias is 0 but for
rounding. How much each model, weights and clip amplify is a property of theirs. So it is measured: the same model runs
on the same clip, once in float64 and once rounding as the precision does, and the difference is the budget. A correct
port draws other rounding errors from the same distribution, so it differs from float64 by about as much; a mistake, by
orders of magnitude more.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy

from minivivit.backend import Array, as_array, to_numpy
from minivivit.errors import InputError
from minivivit.files.tensor_data import quoted
from minivivit.layers.trace import Trace
from minivivit.models.base import VivitBase
from minivivit.verification.rounding.precisions import EMULATIONS, in_precision, round_to_precision, stored
from minivivit.verification.tensors.error import PRECISIONS, tensor_error, unit_roundoff
from minivivit.verification.tensors.source import ArraySource, TensorSource

Budget = dict[str, float]


def rounding_budgets(
    model: VivitBase,
    pixel_values: Array,
    reference: TensorSource,
    precisions: Iterable[str],
    *,
    labels: Array | None = None,
    gradients: bool = False,
    only: Sequence[str] | None = None,
    interpolate_pos_encoding: bool = False,
    draws: int = 1,
    rng: numpy.random.Generator | None = None,
) -> dict[str, dict[str, Budget]]:
    r"""Measure what each precision's rounding does to every tensor.

    For our float64 run x and our run :math:`\tilde x` in the precision, the budget of a tensor of n entries is

    .. math::
        \frac{\lVert \tilde x - x \rVert}{\lVert x \rVert}, \qquad \max_i |\tilde x_i - x_i|, \qquad
        \frac{\lVert \tilde x - x \rVert}{\sqrt n}

    Each tensor is compared as it is made, with the float64 tensor read block by block, and let go: memory is that of
    one pass in float32.

    Parameters
    ----------
    model : VivitModel or VivitForVideoClassification
    pixel_values : array, shape (batch, frames, channels, height, width)
        What the reference was made from.
    reference : TensorSource
        Our float64 run under the names of the trace: what `minivivit trace` wrote, or an `ArraySource`. What it lacks
        has no budget. Attention is explicit where it holds scores or probabilities, else block by block.
    precisions : iterable of {"float64", "float32", "tf32", "bfloat16", "float16"}
        How each is computed is said in `minivivit.verification.rounding.precisions.in_precision`; in bfloat16 and
        float16 every tensor that is recorded is rounded in place as well, before the next operator takes it.
        "float64", for which no higher precision is at hand, is float32's budget times :math:`2^{-28}`: the ratio of
        their unit roundoffs is :math:`2^{-29}`, and what is compared in float64 differs from a reference that was
        rounded as well. Between two runs lies at most the sum of their errors.
    labels : array, optional
        For the loss; needed for gradients.
    gradients : bool
        Run backward too.
    only : sequence of str, optional
        Patterns such as ``"*.layer.0.*"``: names that match none have no budget.
    interpolate_pos_encoding : bool
        As in the model's forward pass.
    draws : int
        How many runs a precision gets; the budget is the largest of theirs. One run says enough about a tensor with
        many entries. The error of a single number, the loss, is a single draw, which may be 0 by luck, and several
        runs tell its size. The second and later runs see each pixel moved by at most half a unit roundoff, by chance,
        so that everything after it rounds differently.
    rng : numpy.random.Generator, optional
        Moves the pixels; needed for more than one draw.

    Returns
    -------
    budgets : dict
        Precision -> name -> ``{"relative_l2", "max_abs", "rms"}``, in the order of execution. Infinite where the
        precision overflows and float64 does not: then it bounds nothing.

    Raises
    ------
    InputError
        For an unknown precision, for gradients without labels, and for what the model refuses.
    """
    precisions = list(precisions)
    unknown = [precision for precision in precisions if precision not in PRECISIONS]
    if unknown:
        raise InputError(f"precision is {quoted(unknown[0])}; expected one of {', '.join(PRECISIONS)}")
    if gradients and labels is None:
        raise InputError("the gradients are those of a loss, and there is none without labels; give labels")
    if draws < 1 or (draws > 1 and rng is None):
        raise InputError(f"draws is {draws} and rng is {rng}; expected at least 1 draw, and a generator for more")
    arguments = (labels, gradients, only or ("*",), interpolate_pos_encoding)
    # float64's budget is made from float32's, whether or not that was asked for
    measured = dict.fromkeys("float32" if precision == "float64" else precision for precision in precisions)
    budgets = {}
    for name in measured:
        clips = [pixel_values, *(_moved(pixel_values, unit_roundoff(name), rng) for _ in range(draws - 1))]
        budgets[name] = _largest([_measure(model, clip, reference, name, *arguments) for clip in clips])
    if "float64" in precisions:
        budgets["float64"] = float64_budgets(budgets["float32"])
    return {precision: budgets[precision] for precision in precisions}


def float64_budgets(of_float32: Mapping[str, Budget]) -> dict[str, Budget]:
    """Name -> budget of a run in float64 against ours in float64, which errs as much: twice that of one of them."""
    ratio = 2 * unit_roundoff("float64") / unit_roundoff("float32")
    return {name: {key: value * ratio for key, value in budget.items()} for name, budget in of_float32.items()}


def _moved(pixel_values: Array, roundoff: float, rng: numpy.random.Generator | None) -> numpy.ndarray:
    """The pixels, each moved by a random part of its own rounding error."""
    pixels = to_numpy(as_array(pixel_values, "pixel_values"))
    assert rng is not None
    return pixels * (1 + roundoff * rng.uniform(-0.5, 0.5, pixels.shape))


def _largest(budgets: list[dict[str, Budget]]) -> dict[str, Budget]:
    """The largest of several budgets of every tensor."""
    return {
        name: {key: max(budget[name][key] for budget in budgets) for key in numbers}
        for name, numbers in budgets[0].items()
    }


def _measure(
    model: VivitBase,
    pixel_values: Array,
    reference: TensorSource,
    precision: str,
    labels: Array | None,
    gradients: bool,
    only: Sequence[str],
    interpolate: bool,
) -> dict[str, Budget]:
    """The budgets of one precision."""
    low = in_precision(model, precision)
    pixels = stored(as_array(pixel_values, "pixel_values"), precision)
    store = BudgetStore(reference, precision, only)
    store["pixel_values"] = pixels
    trace = Trace(store)
    if gradients:
        run: Callable[..., Any] = low.loss_and_gradients  # type: ignore[attr-defined]
        # Layers computed again on the way back record nothing, so nothing would be rounded there.
        _, parameter_gradients = run(
            pixels,
            labels,
            interpolate_pos_encoding=interpolate,
            gradient_checkpointing=not store.rounds,
            trace=trace,
        )
        for name, gradient in parameter_gradients.items():
            store[f"gradient.{name}"] = gradient
    else:
        with_labels = {} if labels is None else {"labels": labels}
        low(pixels, **with_labels, interpolate_pos_encoding=interpolate, trace=trace)  # type: ignore[operator]
    return {name: store.budgets[name] for name in reference.shapes if name in store.budgets}


class BudgetStore(MutableMapping[str, Array]):
    """A trace's store that compares what is recorded with a reference, and keeps the difference in three numbers.

    In bfloat16 and float16 it also rounds what is recorded, in place: layers record an array before they use it, so the
    rounded one is what the next operator takes. Where a layer records later (the MLP and the explicit attention, which
    work in blocks or hand out a cache), the product that made the tensor has rounded its result, and the next rounds
    what it takes.

    Parameters
    ----------
    reference : TensorSource
    precision : str
    only : patterns of names

    Attributes
    ----------
    budgets : dict of str to dict
        Name -> ``{"relative_l2", "max_abs", "rms"}``, as recorded.
    """

    def __init__(self, reference: TensorSource, precision: str, only: Sequence[str] = ("*",)):
        self.reference, self.precision, self.only = reference, precision, only
        self.budgets: dict[str, Budget] = {}
        self.rounds = precision in EMULATIONS and EMULATIONS[precision].rounds_results

    def wants(self, name: str) -> bool:
        """Scores and probabilities are made when the reference has them."""
        return name in self.reference and any(fnmatchcase(name, pattern) for pattern in self.only)

    def __setitem__(self, name: str, array: Array) -> None:
        values = to_numpy(array)
        if self.rounds:
            values[...] = round_to_precision(values, self.precision)
        if not self.wants(name) or name in self.budgets:
            return
        shape = self.reference.shapes[name]
        if values.shape != shape:
            raise InputError(
                f"{self.reference.path} holds {name} with shape {shape}, but this run makes {values.shape}; it was "
                "made from another model or clip"
            )
        error = tensor_error(self.reference.blocks(name), ArraySource({name: values}).blocks(name), shape)
        numbers = {"relative_l2": error.relative_l2, "max_abs": error.max_abs, "rms": error.rms}
        self.budgets[name] = dict.fromkeys(numbers, math.inf) if error.num_nonfinite else numbers

    def __getitem__(self, name: str) -> Array:
        raise KeyError(name)  # nothing is kept

    def __delitem__(self, name: str) -> None:
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0
