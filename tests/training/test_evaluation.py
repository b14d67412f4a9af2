"""Measuring a model, and the command ``minivivit evaluate``."""

import argparse
import json

import numpy
import pytest
from tiny_training import TINY_MODEL, run_tiny_training, write_clips

from minivivit import InputError, VivitConfig, VivitForVideoClassification
from minivivit.training.command import add_evaluate_arguments, run_evaluate
from minivivit.training.evaluation import measure
from minivivit.training.pixels import new_processor, to_pixel_values

MODEL = {**TINY_MODEL, "initializer_range": 0.3}


def test_a_measurement_counts_right_and_wrong():
    config = VivitConfig(**TINY_MODEL, num_labels=3)
    model = VivitForVideoClassification(config, backend="numpy", seed=0, dtype="float64")
    model.params["classifier"]["weight"] *= 100
    processor = new_processor(config)
    rng = numpy.random.default_rng(0)
    clips = list(rng.integers(0, 256, (7, 4, 16, 16, 3), dtype=numpy.uint8))
    out = model(to_pixel_values(clips, processor, config), labels=numpy.array([0, 0, 0, 0, 1, 1, 1]))
    guesses = out.logits.argmax(axis=-1)

    labels = numpy.array([0, 0, 0, 0, 1, 1, 1])
    measured = measure(model, processor, [(clips[:4], labels[:4]), (clips[4:], labels[4:])])
    assert measured.count == 7
    assert measured.correct == (guesses == labels).sum()
    assert measured.accuracy == (guesses == labels).mean()
    assert measured.loss == pytest.approx(float(out.loss), rel=1e-12)
    classes = measured.class_accuracies()
    assert classes[0] == (guesses[:4] == 0).mean()
    assert classes[1] == (guesses[4:] == 1).mean()
    assert classes[2] is None
    assert measured.confusion.sum(axis=0).tolist() == numpy.bincount(guesses, minlength=3).tolist()


def test_no_clips_are_no_accuracy():
    config = VivitConfig(**TINY_MODEL)
    measured = measure(VivitForVideoClassification(config, backend="numpy"), new_processor(config), [])
    assert (measured.count, measured.accuracy, measured.loss) == (0, 0.0, 0.0)


def minivivit_evaluate(capsys, *arguments):
    parser = argparse.ArgumentParser()
    add_evaluate_arguments(parser)
    assert run_evaluate(parser.parse_args([str(argument) for argument in arguments])) == 0
    return capsys.readouterr().out


@pytest.fixture(scope="module")
def motion_model(tmp_path_factory):
    output = tmp_path_factory.mktemp("run")
    run_tiny_training(output, steps=2)
    return output / "last"


def test_evaluate_prints_the_accuracy_of_fresh_clips(motion_model, capsys):
    arguments = ["--model", motion_model, "--clips", 70]
    result = json.loads(minivivit_evaluate(capsys, *arguments, "--json"))
    assert 0 <= result["accuracy"] <= 1
    assert (result["clips"], result["seed"], result["shuffle_frames"]) == (70, 0, False)
    assert result["correct"] == round(result["accuracy"] * 70)
    assert len(result["classes"]) == 8
    assert json.loads(minivivit_evaluate(capsys, *arguments, "--json")) == result
    other = json.loads(minivivit_evaluate(capsys, *arguments, "--json", "--seed", 1))
    assert other["loss"] != result["loss"]
    shuffled = json.loads(minivivit_evaluate(capsys, *arguments, "--json", "--shuffle-frames"))
    assert shuffled["loss"] != result["loss"]
    text = minivivit_evaluate(capsys, *arguments)
    assert text.startswith(f"accuracy {result['accuracy']:.4f}")
    assert "turning clockwise" in text


def test_evaluate_reads_a_folder_by_the_names_of_its_classes(tmp_path, capsys):
    folder = write_clips(tmp_path / "clips")
    training = run_tiny_training(tmp_path / "run", str(folder), epochs=4, model=MODEL)
    model = tmp_path / "run" / "last"
    capsys.readouterr()
    part = write_clips(tmp_path / "part", ("right", "up"), clips=3)
    options = ["--model", model, "--data", part, "--stride", 1, "--json"]
    result = json.loads(minivivit_evaluate(capsys, *options))
    assert result["clips"] == 6
    for label, name in enumerate(("left", "right", "up")):
        clips = [numpy.load(path)[1:5] for path in sorted((part / name).glob("*.npy"))]  # the middle of 6 frames
        right = None
        if clips:
            pixels = to_pixel_values(clips, training.processor, training.model.config)
            right = float((training.model(pixels).logits.argmax(axis=-1) == label).mean())
        assert result["classes"][name] == right
    unknown = write_clips(tmp_path / "unknown", ("right", "down"), clips=1)
    with pytest.raises(InputError, match="'down'"):
        minivivit_evaluate(capsys, "--model", model, "--data", unknown)


def test_evaluate_refuses_what_does_not_fit(tmp_path, motion_model, capsys):
    with pytest.raises(InputError, match="seed is -1"):
        minivivit_evaluate(capsys, "--model", motion_model, "--seed", -1)
    VivitForVideoClassification(VivitConfig(**TINY_MODEL), backend="numpy").save_pretrained(tmp_path / "model")
    with pytest.raises(InputError, match="moving left"):
        minivivit_evaluate(capsys, "--model", tmp_path / "model")
