"""Small models and clips that the tests of this folder share."""

from typing import Any

import numpy

from minivivit import VivitConfig, VivitForVideoClassification

# The config of transformers' own tests of its ViViT: a frame of 10 pixels that tubelets of 4 do not divide.
SMALL: dict[str, Any] = {
    "image_size": 10,
    "num_frames": 8,
    "tubelet_size": [2, 4, 4],
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 37,
    "num_temporal_layers": 1,
    "num_labels": 3,
}
MODELS = {
    1: "spatio_temporal",
    2: "factorised_encoder",
    3: "factorised_self_attention",
    4: "factorised_dot_product",
}


def small_config(model: int = 1, **changes: Any) -> VivitConfig:
    """A config of one of the paper's models."""
    return VivitConfig(**{**SMALL, "attention_type": MODELS[model], **changes})


def fill(model: Any, seed: int = 0) -> Any:
    """Give every parameter a random value: many start as 0, and what multiplies 0 is not tested."""
    rng = numpy.random.default_rng(seed)
    for name, array in model.state_dict().items():
        array[...] = rng.standard_normal(array.shape) * (0.3 if array.ndim == 1 else array[0].size ** -0.5)
        if "layernorm" in name and name.endswith("weight"):
            array += 1
        if name.endswith(("cls_token", "position_embeddings")):
            array[...] = 0.5 * rng.standard_normal(array.shape)
    return model


def small_model(model: int = 1, cls: Any = VivitForVideoClassification, dtype: str = "float64", **changes: Any) -> Any:
    """A model on NumPy with random parameters."""
    return fill(cls(small_config(model, **changes), dtype=dtype, backend="numpy"))


def clip_for(config: VivitConfig, batch: int = 2, seed: int = 1, size: tuple[int, int, int] | None = None) -> Any:
    """Random pixel values, of the config's size or of `size` (frames, height, width), float64."""
    frames, height, width = size or (config.num_frames, *config.frame_size)
    rng = numpy.random.default_rng(seed)
    return rng.standard_normal((batch, frames, config.num_channels, height, width))
