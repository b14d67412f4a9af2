"""Mistakes of layer norms, residual stream, MLP, order of the layers, and head, in Model 1."""

from typing import Any

import torch

from .fault import L0, L1, Fault
from .input_faults import half_rounded, plain_norm, quantised
from .planting import after, before, both, change_loss, change_weights, edit, load_as, only, replace

BLOCKS = r"body\.blocks\.\d"
GELU = torch.nn.functional.gelu
HEAD, MLP = "classifier", r"body\.blocks\.\d\.mlp"


def branch_times(factor: float) -> Any:
    """The attention's branch scaled before it is added."""
    return lambda self, original, x: self.mid(x + factor * self.attn(self.norm1(x)))


def mlp_times(factor: float) -> Any:
    """The MLP's branch scaled before it is added."""
    return lambda self, original, x: x + factor * self.mlp(self.norm2(x))


def from_layer_input(self: Any, original: Any, x: Any) -> Any:
    """The MLP's sum starts from what entered the layer: the attention is lost from the stream."""
    return x + self.mlp(self.norm2(self.attention_sum(x)))


def norm_of_input(self: Any, original: Any, x: Any) -> Any:
    """The second norm is given what entered the layer."""
    return self.attention_sum(x) + self.mlp(self.norm2(x))


def eps_outside(self: Any, original: Any, x: Any) -> Any:
    """Epsilon added to the standard deviation."""
    spread = x.var(-1, unbiased=False, keepdim=True).sqrt() + 1e-3
    return (x - x.mean(-1, keepdim=True)) / spread * self.weight + self.bias


def short_deviation(self: Any, original: Any, x: Any) -> Any:
    """The standard deviation with seven bits of fraction."""
    spread = (x.var(-1, unbiased=False, keepdim=True) + self.eps).sqrt()
    return (x - x.mean(-1, keepdim=True)) / spread.bfloat16().to(x.dtype) * self.weight + self.bias


def run_in_order(*order: int) -> Any:
    """These layers, one after the other."""

    def run(self: Any, original: Any, x: Any) -> Any:
        for index in order:
            x = self.blocks[index](x)
        return x

    return run


def clip_0_for_all(y: Any) -> Any:
    """A buffer that is not filled again for the second clip."""
    return y[:1].expand_as(y)


def fast_gelu(x: Any) -> Any:
    """An activation that is in no list."""
    return x * torch.sigmoid(1.6 * x)


LAYER_FAULTS = [
    Fault("a norm before layer 1", before(r"body\.blocks\.1", plain_norm, "attention_sum"),
          f"{L1}.layernorm_before", "extra layer norm"),
    Fault("the input normalised twice", after(r"body\.blocks\.\d\.norm1", plain_norm),
          f"{L0}.layernorm_before", "extra layer norm"),
    Fault("epsilon outside the root", replace(r"body\..*norm\d?", "forward", eps_outside), f"{L0}.layernorm_before",
          "epsilon outside the root", ("layer norm's epsilon",)),
    Fault("epsilon 1e-3", replace(r"body\..*norm\d?", "forward", lambda self, original, x:
          torch.nn.functional.layer_norm(x, x.shape[-1:], self.weight, self.bias, 1e-3)), f"{L0}.layernorm_before",
          "layer norm's epsilon"),
    Fault("deviation kept in bfloat16", replace(r"body\..*norm\d?", "forward", short_deviation),
          f"{L0}.layernorm_before", None, ("deviation rounded",)),
    Fault("norm's weight through bfloat16", change_weights(r"body\.blocks\.0\.norm1\.weight",
          lambda w: w.bfloat16().to(w.dtype)), f"{L0}.layernorm_before", "weights rounded"),
    Fault("norms of a layer shared", load_as({"body.blocks.0.norm2": "body.blocks.0.norm1"}),
          f"{L0}.layernorm_after", "another layer's parameters"),
    Fault("group norm of two groups", replace(r"body\.blocks\.\d\.norm1", "forward", lambda self, original, x:
          torch.nn.functional.layer_norm(x.unflatten(-1, (2, 24)), (24,)).flatten(-2) * self.weight + self.bias),
          f"{L0}.layernorm_before", None, ("normalised over the wrong axis", "normalised in groups")),
    Fault("attention's branch times 0.9", replace(BLOCKS, "attention_sum", branch_times(0.9)),
          f"{L0}.attention_residual", "branch scaled"),
    Fault("attention's branch times 0.1", replace(BLOCKS, "attention_sum", branch_times(0.1)),
          f"{L0}.attention_residual", "branch scaled"),
    Fault("attention's branch over sqrt(2)", replace(BLOCKS, "attention_sum", branch_times(0.5**0.5)),
          f"{L0}.attention_residual", "branch scaled"),
    Fault("MLP's branch times 0.9", replace(BLOCKS, "mlp_sum", mlp_times(0.9)), L0, "branch scaled"),
    Fault("MLP's branch times 0.1 in layer 1", replace(r"body\.blocks\.1", "mlp_sum", mlp_times(0.1)), L1,
          "branch scaled"),
    Fault("MLP's residual from the layer's input", replace(BLOCKS, "forward", from_layer_input), L0,
          "residual from the wrong place"),
    Fault("MLP's norm of the layer's input", replace(BLOCKS, "forward", norm_of_input), f"{L0}.layernorm_after",
          "norm of the wrong tensor", ("branch left out",)),
    Fault("MLP's residual of the normalised", replace(BLOCKS, "mlp_sum", lambda self, original, x: (
          lambda y: y + self.mlp(y))(self.norm2(x))), L0, "residual of the normalised input"),
    Fault("activation twice", after(rf"{MLP}\.act", lambda y: GELU(y, approximate="tanh")), f"{L0}.intermediate",
          "activation twice"),
    Fault("activation after the second layer too", after(rf"{MLP}\.fc2", lambda y: GELU(y, approximate="tanh")),
          f"{L0}.output.dense", "activation after the second layer"),
    Fault("activation after the second layer only", both(
          replace(rf"{MLP}\.act", "forward", lambda self, original, x: x),
          after(rf"{MLP}\.fc2", lambda y: GELU(y, approximate="tanh"))), f"{L0}.intermediate",
          "activation left out", ("activation after the second layer",)),
    Fault("erf GELU in layer 1", replace(r"body\.blocks\.1\.mlp\.act", "forward", lambda self, original, x: GELU(x)),
          f"{L1}.intermediate", "erf against tanh GELU"),
    Fault("SiLU", replace(rf"{MLP}\.act", "forward", lambda self, original, x: torch.nn.functional.silu(x)),
          f"{L0}.intermediate", "another activation"),
    Fault("an activation of one's own", replace(rf"{MLP}\.act", "forward", lambda self, original, x: fast_gelu(x)),
          f"{L0}.intermediate", None),
    Fault("int8 weights in the MLP", change_weights(rf"{MLP}\.fc\d\.weight", quantised), f"{L0}.intermediate.dense",
          "weights quantised"),
    Fault("int8 weights everywhere", change_weights(r"body\.blocks.*(qkv|proj|fc\d)\.weight", quantised),
          f"{L0}.attention.attention.query", "weights quantised"),
    Fault("layer 1 through float16", change_weights(r"body\.blocks\.1\..*(weight|bias)", half_rounded),
          f"{L1}.layernorm_before", "weights rounded"),
    Fault("second layer of the MLP through bfloat16", change_weights(rf"{MLP}\.fc2\.(weight|bias)",
          lambda w: w.bfloat16().to(w.dtype)), f"{L0}.output.dense", "weights rounded"),
    Fault("features 12 to 23 of the MLP lost", change_weights(r"body\.blocks\.0\.mlp\.fc2\.(weight|bias)",
          only(0, range(12, 24), torch.zeros_like)), f"{L0}.output.dense", None, ("never written",),
          where=("features 12 to 23", "columns 12 to 23")),
    Fault("the MLP leaves out token 64", after(MLP, only(-2, 64, torch.zeros_like)), L0, None, ("branch left out",),
          where=("token 64", "the last token")),
    Fault("the MLP only of the last token wrong", after(rf"{MLP}\.fc2", only(-2, 64, lambda y: 2 * y)),
          f"{L0}.output.dense", None, ("a constant factor",), where=("token 64", "the last token")),
    Fault("clip 0's attention for clip 1", after(r"body\.blocks\.1\.attn\.proj", clip_0_for_all),
          f"{L1}.attention.output.dense", None, ("batch order", "a clip twice"), where=("clip 1", "sample 1")),
    Fault("rows of the first layer permuted", change_weights(r"body\.blocks\.0\.mlp\.fc1\.(weight|bias)",
          lambda w: w.flip(0)), f"{L0}.intermediate.dense", "feature order", ("output columns permuted",)),
    Fault("columns of the second layer permuted", change_weights(r"body\.blocks\.0\.mlp\.fc2\.weight",
          lambda w: w.roll(8, 1)), f"{L0}.output.dense", "input columns permuted", ("feature order",)),
    Fault("layers exchanged", load_as({"body.blocks.0": "body.blocks.1", "body.blocks.1": "body.blocks.0"}),
          f"{L0}.layernorm_before", "another layer's parameters", ("layers in another order",)),
    Fault("layer 0's weights in all layers", load_as({"body.blocks.1": "body.blocks.0"}), f"{L1}.layernorm_before",
          "another layer's parameters", ("layers shared",)),
    Fault("layer 0 run twice", replace("body", "run", run_in_order(0, 0, 1)), f"{L0}.layernorm_before",
          "layer run twice"),
    Fault("layer 1 run twice", replace("body", "run", run_in_order(0, 1, 1)), f"{L1}.layernorm_before",
          "layer run twice"),
    Fault("layers run in another order", replace("body", "run", run_in_order(1, 0)), f"{L0}.layernorm_before",
          "layers in another order", ("another layer's parameters",)),
    Fault("dropout left on in the MLP", after(MLP, lambda y: torch.nn.functional.dropout(y, 0.1, True)), L0,
          "dropout left on"),
    Fault("final norm with layer 0's parameters", load_as({"body.norm": "body.blocks.0.norm1"}), "vivit.layernorm",
          "another layer's parameters"),
    Fault("mean of all tokens for the CLS token", replace("body", "pool", lambda self, original, x: x.mean(-2)),
          "pre_logits", "pooling"),
    Fault("the last token for the CLS token", replace("body", "pool", lambda self, original, x: x[..., -1, :]),
          "pre_logits", "pooling"),
    Fault("log-softmax", after("head", lambda y: y.log_softmax(-1)), HEAD, "log-softmax applied to the logits"),
    Fault("sigmoid", after("head", lambda y: y.sigmoid()), HEAD, "sigmoid applied to the logits"),
    Fault("temperature of 2", after("head", lambda y: y / 2), HEAD, "a constant factor"),
    Fault("classifier transposed", change_weights(r"head\.weight", lambda w: w.T), HEAD, "transposed weight"),
    Fault("classifier's bias lost", change_weights(r"head\.bias", torch.zeros_like), HEAD, "bias left out"),
    Fault("logits of clip 1 alone", after("head", only(0, 1, lambda y: y.flip(-1))), HEAD, "class order",
          where=("clip 1", "sample 1")),
    Fault("label smoothing", change_loss(lambda y, labels: torch.nn.functional.cross_entropy(
          y, labels, label_smoothing=0.1)), "loss", "label smoothing"),
    Fault("one tensor stored in bfloat16, and erf GELU", both(
          replace(rf"{MLP}\.act", "forward", lambda self, original, x: GELU(x)),
          edit(r"body\.tokens", lambda x: x.bfloat16())), f"{L0}.intermediate", "erf against tanh GELU",
          precisions=("float32",)),
    Fault("the logits stored in float16, and a branch times 0.999", both(
          replace(BLOCKS, "attention_sum", branch_times(0.999)), edit("head", lambda x: x.half())),
          f"{L0}.attention_residual", "branch scaled", precisions=("float32",)),
    Fault("not a number in one token", after(r"body\.blocks\.0\.mlp\.act", only(-2, 5, lambda y: y * torch.nan)),
          f"{L0}.intermediate", "NaN", where=("token 5",)),
    Fault("infinite in one feature", after(r"body\.blocks\.0\.mlp\.fc1", only(-1, 7, lambda y: y + torch.inf)),
          f"{L0}.intermediate.dense", "infinity", ("NaN",), where=("feature 7", "column 7")),
]  # fmt: skip
