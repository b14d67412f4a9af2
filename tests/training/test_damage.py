"""What is damaged, changed or somebody else's is refused in one line that names it, and left as it is."""

import json
import os
import signal
import subprocess
import sys

import numpy
import pytest
from file_system_calls import develop, photograph
from PIL import Image
from tiny_training import FILES, TINY, run_tiny_training, same_training, write_clips

from minivivit import InputError, VivitConfig
from minivivit.cli import main
from minivivit.training import lock
from minivivit.training.checkpoints import read_state
from minivivit.training.lock import LOCK_FILE, locked
from minivivit.training.log import read_log

needs_a_file_system_of_bytes = pytest.mark.skipif(sys.platform != "linux", reason="names are not bytes there")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("minivivit.training.loop.draw_curves", lambda entries, path: None)
        run_tiny_training(tmp_path_factory.mktemp("finished") / "run", steps=3)
        yield photograph(tmp_path_factory.getbasetemp() / "finished0" / "run")


@pytest.fixture
def run(tmp_path, finished):
    """A finished training."""
    develop(finished, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """``minivivit train`` with a tiny model: its exit code, and what it printed."""
    monkeypatch.setattr("minivivit.training.loop.draw_curves", lambda entries, path: None)
    settings = tmp_path / "settings.json"

    def train(data, output, *options, **changes):
        settings.write_text(json.dumps({**TINY, **changes}))
        capsys.readouterr()
        code = main(["train", str(data), "--output", str(output), "--config", str(settings), *map(str, options)])
        return code, *capsys.readouterr()

    return train


def refused(command, data, output, *options, **changes):
    """The one line with which it is refused, and nothing in `output` has changed."""
    before = photograph(output)
    code, out, err = command(data, output, *options, **changes)
    assert (code, out) == (2, "")
    assert err.startswith("minivivit: error: ")
    assert err.count("\n") == 1
    assert len(err) < 1000
    assert photograph(output) == before
    return err


# ------------------------------------------------------------------------------------------------ files of ours


def damaged_states():
    """What may become of the file, as functions of its bytes."""
    for name, value in (("step", "4"), ("step", -1), ("step", 1e400), ("step", 10**400), ("step", float("nan"))):
        yield (
            f"{name} is {str(value)[:9]}",
            lambda data, n=name, v=value: json.dumps({**json.loads(data), n: v}).encode(),
        )
    for name in ("generator", "settings", "origin", "best", "files", "optimiser", "log_length", "digest", "format"):
        yield (
            f"no {name}",
            lambda data, n=name: json.dumps({k: v for k, v in json.loads(data).items() if k != n}).encode(),
        )
        yield f"{name} is a list", lambda data, n=name: json.dumps({**json.loads(data), n: [3]}).encode()
    yield "empty", lambda data: b""
    yield "truncated", lambda data: data[:-200]
    yield "nested", lambda data: data.replace(b'"step": ', b'"more": ' + b"[" * 9000 + b"]" * 9000 + b', "step": ', 1)
    yield "a key twice", lambda data: data.replace(b'"step": ', b'"step": 1, "step": ', 1)
    yield "binary", lambda data: bytes(range(256)) * 9
    yield "not UTF-8", lambda data: data.replace(b"motion", b"mot\xffon", 1)
    yield "another object", lambda data: b'{"format": 2}'
    yield "written anew", lambda data: json.dumps(json.loads(data)).encode()
    yield "a digit", lambda data: data.replace(b'"seed": 3', b'"seed": 2', 1)


DAMAGED_STATES = dict(damaged_states())


@pytest.mark.parametrize("damage", list(DAMAGED_STATES.values()), ids=list(DAMAGED_STATES))
def test_a_damaged_state_is_named(run, command, damage):
    path = run / "last" / "training_state.json"
    before = path.read_bytes()
    path.write_bytes(damage(before))
    assert path.read_bytes() != before
    line = refused(command, "motion", run, "--resume")
    assert str(path) in line
    assert "put back a copy of it, or begin a new training in another --output" in line
    assert "--resume" in refused(command, "motion", run)  # and without, it still holds a training


@pytest.mark.parametrize("name", [f"{place}/{name}" for place, names in FILES.items() for name in names])
@pytest.mark.parametrize("damage", ["a bit", "cut off", "gone"])
def test_a_damaged_file_is_named(run, command, name, damage):
    path = run / name
    data = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    else:
        data[len(data) * 2 // 3] ^= 4
        path.write_bytes(data if damage == "a bit" else data[:-7])
    line = refused(command, "motion", run, "--resume")
    assert str(run) in line
    assert name in line or "but no last/training_state.json" in line


def test_a_damaged_log_is_named_and_can_be_done_without(run, command):
    path = run / "log.jsonl"
    data = bytearray(path.read_bytes())
    for damaged in (data.replace(b"e", b"f", 1), data[:-1], b""):
        path.write_bytes(damaged)
        line = refused(command, "motion", run, "--resume")
        assert str(path) in line
        assert "put back the log that belongs to it, or move log.jsonl away" in line
    path.unlink()
    code, _, err = command("motion", run, "--resume", "--steps", 5)
    assert code == 0
    assert f"{path} is gone: the log begins anew after step 3" in err
    assert [entry["step"] for entry in read_log(path) if "loss" in entry] == [4, 5]


@pytest.mark.parametrize(
    "line", [b"[1]", b"{", b"\xff\xfe", b'{"step": 1, "step": 2}', b"[" * 9000, b'{"step": 1' + b"0" * 5000 + b"}"]
)
def test_a_log_that_is_none(tmp_path, line):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"step": 1}\n' + line + b"\n")
    with pytest.raises(InputError, match=r"line 2 of .*log\.jsonl") as error:
        read_log(path)
    assert "\n" not in str(error.value)


def test_what_is_left_of_a_training_is_not_taken_for_nothing(run, command):
    """Without its state a training cannot go on; but neither is another begun in its place, whatever else is there."""
    (run / "last" / "training_state.json").unlink()
    for name in ("", "last", "best", "log.jsonl"):
        if name:
            (run / name).rename(run / f"kept_{name}")
        if name != "log.jsonl":
            for options in ([], ["--resume"]):
                line = refused(command, "motion", run, *options)
                assert "move that away" in line
    assert command("motion", run, steps=2)[0] == 0


# ------------------------------------------------------------------------------------------------ files of the user


@pytest.mark.parametrize("name", ["last", "best", "log.jsonl", "curves.png", ".next-checkpoint"])
@pytest.mark.parametrize("kind", ["file", "folder", "link", "dangling link"])
@pytest.mark.parametrize("options", [[], ["--resume"]], ids=["begin", "resume"])
def test_what_the_user_keeps_there_stays(tmp_path, command, name, kind, options):
    if (kind, name) == ("folder", ".next-checkpoint"):
        pytest.skip("that is what a kill leaves")
    output, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    output.mkdir()
    elsewhere.mkdir()
    (elsewhere / "notes.txt").write_text("mine")
    if kind == "file":
        (output / name).write_text("mine")
    elif kind == "folder":
        (output / name).mkdir()
        (output / name / "config.json").write_text("mine")
    else:
        (output / name).symlink_to(elsewhere if kind == "link" else tmp_path / "nowhere")
    before = sorted(os.walk(output))
    code, out, err = command("motion", output, *options, steps=2)
    assert (code, out) == (2, "")
    assert f"'{name}'" in err
    assert sorted(os.walk(output)) == before
    assert [path.read_text() for path in elsewhere.iterdir()] == ["mine"]
    assert kind != "file" or (output / name).read_text() == "mine"


def test_other_files_may_lie_there(tmp_path, command):
    output = tmp_path / "run"
    (output / "step-00000007").mkdir(parents=True)
    (output / "notes.txt").write_text("mine")
    assert command("motion", output, steps=2)[0] == 0
    assert (output / "notes.txt").read_text() == "mine"
    assert (output / "step-00000007").is_dir()


@pytest.mark.parametrize("options", [[], ["--resume"]], ids=["begin", "resume"])
def test_what_was_killed_before_its_first_checkpoint_is_begun_again(tmp_path, command, options):
    (tmp_path / "run" / ".next-checkpoint" / "last").mkdir(parents=True)
    (tmp_path / "run" / ".next-checkpoint" / "last" / "model.safetensors").write_text("half of it")
    (tmp_path / "run" / LOCK_FILE).touch()
    assert command("motion", tmp_path / "run", *options, steps=2)[0] == 0
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["best", "last", "log.jsonl"]


def test_what_was_killed_after_its_first_checkpoint_is_not(tmp_path, run, command):
    output = tmp_path / "killed"
    (output / ".next-checkpoint").mkdir(parents=True)
    for name in ("last", "best"):
        (run / name).rename(output / ".next-checkpoint" / name)
    (output / ".next-checkpoint" / "last" / "training_state.json").rename(
        output / ".next-checkpoint/training_state.json"
    )
    (run / "log.jsonl").rename(output / "log.jsonl")
    assert "already holds a training" in refused(command, "motion", output)
    path = output / ".next-checkpoint" / "training_state.json"
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"seed": 3', b'"seed": 2'))
    assert str(path) in refused(command, "motion", output, "--resume")  # and nothing is moved
    path.write_bytes(data)
    code, out, _ = command("motion", output, "--resume")
    assert (code, "steps: 3, beginning at 3" in out) == (0, True)
    assert sorted(path.name for path in output.iterdir()) == ["best", "last", "log.jsonl"]


def test_the_output_is_not_within_the_clips(tmp_path, command):
    folder = write_clips(tmp_path / "clips", clips=2)
    for output in (folder / "run", folder / "up" / "run", folder):
        assert "lies within" in refused(command, folder, output, epochs=1, warm_up=0)
    assert not (folder / "run").exists()
    for options in ([], ["--resume"]):
        assert command(folder, folder / ".run", *options, epochs=1, warm_up=0)[0] == 0


def test_the_output_is_a_file(tmp_path, command):
    (tmp_path / "run").write_text("mine")
    code, _, err = command("motion", tmp_path / "run")
    assert (code, err.count("\n")) == (2, 1)
    assert "is not a directory" in err


# ------------------------------------------------------------------------------------------------ clips


def make_otherwise(path):
    """Another content of the same size and time."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_clips_that_have_changed_are_named(tmp_path, command):
    folder, output = write_clips(tmp_path / "clips", clips=2), tmp_path / "run"
    pictures = folder / "up" / "pictures"
    pictures.mkdir()
    for index in range(4):
        Image.new("RGB", (20, 20), (9, 9, 200 + index)).save(pictures / f"{index}.bmp")
    assert command(folder, output, epochs=1, warm_up=0)[0] == 0
    for change, words in (
        (lambda: make_otherwise(folder / "left" / "clip1.npy"), "'left/clip1.npy' has another content"),
        (lambda: make_otherwise(pictures / "2.bmp"), "'up/pictures' has another content"),
        (lambda: (pictures / "2.bmp").rename(pictures / "5.bmp"), "'up/pictures' has another content"),
        (lambda: (folder / "left" / "clip1.npy").unlink(), "'left/clip1.npy' is no longer there"),
        (
            lambda: numpy.save(folder / "left" / "clip7.npy", numpy.zeros((6, 20, 24, 3), "u1")),
            "'left/clip7.npy' is new",
        ),
        (lambda: (folder / "up").rename(folder / "above"), "'above/clip0.npy' is new, and 5 more clips differ"),
    ):
        before = photograph(folder)
        change()
        line = refused(command, folder, output, "--resume", epochs=2, warm_up=0)
        assert words in line
        assert "put it back" in line
        develop(before, folder)
    (pictures / "notes.txt").write_text("no picture, and never read")
    folder.rename(tmp_path / "moved")
    assert command(tmp_path / "moved", output, "--resume", epochs=2, warm_up=0)[0] == 0
    assert read_state(output / "last")["epoch"] == 2


@needs_a_file_system_of_bytes
def test_names_that_are_not_utf8(tmp_path, command, capsys):
    """They are escaped as Python does it, which JSON holds in ASCII, and come back as they were."""
    folder, output = tmp_path / "clips", tmp_path / os.fsdecode(b"run\xe9")
    names = os.fsdecode(b"caf\xe9"), "plain"
    write_clips(folder, names, clips=3)
    (folder / names[0] / "clip0.npy").rename(folder / names[0] / os.fsdecode(b"\xff\xfe.npy"))
    code, out, err = command(folder, output, epochs=1, warm_up=0)
    assert (code, "finished" in out) == (0, True), err
    assert tuple(VivitConfig.from_pretrained(output / "best").id2label.values()) == names
    for path in output.rglob("*.json*"):
        assert path.read_bytes().isascii()
    assert command(folder, output, "--resume", epochs=2, warm_up=0)[0] == 0
    assert main(["evaluate", "--model", str(output / "last"), "--data", str(folder)]) == 0
    capsys.readouterr()
    make_otherwise(folder / names[0] / os.fsdecode(b"\xff\xfe.npy"))
    assert r"'caf\udce9/\udcff\udcfe.npy' has another content" in refused(
        command, folder, output, "--resume", epochs=3, warm_up=0
    )


# ------------------------------------------------------------------------------------------------ longer


def test_a_finished_training_can_become_longer(tmp_path, command):
    changes = {"steps": 4, "schedule": "constant", "validate_every": 2}
    assert command("motion", tmp_path / "run", **changes)[0] == 0
    code, out, err = command("motion", tmp_path / "run", "--resume", "--steps", 8, **changes)
    assert code == 0
    assert "steps: 8, beginning at 4" in out
    assert "the training now has 8 steps instead of 4: its schedule, constant, goes on" in err
    assert command("motion", tmp_path / "whole", **{**changes, "steps": 8})[0] == 0
    same_training(tmp_path / "run", tmp_path / "whole")  # a constant rate does not know its end


def test_a_rate_that_falls_rises_again_and_it_is_said(tmp_path, command):
    assert command("motion", tmp_path / "run", steps=4)[0] == 0
    _, _, err = command("motion", tmp_path / "run", "--resume", steps=8)
    rates = [entry["learning_rate"] for entry in read_log(tmp_path / "run" / "log.jsonl") if "loss" in entry]
    assert len(rates) == 8
    assert rates[4] > rates[3]
    assert f"a learning rate of {rates[4]:.3g} after {rates[3]:.3g}" in err
    assert command("motion", tmp_path / "run", "--resume")[1].count("steps: 8, beginning at 8") == 1  # it is kept


def test_a_training_does_not_become_shorter_or_other(tmp_path, command):
    assert command("motion", tmp_path / "run", steps=4)[0] == 0
    assert "steps is 3, but the training in" in refused(command, "motion", tmp_path / "run", "--resume", steps=3)
    assert "began with 4" in refused(command, "motion", tmp_path / "run", "--resume", steps=3)
    assert "epochs is 7, but" in (line := refused(command, "motion", tmp_path / "run", "--resume", epochs=7))
    assert "began with no number of epochs;" in line
    refused(command, "motion", tmp_path / "run", "--resume", **{"x" * 99_999: 1})
    assert "began with no initial model;" in refused(
        command, "motion", tmp_path / "run", "--resume", "--model", tmp_path
    )
    folder = write_clips(tmp_path / "clips", clips=2)
    assert command(folder, tmp_path / "other", epochs=1, warm_up=0)[0] == 0
    line = refused(command, folder, tmp_path / "other", "--resume", "--steps", 9, warm_up=0)
    assert "steps is 9, but" in line
    assert "began with no number of steps;" in line


def test_settings_that_were_left_to_us_can_be_left_to_us_again(tmp_path, command):
    for options in ([], ["--resume"]):
        assert command("motion", tmp_path / "run", *options, steps=4, warm_up=None)[0] == 0


# ------------------------------------------------------------------------------------------------ one at a time

HOLD = """
import sys, time
from pathlib import Path
from minivivit.training.lock import locked
with locked(Path(sys.argv[1])) as notes:
    print("held", notes, flush=True)
    sys.stdin.read()
"""


def test_a_second_training_is_refused_until_the_first_is_gone(tmp_path, command):
    output = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, output], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "held []\n"
        line = refused(command, "motion", output, steps=2)
        assert f"another training is at work in {output}" in line
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert (output / LOCK_FILE).exists()  # a lock file that nobody holds locks nothing
    assert command("motion", output, steps=2)[0] == 0
    assert not (output / LOCK_FILE).exists()


def test_within_one_process_too(tmp_path):
    output = tmp_path / "a" / "run"
    with locked(output) as notes:
        assert notes == []
        with pytest.raises(InputError, match="another training"), locked(output):
            pass
        with locked(tmp_path / "b"):
            pass
    with locked(output):
        pass
    assert list(tmp_path.iterdir()) == []  # what was made for it, and holds nothing, goes again


def test_a_lock_file_that_is_removed_meanwhile_is_no_lock(tmp_path, monkeypatch):
    """Who waited for it would hold the lock of a file that nobody else can see."""
    really_lock, calls = lock._lock, []

    def remove_first(descriptor):
        if not calls:
            (tmp_path / LOCK_FILE).unlink()
        calls.append(descriptor)
        really_lock(descriptor)

    monkeypatch.setattr(lock, "_lock", remove_first)
    with locked(tmp_path):
        assert len(calls) == 2
        with pytest.raises(InputError), locked(tmp_path):
            pass


@pytest.mark.parametrize("error", [OSError(95, "Operation not supported"), ImportError("No module named 'fcntl'")])
def test_where_nothing_can_be_locked_it_is_said(tmp_path, command, monkeypatch, error):
    def fail(descriptor):
        raise error

    monkeypatch.setattr(lock, "_lock", fail)
    code, _, err = command("motion", tmp_path / "run", steps=2)
    assert code == 0
    assert "cannot be locked" in err
    assert "no other training writes there" in err


def test_a_lock_file_of_the_user_stays(tmp_path):
    (tmp_path / LOCK_FILE).write_text("mine")
    with locked(tmp_path):
        pass
    assert (tmp_path / LOCK_FILE).read_text() == "mine"
