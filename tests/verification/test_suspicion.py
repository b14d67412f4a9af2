"""Half precision: operators run on what theirs recorded show what the rounding of a whole run hides."""

import math
from functools import cache

import numpy
import pytest
from model_cases import clip_for, tiny_config, tiny_model

from minivivit.backend import to_numpy
from minivivit.layers.trace import Trace
from minivivit.ops.activation import ACTIVATIONS
from minivivit.ops.layer_norm import layer_norm_forward
from minivivit.verification.comparison.mistakes.weights import quantised_weights
from minivivit.verification.comparison.suspicion.reading import Rows
from minivivit.verification.comparison.verdict import compare
from minivivit.verification.rounding.budget import rounding_budgets
from minivivit.verification.rounding.precisions import in_precision, round_to_precision, stored
from minivivit.verification.tensors.source import ArraySource
from minivivit.verification.tracing.recording import record_pass

PRECISIONS = ("bfloat16", "float16")
LABELS = numpy.array([1, 2])
LAYER = "vivit.encoder.layer.1"
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}


class Copies(dict):
    """What a pass records; layers may go on with the arrays that they recorded. Rounded in place where asked for."""

    def __init__(self, precision=None):
        super().__init__()
        self.precision = precision

    def __setitem__(self, name, array):
        values = to_numpy(array)
        if self.precision is not None:
            values[...] = round_to_precision(values, self.precision)
        super().__setitem__(name, numpy.array(values))


class Case:
    """Our trace of a model, and what a right port in each precision records."""

    def __init__(self, kind):
        self.model = tiny_model(tiny_config(kind, **SIZES), numpy.random.default_rng(3))
        self.pixels = clip_for(self.model.config, numpy.random.default_rng(4))
        values = Copies()
        record_pass(self.model, self.pixels, values, labels=LABELS, gradients=True)
        self.ours = ArraySource(values, {"config": self.model.config.to_dict()})
        self.ours.metadata["rounding_budgets"] = rounding_budgets(
            self.model, self.pixels, self.ours, ("float32", *PRECISIONS), labels=LABELS, gradients=True
        )
        self.right = {precision: self.port(precision) for precision in PRECISIONS}

    def port(self, precision):
        values = Copies(precision)
        values["pixel_values"] = stored(self.pixels, precision)
        low, trace = in_precision(self.model, precision), Trace(values)
        arguments = {"gradient_checkpointing": False, "trace": trace}
        _, gradients = low.loss_and_gradients(values["pixel_values"], LABELS, **arguments)
        for name, gradient in gradients.items():
            values[f"gradient.{name}"] = gradient
        return values

    def compare(self, values, precision, **arguments):
        theirs = ArraySource(values)
        theirs.dtypes = dict.fromkeys(values, precision)
        return compare(self.ours, theirs, **{"model": self.model} | arguments)

    def parameter(self, name, precision):
        return round_to_precision(self.model.state_dict()[name], precision).astype("float64")


@cache
def case_of(kind):
    return Case(kind)


@pytest.fixture(scope="module")
def joint():
    return case_of("1")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", ["1", *(pytest.param(kind, marks=pytest.mark.thorough) for kind in "23")])
def test_a_right_port_is_not_suspicious(kind, precision):
    case = case_of(kind)
    comparison = case.compare(case.right[precision], precision)
    assert (comparison.kind, comparison.exit_code, comparison.suspicions) == ("agrees", 0, []), comparison.verdict


def quantised(case, values, precision):
    """The MLP's first map with int8 weights."""
    name = f"{LAYER}.intermediate.dense"
    weight = quantised_weights(case.parameter(f"{name}.weight", precision))[1][1]
    return name, values[f"{LAYER}.layernorm_after"] @ weight.T + case.parameter(f"{name}.bias", precision)


def without_mean(case, values, precision):
    """Layer norm's backward pass without the mean of the slope."""
    name, x = f"gradient.{LAYER}.attention_residual", values[f"{LAYER}.attention_residual"].astype("float64")
    weight = case.parameter(f"{LAYER}.layernorm_after.weight", precision)
    cache = layer_norm_forward(x, weight, 0 * weight, case.model.config.layer_norm_eps)[1]
    g, inverse = values[f"gradient.{LAYER}.layernorm_after"] * weight, cache["inverse_std"].reshape(*x.shape[:-1], 1)
    normalised = (x - x.mean(axis=-1, keepdims=True)) * inverse
    projection = (g * normalised).mean(axis=-1, keepdims=True)
    return name, values[f"gradient.{LAYER}"] + (g - normalised * projection) * inverse


def branch_times(case, values, precision):
    """A branch times 0.97."""
    return LAYER, values[f"{LAYER}.attention_residual"] + 0.97 * values[f"{LAYER}.output.dense"]


@pytest.mark.parametrize("mistake", [quantised, without_mean, branch_times])
def test_a_mistake_within_the_budget_is_suspicious_where_it_is_made(joint, mistake):
    values = dict(joint.right["bfloat16"])
    name, wrong = mistake(joint, values, "bfloat16")
    values[name] = round_to_precision(wrong, "bfloat16")
    comparison = joint.compare(values, "bfloat16")
    assert (comparison.kind, comparison.exit_code, comparison.agrees) == ("suspicious", 4, False), comparison.verdict
    first = comparison.suspicions[0]
    assert (first.tensor, first.times > first.limit) == (name, True)
    assert {row.name for row in comparison.rows if row.status == "suspicious"} >= {name}
    result = comparison.to_json()
    assert (result["kind"], result["exit_code"], result["suspicions"][0]["tensor"]) == ("suspicious", 4, name)
    assert f"But {len(comparison.suspicions)} tensor" in comparison.verdict or "1 tensor is" in comparison.verdict


def test_a_mistake_in_one_token_is_said_to_be_there(joint):
    values = dict(joint.right["bfloat16"])
    wrong = values[LAYER].copy()
    wrong[1, 3] = values[f"{LAYER}.attention_residual"][1, 3] + 0.95 * values[f"{LAYER}.output.dense"][1, 3]
    values[LAYER] = round_to_precision(wrong, "bfloat16")
    (found,) = [one for one in joint.compare(values, "bfloat16").suspicions if one.tensor == LAYER]
    assert (found.part, found.index) == ("row", (1, 3))
    assert "clip 1" in found.sentence
    assert "token 3" in found.sentence


def test_what_needs_weights_is_left_out_without_them(joint):
    values = dict(joint.right["bfloat16"])
    name, wrong = quantised(joint, values, "bfloat16")
    values[name] = round_to_precision(wrong, "bfloat16")
    activation = ACTIVATIONS[joint.model.config.hidden_act][0]
    values[f"{LAYER}.intermediate"] = round_to_precision(activation(values[name].astype("float64"))[0], "bfloat16")
    assert joint.compare(values, "bfloat16").suspicions[0].tensor == name
    assert joint.compare(values, "bfloat16", model=None).kind == "agrees"


def test_what_was_only_stored_in_half_precision_is_not_suspicious(joint):
    """Float32's own numbers, all of them stored in bfloat16: each was rounded by itself."""
    values = {name: round_to_precision(joint.ours.read(name), "bfloat16") for name in joint.ours.shapes}
    assert joint.compare(values, "bfloat16").kind == "agrees"


def test_float32_is_not_looked_at(joint, monkeypatch):
    values = {name: joint.ours.read(name).astype("float32") for name in joint.ours.shapes}
    monkeypatch.setattr(Rows, "of", None)
    assert joint.compare(values, "float32").kind == "agrees"


def test_rows_are_read_wherever_blocks_end():
    tensor = numpy.arange(7 * 5.0).reshape(7, 5)
    blocks = [tensor.reshape(-1)[start : start + 3] for start in range(0, 35, 3)]
    rows = Rows({"a": (7, 5)}, lambda name: lambda: iter(blocks))
    assert (rows.of("a") == tensor).all()
    assert (rows.of("a", numpy.array([6, 0, 3])) == tensor[[6, 0, 3]]).all()
    assert math.prod(rows.of("a").shape) == 35
