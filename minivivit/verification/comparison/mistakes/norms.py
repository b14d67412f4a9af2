"""Mistaken layer norms: each computes its output from x, weight, bias and epsilon."""

from collections.abc import Iterator

import numpy

from minivivit.ops.layer_norm import layer_norm_forward
from minivivit.verification.comparison.mistakes.mistaken_step import MistakenStep
from minivivit.verification.rounding.precisions import round_to_precision

USUAL_EPSILONS = (1e-12, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)


def layer_norm(x: numpy.ndarray, weight: numpy.ndarray, bias: numpy.ndarray, eps: float) -> numpy.ndarray:
    """The right one."""
    return layer_norm_forward(x, weight, bias, eps)[0]


def plain_layer_norm(x: numpy.ndarray, eps: float) -> numpy.ndarray:
    """Without weight and bias."""
    features = x.shape[-1]
    return layer_norm(x, numpy.ones(features, x.dtype), numpy.zeros(features, x.dtype), eps)


def mistaken_statistics(features: int) -> Iterator[MistakenStep]:
    """Mean and variance taken in another way."""
    if features > 1:
        yield MistakenStep(
            "unbiased variance",
            f"with the variance divided by n - 1 = {features - 1} instead of n",
            "torch.var and numpy's ddof=1 divide by n - 1; a layer norm divides by n",
            lambda x, weight, bias, eps: _centred(x) / numpy.sqrt(_variance(x, ddof=1) + eps) * weight + bias,
        )
    yield MistakenStep(
        "mean not subtracted",
        "without subtracting the mean (RMS norm)",
        "a layer norm centres each token before it scales it",
        lambda x, weight, bias, eps: x / numpy.sqrt(numpy.square(x).mean(axis=-1, keepdims=True) + eps) * weight + bias,
    )
    yield MistakenStep(
        "not divided by the standard deviation",
        "with the mean subtracted but nothing divided",
        "divide by the root of variance + epsilon",
        lambda x, weight, bias, eps: _centred(x) * weight + bias,
    )
    yield MistakenStep(
        "normalised over the wrong axis",
        "with mean and variance taken over the tokens",
        "normalise the last axis, the features",
        lambda x, weight, bias, eps: (
            (x - x.mean(axis=-2, keepdims=True)) / numpy.sqrt(x.var(axis=-2, keepdims=True) + eps) * weight + bias
        ),
        whole=True,
    )
    yield MistakenStep(
        "normalised over the wrong axis",
        "with one mean and variance for all tokens",
        "normalise the last axis, the features, of each token by itself",
        lambda x, weight, bias, eps: (
            (x - x.mean(axis=(-2, -1), keepdims=True)) / numpy.sqrt(x.var(axis=(-2, -1), keepdims=True) + eps) * weight
            + bias
        ),
        whole=True,
    )


def mistaken_scales() -> Iterator[MistakenStep]:
    """Scale and shift applied in another way."""
    yield MistakenStep(
        "bias left out", "without the layer norm's bias", "add the bias", lambda x, w, b, eps: _normalised(x, eps) * w
    )
    yield MistakenStep(
        "scale left out",
        "without the layer norm's weight",
        "multiply by the weight",
        lambda x, w, b, eps: _normalised(x, eps) + b,
    )
    yield MistakenStep(
        "scale and bias left out",
        "without the layer norm's weight and bias",
        "load and apply both",
        lambda x, w, b, eps: _normalised(x, eps),
    )
    yield MistakenStep(
        "scale taken for an offset from 1",
        "with 1 + weight as the scale",
        "the scale is the weight itself",
        lambda x, w, b, eps: _normalised(x, eps) * (1 + w) + b,
    )
    for name in ("bfloat16", "float16"):
        for both, words in ((False, "weight"), (True, "weight and bias")):
            yield MistakenStep(
                "weights rounded",
                f"with the layer norm's {words} rounded to {name}",
                f"the checkpoint went through {name}; convert it from the original",
                lambda x, w, b, eps, name=name, both=both: (
                    _normalised(x, eps) * _rounded(w, name) + (_rounded(b, name) if both else b)
                ),
            )
    yield MistakenStep(
        "scale and bias swapped",
        "with weight and bias swapped",
        "swap them",
        lambda x, w, b, eps: _normalised(x, eps) * b + w,
    )


def normalised_twice() -> Iterator[MistakenStep]:
    """A layer norm of what is normalised already."""
    advice = "ViViT normalises once before each branch"
    yield MistakenStep(
        "extra layer norm",
        "with a norm without weight and bias applied to its input",
        advice,
        lambda x, w, b, eps: layer_norm(plain_layer_norm(x, eps), w, b, eps),
    )
    yield MistakenStep(
        "extra layer norm",
        "with the same norm applied to its input",
        advice,
        lambda x, w, b, eps: layer_norm(layer_norm(x, w, b, eps), w, b, eps),
    )
    yield MistakenStep(
        "extra layer norm",
        "with a norm without weight and bias applied to its output",
        advice,
        lambda x, w, b, eps: plain_layer_norm(layer_norm(x, w, b, eps), eps),
    )


def other_epsilon(eps: float, candidate: float, outside: bool) -> MistakenStep:
    """An epsilon that is not ours, under the root or beside it."""
    where = ", added to the standard deviation instead of the variance" if outside else ""
    return MistakenStep(
        "layer norm's epsilon",
        f"with an epsilon of {candidate:.3g} in place of {eps:.3g}{where}",
        "add epsilon to the variance, under the root" if outside else f"set layer_norm_eps to {eps:.3g}",
        lambda x, weight, bias, eps: (
            _centred(x)
            / (numpy.sqrt(_variance(x)) + candidate if outside else numpy.sqrt(_variance(x) + candidate))
            * weight
            + bias
        ),
    )


def _centred(x: numpy.ndarray) -> numpy.ndarray:
    return x - x.mean(axis=-1, keepdims=True)


def _variance(x: numpy.ndarray, ddof: int = 0) -> numpy.ndarray:
    return x.var(axis=-1, keepdims=True, ddof=ddof)


def _normalised(x: numpy.ndarray, eps: float) -> numpy.ndarray:
    return _centred(x) / numpy.sqrt(_variance(x) + eps)


def _rounded(array: numpy.ndarray, precision: str) -> numpy.ndarray:
    return round_to_precision(array, precision).astype("float64")
