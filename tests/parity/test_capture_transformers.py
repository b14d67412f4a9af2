"""Capturing from transformers: dtypes, what is left behind, and what is refused."""

import sys

import numpy
import pytest

from minivivit import InputError
from minivivit.verification.tracing.capture_transformers import capture_transformers, published_name

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from hugging_face import random_clip, random_settings, reference  # noqa: E402

SETTINGS = {**random_settings(0), "num_hidden_layers": 2, "num_labels": 3}


def classifier(dtype="float32", attention="sdpa", **changes):
    config = transformers.VivitConfig(**{**SETTINGS, **changes})
    return reference(transformers.VivitForVideoClassification, config, 0, dtype, attention)


def hooks(model):
    return [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules() if m is not None]


@pytest.mark.parametrize(
    ("dtype", "stored"),
    [("float64", "float64"), ("float32", "float32"), ("float16", "float16"), ("bfloat16", "float32")],
)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_dtypes(dtype, stored, attention):
    model = classifier(dtype, attention)
    pixels = random_clip(model.config)
    trace = capture_transformers(model, pixels, labels=[0, 2], gradients=True)
    assert {array.dtype.name for array in trace.values()} == {stored}
    assert all(type(array) is numpy.ndarray and numpy.isfinite(array).all() for array in trace.values())
    assert ("vivit.encoder.layer.1.attention.attention.probs" in trace) == (attention == "eager")
    with torch.no_grad():
        outputs = model(torch.from_numpy(pixels).to(model.dtype), labels=torch.tensor([0, 2]))
    assert numpy.array_equal(trace["classifier"], outputs.logits.double().numpy())
    assert trace["loss"] == outputs.loss.double().item()
    parameters = {f"gradient.{published_name(name)}" for name, _ in model.named_parameters()}
    assert parameters <= set(trace)


def test_values_are_copies():
    """Nothing that happens to the model or the input afterwards changes the trace."""
    model = classifier()
    pixels = torch.from_numpy(random_clip(model.config)).float()
    trace = capture_transformers(model, pixels)
    before = {name: array.copy() for name, array in trace.items()}
    with torch.no_grad():
        pixels.zero_()
        for parameter in model.parameters():
            parameter.zero_()
    assert all(numpy.array_equal(trace[name], array) for name, array in before.items())
    assert before["pixel_values"].any()


def test_the_model_is_left_as_it_was():
    model = classifier()
    none = hooks(model)
    assert not any(none)
    own = [torch.full_like(parameter, 7) for parameter in model.parameters()]
    for parameter, gradient in zip(model.parameters(), own, strict=True):
        parameter.grad = gradient
    pixels = torch.from_numpy(random_clip(model.config)).float()
    capture_transformers(model, pixels, labels=[0, 1], gradients=True)
    with pytest.raises(InputError, match="refuses the input: Input image size"):
        capture_transformers(model, pixels[..., :-1], labels=[0, 1], gradients=True)
    assert hooks(model) == none
    assert all(p.grad is gradient and bool((gradient == 7).all()) for p, gradient in zip(model.parameters(), own))  # noqa: B905
    assert not pixels.requires_grad
    assert not model.training
    assert torch.is_grad_enabled()


def test_a_store_that_refuses_what_is_large():
    class Store(dict):
        def wants(self, name):
            return name.endswith("layer.1.attention.attention.probs")

    store = Store()
    model = classifier(attention="eager")
    assert capture_transformers(model, random_clip(model.config), store=store) is store
    assert [name for name in store if name.endswith(("scores", "probs"))] == [
        "vivit.encoder.layer.1.attention.attention.probs"
    ]


def test_frozen_parameters_have_no_gradient():
    model = classifier()
    model.vivit.requires_grad_(False)
    trace = capture_transformers(model, random_clip(model.config), labels=[0, 1], gradients=True)
    assert "gradient.classifier.weight" in trace
    assert "gradient.vivit.layernorm.weight" not in trace
    assert trace["gradient.pixel_values"].any()


@pytest.mark.parametrize("rate", ["hidden_dropout_prob", "attention_probs_dropout_prob"])
def test_training_mode(rate):
    model = classifier(**{rate: 0.1})
    pixels = random_clip(model.config)
    capture_transformers(model, pixels)
    with pytest.raises(InputError, match=r"call model\.eval\(\)"):
        capture_transformers(model.train(), pixels)
    model = classifier().train()
    capture_transformers(model, pixels, labels=[0, 1], gradients=True)
    assert model.training


def test_activation_checkpointing_changes_nothing():
    model = classifier().train()
    pixels = random_clip(model.config)
    expected = capture_transformers(model, pixels, labels=[0, 1], gradients=True)
    model.activation_checkpointing_enable()
    trace = capture_transformers(model, pixels, labels=[0, 1], gradients=True)
    assert list(trace) == list(expected)
    assert all(numpy.array_equal(trace[name], expected[name]) for name in trace)


def test_a_layer_that_runs_twice_is_named():
    model = classifier()
    model.vivit.layers[1] = model.vivit.layers[0]
    with pytest.raises(InputError, match=r"computes vivit\.encoder\.layer\.0\.layernorm_before twice"):
        capture_transformers(model, random_clip(model.config))
    assert not any(hooks(model))


def test_what_cannot_be_captured():
    model = classifier()
    bare = reference(transformers.VivitModel, model.config)
    pixels = random_clip(model.config)
    for refused, message in [
        (lambda: capture_transformers("model", pixels), "expected a VivitModel or VivitForVideoClassification"),
        (lambda: capture_transformers(torch.nn.Linear(2, 3), pixels), "Linear is no ViViT"),
        (lambda: capture_transformers(model, pixels[0]), "expected .batch, frames, channels, height, width"),
        (lambda: capture_transformers(model, pixels, gradients=True), "pass labels"),
        (lambda: capture_transformers(bare, pixels, labels=[0, 1]), "VivitModel has none"),
        (lambda: capture_transformers(model, "clip"), "pixel_values makes no tensor"),
        (lambda: capture_transformers(model, pixels, labels=[9, 9]), "refuses the input"),
    ]:
        with pytest.raises(InputError, match=message) as caught:
            refused()
        assert "\n" not in str(caught.value)


def test_without_torch(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    with pytest.raises(InputError, match="expected a VivitModel"):
        capture_transformers(object(), numpy.zeros((1, 2, 3, 4, 4)))
