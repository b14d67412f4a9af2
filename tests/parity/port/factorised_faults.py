"""Mistakes of Models 2 and 3: times and places."""

from typing import Any

import torch

from .fault import L0, L1, S0, T0, Fault
from .planting import after, both, change_weights, load_as, only, replace

SPACE, TIME = "vivit.spatial_encoder", "vivit.temporal_encoder"
GELU = torch.nn.functional.gelu


def give_parameter(name: str, whose: str) -> Any:
    """A parameter of the other encoder."""

    def plant(port: Any) -> None:
        parameters = dict(port.model.named_parameters())
        parameters[name].data = parameters[whose].detach().clone()

    return plant


def times_first(x: Any) -> Any:
    """(batch, times, ...) folded as (times, batch, ...), and unfolded as if it had not been."""
    return x.transpose(0, 1).reshape(x.shape)


def over_places(self: Any, original: Any, y: Any) -> Any:
    """The temporal attention is given a sequence for each time."""
    return self.attn_t(y)


def over_times(self: Any, original: Any, y: Any) -> Any:
    """The spatial attention is given a sequence for each place."""
    return self.attn_s(y.transpose(1, 2)).transpose(1, 2)


def space_first(self: Any, original: Any, x: Any) -> Any:
    """Space before time."""
    return self.mlp_sum(self.time_sum(self.space_sum(x)))


def places_reversed(self: Any, original: Any, y: Any) -> Any:
    """The sequences of the temporal attention in reverse, and never put back."""
    return self.attn_t(y.transpose(1, 2).flip(1)).transpose(1, 2)


def times_reversed(self: Any, original: Any, y: Any) -> Any:
    """The sequences of the spatial attention in reverse, and never put back."""
    return self.attn_s(y.flip(1))


def reversed_and_back(self: Any, original: Any, y: Any) -> Any:
    """Time runs backwards inside the attention, which does not mind: only what is recorded there is reversed."""
    return self.attn_t(y.transpose(1, 2).flip(2)).flip(2).transpose(1, 2)


def all_places(self: Any, original: Any, y: Any) -> Any:
    """The spatial attention folded (times, batch): the clips' times are mixed, and unfolded as they should be."""
    return times_first(self.attn_s(times_first(y)))


def pool_first(self: Any, original: Any, x: Any) -> Any:
    """The norm of the mean; the tokens are normalised too, and recorded, but not used."""
    self.norm(x)
    return self.head(self.pooled(type(self.norm).forward(self.norm, x.mean((1, 2)))))


FACTORISED_FAULTS = [
    Fault("times reversed into the spatial encoder", after("", lambda x: x.flip(1), "fold"),
          f"{SPACE}.embeddings.with_cls_token", "times reversed", model="m2"),
    Fault("times reversed between the encoders", after("", lambda x: x.flip(1), "between"),
          f"{TIME}.embeddings.with_cls_token", "times reversed", model="m2"),
    Fault("times folded into the batch in another order", after("", times_first, "fold"),
          f"{SPACE}.embeddings.with_cls_token", "times folded in another order", model="m2"),
    Fault("times unfolded in another order", after("", times_first, "between"),
          f"{TIME}.embeddings.with_cls_token", "times folded in another order", model="m2"),
    Fault("clips exchanged between the encoders", after("", lambda x: x.flip(0), "between"),
          f"{TIME}.embeddings.with_cls_token", "batch order", model="m2"),
    Fault("places with columns first", after("", lambda x: x.unflatten(2, (4, 4)).transpose(2, 3).flatten(2, 3),
          "fold"), f"{SPACE}.embeddings.with_cls_token", "height and width swapped", ("token order",), model="m2"),
    Fault("spatial norm missing", replace(r"space\.norm", "forward", lambda self, original, x: x),
          f"{SPACE}.layernorm", "layer norm left out", model="m2"),
    Fault("temporal norm missing", replace(r"time\.norm", "forward", lambda self, original, x: x),
          f"{TIME}.layernorm", "layer norm left out", model="m2"),
    Fault("last place for the spatial CLS token", replace("space", "pool", lambda self, original, x: x[..., -1, :]),
          SPACE, "pooling", model="m2"),
    Fault("mean over places for the CLS token", replace("space", "pool", lambda self, original, x: x.mean(-2)), SPACE,
          "pooling", model="m2"),
    Fault("mean over times for the CLS token", replace("time", "pool", lambda self, original, x: x[..., 1:, :].mean(-2)
          ), "pre_logits", "pooling", model="m2"),
    Fault("spatial CLS token in the temporal encoder", give_parameter("time.cls", "space.cls"),
          f"{TIME}.embeddings.with_cls_token", "another layer's parameters", ("another CLS token",), model="m2"),
    Fault("temporal CLS token at the end", replace("time", "with_cls", lambda self, original, x: original(x).roll(-1, -2
          )), f"{TIME}.embeddings.with_cls_token", "CLS token at the end", vague=("token order",), model="m2"),
    Fault("temporal positions missing", change_weights(r"time\.pos", torch.zeros_like), f"{TIME}.embeddings",
          "position embeddings left out", vague=("another tensor",), model="m2"),
    Fault("temporal positions reversed", change_weights(r"time\.pos", lambda p: torch.cat(
          [p[:, :1], p[:, 1:].flip(1)], 1)), f"{TIME}.embeddings", "position order", ("positions reversed",),
          model="m2"),
    Fault("spatial positions missing", change_weights(r"space\.pos", torch.zeros_like), f"{SPACE}.embeddings",
          "position embeddings left out", vague=("another tensor",), model="m2"),
    Fault("spatial positions with columns first", change_weights(r"space\.pos", lambda p: torch.cat(
          [p[:, :1], p[:, 1:].unflatten(1, (4, 4)).transpose(1, 2).flatten(1, 2)], 1)), f"{SPACE}.embeddings",
          "height and width swapped", ("position order",), model="m2"),
    Fault("temporal layers with the spatial weights", load_as({"time.blocks": "space.blocks"}),
          f"{T0}.layernorm_before", "another layer's parameters", model="m2"),
    Fault("temporal layers exchanged", load_as({"time.blocks.0": "time.blocks.1", "time.blocks.1": "time.blocks.0"}),
          f"{T0}.layernorm_before", "another layer's parameters", ("layers in another order",), model="m2"),
    Fault("erf GELU in the spatial encoder", replace(r"space\.blocks\.\d\.mlp\.act", "forward",
          lambda self, original, x: GELU(x)), f"{S0}.intermediate", "erf against tanh GELU", model="m2"),
    Fault("branch times 0.9 in the temporal encoder", replace(r"time\.blocks\.\d", "attention_sum",
          lambda self, original, x: self.mid(x + 0.9 * self.attn(self.norm1(x)))), f"{T0}.attention_residual",
          "branch scaled", model="m2"),
    Fault("the last time zero", after("", only(1, 3, torch.zeros_like), "between"),
          f"{TIME}.embeddings.with_cls_token", None, ("never written",), model="m2",
          where=("time 3", "the last time", "token 4", "the last token")),
    Fault("the even times noisy", after("", only(1, [0, 2], lambda x: x * 1.1), "fold"),
          # the factor is that of the whole tensor where the CLS token is 0, as it starts
          f"{SPACE}.embeddings.with_cls_token", None, ("a constant factor",), model="m2",
          where=("times 0 and 2", "times 0, 2", "even times")),
    Fault("epsilon 1e-4 in the temporal encoder", replace(r"time\..*norm\d?", "forward", lambda self, original, x:
          torch.nn.functional.layer_norm(x, x.shape[-1:], self.weight, self.bias, 1e-4)), f"{T0}.layernorm_before",
          "layer norm's epsilon", model="m2"),
    Fault("space and time exchanged", both(replace(r"blocks\.\d", "over_time", over_places),
          replace(r"blocks\.\d", "over_space", over_times)), f"{L0}.temporal_attention.attention.query",
          "space and time exchanged", model="m3"),
    Fault("spatial attention over time", replace(r"blocks\.\d", "over_space", over_times),
          f"{L0}.spatial_attention.attention.query", "space and time exchanged", model="m3"),
    Fault("space before time", replace(r"blocks\.\d", "forward", space_first), f"{L0}.layernorm_temporal",
          "space before time", ("space and time exchanged",), model="m3"),
    Fault("places reversed in the temporal attention", replace(r"blocks\.\d", "over_time", places_reversed),
          f"{L0}.temporal_attention.attention.query", "places reversed", model="m3"),
    Fault("times reversed in the spatial attention", replace(r"blocks\.\d", "over_space", times_reversed),
          f"{L0}.spatial_attention.attention.query", "times reversed", model="m3"),
    Fault("times reversed inside the temporal attention", replace(r"blocks\.\d", "over_time", reversed_and_back),
          f"{L0}.temporal_attention.attention.query", "times reversed", ("token order",), model="m3"),
    Fault("spatial attention folded in another order", replace(r"blocks\.\d", "over_space", all_places),
          f"{L0}.spatial_attention.attention.query", "times folded in another order", model="m3"),
    Fault("spatial norm left out", replace(r"blocks\.\d\.norm_s", "forward", lambda self, original, x: x),
          f"{L0}.layernorm_spatial", "layer norm left out", vague=("another tensor",), model="m3"),
    Fault("temporal weights in the spatial attention", load_as({"blocks.0.attn_s": "blocks.0.attn_t"}),
          f"{L0}.spatial_attention.attention.query", "another layer's parameters", model="m3"),
    Fault("weights of space and time exchanged", load_as({"blocks.1.attn_s": "blocks.1.attn_t",
          "blocks.1.attn_t": "blocks.1.attn_s"}), f"{L1}.temporal_attention.attention.query",
          "another layer's parameters", ("space and time exchanged",), model="m3"),
    Fault("norms of space and time exchanged", load_as({"blocks.0.norm_s": "blocks.0.norm_t",
          "blocks.0.norm_t": "blocks.0.norm_s"}), f"{L0}.layernorm_temporal", "another layer's parameters",
          model="m3"),
    Fault("no residual around the temporal attention", replace(r"blocks\.\d", "time_sum",
          lambda self, original, x: self.mid_t(self.over_time(self.norm_t(x)))), f"{L0}.temporal_attention_residual",
          "residual left out", model="m3"),
    Fault("space and time in parallel", replace(r"blocks\.\d", "forward", lambda self, original, x: self.mlp_sum(
          self.mid_s(self.time_sum(x) + self.over_space(self.norm_s(x))))), f"{L0}.layernorm_spatial",
          "norm of the wrong tensor", ("branch left out",), model="m3"),
    Fault("spatial branch times 0.5", replace(r"blocks\.\d", "space_sum", lambda self, original, x: self.mid_s(
          x + 0.5 * self.over_space(self.norm_s(x)))), f"{L0}.spatial_attention_residual", "branch scaled",
          model="m3"),
    Fault("positions of time missing", change_weights("pos", lambda p: p[:, :1].expand_as(p)), "vivit.embeddings",
          None, ("position embeddings left out", "position order"), model="m3"),
    Fault("positions missing", change_weights("pos", torch.zeros_like), "vivit.embeddings",
          "position embeddings left out", model="m3"),
    Fault("positions with places first", change_weights("pos", lambda p: p.flatten(1, 2).unflatten(
          1, (16, 4)).transpose(1, 2)), "vivit.embeddings", "position order", model="m3"),
    Fault("pooling before the norm", replace("", "classify", pool_first), "pre_logits", "pooling before the norm",
          model="m3"),
    Fault("maximum in place of mean", replace("", "pool", lambda self, original, x: x.amax((1, 2))), "pre_logits",
          "pooling", model="m3"),
    Fault("only the last time pooled", replace("", "pool", lambda self, original, x: x[:, -1].mean(1)), "pre_logits",
          None, ("pooling",), model="m3"),
    Fault("MLP without bias", change_weights(r"blocks\.0\.mlp\.fc2\.bias", torch.zeros_like), f"{L0}.output.dense",
          "bias left out", model="m3"),
    Fault("layers of Model 3 exchanged", load_as({"blocks.0": "blocks.1", "blocks.1": "blocks.0"}),
          f"{L0}.layernorm_temporal", "another layer's parameters", ("layers in another order",), model="m3"),
]  # fmt: skip
