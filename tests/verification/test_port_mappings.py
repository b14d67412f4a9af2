"""Mappings of a port with other conventions, in a few lines each: Models 1, 2 and 3, all of it or its layers alone.

The port keeps clips with channels first, the output of a convolution, times and places as axes of their own, query, key
and value in one tensor and heads apart. Its values are made here from ours, by names and axes alone.
"""

from pathlib import Path

import numpy
import pytest

from minivivit.config import VivitConfig
from minivivit.errors import InputError
from minivivit.verification.comparison.mapping import read_mapping
from minivivit.verification.comparison.other_shape import why_another_shape
from minivivit.verification.comparison.verdict import compare
from minivivit.verification.conformance.pack import case_model
from minivivit.verification.tensors.source import ArraySource
from minivivit.verification.tracing.recording import record_pass

BATCH, TIMES, PLACES, HEADS, HIDDEN = 2, 3, 4, 2, 12
SMALL = {
    "image_size": [8, 8],
    "num_frames": 6,
    "tubelet_size": [2, 4, 4],
    "hidden_size": HIDDEN,
    "num_hidden_layers": 2,
    "num_temporal_layers": 2,
    "num_attention_heads": HEADS,
    "intermediate_size": 20,
    "num_labels": 5,
}
KINDS = {
    "model1": "spatio_temporal",
    "model2": "factorised_encoder",
    "model3": "factorised_self_attention",
}
PARTS = {
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "layernorm_temporal": "norm_t",
    "layernorm_spatial": "norm_s",
    "attention_residual": "mid",
    "temporal_attention_residual": "mid_t",
    "spatial_attention_residual": "mid_s",
    "intermediate.dense": "mlp.fc1",
    "intermediate": "mlp.act",
    "output.dense": "mlp.fc2",
    "": "",
}
ATTENTIONS = {"attention": "attn", "temporal_attention": "attn_t", "spatial_attention": "attn_s"}
OUTSIDE = {
    "vivit.spatial_encoder.embeddings.with_cls_token": "space.cat",
    "vivit.temporal_encoder.embeddings.with_cls_token": "time.cat",
    "vivit.spatial_encoder.embeddings": "space.tokens",
    "vivit.temporal_encoder.embeddings": "time.tokens",
    "vivit.spatial_encoder.layernorm": "space.norm",
    "vivit.temporal_encoder.layernorm": "time.norm",
    "vivit.spatial_encoder": "space.out",
    "vivit.embeddings.with_cls_token": "cat",
    "vivit.embeddings": "tokens",
    "vivit.layernorm": "norm",
    "pre_logits": "pooled",
    "classifier": "head",
}


def traced(kind):
    """Our trace of a small model: as a source with metadata."""
    config = VivitConfig(**SMALL, attention_type=KINDS[kind])
    model, pixels, _ = case_model(config)
    trace: dict = {}
    record_pass(model, pixels, trace)
    metadata = {"config": config.to_dict(), "gradients": False}
    return ArraySource({name: numpy.array(value) for name, value in trace.items()}, metadata)


def folded(array, kind):
    """Ours with times and places as axes of their own: of a sequence of either, or of both."""
    if kind == "model1" or array.shape[0] not in (BATCH * TIMES, BATCH * PLACES):
        return array.reshape(BATCH, TIMES, PLACES, -1) if array.shape[1:-1] == (TIMES * PLACES,) else array
    return array.reshape(BATCH, -1, *array.shape[1:])


def recorded(ours, kind):
    """What the port would record."""
    values = {name: ours.read(name) for name in ours.shapes}
    theirs = {"video": values["pixel_values"].swapaxes(1, 2)}
    grid = values["vivit.embeddings.patch_embeddings"].reshape(BATCH, TIMES, 2, 2, HIDDEN)
    theirs["embed.proj"] = grid.transpose(0, 4, 1, 2, 3)
    stages = {"vivit.encoder.": "", "vivit.spatial_encoder.": "space.", "vivit.temporal_encoder.": "time."}
    outside = OUTSIDE | ({"pre_logits": "time.out"} if kind == "model2" else {})
    for name, value in values.items():
        if name in outside:
            theirs[outside[name]] = value if value.ndim == 2 or kind == "model1" else folded(value, kind)
            continue
        stage = next((stage for stage in stages if name.startswith(f"{stage}layer.")), None)
        if stage is None:
            continue
        number, _, part = name.removeprefix(f"{stage}layer.").partition(".")
        block = f"{stages[stage]}blocks.{number}"
        own = folded(value, kind) if kind != "model1" else value
        attention, _, within = part.partition(".")
        if part in PARTS:
            theirs[f"{block}.{PARTS[part]}".rstrip(".")] = own
        elif within in ("attention.scores", "attention.probs"):
            theirs[f"{block}.{ATTENTIONS[attention]}.{within.rpartition('.')[2]}"] = own
        elif within == "output.dense":
            theirs[f"{block}.{ATTENTIONS[attention]}.proj"] = own
        elif within == "attention":
            apart = own.reshape(*own.shape[:-1], HEADS, -1).swapaxes(-2, -3)
            theirs[f"{block}.{ATTENTIONS[attention]}.context"] = apart
            three = [folded(values[f"{name}.{p}"], kind) for p in ("query", "key", "value")]
            theirs[f"{block}.{ATTENTIONS[attention]}.qkv"] = numpy.concatenate(three, axis=-1)
    return theirs


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("coarse", [False, True])
def test_a_mapping_of_a_few_lines_pairs_everything(kind, coarse):
    mapping = read_mapping(Path(__file__).parent / "mappings" / f"{kind}.json")
    assert len(mapping) <= 13
    ours = traced(kind)
    theirs = recorded(ours, kind)
    if coarse:  # the same mapping, for layers alone
        theirs = {name: value for name, value in theirs.items() if not {"attn", "mlp"} & set(name.split("."))}
    comparison = compare(ours, theirs, mapping=mapping, rtol=0, atol=0)
    assert comparison.agrees, comparison.verdict
    assert comparison.unpaired_theirs == []
    if not coarse:
        assert comparison.unpaired_ours == []
        assert comparison.notes == []
        assert any(
            row.their_shape is not None and len(row.their_shape) == len(row.shape) + 1 for row in comparison.rows
        )
    elif kind != "model3":
        assert "theirs lacks" in comparison.notes[0]


def test_where_no_layout_leads_to_our_shape_the_line_says_what_looks_exchanged():
    """Query, key and value as (tokens, clips, 3 * hidden), of a port that forgot batch_first."""
    mapping = {"vivit.encoder.layer.0.attention.attention.query": {"name": "qkv", "layout": "qkv[0]"}}
    ours = traced("model1")
    theirs = {"qkv": recorded(ours, "model1")["blocks.0.attn.qkv"].swapaxes(0, 1)}
    expected = (
        r"'qkv': layout 'qkv\[0\]' makes \(13, 2, 12\) of \(13, 2, 36\), but ours is \(2, 13, 12\); axes 0 and 1 of "
        r"theirs look exchanged: \(tokens, batch, features\)$"
    )
    with pytest.raises(InputError, match=expected):
        compare(ours, theirs, mapping=mapping, rtol=0)


def test_a_shape_that_follows_from_a_mistake_does_not_hide_it():
    """The temporal attention over places: folded by the mapping as if over times, until the scores do not fit."""
    mapping = read_mapping(Path(__file__).parent / "mappings" / "model3.json")
    ours = traced("model3")
    theirs = recorded(ours, "model3")
    layer = "vivit.encoder.layer.0.temporal_attention.attention"
    mapping |= {
        f"{layer}.query": {"name": "blocks.0.attn_t.qkv", "layout": f"reshape(-1, {TIMES}, 3, {HIDDEN}) take(2, 0)"}
    }
    mapping |= {
        f"{layer}.scores": {"name": "blocks.0.attn_t.scores", "layout": f"reshape(-1, {HEADS}, {TIMES}, {TIMES})"}
    }
    scores = numpy.zeros((BATCH, TIMES, HEADS, PLACES, PLACES))
    exchanged = theirs | {"blocks.0.attn_t.scores": scores}
    message = "theirs has sequences of 4, over places, where ours has sequences of 3, over times: space and time look"
    with pytest.raises(InputError, match=message):
        compare(ours, exchanged, mapping=mapping, rtol=0)
    exchanged["blocks.0.attn_t.qkv"] = exchanged["blocks.0.attn_t.qkv"].swapaxes(1, 2)
    comparison = compare(ours, exchanged, mapping=mapping, rtol=0)
    assert comparison.first_divergent is not None
    assert comparison.first_divergent.name == f"{layer}.query"
    assert next(row.status for row in comparison.rows if row.name == f"{layer}.scores") == "shape"
    misspelt = mapping | {f"{layer}.scores": {"name": "blocks.0.attn_t.scores", "layout": "rotated"}}
    with pytest.raises(InputError, match="is no layout"):
        compare(ours, exchanged, mapping=misspelt, rtol=0)


@pytest.mark.parametrize(
    ("name", "shape", "goal", "words"),
    [
        ("a.layer.0", (5, 2, 8), (2, 5, 8), "; axes 0 and 1 of theirs look exchanged: (tokens, batch, features)"),
        (
            "a.scores",
            (2, 5, 4, 5),
            (2, 4, 5, 5),
            "; axes 1 and 2 of theirs look exchanged: (batch, queries, heads, keys)",
        ),
        ("gradient.a.weight", (4, 8), (8, 4), "; axes 0 and 1 of theirs look exchanged: (inputs, outputs)"),
        ("x", (4, 8, 1, 1, 1, 1), (8, 4, 1, 1, 1, 1), "; axes 0 and 1 of theirs look exchanged"),
        ("a.spatial_attention.attention.query", (2, 4, 3, 12), (6, 4, 12), "; theirs has sequences of 3, over times"),
        ("a.spatial_attention.attention.query", (2, 4, 7, 12), (6, 4, 12), ""),
        ("a.layer.0", (2, 5, 9), (2, 5, 8), ""),
        ("a.layer.0", (), (2, 5, 8), ""),
    ],
)
def test_what_looks_exchanged(name, shape, goal, words):
    found = why_another_shape(name, shape, goal, VivitConfig(**SMALL, attention_type=KINDS["model3"]).to_dict())
    assert found.startswith(words)
    assert bool(found) == bool(words)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_is_found_through_it(kind):
    """Query and key exchanged in one layer, in the merged tensor: the first that differs is that layer's query."""
    mapping = read_mapping(Path(__file__).parent / "mappings" / f"{kind}.json")
    ours = traced(kind)
    theirs = recorded(ours, kind)
    name = next(name for name in theirs if name.endswith("blocks.1.attn.qkv") or name.endswith("blocks.1.attn_t.qkv"))
    query, key, value = numpy.split(theirs[name], 3, axis=-1)
    theirs[name] = numpy.concatenate([key, query, value], axis=-1)
    first = compare(ours, theirs, mapping=mapping, rtol=0, atol=0).first_divergent
    assert first is not None
    assert first.name.endswith("layer.1.attention.attention.query") or first.name.endswith(
        "layer.1.temporal_attention.attention.query"
    )
