"""What a training pass draws in each model, and that gradient_checkpointing draws and computes the same."""

import math

import numpy
import pytest
from model_cases import MODELS, TRAINING, clip_for, tiny_config, tiny_model

from minivivit.models.encoders.draws import draw_layers
from minivivit.models.encoders.factorised_encoder import _encoder_forward
from minivivit.models.encoders.forward_options import ForwardOptions


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("model_number", MODELS)
@pytest.mark.parametrize("training", [False, True])
def test_gradient_checkpointing_gives_the_same_bits(model_number, training, dtype):
    rng = numpy.random.default_rng(0)
    config = tiny_config(model_number, **(TRAINING if training else {}))
    model = tiny_model(config, rng, dtype)
    pixels, labels = clip_for(config, rng, batch=3), numpy.array([0, 3, 1])

    def run(gradient_checkpointing):
        draws = numpy.random.default_rng(1) if training else None
        return model.loss_and_gradients(pixels, labels, rng=draws, gradient_checkpointing=gradient_checkpointing)

    (loss, gradients), (again, gradients_again) = run(False), run(True)
    assert loss == again
    assert loss.dtype == dtype
    assert gradients.keys() == gradients_again.keys()
    for name, gradient in gradients.items():
        assert gradient.tobytes() == gradients_again[name].tobytes(), name


@pytest.mark.parametrize("model_number", MODELS)
def test_one_seed_gives_one_training_pass(model_number):
    rng = numpy.random.default_rng(0)
    config = tiny_config(model_number, **TRAINING)
    model = tiny_model(config, rng)
    pixels, labels = clip_for(config, rng), numpy.array([0, 3])

    def loss(seed):
        return model.loss_and_gradients(pixels, labels, rng=None if seed is None else numpy.random.default_rng(seed))[0]

    assert loss(1) == loss(1)
    assert len({float(loss(seed)) for seed in (1, 2, 3, None)}) == 4
    assert loss(None) == model(pixels, labels=labels).loss


@pytest.mark.parametrize("model_number", MODELS)
def test_stochastic_depth_leaves_model_3_alone(model_number):
    """scenic's block of factorised self-attention has none."""
    rng = numpy.random.default_rng(0)
    config = tiny_config(model_number, stochastic_droplayer_rate=0.5)
    model = tiny_model(config, rng)
    pixels, labels = clip_for(config, rng, batch=8), numpy.arange(8) % 4
    loss, _ = model.loss_and_gradients(pixels, labels, rng=numpy.random.default_rng(1))
    assert (loss == model(pixels, labels=labels).loss) == (model_number == "3")


@pytest.mark.parametrize("model_number", MODELS)
def test_a_training_pass_without_rates_draws_nothing(model_number):
    rng = numpy.random.default_rng(0)
    config = tiny_config(model_number)
    model = tiny_model(config, rng)
    pixels, labels = clip_for(config, rng), numpy.array([0, 3])
    draws = numpy.random.default_rng(1)
    state = draws.bit_generator.state
    assert model.loss_and_gradients(pixels, labels, rng=draws)[0] == model(pixels, labels=labels).loss
    assert draws.bit_generator.state == state


def layers_of(config, rng, num_layers, *, batch=1, branches=("attention", "mlp"), **options):
    tokens = numpy.zeros((batch, 2, config.hidden_size))
    return draw_layers(rng, config, branches, tokens, num_layers, **options)


def test_stochastic_depth_grows_linearly_and_draws_apart():
    """The share of dropped samples in each layer and branch; branches and layers are independent."""
    batch, rate = 20000, 0.6
    config = tiny_config("1", stochastic_droplayer_rate=rate)
    layers = layers_of(config, numpy.random.default_rng(0), 4, batch=batch)
    masks = []
    for index, draws in enumerate(layers):
        expected = rate * index / 3
        for branch in ("attention", "mlp"):
            assert draws[branch]["dropout"] is None
            assert draws["attention_probs"] is None
            if index == 0:
                assert draws[branch]["depth"] is None
                continue
            keep = draws[branch]["depth"]
            assert keep.shape == (batch, 1, 1)
            assert abs(1 - keep.mean() - expected) < 5 * math.sqrt(expected * (1 - expected) / batch)
            masks.append((keep.ravel() - keep.mean()) / keep.std())
    correlations = numpy.corrcoef(masks) - numpy.eye(len(masks))
    assert abs(correlations).max() < 5 / math.sqrt(batch)


def test_dropout_draws_for_every_entry_and_seeds_for_the_probabilities():
    config = tiny_config("1", hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.2)
    layers = layers_of(config, numpy.random.default_rng(0), 3, batch=500)
    for draws in layers:
        for branch in ("attention", "mlp"):
            keep, rate = draws[branch]["dropout"]
            assert rate == 0.3
            assert keep.shape == (500, 2, config.hidden_size)
            assert abs(keep.mean() - 0.7) < 5 * math.sqrt(0.21 / keep.size)
        assert draws["attention_probs"][1] == 0.2
    assert len({draws["attention_probs"][0] for draws in layers}) == 3


def test_copies_of_a_sample_are_dropped_together():
    config = tiny_config("2", stochastic_droplayer_rate=0.5)
    _, draws = layers_of(config, numpy.random.default_rng(0), 2, batch=3 * 400, copies=3)
    keep = draws["mlp"]["depth"].reshape(400, 3)
    assert (keep == keep[:, :1]).all()
    assert 0.35 < keep.mean() < 0.65


def test_model_2_drops_whole_samples_over_all_their_frames():
    """The spatial encoder sees batch * times sequences; a sample's frames lose a branch together or not at all."""
    rng = numpy.random.default_rng(0)
    config = tiny_config("2", stochastic_droplayer_rate=0.5)
    params = tiny_model(config, rng).params["vivit"]["spatial_encoder"]
    times, places, batch = 3, 4, 40
    one = rng.normal(size=(1, places, config.hidden_size))
    frames = numpy.repeat(one, batch * times, axis=0)  # all sequences alike: what differs is drawn
    grids = ((1, 2, 2), (1, 2, 2))
    options = ForwardOptions(rng=numpy.random.default_rng(1))
    y, _, _ = _encoder_forward(frames, params, config, options, "spatial_encoder", grids, copies=times)
    by_sample = y.reshape(batch, times, -1)
    # alike within a sample, but for a last bit that depends on the place in a matrix product
    numpy.testing.assert_allclose(by_sample, numpy.broadcast_to(by_sample[:, :1], by_sample.shape), atol=1e-12)
    distinct = numpy.unique(by_sample[:, 0].round(9), axis=0)
    assert len(distinct) == 4  # either branch of the second layer kept or not


def test_model_3_has_no_stochastic_depth():
    rng = numpy.random.default_rng(0)
    config = tiny_config("3", stochastic_droplayer_rate=0.9)
    model = tiny_model(config, rng)
    pixels, labels = clip_for(config, rng), numpy.array([0, 3])
    loss, _ = model.loss_and_gradients(pixels, labels, rng=numpy.random.default_rng(1))
    assert loss == model(pixels, labels=labels).loss


def test_a_dropped_branch_passes_its_input_on():
    """With stochastic depth as near to 1 as can be, the last layer of Model 1 does nothing."""
    rng = numpy.random.default_rng(0)
    config = tiny_config("1", stochastic_droplayer_rate=0.999999)
    model = tiny_model(config, rng)
    pixels = clip_for(config, rng)
    options = ForwardOptions(rng=numpy.random.default_rng(1), output_hidden_states=True)
    _, outputs, _ = model.run(pixels, options)
    embeddings, first, second = outputs["hidden_states"]
    assert (first == second).all()
    assert (embeddings != first).any()


def test_dropout_after_the_embeddings():
    rng = numpy.random.default_rng(0)
    config = tiny_config("1", hidden_dropout_prob=0.5)
    model = tiny_model(config, rng)
    pixels = clip_for(config, rng, batch=20)
    plain = model.run(pixels, ForwardOptions(output_hidden_states=True))[1]["hidden_states"][0]
    options = ForwardOptions(rng=numpy.random.default_rng(1), output_hidden_states=True)
    dropped = model.run(pixels, options)[1]["hidden_states"][0]
    kept = dropped != 0
    assert abs(kept.mean() - 0.5) < 5 * 0.5 / math.sqrt(kept.size)
    numpy.testing.assert_allclose(dropped[kept], 2 * plain[kept], rtol=1e-12)
