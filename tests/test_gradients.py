"""Every backward pass of ops/, layers/ and models/ against central differences, on every input."""

import numpy
import pytest
from gradient_cases import CASES, small_blocks
from in_part import one_in, only
from model_cases import MODEL_CASES

from minivivit.verification.gradients.check import assert_gradients

LAYERS = [name for name in CASES if any(word in name for word in ("layer", "mlp", "multi_head", "dot_product"))]
BLOCKED = [
    *(name for name in CASES if "blockwise" in name),
    "layer_norm",
    "mlp",
    "multi_head_attention_masked",
    "factorised_dot_product_attention_with_dropout",
    "factorised_self_attention_layer_with_draws",
    "layer_stack_with_checkpointing",
]


@pytest.mark.parametrize("name", CASES)
def test_gradients(name):
    rng = numpy.random.default_rng(3)
    max_entries = 1 if name in LAYERS else None
    assert_gradients(*CASES[name](rng=rng, dtype=numpy.float64), rng=rng, max_entries=max_entries)


@pytest.mark.parametrize("name", only(BLOCKED[:-1], BLOCKED))
def test_gradients_with_several_blocks(name):
    rng = numpy.random.default_rng(4)
    with small_blocks():
        assert_gradients(*CASES[name](rng=rng, dtype=numpy.float64), rng=rng, max_entries=1)


@pytest.mark.parametrize("name", one_in(4, MODEL_CASES))
def test_gradients_of_models(name):
    """Each parameter along one random direction, which all its entries bend; one by one they are moved above."""
    rng = numpy.random.default_rng(6)
    assert_gradients(*MODEL_CASES[name](rng), rng=rng, max_entries=0)
