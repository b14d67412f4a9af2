"""Models, processors and optimisers are copied, pickled, moved and loaded into, and arrays of any kind come in."""

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
from models.small_models import MODELS, clip_for, small_config, small_model
from stand_in_array import StandInArray, xp

from minivivit import InputError, VivitConfig, VivitForVideoClassification, VivitImageProcessor, VivitModel
from minivivit.backend import array_namespace, as_array, checked_dtype
from minivivit.models.multi_view import average_views, classify_views
from minivivit.models.parameters import flatten, map_tree
from minivivit.models.top_classes import class_probabilities
from minivivit.training.optimisers.adamw import AdamW
from minivivit.training.optimisers.sgd import SGD

ALL_MODELS = pytest.mark.parametrize("number", MODELS)
LABELS = numpy.array([0, 2])


def refusal(function, *args, **kwargs):
    """The message with which a call is refused; one line."""
    with pytest.raises(InputError) as caught:
        function(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


def copies(thing):
    """By every way there is."""
    yield copy.deepcopy(thing)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        yield pickle.loads(pickle.dumps(thing, protocol))


# --------------------------------------------------------------------------------------------------------------------
# Copies
# --------------------------------------------------------------------------------------------------------------------


@ALL_MODELS
@pytest.mark.parametrize("cls", [VivitModel, VivitForVideoClassification])
def test_a_model_is_copied_and_pickled(number, cls):
    """The copy computes the same, and is independent."""
    model = small_model(number, cls=cls)
    pixels = clip_for(model.config)
    expected = model(pixels)[0]
    before = {name: array.copy() for name, array in model.state_dict().items()}
    for other in copies(model):
        assert type(other) is cls
        numpy.testing.assert_array_equal(other(pixels)[0], expected)
        other.config.hidden_act = "other"
        for array in other.state_dict().values():
            array[...] = 7
        assert model.config.hidden_act != "other"
        for name, array in model.state_dict().items():
            numpy.testing.assert_array_equal(array, before[name])


def test_a_model_and_its_optimiser_are_copied_together():
    """The copy of the optimiser trains the copy of the model, and goes on as the first one does."""
    for cls in (AdamW, SGD):
        model = small_model()
        pixels = clip_for(model.config)

        def step(model, optimiser, pixels=pixels):
            _, gradients = model.loss_and_gradients(pixels, LABELS)
            gradients.pop("pixel_values")
            optimiser.step(gradients, 0.1)
            return model(pixels).logits

        optimiser = cls(model.state_dict())
        step(model, optimiser)
        pairs = list(copies((model, optimiser)))
        expected = step(model, optimiser)
        for pair in pairs:
            numpy.testing.assert_array_equal(step(*pair), expected)


def test_the_model_inside_is_copied():
    model = small_model()
    for other in copies(model.vivit):
        other.state_dict()["layernorm.bias"][...] = 7
        assert not (model.state_dict()["vivit.layernorm.bias"] == 7).any()


def test_configs_processors_and_outputs_are_copied():
    processor = VivitImageProcessor(size={"shortest_edge": 20}, crop_size={"height": 10, "width": 10})
    clip = list(numpy.random.default_rng(0).integers(0, 256, (8, 24, 30, 3), dtype="uint8"))
    for other in copies(processor):
        numpy.testing.assert_array_equal(other(clip)["pixel_values"], processor(clip)["pixel_values"])
    config = VivitConfig.from_preset("vivit-b-16x2")
    assert all(other.to_dict() == config.to_dict() for other in copies(config))
    outputs = small_model()(clip_for(small_config()), LABELS)
    assert all(other.keys() == outputs.keys() for other in copies(outputs))


def test_a_spawned_worker_gets_the_model():
    code = (
        "import multiprocessing, numpy\n"
        "from models.small_models import clip_for, small_model\n"
        "if __name__ == '__main__':\n"
        "    model = small_model()\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        result = pool.apply(model, (clip_for(model.config),))\n"
        "    print(numpy.array_equal(result.logits, model(clip_for(model.config)).logits))\n"
    )
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    command, environment = [sys.executable, "-c", code], {**os.environ, "PYTHONPATH": path}
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=environment)
    assert result.stdout.split() == ["True"], result.stderr


def test_what_a_model_says_it_is():
    config = VivitConfig(image_size=16, num_frames=4, tubelet_size=[2, 8, 8], hidden_size=8, num_hidden_layers=2,
                         num_attention_heads=2, intermediate_size=8, num_labels=3)  # fmt: skip
    model = VivitForVideoClassification(config, dtype="float64", backend="numpy")
    assert repr(model) == (
        "VivitForVideoClassification(spatio_temporal, 4 frames of 16 x 16, tubelets of 2 x 8 x 8, 2 layers, hidden "
        f"size 8, {model.num_parameters():,} parameters, float64 on numpy)"
    )
    for number in MODELS:
        for cls in (VivitModel, VivitForVideoClassification):
            text = repr(small_model(number, cls=cls))
            assert text.startswith(f"{cls.__name__}({MODELS[number]}, ")
            assert len(text) < 250


# --------------------------------------------------------------------------------------------------------------------
# Loading and moving
# --------------------------------------------------------------------------------------------------------------------


@ALL_MODELS
def test_load_state_dict_writes_into_the_arrays_there_are(number):
    """So an optimiser, an earlier state dict and the model inside go on with the new values."""
    model, other = small_model(number), small_model(number, hidden_act="relu")
    for array in other.state_dict().values():
        array *= 2
    inside, arrays, optimiser = model.vivit, model.state_dict(), SGD(model.state_dict(), momentum=0.0)
    model.load_state_dict(other.state_dict())
    for name, array in model.state_dict().items():
        assert array is arrays[name]
        numpy.testing.assert_array_equal(array, other.state_dict()[name])
        assert not numpy.may_share_memory(array, other.state_dict()[name])
    assert inside.state_dict()["layernorm.bias" if number != 2 else "temporal_encoder.layernorm.bias"] is not None
    optimiser.step({name: numpy.ones_like(array) for name, array in arrays.items()}, 1.0)
    for name, array in model.state_dict().items():
        numpy.testing.assert_array_equal(array, other.state_dict()[name] - 1)
    inside_names = flatten(inside.params)
    assert all(inside_names[name] is arrays[f"vivit.{name}"] for name in inside_names)


def test_load_state_dict_of_the_models_own_arrays_under_other_names():
    model = small_model()
    first, second = (f"vivit.encoder.layer.0.attention.attention.{name}.weight" for name in ("query", "key"))
    own = model.state_dict()
    query, key = own[first].copy(), own[second].copy()
    model.load_state_dict({**own, first: own[second], second: own[first]})
    numpy.testing.assert_array_equal(model.state_dict()[first], key)
    numpy.testing.assert_array_equal(model.state_dict()[second], query)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (numpy.full(3, numpy.nan), "NaN or infinity"),
        (numpy.full(3, 1e300), "that float32 cannot hold"),
        (numpy.zeros(4), "wrong shape"),
        (numpy.array([1j, 2, 3]), "expected real or whole numbers"),
        (numpy.array([1, 2, None]), "expected real or whole numbers"),
        (numpy.array([True, False, True]), "expected real or whole numbers"),
        (numpy.zeros(3, "datetime64[s]"), "expected real or whole numbers"),
        (numpy.ma.masked_equal([1.0, 2.0, 3.0], 2.0), "masked entries"),
        ("abc", "expected a NumPy or CuPy array"),
    ],
)
def test_a_failed_load_state_dict_changes_nothing(bad, said):
    """The bad one is the last of all."""
    model = small_model(dtype="float32")
    before = {name: array.copy() for name, array in model.state_dict().items()}
    assert list(before)[-1] == "classifier.bias"
    new = {name: array + 1 for name, array in before.items()}
    assert said in refusal(model.load_state_dict, {**new, "classifier.bias": bad})
    for name, array in model.state_dict().items():
        numpy.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("cls", [AdamW, SGD])
@pytest.mark.parametrize("through", ["model", "the model inside"])
def test_an_optimiser_of_a_model_that_has_moved_says_so(cls, through, monkeypatch):
    """There and back again: what it holds looks like the model's parameters, and is not."""
    model = small_model()
    pixels, expected = clip_for(model.config), small_model()(clip_for(small_config())).logits
    optimiser, inside = cls(model.state_dict()), model.vivit
    moving = model if through == "model" else inside
    monkeypatch.setattr("minivivit.models.base.get_namespace", lambda backend: {"cupy": xp, "numpy": numpy}[backend])
    assert moving.to("cupy") is moving
    for moved in (model, inside):
        assert moved.xp is xp
        assert all(isinstance(array, StandInArray) for array in moved.state_dict().values())
    on_device = cls(model.state_dict())
    numpy.testing.assert_allclose(model(pixels).logits.get(), expected, rtol=0, atol=1e-12)
    moving.to("numpy")
    assert inside.xp is model.xp is numpy
    for stale in (optimiser, on_device):
        gradients = map_tree(lambda array: array * 0, dict(stale.parameters))
        message = refusal(stale.step, gradients, 0.1)
        assert message.startswith("'vivit.")
        assert "is no longer the model's: model.to() has moved it to another device; make a new optimiser" in message
    new = cls(model.state_dict())
    new.load_state_dict(optimiser.state_dict())
    new.step({name: numpy.ones_like(array) for name, array in model.state_dict().items()}, 0.1)
    assert not numpy.array_equal(model(pixels).logits, expected)
    assert model.to("numpy") is model
    new.step({name: numpy.ones_like(array) for name, array in model.state_dict().items()}, 0.1)  # it did not move


def test_gradients_on_another_device_are_refused():
    model = small_model()
    gradients = {name: xp.asarray(array) for name, array in model.state_dict().items()}
    expected = "in an array of stand_in, but the optimiser's parameter is one of numpy"
    assert expected in refusal(AdamW(model.state_dict()).step, gradients, 0.1)


# --------------------------------------------------------------------------------------------------------------------
# Arrays of other kinds
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [">f4", "<f4", "=f4", numpy.dtype(">f4"), numpy.dtype("f4", metadata={"a": 1})])
def test_a_model_has_the_machines_byte_order(dtype):
    """And trains: what it computes is of the dtype that its parameters have."""
    assert checked_dtype(dtype) == numpy.float32
    assert checked_dtype(dtype).isnative
    assert checked_dtype(dtype).metadata is None
    model = VivitForVideoClassification(small_config(), dtype=dtype, backend="numpy")
    assert all(array.dtype.isnative for array in model.state_dict().values())
    optimiser = AdamW(model.state_dict())
    _, gradients = model.loss_and_gradients(clip_for(model.config), LABELS)
    gradients.pop("pixel_values")
    optimiser.step(gradients, 1e-3)


def masked(values, mask=False):
    return numpy.ma.array(values, mask=mask)


class Labelled(numpy.ndarray):
    """A subclass that computes something else."""

    def __mul__(self, other):
        raise TypeError("not these")

    __array_priority__ = 99


def mapped(values, tmp_path):
    """A memory map that cannot be written to."""
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.npy"
    numpy.save(path, values)
    return numpy.load(path, mmap_mode="r")


@pytest.mark.parametrize("kind", ["masked", "subclass", "memmap", "big-endian", "list"])
def test_arrays_that_are_taken_exactly(kind, tmp_path):
    convert = {
        "masked": masked,
        "subclass": lambda values: values.view(Labelled),
        "memmap": lambda values: mapped(values, tmp_path),
        "big-endian": lambda values: values.astype(values.dtype.newbyteorder(">")),
        "list": lambda values: values.tolist(),
    }[kind]
    model = small_model()
    pixels = clip_for(model.config)
    expected = model(pixels, LABELS)
    found = model(convert(pixels), convert(LABELS))
    numpy.testing.assert_array_equal(found.logits, expected.logits)
    assert type(found.logits) is numpy.ndarray
    assert found.loss == expected.loss
    loss, gradients = model.loss_and_gradients(convert(pixels), convert(LABELS))
    assert loss == expected.loss
    assert all(type(array) is numpy.ndarray and array.dtype == "=f8" for array in gradients.values())
    dlogits = numpy.ones_like(expected.logits)
    for name, array in model.gradients(pixels, convert(dlogits)).items():
        numpy.testing.assert_array_equal(array, model.gradients(pixels, dlogits)[name])
    other = small_model(dtype="float32")
    other.load_state_dict({name: convert(array) for name, array in model.state_dict().items()})
    for name, array in other.state_dict().items():
        assert type(array) is numpy.ndarray
        assert array.dtype == "=f4"
        numpy.testing.assert_array_equal(array, model.state_dict()[name].astype("float32"))
    logits = expected.logits
    numpy.testing.assert_array_equal(average_views(convert(logits), model.config), average_views(logits, model.config))
    numpy.testing.assert_array_equal(
        class_probabilities(convert(logits), model.config), class_probabilities(logits, model.config)
    )
    numpy.testing.assert_array_equal(classify_views(model, convert(pixels)), classify_views(model, pixels))
    if kind != "list":
        clip = numpy.random.default_rng(0).integers(0, 256, (3, 24, 30, 3), dtype="uint16").astype("uint8")
        processor = VivitImageProcessor(size={"shortest_edge": 20}, crop_size={"height": 10, "width": 10})
        want = processor(list(clip))["pixel_values"]
        numpy.testing.assert_array_equal(processor(list(convert(clip)))["pixel_values"], want)
        numpy.testing.assert_array_equal(processor(convert(clip))["pixel_values"], want)


def test_masked_entries_are_refused():
    model = small_model()
    pixels = clip_for(model.config)
    hidden = masked(pixels, pixels > 2)
    logits = model(pixels).logits
    processor = VivitImageProcessor(size={"shortest_edge": 20}, crop_size={"height": 10, "width": 10})
    frame = numpy.full((24, 30, 3), 9, "uint8")
    for function, arguments in (
        (model, (hidden,)),
        (model, (list(hidden),)),
        (model, (pixels, masked(LABELS, [True, False]))),
        (model.gradients, (pixels, masked(logits, logits > logits.min()))),
        (average_views, (masked(logits, logits > logits.min()), model.config)),
        (class_probabilities, (masked(logits, logits > logits.min()), model.config)),
        (classify_views, (model, hidden)),
        (processor, ([masked(frame, frame > 8)],)),
        (processor, (masked(frame[None], frame[None] > 8),)),
    ):
        assert "has masked entries; fill them first" in refusal(function, *arguments)


def test_operators_refuse_arrays_whose_operators_mean_something_else():
    matrix = numpy.array([[1.0, 2.0]]).view(numpy.matrix)
    for array in (masked([1.0]), matrix):
        assert "convert it with numpy.asarray" in refusal(array_namespace, array)
    plain = as_array(matrix, "x")
    assert type(plain) is numpy.ndarray
    assert plain.shape == (1, 2)


@pytest.mark.parametrize("dtype", ["complex64", "object", "bool", "datetime64[s]", "S3", "U3", [("r", "f4")]])
def test_pixel_values_that_are_no_numbers(dtype):
    model = small_model()
    pixels = numpy.zeros(clip_for(model.config).shape, dtype=dtype)
    assert "expected real or whole numbers" in refusal(model, pixels)
    assert "expected real or whole numbers" in refusal(model, pixels.view(numpy.recarray))


@pytest.mark.parametrize("dtype", ["float16", "longdouble", ">f2", ">i4", "uint8"])
def test_pixel_values_of_other_numbers(dtype):
    model = small_model()
    pixels = (100 * clip_for(model.config)).astype(dtype)
    numpy.testing.assert_array_equal(model(pixels).logits, model(pixels.astype("float64")).logits)


@pytest.mark.parametrize("cls", [AdamW, SGD])
def test_parameters_that_an_optimiser_cannot_write_to(cls):
    read_only = numpy.ones(3)
    read_only.flags.writeable = False
    for bad, said in (
        (numpy.ones(3, ">f4"), "byte order"),
        (numpy.ones(3, "float16"), "expected float32 or float64"),
        (numpy.ones(3, int), "expected float32 or float64"),
        (masked(numpy.ones(3)), "convert it with numpy.asarray"),
        (read_only, "read-only"),
        ([1.0], "expected a NumPy or CuPy array"),
    ):
        assert said in refusal(cls, {"good": numpy.ones(2), "bad": bad})
    optimiser = cls({"p": numpy.ones(3)})
    state = {name: array.astype(array.dtype.newbyteorder(">")) for name, array in optimiser.state_dict().items()}
    optimiser.load_state_dict(state)
    optimiser.step({"p": numpy.ones(3)}, 0.1)
