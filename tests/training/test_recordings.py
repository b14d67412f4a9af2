"""Clips of one recording stay on one side of a split."""

import json
from pathlib import Path

import numpy
import pytest
from tiny_training import TINY

from minivivit.cli import main
from minivivit.training.checkpoints import read_state
from minivivit.training.data.folders import split_clips
from minivivit.training.data.lists.listed_clips import find_listed, split_listed
from minivivit.training.data.recordings import recording_of
from minivivit.training.data.segments import Segment


@pytest.mark.parametrize(
    ("name", "group_by", "recording"),
    [
        ("kitchen_1.mp4", "_", "kitchen"),
        ("IMG_2034_07.mov", "_", "IMG_2034"),
        ("GX010023-0012.mp4", "-", "GX010023"),
        ("kitchen.mp4", "_", "kitchen"),
        ("a.b_3", "_", "a.b"),
        ("_3.mp4", "_", "_3"),
        ("kitchen part 2.mp4", " part ", "kitchen"),
    ],
)
def test_a_name_says_which_recording_a_clip_is_of(name, group_by, recording):
    assert recording_of(Path("clips/wave") / name, group_by) == recording
    assert recording_of(Segment(Path("clips/rest") / name, 3, 9), group_by) == recording
    assert recording_of(Path("clips") / name) == str(Path("clips") / name)


def folder_of(recordings: dict[str, list[str]], each: int = 4) -> dict[str, list[Path]]:
    return {
        label: [Path(f"{label}/{name}_{number}.npy") for name in names for number in range(each)]
        for label, names in recordings.items()
    }


@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.5, 0.99])
@pytest.mark.parametrize("seed", range(5))
def test_whole_recordings_are_held_out_whatever_the_class(fraction, seed):
    own = {"rest": [f"r{i}" for i in range(5)], "wave": [f"w{i}" for i in range(5)]}
    both = {label: [*names, "hall", "attic"] for label, names in own.items()}
    for recordings in (own, both):
        clips = folder_of(recordings)
        training, validation = split_clips(clips, fraction, seed, "_")
        everything = [(path, label) for label, paths in enumerate(clips.values()) for path in paths]
        assert sorted(training + validation) == sorted(everything)
        sides = [{recording_of(path, "_") for path, _ in entries} for entries in (training, validation)]
        assert not sides[0] & sides[1]
        assert {label for _, label in training} == {0, 1}
        assert all(len(entries) % 4 == 0 for entries in (training, validation))
        if recordings is own:
            held_out = {0.01: 1, 0.2: 1, 0.5: 3, 0.99: 4}[fraction]
            assert numpy.bincount([label for _, label in validation]).tolist() == [4 * held_out] * 2
        assert (training, validation) == split_clips(clips, fraction, seed, "_")
    assert split_clips(clips, 0.0, seed, "_") == (everything, [])


def test_a_class_of_one_recording_is_trained_on():
    training, validation = split_clips(folder_of({"rest": ["hall"], "wave": ["attic", "desk"]}), 0.2, 0, "_")
    assert [label for _, label in training].count(0) == 4
    assert [label for _, label in validation] == [1] * 4


def test_a_list_keeps_recordings_together_too():
    names = [f"{label}/{name}_{part}.mp4" for label in "ab" for name in ("u", "v", "w", "x") for part in range(3)]
    clips = [(name, Segment(Path(name)), (int(name[0] == "b"),)) for name in names]
    training, validation = split_listed(clips, 0.25, 0, "_")
    sides = [{recording_of(clip, "_") for _, clip, _ in entries} for entries in (training, validation)]
    assert (len(training), len(validation)) == (18, 6)
    assert not sides[0] & sides[1]


def write(tmp_path: Path, names: dict[str, list[str]]) -> Path:
    rng = numpy.random.default_rng(0)
    for label, clips in names.items():
        (tmp_path / "clips" / label).mkdir(parents=True)
        for name in clips:
            numpy.save(tmp_path / "clips" / label / name, rng.integers(0, 255, (6, 20, 24, 3)).astype(numpy.uint8))
    return tmp_path / "clips"


def test_train_says_what_it_validates_on_and_goes_on_with_the_same(tmp_path, capsys):
    data = write(tmp_path, {label: [f"{label}{i}_{j}.npy" for i in range(3) for j in range(2)] for label in "ab"})
    settings = {name: value for name, value in TINY.items() if name not in ("validation_clips", "backend")}
    config = tmp_path / "settings.json"
    config.write_text(json.dumps({**settings, "steps": 2, "validation_fraction": 0.34}))
    output = tmp_path / "run"
    arguments = ["train", str(data), "--output", str(output), "--config", str(config)]

    assert main([*arguments, "--group-by", "-"]) == 2
    assert "group_by is '-', which no clip's name holds" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*arguments, "--group-by", ""])
    assert "--group-by is empty; expected one or more characters" in capsys.readouterr().err
    config.write_text(json.dumps({**settings, "steps": 2, "validation_fraction": 0.34, "group_by": ""}))
    assert main(arguments) == 2
    assert "expected one or more characters" in capsys.readouterr().err
    config.write_text(json.dumps({**settings, "steps": 2, "validation_fraction": 0.34}))
    assert not output.exists()

    assert main([*arguments, "--group-by", "_"]) == 0
    out, err = capsys.readouterr()
    assert "8 clips to train on and 4 to validate on" in out
    said = err.partition("validated on whole recordings: ")[2].splitlines()[0]
    assert [name[1] for name in said.split(", ")] == ["a", "b"]
    assert read_state(output / "last")["settings"]["group_by"] == "_"
    assert main([*arguments, "--group-by", "_", "--resume"]) == 0
    assert main([*arguments, "--resume"]) == 0

    beside = write(tmp_path / "beside", {"a": ["a0_7.npy", "x_1.npy"], "b": ["y_1.npy"]})
    output = tmp_path / "other"
    config.write_text(json.dumps({**settings, "steps": 2}))
    arguments = ["train", str(data), "--validation", str(beside), "--output", str(output), "--config", str(config)]
    capsys.readouterr()
    assert main([*arguments, "--group-by", "_"]) == 0
    assert "1 clips to validate on are of recordings that are trained on, too" in capsys.readouterr().err


def test_all_clips_of_one_recording_are_refused(tmp_path, capsys):
    data = write(tmp_path, {label: ["hall_1.npy", "hall_2.npy"] for label in "ab"})
    assert main(["train", str(data), "--output", str(tmp_path / "run"), "--group-by", "_"]) == 2
    assert "all 4 clips are of one recording, 'hall'" in capsys.readouterr().err
    assert main(["train", "motion", "--output", str(tmp_path / "run"), "--group-by", "_"]) == 2
    assert "group_by is for folders and lists" in capsys.readouterr().err


def test_files_of_a_list_stay_together_without_being_asked(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("path,label\n" + "".join(f"{name}.mp4,{label}\n" for name in "abcd" for label in ("x", "y")))
    listed = find_listed(path)
    training, validation = split_listed(listed.training, 0.25, 0)
    assert (len(training), len(validation)) == (6, 2)
