"""check_gradients itself: what it accepts, what it finds, what it refuses."""

from functools import partial

import numpy
import pytest

from minivivit.errors import InputError
from minivivit.ops.layer_norm import layer_norm_backward, layer_norm_forward
from minivivit.ops.linear import linear_backward, linear_forward
from minivivit.verification.gradients.check import GradientReport, assert_gradients, check_gradients

INPUTS = {
    "x": numpy.random.default_rng(0).normal(size=(3, 4)),
    "weight": numpy.random.default_rng(1).normal(size=(2, 4)),
}


def rng():
    return numpy.random.default_rng(5)


def product_forward(x, weight):
    return linear_forward(x, weight)


def product_backward(dy, cache):
    return linear_backward(dy, cache)[:2]


def test_right_gradients_pass():
    report = check_gradients(product_forward, product_backward, INPUTS, rng=rng())
    assert isinstance(report, GradientReport)
    assert report
    assert report.passed is True
    assert report.failures == []
    assert [each.name for each in report.inputs] == ["x", "weight"]
    assert (report["x"].num_entries, report["x"].num_checked) == (12, 12)
    assert all(each.max_rel_error < 1e-11 for each in report.inputs)
    assert assert_gradients(product_forward, product_backward, INPUTS, rng=rng()) == report


def wrong_entry(dy, cache):
    dx, dweight = product_backward(dy, cache)
    dweight[1, 2] += 1e-3
    return dx, dweight


def test_a_wrong_entry_is_found_and_named():
    report = check_gradients(product_forward, wrong_entry, INPUTS, rng=rng())
    assert not report
    (failure,) = report.failures
    assert (failure.name, failure.where) == ("weight", (1, 2))
    assert failure.max_abs_error == pytest.approx(1e-3, rel=1e-6)
    assert failure.analytic - failure.numeric == pytest.approx(1e-3, rel=1e-6)
    assert 1e-4 < failure.max_rel_error < 1e-2
    assert str(report).splitlines()[0].startswith("ok    x: relative error")
    assert str(report).splitlines()[1].startswith("WRONG weight: relative error")
    with pytest.raises(AssertionError, match=r"^wrong gradients: weight: .* at entry \(1, 2\), where") as error:
        assert_gradients(product_forward, wrong_entry, INPUTS, rng=rng())
    assert "\n" not in str(error.value)


def test_an_entry_that_is_not_drawn_shows_along_the_random_direction():
    inputs = {"x": rng().normal(size=(30, 40)), "weight": rng().normal(size=(2, 40))}

    def backward(dy, cache):
        dx, dweight = product_backward(dy, cache)
        dx[17, 3] += 1e-3
        return dx, dweight

    report = check_gradients(product_forward, backward, inputs, rng=rng(), max_entries=2)
    assert report["x"].num_checked == 2
    assert [failure.name for failure in report.failures] == ["x"]
    assert report["x"].where is None
    assert "a random direction" in str(report)
    assert check_gradients(product_forward, product_backward, inputs, rng=rng(), max_entries=2)


def test_nan_is_wrong():
    def backward(dy, cache):
        dx, dweight = product_backward(dy, cache)
        dx[0, 0] = numpy.nan
        return dx, dweight

    report = check_gradients(product_forward, backward, INPUTS, rng=rng())
    assert "x" in [failure.name for failure in report.failures]


def test_the_tolerance_decides():
    report = check_gradients(product_forward, wrong_entry, INPUTS, rng=rng(), tolerance=0.1)
    assert report
    assert report.tolerance == 0.1


def test_trees_dicts_and_single_gradients():
    def forward(params):
        return params["a"]["b"] ** 2 * params["c"], params

    def backward(dy, params):
        return {"a": {"b": 2 * dy * params["a"]["b"] * params["c"]}, "c": dy * params["a"]["b"] ** 2}

    tree = {"a": {"b": rng().normal(size=3)}, "c": rng().normal(size=3)}
    report = check_gradients(forward, backward, {"params": tree}, rng=rng())
    assert report
    assert [each.name for each in report.inputs] == ["params.a.b", "params.c"]

    def by_name(dy, cache):
        dx, dweight = product_backward(dy, cache)
        return {"weight": dweight, "x": dx, "more": None}

    assert check_gradients(product_forward, by_name, INPUTS, rng=rng())
    assert check_gradients(lambda x: (x**3, x), lambda dy, x: 3 * x**2 * dy, {"x": rng().normal(size=3)}, rng=rng())
    # a number as output, and outputs between the first and the cache
    assert check_gradients(
        lambda x: ((x**3).sum(), "?", x), lambda dy, x: 3 * x**2 * dy, {"x": numpy.ones(3)}, rng=rng()
    )


def test_inputs_are_left_as_they_are_and_float32_is_checked_in_float64():
    inputs = {name: array.astype("float32") for name, array in INPUTS.items()}
    before = {name: array.copy() for name, array in inputs.items()}
    seen = set()

    def forward(x, weight):
        seen.update((x.dtype.name, weight.dtype.name))
        return linear_forward(x, weight)

    assert check_gradients(forward, product_backward, inputs, rng=rng())
    assert seen == {"float64"}
    assert all((inputs[name] == before[name]).all() for name in inputs)


def test_a_forward_pass_that_returns_its_input():
    assert check_gradients(lambda x: (x, None), lambda dy, cache: dy, {"x": numpy.arange(4.0)}, rng=rng())


def test_arrays_in_any_order_of_memory():
    assert check_gradients(
        product_forward, product_backward, {n: numpy.asfortranarray(a) for n, a in INPUTS.items()}, rng=rng()
    )


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 1e3, 1e6])
def test_the_step_follows_the_size_of_the_input(scale):
    """Layer norm of inputs of any size; eps small beside them."""
    inputs = {"x": scale * rng().normal(size=(3, 5)), "weight": rng().normal(size=5), "bias": rng().normal(size=5)}
    forward = partial(layer_norm_forward, eps=1e-3 * scale**2)
    assert check_gradients(forward, layer_norm_backward, inputs, rng=rng())


def test_the_error_falls_as_the_docstring_says():
    """Truncation is h^4 / 30 times the fifth derivative: exp has all derivatives alike."""
    for step in (1e-1, 3e-2):
        report = check_gradients(
            lambda x: (numpy.exp(x), x), lambda dy, x: dy * numpy.exp(x), {"x": numpy.zeros(1)}, rng=rng(), step=step
        )
        assert report["x"].max_rel_error == pytest.approx(step**4 / 30, rel=0.05)
    best = check_gradients(
        lambda x: (numpy.exp(x), x), lambda dy, x: dy * numpy.exp(x), {"x": numpy.zeros(1)}, rng=rng()
    )
    assert best["x"].max_rel_error < 2e-12


def drawing(x, generator=numpy.random.default_rng(0)):  # noqa: B008 - one generator for all calls is the mistake
    return x * generator.random(), x


@pytest.mark.parametrize(
    ("forward", "backward", "inputs", "message"),
    [
        (product_forward, product_backward, {}, "no input"),
        (product_forward, product_backward, {"x": numpy.arange(4)}, "input 'x' is not a float array"),
        (product_forward, product_backward, {"x": 1.0}, "input 'x' is not a float array"),
        (product_forward, product_backward, {"x": {"y": numpy.ones(0)}}, "input 'x' is not a float array"),
        (drawing, lambda dy, x: dy, {"x": numpy.ones(3)}, "two outputs for the same inputs"),
        (lambda x: (x * numpy.nan, x), lambda dy, x: dy, {"x": numpy.ones(3)}, "gave NaN"),
        (
            product_forward,
            lambda dy, cache: (dy,),
            INPUTS,
            "gave 1 gradients; expected one each for x, weight",
        ),
        (product_forward, lambda dy, cache: dy, INPUTS, "gave one gradient; expected one each for x, weight"),
        (product_forward, lambda dy, cache: (None, dy), INPUTS, "no gradient for 'x'"),
        (product_forward, lambda dy, cache: {"x": dy, "weight": dy}, INPUTS, r"gradient of 'x' has shape \(3, 2\)"),
        (lambda p: (p["a"], p), lambda dy, p: {"b": dy}, {"p": {"a": numpy.ones(2)}}, r"no gradient for 'p\.a'"),
    ],
)
def test_what_cannot_be_compared_is_refused(forward, backward, inputs, message):
    with pytest.raises(InputError, match=message) as error:
        check_gradients(forward, backward, inputs, rng=rng())
    assert "\n" not in str(error.value)
