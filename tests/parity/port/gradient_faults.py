"""Mistakes of the backward pass: all values are right, and gradients are wrong from some place on."""

import math
from collections.abc import Callable
from typing import Any

import torch

from .fault import L0, L1, Fault
from .planting import change_loss, edit, edit_with, only, replace

BLOCKS, MLP, A = r"body\.blocks\.\d", r"body\.blocks\.\d\.mlp", r"body\.blocks\.\d\.attn"
G0, G1 = f"gradient.{L0}", f"gradient.{L1}"
# Recorded gradients of parameters, as opposed to those of values.
PARAMETERS = r"d_.*(weight|bias|cls|pos)"
FC2, PROJ = r"d_body\.blocks\.1\.mlp\.fc2", r"d_body\.blocks\.1\.attn\.proj"
CROSS_ENTROPY = torch.nn.functional.cross_entropy


class WithBackward(torch.autograd.Function):
    """A function, and what somebody took for its backward pass."""

    @staticmethod
    def forward(context: Any, forward: Callable, backward: Callable, *inputs: Any) -> Any:
        """`backward(slope, *inputs)` gives a gradient for each input."""
        context.save_for_backward(*inputs)
        context.given = backward
        return forward(*inputs)

    @staticmethod
    def backward(context: Any, slope: Any) -> Any:
        """No gradient for the functions."""
        found = context.given(slope, *context.saved_tensors)
        return (None, None, *(found if isinstance(found, tuple) else (found,)))


def with_backward(module: str, method: str, backward: Callable[..., Any]) -> Any:
    """A method keeps its values, and gets another backward pass, of the slope and what the method is given."""
    return replace(module, method, lambda self, original, *given: WithBackward.apply(original, backward, *given))


def norm_backward(mean: bool, projection: bool, of_normalised: bool = True) -> Any:
    """A layer norm's backward pass, with or without each of its terms."""

    def forward(self: Any, original: Any, x: Any) -> Any:
        def backward(slope: Any, x: Any, weight: Any, bias: Any) -> Any:
            spread = (x.var(-1, unbiased=False, keepdim=True) + self.eps).sqrt()
            normalised = (x - x.mean(-1, keepdim=True)) / spread
            inner = slope * weight
            dx = inner - mean * inner.mean(-1, keepdim=True)
            dx = dx - projection * normalised * (inner * normalised).mean(-1, keepdim=True)
            axes = tuple(range(x.ndim - 1))
            factor = normalised if of_normalised else x
            return dx / spread, (slope * factor).sum(axes), slope.sum(axes)

        return WithBackward.apply(
            lambda x, weight, bias: torch.nn.functional.layer_norm(x, x.shape[-1:], weight, bias, self.eps),
            backward, x, self.weight, self.bias,
        )  # fmt: skip

    return forward


def probs_times(slope: Any, scores: Any) -> Any:
    """Softmax's backward pass without its sum."""
    return slope * scores.softmax(-1)


def erf_slope(slope: Any, x: Any) -> Any:
    """The exact GELU's derivative, where the tanh approximation was computed."""
    return slope * (0.5 * (1 + torch.erf(x / math.sqrt(2))) + x * torch.exp(-x * x / 2) / math.sqrt(2 * math.pi))


def without_scale(slope: Any, query: Any, key: Any) -> Any:
    """The scores' backward pass without 1/sqrt(d)."""
    return slope @ key, slope.transpose(-1, -2) @ query


def not_transposed(slope: Any, probs: Any, value: Any) -> Any:
    """P for its transpose in the value's gradient."""
    return slope @ value.transpose(-1, -2), probs @ slope


def scaled_gradient(factor: float) -> Any:
    """The loss keeps its value; its gradient is scaled."""

    def loss(logits: Any, labels: Any) -> Any:
        value = CROSS_ENTROPY(logits, labels)
        return value.detach() + factor * (value - value.detach())

    return loss


def wrong_clips(values: dict[str, Any]) -> dict[str, Any]:
    """The bias's gradient summed over the tokens of clip 0 alone."""
    name = "d_body.blocks.1"  # its slope is the MLP's too: the layer is a sum
    return {f"{name}.mlp.fc2.bias": values[name][0].sum(0)}


GRADIENT_FAULTS = [
    Fault("layer norm's backward without the mean", replace(r"body\.blocks\.\d\.norm2", "forward",
          norm_backward(False, True)), f"{G1}.attention_residual", "layer norm's backward"),
    Fault("layer norm's backward without the projection", replace(r"body\.blocks\.\d\.norm2", "forward",
          norm_backward(True, False)), f"{G1}.attention_residual", "layer norm's backward"),
    Fault("layer norm's backward with neither", replace(r"body\.blocks\.\d\.norm1", "forward",
          norm_backward(False, False)), G0, "layer norm's backward"),
    Fault("final norm's backward without the mean", replace(r"body\.norm", "forward", norm_backward(False, True)),
          G1, "layer norm's backward"),
    Fault("norm weight's gradient from what is not normalised", replace(r"body\.blocks\.1\.norm2", "forward",
          norm_backward(True, True, False)), f"{G1}.layernorm_after.weight", None, ("layer norm's backward",)),
    Fault("softmax's backward without the sum", with_backward(A, "normalise", probs_times),
          f"{G1}.attention.attention.query", "softmax's backward"),
    Fault("erf backward", with_backward(rf"{MLP}\.act", "forward", erf_slope), f"{G1}.intermediate.dense",
          "erf against tanh GELU", ("erf backward", "another activation's backward")),
    Fault("activation's backward left out", with_backward(rf"{MLP}\.act", "forward", lambda slope, x: slope),
          f"{G1}.intermediate.dense", "activation left out", ("activation's backward left out",)),
    Fault("ReLU's backward", with_backward(rf"{MLP}\.act", "forward", lambda slope, x: slope * (x > 0)),
          f"{G1}.intermediate.dense", "another activation", ("another activation's backward",)),
    Fault("scores' backward without the scale", with_backward(A, "score", without_scale),
          f"{G1}.attention.attention.query", "missing 1/sqrt(d)", ("a constant factor",)),
    Fault("value's gradient with P not transposed", with_backward(A, "mix", not_transposed),
          f"{G1}.attention.attention.value", None, ("probabilities not transposed",)),
    Fault("key detached", replace(A, "score", lambda self, original, query, key: original(query, key.detach())),
          f"{G1}.attention.attention.key", "never written"),
    Fault("residual path of the attention forgotten", replace(BLOCKS, "attention_sum", lambda self, original, x:
          self.mid(x.detach() + self.attn(self.norm1(x)))), G0, "residual path forgotten", ("residual left out",)),
    Fault("residual path of the MLP forgotten", replace(BLOCKS, "mlp_sum", lambda self, original, x:
          x.detach() + self.mlp(self.norm2(x))), f"{G1}.attention_residual", "residual path forgotten",
          ("residual left out",)),
    Fault("branch of the MLP detached", replace(BLOCKS, "mlp_sum", lambda self, original, x:
          x + self.mlp(self.norm2(x.detach()))), f"{G1}.attention_residual", "branch left out",
          ("branch's path forgotten",)),
    Fault("weight's gradient transposed", edit(rf"{PROJ}\.weight", lambda g: g.T),
          f"{G1}.attention.output.dense.weight", "transposed", ("transposed weight",)),
    Fault("classifier's gradient transposed", edit(r"d_head\.weight", lambda g: g.T), "gradient.classifier.weight",
          "transposed", ("transposed weight",)),
    Fault("mean for sum over the tokens", edit(rf"{FC2}\.(weight|bias)", lambda g: g / 130), f"{G1}.output.dense.bias",
          "mean for sum", ("a constant factor",)),
    Fault("mean for sum over the clips", edit(PARAMETERS, lambda g: g / 2), "gradient.classifier.bias",
          "mean for sum", ("a constant factor",)),
    Fault("gradients accumulated twice", edit(PARAMETERS, lambda g: 2 * g), "gradient.classifier.bias",
          "accumulated twice", ("a constant factor",)),
    Fault("one layer's gradients accumulated twice", edit(r"d_body\.blocks\.0\..*(weight|bias)", lambda g: 2 * g),
          f"{G0}.output.dense.bias", "accumulated twice", ("a constant factor",)),
    Fault("loss scale left in", change_loss(scaled_gradient(128.0)), "gradient.classifier", "a constant factor",
          ("loss scale left in",)),
    Fault("loss summed, gradient averaged", change_loss(scaled_gradient(2.0)), "gradient.classifier",
          "a constant factor", ("loss summed", "mean for sum")),
    Fault("bias's gradient of clip 0 alone", edit_with(wrong_clips), f"{G1}.output.dense.bias", None,
          ("summed over one clip",)),
    Fault("rows of a weight's gradient reversed", edit(rf"{PROJ}\.weight", lambda g: g.flip(0)),
          f"{G1}.attention.output.dense.weight", "feature order", ("rows reversed",)),
    Fault("rows of a weight's gradient zeroed", edit(rf"{PROJ}\.weight", only(0, range(12), torch.zeros_like)),
          f"{G1}.attention.output.dense.weight", None, ("never written",), where=("rows 0 to 11",)),
    Fault("rows of a weight's gradient doubled", edit(rf"{PROJ}\.weight", only(0, range(12, 24), lambda g: 2 * g)),
          f"{G1}.attention.output.dense.weight", None, where=("rows 12 to 23",)),
    Fault("first row of a weight's gradient zeroed", edit(rf"{FC2}\.weight", only(0, 0, torch.zeros_like)),
          f"{G1}.output.dense.weight", None, ("never written",), where=("row 0", "the first row")),
    Fault("last column of a weight's gradient doubled", edit(rf"{PROJ}\.weight", only(1, 47, lambda g: 2 * g)),
          f"{G1}.attention.output.dense.weight", None, where=("column 47", "the last column")),
    Fault("gradient of the CLS token never written", edit(r"d_body\.cls", torch.zeros_like),
          "gradient.vivit.embeddings.cls_token", "never written"),
    Fault("positions' gradient of the tokens only", edit(r"d_body\.pos", only(1, 0, torch.zeros_like)),
          "gradient.vivit.embeddings.position_embeddings", None, ("never written",),
          where=("token 0", "row 0", "position 0", "CLS token")),
    Fault("gradients of layers exchanged", edit_with(lambda values: {
          "d_body.blocks.0.mlp.fc1.weight": values["d_body.blocks.1.mlp.fc1.weight"],
          "d_body.blocks.1.mlp.fc1.weight": values["d_body.blocks.0.mlp.fc1.weight"]}),
          f"{G1}.intermediate.dense.weight", "another tensor", ("another layer's parameters",)),
    Fault("gradient clipped", edit(PARAMETERS, lambda g: g * 0.37), "gradient.classifier.bias", "a constant factor"),
    Fault("clip 1's gradient lost", replace("", "forward", lambda self, original, x: (
          lambda y: torch.cat([y[:1], y[1:].detach()]))(original(x))), "gradient.classifier", None,
          ("never written",), where=("clip 1", "sample 1")),
    Fault("softmax's backward, spatial encoder", with_backward(r"space\.blocks\.\d\.attn", "normalise", probs_times),
          "gradient.vivit.spatial_encoder.layer.1.attention.attention.query", "softmax's backward", model="m2"),
    Fault("layer norm's backward, spatial encoder", replace(r"space\.norm", "forward", norm_backward(True, False)),
          "gradient.vivit.spatial_encoder.layer.1", "layer norm's backward", model="m2"),
    Fault("residual path forgotten over space", replace(r"blocks\.\d", "space_sum", lambda self, original, x:
          self.mid_s(x.detach() + self.over_space(self.norm_s(x)))), f"{G1}.temporal_attention_residual",
          "residual path forgotten", ("residual left out",), model="m3"),
    Fault("weight's gradient transposed, temporal attention", edit(r"d_blocks\.1\.attn_t\.proj\.weight",
          lambda g: g.T), f"{G1}.temporal_attention.output.dense.weight", "transposed", ("transposed weight",),
          model="m3"),
    Fault("erf backward, Model 3", with_backward(r"blocks\.\d\.mlp\.act", "forward", erf_slope),
          f"{G1}.intermediate.dense", "erf against tanh GELU", ("erf backward", "another activation's backward"),
          model="m3"),
]  # fmt: skip
