"""Checks of layer norm and GELU, forward and backward."""

import math
from collections.abc import Callable
from typing import Any

import numpy
import scipy.special

from minivivit.checks.case import Case, large, with_the_first_once_more
from minivivit.checks.draws import distinct, log_uniform, normal
from minivivit.checks.report import Report
from minivivit.checks.run_check import Task, run_check
from minivivit.ops.layer_norm import layer_norm_backward as package_layer_norm_backward
from minivivit.ops.layer_norm import layer_norm_forward

Rng = numpy.random.Generator
Array = numpy.ndarray


def layer_norm(student: Callable, **options: Any) -> Report:
    """Check ``layer_norm(x, weight, bias, eps) -> y`` over the last axis.

    `x` is (..., features), `weight` and `bias` are (features,). The options are those of
    `minivivit.checks.run_check.run_check`.
    """
    return run_check(_LAYER_NORM, student, **options)


def layer_norm_backward(student: Callable, **options: Any) -> Report:
    """Check ``layer_norm_backward(dy, x, weight, eps) -> dx, dweight, dbias``.

    `dy` and `x` are (..., features); the answers have the shapes of x, weight and bias. The options are those of
    `minivivit.checks.run_check.run_check`.
    """
    return run_check(_LAYER_NORM_BACKWARD, student, **options)


def gelu(student: Callable, **options: Any) -> Report:
    """Check ``gelu(x) -> y``: the exact x Phi(x), for x of any shape.

    The options are those of `minivivit.checks.run_check.run_check`.
    """
    return run_check(_GELU, student, **options)


def gelu_backward(student: Callable, **options: Any) -> Report:
    """Check ``gelu_backward(dy, x) -> dx``, for dy and x of any one shape.

    The options are those of `minivivit.checks.run_check.run_check`.
    """
    return run_check(_GELU_BACKWARD, student, **options)


# --------------------------------------------------------------------------------------------------------------------
# Layer norm
# --------------------------------------------------------------------------------------------------------------------


def _normalised(x: Array, eps: float, axis: Any = -1, ddof: int = 0) -> Array:
    centred = x - x.mean(axis=axis, keepdims=True)
    return centred / numpy.sqrt(x.var(axis=axis, keepdims=True, ddof=ddof) + eps)


def _norm_with(normalise: Callable) -> Callable:
    return lambda x, weight, bias, eps: normalise(x, eps) * weight + bias


def _centred(x: Array) -> Array:
    return x - x.mean(axis=-1, keepdims=True)


def _variance(x: Array) -> Array:
    return x.var(axis=-1, keepdims=True)


def _norm_cases(rng: Rng) -> list[Case]:
    small = log_uniform(rng, 1e-12, 1e-3)
    large_eps = float(rng.uniform(0.2, 0.8))
    kinds: list[tuple[str, int, float, str]] = [("", 2, small, "float64"), ("", 3, large_eps, "float64")]
    kinds += [
        ("", 1, large_eps, "float64"),
        ("", 4, log_uniform(rng, 1e-3, 1e-1), "float64"),
        (", one row", 2, log_uniform(rng, 1e-12, 1e-1), "float64"),
        (", a square", 2, large_eps, "float64"),
        (", a constant row", 2, log_uniform(rng, 1e-3, 1e-2), "float64"),
        (", float32", 3, log_uniform(rng, 1e-6, 1e-2), "float32"),
    ]
    cases = []
    for about, num_axes, eps, dtype in kinds:
        *outer, features = distinct(rng, num_axes, 3, 8)
        if "row" in about and outer:
            outer[0] = 1 if "one" in about else outer[0]
        if "square" in about:
            outer[0] = features
        x = normal(rng, *outer, features, dtype=dtype, scale=2) + numpy.asarray(rng.choice([-3, 3]), dtype)
        if "constant" in about:
            x[0] = float(rng.integers(-4, 5))
        weight, bias = 1 + normal(rng, features, dtype=dtype, scale=0.5), normal(rng, features, dtype=dtype)
        arguments = {"x": x, "weight": weight, "bias": bias, "eps": eps}
        cases.append(Case(f"x of shape {x.shape}, eps {eps:.2g}{about}", arguments))
    return with_the_first_once_more(cases)


_LAYER_NORM = Task(
    "layer_norm",
    ("y",),
    lambda x, weight, bias, eps: layer_norm_forward(x, weight, bias, eps)[0],
    _norm_cases,
    [
        (
            "eps stands outside of the root; it belongs inside, sqrt(variance + eps)",
            _norm_with(lambda x, eps: _centred(x) / (numpy.sqrt(_variance(x)) + eps)),
        ),
        (
            "the variance is the unbiased one, divided by n - 1; divide by n",
            _norm_with(lambda x, eps: _normalised(x, eps, ddof=1)),
        ),
        (
            "eps is taken for the least variance; it is added to the variance",
            _norm_with(lambda x, eps: _centred(x) / numpy.sqrt(numpy.maximum(_variance(x), eps))),
        ),
        ("eps is squared; add it as it is", _norm_with(lambda x, eps: _normalised(x, eps * eps))),
        (
            "the root of eps is added to the root; eps itself is added within",
            _norm_with(lambda x, eps: _centred(x) / (numpy.sqrt(_variance(x)) + numpy.sqrt(eps))),
        ),
        ("eps is left out", _norm_with(lambda x, eps: _normalised(x, 0.0))),
        ("eps is a fixed 1e-5; take the one given", _norm_with(lambda x, eps: _normalised(x, 1e-5))),
        ("eps is a fixed 1e-6; take the one given", _norm_with(lambda x, eps: _normalised(x, 1e-6))),
        ("eps is a fixed 1e-12; take the one given", _norm_with(lambda x, eps: _normalised(x, 1e-12))),
        (
            "the division is by the variance; by its root, the standard deviation",
            _norm_with(lambda x, eps: _centred(x) / (_variance(x) + eps)),
        ),
        (
            "a sum of squares stands where their mean belongs, in the variance",
            _norm_with(lambda x, eps: _centred(x) / numpy.sqrt(_variance(x) * x.shape[-1] + eps)),
        ),
        (
            "the sum of a row is subtracted; subtract its mean",
            _norm_with(lambda x, eps: (x - x.sum(axis=-1, keepdims=True)) / numpy.sqrt(_variance(x) + eps)),
        ),
        (
            "the means of the rows are laid along the columns: keep their axis, with keepdims=True",
            _norm_with(lambda x, eps: (x - x.mean(axis=-1)) / numpy.sqrt(x.var(axis=-1) + eps)),
        ),
        ("the mean is not subtracted", _norm_with(lambda x, eps: x / numpy.sqrt(_variance(x) + eps))),
        (
            "mean and variance are over the first axis; each row has its own, over the last",
            _norm_with(lambda x, eps: _normalised(x, eps, axis=0)),
        ),
        (
            "mean and variance are over the whole array; each row has its own",
            _norm_with(lambda x, eps: _normalised(x, eps, axis=None)),
        ),
        (
            "mean and variance are over all axes but the first; each row has its own, over the last",
            _norm_with(lambda x, eps: _normalised(x, eps, axis=tuple(range(1, x.ndim)))),
        ),
        ("the weight is left out", lambda x, weight, bias, eps: _normalised(x, eps) + bias),
        ("the bias is left out", lambda x, weight, bias, eps: _normalised(x, eps) * weight),
        ("weight and bias are left out", lambda x, weight, bias, eps: _normalised(x, eps)),
        (
            "the bias is added before the weight multiplies",
            lambda x, weight, bias, eps: (_normalised(x, eps) + bias) * weight,
        ),
        (
            "the variance is taken about 0; subtract the mean first",
            _norm_with(lambda x, eps: _centred(x) / numpy.sqrt((x * x).mean(axis=-1, keepdims=True) + eps)),
        ),
    ],
)


def _norm_gradients(dy: Array, x: Array, weight: Array, eps: float) -> tuple[Array, Array, Array]:
    return package_layer_norm_backward(dy, layer_norm_forward(x, weight, 0 * weight, eps)[1])


def _dx_with(
    *,
    mean: float = 1,
    projection: float = 1,
    scaled: bool = True,
    weighted: bool = True,
    late: bool = False,
    average: Callable = numpy.mean,
) -> Callable:
    """The gradient of layer norm with terms left out, or of the other sign."""

    def backward(dy: Array, x: Array, weight: Array, eps: float) -> tuple[Array, Array, Array]:
        _, dweight, dbias = _norm_gradients(dy, x, weight, eps)
        normalised = _normalised(x, eps)
        dnormalised = dy * weight if weighted and not late else dy
        dx = dnormalised - mean * average(dnormalised, axis=-1, keepdims=True)
        dx = dx - projection * normalised * average(dnormalised * normalised, axis=-1, keepdims=True)
        dx = dx / numpy.sqrt(_variance(x) + eps) if scaled else dx
        return (dx * weight if late else dx), dweight, dbias

    return backward


def _sums_with(of: Callable) -> Callable:
    """The gradient of layer norm with other (dweight, dbias): `of(dy, x, normalised)`."""

    def backward(dy: Array, x: Array, weight: Array, eps: float) -> tuple:
        return (_norm_gradients(dy, x, weight, eps)[0], *of(dy, x, _normalised(x, eps)))

    return backward


def _rows(a: Array) -> Array:
    return a.reshape(-1, a.shape[-1])


def _norm_backward_cases(rng: Rng) -> list[Case]:
    cases = []
    for case in _norm_cases(rng)[:-2]:
        given = case.arguments
        dy = normal(rng, *given["x"].shape, dtype=case.dtype)
        cases.append(Case(case.about, {"dy": dy, **{name: given[name] for name in ("x", "weight", "eps")}}))
    cases = with_the_first_once_more(cases)
    x, weight = 2 * normal(rng, 40, 50, 16) + 3, 1 + normal(rng, 16, scale=0.5)
    arguments = {"dy": normal(rng, *x.shape), "x": x, "weight": weight, "eps": log_uniform(rng, 1e-12, 1e-1)}
    return [*cases, large(f"x of shape {x.shape}", arguments, cases)]


_LAYER_NORM_BACKWARD = Task(
    "layer_norm_backward",
    ("dx", "dweight", "dbias"),
    _norm_gradients,
    _norm_backward_cases,
    [
        ("the term through the mean is missing: subtract the mean of dnormalised", _dx_with(mean=0)),
        (
            "the term through the variance is missing: subtract normalised * mean(dnormalised * normalised)",
            _dx_with(projection=0),
        ),
        ("both terms, through the mean and through the variance, are missing", _dx_with(mean=0, projection=0)),
        ("the term through the mean has the wrong sign in dx: it is subtracted", _dx_with(mean=-1)),
        ("the term through the variance has the wrong sign in dx: it is subtracted", _dx_with(projection=-1)),
        ("both terms have the wrong sign in dx: they are subtracted", _dx_with(mean=-1, projection=-1)),
        (
            "sums stand where means belong in dx: dnormalised and dnormalised * normalised are averaged over the row",
            _dx_with(average=numpy.sum),
        ),
        ("dx has the wrong sign", lambda *given: (-_norm_gradients(*given)[0], *_norm_gradients(*given)[1:])),
        ("the factor 1 / sqrt(variance + eps) is missing", _dx_with(scaled=False)),
        ("the weight is missing: dnormalised = dy * weight", _dx_with(weighted=False)),
        (
            "the weight multiplies at the end; it belongs in dnormalised = dy * weight, before the means",
            _dx_with(late=True),
        ),
        (
            "dweight is made with x; with the normalised x",
            _sums_with(lambda dy, x, n: (_rows(dy * x).sum(axis=0), _rows(dy).sum(axis=0))),
        ),
        (
            "a mean over the rows; each row uses the weight and the bias, so sum",
            _sums_with(lambda dy, x, n: (_rows(dy * n).mean(axis=0), _rows(dy).mean(axis=0))),
        ),
        (
            "the sum is over the first axis only; over all but the last",
            _sums_with(lambda dy, x, n: ((dy * n).sum(axis=0), dy.sum(axis=0))),
        ),
        ("the sum over the rows is missing", _sums_with(lambda dy, x, n: (dy * n, dy))),
        (
            "the sum is over the features; over the rows",
            _sums_with(lambda dy, x, n: ((dy * n).sum(axis=-1), dy.sum(axis=-1))),
        ),
        ("dweight lacks the normalised x", _sums_with(lambda dy, x, n: (_rows(dy).sum(axis=0), _rows(dy).sum(axis=0)))),
    ],
    weights=(8, 1, 1),  # dweight and dbias are read off the formula; dx is derived
)


# --------------------------------------------------------------------------------------------------------------------
# GELU
# --------------------------------------------------------------------------------------------------------------------


def _phi(x: Array) -> Array:
    """The distribution function of the standard normal, to the last digit; in 1 + erf they cancel far below 0."""
    return scipy.special.ndtr(x)


def _density(x: Array) -> Array:
    return numpy.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


def _tanh_argument(x: Array) -> Array:
    return math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + numpy.exp(-x))


def _activation_cases(rng: Rng) -> list[Case]:
    a, b, c, d = distinct(rng, 4, 2, 7)
    far = normal(rng, c, scale=30)
    far[0] = -float(rng.uniform(6, 12))  # where 1 + erf cancels
    far[-1] = abs(far[-1])  # one above 0 at least, where the gradient is not 0
    cases = [
        Case(f"x of shape {(a, b)}", {"x": normal(rng, a, b)}),
        Case(f"x of shape {(a, b, c)}", {"x": normal(rng, a, b, c, scale=2)}),
        Case(f"x of shape {(c,)} with entries near 30 and -30", {"x": far}),
        Case(f"x of shape {(1,)}", {"x": normal(rng, 1)}),
        Case(f"x of shape {(d, 1, a, b)}, one of them 0", {"x": normal(rng, d, 1, a, b)}),
        Case(f"x of shape {(b, c)}, float32", {"x": normal(rng, b, c, dtype="float32")}),
    ]
    cases[4].arguments["x"][0, 0, 0, 0] = 0
    return with_the_first_once_more(cases)


_GELU = Task(
    "gelu",
    ("y",),
    lambda x: x * _phi(x),
    _activation_cases,
    [
        (
            "this is the approximation with tanh; the task is the exact one, with erf",
            lambda x: 0.5 * x * (1 + numpy.tanh(_tanh_argument(x))),
        ),
        (
            "this is the approximation x sigmoid(1.702 x); the task is the exact one, with erf",
            lambda x: x * _sigmoid(1.702 * x),
        ),
        ("this is SiLU, x sigmoid(x)", lambda x: x * _sigmoid(x)),
        ("the factor 1 / sqrt(2) within erf is missing", lambda x: 0.5 * x * (1 + scipy.special.erf(x))),
        ("the 1 + before erf is missing", lambda x: 0.5 * x * scipy.special.erf(x / math.sqrt(2))),
        ("the factor 1/2 is missing", lambda x: 2 * x * _phi(x)),
        ("the factor x is missing: this is Phi(x)", _phi),
        ("the density stands where the distribution function belongs", lambda x: x * _density(x)),
        ("this is ReLU", lambda x: numpy.maximum(x, 0)),
    ],
)


def _gelu_gradient_cases(rng: Rng) -> list[Case]:
    cases = [
        Case(case.about, {"dy": normal(rng, *case.arguments["x"].shape, dtype=case.dtype), **case.arguments})
        for case in _activation_cases(rng)[:-2]
    ]
    cases = with_the_first_once_more(cases)
    # Where x is 1e7, a step that is small for others is lost in its last digits.
    x = normal(rng, 150, 100) * 10 ** rng.uniform(-2, 7, (150, 100))
    arguments = {"dy": normal(rng, *x.shape), "x": x}
    return [*cases, large(f"x of shape {x.shape} with entries up to 1e7", arguments, cases)]


_GELU_BACKWARD = Task(
    "gelu_backward",
    ("dx",),
    lambda dy, x: dy * (_phi(x) + x * _density(x)),
    _gelu_gradient_cases,
    [
        ("the term x phi(x) is missing: the product rule has two", lambda dy, x: dy * _phi(x)),
        ("the term Phi(x) is missing: the product rule has two", lambda dy, x: dy * x * _density(x)),
        ("dy is left out", lambda dy, x: _phi(x) + x * _density(x)),
        (
            "the factor 1 / sqrt(2 pi) of the density is missing",
            lambda dy, x: dy * (_phi(x) + x * numpy.exp(-0.5 * x * x)),
        ),
        (
            "the density has exp(-x^2); it is exp(-x^2 / 2)",
            lambda dy, x: dy * (_phi(x) + x * numpy.exp(-x * x) / math.sqrt(2 * math.pi)),
        ),
        ("the second term lacks its factor x", lambda dy, x: dy * (_phi(x) + _density(x))),
        ("the second term is subtracted; it is added", lambda dy, x: dy * (_phi(x) - x * _density(x))),
        (
            "this is the derivative of the approximation with tanh; the task is the exact one",
            lambda dy, x: (
                dy
                * (
                    0.5 * (1 + numpy.tanh(_tanh_argument(x)))
                    + 0.5
                    * x
                    * (1 - numpy.tanh(_tanh_argument(x)) ** 2)
                    * math.sqrt(2 / math.pi)
                    * (1 + 3 * 0.044715 * x * x)
                )
            ),
        ),
        ("this is the derivative of ReLU", lambda dy, x: dy * (x > 0)),
        ("this is dy times GELU; the derivative is asked for", lambda dy, x: dy * x * _phi(x)),
    ],
)
