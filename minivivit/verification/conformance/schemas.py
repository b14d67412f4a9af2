"""JSON Schemas (draft 2020-12) of the JSON files in a conformance pack."""

from typing import Any

from minivivit.config import ATTENTION_TYPES
from minivivit.ops.activation import ACTIVATIONS
from minivivit.verification.tensors.error import PRECISIONS

DRAFT = "https://json-schema.org/draft/2020-12/schema"
COUNT: dict[str, Any] = {"type": "integer", "minimum": 1}
NUMBER: dict[str, Any] = {"type": "number", "minimum": 0}
TEXT: dict[str, Any] = {"type": "string"}
DIGEST: dict[str, Any] = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
CHOICES: dict[str, dict[str, Any]] = {
    "attention_type": {"enum": list(ATTENTION_TYPES)},
    "attention_order": {"enum": ["time_space", "space_time"]},
    "classifier": {"enum": ["token", "gap", "gmp", "gsp"]},
    "temporal_encoding": {"enum": ["tubelet", "frame_sampling"]},
    "hidden_act": {"enum": list(ACTIVATIONS)},
}


def index_schema() -> dict[str, Any]:
    """Of ``index.json``."""
    tensor = _object(
        {
            "file": TEXT,
            "shape": _list(COUNT),
            "dtype": {"const": "float64"},
            "order": {"type": "integer", "minimum": 0},
            "sha256": DIGEST,
        }
    )
    tensors = {"type": "object", "additionalProperties": tensor, "minProperties": 1}
    case = _object(
        {
            "description": TEXT,
            "config": TEXT,
            "labels": _list({"anyOf": [{"type": "integer"}, _list({"type": "integer"})]}),
            "weights": tensors,
            "tensors": tensors,
            "rounding_budgets": TEXT,
        }
    )
    pair = {**_list(NUMBER), "minItems": 2, "maxItems": 2}
    rule = _object({"factors": pair, "gradient_factors": pair, "noise_factors": pair, "noise": NUMBER})
    return {
        "$schema": DRAFT,
        "title": "index.json of a ViViT conformance pack",
        **_object(
            {
                "format": {"type": "string", "pattern": "^minivivit-conformance/[0-9]+$"},
                "versions": {"type": "object", "additionalProperties": TEXT},
                "rule": rule,
                "unit_roundoff": _object(dict.fromkeys(PRECISIONS, NUMBER)),
                "cases": {"type": "object", "additionalProperties": case, "minProperties": 1},
            }
        ),
    }


def config_schema() -> dict[str, Any]:
    """Of ``CASE/config.json``; other fields, which a port need not read, may be there."""
    sizes = {"image_size": 2, "tubelet_size": 3}
    fields: dict[str, Any] = {
        name: {**_list(COUNT), "minItems": number, "maxItems": number} for name, number in sizes.items()
    }
    fields["image_size"] = {"anyOf": [COUNT, fields["image_size"]]}
    names = ("num_frames", "num_channels", "hidden_size", "num_hidden_layers", "num_attention_heads")
    fields |= dict.fromkeys([*names, "intermediate_size"], COUNT) | CHOICES
    fields |= {
        "num_temporal_layers": {"anyOf": [COUNT, {"type": "null"}]},
        "num_sampled_frames": {"anyOf": [COUNT, {"type": "null"}]},
        "representation_size": {"anyOf": [COUNT, {"type": "null"}]},
        "layer_norm_eps": {"type": "number", "exclusiveMinimum": 0},
        "qkv_bias": {"type": "boolean"},
        "spatial_only_baseline": {"type": "boolean"},
        "id2label": {"type": "object", "additionalProperties": TEXT},
    }
    schema = _object(fields)
    del schema["additionalProperties"]
    return {"$schema": DRAFT, "title": "config.json of a ViViT", **schema}


def trace_schema() -> dict[str, Any]:
    """Of ``CASE/trace/trace.safetensors.index.json``: where the rounding budgets are."""
    budget = _object({"relative_l2": NUMBER, "max_abs": NUMBER, "rms": NUMBER})
    budgets = _object({precision: {"type": "object", "additionalProperties": budget} for precision in PRECISIONS})
    metadata = {
        "type": "object",
        "properties": {"format": TEXT, "rounding_budgets": budgets},
        "required": ["format", "rounding_budgets"],
    }
    weight_map = {"type": "object", "additionalProperties": TEXT}
    return {
        "$schema": DRAFT,
        "title": "the index of a trace",
        **_object({"metadata": metadata, "weight_map": weight_map}),
    }


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    """An object with these properties, all of them and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}
