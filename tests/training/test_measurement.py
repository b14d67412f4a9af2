"""``minivivit evaluate`` on clips: views, top-5, several heads, predictions that survive a kill, shards."""

import csv
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
from tiny_training import TINY_MODEL

from minivivit import InputError, VivitConfig, VivitForVideoClassification, VivitImageProcessor, backend
from minivivit.cli import main
from minivivit.models.multi_view import classify_views
from minivivit.training.measurement import passes
from minivivit.training.measurement.answers import answer
from minivivit.training.measurement.predictions import HEADER
from minivivit.video.views import spatial_views, temporal_views

NAMES = ["a", "b", "c", "d", "e", "f", "g"]


def save_model(directory: Path, **fields) -> Path:
    config = VivitConfig(**{**TINY_MODEL, "initializer_range": 0.4, "id2label": dict(enumerate(NAMES)), **fields})
    VivitForVideoClassification(config, backend="numpy").save_pretrained(directory)
    VivitImageProcessor(size={"shortest_edge": 20}, crop_size=16).save_pretrained(directory)
    return directory


def save_clips(folder: Path, count: int = 11, heads: int = 1) -> Path:
    """A list of clips of several sizes and lengths, with random labels."""
    folder.mkdir()
    rng, lines = numpy.random.default_rng(0), []
    for number in range(count):
        shape = (int(rng.integers(3, 30)), 20 + number, 31, 3)
        numpy.save(folder / f"{number}.npy", rng.integers(0, 256, shape, dtype=numpy.uint8))
        sizes = [7] if heads == 1 else [4, 3]
        lines.append(",".join([f"{number}.npy", *(str(rng.integers(size)) for size in sizes)]))
    header = "path,label" if heads == 1 else "path,label_noun,label_verb"
    path = folder / "list.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def run(capsys, *arguments) -> dict:
    capsys.readouterr()
    assert main(["evaluate", "--json", "--stride", "1", *map(str, arguments)]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def refused(capsys, *arguments) -> str:
    capsys.readouterr()
    assert main(["evaluate", *map(str, arguments)]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    return captured.err


# ------------------------------------------------------------------------------------------------ the figures


@pytest.mark.parametrize(
    ("clips", "crops", "average", "heads"),
    [
        (1, 1, "logits", 1),
        (4, 3, "logits", 1),
        (4, 1, "probabilities", 1),
        (1, 3, "logits", 2),
        (4, 3, "probabilities", 2),
    ],
)
def test_the_figures_of_a_small_list_are_those_of_a_loop_over_its_clips(tmp_path, capsys, clips, crops, average, heads):
    """One clip, one view at a time, in float64, with NumPy's own softmax and sorting."""
    model_directory = save_model(tmp_path / "model", **({"class_splits": [4, 3]} if heads == 2 else {}))
    data = save_clips(tmp_path / "clips", heads=heads)
    result = run(
        capsys, "--model", model_directory, "--data", data, "--views", f"{clips}x{crops}", "--average", average
    )

    model = VivitForVideoClassification.from_pretrained(model_directory, dtype="float64", backend="numpy")
    processor = VivitImageProcessor.from_pretrained(model_directory)
    splits = [slice(0, 7)] if heads == 1 else [slice(0, 4), slice(4, 7)]
    losses, right, top_5, head_right = [], [], [], []
    for row in list(csv.reader(data.read_text().splitlines()))[1:]:
        frames = numpy.load(data.parent / row[0])
        labels = list(map(int, row[1:]))
        if clips == 1:  # spread over a short clip, the middle of a long one
            start = max(len(frames) - 4, 0) // 2
            end = min(start + 4, len(frames))
            places = numpy.clip(numpy.linspace(start, end, 4), start, end - 1).astype(int)[None]
        else:
            places = temporal_views(clips, 4, 1, len(frames))
        logits = []
        for own in places:
            for view in spatial_views(frames[own], processor, crops):
                logits.append(model(view[None].astype(numpy.float64)).logits[0])
        probabilities = []
        for split in splits:
            z = numpy.array(logits)[:, split]
            if average == "logits":
                z = z.mean(axis=0, keepdims=True)
            p = numpy.exp(z) / numpy.exp(z).sum(axis=1, keepdims=True)
            probabilities.append(p.mean(axis=0))
        losses.append(numpy.mean([-numpy.log(p[label]) for p, label in zip(probabilities, labels, strict=True)]))
        joint = probabilities[0] if heads == 1 else numpy.outer(*probabilities).ravel()
        truth = labels[0] if heads == 1 else labels[0] * 3 + labels[1]
        order = numpy.argsort(-joint)
        right.append(order[0] == truth)
        top_5.append(truth in order[:5])
        head_right.append([p.argmax() == label for p, label in zip(probabilities, labels, strict=True)])
    assert result["clips"] == len(right) == 11
    assert result["correct"] == sum(right)
    assert result["top_5"] == pytest.approx(numpy.mean(top_5), abs=1e-12)
    assert result["loss"] == pytest.approx(numpy.mean(losses), rel=1e-5)  # ours is in float32
    for head, own in zip(result["heads"], numpy.array(head_right).T, strict=True):
        assert head["accuracy"] == pytest.approx(own.mean(), abs=1e-12)


def test_views_are_those_of_classify_to_the_bit(tmp_path, capsys):
    model_directory, data = save_model(tmp_path / "model"), save_clips(tmp_path / "clips", 2)
    model = VivitForVideoClassification.from_pretrained(model_directory, backend="numpy")
    processor = VivitImageProcessor.from_pretrained(model_directory)
    clips = [("0", data.parent / "0.npy", (0,))]
    (answers,) = passes.answer_clips(model, processor, clips, passes.Viewing(2, 3, stride=1))
    frames = numpy.load(data.parent / "0.npy")
    views = [spatial_views(frames[own], processor, 3) for own in temporal_views(2, 4, 1, len(frames))]
    logits = classify_views(model, numpy.concatenate(views), batch_size=6)
    expected = answer(0, "0", (0,), logits[None], model.config)
    assert answers[0].guesses == expected.guesses
    assert answers[0].loss == pytest.approx(expected.loss, rel=1e-6)


def test_blocks_side_by_side_have_the_bits_of_one_after_the_other(tmp_path, monkeypatch):
    model_directory, data = save_model(tmp_path / "model"), save_clips(tmp_path / "clips", 11)
    model = VivitForVideoClassification.from_pretrained(model_directory, backend="numpy")
    processor = VivitImageProcessor.from_pretrained(model_directory)
    clips = [(f"{index}", data.parent / f"{index}.npy", (0,)) for index in range(11)]
    (data.parent / "3.npy").write_bytes(b"no clip")
    viewing = passes.Viewing(4, 3, stride=1)
    assert passes.clips_of_a_block(model.config, viewing) == 5
    answers = []
    for count in (1, 2, 4):
        monkeypatch.setattr(backend, "_num_threads", count)
        answers.append(list(passes.answer_clips(model, processor, clips, viewing)))
    assert [len(block) for block in answers[0]] == [5, 5, 1]
    assert answers[0] == answers[1] == answers[2]
    assert [answer.index for block in answers[0] for answer in block if answer.damage] == [3]


@pytest.mark.parametrize(
    ("threads", "edge", "blocks"), [(1, 16, 0), (2, 16, 3), (64, 16, passes.MOST_BLOCKS), (8, 512, 0)]
)
def test_only_blocks_of_a_small_model_are_side_by_side(monkeypatch, threads, edge, blocks):
    monkeypatch.setattr(backend, "_num_threads", threads)
    config = VivitConfig(**TINY_MODEL | {"image_size": edge}, num_labels=4)
    assert passes._blocks_side_by_side(VivitForVideoClassification(config, backend="numpy")) == blocks


def test_ranks_of_equal_logits_are_in_the_order_of_the_classes():
    config = VivitConfig(**TINY_MODEL, num_labels=4)
    logits = numpy.array([[1.0, 2.0, 2.0, 2.0]])
    assert [answer(0, "", (label,), logits, config).ranks[0] for label in range(4)] == [4, 1, 2, 3]
    assert answer(0, "", (1,), logits, config).guesses == (1,)
    with pytest.raises(InputError, match="not finite"):
        answer(0, "", (1,), logits * numpy.nan, config)


def test_confusions_are_written_and_named(tmp_path, capsys):
    model, data = save_model(tmp_path / "model"), save_clips(tmp_path / "clips")
    table = tmp_path / "confusion.csv"
    result = run(capsys, "--model", model, "--data", data, "--confusion", table, "--top-k", 100)
    rows = list(csv.reader(table.read_text().splitlines()))
    assert rows[0] == ["", *NAMES]
    counts = numpy.array([row[1:] for row in rows[1:]], int)
    assert (counts.sum(), counts.trace()) == (11, result["correct"])
    wrong = {(entry["label"], entry["prediction"]): entry["clips"] for entry in result["heads"][0]["confused"]}
    assert wrong == {(NAMES[i], NAMES[j]): counts[i, j] for i, j in numpy.argwhere(counts) if i != j}
    assert "nothing is overwritten" in refused(capsys, "--model", model, "--data", data, "--confusion", table)


# ------------------------------------------------------------------------------------------------ predictions


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of two clips, so that a few clips make several."""
    monkeypatch.setattr(passes, "views_of_a_pass", lambda config: 4)


def test_predictions_that_are_cut_anywhere_are_gone_on_with(tmp_path, capsys, monkeypatch, small_blocks):
    model, data = save_model(tmp_path / "model"), save_clips(tmp_path / "clips", 7)
    (data.parent / "3.npy").write_bytes(b"nonsense")
    arguments = ("--model", model, "--data", data, "--views", "2x1", "--skip-damaged")
    whole, part = tmp_path / "whole.csv", tmp_path / "part.csv"
    expected = run(capsys, *arguments, "--predictions", whole)
    assert expected == run(capsys, *arguments)
    assert (expected["clips"], expected["skipped"]) == (6, ["3.npy"])
    content = whole.read_bytes()
    assert content.startswith(HEADER)
    for length in {0, 1, len(HEADER) - 1, *range(len(HEADER), len(content) + 1, 97), len(content) - 1, len(content)}:
        part.write_bytes(content[:length])
        assert run(capsys, *arguments, "--predictions", part) == expected
        assert part.read_bytes() == content
    damaged = content[: len(content) // 2] + bytes(40) + content[len(content) // 2 :]  # a power cut leaves zeros
    part.write_bytes(damaged)
    assert run(capsys, *arguments, "--predictions", part) == expected
    assert part.read_bytes() == content
    monkeypatch.setattr(VivitForVideoClassification, "forward", None)  # what is there is not made again
    assert run(capsys, *arguments, "--predictions", whole) == expected


def test_a_file_of_something_else_is_left_as_it_is(tmp_path, capsys, small_blocks):
    model, data = save_model(tmp_path / "model"), save_clips(tmp_path / "clips", 5)
    arguments = ("--model", model, "--data", data, "--stride", "1", "--predictions", tmp_path / "p.csv")
    run(capsys, *arguments[:4], "--predictions", tmp_path / "p.csv")
    content = (tmp_path / "p.csv").read_bytes()
    other = save_model(tmp_path / "other", initializer_range=0.3)
    for changes in (("--views", "2x1"), ("--average", "probabilities"), ("--model", other), ("--stride", "2")):
        assert "another measurement" in refused(capsys, *arguments, *changes)
        assert (tmp_path / "p.csv").read_bytes() == content
    assert "another --shard" in refused(capsys, *arguments, "--shard", "2/2")
    for text in (b"my notes\n", HEADER[:-1] + b",more\n", HEADER + b"mine\n"):
        (tmp_path / "p.csv").write_bytes(text)
        if text.endswith(b"mine\n"):  # no row, so nothing that was an answer
            continue
        assert "something else" in refused(capsys, *arguments)
        assert (tmp_path / "p.csv").read_bytes() == text


@pytest.mark.parametrize("shards", [2, 3])
def test_shards_merge_into_the_whole_to_the_byte(tmp_path, capsys, small_blocks, shards):
    model, data = save_model(tmp_path / "model", class_splits=[4, 3]), save_clips(tmp_path / "clips", 11, heads=2)
    arguments = ("--model", model, "--data", data, "--views", "1x3")
    expected = run(capsys, *arguments, "--predictions", tmp_path / "whole.csv")
    parts = [tmp_path / f"{number}.csv" for number in range(1, shards + 1)]
    for number, path in enumerate(parts, start=1):
        run(capsys, *arguments, "--shard", f"{number}/{shards}", "--predictions", path)
    merged = run(capsys, "--model", model, "--merge", *reversed(parts), "--predictions", tmp_path / "merged.csv")
    assert (tmp_path / "merged.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    for name in ("accuracy", "top_5", "loss", "clips", "heads", "classes"):
        assert merged[name] == expected[name]
    assert "already" in refused(capsys, "--model", model, "--merge", *parts, parts[0])
    assert "are in none of the files" in refused(capsys, "--model", model, "--merge", *parts[1:])
    assert "nothing is overwritten" in refused(
        capsys, "--model", model, "--merge", *parts, "--predictions", tmp_path / "merged.csv"
    )
    err = refused(capsys, "--merge", *parts)  # with the bundled model
    assert "but the model has 8 classes: the predictions are of another model; give the model that made them" in err


def test_predictions_of_another_model_are_refused(tmp_path, capsys):
    """Whose names or whose number of classes are others, even where all numbers are some of both models' classes."""
    model, data = save_model(tmp_path / "model"), save_clips(tmp_path / "clips", 3)
    run(capsys, "--model", model, "--data", data, "--predictions", tmp_path / "p.csv")
    err = refused(capsys, "--merge", tmp_path / "p.csv", "--predictions", tmp_path / "whole.csv")
    assert re.search(r"p\.csv calls the class \d '[a-g]', but the model calls it '[a-z ]{6,}'", err)
    assert "give the model that made them (--model)" in err
    assert not (tmp_path / "whole.csv").exists()

    few = save_model(tmp_path / "few", id2label=dict(enumerate(NAMES[:4])))
    rows = [f"{number}.npy,{number}" for number in range(3)]
    (data.parent / "few.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    run(capsys, "--model", few, "--data", data.parent / "few.csv", "--predictions", tmp_path / "f.csv")
    err = refused(capsys, "--model", model, "--merge", tmp_path / "f.csv")
    assert "f.csv holds 4 classes for '0.npy', but the model has 7 classes" in err
    assert run(capsys, "--model", few, "--merge", tmp_path / "f.csv")["clips"] == 3

    (tmp_path / "model" / "config.json").write_text(
        (tmp_path / "model" / "config.json").read_text().replace('"a"', '"a, b"').replace('"b"', '"b\\u0085"')
    )
    run(capsys, "--model", model, "--data", data, "--predictions", tmp_path / "odd.csv")
    assert run(capsys, "--model", model, "--merge", tmp_path / "odd.csv")["clips"] == 3


@pytest.mark.parametrize(
    ("classes", "splits", "lines"),
    [
        (5, None, []),
        (6, None, ["top-5"]),
        (4, [2, 2], ["head 1: accuracy", "head 2: accuracy"]),
        (9, [6, 3], ["top-5", "head 1: accuracy, top-5", "head 2: accuracy"]),
    ],
)
def test_top_5_is_printed_where_it_says_something(tmp_path, capsys, classes, splits, lines):
    """Of five classes the right one always is among five; of verbs and nouns, all pairs count."""
    names = {number: f"c{number}" for number in range(classes)}
    model = save_model(tmp_path / "model", id2label=names, class_splits=splits)
    data = save_clips(tmp_path / "clips", 2, heads=2 if splits else 1)
    data.write_text(re.sub(",[0-9]", ",1", data.read_text()))
    assert main(["evaluate", "--model", str(model), "--data", str(data), "--stride", "1"]) == 0
    out = capsys.readouterr().out.splitlines()
    found = [re.sub(r" +[01]\.[0-9]{4}", "", line) for line in out if line.startswith(("top-5", "head"))]
    assert found == lines


def test_hostile_predictions_are_one_line(tmp_path, capsys, small_blocks):
    model, data = save_model(tmp_path / "model"), save_clips(tmp_path / "clips", 3)
    run(capsys, "--model", model, "--data", data, "--predictions", tmp_path / "p.csv")
    content, path = (tmp_path / "p.csv").read_bytes(), tmp_path / "bad.csv"
    rows = content.splitlines(keepends=True)
    cells = rows[1].decode().split(",")
    for bad in (
        [*cells[:1], "-1", *cells[2:]],
        [*cells[:2], "99999999999999", *cells[3:]],
        [*cells[:4], "99", *cells[5:]],
        [*cells[:4], "x", *cells[5:]],
        cells[:4],
        ["0" * 16, *cells[1:]],
    ):
        path.write_bytes(b"".join([rows[0], ",".join(bad).encode().rstrip() + b"\n", *rows[2:]]))
        refused(capsys, "--model", model, "--merge", path)
    for text in (b"", b"\0" * 99, HEADER, HEADER + b"x" * 3_000_000 + b"\n"):
        path.write_bytes(text)
        refused(capsys, "--model", model, "--merge", path)


def test_what_cannot_be_meant(tmp_path, capsys, monkeypatch):
    model, data = save_model(tmp_path / "model"), save_clips(tmp_path / "clips", 2)
    for shard in ("0/2", "3/2", "2", "1/0", "a/b"):
        with pytest.raises(SystemExit):
            main(["evaluate", "--shard", shard])
    err = refused(capsys, "--model", model, "--data", data, "--shard", "1/2")
    assert "can be cut into at most 1: this model answers 64 together; leave --shard out" in err
    monkeypatch.setattr(passes, "views_of_a_pass", lambda config: 1)
    assert "give at most 2 parts" in refused(capsys, "--model", model, "--data", data, "--shard", "1/3")
    assert "--views is for clips" in refused(capsys, "--views", "4x3")
    assert "--shard, --labels are for clips" in refused(capsys, "--shard", "1/2", "--labels", "x")
    assert "--stride is 0" in refused(capsys, "--stride", "0")
    assert "without --data" in refused(capsys, "--data", data, "--merge", "x.csv")
    assert "are for lists" in refused(capsys, "--model", model, "--data", data.parent, "--root", tmp_path)


def test_all_damaged_clips_are_named_at_once(tmp_path, capsys, small_blocks):
    model, data = save_model(tmp_path / "model"), save_clips(tmp_path / "clips", 9)
    for number in (1, 4, 8):
        (data.parent / f"{number}.npy").write_bytes(b"nonsense")
    err = refused(capsys, "--model", model, "--data", data, "--stride", "1")
    assert "3 of 9 clips cannot be used: '1.npy', '4.npy', '8.npy'" in err


KILLED = """
import os, signal, sys
from minivivit.cli import main
from minivivit.training.measurement import passes, predictions
passes.views_of_a_pass = lambda config: 2
rows, blocks = predictions._rows, []

def cut(answers, *arguments):
    blocks.append(rows(answers, *arguments))
    if len(blocks) == 2:
        with open(sys.argv[-1], "ab") as file:
            file.write(blocks[-1][: int(sys.argv[1])])
        os.kill(os.getpid(), signal.SIGKILL)
    return blocks[-1]

predictions._rows = cut
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_an_evaluation_that_is_killed_goes_on(tmp_path, capsys, monkeypatch):
    """By SIGKILL in the midst of its second block, each time after more of it, until it comes to its end."""
    monkeypatch.setattr(passes, "views_of_a_pass", lambda config: 2)
    model, data = save_model(tmp_path / "model"), save_clips(tmp_path / "clips", 12)
    arguments = ["--model", str(model), "--data", str(data), "--stride", "1", "--predictions"]
    expected = run(capsys, *arguments, tmp_path / "whole.csv")
    kills = 0
    for length in (0, 1, 50, 150, 10_000, 40):
        argv = [
            sys.executable,
            "-c",
            KILLED,
            str(length),
            "evaluate",
            "--json",
            *arguments,
            str(tmp_path / "killed.csv"),
        ]
        result = subprocess.run(argv, capture_output=True, text=True)
        if result.returncode == 0:
            break
        assert result.returncode == -signal.SIGKILL, result.stderr
        kills += 1
    assert kills == 5  # of six blocks each run makes one, and the fifth, with all bytes of the next, that one too
    assert json.loads(result.stdout) == expected
    assert (tmp_path / "whole.csv").read_bytes() == (tmp_path / "killed.csv").read_bytes()
