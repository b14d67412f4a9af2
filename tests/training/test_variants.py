"""The paper's variants side by side: what is trained, what is measured, and what is written."""

import json
import os
import re
import shutil
import signal
import sys

import numpy
import pytest
from tiny_training import TINY_MODEL

from minivivit import InputError, VivitForVideoClassification
from minivivit.cli import main
from minivivit.commands.experiments import variants as command
from minivivit.models.counting import count, total
from minivivit.training.data.motion.stills import STILL_CLASSES, StillData, still_frames
from minivivit.training.experiments.own_process import can_start_processes, peak_memory, run_in_own_process
from minivivit.training.experiments.variants import (
    ENCODINGS,
    IMAGE_MODEL,
    IMAGE_STEPS,
    MODELS,
    VARIANTS,
    Job,
    begin_variant,
    train_variant,
    variant_config,
    variant_settings,
)
from minivivit.training.lock import locked
from minivivit.training.loop import make_step
from minivivit.training.run import begin_training

CLIPS = 24
SETTINGS = {
    "batch_size": 4,
    "warm_up": 1,
    "seed": 5,
    "model": {name: value for name, value in TINY_MODEL.items() if "drop" not in name},
}
KERNEL, BIAS = (f"vivit.embeddings.patch_embeddings.projection.{name}" for name in ("weight", "bias"))


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """The output directory of the command, run once."""
    directory = tmp_path_factory.mktemp("compared")
    (directory / "settings.json").write_text(json.dumps(SETTINGS))
    arguments = ["--config", str(directory / "settings.json"), "--steps", "2", "--clips", str(CLIPS)]
    assert main(["variants", *arguments, "--output", str(directory / "out")]) == 0
    return directory / "out", arguments


def load(directory):
    return VivitForVideoClassification.from_pretrained(directory, backend="numpy")


# ------------------------------------------------------------------------------------------------ the command


@pytest.mark.thorough
def test_the_tables_have_the_rows_of_the_paper(compared):
    output, _ = compared
    result = json.loads((output / "variants.json").read_text())
    assert [row["name"] for row in result["table_1"]] == [
        "frame_sampling",
        "tubelets_random",
        "tubelets_filter_inflation",
        "tubelets_central_frame",
    ]
    assert [row["name"] for row in result["table_2"]] == [
        "spatio_temporal",
        "factorised_encoder",
        "factorised_self_attention",
        "factorised_dot_product",
        "average_pool",
    ]
    assert result["settings"]["steps"] == 2
    assert result["image_model"]["steps"] == 2 * IMAGE_STEPS
    for row in [*result["table_1"], *result["table_2"]]:
        assert row["steps"] == 2
        model = load(output / row["name"])
        assert row["parameters"] == model.num_parameters()
        assert row["multiply_accumulates"] == total(count(model.config))["multiply_accumulates"]
        assert row["seconds_per_step"] > 0
        assert 0 <= row["peak_memory_bytes"] < 2**30
        assert len((output / row["name"] / "log.jsonl").read_text().splitlines()) == 2


@pytest.mark.thorough
def test_markdown_and_json_say_the_same(compared):
    output, _ = compared
    result = json.loads((output / "variants.json").read_text())
    lines = (output / "variants.md").read_text().splitlines()
    for title, rows in (("## Table 1", result["table_1"]), ("## Table 2", result["table_2"])):
        start = next(index for index, line in enumerate(lines) if line.startswith(title))
        assert lines[start + 2].split(" | ")[0] == "| variant"
        for line, row in zip(lines[start + 4 : start + 4 + len(rows)], rows, strict=True):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            assert cells[:4] == [
                row["name"].replace("_", " "),
                f"{100 * row['accuracy']:.1f} %",
                f"{100 * row['accuracy_shuffled']:.1f} %",
                f"{row['parameters']:,}",
            ]
            assert len(cells) == len(command.HEADER)
        assert lines[start + 4 + len(rows)] == ""


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["factorised_encoder", "tubelets_central_frame"])
def test_the_accuracies_are_those_of_evaluate(compared, capsys, name):
    output, _ = compared
    result = json.loads((output / "variants.json").read_text())
    (row,) = [row for row in [*result["table_1"], *result["table_2"]] if row["name"] == name]
    arguments = ["evaluate", "--model", str(output / name), "--clips", str(CLIPS), "--seed", "5", "--json"]
    for key, more in (("accuracy", []), ("accuracy_shuffled", ["--shuffle-frames"])):
        assert main([*arguments, "--backend", "numpy", *more]) == 0
        assert json.loads(capsys.readouterr().out)["accuracy"] == row[key]


@pytest.mark.thorough
def test_what_is_there_is_not_trained_again(compared, capsys, monkeypatch):
    output, arguments = compared
    monkeypatch.setattr(command, "run_in_own_process", None)  # not callable
    before = (output / "variants.json").read_bytes(), (output / "variants.md").read_bytes()
    assert main(["variants", *arguments, "--output", str(output), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(before[0])
    assert ((output / "variants.json").read_bytes(), (output / "variants.md").read_bytes()) == before


def test_an_interrupted_comparison_goes_on(tmp_path, capsys, monkeypatch):
    trained = []

    def train(work, job, report, name):
        if len(trained) == 3:
            trained.append("interruption")
            raise KeyboardInterrupt
        trained.append(name)
        row = dict.fromkeys(("accuracy", "accuracy_shuffled", "seconds_per_step"), 0.5)
        return {**row, "name": name, "steps": 1, "parameters": 1, "multiply_accumulates": 1} | {
            "peak_memory_bytes": None,
            "paper": 1.0,
            "weights_sha256": "",
        }

    monkeypatch.setattr(command, "run_in_own_process", train)
    monkeypatch.setattr(command, "check_unchanged", lambda *arguments: None)  # nothing is trained
    arguments = ["variants", "--output", str(tmp_path / "out")]
    assert main(arguments) == 130
    assert f"3 of {len(VARIANTS)} variants" in capsys.readouterr().err
    assert not (tmp_path / "out" / "variants.md").exists()
    assert main(arguments) == 0
    names = [variant.name for variant in VARIANTS]
    assert trained == [*names[:3], "interruption", *names[3:]]
    assert "unknown" in capsys.readouterr().out  # the memory
    assert main([*arguments, "--seed", "1"]) == 2
    assert "other settings" in capsys.readouterr().err
    (tmp_path / "out" / "variants.json").write_text("{")
    assert main(arguments) == 2
    assert "not valid JSON" in capsys.readouterr().err


def changed(row, **values):
    return {**row, **values}


DAMAGES = {
    "a table of numbers": lambda found: {**found, "table_1": [3]},
    "no table": lambda found: {**found, "table_2": None},
    "an image model that is a number": lambda found: {**found, "image_model": 1},
    "a key is missing": lambda found: {name: value for name, value in found.items() if name != "table_1"},
    "an accuracy of NaN": lambda found: {**found, "table_1": [changed(found["table_1"][0], accuracy=float("nan"))]},
    "an accuracy of text": lambda found: {**found, "table_1": [changed(found["table_1"][0], accuracy="0.5")]},
    "a huge number": lambda found: {**found, "table_2": [changed(found["table_2"][0], parameters=10**250 + 0.5)]},
    "a huge time": lambda found: {
        **found,
        "table_2": [changed(found["table_2"][0], seconds_per_step=10**250 * 10**250)],
    },
    "a name of no variant": lambda found: {**found, "table_2": [changed(found["table_2"][0], name="../../x")]},
    "a name that is a list": lambda found: {**found, "table_2": [changed(found["table_2"][0], name=[])]},
    "a row twice": lambda found: {**found, "table_2": found["table_2"][:1] * 2},
    "a row in the other table": lambda found: {**found, "table_1": found["table_2"], "table_2": found["table_1"]},
    "rows that lack what they should have": lambda found: {**found, "image_model": {"name": "image_model"}},
}


@pytest.mark.thorough
@pytest.mark.parametrize("damage", list(DAMAGES.values()), ids=list(DAMAGES))
def test_tables_that_are_none(compared, tmp_path, capsys, damage):
    output, arguments = compared
    found = json.loads((output / "variants.json").read_text())
    text = json.dumps(damage(found))
    (tmp_path / "variants.json").write_text(text)
    assert main(["variants", *arguments, "--output", str(tmp_path)]) == 2
    line = capsys.readouterr().err
    assert re.search(r"variants\.json (does not hold the tables|is not valid JSON)", line)
    assert line.count("\n") == 1
    assert len(line) < 500
    assert (tmp_path / "variants.json").read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["variants.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[1]", b"[" * 99_999, b'{"format": 1, "format": 2}'])
def test_a_file_that_is_none(tmp_path, capsys, content):
    (tmp_path / "variants.json").write_bytes(content)
    assert main(["variants", "--output", str(tmp_path)]) == 2
    assert str(tmp_path / "variants.json") in (line := capsys.readouterr().err)
    assert line.count("\n") == 1
    assert (tmp_path / "variants.json").read_bytes() == content


@pytest.mark.parametrize("name", ["variants.md", "spatio_temporal", "image_model"])
def test_what_the_user_keeps_there_stays(tmp_path, capsys, name):
    (tmp_path / name).write_text("mine")
    assert main(["variants", "--output", str(tmp_path)]) == 2
    assert f"already holds '{name}', but no variants.json" in capsys.readouterr().err
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_two_at_once(tmp_path, capsys):
    with locked(tmp_path):
        assert main(["variants", "--output", str(tmp_path)]) == 2
    assert "another training is at work" in capsys.readouterr().err


@pytest.mark.thorough
def test_another_image_model_is_not_started_from(compared, tmp_path, capsys):
    output, arguments = compared
    found = json.loads((output / "variants.json").read_text())
    shutil.copytree(output / "image_model", tmp_path / "image_model")
    (tmp_path / "variants.json").write_text(json.dumps({**found, "table_1": []}))
    path = tmp_path / "image_model" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    for damaged in (data, None):
        path.unlink() if damaged is None else path.write_bytes(damaged)
        assert main(["variants", *arguments, "--output", str(tmp_path)]) == 2
        assert f"{path} is missing, or not as the comparison wrote it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model": {"attention_type": "spatio_temporal"}}, "the variants decide that"),
        ({"model": {"classifier": "gap"}}, "the variants decide that"),
        ({"model": []}, "model is"),
        ({"model": {"num_attention_heads": 3}}, "an even number"),
        ({"model": {"tubelet_size": 2}}, "tubelet_size"),
        ({"model": {"image_size": [32, 64]}}, "square"),
        ({"backend": "cupy"}, "on the CPU"),
        ({"steps": None}, "no number of steps"),
        ({"epochs": 2}, "give steps"),
        ({"colour": 2}, "no setting"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_settings_that_cannot_be_meant(given, message):
    with pytest.raises(InputError, match=message):
        variant_settings(given)


# ------------------------------------------------------------------------------------------------ the training


@pytest.mark.parametrize(("steps", "expected"), [(9, 0), (20, 2), (650, 65), (4000, 65)])
def test_the_default_warm_up_of_all_variants(steps, expected):
    assert variant_settings({"steps": steps}).warm_up == expected
    assert variant_settings({"steps": steps, "warm_up": 7}).warm_up == 7
    with pytest.raises(InputError, match=f"warm_up is {steps}"):
        variant_settings({"steps": steps, "warm_up": steps})


def test_a_variant_is_trained_as_minivivit_train_does(tmp_path):
    settings = variant_settings({**SETTINGS, "steps": 3})
    reports = []
    row = train_variant(Job(MODELS[0], settings, tmp_path, CLIPS), reports.append)
    other = begin_training("motion", settings, tmp_path / "other")
    figures = [make_step(other) for _ in range(3)]
    assert reports == figures
    trained = load(tmp_path / "spatio_temporal").state_dict()
    for name, array in other.model.state_dict().items():
        numpy.testing.assert_array_equal(trained[name], array)
    assert row["accuracy"] <= 1


def test_all_variants_see_the_same_clips(tmp_path):
    settings = variant_settings({**SETTINGS, "steps": 3})
    for variant in (IMAGE_MODEL, *MODELS, *ENCODINGS):
        training = begin_variant(Job(variant, settings, tmp_path, CLIPS))
        training.model.save_pretrained(training.output)  # the encodings start from the image model
        make_step(training)
        clips, labels = training.data.training_batch(1, 2, training.rng)
        if variant is MODELS[0]:
            first = clips, labels
        elif variant is not IMAGE_MODEL:
            numpy.testing.assert_array_equal(clips, first[0])
            numpy.testing.assert_array_equal(labels, first[1])


def test_equal_size_and_equal_tokens():
    settings = variant_settings({})
    grids = {variant.name: variant_config(variant, settings).grid_size for variant in VARIANTS}
    assert grids.pop("image_model") == (1, 4, 4)
    assert set(grids.values()) == {(4, 4, 4)}
    for variant in VARIANTS:
        config = variant_config(variant, settings)
        size = config.hidden_size, config.num_hidden_layers, config.num_attention_heads, config.intermediate_size
        assert size == (96, 4, 4, 176)


def test_the_encodings_start_from_the_image_model(tmp_path):
    settings = variant_settings({**SETTINGS, "model": {**SETTINGS["model"], "tubelet_size": [4, 8, 8]}})
    image = begin_variant(Job(IMAGE_MODEL, settings, tmp_path, CLIPS)).model
    rng = numpy.random.default_rng(0)
    image.load_state_dict({name: rng.standard_normal(array.shape) for name, array in image.state_dict().items()})
    image.save_pretrained(tmp_path / "image_model")
    image_kernel = image.state_dict()[KERNEL]  # (hidden, channels, 1, height, width)
    zero, ones = numpy.zeros_like(image_kernel), numpy.ones((1, 1, 4, 1, 1), "float32")
    scratch = VivitForVideoClassification(
        variant_config(ENCODINGS[-1], settings), dtype="float32", backend="numpy", seed=settings.seed
    ).state_dict()
    expected = {
        "frame_sampling": image_kernel,
        "tubelets_random": scratch[KERNEL],
        "tubelets_filter_inflation": ones * image_kernel / 4,
        "tubelets_central_frame": numpy.concatenate([zero, zero, image_kernel, zero], axis=2),
    }
    for variant in ENCODINGS:
        training = begin_variant(Job(variant, settings, tmp_path, CLIPS))
        parameters = training.model.state_dict()
        numpy.testing.assert_array_equal(parameters[KERNEL], expected[variant.name])
        bias = scratch[BIAS] if variant.start == "random" else image.state_dict()[BIAS]
        numpy.testing.assert_array_equal(parameters[BIAS], bias)
        for name, array in image.state_dict().items():
            if name not in (KERNEL, BIAS, "vivit.embeddings.position_embeddings") and "classifier" not in name:
                numpy.testing.assert_array_equal(parameters[name], array)
        assert training.optimiser.parameters[KERNEL] is parameters[KERNEL]  # what is trained is the model


# ------------------------------------------------------------------------------------------------ the image task


def test_labels_of_still_frames_are_what_the_frames_show():
    frames, labels = still_frames(numpy.random.default_rng(0), 2000, 32)
    counts = numpy.bincount(labels, minlength=8)
    assert len(counts) == len(STILL_CLASSES) == 8
    assert counts.min() > 200  # 250 expected, standard deviation 15
    pictures = numpy.concatenate(frames).astype(float)  # (2000, 32, 32, 3)
    border = numpy.concatenate([pictures[:, :2].reshape(2000, -1, 3), pictures[:, -2:].reshape(2000, -1, 3)], axis=1)
    difference = abs(pictures.mean(axis=3) - border.mean(axis=(1, 2))[:, None, None])
    glyph = difference > 60  # most textures differ less from their mean
    place = numpy.arange(32) + 0.5
    area = glyph.sum(axis=(1, 2))
    right = (glyph.sum(axis=1) * place).sum(axis=1) / area > 16
    lower = (glyph.sum(axis=2) * place).sum(axis=1) / area > 16
    large = area > numpy.median(area)
    for index, (found, word) in enumerate(((right, "right"), (lower, "lower"), (large, "large"))):
        said = numpy.array([word in STILL_CLASSES[label] for label in labels])
        assert (found == said).mean() > (0.85, 0.85, 0.7)[index], word  # thin glyphs are small however large


def test_validation_frames_are_the_same_each_time(tmp_path):
    data = StillData(variant_config(IMAGE_MODEL, variant_settings({})), seed=1, validation_clips=10)
    first, second = (list(data.validation_batches(4)) for _ in range(2))
    assert [len(labels) for _, labels in first] == [4, 4, 2]
    for (clips, labels), (other_clips, other_labels) in zip(first, second, strict=True):
        numpy.testing.assert_array_equal(clips, other_clips)
        numpy.testing.assert_array_equal(labels, other_labels)
    assert first[0][0][0].shape == (1, 32, 32, 3)


# ------------------------------------------------------------------------------------------------ a process of its own


def take_memory(size, report):
    before = peak_memory()
    array = numpy.ones(size, dtype=numpy.uint8)
    report("taken")
    return before, peak_memory(), len(array)


def fail(how, report):
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    raise {"input": InputError("no such thing"), "memory": MemoryError(), "defect": KeyError("x")}[how]


def test_memory_is_that_of_the_work_alone():
    ballast = numpy.ones(2**28, dtype=numpy.uint8)  # of this process, and none of the other's
    messages = []
    before, after, _ = run_in_own_process(take_memory, 2**27, messages.append, "work")
    assert messages == ["taken"]
    assert before < peak_memory() - 2**27
    assert ballast[-1] == 1
    assert 0.95 * 2**27 < after - before < 1.3 * 2**27


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ("killed", InputError, "killed by signal 9"),
        pytest.param("input", InputError, "work: no such thing", marks=pytest.mark.thorough),
        pytest.param("memory", InputError, "work: not enough memory", marks=pytest.mark.thorough),
        pytest.param("defect", RuntimeError, "exit code 1", marks=pytest.mark.thorough),
    ],
)
def test_what_goes_wrong_in_the_other_process_is_said_here(how, error, message):
    with pytest.raises(error, match=message):
        run_in_own_process(fail, how, print, "work")


def in_a_worker(job, report):
    return can_start_processes()


def test_where_there_are_no_processes_it_is_known(monkeypatch):
    """In a browser, whose Python lacks a part, and in a worker that may have no children."""
    assert can_start_processes()
    assert not run_in_own_process(in_a_worker, None, print, "work")
    monkeypatch.setitem(sys.modules, "multiprocessing.connection", None)
    assert not can_start_processes()


@pytest.mark.thorough
def test_without_processes_the_comparison_is_the_same(compared, tmp_path, capsys, monkeypatch):
    output, arguments = compared
    monkeypatch.setattr(command, "can_start_processes", lambda: False)
    monkeypatch.setattr(command, "VARIANTS", (IMAGE_MODEL, ENCODINGS[0]))
    with pytest.raises(KeyError):  # the tables want more than these two
        main(["variants", *arguments, "--output", str(tmp_path / "out")])
    for name in ("image_model", "frame_sampling"):
        one, other = ((place / name / "model.safetensors").read_bytes() for place in (output, tmp_path / "out"))
        assert one == other
    result = json.loads((tmp_path / "out" / "variants.json").read_text())
    assert result["image_model"]["peak_memory_bytes"] is None
