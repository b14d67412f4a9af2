"""Scenic's names and layouts for our parameters.

Every parameter is stored in both places with the same numbers, so that a table of three columns says it all: where it
is in scenic's tree, how to permute the axes of our array, and the shape that scenic then gives it. The inverse reads
the same table backwards, and gradients go through it as parameters do.

    ours                                  permuted                    scenic's
    weight (out, in)                      (in, out)                   kernel (in, out)
    query.weight (hidden, hidden)         transposed                  kernel (hidden, heads, head_size)
    query.bias (hidden,)                  as it is                    bias (heads, head_size)
    output.dense.weight (hidden, hidden)  transposed                  out/kernel (heads, head_size, hidden)
    projection.weight (d, c, t, h, w)     (t, h, w, c, d)             embedding/kernel, without t for frame sampling
"""

from typing import NamedTuple

from minivivit.backend import Array
from minivivit.config import VivitConfig
from minivivit.models.parameters import classification_shapes, flatten

# Parts of a parameter's name that scenic calls otherwise, in the transformer layers of Models 1, 2 and 4 ...
LAYER_NAMES = {
    "layernorm_before": "LayerNorm_0",
    "layernorm_after": "LayerNorm_1",
    "attention": "MultiHeadDotProductAttention_0",
    "mlp": "MlpBlock_0",
}
# ... and in those of Model 3.
FACTORISED_LAYER_NAMES = {
    "layernorm_temporal": "LayerNorm_time",
    "layernorm_spatial": "LayerNorm_space",
    "layernorm_after": "LayerNorm_mlp",
    "temporal_attention": "MultiHeadDotProductAttention_time",
    "spatial_attention": "MultiHeadDotProductAttention_space",
    "mlp": "MlpBlock",
}
# Our prefix of a stack of layers -> scenic's name of the encoder.
ENCODER_NAMES = {"spatial_encoder": "SpatialTransformer", "temporal_encoder": "TemporalTransformer"}


class ScenicParameter(NamedTuple):
    """One row of the table: `array.transpose(axes).reshape(shape)` is what scenic keeps under `path`."""

    path: tuple[str, ...]
    axes: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def name(self) -> str:
        """The path as scenic and its users write it."""
        return "/".join(self.path)

    def to_scenic(self, array: Array) -> Array:
        """Our layout to scenic's; a copy."""
        return array.transpose(self.axes).reshape(self.shape).copy()

    def from_scenic(self, array: Array, our_shape: tuple[int, ...]) -> Array:
        """Scenic's layout to ours, which has `our_shape`; a copy."""
        permuted = array.reshape([our_shape[axis] for axis in self.axes])
        inverse = [self.axes.index(axis) for axis in range(len(self.axes))]
        return permuted.transpose(inverse).copy()


def scenic_parameters(config: VivitConfig) -> dict[str, ScenicParameter]:
    """The table for a model: our flat name of each parameter -> its row.

    References
    ----------
    scenic ``projects/vivit/model.py`` (ViViT, SpaceTimeViViT, Encoder, EncoderBlock,
    EncoderFactorizedSelfAttentionBlock), ``model_lib/layers/attention_layers.py`` (MlpBlock) and flax's
    MultiHeadDotProductAttention.
    """
    shapes = flatten(classification_shapes(config))
    return {name: _row(name.removeprefix("vivit."), shape, config) for name, shape in shapes.items()}


def _row(name: str, shape: tuple[int, ...], config: VivitConfig) -> ScenicParameter:
    *parts, leaf = name.split(".")
    if name == "embeddings.patch_embeddings.projection.weight":
        frames, height, width = config.tubelet_size
        times = () if config.temporal_encoding == "frame_sampling" else (frames,)
        kernel = (*times, height, width, config.num_channels, config.hidden_size)
        return ScenicParameter(("embedding", "kernel"), (2, 3, 4, 1, 0), kernel)
    layer_names = FACTORISED_LAYER_NAMES if config.attention_type == "factorised_self_attention" else LAYER_NAMES
    path = (*_module(parts, leaf, layer_names), _leaf(parts, leaf))
    if leaf == "cls_token":
        path = ("cls",) if parts == ["embeddings"] else (f"cls_{ENCODER_NAMES[parts[0]]}",)
    axes = tuple(reversed(range(len(shape)))) if leaf == "weight" else tuple(range(len(shape)))
    scenic_shape = tuple(shape[axis] for axis in axes)
    heads = (config.num_attention_heads, config.hidden_size // config.num_attention_heads)
    if parts[-1] in ("query", "key", "value"):
        scenic_shape = (*scenic_shape[:-1], *heads)
    elif path[-2:] == ("out", "kernel"):
        scenic_shape = (*heads, scenic_shape[-1])
    return ScenicParameter(path, axes, scenic_shape)


def _leaf(parts: list[str], leaf: str) -> str:
    """weight is a kernel in a dense layer and a scale in a layer norm."""
    if leaf == "position_embeddings":
        return "pos_embedding"
    if leaf == "weight":
        return "scale" if parts[-1].startswith("layernorm") else "kernel"
    return leaf


def _module(parts: list[str], leaf: str, layer_names: dict[str, str]) -> tuple[str, ...]:
    """Scenic's path of the module that our `parts` name."""
    if parts[0] in ("classifier", "pre_logits"):
        return ("output_projection",) if parts[0] == "classifier" else ("pre_logits",)
    if parts[:2] == ["embeddings", "patch_embeddings"]:
        return ("embedding",)
    encoder = ENCODER_NAMES.get(parts[0], "Transformer")
    if leaf in ("position_embeddings", "cls_token"):
        return encoder, "posembed_input"
    if parts[-1] == "layernorm":
        return encoder, "encoder_norm"
    index = parts.index("layer")
    return encoder, f"encoderblock_{parts[index + 1]}", *_layer_module(parts[index + 2 :], layer_names)


def _layer_module(parts: list[str], names: dict[str, str]) -> tuple[str, ...]:
    """The same within a layer, such as attention.attention.query or output.dense."""
    if parts[0] in ("intermediate", "output"):
        return names["mlp"], "Dense_0" if parts[0] == "intermediate" else "Dense_1"
    if parts[0].startswith("layernorm"):
        return (names[parts[0]],)
    return names[parts[0]], "out" if parts[1] == "output" else parts[2]
