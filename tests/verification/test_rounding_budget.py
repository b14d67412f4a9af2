"""Rounding budgets: right by hand, of the size that the unit roundoff suggests, and made without keeping anything."""

import math
import sys
import tracemalloc
from pathlib import Path

import numpy
import pytest
import scipy.stats
from in_part import one_in
from random_rounding import randomly_rounded, with_random_rounding
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).parent.parent / "models"))
from small_models import MODELS, clip_for, fill, small_model

from minivivit import InputError, VivitConfig, VivitForVideoClassification, VivitModel
from minivivit.backend import to_numpy
from minivivit.layers.trace import Trace
from minivivit.verification.rounding.budget import BudgetStore, rounding_budgets
from minivivit.verification.rounding.precisions import in_precision, round_to_precision, stored
from minivivit.verification.tensors.error import PRECISIONS, unit_roundoff
from minivivit.verification.tensors.source import ArraySource

LABELS = numpy.array([0, 2])
LOWER = ("float32", "tf32", "bfloat16", "float16")


class Copies(dict):
    """A trace's store that keeps copies, with or without scores and probabilities; or changes what it is told to."""

    def __init__(self, scores: bool = True, change: str | None = None):
        super().__init__()
        self.scores, self.change = scores, change

    def wants(self, name):
        return self.scores

    def __setitem__(self, name, array):
        super().__setitem__(name, numpy.array(to_numpy(array)))
        if name == self.change:
            array *= 1.001


def run(model, pixels, store):
    """Everything that forward and backward record, and the parameters' gradients."""
    store["pixel_values"] = pixels
    _, gradients = model.loss_and_gradients(pixels, LABELS, trace=Trace(store))
    for name, gradient in gradients.items():
        store[f"gradient.{name}"] = gradient
    return store


def budgets_of(number, precisions, scores=False, **arguments):
    model = small_model(number)
    pixels = clip_for(model.config)
    reference = run(model, pixels, Copies(scores))
    budgets = rounding_budgets(
        model, pixels, ArraySource(reference), precisions, labels=LABELS, gradients=True, **arguments
    )
    return reference, budgets


@pytest.mark.parametrize("number", MODELS)
def test_what_is_recorded_flows_on(number):
    """A budget rounds what is recorded in place: that is only right if the next operator takes that very array."""
    model = small_model(number)
    pixels = clip_for(model.config)
    undisturbed = run(model, pixels, Copies())
    # Recorded when what they go into has been computed: the product that made them has rounded them, and the product
    # that takes them rounds what it takes.
    late = ("intermediate.dense", "intermediate", "scores", "probs")
    ends = (*model.state_dict(), "pixel_values", "loss", "classifier")  # nothing is computed from these
    for change in undisturbed:
        backward, name = change.startswith("gradient."), change.removeprefix("gradient.")
        if name in ends and change != "gradient.classifier":
            continue
        disturbed = run(model, pixels, Copies(change=change))
        # In the last layer of a model with a CLS token, queries of other tokens have no gradient.
        last = [name for name in undisturbed if name.endswith(("projection.weight", "cls_token"))]
        seen = last if backward else ["classifier"]
        flows = any((disturbed[name] != undisturbed[name]).any() for name in seen)
        assert flows or change.endswith(late), change
        assert not (flows and change.endswith(late) and not backward), change


def expected_rms(number, reference, scores, least, draws):
    """The root mean square error of each tensor that float32's rounding is expected to make, from random draws."""
    model = small_model(number)
    pixels = clip_for(model.config)
    squares = dict.fromkeys(reference, 0.0)
    for seed in range(draws):
        low = with_random_rounding(model, numpy.random.default_rng(seed), least)
        drawn = run(low, randomly_rounded(pixels, low.xp), Copies(scores))
        for name, array in reference.items():
            squares[name] += numpy.mean((drawn[name] - array) ** 2) / draws
    return {name: math.sqrt(square) for name, square in squares.items()}


@pytest.mark.parametrize("number", MODELS)
@pytest.mark.parametrize("scores", one_in(2, [False, True]))
def test_float32_errs_as_rounding_must(number, scores):
    """No more than with all sums taken one after the other, no less than with one rounding each, at any chance.

    The error of one run is one draw. Its square is a sum of squares of normal numbers, its mean is known from 8 other
    draws: the quotient has Fisher's F distribution. The fewer numbers there are, the wider: there is at least one, and
    many entries have some that are independent of one another, here taken to be 8. The bound is such that one sound
    test in a million fails.
    """
    draws = 8
    reference, budgets = budgets_of(number, ["float32"], scores)
    most, least = (expected_rms(number, reference, scores, least, draws) for least in (False, True))
    chance = 1e-6 / len(reference)
    spreads = {count: scipy.stats.f(count, count * draws) for count in (1, 8)}
    limits = {count: (math.sqrt(f.ppf(chance)), math.sqrt(f.isf(chance))) for count, f in spreads.items()}
    assert set(budgets["float32"]) == set(reference)
    for name, budget in budgets["float32"].items():
        low, high = limits[8 if reference[name].size >= 64 else 1]
        assert low * least[name] <= budget["rms"] <= high * most[name], (name, budget, least[name], most[name])


@pytest.mark.parametrize("number", MODELS)
@pytest.mark.parametrize("scores", [False, True])
def test_every_tensor_has_a_budget_of_a_few_unit_roundoffs(number, scores):
    """In the precisions that are emulated: nearly all the error is made by `round_to_precision`, alike everywhere."""
    reference, budgets = budgets_of(number, LOWER, scores)
    for precision in LOWER:
        assert list(budgets[precision]) == list(reference)
        unit = unit_roundoff(precision)
        for name, budget in budgets[precision].items():
            if name.endswith("key.bias") or reference[name].size < 64:
                continue
            size, norm = reference[name].size, numpy.linalg.norm(reference[name])
            assert budget["rms"] == pytest.approx(budget["relative_l2"] * norm / math.sqrt(size), rel=1e-12)
            assert budget["rms"] <= budget["max_abs"] <= 40 * budget["rms"]
            if precision == "float32":
                continue
            low, high = (0.2, 6) if not name.startswith("gradient.") else (0.3, 30)
            if name == "pixel_values":
                low, high = (0, 0.5)
            if name.endswith("patch_embeddings") and precision == "tf32":
                low = 0.05
            assert low * unit <= budget["relative_l2"] <= high * unit, (precision, name, budget)


def test_the_numbers_are_those_of_the_run_itself():
    """float32: our model in float32, to the bit. The pixels: their own rounding. float64: float32's, scaled, twice."""
    reference, budgets = budgets_of(1, PRECISIONS)
    model = small_model(1)
    pixels = clip_for(model.config)
    low = run(in_precision(model, "float32"), pixels.astype("float32"), Copies(scores=False))
    for name, ours in reference.items():
        difference = low[name].astype("float64") - ours
        budget = budgets["float32"][name]
        assert budget["max_abs"] == numpy.abs(difference).max()
        assert budget["rms"] == pytest.approx(math.sqrt(numpy.mean(difference**2)), rel=1e-12)
        assert budgets["float64"][name] == {key: value * 2.0**-28 for key, value in budget.items()}
    for precision in ("bfloat16", "float16"):
        difference = round_to_precision(pixels.astype("float32"), precision) - pixels
        assert budgets[precision]["pixel_values"]["max_abs"] == numpy.abs(difference).max()
    assert budgets["tf32"]["pixel_values"] == budgets["float32"]["pixel_values"]
    alone = rounding_budgets(model, pixels, ArraySource(reference), ["float64"], labels=LABELS, gradients=True)
    assert alone == {"float64": budgets["float64"]}


def test_names_are_those_of_the_reference_and_of_the_patterns():
    model = small_model(2)
    pixels = clip_for(model.config)
    reference = run(model, pixels, Copies())
    few = {name: reference[name] for name in ("vivit.spatial_encoder", "classifier")}
    forward = rounding_budgets(model, pixels, ArraySource(few), ["tf32"])
    assert list(forward["tf32"]) == list(few)
    some = rounding_budgets(
        model, pixels, ArraySource(reference), ["bfloat16"], labels=LABELS, only=["*.layer.0.*.probs", "loss"]
    )
    expected = [f"vivit.{name}_encoder.layer.0.attention.attention.probs" for name in ("spatial", "temporal")]
    assert list(some["bfloat16"]) == [*expected, "loss"]


def test_the_bare_model_and_clips_of_another_size():
    model = small_model(3, cls=VivitModel)
    pixels = clip_for(model.config, size=(12, 21, 9))
    reference = Copies()
    model(pixels, interpolate_pos_encoding=True, trace=Trace(reference))
    budgets = rounding_budgets(model, pixels, ArraySource(reference), ["float16"], interpolate_pos_encoding=True)
    assert list(budgets["float16"]) == list(reference)


def test_what_is_recorded_can_be_held_in_the_precision():
    """Every array that has flowed through the store is one of the precision's numbers afterwards."""
    model, seen = small_model(4), []

    class Keeps(BudgetStore):
        def __setitem__(self, name, array):
            super().__setitem__(name, array)
            seen.append((name, array))

    pixels = stored(clip_for(model.config), "bfloat16")
    store = Keeps(ArraySource({}), "bfloat16")
    in_precision(model, "bfloat16").loss_and_gradients(pixels, LABELS, trace=Trace(store))
    for name, array in seen:
        if array.ndim:
            numpy.testing.assert_array_equal(round_to_precision(array.values, "bfloat16"), array.values, name)
    assert len(seen) > 50
    assert len(store) == len(list(store)) == 0


def test_several_draws_tell_the_size_of_a_single_number():
    _, one = budgets_of(1, ["bfloat16"])
    _, several = budgets_of(1, ["bfloat16"], draws=8, rng=numpy.random.default_rng(0))
    _, again = budgets_of(1, ["bfloat16"], draws=8, rng=numpy.random.default_rng(0))
    assert several == again
    for name, budget in one["bfloat16"].items():
        assert all(several["bfloat16"][name][key] >= value for key, value in budget.items())
        assert list(several["bfloat16"]) == list(one["bfloat16"])
    # many entries: one draw was enough
    name = "vivit.encoder.layer.1"
    assert several["bfloat16"][name]["relative_l2"] <= 1.2 * one["bfloat16"][name]["relative_l2"]


def test_overflow_bounds_nothing():
    model = small_model(1)
    model.params["classifier"]["bias"][1] = 1e6
    pixels = clip_for(model.config)
    reference = Copies()
    model(pixels, labels=LABELS, trace=Trace(reference))
    budgets = rounding_budgets(model, pixels, ArraySource(reference), ["float16", "bfloat16"], labels=LABELS)
    assert budgets["float16"]["classifier"] == {"relative_l2": math.inf, "max_abs": math.inf, "rms": math.inf}
    assert budgets["float16"]["pre_logits"]["rms"] < 0.01
    assert budgets["bfloat16"]["classifier"]["relative_l2"] < 2**-8


def test_the_model_and_the_clip_stay_as_they_are():
    model = small_model(1)
    pixels = clip_for(model.config)
    before, weights = pixels.copy(), {name: array.copy() for name, array in model.state_dict().items()}
    reference = run(model, pixels, Copies(False))
    copies = {name: array.copy() for name, array in reference.items()}
    rounding_budgets(model, pixels, ArraySource(reference), LOWER, labels=LABELS, gradients=True)
    numpy.testing.assert_array_equal(pixels, before)
    for name, array in model.state_dict().items():
        numpy.testing.assert_array_equal(array, weights[name])
    for name, array in reference.items():
        numpy.testing.assert_array_equal(array, copies[name])


def test_nothing_is_kept():
    """Memory stays that of a pass, however many layers there are."""
    config = VivitConfig(
        image_size=32, num_frames=8, tubelet_size=[2, 4, 4], hidden_size=32, num_attention_heads=2,
        intermediate_size=64, num_hidden_layers=10, num_labels=3,
    )  # fmt: skip
    model = fill(VivitForVideoClassification(config, dtype="float64", backend="numpy"))
    pixels = clip_for(config, batch=1)
    reference = Copies(scores=False)
    model(pixels, trace=Trace(reference))
    total = sum(array.nbytes for array in reference.values()) / 2  # in float32
    source = ArraySource(reference)
    rounding_budgets(small_model(1), clip_for(small_model(1).config), ArraySource({}), ["tf32"])  # what is made once
    tracemalloc.start()
    try:
        with threadpool_limits(limits=1):  # on a busy machine, threads that wait for one another take long
            rounding_budgets(model, pixels, source, ["tf32"])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < total / 2, (peak, total)


def test_refusals():
    model = small_model(1)
    pixels = clip_for(model.config)
    source = ArraySource({"classifier": numpy.ones((2, 4))})
    with pytest.raises(InputError, match="precision is 'int8'; expected one of float64"):
        rounding_budgets(model, pixels, source, ["int8"])
    with pytest.raises(InputError, match="give labels"):
        rounding_budgets(model, pixels, source, ["float32"], gradients=True)
    with pytest.raises(InputError, match="expected at least 1 draw"):
        rounding_budgets(model, pixels, source, ["float32"], draws=2)
    with pytest.raises(InputError, match=r"memory holds classifier with shape \(2, 4\), but this run makes \(2, 3\)"):
        rounding_budgets(model, pixels, source, ["float32"])
