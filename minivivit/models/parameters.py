"""The parameters of a model: their names and shapes, their first values, and flat names for their tree."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy

from minivivit.backend import Array
from minivivit.config import VivitConfig

# A tree of plain dicts whose leaves are arrays, or shapes.
Tree = dict[str, Any]


def model_shapes(config: VivitConfig, add_pooling_layer: bool = False) -> Tree:
    """Names and shapes of the parameters of `VivitModel`, as a tree.

    The names of Model 1 are those of the published checkpoint ``google/vivit-b-16x2-kinetics400``.
    """
    hidden = config.hidden_size
    times, rows, columns = config.grid_size
    projection = {"weight": (hidden, config.num_channels, *config.tubelet_size), "bias": (hidden,)}
    embeddings: Tree = {"patch_embeddings": {"projection": projection}}
    shapes: Tree
    if config.attention_type == "factorised_encoder":
        spatial = _encoder_shapes(config, rows * columns, config.num_hidden_layers)
        shapes = {"embeddings": embeddings, "spatial_encoder": spatial}
        if not config.spatial_only_baseline:
            shapes["temporal_encoder"] = _encoder_shapes(config, times, config.num_temporal_layers)
    else:
        embeddings.update(_place_shapes(config, times * rows * columns))
        layers = {str(layer): _layer_shapes(config) for layer in range(config.num_hidden_layers)}
        shapes = {"embeddings": embeddings, "encoder": {"layer": layers}, "layernorm": _norm_shapes(hidden)}
    if add_pooling_layer:
        shapes["pooler"] = {"dense": _linear_shapes(hidden, config.pooler_output_size)}
    return shapes


def classification_shapes(config: VivitConfig) -> Tree:
    """Names and shapes of the parameters of `VivitForVideoClassification`, as a tree."""
    shapes: Tree = {"vivit": model_shapes(config)}
    width = config.hidden_size
    if config.representation_size is not None:
        shapes["pre_logits"] = _linear_shapes(width, config.representation_size)
        width = config.representation_size
    if config.num_labels > 0:
        shapes["classifier"] = _linear_shapes(width, config.num_labels)
    return shapes


def initial_parameters(shapes: Tree, config: VivitConfig, rng: numpy.random.Generator, dtype: Any, xp: Any) -> Tree:
    r"""Draw first values as transformers does.

    Weights of linear maps and of the tubelet embedding are normal with mean 0 and standard deviation
    `initializer_range`; biases, position embeddings and the CLS token are 0, the scales of layer norms 1. The draws are
    made in float32 on the CPU whatever the model's dtype and device, so that one seed gives one model.
    """

    def draw(name: str, shape: tuple[int, ...]) -> Array:
        if name.endswith(("cls_token", "position_embeddings", "bias")):
            values = numpy.zeros(shape, dtype=dtype)
        elif "layernorm" in name:
            values = numpy.ones(shape, dtype=dtype)
        else:
            values = rng.standard_normal(shape, dtype=numpy.float32)
            values *= numpy.float32(config.initializer_range)
            values = values.astype(dtype, copy=False)
        return xp.asarray(values)

    return unflatten({name: draw(name, shape) for name, shape in flatten(shapes).items()})


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flat dotted names for the leaves of a tree: ``{"a": {"b": x}}`` becomes ``{"a.b": x}``."""
    return dict(_leaves(tree, prefix))


def unflatten(flat: Mapping[str, Any]) -> Tree:
    """Undo `flatten`."""
    tree: Tree = {}
    for name, leaf in flat.items():
        *branches, last = name.split(".")
        node = tree
        for branch in branches:
            node = node.setdefault(branch, {})
        node[last] = leaf
    return tree


def map_tree(function: Callable[[Any], Any], tree: Tree) -> Tree:
    """Apply `function` to every leaf."""
    return {name: map_tree(function, node) if isinstance(node, dict) else function(node) for name, node in tree.items()}


def _leaves(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, node in tree.items():
        if isinstance(node, Mapping):
            yield from _leaves(node, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", node


def _linear_shapes(inputs: int, outputs: int, bias: bool = True) -> Tree:
    return {"weight": (outputs, inputs), "bias": (outputs,)} if bias else {"weight": (outputs, inputs)}


def _norm_shapes(hidden: int) -> Tree:
    return {"weight": (hidden,), "bias": (hidden,)}


def _place_shapes(config: VivitConfig, tokens: int) -> Tree:
    """CLS token, where there is one, and position embeddings."""
    shapes: Tree = {"cls_token": (1, 1, config.hidden_size)} if config.use_cls_token else {}
    return {**shapes, "position_embeddings": (1, tokens + int(config.use_cls_token), config.hidden_size)}


def _attention_shapes(config: VivitConfig) -> Tree:
    hidden = config.hidden_size
    projections = {name: _linear_shapes(hidden, hidden, config.qkv_bias) for name in ("query", "key", "value")}
    return {"attention": projections, "output": {"dense": _linear_shapes(hidden, hidden)}}


def _layer_shapes(config: VivitConfig) -> Tree:
    hidden = config.hidden_size
    if config.attention_type == "factorised_self_attention":
        attentions = {
            "layernorm_temporal": _norm_shapes(hidden),
            "temporal_attention": _attention_shapes(config),
            "layernorm_spatial": _norm_shapes(hidden),
            "spatial_attention": _attention_shapes(config),
        }
    else:
        attentions = {"layernorm_before": _norm_shapes(hidden), "attention": _attention_shapes(config)}
    return {
        **attentions,
        "layernorm_after": _norm_shapes(hidden),
        "intermediate": {"dense": _linear_shapes(hidden, config.intermediate_size)},
        "output": {"dense": _linear_shapes(config.intermediate_size, hidden)},
    }


def _encoder_shapes(config: VivitConfig, tokens: int, num_layers: int) -> Tree:
    """One of the two encoders of Model 2."""
    return {
        **_place_shapes(config, tokens),
        "layer": {str(layer): _layer_shapes(config) for layer in range(num_layers)},
        "layernorm": _norm_shapes(config.hidden_size),
    }
