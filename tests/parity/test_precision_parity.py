"""Our emulated precisions against PyTorch's own: the rounding to the bit, and a whole model within the budget."""

import itertools
import json
import re

import numpy
import pytest
from verification import conformance_reader

from minivivit import VivitForVideoClassification
from minivivit.layers.trace import Trace
from minivivit.verification.conformance import pack as conformance
from minivivit.verification.rounding.budget import rounding_budgets
from minivivit.verification.rounding.precisions import round_to_precision
from minivivit.verification.tensors.source import ArraySource

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from hugging_face import random_clip, reference  # noqa: E402

from minivivit.verification.tracing.capture_transformers import capture_transformers  # noqa: E402

CONFIGS = {
    "small": {
        "image_size": 10, "num_frames": 8, "tubelet_size": [2, 4, 4], "hidden_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 4, "intermediate_size": 37, "num_labels": 30,
    },
    "deep": {
        "image_size": 12, "num_frames": 6, "tubelet_size": [2, 4, 4], "hidden_size": 48, "num_hidden_layers": 5,
        "num_attention_heads": 3, "intermediate_size": 64, "num_labels": 50, "hidden_act": "gelu",
    },
}  # fmt: skip
LABELS = numpy.array([0, 2])
# PyTorch's rms error over our budget of it, smallest and largest: a budget that is too large would forgive mistakes.
# Measured: 0.7 to 1.9 forward, 0.2 to 1.6 backward (0.9 in the median).
FORWARD, BACKWARD = (0.5, 2.5), (0.15, 2.5)


class Copies(dict):
    """A trace's store that keeps copies, without scores and probabilities."""

    def wants(self, name):
        return False

    def __setitem__(self, name, array):
        super().__setitem__(name, numpy.array(array))


@pytest.fixture(autouse=True)
def _one_thread():
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_rounding_is_torchs_to_the_bit(precision):
    rng = numpy.random.default_rng(0)
    bits = rng.integers(0, 2**32, 200_000, dtype="uint32")  # every exponent, infinities and NaN among them
    bits[:50_000] &= 0xFFFF8000  # ties of bfloat16
    bits[50_000:100_000] &= 0xFFFFF000  # ties of float16
    values = bits.view("float32")
    theirs = torch.from_numpy(values).to(getattr(torch, precision)).to(torch.float32).numpy()
    numpy.testing.assert_array_equal(round_to_precision(values, precision), theirs)
    assert numpy.isnan(theirs).sum() > 100


def hidden_states(names):
    """What comes out of the layers."""
    return [name for name in names if re.fullmatch(r"vivit\.encoder\.layer\.\d+", name)]


def in_both(tmp_path, settings, precision, attention):
    """(our float64 run, our budgets, transformers' run in the precision), with gradients."""
    theirs = reference(transformers.VivitForVideoClassification, transformers.VivitConfig(**settings), 0, "float64")
    theirs.save_pretrained(tmp_path / "model")
    model = VivitForVideoClassification.from_pretrained(tmp_path / "model", dtype="float64", backend="numpy")
    pixels = random_clip(theirs.config)
    ours = Copies()
    ours["pixel_values"] = pixels
    _, gradients = model.loss_and_gradients(pixels, LABELS, trace=Trace(ours))
    ours |= {f"gradient.{name}": gradient for name, gradient in gradients.items()}
    budgets = rounding_budgets(
        model, pixels, ArraySource(ours), [precision], labels=LABELS, gradients=True, draws=4,
        rng=numpy.random.default_rng(0),
    )  # fmt: skip
    low = transformers.VivitForVideoClassification.from_pretrained(
        tmp_path / "model", dtype=getattr(torch, precision), attn_implementation=attention
    ).eval()
    return ours, budgets[precision], capture_transformers(low, pixels, labels=LABELS, gradients=True)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("precision", ["bfloat16", "float16", "float32"])
def test_transformers_in_that_precision_errs_as_much_as_we_say(tmp_path, config, attention, precision):
    ours, budgets, theirs = in_both(tmp_path, CONFIGS[config], precision, attention)
    ratios = {}
    for name, budget in budgets.items():
        # The gradient of a key's bias is 0 but for rounding; of a few numbers, an error says little.
        if name not in theirs or name.endswith("key.bias") or ours[name].size < 64:
            continue
        difference = theirs[name].astype("float64") - ours[name]
        ratios[name] = float(numpy.sqrt(numpy.mean(difference**2)) / budget["rms"])
        low, high = BACKWARD if name.startswith("gradient.") else FORWARD
        assert low <= ratios[name] <= high, name
        assert numpy.abs(difference).max() <= 3 * budget["max_abs"], name
    assert {"pixel_values", "vivit.layernorm", "gradient.pixel_values", *hidden_states(ours)} <= ratios.keys()
    assert 0.7 <= numpy.median(list(ratios.values())) <= 1.3
    logits = numpy.abs(theirs["classifier"] - ours["classifier"]).max()
    assert logits <= 3 * budgets["classifier"]["max_abs"]
    # The loss is one number, which all of our runs may get right by luck. It errs as the logits, which make it, do.
    allowed = max(budgets["loss"]["max_abs"], budgets["classifier"]["max_abs"])
    assert abs(theirs["loss"] - ours["loss"]) <= 3 * allowed


# --------------------------------------------------------------------------------------------------------------------
# The conformance pack
# --------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    """A pack of the model that transformers has, with budgets of as many runs as anyone's."""
    directory = tmp_path_factory.mktemp("conformance") / "pack"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conformance, "CASES", {"model1_token": conformance.CASES["model1_token"]})
        conformance.write_conformance_pack(directory)
    return directory


# Not eager in float64: transformers' eager attention takes the softmax in float32.
PAIRS = [("float64", "sdpa"), *itertools.product(("float32", "bfloat16", "float16"), ("eager", "sdpa"))]


@pytest.mark.parametrize(("precision", "attention"), PAIRS)
def test_transformers_conforms(pack, precision, attention):
    """Every tensor of the pack, gradients and all, passes by the README's rule."""
    index = json.loads((pack / "index.json").read_text())
    case = index["cases"]["model1_token"]
    budgets = json.loads((pack / case["rounding_budgets"]).read_text())["metadata"]["rounding_budgets"][precision]
    expected = conformance_reader.read_tensors(pack, case["tensors"])
    model = transformers.VivitForVideoClassification.from_pretrained(
        pack / "model1_token", dtype=getattr(torch, precision), attn_implementation=attention
    ).eval()
    labels = numpy.array(case["labels"])
    theirs = capture_transformers(model, expected["pixel_values"].copy(), labels=labels, gradients=True)
    missing = [name for name in expected if name not in theirs]
    assert all(name.endswith((".scores", ".probs")) for name in missing)
    unit, rule = index["unit_roundoff"][precision], index["rule"]
    failed = [
        name
        for name in expected
        if name in theirs
        and not conformance_reader.passes(name, expected[name], theirs[name], budgets[name], unit, rule)
    ]
    assert failed == []
