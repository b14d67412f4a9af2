"""First values, names, state dicts and files of the models."""

import json
import logging
import os

import numpy
import pytest
from small_models import MODELS, SMALL, clip_for, fill, small_config, small_model

from minivivit import InputError, VivitConfig, VivitForVideoClassification, VivitModel
from minivivit.files.weights import read_weights, write_weights
from minivivit.models.parameters import classification_shapes, flatten, map_tree, unflatten

ALL_MODELS = pytest.mark.parametrize("number", MODELS)


def refusal(function, *args, **kwargs):
    """The message with which a call is refused; one line."""
    with pytest.raises(InputError) as caught:
        function(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message


def bits(model):
    """All parameters by name, as bytes."""
    return {name: array.tobytes() for name, array in model.state_dict().items()}


# --------------------------------------------------------------------------------------------------------------------
# First values
# --------------------------------------------------------------------------------------------------------------------


@ALL_MODELS
def test_first_values_have_the_distributions_of_transformers(number):
    config = small_config(
        number, hidden_size=128, intermediate_size=256, initializer_range=0.05, representation_size=64
    )
    for model in (
        VivitForVideoClassification(config, backend="numpy"),
        VivitModel(config, backend="numpy", dtype="float64"),
    ):
        for name, array in model.state_dict().items():
            assert array.dtype == model.dtype
            if name.endswith(("bias", "cls_token", "position_embeddings")):
                assert (array == 0).all(), name
            elif "layernorm" in name:
                assert (array == 1).all(), name
            else:
                # mean and standard deviation lie within 5 of their own standard errors, and the tails are normal
                assert abs(array.mean()) < 5 * 0.05 / array.size**0.5, name
                assert abs(array.std() - 0.05) < 5 * 0.05 / (2 * array.size) ** 0.5, name
                if array.size > 10_000:
                    assert abs((abs(array) > 0.1).mean() - 0.0455) < 0.01, name


def test_initializer_range_of_zero():
    model = VivitForVideoClassification(small_config(initializer_range=0), backend="numpy")
    assert not model.state_dict()["classifier.weight"].any()


@ALL_MODELS
def test_one_seed_gives_one_model_in_either_dtype(number):
    config = small_config(number)
    models = [VivitForVideoClassification(config, backend="numpy", seed=7) for _ in range(2)]
    assert bits(models[0]) == bits(models[1])
    generator = VivitForVideoClassification(config, backend="numpy", seed=numpy.random.default_rng(7))
    assert bits(generator) == bits(models[0])
    other = VivitForVideoClassification(config, backend="numpy", seed=8)
    assert bits(other)["classifier.weight"] != bits(models[0])["classifier.weight"]
    double = VivitForVideoClassification(config, dtype="float64", backend="numpy", seed=7)
    for name, array in double.state_dict().items():
        numpy.testing.assert_array_equal(array, models[0].state_dict()[name])


@pytest.mark.parametrize("dtype", ["float16", "int32", "complex64", "double double", None, 7, "bfloat16"])
def test_models_compute_in_float32_or_float64(dtype):
    config = small_config()
    if dtype is None:
        assert VivitModel(config, dtype=numpy.float64, backend="numpy").dtype == "float64"
    else:
        assert "a model computes in 'float32' or 'float64'" in refusal(VivitModel, config, dtype=dtype)


def test_what_is_no_config_makes_no_model():
    assert "config is a dict; expected a VivitConfig" in refusal(VivitModel, dict(SMALL))
    config = small_config()
    config.num_attention_heads = 5
    assert "not a multiple" in refusal(VivitForVideoClassification, config)


def test_a_model_larger_than_the_memory_is_refused_before_it_is_taken():
    config = small_config(hidden_size=2**19, intermediate_size=2**19)
    message = refusal(VivitForVideoClassification, config, backend="numpy")
    assert "GB for its parameters, but this machine has" in message


# --------------------------------------------------------------------------------------------------------------------
# Names
# --------------------------------------------------------------------------------------------------------------------


def test_names_of_model_1_are_the_published_checkpoints():
    names = set(small_model(num_hidden_layers=1).state_dict())
    layer = "vivit.encoder.layer.0"
    modules = [f"{layer}.attention.attention.{name}" for name in ("query", "key", "value")]
    modules += [f"{layer}.{name}" for name in ("attention.output.dense", "intermediate.dense", "output.dense")]
    modules += [f"{layer}.layernorm_before", f"{layer}.layernorm_after", "vivit.layernorm", "classifier"]
    modules.append("vivit.embeddings.patch_embeddings.projection")
    expected = {f"{module}.{name}" for module in modules for name in ("weight", "bias")}
    assert names == expected | {"vivit.embeddings.cls_token", "vivit.embeddings.position_embeddings"}


def test_names_of_the_other_models():
    names = set(small_model(2).state_dict())
    for encoder in ("spatial_encoder", "temporal_encoder"):
        for name in ("cls_token", "position_embeddings", "layer.0.attention.attention.query.weight", "layernorm.bias"):
            assert f"vivit.{encoder}.{name}" in names
    assert "vivit.embeddings.patch_embeddings.projection.weight" in names
    names = set(small_model(3).state_dict())
    for name in ("temporal_attention", "spatial_attention"):
        assert f"vivit.encoder.layer.1.{name}.attention.value.bias" in names
    for name in ("layernorm_temporal", "layernorm_spatial", "layernorm_after"):
        assert f"vivit.encoder.layer.1.{name}.weight" in names
    four, one = small_model(4).state_dict(), small_model(1, classifier="gap").state_dict()
    assert {name: array.shape for name, array in four.items()} == {name: array.shape for name, array in one.items()}


def test_the_published_model_counts_its_parameters():
    shapes = flatten(classification_shapes(VivitConfig.from_preset("vivit-b-16x2")))
    assert sum(numpy.prod(shape) for shape in shapes.values()) == 88_954_000


def test_trees_and_flat_names():
    tree = {"a": {"b": 1, "c": {"0": 2}}, "d": 3}
    assert flatten(tree) == {"a.b": 1, "a.c.0": 2, "d": 3}
    assert unflatten(flatten(tree)) == tree
    assert map_tree(lambda leaf: leaf * 2, tree) == {"a": {"b": 2, "c": {"0": 4}}, "d": 6}


# --------------------------------------------------------------------------------------------------------------------
# State dicts
# --------------------------------------------------------------------------------------------------------------------


@ALL_MODELS
def test_state_dict_is_live(number):
    model = small_model(number)
    pixels = clip_for(model.config)
    before = model(pixels).logits
    state = model.state_dict()
    assert model.num_parameters() == sum(array.size for array in state.values())
    state["classifier.bias"] += 1
    numpy.testing.assert_allclose(model(pixels).logits, before + 1, rtol=1e-13)
    _, gradients = model.loss_and_gradients(pixels, [0, 1])
    assert list(gradients) == [*state, "pixel_values"]
    assert all(gradients[name].shape == array.shape for name, array in state.items())


@ALL_MODELS
def test_load_state_dict_copies_and_converts(number):
    source, target = small_model(number), VivitForVideoClassification(small_config(number), backend="numpy")
    state = {name: array.astype("float32") for name, array in source.state_dict().items()}
    target.load_state_dict(state)
    assert bits(target) == {name: array.tobytes() for name, array in state.items()}
    for name, array in target.state_dict().items():
        assert not numpy.shares_memory(array, state[name])
    target.load_state_dict({name: array.tolist() for name, array in source.state_dict().items()})
    assert bits(target) == {name: array.tobytes() for name, array in state.items()}
    doubled = small_model(number)
    doubled.load_state_dict(state)
    assert {array.dtype.name for array in doubled.state_dict().values()} == {"float64"}


def test_load_state_dict_lists_all_that_is_wrong_and_changes_nothing():
    model = small_model()
    before = bits(model)
    state = dict(model.state_dict())
    del state["classifier.bias"], state["vivit.layernorm.weight"]
    state["extra.one"] = state["another"] = numpy.zeros(3)
    state["classifier.weight"] = numpy.zeros((32, 3))
    state["vivit.embeddings.cls_token"] = numpy.zeros((1, 32))
    message = refusal(model.load_state_dict, state)
    assert "2 missing: classifier.bias, vivit.layernorm.weight" in message
    assert "2 unexpected: another, extra.one" in message
    assert "2 wrong shape: " in message
    assert "classifier.weight is (32, 3), expected (3, 32)" in message
    assert "vivit.embeddings.cls_token is (1, 32), expected (1, 1, 32)" in message
    assert bits(model) == before


def test_load_state_dict_takes_arrays_of_numbers_only():
    model = small_model()
    before = bits(model)
    for values, reason in [
        (numpy.full((3, 32), "x"), "the state dict holds classifier.weight as <U1; expected real or whole numbers"),
        (numpy.zeros((3, 32), complex), "classifier.weight as complex128"),
        (numpy.full((3, 32), None), "classifier.weight as object"),
        ("weights", "classifier.weight: expected a NumPy or CuPy array, got str"),
        (None, "classifier.weight: expected a NumPy or CuPy array, got NoneType"),
        ([[1.0], [2.0, 3.0]], "classifier.weight is a list that makes no array"),
    ]:
        assert reason in refusal(model.load_state_dict, {**model.state_dict(), "classifier.weight": values})
    assert "the state dict is a list; expected a dict of arrays by name" in refusal(model.load_state_dict, [])
    assert bits(model) == before


# --------------------------------------------------------------------------------------------------------------------
# Files
# --------------------------------------------------------------------------------------------------------------------


@ALL_MODELS
@pytest.mark.parametrize("cls", [VivitModel, VivitForVideoClassification])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_round_trip_through_a_directory(number, cls, dtype, tmp_path, caplog):
    model = small_model(number, cls=cls, dtype=dtype, representation_size=5)
    model.save_pretrained(tmp_path / "model")
    assert sorted(os.listdir(tmp_path / "model")) == ["config.json", "model.safetensors"]
    again = cls.from_pretrained(tmp_path / "model", dtype=dtype, backend="numpy")
    assert bits(again) == bits(model)
    assert list(again.state_dict()) == list(model.state_dict())
    assert again.config.other == {"architectures": [cls.__name__], "dtype": dtype}
    pixels = clip_for(model.config)
    numpy.testing.assert_array_equal(again(pixels)[0], model(pixels)[0])
    assert caplog.records == []
    assert model.config.other == {}


@ALL_MODELS
def test_a_classifiers_directory_opens_as_the_bare_model(number, tmp_path, caplog):
    model = small_model(number)
    model.save_pretrained(tmp_path)
    with caplog.at_level(logging.WARNING, logger="minivivit"):
        bare = VivitModel.from_pretrained(tmp_path, dtype="float64", backend="numpy", seed=3)
    pixels = clip_for(model.config)
    numpy.testing.assert_array_equal(bare(pixels)[0], model.vivit(pixels)[0])
    assert len(caplog.records) == 1
    assert "no fitting pooler.dense.bias, pooler.dense.weight: drawn afresh" in caplog.text
    assert bare.state_dict()["pooler.dense.weight"].std() == pytest.approx(0.02, rel=0.2)
    caplog.clear()
    without = VivitModel.from_pretrained(tmp_path, dtype="float64", backend="numpy", add_pooling_layer=False)
    assert caplog.records == []
    assert not any(name.startswith("pooler") for name in without.state_dict())
    numpy.testing.assert_array_equal(without(pixels)[0], bare(pixels)[0])


@ALL_MODELS
def test_a_bare_models_directory_opens_as_a_classifier(number, tmp_path, caplog):
    bare = small_model(number, cls=VivitModel)
    bare.save_pretrained(tmp_path)
    with caplog.at_level(logging.WARNING, logger="minivivit"):
        model = VivitForVideoClassification.from_pretrained(tmp_path, dtype="float64", backend="numpy", num_labels=6)
    pixels = clip_for(model.config)
    numpy.testing.assert_array_equal(model.vivit(pixels)[0], bare(pixels)[0])
    assert model(pixels).logits.shape == (2, 6)
    assert "no fitting classifier.bias, classifier.weight: drawn afresh" in caplog.text
    same = VivitForVideoClassification.from_pretrained(tmp_path, dtype="float64", backend="numpy", num_labels=6)
    assert bits(same) == bits(model)
    other = VivitForVideoClassification.from_pretrained(
        tmp_path, dtype="float64", backend="numpy", num_labels=6, seed=1
    )
    assert bits(other)["classifier.weight"] != bits(model)["classifier.weight"]


def test_a_new_head_for_fine_tuning(tmp_path, caplog):
    model = small_model(id2label={0: "run", 1: "walk", 2: "sit"})
    model.save_pretrained(tmp_path)
    load = VivitForVideoClassification.from_pretrained
    message = refusal(load, tmp_path, num_labels=8)
    assert "does not fit its config: 2 wrong shape: classifier.weight is (3, 32), expected (8, 32)" in message
    assert "classifier.bias is (3,), expected (8,)" in message
    assert "ignore_mismatched_sizes=True" in message
    new = load(tmp_path, dtype="float64", backend="numpy", num_labels=8, ignore_mismatched_sizes=True)
    assert "no fitting classifier.bias, classifier.weight: drawn afresh" in caplog.text
    assert new.config.id2label[7] == "LABEL_7"
    assert new.state_dict()["classifier.weight"].shape == (8, 32)
    for name, array in model.state_dict().items():
        if not name.startswith("classifier"):
            numpy.testing.assert_array_equal(new.state_dict()[name], array)
    caplog.clear()
    same = load(tmp_path, dtype="float64", backend="numpy", num_labels=3, ignore_mismatched_sizes=True)
    assert caplog.records == []
    assert same.config.id2label == {0: "run", 1: "walk", 2: "sit"}
    assert bits(same) == bits(model)


def test_overrides_and_a_config_of_ones_own(tmp_path):
    model = small_model()
    model.save_pretrained(tmp_path)
    load = VivitForVideoClassification.from_pretrained
    assert load(tmp_path, hidden_dropout_prob=0.25).config.hidden_dropout_prob == 0.25
    own = small_config(layer_norm_eps=1e-3)
    assert load(tmp_path, config=own).config is own
    both = load(tmp_path, config=own, hidden_dropout_prob=0.25).config
    assert (both.layer_norm_eps, both.hidden_dropout_prob, own.hidden_dropout_prob) == (1e-3, 0.25, 0.0)
    assert "config is a dict" in refusal(load, tmp_path, config=dict(SMALL))
    assert "config is a dict" in refusal(load, tmp_path, config=dict(SMALL), num_labels=3)


def test_weights_of_half_precision_and_pytorch_files_load(tmp_path):
    """The files' own tests are in tests/files; here, that the model takes what they give."""
    model = small_model(dtype="float32")
    model.config.save_pretrained(tmp_path)
    write_weights(tmp_path, {name: array.astype("float16") for name, array in model.state_dict().items()})
    again = VivitForVideoClassification.from_pretrained(tmp_path, backend="numpy")
    for name, array in model.state_dict().items():
        assert again.state_dict()[name].dtype == "float32"
        numpy.testing.assert_array_equal(again.state_dict()[name], array.astype("float16"))


def saved_with(tmp_path, changes):
    """A directory whose weights were changed: arrays replaced, names added, or taken away with None."""
    model = small_model()
    model.save_pretrained(tmp_path)
    weights = {**read_weights(tmp_path), **changes}
    write_weights(tmp_path, {name: array for name, array in weights.items() if array is not None})
    return tmp_path


def test_weights_that_do_not_fit_are_listed(tmp_path):
    changes = {
        "vivit.layernorm.bias": None,
        "classifier.bias": None,
        "vivit.encoder.layer.2.layernorm_after.bias": numpy.zeros(32),
        "vivit.embeddings.position_embeddings": numpy.zeros((1, 5, 32)),
    }
    message = refusal(VivitForVideoClassification.from_pretrained, saved_with(tmp_path, changes))
    assert "2 missing: classifier.bias, vivit.layernorm.bias" in message
    assert "1 unexpected: vivit.encoder.layer.2.layernorm_after.bias" in message
    assert "vivit.embeddings.position_embeddings is (1, 5, 32), expected (1, 17, 32)" in message
    message = refusal(VivitForVideoClassification.from_pretrained, tmp_path, ignore_mismatched_sizes=True)
    assert "missing" in message
    assert "wrong shape" not in message


@pytest.mark.parametrize("value", [numpy.nan, numpy.inf])
def test_weights_that_are_not_finite(value, tmp_path):
    weights = numpy.zeros((3, 32))
    weights[1, 5] = value
    message = refusal(VivitForVideoClassification.from_pretrained, saved_with(tmp_path, {"classifier.weight": weights}))
    assert "classifier.weight" in message
    assert "model.safetensors" in message


def test_weights_that_float32_cannot_hold(tmp_path):
    directory = saved_with(tmp_path, {"classifier.bias": numpy.array([0, 1e300, 0])})
    assert "classifier.bias" in refusal(VivitForVideoClassification.from_pretrained, directory)
    model = VivitForVideoClassification.from_pretrained(directory, dtype="float64", backend="numpy")
    assert model.state_dict()["classifier.bias"][1] == 1e300


def test_directories_that_hold_no_model(tmp_path):
    load = VivitForVideoClassification.from_pretrained
    assert "does not exist" in refusal(load, tmp_path / "nowhere")
    assert "config.json" in refusal(load, tmp_path)
    small_config().save_pretrained(tmp_path)
    assert "holds no weights; looked for model.safetensors" in refusal(load, tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert "model.safetensors is empty" in refusal(load, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**SMALL, "hidden_size": 33}))
    assert "config.json: hidden_size 33 is not a multiple" in refusal(load, tmp_path)


def test_a_config_that_asks_for_too_much_memory_is_refused_before_the_weights_are_read(tmp_path):
    small_model().save_pretrained(tmp_path)
    load = VivitForVideoClassification.from_pretrained
    message = refusal(load, tmp_path, hidden_size=2**19, intermediate_size=2**19)
    assert "but this machine has" in message


def fail(*args, **kwargs):
    raise OSError("no space left on device")


@pytest.mark.parametrize("place", ["os.fsync", "os.replace", "minivivit.files.weights.write_safetensors_to"])
def test_a_file_is_never_half_written(place, tmp_path, monkeypatch):
    old, new = small_model(), fill(small_model(), seed=5)
    old.save_pretrained(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(place, fail)
        with pytest.raises(OSError, match="no space left"):
            new.save_pretrained(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    new.save_pretrained(tmp_path)
    again = VivitForVideoClassification.from_pretrained(tmp_path, dtype="float64", backend="numpy")
    assert bits(again) == bits(new) != bits(old)


def test_to_the_same_library_changes_nothing():
    model = small_model()
    before = model.params
    assert model.to("numpy") is model
    assert model.params is before
    assert "backend is 'torch'; expected one of 'numpy', 'cupy', 'auto'" in refusal(model.to, "torch")


def test_a_misspelt_argument_is_refused(tmp_path):
    model = small_model()
    model.save_pretrained(tmp_path)
    assert "does not know torch_dtype" in refusal(type(model).from_pretrained, tmp_path, torch_dtype="float64")
    assert "directory is None" in refusal(type(model).from_pretrained, None)
    (tmp_path / "file").write_text("")
    assert "is a file" in refusal(model.save_pretrained, tmp_path / "file")


def test_a_state_dict_with_nan_is_refused():
    model = small_model()
    state = {name: array.copy() for name, array in model.state_dict().items()}
    state["classifier.bias"][0] = numpy.nan
    assert "NaN or infinity in classifier.bias" in refusal(model.load_state_dict, state)
