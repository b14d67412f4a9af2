"""`notebooks/vivit_one_page.py` is the package's Model 1, number for number."""

import ast
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
from model_cases import tiny_model

import minivivit
from minivivit import VivitConfig, VivitForVideoClassification
from minivivit.training.optimisers.adamw import AdamW
from minivivit.training.optimisers.decay import decays

PAGE = Path(__file__).parent.parent / "notebooks" / "vivit_one_page.py"
BUNDLED = Path(minivivit.__file__).parent / "bundled" / "motion_model"
TOLERANCE = 1e-12

specification = importlib.util.spec_from_file_location("vivit_one_page", PAGE)
one_page = importlib.util.module_from_spec(specification)
specification.loader.exec_module(one_page)

SMALL = {
    "image_size": 8,
    "num_frames": 4,
    "tubelet_size": (2, 4, 4),
    "num_channels": 3,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "num_labels": 5,
}
CASES = {
    "small": ({}, 2),
    "one clip, one layer, one head": ({"num_hidden_layers": 1, "num_attention_heads": 1}, 1),
    "three layers, a head a feature": ({"num_hidden_layers": 3, "num_attention_heads": 12}, 3),
    "more than ten layers": ({"num_hidden_layers": 11}, 2),
    "no axis like another": (
        {"image_size": (12, 10), "num_frames": 9, "tubelet_size": (3, 4, 5), "num_channels": 2, "num_labels": 3},
        4,
    ),
    "one tubelet": ({"tubelet_size": (4, 8, 8), "num_channels": 1}, 2),
}


def case(name):
    """(model, pixel_values, labels), in float64, with no parameter at zero."""
    changes, batch = CASES[name]
    config = VivitConfig(**{**SMALL, **changes})
    rng = numpy.random.default_rng(len(name))
    model = tiny_model(config, rng)
    shape = (batch, config.num_frames, config.num_channels, *config.frame_size)
    return model, rng.standard_normal(shape), rng.integers(config.num_labels, size=batch)


def copied_parameters(model):
    return {name: array.copy() for name, array in model.state_dict().items()}


def relative_difference(ours, theirs):
    return numpy.linalg.norm(ours - theirs) / numpy.linalg.norm(theirs)


@pytest.mark.parametrize("name", CASES)
def test_logits_and_loss(name):
    model, clips, labels = case(name)
    params, heads = copied_parameters(model), model.config.num_attention_heads
    expected = model(clips, labels=labels)
    loss, _ = one_page.loss_and_gradients(clips, labels, params, heads)
    for keep_caches in (True, False):
        logits, _ = one_page.vivit_forward(clips, params, heads, keep_caches)
        assert logits.dtype == numpy.float64
        assert relative_difference(logits, expected.logits) < TOLERANCE
    assert abs(loss - expected.loss) < TOLERANCE * expected.loss


@pytest.mark.parametrize("name", CASES)
def test_every_gradient(name):
    model, clips, labels = case(name)
    _, expected = model.loss_and_gradients(clips, labels)
    params, heads = copied_parameters(model), model.config.num_attention_heads
    _, gradients = one_page.loss_and_gradients(clips, labels, params, heads)
    assert gradients.keys() == expected.keys()
    for parameter, gradient in gradients.items():
        assert gradient.shape == expected[parameter].shape
        scale = expected[parameter]
        if parameter.endswith("key.bias"):  # exactly 0 but for rounding (see softmax_backward): beside its weight's
            scale = expected[parameter.replace("bias", "weight")]
        difference = numpy.linalg.norm(gradient - expected[parameter])
        assert difference < TOLERANCE * numpy.linalg.norm(scale), parameter


@pytest.mark.parametrize("name", CASES)
def test_one_step_of_the_optimiser(name):
    """From the pixels to the parameters after one step of AdamW, each with its own gradients.

    The gradient of a key's bias is 0, and what both compute is rounding, which AdamW would divide by itself or by eps:
    a coin for the bias, blown up 1e8 times. The step gets the 0.
    """
    model, clips, labels = case(name)
    params, heads = copied_parameters(model), model.config.num_attention_heads
    _, gradients = one_page.loss_and_gradients(clips, labels, params, heads)
    _, expected = model.loss_and_gradients(clips, labels)
    del expected["pixel_values"]
    for parameter in params:
        if parameter.endswith("key.bias"):
            gradients[parameter][...] = expected[parameter][...] = 0
    one_page.adamw_step(params, gradients, {}, lr=1e-3, weight_decay=0.1)
    AdamW(model.state_dict(), weight_decay=0.1, decay_rule=decays).step(expected, 1e-3)
    for parameter, array in model.state_dict().items():
        assert numpy.abs(params[parameter] - array).max() < TOLERANCE, parameter


def test_many_steps_of_the_optimiser():
    """Given the same gradients, moments and corrections stay together too."""
    model, _, _ = case("small")
    params, state, rng = copied_parameters(model), {}, numpy.random.default_rng(0)
    optimiser = AdamW(model.state_dict(), betas=(0.8, 0.95), eps=1e-6, weight_decay=0.3, decay_rule=decays)
    for step in range(1, 21):
        gradients = {name: rng.standard_normal(array.shape) for name, array in params.items()}
        one_page.adamw_step(params, gradients, state, 0.1 / step, beta1=0.8, beta2=0.95, eps=1e-6, weight_decay=0.3)
        optimiser.step(gradients, 0.1 / step)
    for name, array in model.state_dict().items():
        assert relative_difference(params[name], array) < TOLERANCE, name


def test_initial_parameters_are_those_of_a_model():
    params = one_page.initial_parameters(
        numpy.random.default_rng(0), clip=(4, 3, 8, 8), tubelet=(2, 4, 4), D=12, F=20, num_layers=2, num_labels=5
    )
    model = VivitForVideoClassification(VivitConfig(**SMALL), backend="numpy")
    assert {name: array.shape for name, array in params.items()} == {
        name: array.shape for name, array in model.state_dict().items()
    }
    model.load_state_dict(params)


def test_a_model_s_directory_is_read_by_hand():
    params = one_page.load(BUNDLED)
    model = VivitForVideoClassification.from_pretrained(BUNDLED, backend="numpy")
    assert params.keys() == model.state_dict().keys()
    for name, array in model.state_dict().items():
        assert params[name].dtype == numpy.float32
        assert numpy.array_equal(params[name], array), name
    config = model.config
    clip = numpy.random.default_rng(0).standard_normal((1, config.num_frames, 3, *config.frame_size), numpy.float32)
    logits, _ = one_page.vivit_forward(clip, params, config.num_attention_heads, keep_caches=False)
    assert logits.dtype == numpy.float32
    assert relative_difference(logits, model(clip).logits) < 1e-5


@pytest.mark.parametrize("damage", ["truncated", "other dtype", "other shape"])
def test_a_damaged_file_is_refused(tmp_path, damage):
    shutil.copy(BUNDLED / "model.safetensors", tmp_path)
    path = tmp_path / "model.safetensors"
    content = path.read_bytes()
    if damage == "truncated":
        content = content[:-4]
    elif damage == "other dtype":
        content = content.replace(b'"dtype":"F32"', b'"dtype":"I32"', 1)
    else:
        start = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:start])
        header["classifier.bias"]["shape"][0] -= 1
        text = json.dumps(header).encode()
        content = len(text).to_bytes(8, "little") + text + content[start:]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"not float32, or not in the file|cannot reshape"):
        one_page.load(tmp_path)


def test_it_is_one_page_of_numpy():
    text = PAGE.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    assert max(map(len, text.splitlines())) <= 120
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.partition(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"numpy"}


@pytest.mark.thorough
def test_it_runs_and_learns():
    run = subprocess.run([sys.executable, PAGE], capture_output=True, text=True, check=True)
    agreement = re.search(r"^(\d+) gradients against finite differences: they agree to (\S+)$", run.stdout, re.M)
    assert int(agreement[1]) == 2 * 16 + 2 + 3 * 2 + 1  # layers, CLS and positions, three pairs, pixels
    assert float(agreement[2]) < 1e-7
    losses = [float(loss) for loss in re.findall(r"^step +\d+ +loss (\S+)$", run.stdout, re.M)]
    assert losses[0] > 1
    assert losses[-1] < 0.1
    assert float(re.search(r"^([\d.]+)% of 256 new clips", run.stdout, re.M)[1]) > 95
    assert run.stderr == ""
