"""Lists of clips: every format as its repository documents it, from the list to the training and the figures."""

import json
import os
import sys
from pathlib import Path

import numpy
import pytest
from counting import num_calls
from tiny_training import TINY, TINY_MODEL, same_training

from minivivit import InputError, VivitConfig, VivitForVideoClassification
from minivivit.cli import main
from minivivit.training.checkpoints import read_state
from minivivit.training.data import segments
from minivivit.training.data.lists.classes import classes_of, indices_of_model, label_indices
from minivivit.training.data.lists.label_names import read_label_names
from minivivit.training.data.lists.listed_clips import find_listed, split_listed
from minivivit.training.data.lists.reading import read_list
from minivivit.training.data.segments import Segment, read_clip, span_of


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def found(clip_list):
    """(path below the root, start, stop, labels) of each clip."""
    root = clip_list.source.parent
    return [
        (os.path.relpath(clip.clip.path, root), clip.clip.start, clip.clip.stop, clip.labels)
        for clip in clip_list.clips
    ]


# ------------------------------------------------------------------------------------------------ each format


SPACED = [("k/a.mp4", 0, None, ("12",)), ("k/b c.mp4", 0, None, ("0",))]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        # SlowFast, VideoMAE: a path and a label; VideoMAE's documentation has two blanks, others a comma or a tab
        ("k/a.mp4 12\nk/b c.mp4 0\n", SPACED),
        ("k/a.mp4  12\nk/b c.mp4  0", SPACED),
        ("k/a.mp4,12\nk/b c.mp4,0\n", SPACED),
        ("k/a.mp4\t12\r\nk/b c.mp4\t0\r\n", SPACED),
        ('"k/a.mp4" 12\r"k/b c.mp4" 0\r', SPACED),
        ("\ufeffk/a.mp4 12\n\n\nk/b c.mp4 0\n\n", SPACED),
        # Moments in Time: classes have a plus for a blank
        ("training/adult+female+singing/x_3.mp4 271\n", [("training/adult+female+singing/x_3.mp4", 0, None, ("271",))]),
        # mmaction2's lists of folders of frames, and of parts of them
        ("some/directory-1 163 1\nd-2 122 1\n", [("some/directory-1", 0, None, ("1",)), ("d-2", 0, None, ("1",))]),
        ("d-1 12 163 3\nd-5 0 295 3\n", [("d-1", 12, 175, ("3",)), ("d-5", 0, 295, ("3",))]),
        # CSV with a header; DMVR's, from which scenic's data sets are made, in seconds
        (
            "path,label\na.mp4,open\n../b.mp4,close\n",
            [("a.mp4", 0, None, ("open",)), ("../b.mp4", 0, None, ("close",))],
        ),
        (
            'video_path,start,end,label,caption\na.mp4,1.5,6.0,space,a view\nb.mp4,00:01:00.5,,javelin,"a, b"\n',
            [("a.mp4", 1.5, 6.0, ("space",)), ("b.mp4", 60.5, None, ("javelin",))],
        ),
        ("Label;Path;Start_Frame;End_Frame\n3;a.mp4;4;9\n", [("a.mp4", 4, 9, ("3",))]),
        ("path,label_noun,label_verb\na.mp4,door,open\n", [("a.mp4", 0, None, ("door", "open"))]),
    ],
)
def test_lists_of_paths_and_labels(tmp_path, content, expected):
    clip_list = read_list(write(tmp_path / "train.csv", content))
    assert found(clip_list) == expected


def test_an_absolute_path_stays_and_others_begin_at_the_root(tmp_path):
    (tmp_path / "videos").mkdir()
    clip_list = read_list(write(tmp_path / "l.csv", f"{tmp_path}/x.mp4 0\ny.mp4 1\n"), tmp_path / "videos")
    assert [clip.clip.path for clip in clip_list.clips] == [tmp_path / "x.mp4", tmp_path / "videos" / "y.mp4"]


SOMETHING = [
    {"id": "78687", "label": "holding potato next to a bottle", "template": "Holding [something] next to [something]"},
    {"id": "42326", "label": "putting usb", "template": "Putting [something]", "placeholders": ["usb"]},
]
SOMETHING_LABELS = {"Holding something next to something": "0", "Putting something": "1"}


def test_something_something(tmp_path):
    for name in ("78687.webm", "42326.mp4"):
        write(tmp_path / name, b"x")
    clip_list = read_list(write(tmp_path / "something-something-v2-train.json", json.dumps(SOMETHING)))
    assert [row[0] for row in found(clip_list)] == ["78687.webm", "42326.mp4"]
    names = read_label_names(write(tmp_path / "labels.json", json.dumps(SOMETHING_LABELS)), clip_list.heads)
    assert label_indices(clip_list, names) == [(0,), (1,)]
    test = write(tmp_path / "test.json", '[{"id":"1420"},{"id":"3"}]')
    with pytest.raises(InputError, match=r"entry 1 has no template.*test set"):
        read_list(test)


EPIC = (
    "uid,narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,"
    "stop_frame,narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes\n"
    "0,P01_01_0,P01,P01_01,00:00:01.089,00:00:00.14,00:00:03.37,8,202,open door,open,3,door,3,['door'],[3]\n"
    "1,P01_01_1,P01,P01_01,00:00:02.1,00:00:03.5,00:00:04.0,210,240,\"take, plate\",take,0,plate,2,\"['a', 'b']\",[2]\n"
)


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (
            "P01/rgb_frames/P01_01/frame_0000000001.jpg",
            [("P01/rgb_frames/P01_01", 7, 202), ("P01/rgb_frames/P01_01", 209, 240)],
        ),
        ("P01/videos/P01_01.MP4", [("P01/videos/P01_01.MP4", 7, 202), ("P01/videos/P01_01.MP4", 209, 240)]),
        ("P01_01_1.mp4", [("P01/rgb_frames/P01_01", 7, 202), ("P01_01_1.mp4", 0, None)]),
    ],
)
def test_epic_kitchens(tmp_path, there, expected):
    write(tmp_path / there, b"x")
    clip_list = read_list(write(tmp_path / "EPIC_100_train.csv", EPIC))
    assert [row[:3] for row in found(clip_list)] == expected
    assert clip_list.heads == ("noun", "verb")
    assert [row[3] for row in found(clip_list)] == [("3", "3"), ("2", "0")]
    assert [len(head) for head in classes_of([clip_list])] == [300, 97]


def test_the_heads_of_epic_kitchens_are_put_into_the_models_order(tmp_path):
    clip_list = read_list(write(tmp_path / "e.csv", EPIC))
    for splits, expected in (([300, 97], [(3, 3), (2, 0)]), ([97, 300], [(3, 3), (0, 2)])):
        config = VivitConfig(**TINY_MODEL, num_labels=397, class_splits=splits)
        indices, notes = indices_of_model(clip_list, config)
        assert indices == expected
        assert len(notes) == (splits == [97, 300])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("names.txt", "b\na\n"),
        ("names.csv", "\ufeffb,0\r\na,1\r\n"),  # Moments in Time's moments_categories.txt
        ("names.json", '["b", "a"]'),
        ("names.json", '{"a": 1, "b": 0}'),
        ("names.json", '{"a": "1", "\\"b\\"": "0"}'),
        ("names.json", '{"1": "a", "0": "b"}'),
        ("classes.csv", "id,key,instances,category\n1,a,\"['a', 'x']\",k\n0,b,\"['b']\",k\n"),  # Epic Kitchens'
    ],
)
def test_names_of_classes(tmp_path, name, content):
    assert read_label_names(write(tmp_path / name, content), ("label",)) == [["b", "a"]]


def test_names_of_several_heads(tmp_path):
    path = write(tmp_path / "names.json", '{"verb": ["open"], "noun": {"door": 0, "cup": 1}}')
    assert read_label_names(path, ("noun", "verb")) == [["door", "cup"], ["open"]]
    with pytest.raises(InputError, match=r"expected label"):
        read_label_names(path, ("label",))


# ------------------------------------------------------------------------------------------------ hostile ones


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n \n\n", "holds no clip"),
        (b"path,label\n", "holds no clip"),
        (b"a.mp4 0\n" + b"x" * 70000 + b" 1\n", "line 2: has more than 65,536 bytes"),
        (b"x" * 10_000_000, "line 1: has more than"),
        (b"a.mp4 0\nb\0.mp4 1\n", "line 2: holds a NUL byte"),
        ("a.mp4 0\n".encode("utf-16"), "line 1: holds a NUL byte"),
        (b"a.mp4\n", "line 1: has 'a.mp4', and no label"),
        (b"a.mp4 0\nd 163 1\n", "line 2: has 3 columns, but the lines before it have 2"),
        (b"d 163 1 3 5\n", "line 1: has 5 columns"),
        (b"d many 1\n", "line 1: the number of frames is 'many'"),
        (b"d -1 1\n", "line 1: the number of frames is '-1'"),
        (b"original_vido_id video_id frame_id path labels\n", "holds no labels"),
        (b"path,label,label\na,0,0\n", "line 1: the column 'label' occurs twice"),
        (b"path,label\na.mp4,0\npath,label\nb.mp4,1\n", "line 3: repeats the header"),
        (b"path,label\na.mp4,0\nb.mp4\n", "line 3: has 1 column, but the header has 2"),
        (b"path,label\na.mp4,0,7\n", "line 2: has 3 columns"),
        (b'path,label\n"a.mp4,0\nb.mp4,1\n', "is no CSV"),
        (b"path,label\na.mp4,\n", "line 2: label is empty"),
        (b"path,name\na.mp4,0\n", "has no column label"),
        (b"clip,label\na.mp4,0\n", "has no column path"),
        (b"path,label,start,start_frame\na,0,1,1\n", "in seconds and in frames"),
        (b"path,label,start,end\na,0,5,nan\n", "line 2: end is 'nan'"),
        (b"path,label,start,end\na,0,5,2.5\n", "line 2: the part ends at 2.5 and begins at 5"),
        (b"path,label\na.mp4,0\nk\xfcche.mp4,1\n", "line 3: is not in UTF-8; save the file as text in UTF-8"),
        (b"path,label\na.mp4,T\xfcr\n", "line 2: is not in UTF-8"),
        (b"a.mp4 0\n\nk\xfcche.mp4 1\n", "line 3: is not in UTF-8"),
        (b'[\n{"id": "3", "template": "T\xfcr"}]', "line 2: is not in UTF-8"),
        (EPIC.replace("P01_01,00:00:01", "k\xfc,00:00:01").encode("latin-1"), "line 2: is not in UTF-8"),
        (b"path,label,start_frame\na,0,1.5\n", "line 2: start_frame is '1.5'"),
        (b'{"id": "3"}', "JSON dict"),
        (b'[{"id": "3"', "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'[{"id": "../3", "template": "x"}]', "the id '../3'"),
        (b"[3]", "entry 1 is 3"),
        (b"video_id,start_frame,stop_frame\nP01_01,1,2\n", "no column 'noun_class', 'verb_class'"),
        (EPIC.replace(",8,202", ",202,8").encode(), "line 2: the frames are 202 to 8"),
        (EPIC.replace("P01_01,00:00:01", "../x,00:00:01").encode(), "line 2: '../x' is no name of a video"),
    ],
)
def test_a_list_that_cannot_be_meant_is_one_line(tmp_path, capsys, content, message):
    path = write(tmp_path / "list.csv", content)
    with pytest.raises(InputError) as error:
        read_list(path)
    assert message in str(error.value)
    assert main(["train", str(path), "--output", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert (err.count("\n"), len(err) < 2100) == (1, True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a 0\nb one\n", "line 2: the label is 'one', but others are numbers, as '0'"),
        ("a 0\nb 999999999\n", "line 2: the label is 999999999; expected 0 to 99,999"),
        ("a 0\nb 0\n", "clips of one class"),
    ],
)
def test_labels_that_cannot_be_meant(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        find_listed(write(tmp_path / "list.csv", content))


@pytest.mark.parametrize("label", ["3", "-1", "door", "1.0", "²", ""])
def test_a_label_out_of_range_names_its_line(tmp_path, label):
    clip_list = read_list(write(tmp_path / "list.csv", f"path,label\na,0\nb,{label or chr(0x2003) + 'x'}\n"))
    config = VivitConfig(**TINY_MODEL, id2label={0: "left", 1: "right", 2: "up"})
    with pytest.raises(InputError, match=r"line 3: the label .* none of the 3 classes"):
        indices_of_model(clip_list, config)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\na\n", "the class 'a' 2 times"),
        ('{"a": 0, "b": 0}', "none has the number 1"),
        ('{"a": 0, "b": 7}', "none has the number 1"),
        ("3", "names 1 classes|1 class"),
        ("[1, 2]", "expected a list of names"),
        ("{", "not valid JSON"),
        ('{"a": 7}', "names 1 class, but its number is not 0"),
        ("oben\nT\xfcr\n".encode("latin-1"), "line 2: is not in UTF-8; save the file as text in UTF-8"),
        ('["oben",\n"T\xfcr"]'.encode("latin-1"), "line 2: is not in UTF-8"),
    ],
)
def test_names_that_cannot_be_meant(tmp_path, content, message):
    path = write(tmp_path / "names", content)
    if content == "3":
        assert read_label_names(path, ("label",)) == [["3"]]
        return
    with pytest.raises(InputError, match=message):
        read_label_names(path, ("label",))


def test_reading_is_linear(tmp_path):
    """Counted in calls, not in seconds: ten times the lines, ten times the work."""
    calls = []
    for count in (200, 2000):
        lines = "".join(f"k/{index}.mp4,{index % 7},{index},{index + 9.5}\n" for index in range(count))
        path = write(tmp_path / f"{count}.csv", "path,label,start,end\n" + lines)

        def read(path=path):
            clip_list = read_list(path)
            label_indices(clip_list, classes_of([clip_list]))

        calls.append(num_calls(read))
    assert calls[1] < 11 * calls[0]


@pytest.mark.thorough
def test_two_hundred_thousand_lines(tmp_path):
    path = write(tmp_path / "list.csv", "".join(f"k/{index}.mp4 {index % 400}\n" for index in range(200_000)))
    clip_list = read_list(path)
    assert len(clip_list.clips) == 200_000
    assert label_indices(clip_list, classes_of([clip_list]))[-1] == (199_999 % 400,)


# ------------------------------------------------------------------------------------------------ parts of clips


def test_a_part_is_the_frames_that_it_says(tmp_path):
    clip = numpy.arange(10, dtype=numpy.uint8)[:, None, None, None] * numpy.ones((10, 4, 4, 3), numpy.uint8)
    numpy.save(tmp_path / "a.npy", clip)
    part = Segment(tmp_path / "a.npy", 3, 7)
    assert span_of(part) == (3, 7)
    assert read_clip(part, 3, numpy.array([0, 3]))[:, 0, 0, 0].tolist() == [3, 6]
    assert span_of(Segment(tmp_path / "a.npy", 8, 99)) == (8, 10)
    with pytest.raises(InputError, match="holds no frame: the clip has 10"):
        span_of(Segment(tmp_path / "a.npy", 10, 12))
    with pytest.raises(InputError, match="states no frame rate"):
        span_of(Segment(tmp_path / "a.npy", 0.5, 0.7, True))


def test_seconds_are_frames_at_the_rate_of_the_file(monkeypatch):
    monkeypatch.setattr("minivivit.training.data.segments.frame_rate", lambda path: 25.0)
    for start, stop, expected in (
        (0, 0.2, (0, 5)),
        (1.2, 2.0, (30, 50)),
        (1.21, 1.99, (31, 50)),
        (3.9, None, (98, 100)),
    ):
        assert Segment(Path("x"), start, stop, True).span(100) == expected


# ------------------------------------------------------------------------------------------------ training


def write_parts(folder: Path, num_files: int = 6) -> list[str]:
    """Files of 12 frames, of which the first six are dark and the others bright; the lines of a list of both parts."""
    rng, lines = numpy.random.default_rng(0), []
    folder.mkdir()
    for number in range(num_files):
        clip = rng.integers(0, 60, (12, 20, 24, 3))
        clip[6:] += 150
        numpy.save(folder / f"{number}.npy", clip.astype(numpy.uint8))
        lines += [f"{number}.npy,dark,{number % 3},0,6", f"{number}.npy,bright,{(number + 1) % 3},6,12"]
    return lines


def write_settings(path: Path, **changes) -> Path:
    settings = {**TINY, "epochs": 2, "validation_fraction": 0.34, "frame_sample_rate": 1, **changes}
    return write(path, json.dumps({name: value for name, value in settings.items() if name != "steps"}))


@pytest.mark.parametrize(("heads", "mixup_alpha"), [(1, 0.0), (2, 0.3)])
def test_a_list_trains_goes_on_and_is_measured(tmp_path, capsys, monkeypatch, heads, mixup_alpha):
    lines = write_parts(tmp_path / "videos")
    header = "path,label_light,label_number,start_frame,end_frame\n"
    if heads == 1:
        header = "path,label,other,start_frame,end_frame\n"
    data = write(tmp_path / "lists" / "train.csv", header + "\n".join(lines))
    settings = write_settings(tmp_path / "settings.json", mixup_alpha=mixup_alpha, label_smoothing=0.1)
    argv = ["train", str(data), "--root", str(tmp_path / "videos"), "--config", str(settings)]
    assert main([*argv, "--output", str(tmp_path / "whole")]) == 0
    assert "8 clips to train on and 4 to validate on" in capsys.readouterr().out  # the parts of a file stay together
    config = VivitConfig.from_pretrained(tmp_path / "whole" / "last")
    assert config.class_splits == (None if heads == 1 else [2, 3])
    assert list(config.id2label.values())[:2] == ["bright", "dark"]

    from minivivit.training import loop

    step, made = loop.make_step, []

    def stop_after_two(training):
        made.append(1)
        if len(made) == 3:
            raise KeyboardInterrupt
        return step(training)

    monkeypatch.setattr(loop, "make_step", stop_after_two)
    settings = write_settings(settings, mixup_alpha=mixup_alpha, label_smoothing=0.1, checkpoint_every=1)
    assert main([*argv, "--output", str(tmp_path / "stopped")]) == 130
    monkeypatch.setattr(loop, "make_step", step)
    other = write_settings(tmp_path / "whole.json", mixup_alpha=mixup_alpha, label_smoothing=0.1, checkpoint_every=1)
    assert main([*argv[:-1], str(other), "--output", str(tmp_path / "again")]) == 0
    assert main([*argv, "--output", str(tmp_path / "stopped"), "--resume"]) == 0
    same_training(tmp_path / "stopped", tmp_path / "again")
    capsys.readouterr()

    measure = ["evaluate", "--model", str(tmp_path / "whole" / "last"), "--data", str(data), "--stride", "1", "--json"]
    assert main([*measure, "--root", str(tmp_path / "videos")]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["clips"], len(result["heads"])) == (12, heads)

    write(data, header + "\n".join(lines).replace("bright", "dark", 1))  # another label is another training
    assert main([*argv, "--output", str(tmp_path / "stopped"), "--resume"]) == 2
    assert "has another content" in capsys.readouterr().err


def test_a_list_of_its_own_to_validate_on_and_damaged_clips(tmp_path, capsys):
    lines = write_parts(tmp_path / "videos")
    header = "path,label,other,start_frame,end_frame\n"
    data = write(tmp_path / "train.csv", header + "\n".join([*lines[:8], "0.npy,dark,0,12,20", "gone.npy,dark,0,0,3"]))
    held_out = write(tmp_path / "val.csv", header + "\n".join(lines[8:]))
    settings = write_settings(tmp_path / "settings.json")
    settings.write_text(
        json.dumps({k: v for k, v in json.loads(settings.read_text()).items() if k != "validation_fraction"})
    )
    argv = ["train", str(data), "--root", str(tmp_path / "videos"), "--config", str(settings)]
    argv += ["--validation", str(held_out), "--output", str(tmp_path / "run")]
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert "2 of 14 clips cannot be used: '0.npy [12 : 20]', 'gone.npy [0 : 3]'" in err
    assert main([*argv, "--skip-damaged"]) == 0
    out = capsys.readouterr().out
    assert "8 clips to train on and 4 to validate on, of 2 classes; 2 damaged left out" in out
    assert read_state(tmp_path / "run" / "last")["origin"]["damaged"] == ["0.npy [12 : 20]", "gone.npy [0 : 3]"]
    with pytest.raises(InputError, match="is what is trained on"):
        find_listed(data, data)


def test_the_split_keeps_files_together_and_takes_its_share():
    clips = [(f"{n}", Segment(Path(f"r/{n // 4}.mp4"), n, n + 1), (n % 2,)) for n in range(80)]
    training, validation = split_listed(clips, 0.2, seed=0)
    assert sorted(training + validation) == sorted(clips)
    assert not {clip.path for _, clip, _ in training} & {clip.path for _, clip, _ in validation}
    assert len(validation) == 16
    assert split_listed(clips, 0.0, seed=0) == (clips, [])
    alone = [(f"{n}", Segment(Path(f"{n}.mp4")), (n,)) for n in range(3)]
    assert split_listed(alone, 0.5, seed=0) == (alone, [])  # one clip of a class stays


def test_labels_beginning_with_1_are_noted(tmp_path):
    assert "no clip has the label '0'" in find_listed(write(tmp_path / "list.csv", "a 1\nb 2\n")).notes[0]
    assert find_listed(write(tmp_path / "list.csv", "a 0\nb 1\n")).notes == []


def test_names_and_numbers_meet_the_models_classes(tmp_path):
    clip_list = read_list(write(tmp_path / "list.csv", "a 0\nb 1\n"))
    named = VivitConfig(**TINY_MODEL, id2label={0: "up", 1: "left", 2: "right"})
    indices, notes = indices_of_model(clip_list, named)
    assert (indices, len(notes)) == ([(0,), (1,)], 1)
    assert indices_of_model(clip_list, named, [["left", "up"]])[0] == [(1,), (0,)]
    nameless = VivitConfig(**TINY_MODEL, num_labels=2)
    assert indices_of_model(clip_list, nameless, [["left", "up"]])[0] == [(0,), (1,)]
    with pytest.raises(InputError, match="that the model has not: 'down'"):
        indices_of_model(clip_list, named, [["left", "down"]])
    with pytest.raises(InputError, match="2 labels a clip"):
        indices_of_model(clip_list, VivitConfig(**TINY_MODEL, num_labels=3, class_splits=[2, 1]))


@pytest.mark.skipif(sys.platform == "win32", reason="names there are text")
def test_names_that_are_no_text(tmp_path):
    numpy.save(tmp_path / os.fsdecode(b"caf\xe9.npy"), numpy.zeros((3, 4, 4, 3), numpy.uint8))
    for content in (b"caf\xe9.npy 0\n", b"caf\xe9.npy 0\ngone\xe9.npy 1\n"):  # one that is there is enough
        clip_list = read_list(write(tmp_path / "list.csv", content))
        assert span_of(clip_list.clips[0].clip) == (0, 3)
    with pytest.raises(InputError, match="line 1: is not in UTF-8"):
        read_list(write(tmp_path / "list.csv", b"caf\xe9.npy caf\xe9\n"))


def test_bytes_that_count_for_nothing_may_be_any(tmp_path):
    clip_list = read_list(write(tmp_path / "list.csv", b"path,label,note\na.mp4,0,sch\xf6n\n"))
    assert clip_list.clips[0].labels == ("0",)


def test_a_file_that_names_one_class(tmp_path, capsys):
    """What is wrong is the file, not the list."""
    data, names = write(tmp_path / "list.txt", "a 0\nb 1\n"), write(tmp_path / "names.txt", "up\n")
    message = r"names\.txt names 1 class; expected at least 2\. The labels in .*list\.txt are '0', '1'; give a name"
    with pytest.raises(InputError, match=message):
        find_listed(data, labels=names)
    with pytest.raises(InputError, match=r"names\.txt names 1 class; expected at least 2$"):
        find_listed(write(data, "a 0\nb 0\n"), labels=names)
    config = VivitConfig(**TINY_MODEL, id2label={0: "up", 1: "left"})
    with pytest.raises(InputError, match="the label '1' is neither the only class 'up' nor its number 0"):
        indices_of_model(read_list(write(data, "a 0\nb 1\n")), config, [["up"]])
    for wrong in (tmp_path, tmp_path / "gone", write(tmp_path / "empty", "")):
        assert main(["train", str(data), "--labels", str(wrong), "--output", str(tmp_path / "out")]) == 2
        assert "expected a file with the names of the classes" in capsys.readouterr().err


def test_a_model_of_one_head_gets_several(tmp_path):
    """Fine-tuning on verbs and nouns: the body stays, the head is new."""
    VivitForVideoClassification(VivitConfig(**TINY_MODEL), backend="numpy").save_pretrained(tmp_path / "model")
    lines = write_parts(tmp_path / "videos")
    data = write(tmp_path / "l.csv", "path,label_a,label_b,start_frame,end_frame\n" + "\n".join(lines))
    settings = write_settings(tmp_path / "settings.json", model={})
    argv = ["train", str(data), "--root", str(tmp_path / "videos"), "--config", str(settings)]
    assert main([*argv, "--model", str(tmp_path / "model"), "--output", str(tmp_path / "run")]) == 0
    assert VivitConfig.from_pretrained(tmp_path / "run" / "best").class_splits == [2, 3]


def test_parts_of_long_files_keep_names_of_their_own(tmp_path):
    lines = [f"v.mp4,0,{start},{start + 5}" for start in range(12_345_678, 12_345_690)]
    path = write(tmp_path / "list.csv", "path,label,start_frame,end_frame\n" + "\n".join([*lines, "w.mp4,1,0,3"]))
    assert len(find_listed(path).by_name()) == 13
    other = write(tmp_path / "other.csv", "x.mp4 0\nvalidation/x.mp4 1\n")
    held_out = write(tmp_path / "val.csv", "x.mp4 0\ny.mp4 1\n")
    assert len(find_listed(other, held_out).by_name()) == 4


def test_a_part_is_read_without_counting_the_frames_of_its_file(tmp_path, monkeypatch):
    clip = numpy.arange(10, dtype=numpy.uint8)[:, None, None, None] * numpy.ones((10, 4, 4, 3), numpy.uint8)
    numpy.save(tmp_path / "a.npy", clip)
    counted = []
    count_and_hold = segments.count_and_hold
    monkeypatch.setattr(segments, "count_and_hold", lambda path: counted.append(path) or count_and_hold(path))

    def choose(num_frames):
        return numpy.array([[0, num_frames - 1, 0]])

    frames, places = segments.read_chosen(Segment(tmp_path / "a.npy", 2, 6), choose)
    assert (frames[:, 0, 0, 0].tolist(), places.tolist(), counted) == ([2, 5], [[0, 1, 0]], [])
    frames, _ = segments.read_chosen(Segment(tmp_path / "a.npy", 8, 99), choose)  # the list says more than there is
    assert (frames[:, 0, 0, 0].tolist(), len(counted)) == ([8, 9], 1)
    with pytest.raises(InputError, match="holds no frame"):
        segments.read_chosen(Segment(tmp_path / "a.npy", 10, 12), choose)
