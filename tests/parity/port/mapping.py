"""Which of the port's tensors is which of ours: the mapping that a porter would write by hand."""

from collections.abc import Iterable
from functools import cache
from typing import Any

from .models import Setting, our_trace
from .network import grid

Mapping = dict[str, Any]


def _flat(theirs: str, tokens: int | None, width: int) -> Any:
    """Theirs has leading axes (batch, times) where ours has one."""
    return theirs if tokens is None else {"name": theirs, "layout": f"reshape(-1, {tokens}, {width})"}


def _attention(ours: str, theirs: str, tokens: int | None, heads: int, hidden: int) -> Mapping:
    """`tokens` of a sequence where theirs has more leading axes than ours; None where it has as many."""
    mapping: Mapping = {}
    for index, part in enumerate(("query", "key", "value")):
        layout = f"qkv[{index}]" if tokens is None else f"reshape(-1, {tokens}, 3, {hidden}) take(2, {index})"
        mapping[f"{ours}.attention.{part}"] = {"name": f"{theirs}.qkv", "layout": layout}
    for part in ("scores", "probs"):
        layout = {} if tokens is None else {"layout": f"reshape(-1, {heads}, {tokens}, {tokens})"}
        mapping[f"{ours}.attention.{part}"] = {"name": f"{theirs}.{part}", **layout}
    split = "heads split"
    if tokens is not None:
        size = hidden // heads
        split = f"reshape(-1, {heads}, {tokens}, {size}) transpose(0, 2, 1, 3) reshape(-1, {tokens}, {hidden})"
    mapping[f"{ours}.attention"] = {"name": f"{theirs}.context", "layout": split}
    return mapping | {f"{ours}.output.dense": _flat(f"{theirs}.proj", tokens, hidden)}


def _mlp(ours: str, theirs: str, tokens: int | None, hidden: int, wide: int) -> Mapping:
    return {
        f"{ours}.layernorm_after": _flat(f"{theirs}.norm2", tokens, hidden),
        f"{ours}.intermediate.dense": _flat(f"{theirs}.mlp.fc1", tokens, wide),
        f"{ours}.intermediate": _flat(f"{theirs}.mlp.act", tokens, wide),
        f"{ours}.output.dense": _flat(f"{theirs}.mlp.fc2", tokens, hidden),
        ours: _flat(theirs, tokens, hidden),
    }


def _encoder(ours: str, layers: str, theirs: str, tokens: int | None, sizes: dict) -> Mapping:
    """Model 1, and each half of Model 2."""
    hidden, heads, wide = sizes["hidden_size"], sizes["num_attention_heads"], sizes["intermediate_size"]
    ours_n, theirs_n = f"{layers}.layer.{{N}}", f"{theirs}.blocks.{{N}}"
    return {
        f"{ours}.embeddings.with_cls_token": _flat(f"{theirs}.cat", tokens, hidden),
        f"{ours}.embeddings": _flat(f"{theirs}.tokens", tokens, hidden),
        f"{ours_n}.layernorm_before": _flat(f"{theirs_n}.norm1", tokens, hidden),
        **_attention(f"{ours_n}.attention", f"{theirs_n}.attn", tokens, heads, hidden),
        f"{ours_n}.attention_residual": _flat(f"{theirs_n}.mid", tokens, hidden),
        **_mlp(ours_n, theirs_n, tokens, hidden, wide),
        f"{ours}.layernorm": _flat(f"{theirs}.norm", tokens, hidden),
    }


def _divided(sizes: dict) -> Mapping:
    hidden, heads, wide = sizes["hidden_size"], sizes["num_attention_heads"], sizes["intermediate_size"]
    (times, places), layer = grid(sizes), "vivit.encoder.layer.{N}"
    tokens, block = times * places, "blocks.{N}"
    return {
        "vivit.embeddings": _flat("tokens", tokens, hidden),
        f"{layer}.layernorm_temporal": _flat(f"{block}.norm_t", tokens, hidden),
        **_attention(f"{layer}.temporal_attention", f"{block}.attn_t", times, heads, hidden),
        f"{layer}.temporal_attention_residual": _flat(f"{block}.mid_t", tokens, hidden),
        f"{layer}.layernorm_spatial": _flat(f"{block}.norm_s", tokens, hidden),
        **_attention(f"{layer}.spatial_attention", f"{block}.attn_s", places, heads, hidden),
        f"{layer}.spatial_attention_residual": _flat(f"{block}.mid_s", tokens, hidden),
        **_mlp(layer, block, tokens, hidden, wide),
        "vivit.layernorm": _flat("norm", tokens, hidden),
        "pre_logits": "pooled",
    }


def _values(setting: Setting) -> Mapping:
    """Of the forward pass."""
    common: Mapping = {
        "pixel_values": {"name": "video", "layout": "channels first"},
        "vivit.embeddings.patch_embeddings": {"name": "embed.proj", "layout": "find"},
        "classifier": "head",
    }
    sizes = setting.sizes
    if setting.kind == "m1":
        return common | _encoder("vivit", "vivit.encoder", "body", None, sizes) | {"pre_logits": "body.pooled"}
    if setting.kind == "m3":
        return common | _divided(sizes)
    space, time = "vivit.spatial_encoder", "vivit.temporal_encoder"
    return (
        common
        | _encoder(space, space, "space", 1 + grid(sizes)[1], sizes)
        | {space: "space.pooled"}
        | _encoder(time, time, "time", None, sizes)
        | {"pre_logits": "time.pooled"}
    )


def _parameters(setting: Setting) -> Mapping:
    """Gradients of the parameters: as the weights are renamed, query, key and value merged."""
    from .models import RENAMED

    hidden, mapping = setting.sizes["hidden_size"], {}
    for name in our_trace(setting).shapes:
        parameter = name.removeprefix("gradient.")
        if parameter == name or not (parameter.endswith((".weight", ".bias", "_token", "position_embeddings"))):
            continue
        theirs = parameter
        for ours, other in RENAMED:
            theirs = theirs.replace(ours, other)
        theirs = theirs if setting.kind == "m1" else theirs.replace("body.", "")
        layout = ""
        for index, part in enumerate(("query", "key", "value")):
            if f".{part}." in theirs:
                shape = f"3, {hidden}, {hidden}" if theirs.endswith("weight") else f"3, {hidden}"
                theirs, layout = theirs.replace(part, "qkv"), f"reshape({shape}) take(0, {index})"
        if setting.kind == "m3" and theirs == "pos":
            layout = f"reshape(1, {grid(setting.sizes)[0] * grid(setting.sizes)[1]}, {hidden})"
        mapping[name] = {"name": f"d_{theirs}", "layout": layout} if layout else f"d_{theirs}"
    return mapping


@cache
def full_mapping(setting: Setting) -> Mapping:
    """Everything."""
    values, names = _values(setting), our_trace(setting).shapes
    slopes: Mapping = {}
    for ours, theirs in values.items():
        if f"gradient.{ours}".replace("{N}", "0") in names:
            renamed = f"d_{theirs}" if isinstance(theirs, str) else theirs | {"name": f"d_{theirs['name']}"}
            slopes[f"gradient.{ours}"] = renamed
    return values | slopes | _parameters(setting)


def mapping_of(setting: Setting, recorded: Iterable[str]) -> Mapping:
    """The lines of it whose tensors were recorded."""
    recorded = set(recorded)

    def name_of(theirs: Any) -> str:
        return (theirs if isinstance(theirs, str) else theirs["name"]).replace("{N}", "0")

    return {ours: theirs for ours, theirs in full_mapping(setting).items() if name_of(theirs) in recorded}
