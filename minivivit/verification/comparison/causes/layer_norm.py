"""What goes wrong in a layer norm: epsilon, variance, mean, scale and shift, or what it is applied to."""

import re
from collections.abc import Iterator

import numpy

from minivivit.layers.multi_head_attention import multi_head_attention_forward
from minivivit.models.parameters import unflatten
from minivivit.ops.layer_norm import layer_norm_forward
from minivivit.ops.linear import linear_forward
from minivivit.verification.comparison.evidence.evidence import Evidence, Hypothesis
from minivivit.verification.comparison.evidence.folding import input_of
from minivivit.verification.rounding.precisions import round_to_precision

# Rows from which an epsilon is read off, and on which other layers' parameters are tried.
ROWS = 64
# One that is solved for and this close to ours, relative to it, is ours.
SAME_EPSILON = 0.05
USUAL_EPSILONS = (1e-12, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)


def layer_norm_hypotheses(evidence: Evidence, inputs: str) -> Iterator[Hypothesis]:
    """What could be wrong with a layer norm's output, given an input that agrees.

    Parameters
    ----------
    inputs : str
        The input's name in the trace.
    """
    x = evidence.sample(inputs)
    weight, bias = evidence.parameter(f"{evidence.name}.weight"), evidence.parameter(f"{evidence.name}.bias")
    if x is None:
        return
    yield Hypothesis("layer norm left out", "before the layer norm", f"apply {evidence.name}", x)
    if weight is None or bias is None or evidence.config is None:
        return
    eps = evidence.config.layer_norm_eps
    if not evidence.is_ours(layer_norm_forward(x, weight, bias, eps)[0]):
        return
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = numpy.square(centred).mean(axis=-1, keepdims=True)
    yield from _other_epsilons(evidence, centred, variance, weight, bias)
    yield from _other_statistics(x, centred, variance, weight, bias, eps)
    yield from _other_scales(centred / numpy.sqrt(variance + eps), weight, bias)
    yield from _normalised_twice(x, weight, bias, eps)
    yield from _other_parameters(evidence, x[:, :ROWS], weight.shape)


def _other_epsilons(
    evidence: Evidence, centred: numpy.ndarray, variance: numpy.ndarray, weight: numpy.ndarray, bias: numpy.ndarray
) -> Iterator[Hypothesis]:
    r"""The epsilon that theirs was made with, solved for.

    The rows of :math:`(y - b) / w` are those of x without their mean, times :math:`s = 1 / \sqrt{\sigma^2 + \epsilon}`,
    so each row tells :math:`\epsilon = 1 / s^2 - \sigma^2`; the rows of least variance tell it best.
    """
    eps = evidence.config.layer_norm_eps if evidence.config else 0.0
    theirs = evidence.read_theirs(evidence.name)
    if theirs is None or theirs[:1].shape != centred.shape:
        return
    rows = numpy.argsort(variance.reshape(-1))[:ROWS]
    variances = variance.reshape(-1)[rows]
    stretched = centred.reshape(-1, centred.shape[-1])[rows] * weight
    squared = numpy.square(stretched).sum(axis=-1)
    inner = ((theirs.reshape(-1, centred.shape[-1])[rows] - bias) * stretched).sum(axis=-1)
    known = (squared > 0) & (inner > 0)
    if not known.any():
        return
    s = inner[known] / squared[known]
    under_root = evidence.fitted("under the root", float(numpy.median(1 / numpy.square(s) - variances[known])))
    beside_root = evidence.fitted("beside the root", float(numpy.median(1 / s - numpy.sqrt(variances[known]))))
    for candidate, is_fit in _round_numbers(under_root):
        if abs(candidate - eps) > SAME_EPSILON * eps:
            yield _other_epsilon(eps, candidate, "", centred / numpy.sqrt(variance + candidate) * weight + bias, is_fit)
    for candidate, is_fit in _round_numbers(beside_root):
        where = ", added to the standard deviation instead of the variance"
        yield _other_epsilon(
            eps, candidate, where, centred / (numpy.sqrt(variance) + candidate) * weight + bias, is_fit
        )


def _round_numbers(solved: float) -> Iterator[tuple[float, bool]]:
    """What is solved for carries rounding, and a round number nearby was meant; else it is a fit."""
    for usual in USUAL_EPSILONS:
        if abs(usual - solved) <= 0.05 * max(usual, abs(solved)) + 1e-7:
            yield usual, False
    if numpy.isfinite(solved) and solved > 0:
        yield solved, True


def _other_epsilon(eps: float, candidate: float, where: str, tensor: numpy.ndarray, is_fit: bool) -> Hypothesis:
    return Hypothesis(
        "layer norm's epsilon",
        f"with an epsilon of {candidate:.3g} in place of {eps:.3g}{where}",
        "add epsilon to the variance, under the root" if where else f"set layer_norm_eps to {eps:.3g}",
        tensor,
        is_fit=is_fit,
    )


def _other_statistics(
    x: numpy.ndarray,
    centred: numpy.ndarray,
    variance: numpy.ndarray,
    weight: numpy.ndarray,
    bias: numpy.ndarray,
    eps: float,
) -> Iterator[Hypothesis]:
    """Mean and variance taken in another way."""
    features = x.shape[-1]
    if features > 1:
        yield Hypothesis(
            "unbiased variance",
            f"with the variance divided by n - 1 = {features - 1} instead of n",
            "torch.var and numpy's ddof=1 divide by n - 1; a layer norm divides by n",
            centred / numpy.sqrt(variance * features / (features - 1) + eps) * weight + bias,
        )
    power = numpy.square(x).mean(axis=-1, keepdims=True)
    yield Hypothesis(
        "mean not subtracted",
        "without subtracting the mean (RMS norm)",
        "a layer norm centres each token before it scales it",
        x / numpy.sqrt(power + eps) * weight + bias,
    )
    yield Hypothesis(
        "not divided by the standard deviation",
        "with the mean subtracted but nothing divided",
        "divide by the root of variance + epsilon",
        centred * weight + bias,
    )
    if x.ndim == 3 and x.shape[1] > 1:
        over_tokens = (x - x.mean(axis=1, keepdims=True)) / numpy.sqrt(x.var(axis=1, keepdims=True) + eps)
        yield Hypothesis(
            "normalised over the wrong axis",
            "with mean and variance taken over the tokens",
            "normalise the last axis, the features",
            over_tokens * weight + bias,
        )
        over_all = (x - x.mean()) / numpy.sqrt(x.var() + eps)
        yield Hypothesis(
            "normalised over the wrong axis",
            "with one mean and variance for all tokens",
            "normalise the last axis, the features, of each token by itself",
            over_all * weight + bias,
        )


def _other_scales(normalised: numpy.ndarray, weight: numpy.ndarray, bias: numpy.ndarray) -> Iterator[Hypothesis]:
    """Scale and shift applied in another way."""
    yield Hypothesis("bias left out", "without the layer norm's bias", "add the bias", normalised * weight)
    yield Hypothesis("scale left out", "without the layer norm's weight", "multiply by the weight", normalised + bias)
    yield Hypothesis(
        "scale and bias left out", "without the layer norm's weight and bias", "load and apply both", normalised
    )
    yield Hypothesis(
        "scale taken for an offset from 1",
        "with 1 + weight as the scale",
        "the scale is the weight itself",
        normalised * (1 + weight) + bias,
    )
    for name in ("bfloat16", "float16"):
        scale, shift = (round_to_precision(array, name).astype("float64") for array in (weight, bias))
        for other, words in ((bias, "weight"), (shift, "weight and bias")):
            yield Hypothesis(
                "weights rounded",
                f"with the layer norm's {words} rounded to {name}",
                f"the checkpoint went through {name}; convert it from the original",
                normalised * scale + other,
            )
    yield Hypothesis("scale and bias swapped", "with weight and bias swapped", "swap them", normalised * bias + weight)


def _normalised_twice(x: numpy.ndarray, weight: numpy.ndarray, bias: numpy.ndarray, eps: float) -> Iterator[Hypothesis]:
    """A layer norm of what is normalised already."""
    plain = layer_norm_forward(x, numpy.ones_like(weight), numpy.zeros_like(bias), eps)[0]
    same = layer_norm_forward(x, weight, bias, eps)[0]
    for before, words in ((plain, "a norm without weight and bias"), (same, "the same norm")):
        yield Hypothesis(
            "extra layer norm",
            f"with {words} applied to its input",
            "ViViT normalises once before each branch",
            layer_norm_forward(before, weight, bias, eps)[0],
        )


def _other_parameters(evidence: Evidence, x: numpy.ndarray, shape: tuple[int, ...]) -> Iterator[Hypothesis]:
    """The parameters of another layer norm of the same network."""
    eps = evidence.config.layer_norm_eps if evidence.config else 0.0
    for other in evidence.parameter_names(r".*layernorm\w*\.weight"):
        name = other.removesuffix(".weight")
        weight, bias = evidence.parameter(other), evidence.parameter(f"{name}.bias")
        if name == evidence.name or weight is None or bias is None or weight.shape != shape:
            continue
        yield Hypothesis(
            "another layer's parameters",
            f"with the parameters of {name}",
            "check the names and the order in which the layers' parameters are loaded, and that no layer is left out",
            layer_norm_forward(x, weight, bias, eps)[0],
        )


def norm_elsewhere_hypotheses(evidence: Evidence, earlier: str) -> Iterator[Hypothesis]:
    """The layer norm of what came before the last branch was added.

    Parameters
    ----------
    earlier : str
        The name of the stream before that.
    """
    x, config = evidence.sample(earlier), evidence.config
    weight, bias = evidence.parameter(f"{evidence.name}.weight"), evidence.parameter(f"{evidence.name}.bias")
    if x is None or config is None or weight is None or bias is None or x.shape[-1] != weight.size:
        return
    yield Hypothesis(
        "norm of the wrong tensor",
        f"computed from {earlier}",
        "the layer norm takes the stream with the branch before it added",
        layer_norm_forward(x, weight, bias, config.layer_norm_eps)[0],
    )


def post_norm_hypotheses(evidence: Evidence, inputs: str, attention: str) -> Iterator[Hypothesis]:
    """Normalised after the attention instead of before it.

    Parameters
    ----------
    inputs : str
        The name of what goes into the layer.
    attention : str
        The parameters of its attention have this name.
    """
    x, config = evidence.sample(inputs), evidence.config
    weight, bias = evidence.parameter(f"{evidence.name}.weight"), evidence.parameter(f"{evidence.name}.bias")
    names = evidence.parameter_names(re.escape(attention) + r"\..*")
    if x is None or weight is None or bias is None or config is None or not names:
        return
    params = unflatten({name.removeprefix(f"{attention}."): evidence.parameter(name) for name in names})
    if {"attention", "output"} - params.keys() or x.shape[-1] != config.hidden_size:
        return
    if not evidence.is_ours(layer_norm_forward(x, weight, bias, config.layer_norm_eps)[0]):
        return
    attended, _, _ = multi_head_attention_forward(x, params, config.num_attention_heads)
    yield Hypothesis(
        "post-norm instead of pre-norm",
        "with the layer norm applied after the attention and its sum, not before",
        "ViViT normalises what goes into each branch: x + MSA(LN(x))",
        layer_norm_forward(x + attended, weight, bias, config.layer_norm_eps)[0],
    )


def norm_skipped_hypotheses(evidence: Evidence, inputs: str, parameters: str) -> Iterator[Hypothesis]:
    """A linear map of what should have been normalised first: only where their layer norm's output is not recorded.

    Parameters
    ----------
    inputs : str
        The name of the layer norm's input.
    parameters : str
        Of the linear map.
    """
    x = input_of(evidence, inputs)
    weight = evidence.parameter(f"{parameters}.weight")
    if x is None or weight is None or x.shape[-1] != weight.shape[1]:
        return
    yield Hypothesis(
        "layer norm left out",
        f"computed from {inputs} as it is",
        "normalise it first",
        linear_forward(x, weight, evidence.parameter(f"{parameters}.bias"))[0],
    )
