"""Measuring a model, and the command ``minivivit evaluate``."""

import argparse
import io
import json
from pathlib import Path

import numpy
import pytest
from tiny_training import TINY_MODEL, run_tiny_training, write_clips

from minivivit import InputError, VivitConfig, VivitForVideoClassification, VivitImageProcessor, progress
from minivivit.commands.classify import add_classify_arguments, run_classify
from minivivit.commands.evaluate import add_evaluate_arguments, run_evaluate
from minivivit.files.weights import read_weights, write_weights
from minivivit.training.data.pixels import new_processor, to_pixel_values
from minivivit.training.evaluation import measure

MODEL = {**TINY_MODEL, "initializer_range": 0.3}


def test_a_measurement_counts_right_and_wrong():
    config = VivitConfig(**TINY_MODEL, num_labels=3)
    model = VivitForVideoClassification(config, backend="numpy", seed=0, dtype="float64")
    model.params["classifier"]["weight"] *= 100
    processor = new_processor(config)
    rng = numpy.random.default_rng(0)
    clips = list(rng.integers(0, 256, (7, 4, 16, 16, 3), dtype=numpy.uint8))
    out = model(to_pixel_values(clips, processor), labels=numpy.array([0, 0, 0, 0, 1, 1, 1]))
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


@pytest.mark.parametrize(
    "fields", [{"return_dict": False}, {"output_attentions": True}, {"output_hidden_states": True}]
)
def test_what_the_config_says_of_outputs_changes_no_measurement(fields, monkeypatch):
    clips = list(numpy.random.default_rng(0).integers(0, 256, (3, 4, 16, 16, 3), dtype=numpy.uint8))
    batches = [(clips, numpy.array([0, 1, 1]))]
    results = []
    forward = VivitForVideoClassification.forward

    def spy(self, *args, **options):
        outputs = forward(self, *args, **options)
        assert set(outputs.keys()) == {"loss", "logits"}
        return outputs

    monkeypatch.setattr(VivitForVideoClassification, "forward", spy)
    for own in ({}, fields):
        config = VivitConfig(**TINY_MODEL, **own)
        results.append(measure(VivitForVideoClassification(config, backend="numpy"), new_processor(config), batches))
    assert results[0].loss == results[1].loss
    assert results[0].confusion.tolist() == results[1].confusion.tolist()


def test_no_clips_are_no_accuracy():
    config = VivitConfig(**TINY_MODEL)
    measured = measure(VivitForVideoClassification(config, backend="numpy"), new_processor(config), [])
    assert (measured.count, measured.accuracy, measured.loss) == (0, 0.0, 0.0)


def minivivit_evaluate(capsys, *arguments):
    parser = argparse.ArgumentParser()
    add_evaluate_arguments(parser)
    run_evaluate(parser.parse_args([str(argument) for argument in arguments]))
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
    assert [entry["index"] for entry in result["classes"]] == list(range(8))
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
            pixels = to_pixel_values(clips, training.processor)
            right = float((training.model(pixels).logits.argmax(axis=-1) == label).mean())
        assert result["classes"][label] == {"label": name, "index": label, "accuracy": right}
    unknown = write_clips(tmp_path / "unknown", ("right", "down"), clips=1)
    with pytest.raises(InputError, match="'down'"):
        minivivit_evaluate(capsys, "--model", model, "--data", unknown)


def test_evaluate_refuses_what_does_not_fit(tmp_path, motion_model, capsys):
    with pytest.raises(InputError, match=r"^--seed is -1"):
        minivivit_evaluate(capsys, "--model", motion_model, "--seed", -1)
    VivitForVideoClassification(VivitConfig(**TINY_MODEL), backend="numpy").save_pretrained(tmp_path / "model")
    with pytest.raises(InputError, match="moving left"):
        minivivit_evaluate(capsys, "--model", tmp_path / "model")


# ------------------------------------------------------------------------------------------------ any model


def save_model(directory: Path, **fields) -> Path:
    """A model of random weights, without a processor, for the clips of `write_clips`."""
    labels = {"id2label": {0: "left", 1: "right", 2: "up"}}
    config = VivitConfig(**{**MODEL, **labels, **fields})
    VivitForVideoClassification(config, backend="numpy").save_pretrained(directory)
    return directory


def minivivit_classify(capsys, *arguments):
    parser = argparse.ArgumentParser()
    add_classify_arguments(parser)
    run_classify(parser.parse_args([*map(str, arguments), "--json"]))
    captured = capsys.readouterr()
    return json.loads(captured.out)["predictions"], captured.err


@pytest.mark.parametrize("with_processor", [False, True])
@pytest.mark.parametrize("size", [(20, 24), (16, 16)])  # the second is the model's own
def test_evaluate_sees_what_classify_sees(tmp_path, capsys, with_processor, size):
    model = save_model(tmp_path / "model")
    if with_processor:
        VivitImageProcessor(size={"shortest_edge": 30}, crop_size=16).save_pretrained(model)
    rng = numpy.random.default_rng(1)
    folder = write_clips(tmp_path / "clips", clips=1)
    losses, notes = [], set()
    for label, name in enumerate(("left", "right", "up")):
        clip = folder / name / "clip0.npy"
        numpy.save(clip, rng.integers(0, 256, (9, *size, 3), dtype=numpy.uint8))
        predictions, err = minivivit_classify(capsys, clip, "--model", model)
        losses.append(-numpy.log(next(entry["probability"] for entry in predictions if entry["index"] == label)))
        notes.add(err)
    parser = argparse.ArgumentParser()
    add_evaluate_arguments(parser)
    run_evaluate(parser.parse_args(["--model", str(model), "--data", str(folder), "--json"]))
    captured = capsys.readouterr()
    assert json.loads(captured.out)["loss"] == pytest.approx(numpy.mean(losses), rel=1e-5)
    assert {captured.err} == notes
    assert ("holds no image processor: resizing the shortest edge to 18" in captured.err) != with_processor


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"problem_type": "regression"}, "regression"),
        ({"problem_type": "multi_label_classification"}, "one label each"),
        ({"class_splits": [2, 1]}, r"2 heads \(class_splits \[2, 1\]\).*one label each.*joint_accuracy"),
        ({"id2label": {0: "left"}}, "one label and no problem_type"),
    ],
)
def test_evaluate_refuses_what_has_no_accuracy(tmp_path, capsys, fields, message):
    model = save_model(tmp_path / "model", **fields)
    with pytest.raises(InputError, match=message) as error:
        minivivit_evaluate(capsys, "--model", model, "--data", write_clips(tmp_path / "clips", clips=1))
    assert "\n" not in str(error.value)
    assert capsys.readouterr().err == ""


def test_evaluate_refuses_a_model_without_a_head(tmp_path, capsys):
    model = save_model(tmp_path / "model")
    weights = read_weights(model)
    write_weights(model, {name: array for name, array in weights.items() if name.startswith("vivit.")})
    for data in (["--data", write_clips(tmp_path / "clips", clips=1)], []):
        with pytest.raises(InputError, match="without a classifier"):
            minivivit_evaluate(capsys, "--model", model, *data)


def test_classes_of_equal_names_stay_apart(tmp_path, capsys):
    model = save_model(tmp_path / "model", id2label=dict(enumerate(["left", "up", "other", "other", "right"])))
    clips = write_clips(tmp_path / "clips", ("left", "right"), clips=2)
    result = json.loads(minivivit_evaluate(capsys, "--model", model, "--data", clips, "--json"))
    assert [entry["label"] for entry in result["classes"]] == ["left", "up", "other", "other", "right"]
    assert [entry["accuracy"] is None for entry in result["classes"]] == [False, True, True, True, False]
    with pytest.raises(InputError, match="2 classes of the name 'other'"):
        minivivit_evaluate(
            capsys, "--model", model, "--data", write_clips(tmp_path / "more", ("left", "other"), clips=1)
        )


def test_the_bar_of_evaluate_counts_the_clips(tmp_path, motion_model, capsys, monkeypatch):
    bars = []

    def open_bar(total, description, unit):
        assert (description, unit) == ("evaluate", "clip")
        bars.append(progress.tqdm(total=total, file=io.StringIO()))
        return bars[-1]

    monkeypatch.setattr("minivivit.commands.evaluate.progress_bar", open_bar)
    minivivit_evaluate(capsys, "--model", motion_model, "--clips", 70)
    minivivit_evaluate(
        capsys, "--model", save_model(tmp_path / "model"), "--data", write_clips(tmp_path / "clips", clips=3)
    )
    assert [(bar.n, bar.total) for bar in bars] == [(70, 70), (9, 9)]


def test_logits_that_are_not_finite_are_no_answer():
    """argmax would take NaN for the most probable class."""
    config = VivitConfig(**TINY_MODEL)
    model = VivitForVideoClassification(config, backend="numpy")
    model.params["classifier"]["bias"][...] = numpy.float32(3e38)
    model.params["classifier"]["weight"][...] = numpy.float32(3e38)
    clips = list(numpy.random.default_rng(0).integers(0, 256, (2, 4, 16, 16, 3), dtype=numpy.uint8))
    with numpy.errstate(all="ignore"), pytest.raises(InputError, match="the logits are not finite"):
        measure(model, new_processor(config), [(clips, numpy.array([0, 1]))])
