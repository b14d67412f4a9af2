"""Mistakes of half precision: numbers that overflow, and what is kept too short."""

from typing import Any

import torch

from .fault import L0, S0, Fault
from .planting import after, replace
from .right_pairs import ATTENTIONS, written_norm

FLOAT16 = ("float16",)


def product_first(self: Any, original: Any, query: Any, key: Any) -> Any:
    """The product before the scale: here it passes 65504."""
    return query @ key.transpose(-1, -2) * self.scale


def through_int8(x: Any) -> Any:
    """Activations quantised, one scale for the tensor."""
    scale = x.detach().abs().max() / 127
    return x + ((x / scale).round() * scale - x).detach()


def through_float8(x: Any) -> Any:
    """Activations in float8 with three bits of fraction."""
    return x + (x.detach().float().to(torch.float8_e4m3fn).to(x.dtype) - x).detach()


PRECISION_FAULTS = [
    Fault("scores overflow before the scale", replace(ATTENTIONS, "score", product_first),
          f"{L0}.attention.attention.scores", "overflow", ("NaN", "infinity"), precisions=FLOAT16, weights=60.0),
    Fault("scores overflow, spatial encoder", replace(ATTENTIONS, "score", product_first),
          f"{S0}.attention.attention.scores", "overflow", ("NaN", "infinity"), model="m2", precisions=FLOAT16,
          weights=60.0),
    Fault("scores overflow, Model 3", replace(ATTENTIONS, "score", product_first),
          f"{L0}.temporal_attention.attention.scores", "overflow", ("NaN", "infinity"), model="m3",
          precisions=FLOAT16, weights=60.0),
    Fault("squares overflow in the layer norm", replace(r".*norm\d?", "forward", written_norm),
          f"{L0}.layernorm_after", "overflow", ("NaN", "infinity"), precisions=FLOAT16, weights=16.0),
    Fault("logits that overflow", after("head", lambda y: y * 1e6), "classifier", "a constant factor",
          ("overflow", "infinity"), precisions=FLOAT16),
    Fault("activations through int8", after(r"body\.blocks\.\d\.mlp\.act", through_int8), f"{L0}.intermediate",
          None, ("activations quantised",)),
    Fault("activations through float8", after(r"body\.blocks\.\d\.mlp\.fc1", through_float8),
          f"{L0}.intermediate.dense", None, ("activations quantised",)),
]  # fmt: skip
