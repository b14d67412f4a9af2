"""Many clips in one process leave nothing behind: a small version of  python tests/benchmarks/load.py."""

import gc
import json
import os
import sys
import tracemalloc
from pathlib import Path

import numpy
import pytest

from minivivit.bundled import bundled_model_directory
from minivivit.cli import main
from minivivit.config import VivitConfig
from minivivit.video.default_processor import load_processor

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
MOST_GROWTH = 1.0e6 / 1000  # bytes a clip


def allocated() -> int:
    """Bytes that Python and NumPy hold. To the byte, unlike what the process has in RAM."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.fixture
def traced():
    """What is allocated is counted."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.thorough
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs Linux's list of open files")
def test_an_evaluation_leaves_neither_memory_nor_files(tmp_path, capsys, traced):
    from load import write_clips

    write_clips(tmp_path, 120)
    arguments = ["evaluate", "--data", str(tmp_path), "--json", "--stride", "1"]
    found = []
    for _ in range(3):  # the first one fills what is kept for good
        assert main(arguments) == 0
        found.append((allocated(), len(os.listdir("/proc/self/fd"))))
    assert json.loads(capsys.readouterr().out.split("\n}\n")[0] + "\n}")["accuracy"] > 0.9
    assert found[2][0] - found[1][0] <= 120 * MOST_GROWTH
    assert found[2][1] == found[0][1]


@pytest.mark.thorough
def test_the_processor_leaves_no_memory(traced):
    directory = bundled_model_directory()
    processor, _ = load_processor(directory, VivitConfig.from_pretrained(directory))
    clip = numpy.random.default_rng(0).integers(0, 256, (8, 48, 64, 3), dtype=numpy.uint8)
    found = []
    for count in (20, 400):
        for _ in range(count):
            processor([*clip], return_tensors="np")
        found.append(allocated())
    assert found[1] - found[0] <= 400 * MOST_GROWTH / 10
