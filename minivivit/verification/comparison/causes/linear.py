"""What goes wrong in a linear map: transposed weights, a bias left out, another layer's parameters, rounded weights."""

import re
from collections.abc import Iterator

import numpy

from minivivit.ops.linear import linear_forward
from minivivit.verification.comparison.evidence.evidence import Evidence, Hypothesis
from minivivit.verification.comparison.evidence.folding import input_of
from minivivit.verification.comparison.mistakes.weights import quantised_weights, rounded_weights
from minivivit.verification.rounding.precisions import round_to_precision

# Tokens on which mistakes are tried, for all tokens share the weights; and fewer for those of every other layer.
ROWS, SEARCH_ROWS = 512, 64


def linear_hypotheses(evidence: Evidence, inputs: str, parameters: str) -> Iterator[Hypothesis]:
    """What could be wrong with y = x W^T + b.

    Parameters
    ----------
    inputs : str
        The name of x in the trace.
    parameters : str
        W and b are the parameters of this name, with ``.weight`` and ``.bias`` after it.
    """
    y, x = evidence.sample(evidence.name), input_of(evidence, inputs)
    weight, bias = evidence.parameter(f"{parameters}.weight"), evidence.parameter(f"{parameters}.bias")
    if y is None or x is None or weight is None or x.shape[-1] != weight.shape[1]:
        return
    if x.ndim == 3:
        x, y = x[:, :ROWS], y[:, :ROWS]
    if not evidence.is_ours(linear_forward(x, weight, bias)[0]):
        return
    if bias is not None:
        yield Hypothesis("bias left out", "without the bias", f"load and add {parameters}.bias", y - bias)
        yield Hypothesis("bias twice", "with the bias added twice", "add it once", y + bias)
    if len(set(weight.shape)) == 1:
        yield Hypothesis(
            "transposed weight",
            "with the weight transposed (x W + b for x W^T + b)",
            f"{parameters}.weight is (outputs, inputs) as in PyTorch; a Flax or TensorFlow kernel is (inputs, outputs)",
            linear_forward(x, numpy.ascontiguousarray(weight.T), bias)[0],
        )
    for name, rounded in rounded_weights(weight):
        rounded_bias = None if bias is None else dict(rounded_weights(bias))[name]
        yield Hypothesis(
            "weights rounded",
            f"with the weights rounded to {name}",
            f"the checkpoint went through {name}; convert it from the original",
            linear_forward(x, rounded, rounded_bias)[0],
        )
        if bias is not None:
            yield Hypothesis(
                "weights rounded",
                f"with the weights, and not the bias, rounded to {name}",
                f"the weights went through {name}; convert them from the original",
                linear_forward(x, rounded, bias)[0],
            )
    for words, quantised in quantised_weights(weight):
        yield Hypothesis(
            "weights quantised",
            f"with the weight quantised to int8, {words}",
            "compare with the weights before they are quantised",
            linear_forward(x, quantised, bias)[0],
        )
    yield from _tf32(evidence, inputs, weight, bias)
    yield from _other_parameters(evidence, x[:, :SEARCH_ROWS] if x.ndim == 3 else x, parameters, weight.shape)


def _tf32(evidence: Evidence, inputs: str, weight: numpy.ndarray, bias: numpy.ndarray | None) -> Iterator[Hypothesis]:
    """The product of factors rounded to TF32: of theirs, since which way a number rounds hangs on its last bits."""
    x = evidence.read_theirs(inputs)
    if x is None:
        return
    x = x[:, :ROWS] if x.ndim == 3 else x
    x, weight = (round_to_precision(factor, "tf32").astype("float64") for factor in (x, weight))
    yield Hypothesis(
        "TF32",
        "with the factors of the matrix product rounded to TF32",
        "the GPU multiplies in TF32: torch.backends.cuda.matmul.allow_tf32 = False, NVIDIA_TF32_OVERRIDE=0",
        linear_forward(x, weight, bias)[0],
    )


def _other_parameters(
    evidence: Evidence, x: numpy.ndarray, parameters: str, shape: tuple[int, ...]
) -> Iterator[Hypothesis]:
    """The parameters of the same kind of another layer."""
    pattern = re.sub(r"layer\\\.\d+", r"layer\\.\\d+", re.escape(f"{parameters}.weight"))
    for other in evidence.parameter_names(pattern):
        name = other.removesuffix(".weight")
        other_weight = evidence.parameter(other)
        if name == parameters or other_weight is None or other_weight.shape != shape:
            continue
        yield Hypothesis(
            "another layer's parameters",
            f"with the parameters of {name}",
            "check the names and the order in which the layers' parameters are loaded",
            linear_forward(x, other_weight, evidence.parameter(f"{name}.bias"))[0],
        )
