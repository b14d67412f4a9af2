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
from minivivit.verification.comparison.mistakes.norms import (
    USUAL_EPSILONS,
    mistaken_scales,
    mistaken_statistics,
    normalised_twice,
    other_epsilon,
)

# Rows from which an epsilon is read off, and on which other layers' parameters are tried.
ROWS = 64
# One that is solved for and this close to ours, relative to it, is ours.
SAME_EPSILON = 0.05


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
    for step in (*mistaken_statistics(x.shape[-1]), *mistaken_scales(), *normalised_twice()):
        yield Hypothesis(step.cause, step.mistake, step.advice, step.compute(x, weight, bias, eps))
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
    for candidates, outside in ((under_root, False), (beside_root, True)):
        for candidate, is_fit in _round_numbers(candidates):
            if outside or abs(candidate - eps) > SAME_EPSILON * eps:
                step = other_epsilon(eps, candidate, outside)
                tensor = step.compute(centred, weight, bias, eps)
                yield Hypothesis(step.cause, step.mistake, step.advice, tensor, is_fit=is_fit)


def _round_numbers(solved: float) -> Iterator[tuple[float, bool]]:
    """What is solved for carries rounding, and a round number nearby was meant; else it is a fit."""
    for usual in USUAL_EPSILONS:
        if abs(usual - solved) <= 0.05 * max(usual, abs(solved)) + 1e-7:
            yield usual, False
    if numpy.isfinite(solved) and solved > 0:
        yield solved, True


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
            is_elsewhere=name.rpartition(".")[0] == evidence.name.rpartition(".")[0],  # the layer's norms take turns
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
