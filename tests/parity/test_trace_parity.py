"""The must: our trace and that of transformers' model agree tensor by tensor, values and gradients, in float64."""

import re

import numpy
import pytest

from minivivit import VivitForVideoClassification, VivitModel
from minivivit.config import ACTIVATION_NAMES
from minivivit.verification.tracing.capture_transformers import capture_transformers
from minivivit.verification.tracing.recording import record_pass

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from hugging_face import largest_gradient_error, random_clip, random_settings, reference, relative_error  # noqa: E402

# What our trace has and transformers' model does not compute, by its attention; a pattern for the names -> the reason.
ATTENTION = r"(vivit\.)?encoder\.layer\.\d+\.attention\.attention"
NOT_COMPUTED = {
    "sdpa": {
        rf"{ATTENTION}\.scores": "the fused kernel never forms the scores",
        rf"{ATTENTION}\.probs": "the fused kernel never forms the probabilities",
    },
    "exact": {},
}
SETTINGS = [random_settings(seed) for seed in range(8)]


def exact_attention(module, query, key, value, attention_mask, scaling, **kwargs):
    """transformers' eager attention, which rounds its softmax to float32, without that rounding."""
    probs = torch.softmax(query @ key.mT * scaling, dim=-1)
    return (probs @ value).transpose(1, 2).contiguous(), probs


@pytest.fixture(autouse=True)
def _quiet():
    """No progress bars, one thread, and an attention that is explicit and in float64."""
    transformers.logging.disable_progress_bar()
    transformers.AttentionInterface.register("exact", exact_attention)
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)
    del transformers.AttentionInterface._global_mapping["exact"]


def both(cls, settings, attention, tmp_path, seed):
    """The same model here and there."""
    theirs = reference(
        getattr(transformers, cls.__name__), transformers.VivitConfig(**settings), seed, "float64", attention
    )
    theirs.save_pretrained(tmp_path)
    return cls.from_pretrained(tmp_path, dtype="float64", backend="numpy"), theirs


def check_names(ours, theirs, attention):
    """The same names in the same order, but for those that their attention does not compute."""
    absent = [name for name in ours if name not in theirs]
    patterns = NOT_COMPUTED[attention]
    for name in absent:
        assert any(re.fullmatch(pattern, name) for pattern in patterns), f"transformers' trace lacks {name}"
    for pattern in patterns:
        assert any(re.fullmatch(pattern, name) for name in absent), f"{pattern} need not be excepted"
    assert [name for name in ours if name not in absent] == list(theirs)


@pytest.mark.parametrize("attention", NOT_COMPUTED)
@pytest.mark.parametrize("seed", range(len(SETTINGS)))
def test_every_value_and_gradient(seed, attention, tmp_path):
    ours, theirs = both(VivitForVideoClassification, SETTINGS[seed], attention, tmp_path, seed)
    pixels = random_clip(ours.config, seed=seed)
    labels = numpy.random.default_rng(seed).integers(0, ours.config.num_labels, len(pixels))
    expected = capture_transformers(theirs, pixels, labels=labels, gradients=True)
    trace = {}
    record_pass(ours, pixels, trace, labels=labels, gradients=True)
    check_names(trace, expected, attention)
    assert {array.dtype.name for array in expected.values()} == {"float64"}
    parameters = [f"gradient.{name}" for name in ours.state_dict()]
    for name in [name for name in expected if name not in parameters]:
        tolerance = 1e-10 if name.startswith("gradient.") else 1e-12
        assert relative_error(trace[name], expected[name]) < tolerance, name
    assert largest_gradient_error(*({name: of[name] for name in parameters} for of in (trace, expected))) < 1e-10


@pytest.mark.parametrize("attention", NOT_COMPUTED)
def test_bare_model(attention, tmp_path):
    ours, theirs = both(VivitModel, SETTINGS[1], attention, tmp_path, 1)
    pixels = random_clip(ours.config)
    expected = capture_transformers(theirs, pixels)
    assert "pooler.dense" in expected
    trace = {}
    record_pass(ours, pixels, trace)
    check_names(trace, expected, attention)
    for name, array in expected.items():
        assert relative_error(trace[name], array) < 1e-12, name


def test_the_configs_differ_where_ports_go_wrong():
    assert {settings["hidden_act"] for settings in SETTINGS} >= set(ACTIVATION_NAMES[: len(SETTINGS)])
    assert {settings["qkv_bias"] for settings in SETTINGS} == {False, True}
    assert any(settings["image_size"][0] != settings["image_size"][1] for settings in SETTINGS)
    sizes = [([s["num_frames"], *s["image_size"]], s["tubelet_size"]) for s in SETTINGS]
    dropped = [[n % t > 0 for n, t in zip(size, tubelet, strict=True)] for size, tubelet in sizes]
    assert all(any(row[axis] for row in dropped) for axis in range(3))
    assert max(settings["num_hidden_layers"] for settings in SETTINGS) > 1


def test_a_planted_fault_is_seen(tmp_path):
    """The comparison above would notice: one layer norm's epsilon, and nothing before it differs."""
    ours, theirs = both(VivitForVideoClassification, SETTINGS[0], "exact", tmp_path, 0)
    pixels = random_clip(ours.config)
    first = "vivit.encoder.layer.1.layernorm_after"
    theirs.vivit.layers[1].layernorm_after.eps *= 1.001
    expected = capture_transformers(theirs, pixels)
    trace = {}
    record_pass(ours, pixels, trace)
    wrong = [name for name, array in expected.items() if not relative_error(trace[name], array) < 1e-12]
    assert wrong[0] == first
