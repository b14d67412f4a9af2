"""No line of ops/, layers/ and models/ calls NumPy on a device array: every model runs on a stand-in array type."""

import numpy
import pytest
from small_models import MODELS, clip_for, fill, small_config, small_model
from stand_in_array import StandInArray, xp

from minivivit import VivitForVideoClassification, VivitModel
from minivivit.backend import array_namespace, special_functions, to_numpy
from minivivit.config import ACTIVATION_NAMES
from minivivit.layers.trace import Trace
from minivivit.models.parameters import map_tree
from minivivit.ops.blockwise_attention import _head_groups, _row_blocks
from minivivit.training.optimisers.adamw import AdamW
from minivivit.training.optimisers.clipping import clip_by_global_norm
from minivivit.training.optimisers.sgd import SGD

ALL_MODELS = pytest.mark.parametrize("number", MODELS)
# "To the last digits": one block instead of several adds the same numbers in another order. Gradients are sums of more
# numbers, and that of a key's bias is 0 in exact arithmetic, a sum of which only rounding is left.
TOLERANCE = {"float64": 1e-13, "float32": 1e-5}
GRADIENT_TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
# Of the largest gradient, what a small one is relative to at least. A key's bias then may have what rounding of terms
# as large leaves: in float32, whose layer norm a GPU computes in float64, one unit in the last place.
SMALLEST = {"float64": 1e-3, "float32": 1e-2}


def on_stand_in(model):
    """A model with the same parameters in stand-in arrays."""
    other = type(model).__new__(type(model))
    vars(other).update(vars(model))
    other.params = map_tree(lambda array: xp.asarray(array), model.params)
    return other


def assert_same(ours, theirs, tolerance=TOLERANCE["float64"], largest=0.0):
    """`ours` is a stand-in, or a container of such, and equals `theirs` relative to its largest value."""
    if theirs is None or isinstance(theirs, str):
        assert ours == theirs
    elif isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for name in theirs:
            assert_same(ours[name], theirs[name], tolerance, largest)
    elif isinstance(theirs, tuple | list):
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other, tolerance, largest)
    else:
        assert isinstance(ours, StandInArray)
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        difference = numpy.abs(ours.get() - theirs).max()
        assert difference <= tolerance * max(numpy.abs(theirs).max(), largest)


def assert_same_outputs(model, pixels, **arguments):
    ours, theirs = on_stand_in(model)(pixels, **arguments), model(pixels, **arguments)
    assert list(ours) == list(theirs)
    assert_same(ours.to_tuple(), theirs.to_tuple(), TOLERANCE[model.dtype.name])


def assert_same_gradients(model, pixels, labels, training=False, **arguments):
    results = []
    for one in (on_stand_in(model), model):
        rng = numpy.random.default_rng(3) if training else None
        results.append(one.loss_and_gradients(pixels, labels, rng=rng, **arguments))
    (our_loss, ours), (loss, theirs) = results
    tolerance = GRADIENT_TOLERANCE[model.dtype.name]
    assert_same(our_loss, loss, tolerance)
    largest = max(numpy.abs(gradient).max() for gradient in theirs.values())
    assert_same(ours, theirs, tolerance, SMALLEST[model.dtype.name] * largest)


# --------------------------------------------------------------------------------------------------------------------
# The stand-in itself
# --------------------------------------------------------------------------------------------------------------------


def test_the_stand_in_is_found_and_refuses_numpy():
    array, host = xp.asarray(numpy.ones((2, 3))), numpy.ones((2, 3))
    assert array_namespace(array) is xp
    assert special_functions(xp).erf(array).shape == (2, 3)
    assert isinstance(to_numpy(array), numpy.ndarray)
    calls = [
        lambda: numpy.asarray(array),
        lambda: numpy.exp(array),
        lambda: numpy.sum(array),
        lambda: numpy.shape(array),
        lambda: numpy.concatenate([array, array]),
        lambda: array + host,
        lambda: host + array,
        lambda: host.__iadd__(array),
        lambda: array @ host.T,
        lambda: host @ array.T,
        lambda: array[numpy.array([0])],
        lambda: array.__setitem__(0, host[0]),
        lambda: xp.maximum(array, host),
        lambda: xp.concatenate([array, host]),
        lambda: xp.where(host > 0, array, 0.0),
    ]
    for call in calls:
        with pytest.raises((TypeError, ValueError)):
            call()
    assert_same(array + numpy.float64(1), host + 1)
    assert_same(2 * array[:, [0, 2]], 2 * host[:, [0, 2]])


def test_a_call_of_numpy_on_a_device_array_would_show(monkeypatch):
    """The tests below can fail: with NumPy in place of the array's own library, they do."""
    model = on_stand_in(small_model())
    pixels = clip_for(model.config)
    for name in (
        "ops.layer_norm.floating_namespace",
        "backend.array_namespace",
        "ops.softmax.floating_namespace",
        "layers.mlp.array_namespace",
        "ops.cls_token.array_namespace",
    ):
        with monkeypatch.context() as patch:
            patch.setattr(f"minivivit.{name}", lambda *arguments: numpy)
            with pytest.raises(TypeError):
                model(pixels, output_attentions=True)
    model(pixels, output_attentions=True)


# --------------------------------------------------------------------------------------------------------------------
# The models
# --------------------------------------------------------------------------------------------------------------------


@ALL_MODELS
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_forward_and_gradients(number, dtype):
    model = small_model(number, dtype=dtype, image_size=11, num_frames=9)  # with a remainder that is dropped
    pixels = clip_for(model.config)
    assert_same_outputs(model, pixels, labels=[0, 2])
    assert_same_outputs(model, pixels, labels=[0, 2], output_attentions=True, output_hidden_states=True)
    assert_same_gradients(model, pixels, [0, 2])
    assert_same_gradients(model, pixels.astype("uint8"), numpy.array([0, 2]), label_smoothing=0.1)


@ALL_MODELS
@pytest.mark.parametrize("checkpointing", [False, True])
def test_training_with_everything_that_is_random(number, checkpointing):
    model = small_model(
        number,
        hidden_dropout_prob=0.2,
        attention_probs_dropout_prob=0.3,
        stochastic_droplayer_rate=0.5,
        num_hidden_layers=3,
    )
    assert_same_gradients(
        model, clip_for(model.config, batch=3), [0, 2, 1], training=True, gradient_checkpointing=checkpointing
    )


@ALL_MODELS
@pytest.mark.parametrize("size", [(12, 21, 21), (4, 12, 30)])
def test_interpolated_position_embeddings(number, size):
    model = small_model(number)
    pixels = clip_for(model.config, size=size)
    assert_same_outputs(model, pixels, interpolate_pos_encoding=True)
    assert_same_gradients(model, pixels, [0, 2], interpolate_pos_encoding=True)


@pytest.mark.parametrize(
    ("number", "classifier"), [(1, "token"), (2, "token"), *((n, c) for n in MODELS for c in ("gap", "gmp", "gsp"))]
)
def test_poolings_and_representation_layer(number, classifier):
    model = small_model(number, classifier=classifier, representation_size=6)
    assert_same_outputs(model, clip_for(model.config))
    assert_same_gradients(model, clip_for(model.config), [0, 2])


@ALL_MODELS
def test_frame_sampling(number):
    model = small_model(number, temporal_encoding="frame_sampling", num_sampled_frames=3, tubelet_size=[1, 4, 4])
    assert_same_outputs(model, clip_for(model.config))
    assert_same_gradients(model, clip_for(model.config), [0, 2])


@pytest.mark.parametrize("activation", ACTIVATION_NAMES)
def test_activations(activation):
    model = small_model(hidden_act=activation, pooler_act=activation, cls=VivitModel)
    pixels = clip_for(model.config)
    assert_same_outputs(model, pixels)
    ones = numpy.ones((2, 32))
    ours, theirs = (one.gradients(pixels, dpooler_output=ones) for one in (on_stand_in(model), model))
    assert_same(ours, theirs, largest=1e-3 * max(numpy.abs(gradient).max() for gradient in theirs.values()))


@pytest.mark.parametrize(
    ("changes", "labels"),
    [
        ({"num_labels": 1}, [0.5, -1.0]),
        ({"problem_type": "regression"}, [[0.5, 1.0, 2.0], [0.0, -1.0, 1.0]]),
        ({}, [[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]]),
        ({"problem_type": "single_label_classification"}, [[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]]),
        ({"class_splits": [2, 3], "num_labels": 5}, [[1, 2], [0, 0]]),
    ],
)
def test_losses(changes, labels):
    model = small_model(**changes)
    assert_same_outputs(model, clip_for(model.config), labels=labels)
    assert_same_gradients(model, clip_for(model.config), labels)
    assert_same_gradients(model, xp.asarray(clip_for(model.config)), xp.asarray(labels))


@pytest.mark.parametrize("explicit", [False, True])
def test_attention_masks(explicit):
    model = small_model(cls=VivitModel)
    pixels = clip_for(model.config)
    keys = numpy.ones((2, 17))
    keys[0, 3:6] = 0
    bias = numpy.random.default_rng(0).standard_normal((1, 4, 17, 17))
    bias[..., 5] = -numpy.inf
    for mask in (keys, keys.astype(bool)[:, None, None, :], bias, xp.asarray(keys), keys.tolist()):
        assert_same_outputs(model, pixels, attention_mask=mask, output_attentions=explicit)


def test_spatial_only_baseline_and_traces():
    model = small_model(2, spatial_only_baseline=True, classifier="gap", qkv_bias=False)
    pixels = clip_for(model.config)
    assert_same_outputs(model, pixels)
    ours, theirs = {}, {}
    on_stand_in(model).loss_and_gradients(pixels, [0, 1], trace=Trace(ours))
    model.loss_and_gradients(pixels, [0, 1], trace=Trace(theirs))
    assert_same(ours, theirs, largest=1e-3)


@pytest.mark.parametrize(("entries", "tasks", "row_blocks"), [(40, 8, 5), (300, 2, 5), (1100, 1, 3), (5000, 1, 1)])
def test_many_tokens_in_several_blocks(entries, tasks, row_blocks, monkeypatch):
    """Blocks of 4 queries and 5 keys, so that the online softmax rescales; NumPy takes heads one by one.

    A GPU takes as many of the 8 heads of two samples, of 17 queries and keys each, as the entries are enough for; and
    if for all of them, then as many blocks of 4 queries.
    """
    sizes = {"BLOCK_ROWS": 4, "BLOCK_KEYS": 5, "BLOCK_KEYS_ON_GPU": 5, "TASK_ENTRIES": 40, "MASK_ROWS": 4}
    sizes["ENTRIES_ON_GPU"] = entries
    for name, size in sizes.items():
        monkeypatch.setattr(f"minivivit.ops.blockwise_attention.{name}", size)
    monkeypatch.setattr("minivivit.ops.layer_norm.BLOCK_ENTRIES", 30)
    monkeypatch.setattr("minivivit.layers.mlp.BLOCK_ROWS", 3)
    monkeypatch.setattr("minivivit.layers.mlp.ACTIVATION_ENTRIES", 30)
    heads = list(_head_groups((2, 4, 17, 8), 17, xp))
    assert len(heads) == tasks
    at_once = tuple(part.stop - part.start for part in heads[0])
    assert len(_row_blocks((*at_once, 17, 8), 17, xp)) == row_blocks
    model = small_model(attention_probs_dropout_prob=0.3)
    assert_same_gradients(model, clip_for(model.config), [0, 2], training=True)
    assert_same_outputs(model, clip_for(model.config))


# --------------------------------------------------------------------------------------------------------------------
# What is done with a model
# --------------------------------------------------------------------------------------------------------------------


@ALL_MODELS
@pytest.mark.parametrize("cls", [VivitModel, VivitForVideoClassification])
def test_state_dicts_and_files(number, cls, tmp_path):
    model = small_model(number, cls=cls)
    device = on_stand_in(model)
    assert_same(device.state_dict(), model.state_dict(), 0)
    device.save_pretrained(tmp_path)
    again = cls.from_pretrained(tmp_path, dtype="float64", backend="numpy")
    assert_same(device.state_dict(), again.state_dict(), 0)
    changed = fill(cls(model.config, dtype="float64", backend="numpy"), seed=9)
    device.load_state_dict(changed.state_dict())
    assert_same(device.state_dict(), changed.state_dict(), 0)
    device.load_state_dict(on_stand_in(model).state_dict())
    assert_same(device.state_dict(), model.state_dict(), 0)
    moved = device.to("numpy")
    assert moved.xp is numpy
    assert all(isinstance(array, numpy.ndarray) for array in moved.state_dict().values())


def test_a_model_is_drawn_and_read_on_the_device(monkeypatch, tmp_path):
    model = VivitForVideoClassification(small_config(), backend="numpy", seed=4)
    model.save_pretrained(tmp_path)
    monkeypatch.setattr("minivivit.models.base.get_namespace", lambda backend: xp)
    assert_same(VivitForVideoClassification(small_config(), seed=4).state_dict(), model.state_dict(), 0)
    assert_same(VivitForVideoClassification.from_pretrained(tmp_path).state_dict(), model.state_dict(), 0)
    on_host = dict(model.state_dict())
    assert_same(model.to("cupy").state_dict(), on_host, 0)


@pytest.mark.parametrize("optimiser", [SGD, AdamW])
def test_training_steps(optimiser):
    host = small_model(2)
    device = on_stand_in(host)
    pixels = clip_for(host.config)
    losses = []
    for model in (device, host):
        steps = optimiser(model.state_dict(), weight_decay=0.05)
        for _ in range(3):
            loss, gradients = model.loss_and_gradients(pixels, [0, 2])
            del gradients["pixel_values"]
            clip_by_global_norm(gradients, 1.0)
            steps.step(gradients, 1e-2)
            losses.append(float(loss))
    numpy.testing.assert_allclose(losses[:3], losses[3:], rtol=1e-12)
    assert losses[2] < losses[0]
