"""Trainings and evaluations by several processes under mpiexec. Run with  pytest -m mpi."""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy
import pytest
import several
from tiny_training import write_clips

from minivivit.files.safetensors_file import read_safetensors
from minivivit.training.checkpoints import read_state
from minivivit.training.log import read_log
from minivivit.training.parallel.ranks import ALONE

MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
MISSING = "" if find_spec("mpi4py") and MPIEXEC else "needs mpi4py and mpiexec: pip install '.[mpi]' mpich"
pytestmark = [pytest.mark.mpi, pytest.mark.skipif(bool(MISSING), reason=MISSING)]

HERE = Path(several.__file__)
ROOT = HERE.parents[3]
TIMEOUT = 600  # seconds after which a hang is a failure
SETTINGS = {**several.SETTINGS, "steps": 5, "checkpoint_every": 2, "validate_every": 100, "validation_clips": 2}


def mpiexec(count, *arguments):
    """Run tests/training/parallel/several.py in so many processes."""
    paths = [ROOT, ROOT / "tests", HERE.parent, HERE.parent.parent]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "MINIVIVIT_NUM_THREADS": "2",
        "OPENBLAS_NUM_THREADS": "1",
    }
    return subprocess.run(
        [MPIEXEC, "-n", str(count), sys.executable, str(HERE), *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


def same(found, expected):
    """To rounding: 1e-12 of the largest number of each array."""
    assert found.keys() == expected.keys()
    for name, arrays in expected.items():
        for key, array in arrays.items():
            atol = 1e-12 * numpy.abs(array).max() + 1e-15
            numpy.testing.assert_allclose(found[name][key], array, rtol=0, atol=atol, err_msg=f"{name}: {key}")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process comes to."""
    folder = tmp_path_factory.mktemp("alone")
    write_clips(folder / "clips")
    return {"gradients": several.gradients(ALONE), "trainings": several.trainings(ALONE, folder)}


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["gradients", "trainings"])
def test_several_processes_come_to_what_one_does(kind, count, alone, tmp_path):
    for turn in ("once", "again"):
        write_clips(tmp_path / turn / "clips")
    ran = mpiexec(count, kind, tmp_path)
    assert ran.returncode == 0, ran.stderr
    same(pickle.loads((tmp_path / f"{kind} {count}").read_bytes()), alone[kind])


# ------------------------------------------------------------------------------------------------ the command


@pytest.fixture
def arguments(tmp_path):
    """Of a training of five steps."""
    (tmp_path / "settings.json").write_text(json.dumps(SETTINGS))
    return ["train", "motion", "--config", tmp_path / "settings.json", "--output", tmp_path / "run", "--resume"]


def lines(ran):
    return [line for line in ran.stderr.splitlines() if line.strip()]


def ends_alike(one, other):
    """The checkpoint and the log."""
    weights = [read_safetensors(path / "last" / "model.safetensors") for path in (one, other)]
    same({"weights": weights[0]}, {"weights": weights[1]})
    logs = [[entry["loss"] for entry in read_log(path / "log.jsonl") if "loss" in entry] for path in (one, other)]
    assert logs[0] == pytest.approx(logs[1], rel=1e-12)
    assert read_state(one / "last")["step"] == 5


@pytest.mark.parametrize("rank", [0, 2])
def test_after_a_kill_it_goes_on_with_any_number_of_processes(rank, arguments, tmp_path):
    """All end with the one that was killed; what is lost are the steps since the last checkpoint."""
    ran = mpiexec(3, "command", rank, "killed", *arguments)
    assert ran.returncode != 0
    assert read_state(tmp_path / "run" / "last")["step"] == 2
    assert not [path for path in (tmp_path / "run").iterdir() if ".part" in path.name]
    for count, output in ((2, tmp_path / "run"), (1, tmp_path / "whole")):
        ran = mpiexec(count, "command", -1, "nothing", *arguments[:-2], output, "--resume")
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.count("finished") == 1
    ends_alike(tmp_path / "run", tmp_path / "whole")


@pytest.mark.parametrize(
    ("deed", "code", "message"),
    [
        ("no memory", 2, r"minivivit: error: process 1 of 3: not enough memory: for 17 GB"),
        ("unreadable", 2, r"minivivit: error: .*clips/left/clip0.npy cannot be read \(Input/output error\); .*"),
        (
            "nan",
            2,
            r"minivivit: error: the (loss|gradient's norm) is .* at step 3; it first appeared in .*: train anew, .*",
        ),
        (
            "other weights",
            2,
            r"minivivit: error: after step 4 the weights in process 1 of 3 are not those in process 0.*",
        ),
    ],
)
def test_what_one_process_meets_ends_all_with_one_line(deed, code, message, arguments, tmp_path):
    ran = mpiexec(3, "command", 1, deed, *arguments)
    assert ran.returncode == code
    assert len(lines(ran)) == 1, ran.stderr
    assert re.fullmatch(message, lines(ran)[0])
    assert "Traceback" not in ran.stderr
    assert read_state(tmp_path / "run" / "last")["step"] == 2


def test_a_defect_shows_its_traceback_once(arguments):
    ran = mpiexec(3, "command", 1, "a defect", *arguments)
    assert ran.returncode == 1
    assert ran.stderr.count("RuntimeError: this should not be") == 1


def test_an_interruption_of_one_saves_and_stops_all(arguments, tmp_path):
    ran = mpiexec(3, "command", 2, "interrupted", *arguments)
    assert ran.returncode == 130
    assert ran.stdout.count("interrupted after step 3; saved") == 1
    assert read_state(tmp_path / "run" / "last")["step"] == 3
    ran = mpiexec(2, "command", -1, "nothing", *arguments)
    assert ran.returncode == 0, ran.stderr


def test_what_cannot_begin_is_said_once(arguments, tmp_path):
    ran = mpiexec(3, "command", -1, "nothing", "train", tmp_path / "nowhere", "--output", tmp_path / "other")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert len(lines(ran)) == 1
    assert "nowhere is not a folder" in ran.stderr
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_where_some_find_a_gpu_and_others_none_nothing_begins(name, arguments, tmp_path):
    given = arguments if name == "train" else ["evaluate", "--clips", "130"]
    ran = mpiexec(3, "command", 1, "a GPU", *given)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert len(lines(ran)) == 1, ran.stderr
    assert re.search(r"process 1 \(on far\) finds a GPU, and process 0 \(on .*\) finds none", ran.stderr)
    assert not (tmp_path / "run" / "last").exists()


def test_an_evaluation_is_shared(tmp_path):
    write_clips(tmp_path / "clips", classes=("moving left", "growing"), clips=5)
    for more in (
        ["--clips", "130"],
        ["--data", tmp_path / "clips"],
        ["--data", tmp_path / "clips", "--shuffle-frames"],
    ):
        results = []
        for count in (1, 2, 3):
            ran = mpiexec(count, "command", -1, "nothing", "evaluate", "--json", *more)
            assert ran.returncode == 0, ran.stderr
            results.append(json.loads(ran.stdout))
        for result in results[1:]:
            assert result.pop("loss") == pytest.approx(results[0]["loss"], rel=1e-12)
            assert result == {name: value for name, value in results[0].items() if name != "loss"}
