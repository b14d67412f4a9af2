"""The same small models, ours and the port: their configs, weights that hide nothing or are fresh, and clips."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy
import torch

from minivivit import VivitConfig, VivitForVideoClassification
from minivivit.verification.rounding.budget import rounding_budgets
from minivivit.verification.tensors.source import ArraySource
from minivivit.verification.tracing.recording import record_pass

from .network import Divided, Factorised, Joint

# Square frames and projections, and as many times as rows, columns and heads: so many of the mistakes raise no error.
SIZES: dict[str, Any] = {
    "image_size": (32, 32),
    "num_frames": 8,
    "tubelet_size": (2, 8, 8),
    "num_channels": 3,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_temporal_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "num_labels": 48,
    "layer_norm_eps": 1e-6,
}
KINDS = {
    "m1": ("spatio_temporal", Joint),
    "m2": ("factorised_encoder", Factorised),
    "m3": ("factorised_self_attention", Divided),
}
# Parameters that run along the residual stream.
ALONG_THE_STREAM = ("layernorm.weight", "layernorm_before.weight", "layernorm_after.weight", "position_embeddings")
PRECISIONS = ("float32", "float16", "bfloat16")
LABELS = (3, 7)

# Our names to theirs, in turn.
RENAMED = (
    ("vivit.embeddings.patch_embeddings.projection", "embed.proj"),
    ("vivit.spatial_encoder.layer.", "space.blocks."),
    ("vivit.temporal_encoder.layer.", "time.blocks."),
    ("vivit.spatial_encoder.", "space."),
    ("vivit.temporal_encoder.", "time."),
    ("vivit.embeddings.", "body."),
    ("vivit.encoder.layer.", "body.blocks."),
    ("vivit.layernorm", "body.norm"),
    ("position_embeddings", "pos"),
    ("cls_token", "cls"),
    ("layernorm_before", "norm1"),
    ("layernorm_after", "norm2"),
    ("layernorm_temporal", "norm_t"),
    ("layernorm_spatial", "norm_s"),
    ("layernorm", "norm"),
    ("temporal_attention.output.dense", "attn_t.proj"),
    ("spatial_attention.output.dense", "attn_s.proj"),
    ("attention.output.dense", "attn.proj"),
    ("temporal_attention.attention", "attn_t"),
    ("spatial_attention.attention", "attn_s"),
    ("attention.attention", "attn"),
    ("intermediate.dense", "mlp.fc1"),
    ("output.dense", "mlp.fc2"),
    ("classifier", "head"),
)


@dataclass(frozen=True)
class Setting:
    """Which model, with which weights, on which clips.

    Attributes
    ----------
    kind : {"m1", "m2", "m3"}
    fresh : bool
        Weights as they are initialised, in place of ones that hide nothing.
    weights : float
        By which matrices are multiplied: 8 saturates the attention.
    outliers : float
        By which two features of every norm and of the positions are multiplied.
    clips : {"moving", "black", "still"}
    changes : tuple of (name, value)
        To the config.
    seed : int
    """

    kind: str = "m1"
    fresh: bool = False
    weights: float = 1.0
    outliers: float = 1.0
    clips: str = "moving"
    changes: tuple[tuple[str, Any], ...] = ()
    seed: int = 7

    @property
    def sizes(self) -> dict[str, Any]:
        """Of the config."""
        return SIZES | dict(self.changes)


@cache
def our_model(setting: Setting, dtype: str = "float64") -> VivitForVideoClassification:
    """Ours."""
    config = VivitConfig(
        **{name: value for name, value in setting.sizes.items() if name != "num_labels"},
        attention_type=KINDS[setting.kind][0] if setting.kind in KINDS else "factorised_dot_product",
        id2label={index: f"class {index}" for index in range(setting.sizes["num_labels"])},
    )
    model = VivitForVideoClassification(config, dtype="float32", backend="numpy", seed=setting.seed)
    state, rng = model.state_dict(), numpy.random.default_rng(setting.seed)
    if not setting.fresh:
        state = {name: revealing(name, value, rng) for name, value in sorted(state.items())}
    if setting.weights != 1:
        state = {name: value * (setting.weights if value.ndim == 2 else 1) for name, value in state.items()}
    if setting.outliers != 1:
        for name in [name for name in state if name.endswith(ALONG_THE_STREAM)]:
            state[name] = numpy.concatenate([state[name][..., :2] * setting.outliers, state[name][..., 2:]], -1)
    if dtype != "float32":
        model = VivitForVideoClassification(config, dtype=dtype, backend="numpy")
    model.load_state_dict(state)
    return model


def revealing(name: str, value: numpy.ndarray, rng: numpy.random.Generator) -> numpy.ndarray:
    """Weights that hide no mistake: no bias and no position is 0, no norm's weight is 1."""
    noise = rng.standard_normal(value.shape).astype("float32")
    if "layernorm" in name and name.endswith("weight"):
        return 1 + 0.3 * noise
    if name.endswith("bias"):
        return 0.2 * noise
    if "position" in name or "cls_token" in name:
        return 0.5 * noise
    return noise * numpy.float32(1.2 / numpy.prod(value.shape[1:]) ** 0.5)


def port_state(setting: Setting) -> dict[str, torch.Tensor]:
    """Our weights under the port's names, query, key and value merged."""
    theirs: dict[str, torch.Tensor] = {}
    for name, value in our_model(setting, "float32").state_dict().items():
        for ours, other in RENAMED:
            name = name.replace(ours, other)
        theirs[name if setting.kind == "m1" else name.replace("body.", "")] = torch.from_numpy(numpy.array(value))
    for name in [name for name in theirs if ".query." in name]:
        parts = [theirs.pop(name.replace("query", part)) for part in ("query", "key", "value")]
        theirs[name.replace("query", "qkv")] = torch.cat(parts)
    return theirs


def port_model(setting: Setting, dtype: str = "float32") -> torch.nn.Module:
    """The port, with our weights."""
    model, state = KINDS[setting.kind][1](setting.sizes), port_state(setting)
    if setting.kind == "m3":
        state["pos"] = state["pos"].view_as(model.pos)
    model.load_state_dict(state)
    return model.to(getattr(torch, dtype)).eval()


@cache
def frames(setting: Setting) -> numpy.ndarray:
    """Two clips as they were decoded, with 2 pixels around what is cropped: (2, frames, height + 4, width + 4, 3)."""
    rng, sizes = numpy.random.default_rng(setting.seed), setting.sizes
    height, width = (size + 4 for size in sizes["image_size"])
    t, y, x = numpy.meshgrid(*map(numpy.arange, (sizes["num_frames"], height, width)), indexing="ij")
    if setting.clips == "black":
        return numpy.zeros((2, *t.shape, 3), "uint8")
    t = t * (setting.clips != "still")
    clips = [
        [
            127 + 60 * numpy.sin(x / (3 + b) + t / 2 + k) + 40 * numpy.cos(y / 4 - t / 3 + 2 * k)
            + rng.normal(0, 12, x.shape if setting.clips != "still" else x.shape[1:])
            for k in range(3)
        ]
        for b in range(2)
    ]  # fmt: skip
    return numpy.clip(numpy.moveaxis(numpy.array(clips), 1, -1).round(), 0, 255).astype("uint8")


def crop(clips: numpy.ndarray, top: int = 2, left: int = 2) -> numpy.ndarray:
    """(batch, frames, channels, height, width) out of the middle."""
    height, width = clips.shape[2] - 4, clips.shape[3] - 4
    return numpy.moveaxis(clips[:, :, top : top + height, left : left + width], -1, 2)


def normalised(clips: numpy.ndarray) -> numpy.ndarray:
    """To [-3, 1], in float64 of what float32 holds, so that all precisions start from the same numbers."""
    return (clips / 63.75 - 3).astype("float32").astype("float64")


def pixel_values(setting: Setting) -> numpy.ndarray:
    """What all models take."""
    return normalised(crop(frames(setting)))


@cache
def our_trace(setting: Setting, gradients: bool = True) -> ArraySource:
    """Our float64 run with its rounding budgets, as `minivivit trace` makes it with and without --gradients."""
    if not gradients:
        whole = our_trace(setting)
        values = {name: value for name, value in whole.arrays.items() if not name.startswith("gradient.")}
        return ArraySource(values, whole.metadata)
    model, pixels, labels = our_model(setting), pixel_values(setting), numpy.array(LABELS)
    store = Copies()
    record_pass(model, model.checked_pixels(pixels), store, labels=labels, gradients=True)
    source = ArraySource(store, {"labels": labels.tolist(), "config": model.config.to_dict()})
    budgets = rounding_budgets(model, pixels, source, PRECISIONS, labels=labels, gradients=True)
    # As a trace's index holds them: JSON has no infinity.
    largest = numpy.finfo("float64").max
    source.metadata["rounding_budgets"] = {
        precision: {name: {key: min(value, largest) for key, value in budget.items()} for name, budget in each.items()}
        for precision, each in budgets.items()
    }
    return source


class Copies(dict):
    """Layers may go on with the arrays that they recorded."""

    def __setitem__(self, name: str, array: Any) -> None:
        super().__setitem__(name, numpy.array(array))
