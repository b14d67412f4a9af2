"""The fuzzer's own test, and some thousand of its inputs; tests/fuzz/run.py runs any number."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("av", reason="PyAV is not installed (pip install '.[video]')")
pytest.importorskip("msgpack", reason="msgpack is not installed (pip install '.[scenic]')")
pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the fuzzer forks, and reads Linux's /proc: it runs on Linux alone"
)

HERE = Path(__file__).parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(HERE)])}

# What a reader could do wrong, and the word by which the fuzzer knows it.
PLANTED = """
import os, sys, time, warnings
from pathlib import Path
import numpy
import run
from fuzz_readers import READERS, Reader
from minivivit.errors import InputError

def refuse(message):
    error = InputError()
    error.args = (message,)  # as it is: what an `InputError` is made with, it escapes
    raise error

kept_open = []
DEFECTS = {
    "error": (lambda place, rng: {}["x"], "KeyError"),
    "warning": (lambda place, rng: warnings.warn("odd"), "UserWarning"),
    "lines": (lambda place, rng: refuse("one\\ntwo"), "no line"),
    "megabytes": (lambda place, rng: refuse("x" * 100_000), "100,000 letters"),
    "output": (lambda place, rng: os.write(2, b"hello"), "hello"),
    "elsewhere": (lambda place, rng: Path("new").write_text("x"), "wrote elsewhere"),
    "beside": (lambda place, rng: (place / "new").write_text("x"), "changed its files"),
    "handle": (lambda place, rng: kept_open.append(open(place / "a.json")), "left a file open"),
    "loop": (lambda place, rng: [None for _ in iter(int, 1)], "seconds of processor time"),
    "memory": (lambda place, rng: numpy.ones(1 << 30), "MiB"),
    "crash": (lambda place, rng: os.abort(), "SIGABRT"),
    "good": (lambda place, rng: refuse("no"), None),
}

def make(place):
    (place / "a").mkdir()
    (place / "a" / "a.json").write_text('{"a": 1}')

run.CPU_SECONDS = 1
run.make_samples = lambda reader: [{"a.json": b'{"a": 1}'}]
for name, (read, word) in DEFECTS.items():
    READERS[name] = Reader(name, make, read, (".json",), share=1)
    counts, defects = run.fuzz([name], 2, 0, 2, Path(sys.argv[1]))
    found = counts[name, "defect"]
    assert found == (2 if word else 0), (name, counts, defects)
    assert all(word in defect and "--replay" in defect for defect in defects), (name, defects)
    assert len(defects) == found
    print(name)
"""


def run_python(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=1200, check=False)


@pytest.mark.thorough
def test_what_a_reader_could_do_wrong_is_noticed(tmp_path):
    result = run_python("-c", PLANTED, tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert len(result.stdout.split()) == 12
    assert (tmp_path / "error-0-0" / "a.json").is_file()  # the input is kept, and what was wrong with it
    assert "KeyError" in (tmp_path / "error-0-0.txt").read_text()


@pytest.mark.thorough
def test_the_same_seed_makes_the_same_inputs():
    code = (
        "import hashlib, run; from fuzz_readers import READERS, make_samples\n"
        "for name in ('config', 'torch', 'npz', 'mapping', 'log'):\n"
        "    samples = make_samples(READERS[name])\n"
        "    for index in range(20):\n"
        "        files, rng = run.make_input(READERS[name], samples, 5, index)\n"
        "        print(hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest(), rng.random())\n"
    )
    first, second = run_python("-c", code), run_python("-c", code)
    assert first.stdout == second.stdout
    assert len(set(first.stdout.splitlines())) == 100, first.stderr


@pytest.mark.thorough
def test_mutated_files_are_loaded_or_refused_in_one_line(tmp_path):
    result = run_python(HERE / "run.py", "--inputs", 2000, "--seed", 2021, "--jobs", 2, "--keep", tmp_path)
    assert result.returncode == 0, result.stdout[-8000:] + result.stderr[-2000:]
    assert " 0 defects" in result.stdout
