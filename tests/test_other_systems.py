"""The commands where Windows is played (see other_systems.py), and what a machine can check by reading."""

import ast
import os
import shutil
import sys
from pathlib import Path

import numpy
import pytest
from other_systems import Lost, check_name, play_windows

import minivivit
from minivivit import VivitConfig, VivitForVideoClassification, VivitImageProcessor
from minivivit.backend import num_threads
from minivivit.cli import main
from minivivit.files.weights import read_weights
from minivivit.training.experiments.own_process import peak_memory
from minivivit.verification.conformance import pack

PACKAGE = Path(minivivit.__file__).parent
SOURCES = sorted({*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "notebooks").glob("*.py")})
TINY = Path(__file__).parent / "data" / "transformers" / "tiny"
SIZES = {"image_size": 16, "num_frames": 4, "tubelet_size": [2, 8, 8], "hidden_size": 16, "num_attention_heads": 2}

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="Windows is played on Linux alone")


@pytest.fixture
def windows(tmp_path, monkeypatch) -> Path:
    """A directory on such a system, the current one, with a model and a clip."""
    monkeypatch.chdir(tmp_path)
    VivitForVideoClassification(VivitConfig(**SIZES, num_hidden_layers=1, num_labels=8)).save_pretrained("model")
    numpy.save("clip.npy", numpy.random.default_rng(0).integers(0, 256, (8, 20, 20, 3), dtype=numpy.uint8))
    play_windows(monkeypatch)
    return tmp_path


def test_what_is_played_is_played(windows):
    """Each refusal, or the tests below would prove nothing."""
    (windows / "a").write_text("a", encoding="utf-8")
    (windows / "b").write_text("b", encoding="utf-8")
    with pytest.raises(OSError, match="privilege"):
        (windows / "link").symlink_to("a")
    with pytest.raises(FileExistsError):
        (windows / "a").rename(windows / "b")
    with open(windows / "b", "rb"):
        with pytest.raises(PermissionError):
            (windows / "a").replace(windows / "b")
        with pytest.raises(PermissionError):
            (windows / "b").rename(windows / "c")
        with pytest.raises(PermissionError):
            (windows / "b").unlink()
    mapped = numpy.load("clip.npy", mmap_mode="r")
    with pytest.raises(PermissionError):
        (windows / "a").replace(windows / "clip.npy")
    del mapped
    for name in ("nul", "AUX.txt", "a:b", "x.", "y ", "q?"):
        with pytest.raises(OSError, match="syntax"):
            (windows / name).write_text("", encoding="utf-8")
    with pytest.raises(Lost):
        (windows / "A").mkdir()
    with pytest.raises(PermissionError):
        os.open(windows, os.O_RDONLY)
    assert not hasattr(os, "fork")
    with pytest.raises(ImportError):
        import resource  # noqa: F401


@pytest.mark.parametrize(
    "arguments",
    [
        ["classify", "clip.npy", "--model", "model", "--save-picture", "picture.png"],
        ["classify", "--views", "2x3"],
        ["info"],
        ["gradcheck", "--model", "model", "--input", "clip.npy", "--entries", "1"],
        ["evaluate", "--clips", "10"],
        ["assignments", "course"],
        ["assignments", "deep/course"],
        ["convert", "model", "scenic"],
    ],
)
def test_commands(windows, capsys, arguments):
    assert main(arguments) == 0
    assert main(["info", "--model", "model"]) == 0
    assert ".part" not in " ".join(path.name for path in windows.rglob("*"))


def test_convert_there_and_back_and_again(windows):
    pytest.importorskip("msgpack")
    for _ in range(2):
        shutil.rmtree("scenic", ignore_errors=True)
        shutil.rmtree("back", ignore_errors=True)
        assert main(["convert", "model", "scenic"]) == 0
        assert main(["convert", "scenic", "back"]) == 0
    ours, theirs = read_weights("model"), read_weights("back")
    assert all(numpy.array_equal(ours[name], theirs[name]) for name in ours)


def test_trace_and_compare(windows):
    trace = ["trace", "clip.npy", "ours", "--model", "model", "--gradients", "--label", "1"]
    assert main(trace) == 0
    assert main([*trace[:2], "theirs", *trace[3:], "--dtype", "float32"]) == 0
    assert main(trace) == 0  # in the place of the first
    os.mkdir("empty")
    assert main([*trace[:2], "empty", *trace[3:]]) == 0
    for _ in range(2):
        assert main(["compare", "ours", "theirs", "--html", "page.html"]) == 0
    # From the file of a trace into the place of that trace: nothing may hold what it read.
    assert main(["trace", "ours/pixel_values.safetensors", "ours", "--model", "model"]) == 0
    assert not [path for path in windows.iterdir() if path.name.startswith(".")]


def test_a_page_that_somebody_looks_at_is_not_replaced(windows, capsys):
    for name in ("ours", "theirs"):
        assert main(["trace", "clip.npy", name, "--model", "model"]) == 0
    (windows / "page.html").write_text("older", encoding="utf-8")
    with open(windows / "page.html", "rb"):
        assert main(["compare", "ours", "theirs", "--html", "page.html"]) == 2
    assert "page.html cannot be written (" in capsys.readouterr().err
    assert (windows / "page.html").read_text(encoding="utf-8") == "older"
    assert not [path for path in windows.iterdir() if path.name.startswith(".")]


def test_conformance(windows, monkeypatch):
    monkeypatch.setattr(pack, "CASES", {"model4_gap": pack.CASES["model4_gap"]})
    monkeypatch.setattr(pack, "DRAWS", 1)
    assert main(["conformance", "pack"]) == 0
    sums = (windows / "pack" / "SHA256SUMS").read_bytes()
    assert b"\r" not in sums
    assert b"\\" not in sums


@pytest.mark.parametrize("kept", ["model.safetensors", "pytorch_model.bin"])
def test_a_model_is_saved_where_it_was_read(windows, kept):
    """Nothing may hold the files of weights that were read: no handle, no memory map."""
    shutil.copytree(TINY, "tiny", ignore=shutil.ignore_patterns("base_model", "golden*"))
    for name in {"model.safetensors", "pytorch_model.bin"} - {kept}:
        (windows / "tiny" / name).unlink()
    model = VivitForVideoClassification.from_pretrained("tiny")
    for _ in range(2):
        model.save_pretrained("tiny")
    VivitImageProcessor().save_pretrained("tiny")
    again = VivitForVideoClassification.from_pretrained("tiny")
    assert all(numpy.array_equal(array, again.state_dict()[name]) for name, array in model.state_dict().items())
    shutil.rmtree("tiny")


def test_train_and_go_on(windows):
    (windows / "settings.json").write_text('{"validation_clips": 8}', encoding="utf-8")
    train = ["train", "motion", "--output", "run", "--config", "settings.json", "--batch-size", "2", "--warm-up", "1"]
    assert main([*train, "--steps", "2"]) == 0
    assert main([*train, "--steps", "2", "--resume"]) == 0
    assert main(["classify", "--model", "run/last"]) == 0
    assert main(["classify", "--model", "run/best"]) == 0


def test_there_is_no_measure_of_memory_and_no_affinity(windows, monkeypatch):
    usual = open

    def no_proc(file, *arguments, **options):
        if str(file).startswith("/proc"):
            raise FileNotFoundError
        return usual(file, *arguments, **options)

    monkeypatch.setattr("builtins.open", no_proc)
    assert peak_memory() is None
    assert num_threads() >= 1


def test_names_that_windows_refuses():
    for name in ("NUL", "com1.txt", "a|b", "c.", "d ", "e\x07", 'f"', "g\\h"):
        with pytest.raises(OSError, match="incorrect"):
            check_name(name)


# --------------------------------------------------------------------------------------------------------------------
# Reading the source
# --------------------------------------------------------------------------------------------------------------------

# Functions that open text, and the place of their argument `encoding`; None where it has none.
TEXT = {"read_text": 0, "write_text": 1, "fdopen": 3, "TextIOWrapper": 1, "NamedTemporaryFile": 2, "TemporaryFile": 2}
ONLY_SOMEWHERE = {
    *("fork", "mkfifo", "chown", "getuid", "geteuid", "sched_getaffinity", "O_DIRECTORY", "SIGKILL", "SIGALRM"),
    *("setitimer", "pause", "killpg", "setsid", "link", "symlink", "symlink_to", "hardlink_to", "SIGHUP", "SIGUSR1"),
}
ONLY_SOMEWHERE_MODULES = {"resource", "fcntl", "pwd", "grp", "termios", "pty", "msvcrt", "winreg"}


def text_without_encoding(tree: ast.Module) -> list[int]:
    """Lines where text is opened and no encoding is named: Windows would take cp1252."""
    lines = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or any(keyword.arg == "encoding" for keyword in node.keywords):
            continue
        method = isinstance(node.func, ast.Attribute)
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        owner = ast.unparse(node.func.value).rpartition(".")[2] if isinstance(node.func, ast.Attribute) else ""
        if name == "open" and owner not in ("os", "av", "Image", "zipfile", "archive", "_archive", "file"):
            place = 0 if method and owner not in ("io", "gzip") else 1
            given = node.args[place : place + 1] + [word.value for word in node.keywords if word.arg == "mode"]
            mode = given[0].value if given and isinstance(given[0], ast.Constant) else "r"
            if "b" not in str(mode):
                lines.append(node.lineno)
        elif name in TEXT and method and len(node.args) <= TEXT[name]:
            lines.append(node.lineno)
    return lines


def test_every_text_file_is_opened_with_its_encoding():
    found = {
        f"{path.relative_to(PACKAGE.parent)}:{line}"
        for path in SOURCES
        for line in text_without_encoding(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found == set()


@pytest.mark.parametrize(
    "code", ["open('x'", "p.read_text(", "p.write_text(t", "p.open(", "open('x', 'w'", "io.open(x, mode='a'"]
)
def test_the_reader_of_the_source_sees(code):
    assert text_without_encoding(ast.parse(f"{code})")) == [1]
    separator = "" if code.endswith("(") else ", "
    assert text_without_encoding(ast.parse(f"{code}{separator}encoding='utf-8')")) == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PACKAGE.parent).as_posix())
def test_what_one_system_has_alone_is_used_under_a_condition(path):
    """``hasattr(os, "chown")`` before ``os.chown``; ``import resource`` within ``try``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    asked = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    guards = [node for node in ast.walk(tree) if isinstance(node, ast.Try) or _asks_for_the_system(node)]
    tried = {id(inner) for node in guards for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in ONLY_SOMEWHERE:
            assert node.attr in asked, f"line {node.lineno}: {node.attr}"
        if isinstance(node, ast.Import):
            names = {alias.name for alias in node.names} & ONLY_SOMEWHERE_MODULES
            assert not names or id(node) in tried, f"line {node.lineno}: {names}"


def _asks_for_the_system(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and any(word in ast.unparse(node.test) for word in ("sys.platform", "os.name"))


def test_no_name_in_the_repository_differs_by_case_alone_or_is_reserved():
    for folder in (PACKAGE, PACKAGE.parent / "notebooks", PACKAGE.parent / "tests"):
        for path in folder.rglob("*"):
            check_name(path.relative_to(folder) if sys.platform == "win32" else path)
