"""Recipes, the average of the weights, and learning rates that fall with the depth."""

import json
import tomllib
from pathlib import Path

import numpy
import pytest
from tiny_training import TINY, TINY_MODEL, run_tiny_training, write_clips

import minivivit
from minivivit import InputError, VivitConfig, VivitForVideoClassification
from minivivit.cli import main
from minivivit.files.weights import read_weights
from minivivit.training.data.lists.listed_clips import ListedClips
from minivivit.training.loop import make_step
from minivivit.training.optimisers.adamw import AdamW
from minivivit.training.optimisers.averaging import average_decay, update_average
from minivivit.training.optimisers.layer_decay import layer_scales
from minivivit.training.optimisers.schedules import learning_rate
from minivivit.training.optimisers.sgd import SGD
from minivivit.training.recipes.recipe import RECIPES, read_recipe
from minivivit.training.run import begin_training
from minivivit.training.settings import make_settings, model_config, warm_up_steps

PACKAGE = Path(minivivit.__file__).parent

# What scenic's configs state, read from them by hand: learning rate, epochs, stride, label smoothing, mixup, dropped
# layers, RandAugment's magnitude; and the published model of the same config, as far as there is one.
STATED = {
    "kinetics400-b": (0.1, 30, 2, 0, 0, 0, None, "vivit-b-16x2-kinetics400"),
    "kinetics400-b-fe": (0.05, 30, 2, 0, 0, 0, None, "vivit-b-16x2-fe-kinetics400"),
    "kinetics400-l-fe": (0.1, 30, 2, 0, 0, 0, None, "vivit-l-16x2-fe-kinetics400"),
    "kinetics600-l-fe": (0.05, 30, 2, 0, 0, 0, None, "vivit-l-16x2-fe-kinetics600"),
    "epic-kitchens-l-fe": (0.5, 50, 1, 0.2, 0.1, 0.2, 15, "vivit-l-16x2-fe-epic-kitchens"),
    "something-something-v2-l-fe": (0.4, 35, 1, 0.3, 0.3, 0.3, 20, None),
    "moments-in-time-l-fe": (0.25, 10, 2, 0, 0, 0, None, None),  # Table 7 of the paper
}


@pytest.mark.parametrize("name", STATED)
def test_recipes_are_what_scenics_configs_state(name):
    rate, epochs, stride, smoothing, mixup, dropped, magnitude, preset = STATED[name]
    settings = make_settings("clips", read_recipe(name).settings)
    assert (settings.learning_rate, settings.epochs, settings.frame_sample_rate) == (rate, epochs, stride)
    assert (settings.label_smoothing, settings.mixup_alpha) == (smoothing, mixup)
    assert (settings.optimiser, settings.momentum, settings.weight_decay) == ("sgd", 0.9, 0)
    assert (settings.batch_size, settings.max_grad_norm, settings.warm_up_epochs) == (64, 1, 2.5)
    assert settings.model.get("stochastic_droplayer_rate", 0) == dropped
    assert settings.augmentation.get("rand_augment_magnitude") == magnitude
    assert settings.augmentation.get("do_color_augment", False) == (magnitude is None)
    if preset is not None:
        config = VivitConfig.from_preset(preset)
        splits = config.class_splits
        ours = model_config(settings, list(config.id2label.values()), splits).to_dict()
        theirs = {
            **config.to_dict(),
            "stochastic_droplayer_rate": dropped,
            "problem_type": "single_label_classification",
        }
        assert {k: v for k, v in ours.items() if v != theirs.get(k)} == {}


def test_the_rate_of_a_recipe_is_scenics():
    settings = make_settings("clips", read_recipe("kinetics400-b").settings)
    steps_per_epoch = 214834 // 64
    total = 30 * steps_per_epoch
    warm_up = warm_up_steps(settings, total, steps_per_epoch)
    assert warm_up == int(2.5 * steps_per_epoch)
    rates = [
        learning_rate(step, base_learning_rate=0.1, warmup_steps=warm_up, total_steps=total)
        for step in (0, warm_up, total - 1)
    ]
    assert rates[:2] == [0, 0.1]
    assert rates[2] < 1e-6
    with pytest.raises(InputError, match=r"warm_up_epochs is 2\.5"):
        warm_up_steps(settings, 100, 50)


def test_every_recipe_is_named_and_travels_with_the_package():
    assert {path.stem for path in (PACKAGE / "training" / "recipes").glob("*.json")} == set(RECIPES)
    tools = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["tool"]
    assert "training/recipes/*.json" in tools["setuptools"]["package-data"]["minivivit"]
    for name in RECIPES:
        recipe = read_recipe(name)
        assert recipe.source
        assert recipe.start
        make_settings("clips", recipe.settings)
    with pytest.raises(InputError, match="no recipe 'nothing'"):
        read_recipe("nothing")


def test_options_and_the_file_win_over_a_recipe(tmp_path, capsys):
    folder = write_clips(tmp_path / "clips")
    settings = tmp_path / "settings.json"
    own = {name: value for name, value in TINY.items() if name not in ("warm_up", "learning_rate")}
    settings.write_text(json.dumps({**own, "augmentation": {"crop_size": 16, "min_resize": 20}}))
    argv = ["train", str(folder), "--recipe", "epic-kitchens-l-fe", "--config", str(settings), "--epochs", "4"]
    argv += ["--learning-rate", "0.01", "--stride", "1", "--output", str(tmp_path / "run")]
    assert main(argv) == 0
    err = capsys.readouterr().err
    assert "scenic/projects/vivit/configs/epic_kitchens" in err
    state = json.loads((tmp_path / "run" / "last" / "training_state.json").read_text())
    found = state["settings"]
    assert (found["learning_rate"], found["epochs"], found["label_smoothing"], found["mixup_alpha"]) == (
        0.01,
        4,
        0.2,
        0.1,
    )
    assert found["augmentation"]["rand_augment_magnitude"] == 15
    assert found["augmentation"]["crop_size"] == 16
    assert found["warm_up"] == int(2.5 * 3)
    assert main([*argv, "--resume"]) == 0


def test_fine_tuning_by_recipe_and_its_resumption(tmp_path, capsys):
    folder = write_clips(tmp_path / "clips")
    VivitForVideoClassification(VivitConfig(**TINY_MODEL), backend="numpy").save_pretrained(tmp_path / "model")
    argv = ["train", str(folder), "--recipe", "fine-tune", "--model", str(tmp_path / "model"), "--stride", "1"]
    argv += ["--epochs", "2", "--batch-size", "4", "--backend", "numpy", "--freeze", "vivit.embeddings.*"]
    assert main([*argv, "--output", str(tmp_path / "run")]) == 0
    state = json.loads((tmp_path / "run" / "last" / "training_state.json").read_text())
    assert state["settings"]["augmentation"]["crop_size"] == [16, 16]
    assert (state["settings"]["ema"], state["settings"]["layer_decay"]) == (0.999, 0.75)
    first, last = read_weights(tmp_path / "model"), read_weights(tmp_path / "run" / "last")
    for name in last:
        if name.startswith("vivit.embeddings."):
            numpy.testing.assert_array_equal(last[name], first[name])
    assert main([*argv, "--output", str(tmp_path / "run"), "--resume"]) == 0
    main([*argv, "--image-model", "x", "--output", str(tmp_path / "other")])
    assert "but not both" in capsys.readouterr().err


def test_an_image_model_is_a_start(tmp_path):
    source = VivitForVideoClassification(VivitConfig(**TINY_MODEL), backend="numpy", seed=5)
    source.save_pretrained(tmp_path / "source")
    settings = make_settings(str(write_clips(tmp_path / "clips")), {**TINY, "epochs": 3})
    training = begin_training(str(tmp_path / "clips"), settings, tmp_path / "run", image_model=str(tmp_path / "source"))
    own, theirs = training.model.state_dict(), source.state_dict()
    same = [name for name in own if own[name].shape == theirs[name].shape and (own[name] == theirs[name]).all()]
    assert "vivit.encoder.layer.1.attention.attention.query.weight" in same
    assert "classifier.weight" not in same


# ------------------------------------------------------------------------------------------------ average, decay


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_average_by_hand(dtype):
    average, parameter = {"w": numpy.array([1.0, 2.0], dtype)}, {"w": numpy.array([3.0, 0.0], dtype)}
    update_average(average, parameter, 0.75)
    assert average["w"].tolist() == [1.5, 1.5]
    assert parameter["w"].tolist() == [3.0, 0.0]
    assert [average_decay(step, 0.9) for step in (1, 8, 1000)] == [2 / 11, 0.5, 0.9]


def test_a_training_keeps_the_average_of_its_weights(tmp_path):
    training = run_tiny_training(tmp_path / "run", steps=4, warm_up=0, ema=0.4, seed=3)
    again = run_tiny_training(tmp_path / "plain", steps=4, warm_up=0, seed=3)
    for name, array in again.model.state_dict().items():  # the training itself is the same
        numpy.testing.assert_array_equal(array, training.model.state_dict()[name])
    settings = make_settings("motion", {**TINY, "steps": 4, "warm_up": 0})
    other = begin_training("motion", settings, tmp_path / "other")
    expected = {name: array.astype(numpy.float64) for name, array in other.model.state_dict().items()}
    for step in range(1, 5):
        make_step(other)
        decay = min(0.4, (1 + step) / (10 + step))
        for name, array in other.model.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * array
    averaged = read_weights(tmp_path / "run" / "averaged")
    for name, array in expected.items():
        numpy.testing.assert_allclose(averaged[name], array, rtol=1e-5, atol=1e-7)
    best = read_weights(tmp_path / "run" / "best")
    assert any((best[name] != read_weights(tmp_path / "run" / "last")[name]).any() for name in best)


@pytest.mark.parametrize(
    ("attention_type", "expected"),
    [
        (
            "spatio_temporal",
            {
                "vivit.embeddings.cls_token": 3,
                "vivit.embeddings.patch_embeddings.projection.weight": 3,
                "vivit.encoder.layer.0.output.dense.bias": 2,
                "vivit.encoder.layer.1.layernorm_after.weight": 1,
                "vivit.layernorm.weight": 0,
                "classifier.weight": 0,
            },
        ),
        (
            "factorised_encoder",
            {
                "vivit.embeddings.patch_embeddings.projection.weight": 6,
                "vivit.spatial_encoder.cls_token": 6,
                "vivit.spatial_encoder.layer.0.output.dense.bias": 5,
                "vivit.spatial_encoder.layer.1.output.dense.bias": 4,
                "vivit.spatial_encoder.layernorm.weight": 4,
                "vivit.temporal_encoder.cls_token": 3,
                "vivit.temporal_encoder.layer.0.output.dense.bias": 3,
                "vivit.temporal_encoder.layer.2.output.dense.bias": 1,
                "vivit.temporal_encoder.layernorm.weight": 0,
                "classifier.bias": 0,
            },
        ),
    ],
)
def test_rates_fall_with_the_depth(attention_type, expected):
    config = VivitConfig(**{**TINY_MODEL, "attention_type": attention_type, "num_temporal_layers": 3})
    names = VivitForVideoClassification(config, backend="numpy").state_dict()
    scales = layer_scales(names, 0.5)
    assert set(scales) == set(names)
    for name, power in expected.items():
        assert scales[name] == 0.5**power, name


@pytest.mark.parametrize("make", [SGD, AdamW])
def test_a_scaled_rate_is_that_of_an_optimiser_of_its_own(make):
    rng = numpy.random.default_rng(0)
    start, gradients = rng.normal(size=(3, 4)), [rng.normal(size=(3, 4)) for _ in range(5)]
    one = {"a": start.copy(), "b": start.copy()}
    apart = start.copy()
    both = make(one, weight_decay=0.1, rate_scales={"a": 0.25})
    alone = make({"a": apart}, weight_decay=0.1)
    plain = make({"b": start.copy()}, weight_decay=0.1)
    for gradient in gradients:
        both.step({"a": gradient, "b": gradient}, 0.1)
        alone.step({"a": gradient}, 0.1 * 0.25)
        plain.step({"b": gradient}, 0.1)
    numpy.testing.assert_array_equal(one["a"], apart)
    numpy.testing.assert_array_equal(one["b"], plain.parameters["b"])
    with pytest.raises(InputError, match="the scale of a"):
        make(one, rate_scales={"a": -1})


def test_classes_of_several_heads_stand_one_after_the_other():
    clips = ListedClips([["a", "b"], ["c"]], [])
    assert (clips.classes, clips.class_splits) == (["a", "b", "c"], [2, 1])
