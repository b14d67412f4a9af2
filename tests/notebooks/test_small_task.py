"""Notebook 17: the commands that it names do what it says, on the folder that its generator writes."""

import re
import shlex

import numpy
import pytest
from test_notebook_pages import NOTEBOOKS, ROOT, cells_of, markdown_of, text_of

from minivivit.cli import main
from minivivit.training.checkpoints import read_state
from minivivit.video.reading import read_video

pytestmark = pytest.mark.notebooks

(PATH,) = [path for path in NOTEBOOKS if path.name.startswith("17_")]
PAGE = markdown_of(PATH)


def test_the_commands_train_and_measure(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT / "notebooks")
    import stand_in_clips

    stand_in_clips.write(tmp_path / "clips", seed=3)
    stand_in_clips.write(tmp_path / "new_clips", seed=4)
    (settings,) = re.findall(r"```json\n(.*?)```", PAGE, flags=re.DOTALL)
    (tmp_path / "no_flip.json").write_text(settings)
    (tmp_path / "minivivit").symlink_to(ROOT / "minivivit")
    monkeypatch.chdir(tmp_path)
    train, evaluate = re.findall(r"^minivivit (train|evaluate) (.*)$", PAGE, flags=re.MULTILINE)

    assert main(["train", *shlex.split(train[1]), "--epochs", "2"]) == 0
    out, err = capsys.readouterr()
    assert "32 clips to train on and 8 to validate on, of 2 classes" in out
    places = re.search("validated on whole recordings: (.*)", err)[1].split(", ")
    assert len(places) == 2
    assert {stand_in_clips.PLACES.index(place.strip("'")) // 5 for place in places} == {0, 1}
    settings = read_state(tmp_path / "tuned" / "last")["settings"]
    assert settings["layer_decay"] == 0.75
    assert settings["augmentation"]["do_color_augment"]
    assert not settings["augmentation"]["do_random_flip"]

    assert main(["evaluate", *shlex.split(evaluate[1])]) == 0
    assert "of 40 clips" in capsys.readouterr().out


def test_the_stand_ins_are_read_as_they_were_recorded(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "notebooks")
    import stand_in_clips

    stand_in_clips.write(tmp_path, seed=5)
    attic = stand_in_clips.record(numpy.random.default_rng(5), 0, 80)
    for part, clip in enumerate(stand_in_clips.cut(attic), start=1):
        assert (read_video(tmp_path / "clockwise" / f"attic_{part}.png") == clip).all()


def test_how_many_clips_make_a_short_bar():
    (cell,) = [text_of(c["source"]) for c in cells_of(PATH, "code") if "def interval" in text_of(c["source"])]
    namespace = {}
    exec(cell.partition("\nfor ")[0], namespace)
    lengths = {n: numpy.diff(namespace["interval"](0.9 * n, n))[0] for n in (140, 141)}
    assert lengths[141] < 0.1 < lengths[140]
    assert "With `interval` it is 141" in PAGE
