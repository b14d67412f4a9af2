"""What a check prints: which entries are wrong, by how much, and why."""

import json
import sys
import traceback
from dataclasses import replace
from fractions import Fraction

import numpy
import pytest
from scipy.special import erf, erfc, ndtr
from test_known_mistakes import TASKS

from minivivit import checks
from minivivit.checks.case import Case, copied
from minivivit.checks.causes import KEPT
from minivivit.checks.hints import place_to_look
from minivivit.checks.run_check import Task, run_check
from minivivit.errors import InputError


def right(x):
    powers = numpy.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def split(x, num_heads):
    batch, tokens, hidden = x.shape
    return x.reshape(batch, tokens, num_heads, hidden // num_heads).transpose(0, 2, 1, 3)


def words(report) -> str:
    return " ".join(report.text.split())


def test_a_report_is_a_number_that_is_true_when_it_is_full():
    full, part = checks.softmax(right, seed=1), checks.softmax(lambda x: right(x) * (x < 1e3), seed=1)
    assert full
    assert full == 1
    assert full.points(3) == 3
    assert full.faults == ()
    assert not part
    assert 0 < part < 1
    assert part.score == float(part)
    assert type(part.score) is float
    assert json.loads(json.dumps({"score": part})) == {"score": part.score}
    assert part.points(7) == round(7 * part.score, 2) < 7


def test_no_part_of_the_points_rounds_up_to_all_of_them():
    report = checks.Report(0.9999, "softmax", (), "")
    assert report.points(1) == 0.99


def test_the_overflow_of_softmax_is_described(capsys):
    report = checks.softmax(lambda x: numpy.exp(x) / numpy.exp(x).sum(axis=-1, keepdims=True), seed=1)
    assert capsys.readouterr().out == report.text
    text = words(report)
    assert text.startswith(
        "softmax: 8 of 13 cases right (score 0.62) case 4, x of shape (6, 2, 4) with entries near 1e4: "
    )
    assert "y: 48 of 48 entries are NaN; expected finite numbers." in text
    assert "subtract the row's maximum before exp." in text


def test_the_worst_entry_is_named_with_its_numbers():
    def one_wrong(x):
        y = right(x)
        if y.shape == (4, 3):
            y[1, 2] += 0.25
        return y

    text = words(checks.softmax(one_wrong, seed=1))
    assert "y: 1 of 12 entries are wrong; the worst at [1, 2]: got" in text
    assert "off by 0.25" in text


def test_where_the_wrong_entries_are_is_said():
    def first_token_wrong(tokens, positions):
        z = tokens + positions
        z[:, 0] = 0
        return z

    assert "all at index 0 of axis 1" in words(checks.position_embedding(first_token_wrong, seed=1))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda x: None, "is None (is the return missing?)"),
        (lambda x: right, "is a function, not what it returns"),
        (lambda x: "text", "is a str, which makes no array of numbers"),
        (lambda x: (right(x), {}), "is a tuple, which makes no array of numbers"),
        (lambda x: right(x) + 0j, "holds complex numbers"),
        (lambda x: right(x).T, "the axes are in another order: transpose(1, 0) would put them right"),
        (lambda x: right(x)[..., None], "the right numbers in another shape"),
        (lambda x: right(x).sum(axis=0), "took an axis away"),
        (lambda x: right(x)[None] * numpy.ones((3,) + (1,) * x.ndim), "a sum over the first axes is missing"),
        (lambda x: numpy.zeros_like(x), "it is 0 everywhere"),
        (lambda x: (right(x) * 5).astype("int64"), "has dtype int64"),
        (lambda x: -right(x), "the sign is turned"),
        (lambda x: 3 * right(x), "a factor: all is 3 times"),
        (lambda x: right(x) + 7, "the same number is added to every entry"),
        (lambda x: right(x)[..., ::-1], "the right numbers in the wrong places"),
        (lambda x: right(x.astype("float16")), "a lower precision than that of the input"),
        (lambda x: right(x.astype("float32")), "a lower precision somewhere"),
    ],
)
def test_what_an_answer_looks_like_is_said(answer, said):
    report = checks.softmax(answer, seed=2)
    assert report.score < 1
    assert said in words(report)


def test_an_input_that_is_changed_is_named():
    def in_place(x):
        x -= x.max(axis=-1, keepdims=True)
        return right(x)

    report = checks.softmax(in_place, seed=1)
    assert report.score == 0
    assert "changes its input x in place" in words(report)


def test_a_tree_that_is_changed_is_named():
    def in_place(x, params, num_heads):
        params["attention"]["key"]["bias"] *= 0
        return x

    assert "changes its input params.attention.key.bias in place" in words(checks.multi_head_attention(in_place))


def test_float64_for_float32_earns_a_note_and_full_marks():
    report = checks.softmax(lambda x: right(x.astype("float64")))
    assert report
    assert "note: float32 goes in and y comes out in float64" in report.text
    assert "note" not in checks.softmax(right).text


def test_lists_of_numbers_are_taken_for_what_they_say():
    assert checks.softmax(lambda x: right(x).tolist())


def test_several_outputs_are_counted_apart():
    def without_bias(dy, x, weight, eps):
        centred = x - x.mean(axis=-1, keepdims=True)
        s = 1 / numpy.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps)
        n, dn = centred * s, dy * weight
        dx = s * (dn - dn.mean(axis=-1, keepdims=True) - n * (dn * n).mean(axis=-1, keepdims=True))
        rows = (-1, x.shape[-1])
        return dx, (dy * n).reshape(rows).sum(axis=0), 0 * weight

    report = checks.layer_norm_backward(without_bias, seed=1)
    assert report.score == pytest.approx(0.9)  # dx counts for eight tenths
    assert "dbias: " in report.text
    assert "dx: " not in report.text
    assert "expected dx, dweight, dbias" in words(checks.layer_norm_backward(lambda dy, x, weight, eps: dy, seed=1))


def test_trees_are_compared_by_name():
    text = words(checks.multi_head_attention_backward(lambda dy, x, params, num_heads: (dy, {"query": x}), seed=1))
    assert "gradients: lacks attention.key.bias" in text
    assert "has query" in text
    text = words(checks.multi_head_attention_backward(lambda dy, x, params, num_heads: (dy, dy), seed=1))
    assert "gradients: is ndarray; expected a dict with attention, output" in text


def test_the_seed_of_a_failed_check_is_told_and_repeats_it():
    first = checks.split_heads(lambda x, num_heads: x)
    seed = int(first.text.rpartition("seed=")[2].rstrip(")\n"))
    again = checks.split_heads(lambda x, num_heads: x, seed=seed)
    assert first.faults == again.faults
    assert checks.split_heads(split)


def test_a_check_can_be_quiet(capsys):
    checks.split_heads(split, quiet=True)
    assert capsys.readouterr().out == ""


def test_what_is_no_function_is_said():
    report = checks.softmax(right(numpy.ones(3)))
    assert report.score == 0
    assert "expected the function softmax itself, got ndarray" in report.text


def test_a_hard_coded_example_fails_with_other_numbers():
    seen = {}

    def remembers(x):
        seen[x.shape] = right(x)
        return seen[x.shape]

    assert checks.softmax(remembers, seed=1)
    report = checks.softmax(lambda x: seen.get(x.shape, numpy.zeros(x.shape)), seed=2)
    assert report.score == 0


# --------------------------------------------------------------------------------------------------------------------
# Hints, and what can be asked for
# --------------------------------------------------------------------------------------------------------------------


def test_hints_have_three_levels():
    def unshifted(x):
        return numpy.exp(x) / numpy.exp(x).sum(axis=-1, keepdims=True)

    what, where, cause = (words(checks.softmax(unshifted, seed=1, hints=hints)) for hints in (0, 1, 2))
    for text in (what, where, cause):
        assert "48 of 48 entries are NaN" in text
    assert "Look at" not in what + cause
    assert "Look at: exp and log of very large and very small numbers." in where
    assert "Likely cause" not in what + where
    assert "subtract the row's maximum before exp" in cause


def test_every_cause_has_a_place_to_look_that_does_not_give_it_away():
    for task in TASKS.values():
        for cause, _ in task.mistakes:
            place = place_to_look(cause)
            assert place
            assert cause not in place
    assert place_to_look("") == ""


@pytest.mark.parametrize("hints", [3, -1, "2", None])
def test_another_level_of_hints_is_refused(hints):
    with pytest.raises(InputError, match=r"expected 0 \(what is wrong\), 1"):
        checks.softmax(right, hints=hints)


def test_inputs_and_answers_of_a_case_can_be_asked_for():
    report = checks.split_heads(lambda x, num_heads: x, seed=4, quiet=True)
    given = report.inputs(2)
    assert list(given) == ["x", "num_heads"]
    assert numpy.array_equal(report.answer(2), given["x"])
    given["x"] += 1
    assert not numpy.array_equal(report.inputs(2)["x"], given["x"])  # a copy each time
    assert split(**report.inputs(2)).ndim == 4
    for case in (0, 99, True, "1", 1.0):
        with pytest.raises(InputError, match="expected a whole number from 1 to 8"):
            report.inputs(case)
        with pytest.raises(InputError, match="expected a whole number from 1 to 8"):
            report.answer(case)


def test_the_first_error_has_its_traceback(monkeypatch):
    def fails(x):
        denominator = 0
        return 1 / denominator

    for name in ("last_type", "last_value", "last_traceback"):
        monkeypatch.setattr(sys, name, None, raising=False)
    report = checks.softmax(fails, seed=1, quiet=True)
    assert isinstance(report.error, ZeroDivisionError)
    frame = list(traceback.walk_tb(report.error.__traceback__))[-1][0]
    assert frame.f_locals["denominator"] == 0
    assert sys.last_value is None  # nobody is at the keyboard
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    report = checks.softmax(fails, seed=1, quiet=True)
    assert sys.last_value is report.error
    assert sys.last_traceback is report.error.__traceback__
    with pytest.raises(InputError, match="case 1 of softmax has no answer"):
        report.answer(1)
    assert checks.softmax(right, seed=1).error is None


# --------------------------------------------------------------------------------------------------------------------
# Causes
# --------------------------------------------------------------------------------------------------------------------


def causes(report) -> set[str]:
    return {fault.cause for fault in report.faults}


def test_any_scalar_is_not_a_factor_of_another_unless_all_cases_say_so():
    wrong = checks.cross_entropy(lambda logits, labels: float(numpy.sin(logits).sum()), seed=1)
    assert "factor" not in wrong.text

    def halved(logits, labels):
        shifted = logits - logits.max(axis=-1, keepdims=True)
        log_probs = shifted - numpy.log(numpy.exp(shifted).sum(axis=-1, keepdims=True))
        return -0.5 * log_probs[numpy.arange(len(labels)), labels].mean()

    assert "a factor: all is 0.5 times" in checks.cross_entropy(halved, seed=1).text


def test_whole_numbers_are_said_even_where_they_are_all_0():
    report = checks.softmax(lambda x: right(x).astype(int), seed=2)
    assert f"has dtype {numpy.dtype(int)}" in words(report)  # of 32 bits under WebAssembly
    assert "never filled in" not in report.text


def test_zeros_in_one_case_blame_no_mistake_that_others_contradict():
    def guarded(x):
        powers = numpy.exp(numpy.minimum(x, 700))
        return powers / (powers.sum(axis=-1, keepdims=True) + 1e-300)

    text = words(checks.softmax(guarded, seed=1))
    assert "division by the row's sum is missing" not in text
    assert "it is 0 in this case and not in others: exp of what is far below 0" in text


@pytest.mark.parametrize(
    ("root", "cause"),
    [
        (lambda variance, eps: numpy.sqrt(numpy.maximum(variance, eps)), "eps is taken for the least variance"),
        (lambda variance, eps: numpy.sqrt(variance + eps**2), "eps is squared"),
    ],
)
def test_eps_handled_otherwise_has_one_cause(root, cause):
    def layer_norm(x, weight, bias, eps):
        return (x - x.mean(axis=-1, keepdims=True)) / root(x.var(axis=-1, keepdims=True), eps) * weight + bias

    for seed in range(6):
        (found,) = causes(checks.layer_norm(layer_norm, seed=seed, quiet=True))
        assert found.startswith(cause)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("pixel_values"), "is no parameter"),
        (ValueError("operands could not be broadcast together with shapes (6,2,4) (6,2) "), "keepdims=True"),
        (
            ValueError("operands could not be broadcast together with shapes (6,2) (3,4) "),
            "write down the shape of each",
        ),
        (ValueError("matmul: Input operand 1 has a mismatch in its core dimension 0"), "a transpose is missing"),
        (TypeError("unsupported operand type(s) for *: 'NoneType' and 'float'"), "is its return missing?"),
        (OverflowError("math range error"), "subtract the row's maximum"),
    ],
)
def test_errors_that_are_raised_often_are_explained(error, said):
    def fails(x):
        raise error

    assert said in words(checks.softmax(fails, seed=1, quiet=True))


def test_what_is_kept_from_call_to_call_is_said():
    calls = []

    def counted(x):
        calls.append(x)
        return right(x) * (1 if len(calls) > 4 else 2)

    assert causes(checks.softmax(counted, seed=1, quiet=True)) == {KEPT}


# --------------------------------------------------------------------------------------------------------------------
# What is right
# --------------------------------------------------------------------------------------------------------------------


def test_arrays_of_objects_are_taken_for_their_numbers():
    assert checks.softmax(lambda x: right(x).astype(object), seed=1)
    assert checks.softmax(lambda x: [Fraction(float(entry)) for entry in right(x)] if x.ndim == 1 else right(x), seed=1)
    assert "makes no array of numbers" in words(checks.softmax(lambda x: numpy.array(["a", None]), seed=1))


@pytest.mark.parametrize("cumulative", [ndtr, lambda x: 0.5 * (1 + erf(x / 2**0.5)), lambda x: 0.5 * erfc(-x / 2**0.5)])
def test_gelu_is_right_however_phi_is_computed(cumulative):
    """Far below 0 they differ in every digit, and none of them is asked for."""
    for seed in range(40):
        assert checks.gelu(lambda x: x * cumulative(x), seed=seed, quiet=True)


def test_zeros_that_are_rightly_zeros_earn_nothing_and_cost_when_they_are_wrong():
    def cases(rng):
        return [Case("ones", {"x": numpy.ones(3)}), Case("zeros", {"x": numpy.zeros(3)})]

    halve = Task("halve", ("y",), lambda x: x / 2, cases)
    assert run_check(halve, lambda x: 0 * x, quiet=True).score == 0
    assert run_check(halve, lambda x: x / 2, quiet=True).score == 1
    assert run_check(halve, lambda x: x / 2 + (not x.any()), quiet=True).score == 0.5


@pytest.mark.parametrize("name", sorted(TASKS))
def test_zeros_earn_next_to_nothing(name):
    task = TASKS[name]
    arguments = task.cases(numpy.random.default_rng(0))[0].arguments

    def zeros(*given):
        want = run_reference(task, dict(zip(arguments, given, strict=True)))
        return want

    assert task.weights == () or len(task.weights) == len(task.outputs)
    report = run_check(replace(task, may_use=("minivivit",)), zeros, seed=3, quiet=True)
    assert report.score <= 0.15, report.text


def run_reference(task, arguments):
    """What the reference returns, with zeros in the place of all numbers."""
    returned = task.reference(*(copied(value) for value in arguments.values()))
    outputs = returned if isinstance(returned, tuple) else (returned,)
    empty = tuple(_zeros(output) for output in outputs)
    return empty if isinstance(returned, tuple) else empty[0]


def _zeros(output):
    if isinstance(output, dict):
        return {name: _zeros(part) for name, part in output.items()}
    return numpy.zeros_like(numpy.asarray(output, dtype="float64"))


def test_what_is_derived_is_worth_more_than_what_is_read_off():
    def dx_of_zeros(dy, x, weight, eps):
        normalised = (x - x.mean(axis=-1, keepdims=True)) / numpy.sqrt(x.var(axis=-1, keepdims=True) + eps)
        rows = tuple(range(x.ndim - 1))
        return 0 * x, (dy * normalised).sum(axis=rows), dy.sum(axis=rows)

    assert checks.layer_norm_backward(dx_of_zeros, seed=1, quiet=True).points(5) <= 1

    def never_updates(model, pixel_values, labels, velocity, learning_rate, momentum):
        loss, gradients = model.loss_and_gradients(pixel_values, labels)
        for name in velocity:
            velocity[name][...] = momentum * velocity[name] + gradients[name]
        return loss

    assert checks.training_step(never_updates, seed=1, quiet=True).points(4) <= 1
