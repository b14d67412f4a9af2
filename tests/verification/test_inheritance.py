"""What a tensor's inputs explain of its error: bounds that hold for any errors of theirs."""

import math

import numpy
import pytest

from minivivit.verification.comparison.inheritance import NOTHING, Inheritance
from minivivit.verification.tensors.error import TensorError

RNG = numpy.random.default_rng(0)
NOISY = {"relative_l2": 1.0, "max_abs": 1e-9, "rms": 1e-9}
LAYER = "vivit.encoder.layer.0"
KEY = f"gradient.{LAYER}.attention.attention.key"


def error_of(difference):
    rms = float(numpy.sqrt((difference**2).mean()))
    return TensorError(max_abs=float(abs(difference).max()), relative_l2=1.0, rms=rms, where=(0,))


def of_values(array):
    """A budget that tells how large the values are."""
    rms = float(numpy.sqrt((array**2).mean()))
    return {"relative_l2": 1e-3, "rms": 1e-3 * rms, "max_abs": 1e-2 * rms}


@pytest.mark.parametrize("common", [0.0, 1.0])
def test_a_bias_and_a_weight_err_by_no_more_than_their_output_explains(common):
    """Errors that are alike in all rows add up; others do less."""
    rows, width = (2, 9), 12
    inputs = RNG.standard_normal((*rows, width)) * 5
    wrong = (RNG.standard_normal((*rows, width)) * (1 - common) + common) * 1e-4
    inheritance = Inheritance({KEY: (2, 9, 12)}, 3)
    inheritance.accept(KEY, error_of(wrong))
    budgets = {f"{KEY}.bias": NOISY, f"{KEY}.weight": NOISY, f"{LAYER}.layernorm_before": of_values(inputs)}
    bias = wrong.sum((0, 1))
    rms, largest = inheritance.floor(f"{KEY}.bias", bias.shape, budgets, "float16")
    assert math.sqrt((bias**2).mean()) <= rms * (1 + 1e-12)
    assert abs(bias).max() <= largest * (1 + 1e-12)
    if common:
        assert rms == pytest.approx(math.sqrt((bias**2).mean()))
    weight = numpy.einsum("bno,bni->oi", wrong, inputs)
    rms, _ = inheritance.floor(f"{KEY}.weight", weight.shape, budgets, "float16")
    assert math.sqrt((weight**2).mean()) <= rms


def test_queries_and_keys_err_by_no_more_than_any_probabilities_could():
    heads, tokens, size = 2, 7, 6
    query, key, value, slope = RNG.standard_normal((4, 1, heads, tokens, size))

    def gradient(sharpness):
        scores = query @ key.swapaxes(-1, -2) * sharpness
        probs = numpy.exp(scores - scores.max(-1, keepdims=True))
        probs /= probs.sum(-1, keepdims=True)
        of_probs = slope @ value.swapaxes(-1, -2)
        of_scores = probs * (of_probs - (probs * of_probs).sum(-1, keepdims=True))
        return of_scores @ key / math.sqrt(size)

    attention = f"{LAYER}.attention.attention"
    budgets = {
        f"gradient.{attention}.query": NOISY,
        f"gradient.{attention}": of_values(slope),
        f"{attention}.value": of_values(value),
        f"{attention}.key": of_values(key),
        f"{attention}.scores": {"relative_l2": 1.0, "rms": 1.0, "max_abs": 5.0},
    }
    names, shape = (f"gradient.{attention}.{part}" for part in ("query", "key")), (1, tokens, heads * size)
    inheritance = Inheritance(dict.fromkeys(names, shape), heads)
    rms, _ = inheritance.floor(f"gradient.{attention}.query", shape, budgets, "float16")
    assert all(math.sqrt((gradient(sharpness) ** 2).mean()) <= rms for sharpness in (0.1, 1, 10, 100))
    scores = {"relative_l2": 1e-4, "rms": 1e-4, "max_abs": 1e-3}
    less, _ = inheritance.floor(
        f"gradient.{attention}.query", shape, budgets | {f"{attention}.scores": scores}, "float16"
    )
    assert less == pytest.approx(4e-3 * rms)
    fine = budgets | {f"gradient.{attention}.query": NOISY | {"relative_l2": 1e-3}}
    least, _ = inheritance.floor(f"gradient.{attention}.query", shape, fine, "float32")
    assert least == pytest.approx(2 * 2**-24 * rms)
    assert inheritance.floor(f"gradient.{attention}.query", shape, {}, "float16") == NOTHING


def test_the_loss_errs_by_no_more_than_twice_the_largest_error_of_the_logits():
    logits, wrong = RNG.standard_normal((2, 3, 8))
    inheritance = Inheritance({}, None)
    inheritance.accept("classifier", error_of(wrong))
    rms, largest = inheritance.floor("loss", (), {}, "float16")

    def loss(y):
        return float((numpy.log(numpy.exp(y).sum(-1)) - y[:, 0]).mean())

    assert abs(loss(logits + wrong) - loss(logits)) <= rms == largest


def test_what_is_more_than_rounding_inherits_nothing():
    inheritance = Inheritance({KEY: (2, 9, 12)}, 3)
    inheritance.accept(KEY, error_of(RNG.standard_normal((2, 9, 12))))
    fine = {f"{KEY}.bias": NOISY | {"relative_l2": 1e-3}}
    assert inheritance.floor(f"{KEY}.bias", (12,), fine, "float16") == NOTHING
    assert inheritance.floor(f"{LAYER}.output.dense", (2, 9, 12), {}, "float16") == NOTHING


def test_probabilities_of_scores_that_are_lost_may_choose_another_key():
    attention, tokens = f"{LAYER}.attention.attention", 5
    shape = (2, 3, tokens, tokens)
    scores = RNG.standard_normal(shape) * 50
    value = RNG.standard_normal((2, tokens, 12))
    budgets = {f"{attention}.probs": NOISY, attention: NOISY, f"{attention}.value": of_values(value)}

    def probs(s):
        p = numpy.exp(s - s.max(-1, keepdims=True))
        return p / p.sum(-1, keepdims=True)

    for size, lost in ((1e-3, False), (20.0, True)):
        wrong = RNG.standard_normal(shape) * size
        inheritance = Inheritance({}, 3)
        inheritance.accept(f"{attention}.scores", error_of(wrong))
        floor = inheritance.floor(f"{attention}.probs", shape, budgets, "bfloat16")
        of_context, _ = inheritance.floor(attention, (2, tokens, 12), budgets, "bfloat16")
        assert bool(floor[0]) == bool(of_context) == lost
        if lost:
            change = probs(scores + wrong) - probs(scores)
            assert math.sqrt((change**2).mean()) <= floor[0]
            assert abs(change).max() <= floor[1]
            # what follows is off in proportion, and nothing before
            inheritance.accept(attention, TensorError(relative_l2=0.3, rms=0.3, max_abs=1.0, where=(0,)))
            dense = of_values(value)
            following, _ = inheritance.floor(
                f"{LAYER}.output.dense", (2, tokens, 12), {f"{LAYER}.output.dense": dense}, ""
            )
            assert following == pytest.approx(2 * 0.3 * dense["rms"] / dense["relative_l2"])
