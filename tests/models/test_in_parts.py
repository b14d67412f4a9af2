"""Parts of a batch go through a stack of layers side by side: the same numbers, up to rounding."""

import numpy
import pytest
from small_models import MODELS, clip_for, small_model

from minivivit import InputError, VivitModel
from minivivit.layers import layer_stack
from minivivit.models.encoders.forward_options import training_options
from minivivit.training.accumulation import batch_gradients
from minivivit.training.parallel.ranks import Ranks

ALL_MODELS = pytest.mark.parametrize("number", MODELS)


@pytest.fixture
def counted(monkeypatch):
    """Batches are cut into parts of one sample; how many parts each stack was cut into."""
    monkeypatch.setattr(layer_stack, "FEWEST_TOKENS", 1)
    monkeypatch.setattr(layer_stack, "PART_TOKENS", 1)
    counts, cut = [], layer_stack._parts_of

    def noted(x):
        counts.append(len(cut(x)))
        return cut(x)

    monkeypatch.setattr(layer_stack, "_parts_of", noted)
    return counts


def whole(model, call):
    """What the call gives where no batch is cut."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer_stack, "FEWEST_TOKENS", 10**9)
        return call(model)


def assert_close(ours, theirs, tolerance):
    assert numpy.abs(ours - theirs).max() <= tolerance * max(1.0, numpy.abs(theirs).max())


@ALL_MODELS
@pytest.mark.parametrize("batch", [2, 3, 5])
def test_outputs_and_gradients_are_those_of_the_whole_batch(number, batch, counted):
    model = small_model(number)
    pixels, labels = clip_for(model.config, batch=batch), [0, 2, 1, 2, 0][:batch]
    calls = [
        lambda model: model(pixels, output_hidden_states=True).logits,
        lambda model: model.loss_and_gradients(pixels, labels)[1],
        lambda model: model.loss_and_gradients(pixels, labels, gradient_checkpointing=True)[1],
        lambda model: model.loss_and_gradients(pixels, labels, rng=numpy.random.default_rng(0))[1],
    ]
    logits, *gradients = (call(model) for call in calls)
    assert max(counted) >= batch
    expected, *expected_gradients = (whole(model, call) for call in calls)
    assert_close(logits, expected, 1e-13)
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        assert list(ours) == list(theirs)
        for name in theirs:
            assert_close(ours[name], theirs[name], 1e-12)


@ALL_MODELS
def test_hidden_states_are_whole(number, counted):
    model = small_model(number, cls=VivitModel)
    pixels = clip_for(model.config)
    ours = model(pixels, output_hidden_states=True).hidden_states
    assert max(counted) > 1
    theirs = whole(model, lambda model: model(pixels, output_hidden_states=True).hidden_states)
    pairs = zip(ours.values(), theirs.values(), strict=True) if isinstance(ours, dict) else [(ours, theirs)]
    for our_states, their_states in pairs:
        for our_state, their_state in zip(our_states, their_states, strict=True):
            assert our_state.shape == their_state.shape
            assert_close(our_state, their_state, 1e-13)


@pytest.mark.parametrize(
    "arguments",
    [{"output_attentions": True}, {"attention_mask": numpy.ones((2, 17))}],
    ids=["attentions", "mask"],
)
def test_what_is_for_the_whole_batch_is_not_cut(arguments, counted):
    model = small_model(cls=VivitModel)
    model(clip_for(model.config), **arguments)
    assert counted == []


def test_masks_are_for_the_whole_batch(counted):
    model = small_model(hidden_dropout_prob=0.3)
    model.loss_and_gradients(clip_for(model.config), [0, 1], rng=numpy.random.default_rng(0))
    assert counted == []


def test_training_is_in_parts_but_where_each_layers_gradients_are_sent_on(counted):
    model = small_model()
    pixels, labels = clip_for(model.config, batch=4), numpy.array([0, 2, 1, 0])
    names = [name for name in model.state_dict() if name.startswith("vivit.encoder")]
    alone = batch_gradients(model, pixels, labels, names).gradients
    assert counted == [4]
    expected = whole(model, lambda model: batch_gradients(model, pixels, labels, names).gradients)
    for name in names:
        assert_close(alone[name], expected[name], 1e-12)
    counted.clear()
    others = Ranks()
    others.size = 2
    batch_gradients(model, pixels[:2], labels, names, ranks=others)
    assert counted == []


def test_a_cache_of_parts_serves_once(counted):
    model = small_model(cls=VivitModel)
    last_hidden_state, _, _, cache = model.run(clip_for(model.config), training_options(False, None, False))
    assert counted == [2]
    model.backward(numpy.ones_like(last_hidden_state), None, cache)
    with pytest.raises(InputError, match="this cache has served a backward pass, and serves only one"):
        model.backward(numpy.ones_like(last_hidden_state), None, cache)


def test_only_small_samples_in_large_batches_are_cut():
    sizes = {(16, 33, 96): 2, (64, 33, 96): 2, (128, 33, 96): 4, (4, 33, 96): 1, (300, 1, 96): 2, (8, 197, 768): 1}
    sizes[64, 17, 768] = 1
    for shape, count in sizes.items():
        parts = layer_stack._parts_of(numpy.empty(shape, "float32"))
        assert len(parts) == count, shape
        assert [index for part in parts for index in range(shape[0])[part]] == list(range(shape[0]))
