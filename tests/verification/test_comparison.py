"""The verdict: rounding or not, and where first."""

import json
import math

import numpy
import pytest
from counting import CountedName, num_calls
from model_cases import clip_for, tiny_config, tiny_model

from minivivit.errors import InputError
from minivivit.verification.comparison.judgement import (
    FACTORS,
    GRADIENT_FACTORS,
    MOST,
    NOISE_FACTORS,
    SYSTEMATIC,
    budgets_in,
    judge,
)
from minivivit.verification.comparison.verdict import compare
from minivivit.verification.rounding.budget import rounding_budgets
from minivivit.verification.tensors.error import TensorError, unit_roundoff
from minivivit.verification.tensors.source import ArraySource
from minivivit.verification.tracing.recording import record_pass

U = unit_roundoff("float32")
PRECISIONS = ["float32", "bfloat16", "float16"]


class Copies(dict):
    def __setitem__(self, name, array):
        super().__setitem__(name, numpy.array(array))


def trace_of(model, pixels, **arguments):
    store = Copies()
    record_pass(model, model.checked_pixels(pixels), store, **arguments)
    return store


def model_of(kind="1", seed=0, dtype="float64", **changes):
    return tiny_model(tiny_config(kind, **changes), numpy.random.default_rng(seed), dtype)


def traced(kind="1", seed=0, **changes):
    """Our float64 trace with its budgets, and the clip."""
    model = model_of(kind, seed, **changes)
    pixels, labels = clip_for(model.config, numpy.random.default_rng(seed + 1)), numpy.array([1, 2])
    arguments = {"labels": labels, "gradients": True}
    ours = ArraySource(trace_of(model, pixels, **arguments))
    budgets = rounding_budgets(model, pixels, ours, PRECISIONS, **arguments)
    ours.metadata = {"rounding_budgets": budgets, "config": model.config.to_dict()}
    return ours, pixels, arguments


@pytest.fixture(scope="module")
def ours():
    return traced(layer_norm_eps=1e-12)


@pytest.mark.parametrize("kind", "1234")
def test_our_own_float32_run_agrees(kind):
    source, pixels, arguments = traced(kind)
    comparison = compare(source, trace_of(model_of(kind, dtype="float32"), pixels, **arguments))
    assert comparison.precision == "float32"
    assert comparison.agrees, comparison.verdict
    assert comparison.first_divergent is None
    assert {row.status for row in comparison.rows} <= {"equal", "rounding"}
    assert [row.name for row in comparison.rows] == list(source.shapes)
    assert comparison.verdict == f"All {len(source.shapes)} pairs agree within what rounding to float32 explains."
    assert comparison.notes == []
    assert comparison.hints == []


# What is changed in theirs, and the first tensor that it changes.
FAULTS = {
    "epsilon": ({"layer_norm_eps": 1e-5}, "vivit.encoder.layer.0.layernorm_before"),
    "gelu": ({"hidden_act": "gelu"}, "vivit.encoder.layer.0.intermediate"),
    "relu": ({"hidden_act": "relu"}, "vivit.encoder.layer.0.intermediate"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_small_faults_are_found_at_the_first_wrong_tensor(ours, fault, dtype):
    source, pixels, arguments = ours
    changes, expected = FAULTS[fault]
    theirs = trace_of(model_of(dtype=dtype, **{"layer_norm_eps": 1e-12, **changes}), pixels, **arguments)
    comparison = compare(source, theirs)
    assert not comparison.agrees
    first = comparison.first_divergent
    assert (first.name, first.status) == (expected, "diverged")
    place = list(source.shapes).index(expected)
    assert comparison.verdict.startswith(
        f"The first tensor that differs by more than rounding to {dtype} is '{expected}' ({place + 1} of "
    )
    assert all(row.status in ("equal", "rounding") for row in comparison.rows[:place])


def test_an_epsilon_that_differs_by_a_millionth_is_found(ours):
    source, pixels, arguments = ours
    theirs = trace_of(model_of(layer_norm_eps=1e-6), pixels, **arguments)
    assert compare(source, theirs).first_divergent.name == "vivit.encoder.layer.0.layernorm_before"


def test_one_wrong_entry_is_found_by_its_size(ours):
    """Of a thousand entries one is wrong by a little: the largest error tells, the norm does not."""
    rng = numpy.random.default_rng(0)
    tensor = rng.standard_normal(100_000)
    budget = {"relative_l2": 1e-7, "max_abs": 4e-7, "rms": 1e-7}
    source = ArraySource({"x": tensor}, {"rounding_budgets": {"float32": {"x": budget}}})
    theirs = tensor.astype("float32")
    assert compare(source, {"x": theirs}).agrees
    theirs[777] += 3e-5
    comparison = compare(source, {"x": theirs})
    assert comparison.first_divergent.error.where == (777,)
    assert comparison.first_divergent.error.relative_l2 < comparison.first_divergent.allowed


def test_what_is_allowed_grows_with_the_budget_and_by_kind():
    error = TensorError(max_abs=1e-6, relative_l2=1e-6, rms=1e-6, where=(0,))
    budget = {"relative_l2": 1e-6 / FACTORS[0] - U, "max_abs": 1e-7, "rms": 1e-7}  # all entries carry it
    allowed, excess = judge("x", error, budget, None, 100, "float32")
    assert allowed == pytest.approx(1e-6)
    assert excess == pytest.approx(1)
    assert judge("gradient.x", error, budget, None, 100, "float32")[1] == pytest.approx(
        FACTORS[0] / GRADIENT_FACTORS[0]
    )
    # of few entries: the tensor before, in absolute terms
    before = {"relative_l2": 1.0, "max_abs": 2.0, "rms": 1e-6 - U}
    assert judge("x", error, budget, None, 1, "float32")[1] == pytest.approx(1)
    assert judge("x", error, budget, before, 1, "float32")[1] == pytest.approx(1 / FACTORS[0])
    assert judge("x", error, budget, before, 100, "float32")[1] == pytest.approx(1)
    # nothing but rounding
    noise = {"relative_l2": 1.0, "max_abs": 1e-6, "rms": 1e-6}
    # what its inputs explain is allowed at least
    assert judge("x", error, budget, None, 100, "float32", (2e-6, 2e-6))[1] == pytest.approx(1 / 2)
    assert judge("x", error, budget, None, 100, "float32", (1e-9, 1e-9))[1] == pytest.approx(1)
    bad = TensorError(max_abs=39e-6, relative_l2=39.0, rms=39e-6, where=(0,))
    assert NOISE_FACTORS == (40, 40)
    assert judge("gradient.x", bad, noise, None, 100, "float32")[1] == pytest.approx(39 / 40, rel=1e-3)
    # where the precision overflows, nothing is judged; but a number that theirs lost is lost
    unbounded = dict.fromkeys(budget, 1.7976931348623157e308)
    overflown = TensorError(max_abs=math.inf, relative_l2=math.inf, where=(0,), num_nonfinite=3)
    assert math.isnan(judge("x", error, unbounded, None, 100, "float32")[1])
    assert judge("x", overflown, unbounded, None, 100, "float32")[1] == math.inf
    assert judge("x", overflown, budget, None, 100, "float32")[1] == math.inf
    # where ours is 0 throughout, only the largest error is judged
    of_zeros = {"relative_l2": 1.7976931348623157e308, "max_abs": 1e-9, "rms": 1e-9}
    theirs = TensorError(max_abs=2e-9, relative_l2=math.inf, rms=1e-9, where=(0,))
    assert judge("gradient.x", theirs, of_zeros, None, 100, "float32")[1] == pytest.approx(2 / 40)
    theirs = TensorError(max_abs=2e-7, relative_l2=math.inf, rms=1e-7, where=(0,))
    assert judge("gradient.x", theirs, of_zeros, None, 100, "float32")[1] == pytest.approx(200 / 40)


def test_more_is_allowed_where_few_entries_carry_the_error():
    """As many times more as the norms of two draws of few errors differ by chance."""

    def allowed(carriers, name="x", samples=1, relative=1e-3, precision="float64"):
        budget = {"relative_l2": relative, "rms": 1e-3, "max_abs": 1e-3 * math.sqrt(1000 / carriers)}
        error = TensorError(max_abs=1e-3, relative_l2=1e-3, rms=1e-3, where=(0,))
        return judge(name, error, budget, None, 1000, precision, samples=samples)[0] / relative

    assert allowed(1000) == allowed(100) == pytest.approx(FACTORS[0])
    for carriers in (20, 12):
        quotients = numpy.random.default_rng(carriers).chisquare(carriers, (2, 1_000_000))
        largest = numpy.sort(numpy.sqrt(quotients[0] / quotients[1]))[-5]  # of a million
        assert largest < allowed(carriers) / SYSTEMATIC < 2 * largest
    assert allowed(3) == allowed(1.0) == pytest.approx(MOST * FACTORS[0])
    assert allowed(40, samples=2) == pytest.approx(allowed(20))  # two clips may be the same
    assert allowed(12, "gradient.x") == pytest.approx(GRADIENT_FACTORS[0])
    assert allowed(3, "gradient.x") == pytest.approx(MOST * GRADIENT_FACTORS[0])
    assert allowed(3, "gradient.x", relative=0.5) > MOST * NOISE_FACTORS[0]  # nothing but rounding
    # the unit roundoff is no draw, and chance makes no more of it
    u = unit_roundoff("bfloat16")
    expected = MOST * GRADIENT_FACTORS[0] + GRADIENT_FACTORS[0] * u / 5e-3
    assert allowed(3, "gradient.x", relative=5e-3, precision="bfloat16") == pytest.approx(expected)


def budgeted(tensors, **budgets):
    of_all = {precision: dict.fromkeys(tensors, budget) for precision, budget in budgets.items()}
    return ArraySource(tensors, {"rounding_budgets": of_all})


SMALL = {"relative_l2": 1e-7, "max_abs": 1e-6, "rms": 1e-7}
LARGE = {"relative_l2": 1e-3, "max_abs": 1e-2, "rms": 1e-3}
VALUES = numpy.random.default_rng(0).standard_normal((4, 5))


def test_the_precision_is_the_one_that_is_stored():
    source = budgeted({"a": VALUES, "b": VALUES}, float32=SMALL, float16=LARGE)
    assert compare(source, {"a": VALUES.astype("f2"), "b": VALUES.astype("f2")}).precision == "float16"
    assert compare(source, {"a": VALUES.astype("f4"), "b": VALUES.astype("f4")}).precision == "float32"
    assert compare(source, {"b": VALUES}).precision == "float64"
    assert compare(source, {"b": VALUES}, precision="float16").precision == "float16"
    with pytest.raises(InputError, match="precision is 'int8'"):
        compare(source, {"b": VALUES}, precision="int8")


def test_another_precision_is_suggested_where_it_explains_everything():
    source = budgeted({"a": VALUES, "b": VALUES}, float32=SMALL, tf32=LARGE, bfloat16=dict.fromkeys(LARGE, 0.5))
    comparison = compare(source, {"a": (VALUES * 1.0005).astype("f4"), "b": (VALUES * 1.0005).astype("f4")})
    assert not comparison.agrees
    assert comparison.notes == [
        "all of it is within what rounding to tf32 explains: if theirs computes in that, say --precision tf32"
    ]
    fault = compare(source, {"a": VALUES.astype("f4"), "b": (VALUES * 1.0005).astype("f4"), "c": VALUES})
    fault_only = compare(source, {"a": VALUES.astype("f4"), "b": (VALUES * 1.00005).astype("f4")})
    assert fault.first_divergent.name == fault_only.first_divergent.name == "b"
    assert fault_only.notes == []  # one tensor that is wrong does not look like rounding
    assert fault.unpaired_theirs == ["c"]


def test_float64_has_float32s_budget_in_its_own_proportion():
    source = budgeted({"a": VALUES}, float32=SMALL)
    assert budgets_in(source, "float64")["a"]["relative_l2"] == SMALL["relative_l2"] * 2**-28
    assert compare(source, {"a": VALUES * (1 + 1e-16)}).agrees
    assert not compare(source, {"a": VALUES * (1 + 1e-14)}).agrees


def test_tolerances_decide_instead_when_they_are_given():
    source = ArraySource({"a": numpy.array([1.0, -2.0, 0.0]), "b": numpy.zeros(2)})
    theirs = {"a": numpy.array([1.01, -2.0, 0.0]), "b": numpy.zeros(2)}
    for rtol, atol in ((0.011, None), (None, 0.011), (0.006, 0.006)):
        comparison = compare(source, theirs, rtol=rtol, atol=atol)
        assert comparison.agrees
        assert [row.status for row in comparison.rows] == ["close", "equal"]
        assert comparison.verdict == f"All 2 pairs agree within rtol {rtol or 0:g} and atol {atol or 0:g}."
    comparison = compare(source, theirs, rtol=0.004, atol=0.005)
    assert comparison.rows[0].excess == pytest.approx(0.01 / 0.009)
    assert comparison.verdict.startswith("The first tensor that differs by more than the tolerances is 'a' (1 of 2)")
    assert compare(source, {"b": numpy.array([0.0, 1e-300])}, rtol=1.0).rows[0].excess == math.inf
    assert compare({"a": numpy.array([math.inf, math.nan])}, {"a": numpy.array([math.inf, math.nan])}, atol=0).agrees
    assert not compare({"a": numpy.array([1.0])}, {"a": numpy.array([math.nan])}, atol=1e9).agrees
    for value in (-1.0, math.nan, math.inf):
        with pytest.raises(InputError, match=r"rtol is .*; expected a number of at least 0"):
            compare(source, theirs, rtol=value)


def test_a_missing_budget_is_said():
    source = budgeted({"a": VALUES}, float32=SMALL)
    source.shapes["b"], source.dtypes["b"], source.arrays["b"] = VALUES.shape, "float64", VALUES
    theirs = {"a": VALUES.astype("f4"), "b": VALUES.astype("f4")}
    comparison = compare(source, theirs)
    assert [row.status for row in comparison.rows] == ["rounding", "unjudged"]
    assert (comparison.kind, comparison.agrees, comparison.exit_code) == ("unjudged", False, 3)
    assert comparison.notes == ["1 of 2 pairs differ and have no rounding budget, so they are not judged: 'b'"]
    assert comparison.verdict == "1 of 2 pairs agree within what rounding to float32 explains."
    with pytest.raises(
        InputError, match=r"memory has no rounding budget for float16 \(it has float32\): .* --budget float16"
    ):
        compare(source, {"a": VALUES.astype("f2")})
    with pytest.raises(InputError, match=r"\(it has none\)"):
        compare({"a": VALUES}, {"a": VALUES.astype("f2")})
    assert compare({"a": VALUES}, {"a": VALUES}).verdict == "The one pair agrees to the bit."  # needs no budget


@pytest.mark.parametrize(
    "budgets", [3, {"float32": 3}, {"float32": {"a": 3}}, {"float32": {"a": {**SMALL, "rms": "x"}}},
                {"float32": {"a": {**SMALL, "rms": math.nan}}}, {"float32": {"a": {**SMALL, "max_abs": -1}}},
                {"float32": {"a": {**SMALL, "max_abs": 10**400}}}, {"float32": {"a": {**SMALL, "rms": math.inf}}}],
)  # fmt: skip
def test_budgets_that_are_none_are_refused(budgets):
    source = ArraySource({"a": VALUES}, {"rounding_budgets": budgets, "config": 3})
    with pytest.raises(InputError, match="rounding budget"):
        compare(source, {"a": VALUES.astype("f4")})


def test_layouts_are_undone_when_told_and_found_when_asked():
    query, key, value = numpy.random.default_rng(0).standard_normal((3, 2, 6, 12))
    source = budgeted({"q": query, "k": key, "v": value}, float32=SMALL)
    source.metadata["config"] = {"num_attention_heads": 3}
    merged = numpy.concatenate([query, key, value], -1).astype("f4")
    mapping = {name: {"name": "qkv", "layout": f"qkv[{part}]"} for part, name in enumerate("qkv")}
    assert compare(source, {"qkv": merged}, mapping=mapping).agrees
    found = compare(source, {"qkv": merged}, mapping=dict.fromkeys("qkv", "qkv"), find_layouts=True)
    assert [row.layout for row in found.rows] == ["qkv[0]", "qkv[1]", "qkv[2]"]
    assert found.agrees
    find_one = compare(source, {"qkv": merged}, mapping={"v": {"name": "qkv", "layout": "find"}})
    assert [(row.name, row.layout) for row in find_one.rows] == [("v", "qkv[2]")]
    plain = compare(source, {"qkv": merged}, mapping=dict.fromkeys("qkv", "qkv"))
    assert [row.status for row in plain.rows] == ["shape"] * 3
    assert not plain.agrees
    assert plain.verdict == "The first tensor that differs is 'q' (1 of 3): ours is (2, 6, 12), theirs (2, 6, 36)."
    with pytest.raises(InputError, match="'qkv': 'rotated' is no layout"):
        compare(source, {"qkv": merged}, mapping={"q": {"name": "qkv", "layout": "rotated"}})


def test_one_side_may_lack_what_the_other_has():
    source = budgeted({"a": VALUES, "b": VALUES[None]}, float32=SMALL)
    comparison = compare(source, {"b": VALUES, "z": VALUES}, mapping={"a": "absent"})
    assert comparison.agrees
    assert comparison.unpaired_ours == ["a"]
    assert comparison.verdict == "The one pair agrees to the bit. Not compared: 1 of ours that theirs lacks ('a')."
    assert comparison.notes == ["theirs lacks a tensor that the mapping names, not compared: 'absent'"]
    mapping = {"a": {"name": "absent", "optional": False}}
    comparison = compare(source, {"b": VALUES, "z": VALUES}, mapping=mapping)
    assert [row.status for row in comparison.rows] == ["missing", "equal"]  # an axis of one entry makes no difference
    assert comparison.unpaired_theirs == ["z"]
    assert not comparison.agrees
    assert comparison.first_divergent is None
    assert comparison.verdict == (
        "1 of 2 pairs agree to the bit. Theirs lacks 'absent', which the mapping says it must have."
    )
    with pytest.raises(InputError, match=r"no tensor of memory has its like in memory .*--map FILE.*--pair order"):
        compare(source, {"z": VALUES})
    by_order = compare(source, {"x": VALUES, "y": VALUES[None]}, by_order=True)
    assert [row.their_name for row in by_order.rows] == ["x", "y"]
    assert by_order.verdict == "All 2 pairs agree to the bit. 2 of the pairs are guesses, by shape and order."
    assert [row["guessed"] for row in by_order.to_json()["rows"]] == [True, True]
    differing = compare(source, {"x": VALUES + 1, "y": VALUES[None]}, by_order=True)
    assert differing.verdict.endswith("times what is allowed. 2 of the pairs are guesses, by shape and order.")


def test_strange_tensors_are_compared():
    strange = {"nan": numpy.full((2, 2), math.nan), "empty": numpy.zeros((0, 3)), "number": numpy.array(1.5)}
    assert compare(strange, strange).agrees
    source = budgeted(strange, float32=SMALL)
    theirs = {"nan": numpy.ones((2, 2), "f4"), "empty": numpy.zeros((3, 0), "f4"), "number": numpy.array(1.5, "f4")}
    comparison = compare(source, theirs)
    assert [row.status for row in comparison.rows] == ["diverged", "shape", "equal"]
    assert "4 entries NaN or infinite in one and not in the other, the first at (0, 0): ours nan, theirs 1" in (
        comparison.verdict
    )


def test_a_comparison_is_json():
    source = budgeted({"a\n\x1b[31m<b>": VALUES, "b": VALUES}, float32=SMALL)
    bad = VALUES.astype("f4")
    bad[1, 1] = math.inf
    comparison = compare(source, {"a\n\x1b[31m<b>": bad, "b": VALUES})
    result = json.loads(json.dumps(comparison.to_json(), allow_nan=False))
    assert result["first_divergent"] == "a\n\x1b[31m<b>"
    assert result["agrees"] is False
    row = result["rows"][0]
    assert (row["excess"], row["excess_is"], row["error"]["theirs"], row["error"]["theirs_is"]) == (
        None, "inf", None, "inf",
    )  # fmt: skip
    assert (row["error"]["num_lost"], result["kind"], result["exit_code"]) == (1, "diverged", 1)
    assert [set(cause) for cause in result["causes"]] == [{"name", "sentence", "tensor"}]
    assert result["causes"][0]["name"] == "infinity"
    assert {(place["tensor"], str(place["indices"])) for place in result["places"]} == {(row["name"], "[[1, 1]]")}
    assert result["rows"][1]["error"]["max_abs"] == 0
    assert "\n" not in result["verdict"]
    assert "\x1b" not in result["verdict"]


def test_twice_as_many_names_are_twice_the_work():
    def work(count):
        tensors = {CountedName(f"x.{i}"): VALUES for i in range(count)}
        source = budgeted(tensors, float32=SMALL)
        theirs = {CountedName(name): VALUES.astype("f4") for name in tensors}
        return num_calls(lambda: compare(source, theirs))

    assert work(400) < 2.5 * work(200)


def test_agreement_says_what_was_not_compared():
    source = budgeted({"a": VALUES, "b": VALUES}, float32=SMALL)
    comparison = compare(source, {"a": VALUES.astype("f4")})
    assert comparison.agrees
    assert comparison.verdict == (
        "The one pair agrees within what rounding to float32 explains. Not compared: 1 of ours that theirs lacks ('b')."
    )


def test_integers_beside_the_tensors_are_noted_and_not_to_be_mapped():
    ours = {"x": numpy.ones(3), "y": numpy.ones(2)}
    theirs = {"x": numpy.ones(3), "token_ids": numpy.arange(2)}
    result = compare(ours, theirs)
    assert result.agrees
    assert result.unpaired_ours == ["y"]
    assert result.notes == ["theirs also holds what is no floating-point tensor and is not compared: 'token_ids'"]
    with pytest.raises(InputError, match="pairs 'y' with 'token_ids' of memory, which is int64"):
        compare(ours, theirs, mapping={"y": "token_ids"})
