"""A disk that is full in the midst of a command: one line that names a file, nothing left behind, the next try works.

The disk is played by a limit on the size of files: the system refuses to write further, as it does when there is no
room (with EFBIG for ENOSPC), in whatever library the bytes are.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy
import pytest
from in_part import one_in

from minivivit import VivitConfig, VivitForVideoClassification
from minivivit.cli import main
from minivivit.verification.conformance import pack

resource = pytest.importorskip("resource", reason="Windows has no limit on the size of files")

SIZES = {"image_size": 16, "num_frames": 4, "tubelet_size": [2, 8, 8], "hidden_size": 16, "num_attention_heads": 2}


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file can be written beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """The current directory, with a model, a clip and two traces in it."""
    monkeypatch.chdir(tmp_path)
    VivitForVideoClassification(VivitConfig(**SIZES, num_hidden_layers=1, num_labels=3)).save_pretrained("model")
    numpy.save("clip.npy", numpy.random.default_rng(0).integers(0, 256, (8, 20, 20, 3), dtype=numpy.uint8))
    assert main(["trace", "clip.npy", "ours", "--model", "model"]) == 0
    shutil.copytree("ours", "theirs")
    monkeypatch.setattr(pack, "CASES", {"model4_gap": pack.CASES["model4_gap"]})
    monkeypatch.setattr(pack, "DRAWS", 1)
    return tmp_path


def contents(place: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(place.rglob("*"))}


COMMANDS = {
    "assignments": (["assignments", "target"], [0, 5000]),
    "assignments deeper": (["assignments", "target/of/parents"], [0]),
    "convert": (["convert", "model", "target"], [0, 1000, 20_000]),
    "trace": (["trace", "clip.npy", "target", "--model", "model"], [0, 100, 18_000]),
    "trace again": (["trace", "clip.npy", "ours", "--model", "model", "--dtype", "float32"], [0, 18_000]),
    "conformance": (["conformance", "target"], [0, 1000, 20_000]),
    "compare": (["compare", "ours", "theirs", "--html", "target"], [0, 5000]),
    "compare, JSON": (["compare", "ours", "theirs", "--html", "target", "--json"], [1000]),
    "picture": (["classify", "clip.npy", "--model", "model", "--save-picture", "target.png"], [0, 4096]),
}
CASES = [(name, size, there) for name in COMMANDS for size in COMMANDS[name][1] for there in (False, True)]


@pytest.mark.parametrize(("name", "size", "there"), one_in(3, CASES))
def test_a_full_disk(place, capsys, name, size, there):
    arguments, _ = COMMANDS[name]
    if there:  # what is there already: the directory, empty, or an older file
        if name in ("compare", "compare, JSON", "picture"):
            (place / ("target.png" if name == "picture" else "target")).write_text("older", encoding="utf-8")
        elif name != "trace again":
            (place / arguments[-1 if "trace" not in name else 2]).mkdir(parents=True)
    before = contents(place)
    capsys.readouterr()
    with largest_file(size):
        code = main(arguments)
    lines = capsys.readouterr().err.splitlines(keepends=True)
    err = "".join(line for line in lines if not line.startswith("minivivit: note: "))
    assert code == 2
    assert err.startswith("minivivit: error: ")
    assert err.count("\n") == 1
    assert "target" in err or (name == "trace again" and "ours" in err)
    assert ".part" not in err
    assert contents(place) == before
    assert main(arguments) in (0, 1)
    assert contents(place) != before


@pytest.mark.parametrize("size", [0, 1000, 5000])
def test_scenic_to_hugging_face(place, capsys, size):
    pytest.importorskip("msgpack")
    assert main(["convert", "model", "scenic"]) == 0
    before = contents(place)
    with largest_file(size):
        assert main(["convert", "scenic", "target"]) == 2
    assert "target" in capsys.readouterr().err
    assert contents(place) == before
    assert main(["convert", "scenic", "target"]) == 0


@pytest.mark.parametrize("size", [0, 200, 3000])
def test_a_model_saved_over_another_leaves_that_one(place, size):
    """Neither new weights beside the old config, nor the other way."""
    before = contents(place / "model")
    larger = VivitForVideoClassification(VivitConfig(**SIZES, num_hidden_layers=2, num_labels=4))
    with largest_file(size), pytest.raises(OSError, match="model"):
        larger.save_pretrained("model")
    assert contents(place / "model") == before
    larger.save_pretrained("model")
    assert VivitForVideoClassification.from_pretrained("model").config.num_labels == 4
