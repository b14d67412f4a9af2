"""What goes wrong in the backward pass: paths of the residual stream, layer norms, activations."""

import re
from collections.abc import Iterator

import numpy

from minivivit.ops.activation import ACTIVATIONS
from minivivit.verification.comparison.evidence.evidence import Evidence, Hypothesis


def sum_backward_hypotheses(evidence: Evidence, later: str, norm: str, forward: str) -> Iterator[Hypothesis]:
    r"""What could be wrong with the gradient of x where :math:`y = x + branch(LN(x))`: dx = dy + dx through the branch.

    Parameters
    ----------
    later : str
        The name of dy in the trace.
    norm : str
        The layer norm's name; its own gradient is ``gradient.norm``.
    forward : str
        The name of x.
    """
    found = evidence.samples(evidence.name, later)
    if found is None or found[0].shape != found[1].shape:
        return
    ours, dy = found
    path = f"the gradient of x in x + branch(LN(x)) is {later} and what comes back through the branch"
    yield Hypothesis("residual path forgotten", f"without {later}", path, ours - dy)
    yield Hypothesis("branch left out", f"without what comes through {norm}", path, dy)
    parts = _norm_parts(evidence, norm, forward)
    if parts is None or not evidence.is_ours(dy + _norm_backward(*parts, True, True)):
        return
    for mean, projection, words in (
        (False, True, "without the term that takes off the mean"),
        (True, False, "without the term along the normalised input"),
        (False, False, "without the terms of mean and variance"),
    ):
        yield Hypothesis(
            "layer norm's backward",
            f"with the backward pass of {norm} {words}",
            "dx = (g - mean(g) - n mean(g n)) / std, with g = dy w and n the normalised input",
            dy + _norm_backward(*parts, mean, projection),
        )


def final_norm_backward_hypotheses(evidence: Evidence, norm: str, forward: str) -> Iterator[Hypothesis]:
    """What could be wrong with the gradient of the final layer norm's input."""
    parts = _norm_parts(evidence, norm, forward)
    if parts is None or not evidence.is_ours(_norm_backward(*parts, True, True)):
        return
    for mean, projection in ((False, True), (True, False), (False, False)):
        lacking = " and ".join(name for name, there in (("mean", mean), ("variance", projection)) if not there)
        yield Hypothesis(
            "layer norm's backward",
            f"with the backward pass of {norm} without the terms of {lacking}",
            "dx = (g - mean(g) - n mean(g n)) / std, with g = dy w and n the normalised input",
            _norm_backward(*parts, mean, projection),
        )


def activation_backward_hypotheses(evidence: Evidence, forward: str, output: str) -> Iterator[Hypothesis]:
    """What could be wrong with the gradient of an activation's input.

    The gradient of its output is not recorded: it is that of the second linear map, times its weight.

    Parameters
    ----------
    forward, output : str
        The names of the activation's input, and of the second linear map.
    """
    x, dy = evidence.sample(forward), evidence.sample(f"gradient.{output}")
    weight = evidence.parameter(f"{output}.weight")
    if x is None or dy is None or weight is None or evidence.config is None or dy.shape[-1] != weight.shape[0]:
        return
    slope, own = dy @ weight, evidence.config.hidden_act
    if slope.shape != x.shape or not evidence.is_ours(_activation_backward(own, x, slope)):
        return
    yield Hypothesis(
        "activation left out",
        "without the activation's derivative",
        f"times that of {own}",
        slope,
        is_elsewhere=True,  # the gradient of its output
    )
    for name, cause in (
        ("gelu", "erf against tanh GELU"),
        ("gelu_pytorch_tanh", "erf against tanh GELU"),
        ("quick_gelu", "quick_gelu"),
        ("relu", "another activation"),
        ("silu", "another activation"),
        ("tanh", "another activation"),
    ):
        if name != own:
            yield Hypothesis(
                cause,
                f"with the derivative of {name} in place of that of {own}",
                f"the forward pass is {own}: differentiate that",
                _activation_backward(name, x, slope),
            )


def _activation_backward(name: str, x: numpy.ndarray, slope: numpy.ndarray) -> numpy.ndarray:
    forward, backward = ACTIVATIONS[name]
    return backward(slope, forward(x)[1])


def _norm_parts(
    evidence: Evidence, norm: str, forward: str
) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray] | None:
    """g = dy w, the normalised input, and 1 / std."""
    x, dy = evidence.sample(forward), evidence.sample(f"gradient.{norm}")
    weight = evidence.parameter(f"{norm}.weight")
    if x is None or dy is None or weight is None or evidence.config is None or x.shape != dy.shape:
        return None
    inverse = 1 / numpy.sqrt(x.var(axis=-1, keepdims=True) + evidence.config.layer_norm_eps)
    return dy * weight, (x - x.mean(axis=-1, keepdims=True)) * inverse, inverse


def _norm_backward(
    g: numpy.ndarray, normalised: numpy.ndarray, inverse: numpy.ndarray, mean: bool, projection: bool
) -> numpy.ndarray:
    dx = g - g.mean(axis=-1, keepdims=True) if mean else g
    if projection:
        dx = dx - normalised * (g * normalised).mean(axis=-1, keepdims=True)
    return dx * inverse


def layer_backward_hypotheses(evidence: Evidence, match: re.Match) -> Iterator[Hypothesis]:
    """Of the gradient of a layer's output: what goes into the next layer, or into the final norm."""
    name = evidence.name.removeprefix("gradient.")
    stem, number = match["L"].removesuffix(match["N"]), int(match["N"])
    following = f"{stem}{number + 1}"
    first = next(
        (norm for norm in ("layernorm_before", "layernorm_temporal") if f"{following}.{norm}" in evidence.ours), None
    )
    if first is not None:
        later = "attention_residual" if first == "layernorm_before" else "temporal_attention_residual"
        yield from sum_backward_hypotheses(evidence, f"gradient.{following}.{later}", f"{following}.{first}", name)
    else:
        encoder = stem.removesuffix("layer.")
        final = encoder.replace("encoder.", "layernorm") if encoder.endswith(".encoder.") else f"{encoder}layernorm"
        yield from final_norm_backward_hypotheses(evidence, final, name)
