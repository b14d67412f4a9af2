"""Clipping by global norm."""

import numpy
import pytest

from minivivit import backend
from minivivit.errors import InputError
from minivivit.training.optimisers import blocks
from minivivit.training.optimisers.clipping import clip_by_global_norm, global_norm


def test_by_hand():
    gradients = {"a": numpy.array([3.0, 0.0]), "b": numpy.array([[4.0]])}
    array = gradients["a"]
    assert clip_by_global_norm(gradients, 1.0) == 5.0
    assert gradients["a"] is array  # in place
    assert gradients["a"][0] == pytest.approx(3 / (5 + 1e-6), rel=1e-15)
    assert gradients["b"][0, 0] == pytest.approx(4 / (5 + 1e-6), rel=1e-15)


def test_what_is_short_enough_keeps_its_bits():
    gradients = {"a": numpy.random.default_rng(0).standard_normal(100)}
    before = gradients["a"].copy()
    clip_by_global_norm(gradients, 1.1 * numpy.linalg.norm(before))
    numpy.testing.assert_array_equal(gradients["a"], before)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_norm_is_accurate_and_does_not_depend_on_threads(dtype, monkeypatch):
    rng = numpy.random.default_rng(0)
    gradients = {str(i): rng.standard_normal((200, 300 + i)).astype(dtype) for i in range(3)}
    expected = numpy.linalg.norm(numpy.concatenate([g.ravel().astype("float64") for g in gradients.values()]))
    monkeypatch.setattr(blocks, "BLOCK_ELEMENTS", 1000)
    norms = set()
    for threads in (1, 2, 3):
        monkeypatch.setattr(backend, "_num_threads", threads)
        norms.add(global_norm(gradients))
    assert len(norms) == 1
    assert norms.pop() == pytest.approx(expected, rel=1e-14)


def test_after_clipping_the_norm_is_the_limit_and_the_direction_stays():
    rng = numpy.random.default_rng(0)
    gradients = {str(i): rng.standard_normal((5, 7)) for i in range(3)}
    before = {name: g.copy() for name, g in gradients.items()}
    norm = clip_by_global_norm(gradients, 0.5)
    assert global_norm(gradients) == pytest.approx(0.5, rel=1e-6)
    for name, gradient in gradients.items():
        numpy.testing.assert_allclose(gradient, before[name] * (0.5 / norm), rtol=1e-6)


def test_float32_squares_that_would_overflow():
    gradients = {"a": numpy.array([3e30, 4e30], dtype="float32")}
    assert clip_by_global_norm(gradients, 1.0) == pytest.approx(5e30, rel=1e-6)
    numpy.testing.assert_allclose(gradients["a"], [0.6, 0.8], rtol=1e-6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_left_for_the_caller(bad):
    gradients = {"a": numpy.array([bad, 2.0]), "b": numpy.array([3.0])}
    assert not numpy.isfinite(clip_by_global_norm(gradients, 1.0))
    assert gradients["a"][1] == 2.0
    assert gradients["b"][0] == 3.0


def test_no_gradients():
    assert clip_by_global_norm({}, 1.0) == 0.0


@pytest.mark.parametrize("max_norm", [0, -1.0, float("nan")])
def test_wrong_limit(max_norm):
    with pytest.raises(InputError, match="max_norm"):
        clip_by_global_norm({"a": numpy.ones(2)}, max_norm)
