"""Folders of clips as people have them: litter, parts of a data set, damaged clips, names that are no text."""

import argparse
import json
import os

import numpy
import pytest
from PIL import Image
from tiny_training import TINY, TINY_MODEL, write_clips

from minivivit import InputError, VivitConfig, VivitForVideoClassification
from minivivit.cli import main
from minivivit.commands.evaluate import add_evaluate_arguments, run_evaluate
from minivivit.errors import MissingExtraError
from minivivit.training.data.clip_folders import ClipFolders, find_clips, find_folders, is_litter
from minivivit.training.data.damage import check_clips
from minivivit.training.data.folders import FolderData, split_clips

CLASSES = ("left", "right", "up")
LITTER = [
    *("Thumbs.db", "thumbs.db", "ehthumbs.db", "desktop.ini", "Desktop.ini", ".DS_Store", "._clip0.npy", ".hidden.mp4"),
    *("labels.csv", "README.md", "notes.txt", "annotations.json", "Icon\r", "~$labels.xlsx", "labels.csv~"),
]


def names(clips):
    return {name: [path.name for path in paths] for name, paths in clips.items()}


def damage(folder):
    """Make five clips unusable, each in a way of its own, and return their names."""
    (folder / "left" / "clip0.npy").write_bytes(b"nonsense")
    (folder / "left" / "clip1.npy").write_bytes(b"")
    numpy.save(folder / "right" / "clip0.npy", numpy.zeros((0, 20, 24, 3), numpy.uint8))
    pictures = folder / "right" / "pictures"
    pictures.mkdir()
    Image.new("RGB", (24, 20)).save(pictures / "0.png")
    (pictures / "1.png").write_bytes((pictures / "0.png").read_bytes()[:40])
    (folder / "up" / "gone.npy").symlink_to(folder / "nothing there")
    return ["left/clip0.npy", "left/clip1.npy", "right/clip0.npy", "right/pictures", "up/gone.npy"]


# --------------------------------------------------------------------------------------------------------------------
# Litter
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LITTER)
def test_litter_is_passed_over_wherever_it_lies(tmp_path, name):
    folder = write_clips(tmp_path / "clips", clips=2)
    expected = names(find_clips(folder))
    for place in (folder, folder / "left"):
        (place / name).write_bytes(b"\0\5\x16\7")
        assert is_litter(place / name)
    for place in (folder, folder / "up"):
        for left_behind in ("__MACOSX", ".git", "@eaDir", "System Volume Information"):
            (place / left_behind).mkdir()
            (place / left_behind / "._clip0.npy").touch()
    assert names(find_clips(folder)) == expected


def test_what_may_be_a_clip_is_no_litter(tmp_path):
    (tmp_path / "notes.txt").mkdir()  # a folder of pictures may be called anything
    for name in ("clip.mp4", "clip", "clip.npy", "clip.part", "desktop.mp4", "notes.txt", "labels.csv.mp4"):
        assert not is_litter(tmp_path / name)


def test_all_empty_classes_are_named_at_once(tmp_path):
    folder = write_clips(tmp_path / "clips", clips=1)
    for name in ("down", "in"):
        (folder / name).mkdir()
        (folder / name / "Thumbs.db").touch()
    with pytest.raises(InputError, match=r"no clip of the 2 classes 'down', 'in'"):
        find_clips(folder)


# --------------------------------------------------------------------------------------------------------------------
# Parts of a data set
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second"), [("train", "val"), ("training", "validation"), ("Train", "Valid")])
@pytest.mark.parametrize("more", [(), ("test",), ("test", "annotations")])
def test_train_and_val_are_used(tmp_path, first, second, more):
    training, held_out = write_clips(tmp_path / first, clips=3), write_clips(tmp_path / second, clips=2)
    for name in more:
        (tmp_path / name).mkdir()
    found = find_folders(tmp_path)
    assert found.training == find_clips(training)
    assert found.validation == find_clips(held_out)
    assert f"the clips in {first} are trained on, and those in {second} validated on" in found.note
    with pytest.raises(InputError, match=rf"holds .*'{first}'.* parts of a data set and no classes; name one of them"):
        find_clips(tmp_path)


@pytest.mark.parametrize("parts", [("train", "test"), ("train", "val", "validation"), ("val", "test")])
def test_other_parts_are_refused_for_what_they_are(tmp_path, parts):
    for name in parts:
        write_clips(tmp_path / name, clips=1)
    with pytest.raises(InputError, match=r"parts of a data set and no classes; name one of them, .*--validation"):
        find_folders(tmp_path)


def test_a_class_may_be_called_train(tmp_path):
    assert list(find_folders(write_clips(tmp_path, ("bus", "train"), clips=1)).training) == ["bus", "train"]


def test_classes_of_both_folders_must_agree(tmp_path):
    data = write_clips(tmp_path / "data")
    with pytest.raises(InputError, match=r"other has the class 'down', which .*data has not"):
        find_folders(data, write_clips(tmp_path / "other", (*CLASSES, "down"), clips=1))
    with pytest.raises(InputError, match=r"data has the class 'up', which .*less has not"):
        find_folders(data, write_clips(tmp_path / "less", CLASSES[:2], clips=1))
    with pytest.raises(InputError, match=r"is what is trained on"):
        find_folders(data, tmp_path / "data" / ".." / "data")
    with pytest.raises(InputError, match=r"is not a folder"):
        find_folders(data, tmp_path / "nowhere")


def test_all_clips_are_trained_on_where_others_are_validated_on(tmp_path):
    found = find_folders(write_clips(tmp_path / "data", clips=4), write_clips(tmp_path / "val", clips=2))
    data = FolderData(found.training, VivitConfig(**TINY_MODEL), seed=0, batch_size=4, held_out=found.validation)
    assert len(data.training) == 12
    assert data.validation == [
        (tmp_path / "val" / name / f"clip{i}.npy", label) for label, name in enumerate(CLASSES) for i in range(2)
    ]
    assert {name for name in found.by_name() if name.startswith("validation/")} == {
        f"validation/{name}/clip{i}.npy" for name in CLASSES for i in range(2)
    }


# --------------------------------------------------------------------------------------------------------------------
# Damaged clips
# --------------------------------------------------------------------------------------------------------------------


def test_all_damaged_clips_are_found_at_once(tmp_path):
    folder = write_clips(tmp_path / "clips")
    expected = damage(folder)
    clips = ClipFolders(find_clips(folder)).by_name()
    with pytest.raises(InputError, match=r"^5 of 17 clips cannot be used: ") as error:
        check_clips(clips)
    message = str(error.value)
    assert all(repr(name) in message for name in expected)
    assert message.isprintable()
    lengths, damaged = check_clips(clips, skip_damaged=True)
    assert damaged == expected
    assert lengths == {path: 6 for name, path in clips.items() if name not in expected}


def test_damaged_pictures_and_texts_are_left_out_without_pyav(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    folder = write_clips(tmp_path / "clips", clips=2)
    (folder / "up" / "bad.gif").write_bytes(b"nonsense")
    (folder / "up" / "strange.clip").write_bytes(b"nonsense")
    clips = ClipFolders(find_clips(folder)).by_name()
    assert check_clips(clips, skip_damaged=True)[1] == ["up/bad.gif", "up/strange.clip"]
    with pytest.raises(InputError, match=r"the first: .*bad\.gif is damaged"):
        check_clips(clips)
    (folder / "up" / "good.mp4").write_bytes(b"a video, for all we know")  # it may be whole: nothing is left out
    with pytest.raises(MissingExtraError, match="good"):
        check_clips(ClipFolders(find_clips(folder)).by_name(), skip_damaged=True)


def test_a_clip_that_may_not_be_read_is_said_in_words(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("minivivit.training.data.damage.check_video", refuse)
    with pytest.raises(InputError, match=r"clip0\.npy cannot be read \(Permission denied\); expected a file"):
        check_clips(ClipFolders(find_clips(write_clips(tmp_path / "clips"))).by_name())


def test_many_damaged_clips_make_a_short_message(tmp_path):
    folder = tmp_path / "clips"
    for name in ("a", "b" * 200):
        (folder / name).mkdir(parents=True)
        for index in range(300):
            (folder / name / f"clip{index}.mp4").touch()
    with pytest.raises(InputError, match=r"^600 of 600 clips cannot be used: .* and 595 more") as error:
        check_clips(ClipFolders(find_clips(folder)).by_name())
    assert len(str(error.value)) < 1200


def test_a_class_without_a_usable_clip_is_refused(tmp_path):
    folder = write_clips(tmp_path / "clips", clips=1)
    (folder / "up" / "clip0.npy").write_bytes(b"nonsense")
    folders = ClipFolders(find_clips(folder))
    _, damaged = check_clips(folders.by_name(), skip_damaged=True)
    with pytest.raises(InputError, match=r"no clip of the class 'up' can be used"):
        folders.without(damaged)


# --------------------------------------------------------------------------------------------------------------------
# The commands
# --------------------------------------------------------------------------------------------------------------------


def command(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


def settings_file(tmp_path, **more):
    settings = {name: value for name, value in TINY.items() if name not in ("validation_clips", "backend")}
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({**settings, "steps": 4, **more}))
    return path


def test_train_goes_on_without_damaged_clips_and_counts_them(tmp_path, capsys):
    folder, output = write_clips(tmp_path / "clips"), tmp_path / "run"
    arguments = ("train", folder, "--output", output, "--config", settings_file(tmp_path, validation_fraction=0.4))
    expected = damage(folder)
    code, _, err = command(capsys, *arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert "5 of 17 clips cannot be used" in err
    assert not output.exists()
    code, out, err = command(capsys, *arguments, "--skip-damaged")
    assert code == 0
    assert "data: 7 clips to train on and 5 to validate on, of 3 classes; 5 damaged left out" in out
    assert all(repr(name) in err for name in expected)
    code, out, _ = command(capsys, *arguments, "--resume")
    assert code == 0
    assert "5 damaged left out" in out


def test_train_validates_on_another_folder(tmp_path, capsys):
    write_clips(tmp_path / "clips" / "train", clips=4)
    write_clips(tmp_path / "clips" / "val", clips=2)
    config = settings_file(tmp_path)
    logs = []
    for data in (
        (tmp_path / "clips",),
        (tmp_path / "clips" / "train", "--validation", tmp_path / "clips" / "val"),
    ):
        output = tmp_path / f"run{len(logs)}"
        arguments = ("train", *data, "--output", output, "--config", config)
        code, out, err = command(capsys, *arguments)
        assert code == 0, err
        assert "data: 12 clips to train on and 6 to validate on, of 3 classes" in out
        logs.append((output / "log.jsonl").read_text())
        for again in (arguments, ("train", data[0], "--output", output)):  # the other folder is remembered
            code, out, err = command(capsys, *again, "--resume")
            assert code == 0, err
            assert "12 clips to train on and 6 to validate on" in out
    assert logs[0] == logs[1]
    code, _, err = command(capsys, *arguments, "--validation-fraction", 0.1)
    assert (code, err.count("\n")) == (2, 1)
    assert "not both" in err
    code, _, err = command(capsys, "train", "motion", "--output", tmp_path / "m", "--validation", tmp_path / "clips")
    assert (code, err.count("\n")) == (2, 1)
    assert not (tmp_path / "m").exists()


@pytest.fixture
def model(tmp_path):
    config = VivitConfig(**TINY_MODEL, id2label=dict(enumerate(CLASSES)))
    VivitForVideoClassification(config, backend="numpy").save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_evaluate_goes_on_without_damaged_clips_and_counts_them(tmp_path, capsys, model):
    folder = write_clips(tmp_path / "clips")
    expected = damage(folder)
    arguments = ("evaluate", "--model", model, "--data", folder)
    code, out, err = command(capsys, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "5 of 17 clips cannot be used" in err
    code, out, _ = command(capsys, *arguments, "--skip-damaged", "--json")
    result = json.loads(out)
    assert (code, result["clips"], result["skipped"]) == (0, 12, expected)
    code, out, _ = command(capsys, *arguments, "--skip-damaged")
    assert "of 12 clips; 5 damaged left out)" in out
    for path in folder.glob("*/*.npy"):
        path.unlink()
        path.write_bytes(b"nonsense")
    code, _, err = command(capsys, *arguments, "--skip-damaged")
    assert (code, err.count("\n")) == (2, 1)
    assert "none of the 17 clips" in err


def test_evaluate_says_what_parts_of_a_data_set_are(tmp_path, model):
    for part in ("train", "val"):
        write_clips(tmp_path / "clips" / part)
    parser = argparse.ArgumentParser()
    add_evaluate_arguments(parser)
    with pytest.raises(InputError, match=r"parts of a data set and no classes"):
        run_evaluate(parser.parse_args(["--model", str(model), "--data", str(tmp_path / "clips")]))


# --------------------------------------------------------------------------------------------------------------------
# Names that are no text
# --------------------------------------------------------------------------------------------------------------------

ODD = (b"caf\xe9", "😀".encode(), b"new\nline", b"\x1b]0;title\x07")


@pytest.fixture
def odd_folder(tmp_path):
    """Classes and clips of odd names: a class a name, and in it a clip a name."""
    clip = numpy.zeros((6, 20, 24, 3), numpy.uint8)
    for name in ODD:
        folder = os.path.join(os.fsencode(tmp_path), b"clips", name)
        try:
            os.makedirs(folder)
        except OSError:
            pytest.skip("this file system does not allow such names")
        for other in ODD:
            with open(os.path.join(folder, other), "wb") as file:
                numpy.save(file, clip)
    return tmp_path / "clips"


def test_odd_names_are_found_split_and_named(odd_folder):
    folders = find_folders(odd_folder)
    assert [os.fsencode(name) for name in folders.training] == sorted(ODD, key=os.fsdecode)
    training, validation = split_clips(folders.training, 0.25, 0)
    assert (len(training), len(validation)) == (12, 4)
    for paths in folders.training.values():
        paths[0].write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"^4 of 16 clips cannot be used") as error:
        check_clips(folders.by_name())
    assert str(error.value).isprintable()


def test_odd_names_in_evaluate_and_classify(odd_folder, tmp_path, capsys):
    labels = list(find_clips(odd_folder))
    config = VivitConfig(**TINY_MODEL, id2label=dict(enumerate(labels)))
    VivitForVideoClassification(config, backend="numpy").save_pretrained(tmp_path / "model")
    for arguments in (("evaluate", "--data", odd_folder), ("classify", odd_folder / labels[0] / labels[-1])):
        code, out, err = command(capsys, *arguments, "--model", tmp_path / "model")
        assert code == 0, err
        assert all(line.isprintable() for line in (out + err).splitlines())
        code, out, err = command(capsys, *arguments, "--model", tmp_path / "model", "--json")
        assert code == 0, err
        result = json.loads(out)
        assert {entry["label"] for entry in result.get("classes", result.get("predictions"))} == set(labels)
    picture = tmp_path / "picture.png"
    clip = odd_folder / labels[0] / labels[0]
    code, _, err = command(capsys, "classify", clip, "--model", tmp_path / "model", "--save-picture", picture)
    assert code == 0, err
    assert picture.exists()
