"""Files of several types: what was only stored in a coarser one, and what was computed in it; numbers that are lost."""

import numpy
import pytest
from model_cases import clip_for, tiny_config, tiny_model

from minivivit.cli import main
from minivivit.commands.trace import unbounded_notes
from minivivit.errors import InputError
from minivivit.verification.comparison.verdict import compare
from minivivit.verification.rounding.precisions import round_to_precision
from minivivit.verification.tensors.error import unit_roundoff
from minivivit.verification.tensors.source import ArraySource, open_source

NAMES = "abcdef"
RNG = numpy.random.default_rng(0)
TENSORS = {name: RNG.standard_normal((2, 9, 16)) for name in NAMES}
LARGEST = 1.7976931348623157e308


def budget_in(precision, times=2.0):
    unit = unit_roundoff(precision)
    return {"relative_l2": times * unit, "max_abs": 8 * times * unit, "rms": times * unit}


def ours(**changes):
    kinds = ("float32", "bfloat16", "float16")
    budgets = {kind: {name: budget_in(kind) for name in NAMES} for kind in kinds}
    for kind, of in changes.items():
        budgets[kind] |= of
    return ArraySource(TENSORS, {"rounding_budgets": budgets})


def computed(name, precision):
    """A tensor with the errors of a precision, stored in it."""
    noise = numpy.random.default_rng(ord(name)).standard_normal(TENSORS[name].shape)
    values = TENSORS[name] * (1 + unit_roundoff(precision) * noise)
    return round_to_precision(values, precision) if precision != "float32" else values.astype("float32")


def source(values, **dtypes):
    result = ArraySource(values)
    result.dtypes |= dtypes
    return result


def stored(name, precision):
    return round_to_precision(computed(name, "float32"), precision)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("stray", NAMES)
def test_one_tensor_in_half_precision_loosens_none(precision, stray):
    right = {name: computed(name, "float32") for name in NAMES} | {stray: stored(stray, precision)}
    comparison = compare(ours(), source(right, **{stray: precision}))
    assert comparison.kind == "agrees"
    assert comparison.precision == "float32"
    assert {row.precision for row in comparison.rows} == {"float32"}
    assert f"float32 (5), {precision} (1)" in comparison.notes[0]
    assert f"only stored in a coarser type, and made in a finer: '{stray}'" in comparison.notes[0]
    for wrong in set(NAMES) - {stray}:
        # far within half precision, far beyond float32
        faulty = right | {wrong: (TENSORS[wrong] * (1 + 2e-5)).astype("float32")}
        comparison = compare(ours(), source(faulty, **{stray: precision}))
        assert comparison.first_divergent.name == wrong
        assert comparison.exit_code == 1


def test_a_mistake_of_one_token_in_what_is_only_stored_in_half_is_found():
    right = {name: computed(name, "float32") for name in NAMES} | {"c": stored("c", "bfloat16")}
    right["c"][1, 3] *= 1.1
    assert compare(ours(), source(right, c="bfloat16")).first_divergent.name == "c"


def test_what_is_made_of_half_precision_is_judged_by_it():
    """As under autocast: some operators in bfloat16, and others of what these make in float32."""
    mixed = {name: computed(name, "bfloat16") for name in NAMES} | {"a": computed("a", "float32")}
    dtypes = {"b": "bfloat16", "d": "bfloat16"}
    comparison = compare(ours(), source(mixed, **dtypes))
    assert comparison.kind == "agrees", comparison.verdict
    assert [row.precision for row in comparison.rows] == ["float32"] + 5 * ["bfloat16"]
    assert comparison.precision == "bfloat16"
    assert "computed in bfloat16 from 'b' on" in comparison.notes[0]
    # before the first of them, float32 is asked for
    faulty = mixed | {"a": (TENSORS["a"] * (1 + 1e-4)).astype("float32")}
    assert compare(ours(), source(faulty, **dtypes)).first_divergent.name == "a"
    # what is stated goes for all
    assert compare(ours(), source(faulty, **dtypes), precision="bfloat16").kind == "agrees"


def test_one_type_needs_no_look_and_no_note():
    comparison = compare(ours(), {name: computed(name, "float32") for name in NAMES})
    assert (comparison.kind, comparison.notes) == ("agrees", [])


def test_a_coarser_precision_is_not_advised_where_tensors_before_are_finer():
    theirs = {name: computed(name, "float32") for name in "ab"}
    theirs |= {name: computed(name, "bfloat16") for name in "cdef"}
    comparison = compare(ours(), theirs)
    assert comparison.first_divergent.name == "c"
    assert comparison.notes == []
    all_of_them = compare(ours(), {name: computed(name, "bfloat16") for name in NAMES})
    assert "say --precision bfloat16" in all_of_them.notes[0]


UNBOUNDED = dict.fromkeys(("relative_l2", "max_abs", "rms"), LARGEST)


@pytest.mark.parametrize("lost", [numpy.nan, numpy.inf, -numpy.inf])
def test_a_number_that_is_lost_is_wrong_whatever_the_budget(lost):
    unbounded = dict.fromkeys("cdef", UNBOUNDED)
    theirs = {name: computed(name, "float16") for name in NAMES}
    theirs["c"][0, :2] = lost
    for precision in ("float16", None):
        comparison = compare(
            ours(float16=unbounded, bfloat16=unbounded),
            source(theirs, **dict.fromkeys(NAMES, "float16")),
            precision=precision,
        )
        assert (comparison.kind, comparison.exit_code, comparison.first_divergent.name) == ("diverged", 1, "c")
        assert (
            "32 entries are NaN or infinite in theirs and finite in ours, the first at (0, 0, 0)" in comparison.verdict
        )


def test_a_budget_without_bound_judges_nothing():
    unbounded = dict.fromkeys("cdef", UNBOUNDED)
    theirs = source({name: computed(name, "float16") for name in NAMES}, **dict.fromkeys(NAMES, "float16"))
    comparison = compare(ours(float16=unbounded, bfloat16=unbounded), theirs)
    assert [row.status for row in comparison.rows] == 2 * ["rounding"] + 4 * ["unjudged"]
    assert (comparison.kind, comparison.agrees, comparison.exit_code) == ("unjudged", False, 3)
    assert "Not judged: 4, where our own run in float16 overflows" in comparison.verdict
    assert "the first is 'c'" in comparison.verdict
    # bfloat16 has the range, and bounds what float16 may do
    comparison = compare(ours(float16=unbounded), theirs)
    assert comparison.kind == "agrees"
    assert [row.precision for row in comparison.rows] == 2 * ["float16"] + 4 * ["bfloat16"]
    assert comparison.notes == [
        "4 pairs are judged by bfloat16, since float16 overflows there in our own run: the first is 'c'"
    ]
    theirs.arrays["d"] = theirs.arrays["d"] * 1.2
    assert compare(ours(float16=unbounded), theirs).first_divergent.name == "d"


def test_a_trace_says_where_a_precision_overflows():
    budgets = {
        "float32": {"a": budget_in("float32")},
        "float16": {"a": budget_in("float16"), "b": UNBOUNDED, "c": UNBOUNDED},
    }
    (note,) = unbounded_notes(budgets)
    assert note.startswith("float16 overflows first at b: the rounding budgets of 2 of 3 tensors are unbounded")


def test_what_is_made_of_what_was_computed_in_half_tells_where_that_itself_is_ours_rounded():
    """As under autocast a convolution of black frames, which is its bias."""
    mixed = {name: computed(name, "bfloat16") for name in NAMES} | {"a": stored("a", "bfloat16")}
    comparison = compare(ours(), source(mixed, a="bfloat16"))
    assert comparison.kind == "agrees", comparison.verdict
    assert "computed in bfloat16 from 'a' on" in comparison.notes[0]
    # where the next tensor is finer, it was only stored
    mixed |= {"b": computed("b", "float32")}
    assert compare(ours(), source(mixed, a="bfloat16")).first_divergent.name == "c"


def test_what_comes_before_the_only_precision_with_budgets_is_judged_by_it():
    mixed = {name: computed(name, "bfloat16") for name in NAMES} | {"a": computed("a", "float32")}
    dtypes = dict.fromkeys("bcdef", "bfloat16")
    trace = ours()
    del trace.metadata["rounding_budgets"]["float32"]
    comparison = compare(trace, source(mixed, **dtypes))
    assert [row.precision for row in comparison.rows] == 6 * ["bfloat16"]
    assert comparison.kind == "agrees"
    only_stored = {name: computed(name, "float32") for name in NAMES} | {"c": stored("c", "bfloat16")}
    with pytest.raises(InputError, match=r"no rounding budget for float32 \(it has bfloat16, float16\)"):
        compare(trace, source(only_stored, c="bfloat16"))


def test_a_model_that_overflows_is_traced_with_a_warning_and_never_agrees_where_it_is_lost(tmp_path, capsys):
    """Keys and queries times 102: their product passes 65504 before it is scaled, in our own run too."""
    model = tiny_model(tiny_config("1"), numpy.random.default_rng(0), "float64")
    loud = {
        name: value * 102 if "query" in name or "key" in name else value for name, value in model.state_dict().items()
    }
    model.load_state_dict(loud)
    model.save_pretrained(tmp_path / "model")
    pixels = clip_for(model.config, numpy.random.default_rng(1))
    numpy.save(tmp_path / "pixels.npy", pixels)
    words = ["trace", str(tmp_path / "pixels.npy"), str(tmp_path / "ours"), "--model", str(tmp_path / "model")]
    assert not main([*words, "--only", "*.attention.*", "*.layer.0", "--budget", "float32", "float16"])
    said = capsys.readouterr().err
    first = "vivit.encoder.layer.0.attention.attention.scores"
    assert f"float16 overflows first at {first}: the rounding budgets of " in said
    assert "float32 overflows" not in said
    trace = open_source(tmp_path / "ours")
    theirs = {name: trace.read(name).astype("float16") for name in trace.shapes}
    lost = theirs[first]
    comparison = compare(trace, theirs)
    assert (comparison.kind, comparison.exit_code) == ("unjudged", 3)
    for name in list(theirs)[list(theirs).index(first) :]:
        theirs[name] = numpy.full_like(theirs[name], numpy.nan)
    comparison = compare(trace, theirs)
    assert (comparison.first_divergent.name, comparison.exit_code) == (first, 1)
    assert f"{lost.size:,} entries are NaN or infinite in theirs and finite in ours" in comparison.verdict
