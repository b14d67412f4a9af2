"""What transformers 5.23 and PyTorch 2.13 computed in float64 (tests/data/transformers): outputs to 1e-12,
gradients to 1e-10, twelve steps of SGD and AdamW (global norm clipped to 1) to 1e-9."""

import shutil
from functools import cache
from pathlib import Path

import numpy
import pytest

from minivivit.models.classification import VivitForVideoClassification
from minivivit.models.vivit import VivitModel
from minivivit.training.optimisers.adamw import AdamW
from minivivit.training.optimisers.clipping import clip_by_global_norm
from minivivit.training.optimisers.sgd import SGD

DATA = Path(__file__).parent / "data" / "transformers"
GOLDENS = ("tiny", "rectangular_no_qkv_bias")
STEPS = 12


@cache
def golden(name):
    with numpy.load(DATA / name / "golden.npz") as file:
        return dict(file)


def load(name, cls=VivitForVideoClassification, directory=""):
    return cls.from_pretrained(DATA / name / directory, dtype="float64", backend="numpy")


def relative_error(ours, theirs):
    assert ours.shape == theirs.shape
    assert ours.dtype == numpy.float64
    return abs(ours - theirs).max() / abs(theirs).max()


@pytest.fixture(params=GOLDENS)
def name(request):
    return request.param


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_outputs(name, weights, tmp_path):
    for file in ("config.json", weights):
        shutil.copy(DATA / name / file, tmp_path)
    model = VivitForVideoClassification.from_pretrained(tmp_path, dtype="float64", backend="numpy")
    z = golden(name)
    out = model(z["pixel_values"], labels=z["labels"], output_hidden_states=True, output_attentions=True)
    assert relative_error(out.logits, z["logits"]) < 1e-12
    assert abs(out.loss - z["loss"]) / z["loss"] < 1e-12
    for kind in ("hidden_states", "attentions"):
        names = [key for key in z if key.startswith(f"{kind}/")]
        assert len(out[kind]) == len(names) == model.config.num_hidden_layers + (kind == "hidden_states")
        for index, array in enumerate(out[kind]):
            assert relative_error(array, z[f"{kind}/{index}"]) < 1e-12, (kind, index)


def test_blockwise_attention_gives_the_same_logits(name):
    """Without output_attentions the other of the two attentions runs."""
    z = golden(name)
    assert relative_error(load(name)(z["pixel_values"]).logits, z["logits"]) < 1e-12


def test_bare_model_and_pooler(name):
    z = golden(name)
    out = load(name, VivitModel, "base_model")(z["pixel_values"])
    assert relative_error(out.last_hidden_state, z["base/last_hidden_state"]) < 1e-12
    assert relative_error(out.pooler_output, z["base/pooler_output"]) < 1e-12


@pytest.mark.parametrize("gradient_checkpointing", [False, True])
def test_gradients(name, gradient_checkpointing):
    z = golden(name)
    model = load(name)
    loss, gradients = model.loss_and_gradients(
        z["pixel_values"], z["labels"], gradient_checkpointing=gradient_checkpointing
    )
    assert abs(loss - z["loss"]) / z["loss"] < 1e-12
    theirs = {key.removeprefix("grad/"): array for key, array in z.items() if key.startswith("grad/")}
    assert gradients.keys() == theirs.keys() == {*model.state_dict(), "pixel_values"}
    largest = max(abs(array).max() for array in theirs.values())
    for parameter, array in theirs.items():
        # a key bias's gradient is zero but for rounding, so errors count relative to 1e-3 of the largest at least
        scale = max(abs(array).max(), 1e-3 * largest)
        assert abs(gradients[parameter] - array).max() / scale < 1e-10, parameter


@pytest.mark.parametrize("optimiser_name", ["sgd", "adamw"])
def test_training_curves(name, optimiser_name):
    z = golden(name)
    model = load(name)
    parameters = model.state_dict()
    if optimiser_name == "sgd":
        optimiser, learning_rate = SGD(parameters, momentum=0.9), 0.05
    else:
        optimiser, learning_rate = AdamW(parameters, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05), 1e-3
    losses = []
    for _ in range(STEPS):
        loss, gradients = model.loss_and_gradients(z["pixel_values"], z["labels"])
        del gradients["pixel_values"]
        clip_by_global_norm(gradients, 1.0)
        optimiser.step(gradients, learning_rate)
        losses.append(loss)
    assert relative_error(numpy.array(losses), z[f"train/{optimiser_name}_losses"]) < 1e-9
    weight = model.state_dict()["classifier.weight"]
    assert relative_error(weight, z[f"train/{optimiser_name}_final_classifier_weight"]) < 1e-9
