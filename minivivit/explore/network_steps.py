"""The way of the data as a list: stages, and in each the steps that make one array of the trace from others.

A step names arrays as the trace does (`notebooks/trace_names.md`), so that whoever has the list and the trace can say
of every number what it is the sum of. Nothing is computed here.
"""

from typing import Any

from minivivit.config import VivitConfig
from minivivit.layers.factorised_self_attention_layer import AXES

Step = dict[str, Any]


def stages(config: VivitConfig, grid: tuple[int, int, int], interpolated: bool = False) -> list[dict[str, Any]]:
    """The stages of a classifier, from the clip to its logits.

    Parameters
    ----------
    config : VivitConfig
    grid : (times, rows, columns)
        Of the tokens that the clip becomes.
    interpolated : bool
        Whether the position embeddings are resampled; the array is then another.

    Returns
    -------
    list of dict
        ``{"id", "kind", "title", "space", "steps"}``. A space says what the rows of a stage's arrays are: ``"clip"``,
        [CLS and] all tubelets, time slowest; ``"frames"``, for each temporal index [CLS and] its tubelets;
        ``"moments"``, [CLS and] one token a temporal index; ``"one"``, a single row.
        A step is ``{"role", "kind", "out", "in", ...}``: kind is how ``out`` follows from the arrays ``in``
        (``"linear"``, ``"norm"``, ``"scores"``, ``"softmax"``, ``"mix"``, ``"sum"``, ``"activation"``, ``"pool"``),
        role what it is in the network, ``weight`` and ``bias`` name parameters.
    """
    if config.attention_type == "factorised_encoder":
        inner, last, space = _two_encoders(config)
    else:
        inner, last, space = _one_encoder(config, interpolated)
    pooled = "pre_logits" if config.representation_size is None else "pooling"
    method = config.classifier
    if config.attention_type == "factorised_encoder" and config.spatial_only_baseline:
        method = "gap"
    head: list[Step] = [{"role": "pooled", "kind": "pool", "out": pooled, "in": [last], "method": method}]
    if config.representation_size is not None:
        head += [
            _linear("representation", "pre_logits.dense", pooled, "pre_logits"),
            {"role": "tanh", "kind": "activation", "function": "tanh", "out": "pre_logits", "in": ["pre_logits.dense"]},
        ]
    head.append(_linear("logits", "classifier", "pre_logits", "classifier"))
    tokens = {
        "role": "tubelet",
        "kind": "linear",
        "out": "vivit.embeddings.patch_embeddings",
        "in": ["tubelets"],
        "weight": "vivit.embeddings.patch_embeddings.projection.weight",
        "bias": "vivit.embeddings.patch_embeddings.projection.bias",
    }
    return [
        {"id": "clip", "kind": "clip", "title": "Clip", "space": "clip", "steps": []},
        {"id": "tubelets", "kind": "tubelets", "title": "Tubelets", "space": "tubelets", "steps": [tokens]},
        *inner,
        {"id": "head", "kind": "head", "title": "Answer", "space": "one", "from": space, "steps": head},
    ]


def attentions(of: list[dict[str, Any]]) -> list[tuple[dict[str, Any], Step]]:
    """(stage, step) of every softmax over scores, in the order of execution."""
    return [(stage, step) for stage in of for step in stage["steps"] if step["role"] == "probs"]


def _one_encoder(config: VivitConfig, interpolated: bool) -> tuple[list[dict[str, Any]], str, str]:
    """Models 1, 3 and 4."""
    result = [_places(config, "vivit.embeddings", "vivit.embeddings.patch_embeddings", "", "clip", interpolated)]
    stream, factorised = "vivit.embeddings", config.attention_type == "factorised_self_attention"
    for number in range(config.num_hidden_layers):
        name = f"vivit.encoder.layer.{number}"
        steps = (_factorised_layer if factorised else _plain_layer)(config, name, stream)
        result.append(_layer(name, f"Layer {number}", "clip", steps))
        stream = name
    result.append(_final_norm("vivit.layernorm", stream, "clip", "Final norm", config))
    return result, "vivit.layernorm", "clip"


def _two_encoders(config: VivitConfig) -> tuple[list[dict[str, Any]], str, str]:
    """Model 2: the spatial encoder over the tubelets of each temporal index, then the temporal one over those."""
    result, last, space = [], "vivit.embeddings.patch_embeddings", "frames"
    depths = {"spatial": config.num_hidden_layers, "temporal": config.num_temporal_layers}
    if config.spatial_only_baseline:
        del depths["temporal"]
    for axis, depth in depths.items():
        space = "frames" if axis == "spatial" else "moments"
        encoder = f"vivit.{axis}_encoder"
        result.append(_places(config, f"{encoder}.embeddings", last, f"{axis.capitalize()}: ", space, False))
        result[-1]["parameters"] = encoder
        stream = f"{encoder}.embeddings"
        for number in range(depth):
            name = f"{encoder}.layer.{number}"
            title = f"{axis.capitalize()} layer {number}"
            steps = _plain_layer(config, name, stream, "spatial" if axis == "spatial" else "all")
            result.append(_layer(name, title, space, steps))
            stream = name
        result.append(_final_norm(f"{encoder}.layernorm", stream, space, f"{axis.capitalize()} norm", config))
        last = f"{encoder}.layernorm"
        if axis == "spatial":
            pooled = {"role": "pooled", "kind": "pool", "out": encoder, "in": [last], "method": config.classifier}
            result.append(
                {"id": encoder, "kind": "frames", "title": "One token a time", "space": "times", "steps": [pooled]}
            )
            last, space = encoder, "times"
    return result, last, space


def _places(config: VivitConfig, name: str, tokens: str, before: str, space: str, interpolated: bool) -> dict[str, Any]:
    parent = name.removesuffix(".embeddings") if "encoder" in name else name
    positions = "vivit.embeddings.interpolated_positions" if interpolated else f"{parent}.position_embeddings"
    step = {"role": "place", "kind": "place", "out": name, "in": [tokens], "positions": positions}
    if config.use_cls_token:
        step["cls"] = f"{parent}.cls_token"
    return {"id": name, "kind": "place", "title": f"{before}position".capitalize(), "space": space, "steps": [step]}


def _layer(name: str, title: str, space: str, steps: list[Step]) -> dict[str, Any]:
    return {"id": name, "kind": "layer", "title": title, "space": space, "steps": steps}


def _final_norm(name: str, stream: str, space: str, title: str, config: VivitConfig) -> dict[str, Any]:
    step = _norm("final norm", name, stream, name, config)
    return {"id": name, "kind": "norm", "title": title, "space": space, "steps": [step]}


def _plain_layer(config: VivitConfig, name: str, stream: str, axis: str | None = None) -> list[Step]:
    """x + MSA(LN(x)), then + MLP(LN(.)): Models 1, 2 and 4."""
    if axis is None:
        axis = "halves" if config.attention_type == "factorised_dot_product" else "all"
    branch = _attention(config, name, stream, f"{name}.layernorm_before", f"{name}.attention", axis)
    branch[-1]["out"] = f"{name}.attention_residual"
    return [*branch, *_mlp(config, name, f"{name}.attention_residual")]


def _factorised_layer(config: VivitConfig, name: str, stream: str) -> list[Step]:
    """Attention over one axis, then the other, then the MLP: Model 3."""
    steps: list[Step] = []
    for axis in AXES[config.attention_order]:
        branch = _attention(config, name, stream, f"{name}.layernorm_{axis}", f"{name}.{axis}_attention", axis)
        stream = f"{name}.{axis}_attention_residual"
        branch[-1]["out"] = stream
        steps += branch
    return [*steps, *_mlp(config, name, stream)]


def _attention(config: VivitConfig, layer: str, stream: str, norm: str, name: str, axis: str) -> list[Step]:
    inner, heads = f"{name}.attention", {"heads": config.num_attention_heads, "axis": axis}
    return [
        _norm("norm", norm, stream, norm, config),
        *(_linear(role, f"{inner}.{role}", norm, f"{inner}.{role}") | heads for role in ("query", "key", "value")),
        {"role": "scores", "kind": "scores", "out": f"{inner}.scores", "in": [f"{inner}.query", f"{inner}.key"]}
        | heads,
        {"role": "probs", "kind": "softmax", "out": f"{inner}.probs", "in": [f"{inner}.scores"]} | heads,
        {"role": "heads", "kind": "mix", "out": inner, "in": [f"{inner}.probs", f"{inner}.value"]} | heads,
        _linear("attention output", f"{name}.output.dense", inner, f"{name}.output.dense") | heads,
        {"role": "attention residual", "kind": "sum", "out": "", "in": [stream, f"{name}.output.dense"]},
    ]


def _mlp(config: VivitConfig, name: str, stream: str) -> list[Step]:
    return [
        _norm("MLP norm", f"{name}.layernorm_after", stream, f"{name}.layernorm_after", config),
        _linear("wide", f"{name}.intermediate.dense", f"{name}.layernorm_after", f"{name}.intermediate.dense"),
        {
            "role": "activation",
            "kind": "activation",
            "function": config.hidden_act,
            "out": f"{name}.intermediate",
            "in": [f"{name}.intermediate.dense"],
        },
        _linear("MLP output", f"{name}.output.dense", f"{name}.intermediate", f"{name}.output.dense"),
        {"role": "layer output", "kind": "sum", "out": name, "in": [stream, f"{name}.output.dense"]},
    ]


def _norm(role: str, out: str, stream: str, parameters: str, config: VivitConfig) -> Step:
    return {"role": role, "kind": "norm", "out": out, "in": [stream], "eps": config.layer_norm_eps} | _of(parameters)


def _linear(role: str, out: str, stream: str, parameters: str) -> Step:
    return {"role": role, "kind": "linear", "out": out, "in": [stream]} | _of(parameters)


def _of(parameters: str) -> dict[str, str]:
    return {"weight": f"{parameters}.weight", "bias": f"{parameters}.bias"}
