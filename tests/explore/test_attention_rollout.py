"""Attention rollout against the definition: whole matrices of `output_attentions`, multiplied."""

import numpy
import pytest

from minivivit import InputError, VivitConfig, VivitForVideoClassification
from minivivit.explore import attention_rollout as module
from minivivit.explore.attention_rollout import attention_rollout

SMALL = {
    "image_size": [12, 8],
    "num_frames": 6,
    "tubelet_size": [2, 4, 4],
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 20,
    "num_temporal_layers": 2,
    "initializer_range": 0.7,
}
TIMES, ROWS, COLUMNS = 3, 3, 2
PLACES = ROWS * COLUMNS


def build(**fields):
    config = VivitConfig(**{**SMALL, **fields})
    model = VivitForVideoClassification(config, dtype="float64", backend="numpy", seed=3)
    pixels = numpy.random.default_rng(4).standard_normal((2, 6, 3, 12, 8))
    return model, pixels


def chain(matrices: list[numpy.ndarray]) -> numpy.ndarray:
    """A_L ... A_1, each half identity."""
    product = numpy.eye(len(matrices[0]))
    for matrix in matrices:
        product = (matrix + numpy.eye(len(matrix))) / 2 @ product
    return product


def seen(product: numpy.ndarray, cls: bool) -> numpy.ndarray:
    return product[0, 1:] if cls else product.mean(axis=0)


def block_diagonal(attention: dict, axis: str, sample: int) -> numpy.ndarray:
    """(tokens, tokens), of the mean over heads of one layer of Model 3 or 4."""
    probs = attention[axis][sample].mean(axis=1)
    matrix = numpy.zeros((TIMES, PLACES, TIMES, PLACES))
    for place in range(PLACES) if axis == "temporal" else ():
        matrix[:, place, :, place] = probs[place]
    for time in range(TIMES) if axis == "spatial" else ():
        matrix[time, :, time, :] = probs[time]
    return matrix.reshape(TIMES * PLACES, TIMES * PLACES)


def scaled(weights: numpy.ndarray) -> numpy.ndarray:
    return (weights / weights.sum()).reshape(TIMES, ROWS, COLUMNS)


@pytest.mark.parametrize("classifier", ["token", "gap"])
def test_model_1(classifier, monkeypatch):
    monkeypatch.setattr(module, "ROWS", 5)  # several blocks, the last not full
    model, pixels = build(classifier=classifier)
    outputs, weights = attention_rollout(model, pixels)
    expected = model(pixels, output_attentions=True)
    numpy.testing.assert_array_equal(outputs.logits, model(pixels).logits)
    for sample in range(2):
        product = chain([layer[sample].mean(axis=0) for layer in expected.attentions])
        numpy.testing.assert_allclose(weights[sample], scaled(seen(product, classifier == "token")), rtol=1e-12)
    assert weights.std() > 0.01  # not flat: there is something to compare


@pytest.mark.parametrize("classifier", ["token", "gap"])
@pytest.mark.parametrize("baseline", [False, True])
def test_model_2(classifier, baseline):
    model, pixels = build(attention_type="factorised_encoder", classifier=classifier, spatial_only_baseline=baseline)
    _, weights = attention_rollout(model, pixels)
    attentions = model(pixels, output_attentions=True).attentions
    cls = classifier == "token"
    for sample in range(2):
        over_time = numpy.full(TIMES, 1 / TIMES)
        if not baseline:
            over_time = seen(chain([layer[sample].mean(axis=0) for layer in attentions["temporal"]]), cls)
        over_space = [
            seen(chain([layer[sample, time].mean(axis=0) for layer in attentions["spatial"]]), cls)
            for time in range(TIMES)
        ]
        numpy.testing.assert_allclose(weights[sample], scaled(over_time[:, None] * over_space), rtol=1e-12)


@pytest.mark.parametrize("order", ["time_space", "space_time"])
def test_model_3(order):
    model, pixels = build(attention_type="factorised_self_attention", attention_order=order)
    _, weights = attention_rollout(model, pixels)
    attentions = model(pixels, output_attentions=True).attentions
    axes = ("temporal", "spatial") if order == "time_space" else ("spatial", "temporal")
    for sample in range(2):
        matrices = []
        for layer in range(3):
            probs = {axis: attentions[axis][layer] for axis in axes}
            matrices += [block_diagonal(probs, axis, sample) for axis in axes]
        numpy.testing.assert_allclose(weights[sample], scaled(seen(chain(matrices), False)), rtol=1e-12)


def test_model_4():
    model, pixels = build(attention_type="factorised_dot_product")
    _, weights = attention_rollout(model, pixels)
    attentions = model(pixels, output_attentions=True).attentions
    for sample in range(2):
        matrices = []
        for layer in range(3):
            probs = {axis: attentions[axis][layer] for axis in ("temporal", "spatial")}
            matrices.append(sum(block_diagonal(probs, axis, sample) for axis in probs) / 2)
        numpy.testing.assert_allclose(weights[sample], scaled(seen(chain(matrices), False)), rtol=1e-12)


def test_a_clip_of_another_size():
    model, _ = build()
    pixels = numpy.random.default_rng(5).standard_normal((1, 8, 3, 16, 16))
    _, weights = attention_rollout(model, pixels, interpolate_pos_encoding=True)
    assert weights.shape == (1, 4, 4, 4)
    numpy.testing.assert_allclose(weights.sum(), 1)


def test_float32_stays_float32():
    config = VivitConfig(**SMALL)
    _, weights = attention_rollout(VivitForVideoClassification(config), numpy.ones((1, 6, 3, 12, 8)))
    assert weights.dtype == numpy.float32


def test_listeners_hear_of_every_layer_and_rollout():
    model, pixels = build()
    heard = []
    attention_rollout(model, pixels, on_record=heard.append)
    assert [f"vivit.encoder.layer.{layer}" in heard for layer in range(4)] == [True, True, True, False]
    assert sum(name.startswith("rollout.") for name in heard) == 3


def test_without_layers_there_is_nothing_to_see():
    model, pixels = build(num_hidden_layers=0)
    with pytest.raises(InputError, match="no layers"):
        attention_rollout(model, pixels)
