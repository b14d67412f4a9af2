"""How many parameters a model has, and how many multiply-accumulates one clip costs, from shapes alone."""

import math

from minivivit.config import VivitConfig
from minivivit.models.parameters import classification_shapes, flatten

# What the paper's Table 2 says of ViViT-B/16x2 (millions of parameters, and "FLOPs" x 10^9, which are
# multiply-accumulates), in its order: name, fields of the config, the two figures.
TABLE_2: tuple[tuple[str, dict, float, float], ...] = (
    ("spatio_temporal", {"attention_type": "spatio_temporal"}, 88.9, 455.2),
    ("factorised_encoder", {"attention_type": "factorised_encoder", "num_temporal_layers": 4}, 115.1, 284.4),
    ("factorised_self_attention", {"attention_type": "factorised_self_attention"}, 117.3, 372.3),
    ("factorised_dot_product", {"attention_type": "factorised_dot_product"}, 88.9, 277.1),
    ("average_pool", {"attention_type": "factorised_encoder", "spatial_only_baseline": True}, 86.7, 283.9),
)


def count(config: VivitConfig) -> list[dict]:
    r"""Parameters and multiply-accumulates of `VivitForVideoClassification`, by component.

    A multiply-accumulate is one product that is added to a sum. Counted are those of the matrix products, for one clip
    of the configured size, forward:

    - a weight of a linear map (the tubelet embedding is one) serves once for every token that it maps, so a matrix of
      m x n numbers costs m n multiply-accumulates a token;
    - attention costs two more products, :math:`Q K^\top` and :math:`P V`. Over all heads they come to 2 hidden for
      every pair of tokens of which one attends to the other, the CLS token among them.

    Biases, layer norms, activations, softmax and residual sums are not matrix products and count nothing: together they
    are under 1 %. Two FLOPs are one multiply-accumulate; the paper's "FLOPs" are multiply-accumulates.

    Parameters
    ----------
    config : VivitConfig

    Returns
    -------
    list of dict
        ``{"component": str, "parameters": int, "multiply_accumulates": int}``, in the order in which a clip meets them.
        The parameters sum to those of the model.

    References
    ----------
    The paper's Table 2, with which `table_2` compares.
    """
    rows: dict[str, list[int]] = {}
    tokens, pairs = _tokens(config), _attention_pairs(config)
    for name, shape in flatten(classification_shapes(config)).items():
        component = _component(name)
        row = rows.setdefault(component, [0, 0])
        row[0] += math.prod(shape)
        if name.endswith("weight") and len(shape) > 1:
            row[1] += math.prod(shape) * tokens[_stage(component)]
        if name.endswith("attention.query.weight"):  # once for each attention
            kind = component.removesuffix("attention projections")
            rows.setdefault(f"{kind}attention products", [0, 0])[1] += 2 * config.hidden_size * pairs[kind]
    return [
        {"component": component, "parameters": parameters, "multiply_accumulates": multiply_accumulates}
        for component, (parameters, multiply_accumulates) in rows.items()
    ]


def total(rows: list[dict]) -> dict[str, int]:
    """The sums over the rows of `count`: ``{"parameters": int, "multiply_accumulates": int}``."""
    return {name: sum(row[name] for row in rows) for name in ("parameters", "multiply_accumulates")}


def table_2() -> list[dict]:
    """The paper's Table 2 from our own counts: ViViT-B/16x2, 400 classes, 32 frames of 224 x 224.

    Returns
    -------
    list of dict
        ``{"model": str, "parameters": int, "multiply_accumulates": int}``. A model is named by its `attention_type`,
        the baseline that averages the frames' representations ``"average_pool"``.
    """
    configs = [(name, VivitConfig.from_preset("vivit-b-16x2", **fields)) for name, fields, _, _ in TABLE_2]
    return [{"model": name, **total(count(config))} for name, config in configs]


def _component(name: str) -> str:
    """The component that a parameter belongs to, by its name."""
    for head in ("classifier", "pre_logits"):
        if name.startswith(head):
            return {"classifier": "classifier", "pre_logits": "representation layer"}[head]
    if "patch_embeddings" in name:
        return "tubelet embedding"
    encoder = next((f"{axis} encoder: " for axis in ("spatial", "temporal") if f"{axis}_encoder" in name), "")
    if name.endswith(("cls_token", "position_embeddings")):
        return f"{encoder}CLS token and position embeddings"
    if "layernorm" in name:
        return f"{encoder}layer norms"
    axis = next((f"{axis} " for axis in ("spatial", "temporal") if f"{axis}_attention" in name), "")
    return f"{encoder}{axis}attention projections" if "attention" in name else f"{encoder}MLP"


def _stage(component: str) -> str:
    """Where in the network a component stands: a key of `_tokens`."""
    if component in ("classifier", "representation layer", "tubelet embedding"):
        return component
    return component.partition(":")[0] if ":" in component else "encoder"


def _tokens(config: VivitConfig) -> dict[str, int]:
    """How many tokens each part of the network maps, for one clip."""
    times, rows, columns = config.grid_size
    places, cls = rows * columns, int(config.use_cls_token)
    return {
        "tubelet embedding": times * places,
        "encoder": times * places + cls,
        "spatial encoder": times * (places + cls),
        "temporal encoder": times + cls,
        "representation layer": 1,
        "classifier": 1,
    }


def _attention_pairs(config: VivitConfig) -> dict[str, int]:
    """How many pairs of tokens attend, in one layer with all its heads, by what stands before "attention products"."""
    times, rows, columns = config.grid_size
    places, cls = rows * columns, int(config.use_cls_token)
    over_time, over_space = places * times**2, times * places**2
    if config.attention_type == "factorised_encoder":
        spatial = {"spatial encoder: ": times * (places + cls) ** 2}
        return spatial if config.spatial_only_baseline else {**spatial, "temporal encoder: ": (times + cls) ** 2}
    if config.attention_type == "factorised_self_attention":
        return {"temporal ": over_time, "spatial ": over_space}
    if config.attention_type == "factorised_dot_product":
        # Half of the heads, so half of the hidden size, each. The sum, times * places * (times + places), is even.
        return {"": (over_time + over_space) // 2}
    return {"": (times * places + cls) ** 2}
