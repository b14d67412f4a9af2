"""Settings: their defaults, their checks, the JSON file and the options of the command line."""

import argparse
import dataclasses
import json
import re
import shutil
import subprocess
import sys

import pytest
from tiny_training import TINY, write_clips

from minivivit import InputError, VivitVideoProcessor
from minivivit.cli import main
from minivivit.commands.train import _default_model_notes, _given_settings, add_train_arguments, run_train
from minivivit.training.data.motion.clips import MOTION_CLASSES
from minivivit.training.log import read_log
from minivivit.training.optimisers.freezing import trainable_names
from minivivit.training.run import begin_training
from minivivit.training.settings import TrainingSettings, make_settings, model_config, read_settings_file, warm_up_steps


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("steps", 1.5),
        ("batch_size", 0),
        ("batch_size", True),
        ("accumulate", 100),
        ("parallel", 0),
        ("optimiser", "adam"),
        ("learning_rate", -1.0),
        ("learning_rate", float("nan")),
        ("learning_rate", "fast"),
        ("weight_decay", None),
        ("momentum", 1.0),
        ("beta2", 1),
        ("warm_up", -1),
        ("warm_up_epochs", -1),
        ("layer_decay", 0),
        ("layer_decay", 1.5),
        ("ema", 1.0),
        ("tubelet_init", "middle"),
        ("schedule", "step"),
        ("max_grad_norm", 0),
        ("label_smoothing", 1.0),
        ("mixup_alpha", -0.1),
        ("freeze", "classifier.*"),
        ("freeze", [1]),
        ("validation_fraction", 1.0),
        ("validation_clips", 0),
        ("frame_sample_rate", 0),
        ("validate_every", 0),
        ("checkpoint_every", 0),
        ("seed", -1),
        ("dtype", "float16"),
        ("backend", "torch"),
        ("gradient_checkpointing", 1),
        ("model", []),
        ("model", {"hiden_size": 8}),
        ("augmentation", None),
        ("augmentation", {"do_jitter_scale": 1}),
        ("augmentation", {"crop_size": 0}),
        ("augmentation", {"crop_size": [16, 0]}),
        ("augmentation", {"prob_scale_jitter": 1.1}),
        ("augmentation", {"rand_augment_magnitude": "high"}),
        ("augmentation", {"do_colour_augment": True}),
        ("learning_rates", 0.1),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(name, value):
    with pytest.raises(InputError) as error:
        make_settings("motion", {name: value})
    assert name.rstrip("s") in str(error.value)
    assert "\n" not in str(error.value)


def test_names_that_are_no_field_of_a_model_are_named():
    with pytest.raises(InputError, match="model has no setting 'hiden_size', 'heads'; it has preset, image_size, "):
        make_settings("folder", {"model": {"hiden_size": 8, "hidden_size": 8, "heads": 2}})


def test_every_setting_is_checked():
    for entry in dataclasses.fields(TrainingSettings):
        with pytest.raises(InputError, match=entry.name):
            make_settings("folder", {entry.name: object()})


def test_length_is_given_in_epochs_or_steps():
    assert make_settings("folder", {}).epochs is not None
    assert make_settings("folder", {"steps": 5}).epochs is None
    assert make_settings("motion", {"steps": 5}).steps == 5
    with pytest.raises(InputError, match="one of the two"):
        make_settings("folder", {"steps": 5, "epochs": 5})
    with pytest.raises(InputError, match="no epochs"):
        make_settings("motion", {"epochs": 5})


def test_settings_survive_json():
    given = {"freeze": ["a.*"], "model": {"hidden_size": 96}, "augmentation": {"crop_size": [8, 9]}, "epochs": 3}
    settings = make_settings("folder", given)
    values = json.loads(json.dumps(settings.to_dict()))
    assert make_settings("folder", {**values, "steps": None}) == settings
    assert settings.augmentation_params().crop_size == (8, 9)


def test_the_model_of_the_built_in_data_can_be_changed_field_by_field():
    default = model_config(make_settings("motion", {}), list(MOTION_CLASSES))
    assert default.num_labels == 8
    assert default.id2label[4] == "turning clockwise"
    changed = model_config(make_settings("motion", {"model": {"num_hidden_layers": 1}}), list(MOTION_CLASSES))
    assert changed.num_hidden_layers == 1
    assert changed.hidden_size == default.hidden_size


def test_the_model_of_a_folder_is_small():
    default = model_config(make_settings("folder", {}), ["a", "b"])
    assert (default.image_size, default.num_frames, default.hidden_size) == (64, 8, 96)
    changed = model_config(make_settings("folder", {"model": {"hidden_size": 32}}), ["a", "b"])
    assert (changed.hidden_size, changed.num_hidden_layers) == (32, default.num_hidden_layers)
    tuned = make_settings("folder", {}, fine_tuning=True)
    assert tuned.model == {}
    assert tuned.learning_rate == 1e-4 < make_settings("folder", {}).learning_rate
    assert make_settings("folder", {"model": {"preset": "vivit-b-16x2"}}).learning_rate == 1e-4


def test_the_recipe_of_the_bundled_model_stays():
    settings = make_settings("motion", {})
    assert (settings.steps, warm_up_steps(settings, 4000), settings.learning_rate) == (4000, 200, 1.5e-3)


@pytest.mark.parametrize(("steps", "expected"), [(1, 0), (9, 0), (10, 1), (605, 60), (2000, 200), (100_000, 200)])
def test_the_default_warm_up_is_a_tenth_of_a_short_training(steps, expected):
    for data in ("motion", "folder"):
        assert warm_up_steps(make_settings(data, {"steps": steps}), steps) == expected


def test_a_warm_up_leaves_something_to_train(tmp_path):
    folder = str(write_clips(tmp_path / "clips"))  # 12 clips to train on: 3 steps an epoch
    for data, length, steps in (("motion", {"steps": 5}, 5), (folder, {"epochs": 2}, 6)):
        settings = {**TINY, **length}
        with pytest.raises(InputError, match=f"warm_up is {steps}, but the training has {steps} steps"):
            begin_training(data, make_settings(data, {**settings, "warm_up": steps}), tmp_path / "run")
        assert not (tmp_path / "run").exists()
        training = begin_training(data, make_settings(data, {**settings, "warm_up": None}), tmp_path / "run")
        assert training.settings.warm_up == 0
        shutil.rmtree(tmp_path / "run")


def test_a_preset_takes_the_classes_of_the_data():
    settings = make_settings("folder", {"model": {"preset": "vivit-b-16x2", "num_frames": 16}})
    config = model_config(settings, ["a", "b", "c"])
    assert (config.num_labels, config.hidden_size, config.num_frames) == (3, 768, 16)
    assert config.problem_type == "single_label_classification"
    motion = model_config(make_settings("motion", {"model": {"preset": "vivit-b-16x2"}}), list(MOTION_CLASSES))
    assert (motion.hidden_size, motion.num_frames) == (768, 32)
    with pytest.raises(InputError, match="preset"):
        model_config(make_settings("folder", {"model": {"preset": "vivit-z"}}), ["a", "b"])
    with pytest.raises(InputError, match="num_labels"):
        model_config(make_settings("folder", {"model": {"num_labels": 4}}), ["a", "b"])


# ------------------------------------------------------------------------------------------------ minivivit train


def minivivit_train(*arguments):
    parser = argparse.ArgumentParser()
    add_train_arguments(parser)
    return run_train(parser.parse_args([str(argument) for argument in arguments]))


@pytest.fixture
def config_file(tmp_path):
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps({**TINY, "steps": 6}))
    return path


def test_options_win_over_the_file(tmp_path, config_file, capsys):
    options = ["--output", tmp_path / "run", "--config", config_file]
    assert minivivit_train("motion", *options, "--steps", 4, "--learning-rate", 0.5, "--dropout", 0.25) == 0
    state = json.loads((tmp_path / "run" / "last" / "training_state.json").read_text())
    assert state["step"] == 4
    assert state["settings"]["learning_rate"] == 0.5
    assert state["settings"]["batch_size"] == 4
    assert state["settings"]["model"]["hidden_dropout_prob"] == 0.25
    assert state["settings"]["model"]["hidden_size"] == 8
    assert "finished" in capsys.readouterr().out


def test_the_command_trains_on_a_folder(tmp_path, config_file):
    settings = read_settings_file(config_file)
    del settings["steps"]
    config_file.write_text(json.dumps(settings))
    folder = write_clips(tmp_path / "clips")
    options = ["--attention-type", "factorised_encoder", "--freeze", "vivit.embeddings.*", "--epochs", 2]
    assert minivivit_train(folder, "--output", tmp_path / "run", "--config", config_file, *options) == 0
    config = json.loads((tmp_path / "run" / "best" / "config.json").read_text())
    assert config["attention_type"] == "factorised_encoder"
    assert list(config["id2label"].values()) == ["left", "right", "up"]
    assert (tmp_path / "run" / "best" / "preprocessor_config.json").is_file()


def test_who_names_no_model_learns_which_one_it_is(tmp_path, config_file, capsys):
    folder = write_clips(tmp_path / "clips", clips=2)
    options = [folder, "--epochs", 1, "--batch-size", 2]
    assert minivivit_train(*options, "--output", tmp_path / "small") == 0
    out, err = capsys.readouterr()
    assert re.search(r"model: spatio_temporal, [\d,]+ parameters, 8 frames of 64 x 64\n", out)
    assert re.fullmatch("minivivit: note: a small model is trained from scratch: --preset, .*\n", err)
    assert minivivit_train(*options, "--output", tmp_path / "tiny", "--config", config_file) == 0
    assert "4 frames of 16 x 16" in (captured := capsys.readouterr()).out
    assert captured.err == ""
    assert minivivit_train("motion", "--output", tmp_path / "motion", "--config", config_file) == 0
    model = tmp_path / "motion" / "last"
    (model / "preprocessor_config.json").unlink()
    capsys.readouterr()
    assert minivivit_train(*options, "--output", tmp_path / "tuned", "--model", model) == 0
    first, second = capsys.readouterr().err.splitlines()
    assert re.fullmatch("minivivit: note: .* holds no image processor: .*", first)
    assert re.fullmatch("minivivit: note: .* has no fitting classifier.bias, classifier.weight: drawn afresh.*", second)
    processor = json.loads((tmp_path / "tuned" / "last" / "preprocessor_config.json").read_text())
    assert (processor["size"], processor["do_normalize"]) == ({"shortest_edge": 18}, True)


def test_who_starts_from_an_image_model_is_not_told_that_nothing_is_started_from():
    arguments = {"data": "clips", "model": None, "image_model": None}
    assert _default_model_notes(argparse.Namespace(**arguments), {})
    assert not _default_model_notes(argparse.Namespace(**{**arguments, "image_model": "vit"}), {})
    assert not _default_model_notes(argparse.Namespace(**{**arguments, "model": "vivit"}), {})


def test_a_video_processor_stays_one(tmp_path, config_file):
    """Trained, resumed, evaluated and converted: the model keeps the file that it was saved with, and no other."""
    assert minivivit_train("motion", "--output", tmp_path / "motion", "--config", config_file) == 0
    (tmp_path / "motion" / "best" / "preprocessor_config.json").unlink()
    processor = VivitVideoProcessor(size=18, crop_size=16, resample=3, num_frames=2)
    processor.save_pretrained(tmp_path / "motion" / "best")
    folder = write_clips(tmp_path / "clips", clips=2)
    options = [folder, "--output", tmp_path / "run", "--batch-size", 2, "--model", tmp_path / "motion" / "best"]
    assert minivivit_train(*options, "--epochs", 1) == 0
    assert minivivit_train(*options[:3], "--epochs", 2, "--resume") == 0
    files = {path.name for path in (tmp_path / "run" / "last").iterdir()}
    assert "video_preprocessor_config.json" in files
    assert "preprocessor_config.json" not in files
    assert VivitVideoProcessor.from_pretrained(tmp_path / "run" / "last").to_dict() == processor.to_dict()
    assert main(["evaluate", "--model", str(tmp_path / "run" / "best"), "--data", str(folder)]) == 0


def test_a_training_that_cannot_begin_has_one_line_to_say(tmp_path, config_file):
    assert minivivit_train("motion", "--output", tmp_path / "first", "--config", config_file) == 0
    model = tmp_path / "first" / "last"
    (model / "preprocessor_config.json").unlink()
    (write_clips(tmp_path / "clips", clips=2) / "up" / "notes.npy").write_text("no clip")
    command = [sys.executable, "-m", "minivivit", "train", tmp_path / "clips", "--output", tmp_path / "run"]
    result = subprocess.run([*command, "--model", model], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (2, "")
    assert re.fullmatch(r"minivivit: error: .*notes\.npy.*\n", result.stderr)
    assert not (tmp_path / "run").exists()


def test_a_preset_is_an_option(tmp_path):
    parser = argparse.ArgumentParser()
    add_train_arguments(parser)
    given = _given_settings(parser.parse_args(["clips", "--output", "run", "--preset", "vivit-b-16x2"]))
    assert given == {"model": {"preset": "vivit-b-16x2"}}


def test_an_output_that_holds_a_training_is_not_overwritten(tmp_path, config_file):
    options = ["motion", "--output", tmp_path / "run", "--config", config_file]
    minivivit_train(*options)
    log = (tmp_path / "run" / "log.jsonl").read_bytes()
    with pytest.raises(InputError, match="--resume"):
        minivivit_train(*options)
    assert minivivit_train(*options, "--resume") == 0  # nothing is left to do
    assert minivivit_train("motion", "--output", tmp_path / "run", "--resume") == 0
    assert (tmp_path / "run" / "log.jsonl").read_bytes() == log


def test_resume_begins_where_there_is_nothing(tmp_path, config_file):
    assert minivivit_train("motion", "--output", tmp_path / "run", "--config", config_file, "--resume") == 0
    assert [entry["step"] for entry in read_log(tmp_path / "run" / "log.jsonl") if "loss" in entry] == [*range(1, 7)]


def test_a_training_goes_on_as_it_began(tmp_path, config_file):
    options = ["motion", "--output", tmp_path / "run", "--config", config_file]
    minivivit_train(*options)
    for change in (["--seed", 4], ["--dropout", 0.5], ["--model", tmp_path / "run" / "best"], ["--freeze", "a"]):
        with pytest.raises(InputError, match="began with"):
            minivivit_train(*options, "--resume", *change)


def test_the_help_tells_the_defaults(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    shown = capsys.readouterr().out
    folder, motion = make_settings("clips", {}), make_settings("motion", {})
    assert f"seen (default: {folder.epochs})" in shown
    assert f"made (motion: {motion.steps})" in shown
    assert f"update (default: {folder.batch_size}; motion: {motion.batch_size})" in shown
    tuned = make_settings("clips", {}, fine_tuning=True).learning_rate
    rates = f"{folder.learning_rate}; with --model or --preset {tuned}; motion: {motion.learning_rate}"
    assert f"rate (default: {rates})" in shown
    assert f"optimiser {{adamw,sgd}}\n{' ' * 24}what makes the updates (default: {folder.optimiser})" in shown


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", 10**400),
        ("learning_rate", float("nan")),
        ("learning_rate", -(10**400)),
        ("optimiser", []),
        ("schedule", {}),
        ("model", [[[]]] * 9999),
        ("model", {"x" * 99_999: 1}),
        ("freeze", ["x" * 99_999, 1]),
        ("augmentation", {"x" * 99_999: 1}),
        ("dtype", "x" * 99_999),
        ("x" * 99_999, 1),
    ],
)
def test_hostile_settings_have_one_short_line_to_say(name, value):
    with pytest.raises(InputError) as error:
        make_settings("folder", {name: value})
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1500


@pytest.mark.parametrize(
    "given",
    [
        *(
            {name: 10**400}
            for name in ("steps", "learning_rate", "seed", "batch_size", "weight_decay", "momentum", "freeze")
        ),
        *(
            {name: "a" * 10**6}
            for name in ("steps", "learning_rate", "optimiser", "dtype", "freeze", "model", "augmentation")
        ),
        *({"model": {"preset": preset}} for preset in ([], {}, "a" * 10**6, 3, None.__class__.__name__)),
        *({"augmentation": {"crop_size": size}} for size in (10**400, [10**400, 8], "a" * 10**6)),
        *(
            {"a" * 10**6: 1},
            {"self": 1},
            {"model": {"self": 1}},
            {"model": {"a" * 10**6: 1}},
            {"augmentation": {"self": 1}},
        ),
        *({"model": {f"unknown{index}": 1 for index in range(10**5)}}, {"freeze": ["a" * 10**5]}, {"steps": 1 << 64}),
    ],
    ids=lambda given: next(iter(given))[:20],
)
def test_settings_without_measure_are_one_short_line(given):
    def use():
        settings = make_settings("motion", given)
        model_config(settings, list(MOTION_CLASSES))
        trainable_names(["vivit.layernorm.weight"], settings.freeze)

    with pytest.raises(InputError) as caught:
        use()
    assert len(str(caught.value)) < 1500
    assert str(caught.value).isprintable()


def test_a_seed_may_have_128_bits():
    assert make_settings("motion", {"seed": (1 << 128) - 1}).seed == (1 << 128) - 1
    with pytest.raises(InputError, match="is taken for a mistake"):
        make_settings("motion", {"seed": 1 << 128})


@pytest.mark.parametrize(
    ("option", "value", "name"),
    [
        ("--stride", "0", {"frame_sample_rate": 0}),
        ("--dropout", "1.5", {"model": {"hidden_dropout_prob": 1.5}}),
        ("--stochastic-depth", "-1", {"model": {"stochastic_droplayer_rate": -1}}),
        ("--learning-rate", "-1", {"learning_rate": -1}),
        ("--seed", "-1", {"seed": -1}),
    ],
)
def test_a_message_has_the_name_that_the_user_gave(tmp_path, capsys, option, value, name):
    """An option's on the command line, and a setting's in a file of settings."""
    argv = ["train", "motion", "--output", str(tmp_path / "run")]
    assert main([*argv, option, value]) == 2
    assert capsys.readouterr().err.startswith(f"minivivit: error: {option} is {value}")
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps(name))
    assert main([*argv, "--config", str(settings)]) == 2
    (setting,) = name.get("model", name)
    assert capsys.readouterr().err.startswith(f"minivivit: error: {setting} is {value}")


def test_variants_names_the_option_too(tmp_path, capsys):
    assert main(["variants", "--output", str(tmp_path / "run"), "--seed", "-1"]) == 2
    assert capsys.readouterr().err.startswith("minivivit: error: --seed is -1")
