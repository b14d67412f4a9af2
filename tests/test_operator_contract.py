"""What every pair of forward and backward keeps to, beside being right: dtypes, inputs left alone, bits that depend on
neither threads nor their order."""

from contextlib import contextmanager
from unittest import mock

import numpy
import pytest
from gradient_cases import CASES, small_blocks
from model_cases import MODEL_CASES

from minivivit import backend
from minivivit.layers import mlp
from minivivit.models.parameters import flatten, map_tree
from minivivit.ops import blockwise_attention, layer_norm

IN_BLOCKS = ("layer", "linear", "mlp", "multi_head", "blockwise")
THREADED = [name for name in CASES if any(part in name for part in IN_BLOCKS)]
EVERYTHING = {**CASES, **MODEL_CASES}


def run(name, dtype=numpy.float64):
    """(output, flat gradients, dy, inputs) of one case."""
    rng = numpy.random.default_rng(8)
    forward, backward, inputs = EVERYTHING[name](rng=rng, dtype=dtype)
    y, *_, cache = forward(**inputs)
    dy = numpy.asarray(rng.standard_normal(y.shape)).astype(dtype)
    gradients = backward(dy, cache)
    if not isinstance(gradients, tuple | dict):
        gradients = (gradients,)
    if isinstance(gradients, tuple):
        gradients = dict(zip(inputs, gradients, strict=True))
    return y, flatten(gradients), dy, inputs


@pytest.mark.parametrize("name", EVERYTHING)
def test_float32_stays_float32(name):
    """Outputs and gradients, which are those of float64 but for rounding."""
    y, gradients, _, inputs = run(name, numpy.float32)
    exact_y, exact_gradients, _, _ = run(name)
    assert y.dtype == numpy.float32
    assert exact_y.dtype == numpy.float64
    assert abs(y - exact_y).max() <= 1e-5 * abs(exact_y).max()
    largest = max(abs(gradient).max() for gradient in exact_gradients.values())
    for key in flatten(inputs):
        assert gradients[key].dtype == numpy.float32, key
        assert exact_gradients[key].dtype == numpy.float64, key
        assert abs(gradients[key] - exact_gradients[key]).max() <= 3e-5 * largest, key


@pytest.mark.parametrize("name", CASES)
def test_inputs_are_only_read(name):
    rng = numpy.random.default_rng(8)
    forward, backward, inputs = CASES[name](rng=rng, dtype=numpy.float64)
    before = flatten(map_tree(numpy.copy, inputs))
    y, *_, cache = forward(**inputs)
    y_before = y.copy()
    dy = numpy.asarray(rng.standard_normal(y.shape))
    dy_before = dy.copy()
    backward(dy, cache)
    assert (dy == dy_before).all()
    assert (y == y_before).all()
    for key, array in flatten(inputs).items():
        assert (array == before[key]).all(), key


@contextmanager
def threads(count):
    before = backend.num_threads()
    backend.set_num_threads(count)
    try:
        yield
    finally:
        backend.set_num_threads(before)


def assert_same_bits(first, second):
    assert first[0].tobytes() == second[0].tobytes()
    assert first[1].keys() == second[1].keys()
    for key, gradient in first[1].items():
        assert gradient.tobytes() == second[1][key].tobytes(), key


@pytest.mark.parametrize("name", [*THREADED, "model_1_training", "model_2_training"])
def test_bits_do_not_depend_on_the_number_of_threads(name):
    with small_blocks():
        with threads(1):
            alone = run(name, numpy.float32)
        for count in (2, 3):
            with threads(count):
                assert_same_bits(alone, run(name, numpy.float32))


@pytest.mark.parametrize("name", [*THREADED, "model_1_training", "model_2_training"])
def test_bits_do_not_depend_on_the_order_of_the_tasks(name):
    with small_blocks():
        in_order = run(name, numpy.float32)
        number_of_tasks = []

        def backwards(tasks, xp=numpy):
            number_of_tasks.append(len(tasks))
            for task in reversed(tasks):
                task()

        with (
            mock.patch.object(backend, "parallel_blocks", backwards),
            mock.patch.object(layer_norm, "parallel_blocks", backwards),
            mock.patch.object(mlp, "parallel_blocks", backwards),
            mock.patch.object(blockwise_attention, "parallel_blocks", backwards),
        ):
            assert_same_bits(in_order, run(name, numpy.float32))
    assert "explicit" in name or max(number_of_tasks) > 1
