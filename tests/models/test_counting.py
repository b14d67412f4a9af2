"""Counts from shapes are what the models hold and what they compute."""

import math

import numpy
import pytest

from minivivit import backend
from minivivit.config import PRESETS, VivitConfig
from minivivit.models.classification import VivitForVideoClassification
from minivivit.models.counting import TABLE_2, count, table_2, total
from minivivit.models.parameters import classification_shapes, flatten

SMALL = {
    "image_size": [24, 16],
    "num_frames": 6,
    "tubelet_size": [2, 8, 4],
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 20,
    "num_temporal_layers": 2,
    "num_labels": 7,
}
MODELS = {
    "model 1": {},
    "model 1, gap and representation": {"classifier": "gap", "representation_size": 10},
    "model 1, no bias": {"qkv_bias": False},
    "model 1, frame sampling": {
        "temporal_encoding": "frame_sampling",
        "num_sampled_frames": 3,
        "tubelet_size": [1, 8, 4],
    },
    "model 2": {"attention_type": "factorised_encoder"},
    "model 2, gap": {"attention_type": "factorised_encoder", "classifier": "gap"},
    "model 2, average pool": {"attention_type": "factorised_encoder", "spatial_only_baseline": True},
    "model 3": {"attention_type": "factorised_self_attention"},
    "model 3, space first": {"attention_type": "factorised_self_attention", "attention_order": "space_time"},
    "model 4": {"attention_type": "factorised_dot_product", "classifier": "gmp"},
    "no classes": {"num_labels": 0},
    "no layers": {"num_hidden_layers": 0},
}


def config_of(name: str) -> VivitConfig:
    return VivitConfig(**{**SMALL, **MODELS[name]})


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_those_of_the_model(name):
    config = config_of(name)
    expected = sum(math.prod(shape) for shape in flatten(classification_shapes(config)).values())
    assert total(count(config))["parameters"] == expected == VivitForVideoClassification(config).num_parameters()


@pytest.mark.parametrize("name", MODELS)
def test_multiply_accumulates_are_those_of_the_matrix_products(name, monkeypatch):
    """Every matrix product of the package is a call of ``matmul``: add up what one forward pass asks of it."""
    config = config_of(name)
    model = VivitForVideoClassification(config, backend="numpy")
    calls, matmul = [], numpy.matmul

    def counting_matmul(x, y, **kwargs):
        result = matmul(x, y, **kwargs)
        calls.append(result.size * x.shape[-1])
        return result

    monkeypatch.setattr(numpy, "matmul", counting_matmul)
    monkeypatch.setattr(backend, "_scipy_blas", lambda: None)  # it would multiply where NumPy has no BLAS
    pixels = numpy.zeros((1, config.num_frames, 3, *config.frame_size))
    model(pixels)
    assert total(count(config))["multiply_accumulates"] == sum(calls)
    calls.clear()
    model(pixels, output_attentions=True)
    assert total(count(config))["multiply_accumulates"] == sum(calls)


def test_components_of_the_published_checkpoint():
    rows = {row.pop("component"): row for row in count(VivitConfig.from_preset("vivit-b-16x2"))}
    assert rows["tubelet embedding"]["parameters"] == 2 * 16 * 16 * 3 * 768 + 768
    assert rows["CLS token and position embeddings"]["parameters"] == (1 + 3137) * 768
    assert rows["attention projections"]["parameters"] == 12 * 4 * (768 * 768 + 768)
    assert rows["attention products"] == {"parameters": 0, "multiply_accumulates": 12 * 2 * 3137**2 * 768}
    assert rows["MLP"]["parameters"] == 12 * (2 * 768 * 3072 + 768 + 3072)
    assert rows["layer norms"] == {"parameters": 25 * 2 * 768, "multiply_accumulates": 0}
    assert rows["classifier"] == {"parameters": 400 * 769, "multiply_accumulates": 400 * 768}
    assert len(rows) == 7


def test_the_published_checkpoint_has_88_954_000_parameters():
    counted = total(count(VivitConfig.from_preset("vivit-b-16x2")))
    assert counted["parameters"] == 88_954_000
    assert abs(counted["multiply_accumulates"] / 455.2e9 - 1) < 0.01


def test_table_2_is_the_paper_s():
    rows = table_2()
    assert [row["model"] for row in rows] == [name for name, *_ in TABLE_2]
    for row, (_, _, parameters, multiply_accumulates) in zip(rows, TABLE_2, strict=True):
        assert abs(row["parameters"] / 1e6 - parameters) < 0.1
        assert abs(row["multiply_accumulates"] / 1e9 / multiply_accumulates - 1) < 0.01
        assert isinstance(row["parameters"], int)
        assert isinstance(row["multiply_accumulates"], int)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_be_counted(name):
    rows = count(VivitConfig.from_preset(name))
    assert all(row["parameters"] > 0 or "products" in row["component"] for row in rows)
