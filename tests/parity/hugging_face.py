"""transformers' ViViTs as references: random configs, random weights, published names, and how errors are measured."""

import re
from typing import Any

import numpy

from minivivit.config import ACTIVATION_NAMES

# The names of transformers' modules, and those of the published checkpoint, in which it writes and we keep them.
PUBLISHED_NAMES = {
    r"layers\.(\d+)\.attention\.q_proj": r"encoder.layer.\1.attention.attention.query",
    r"layers\.(\d+)\.attention\.k_proj": r"encoder.layer.\1.attention.attention.key",
    r"layers\.(\d+)\.attention\.v_proj": r"encoder.layer.\1.attention.attention.value",
    r"layers\.(\d+)\.attention\.o_proj": r"encoder.layer.\1.attention.output.dense",
    r"layers\.(\d+)\.mlp\.fc1": r"encoder.layer.\1.intermediate.dense",
    r"layers\.(\d+)\.mlp\.fc2": r"encoder.layer.\1.output.dense",
    r"layers\.(\d+)\.layernorm": r"encoder.layer.\1.layernorm",
}


def published_name(name: str) -> str:
    """The name of a transformers parameter in the published checkpoint."""
    for pattern, replacement in PUBLISHED_NAMES.items():
        name = re.sub(pattern, replacement, name)
    return name


def random_settings(seed: int) -> dict[str, Any]:
    """A small random config; the activations take turns, so that eight seeds see all."""
    rng = numpy.random.default_rng(seed)
    heads = int(rng.integers(1, 5))
    tubelet = [int(size) for size in rng.integers(1, 5, 3)]
    grid = [int(size) for size in rng.integers(1, 5, 3)]
    frames, height, width = (t * n + int(rng.integers(0, t)) for t, n in zip(tubelet, grid, strict=True))
    hidden = heads * int(rng.integers(2, 9))
    return {
        "image_size": [height, width],
        "num_frames": frames,
        "tubelet_size": tubelet,
        "num_channels": int(rng.integers(1, 5)),
        "hidden_size": hidden,
        "num_hidden_layers": int(rng.integers(1, 4)),
        "num_attention_heads": heads,
        "intermediate_size": int(rng.integers(5, 50)),
        "hidden_act": ACTIVATION_NAMES[seed % len(ACTIVATION_NAMES)],
        "pooler_act": ACTIVATION_NAMES[(seed + 3) % len(ACTIVATION_NAMES)],
        "pooler_output_size": int(rng.integers(8, 20)),
        "layer_norm_eps": float(10 ** rng.uniform(-12, -2)),
        "qkv_bias": bool(rng.integers(0, 2)),
        "num_labels": int(rng.integers(2, 9)),
    }


def reference(cls: Any, config: Any, seed: int = 0, dtype: str = "float64", attention: str = "sdpa") -> Any:
    """A model of transformers with random values in every parameter: many start as 0, and hide mistakes."""
    import torch

    config._attn_implementation = attention
    model = cls(config).to(getattr(torch, dtype)).eval()
    rng = numpy.random.default_rng(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = rng.standard_normal(tuple(parameter.shape))
            values *= 0.3 if parameter.ndim == 1 else values[0].size ** -0.5
            if "layernorm" in name and name.endswith("weight"):
                values += 1
            if name.endswith(("cls_token", "position_embeddings")):
                values = 0.5 * rng.standard_normal(tuple(parameter.shape))
            parameter.copy_(torch.from_numpy(values))
    return model


def random_clip(config: Any, batch: int = 2, seed: int = 0) -> numpy.ndarray:
    """Random pixel values of a config's size, float64."""
    size = config.image_size if isinstance(config.image_size, list | tuple) else [config.image_size] * 2
    shape = (batch, config.num_frames, config.num_channels, *size)
    return numpy.random.default_rng(seed).standard_normal(shape)


def gradients_of(model: Any, pixels: Any) -> dict[str, numpy.ndarray]:
    """What the last `backward` left in the parameters and the pixels, under the published names."""
    gradients = {published_name(name): parameter.grad.numpy() for name, parameter in model.named_parameters()}
    return {**gradients, "pixel_values": pixels.grad.numpy()}


def relative_error(ours: Any, theirs: Any) -> float:
    """The largest difference, relative to the largest of the expected values."""
    ours, theirs = numpy.asarray(ours, dtype="float64"), numpy.asarray(theirs, dtype="float64")
    assert ours.shape == theirs.shape
    return float(numpy.abs(ours - theirs).max() / numpy.abs(theirs).max())


def largest_gradient_error(ours: dict, theirs: dict) -> float:
    """The largest relative error of any gradient.

    Relative to the larger of the tensor's own largest value and 1e-3 of the largest value of all: the gradient of a
    key projection's bias is 0 in exact arithmetic, and what a computer finds there is rounding.
    """
    assert ours.keys() == theirs.keys()
    floor = 1e-3 * max(numpy.abs(gradient).max() for gradient in theirs.values())
    errors = []
    for name, expected in theirs.items():
        assert ours[name].shape == expected.shape
        scale = max(float(numpy.abs(expected).max()), float(floor))
        errors.append(float(numpy.abs(ours[name] - expected).max()) / scale)
    return max(errors)
