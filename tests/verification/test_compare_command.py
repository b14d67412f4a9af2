"""``minivivit compare`` as people and scripts meet it."""

import json
import struct

import numpy
import pytest
from model_cases import clip_for, tiny_config, tiny_model

from minivivit.cli import main
from minivivit.commands import compare as command
from minivivit.files.safetensors_file import write_safetensors
from minivivit.verification.tensors.source import TRACE_INDEX, open_source
from minivivit.verification.tracing.recording import trace_model


def model_of(dtype="float64", **changes):
    return tiny_model(tiny_config("1", **changes), numpy.random.default_rng(0), dtype)


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    """A directory with our trace, a float32 one that agrees, and one with another GELU."""
    place = tmp_path_factory.mktemp("traces")
    pixels = clip_for(model_of().config, numpy.random.default_rng(1))
    trace_model(model_of(), pixels, place / "ours", budgets=["float32", "float16"])
    trace_model(model_of("float32"), pixels, place / "good")
    trace_model(model_of("float32", hidden_act="gelu"), pixels, place / "bad")
    theirs = open_source(place / "bad")
    numpy.savez(place / "bad.npz", **{name: theirs.read(name).astype("f4") for name in theirs.shapes})
    return place


def run(capsys, *arguments):
    """Exit code, standard output and standard error."""
    capsys.readouterr()
    try:
        code = main(["compare", *map(str, arguments)])
    except SystemExit as leaving:
        code = leaving.code
    return code, *capsys.readouterr()


def fail(capsys, *arguments):
    """The error of a comparison that cannot be made: exit code 2, one line, nothing on standard output."""
    code, out, err = run(capsys, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("minivivit: error: ")
    return err


def test_a_port_that_agrees(traces, capsys):
    code, out, err = run(capsys, traces / "ours", traces / "good")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("All ")
    assert lines[0].endswith(" pairs agree within what rounding to float32 explains.")
    assert len(lines) == 7  # the verdict, the worst three, and how many more
    assert lines[-1].endswith(" more (--all)")
    _, out, _ = run(capsys, traces / "ours", traces / "good", "--all")
    assert "more (--all)" not in out
    assert sum(line.split()[0].isdecimal() for line in out.splitlines() if line.strip()) == len(
        open_source(traces / "ours").shapes
    )


@pytest.mark.parametrize("theirs", ["bad", "bad.npz"])
def test_a_port_that_does_not(traces, capsys, theirs):
    code, out, err = run(capsys, traces / "ours", traces / theirs)
    assert (code, err) == (1, "")
    assert out.startswith(
        "The first tensor that differs by more than rounding to float32 is 'vivit.encoder.layer.0.intermediate' ("
    )
    table = out.split("\n\n")[1].splitlines()
    place = next(i for i, line in enumerate(table) if "diverged" in line)
    assert " vivit.encoder.layer.0.intermediate " in table[place]
    assert place == 3  # under the header and its two neighbours
    assert "rounding" in table[place - 1]


def test_json_is_one_object(traces, capsys):
    code, out, _ = run(capsys, traces / "ours", traces / "bad", "--json")
    assert code == 1
    result = json.loads(out)
    assert result["first_divergent"] == "vivit.encoder.layer.0.intermediate"
    assert result["precision"] == "float32"
    assert len(result["rows"]) == len(open_source(traces / "ours").shapes)
    assert {"name", "their_name", "layout", "error", "budget", "excess", "status"} <= set(result["rows"][0])
    code, out, _ = run(capsys, traces / "ours", traces / "good", "--json")
    assert (code, json.loads(out)["agrees"]) == (0, True)


def test_the_page_is_written(traces, capsys, tmp_path):
    code, out, _ = run(capsys, traces / "ours", traces / "bad", "--html", tmp_path / "page.html")
    assert code == 1
    assert out.startswith("The first tensor")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert page.count("<svg") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_a_page_that_cannot_be_written(traces, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "compare", None)  # it is refused before anything is compared
    error = fail(capsys, traces / "ours", traces / "bad", "--html", tmp_path / "nowhere" / "page.html")
    assert "page.html: there is no directory" in error
    assert "is a directory; expected" in fail(capsys, traces / "ours", traces / "bad", "--html", tmp_path)
    monkeypatch.undo()

    def full(path, text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(command, "write_text", full)
    code, out, error = run(capsys, traces / "ours", traces / "bad", "--html", tmp_path / "page.html")
    assert (code, out[:16]) == (2, "The first tensor")  # what was found is said all the same
    assert "No space left" in error


def test_precision_and_tolerances(traces, capsys):
    assert run(capsys, traces / "ours", traces / "good", "--precision", "float16")[0] == 0
    assert run(capsys, traces / "ours", traces / "bad", "--rtol", "1", "--atol", "1")[0] == 0
    assert run(capsys, traces / "ours", traces / "bad", "--rtol", "1e-9")[0] == 1
    err = fail(capsys, traces / "ours", traces / "good", "--precision", "bfloat16")
    assert "has no rounding budget for bfloat16 (it has float32, float16)" in err
    assert "minivivit trace ... --budget bfloat16, or give --rtol and --atol" in err
    assert "invalid choice: 'int8'" in fail(capsys, traces / "ours", traces / "good", "--precision", "int8")
    assert "rtol is nan" in fail(capsys, traces / "ours", traces / "good", "--rtol", "nan")


def foreign(traces, path):
    """Theirs under other names and in other layouts."""
    source = open_source(traces / "good")
    tensors = {}
    for name in source.shapes:
        array = source.read(name).astype("f4")
        if name == "pixel_values":
            tensors["clip"] = array.transpose(0, 1, 3, 4, 2)
        elif name.endswith(("query", "key", "value")):
            tensors.setdefault(name.rpartition(".")[0].split(".")[3] + ".qkv", []).append(array)
        elif name.endswith("intermediate"):
            tensors[f"mlp.{name.split('.')[3]}"] = array
    tensors = {name: numpy.concatenate(a, -1) if isinstance(a, list) else a for name, a in tensors.items()}
    write_safetensors(path, {name: numpy.ascontiguousarray(array) for name, array in tensors.items()})


def test_a_mapping_pairs_foreign_names(traces, capsys, tmp_path):
    foreign(traces, tmp_path / "theirs.safetensors")
    arguments = (traces / "ours", tmp_path / "theirs.safetensors", "--map", tmp_path / "map.json", "--all")
    attention = "vivit.encoder.layer.{N}.attention.attention"
    mapping = {
        "pixel_values": {"name": "clip", "layout": "channels last"},
        "vivit.encoder.layer.{N}.intermediate": "mlp.{N}",
        **{
            f"{attention}.{name}": {"name": "{N}.qkv", "layout": f"qkv[{part}]"}
            for part, name in enumerate(("query", "key", "value"))
        },
    }
    (tmp_path / "map.json").write_text(json.dumps(mapping))
    code, out, _ = run(capsys, *arguments)
    assert code == 0, out
    assert out.startswith("All 9 pairs agree")
    assert "1.qkv qkv[2]" in out
    assert "only in ours: " in out
    # without layouts they are found when asked, and do not fit when not
    plain = {name: entry["name"] if isinstance(entry, dict) else entry for name, entry in mapping.items()}
    (tmp_path / "map.json").write_text(json.dumps(plain))
    code, out, _ = run(capsys, *arguments, "--find-layouts")
    assert code == 0
    assert "clip channels last" in out
    code, out, _ = run(capsys, *arguments)
    assert code == 1
    assert out.startswith("The first tensor that differs is 'pixel_values' (1 of 9): ours is (2, 5, 2, 9, 8), theirs ")
    (tmp_path / "map.json").write_text('{"classifier": "absent", "pixel_values": "clip"}')
    code, _, err = run(capsys, *arguments, "--find-layouts")
    assert code == 0
    assert "theirs lacks a tensor that the mapping names, not compared: 'absent'" in err
    (tmp_path / "map.json").write_text('{"classifier": {"name": "absent", "optional": false}, "pixel_values": "clip"}')
    code, out, _ = run(capsys, *arguments, "--find-layouts")
    assert code == 1
    assert "Theirs lacks 'absent', which the mapping says it must have" in out
    # what it does not name is paired by order, when asked
    (tmp_path / "map.json").write_text('{"pixel_values": {"name": "clip", "layout": "channels last"}}')
    code, out, _ = run(capsys, *arguments, "--pair", "order")
    assert code == 0
    assert "of the pairs are guesses, by shape and order" in out
    assert " (guess)" in out


def test_order_pairs_foreign_names(traces, capsys, tmp_path):
    source = open_source(traces / "good")
    arrays = {f"node_{i}": source.read(name).astype("f4") for i, name in enumerate(source.shapes) if i % 3}
    numpy.savez(tmp_path / "theirs.npz", **arrays)
    code, out, _ = run(capsys, traces / "ours", tmp_path / "theirs.npz", "--pair", "order")
    assert code == 0, out
    assert out.startswith(f"All {len(arrays)} pairs agree")
    assert "no tensor of" in fail(capsys, traces / "ours", tmp_path / "theirs.npz")


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"classifier": 3}', '{"nothing": "x"}', "", '{"classifier": {"nam": "x"}}']
)
def test_mappings_that_are_none(traces, capsys, tmp_path, text):
    (tmp_path / "map.json").write_text(text)
    fail(capsys, traces / "ours", traces / "good", "--map", tmp_path / "map.json")


def test_what_cannot_be_read(traces, capsys, tmp_path):
    assert "does not exist" in fail(capsys, traces / "ours", tmp_path / "none")
    assert "does not exist" in fail(capsys, traces / "ours", traces / "good", "--map", tmp_path / "none.json")
    (tmp_path / "broken.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    assert "truncated" in fail(capsys, traces / "ours", tmp_path / "broken.safetensors")
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04")
    fail(capsys, traces / "ours", tmp_path / "broken.npz")
    (tmp_path / "text.txt").write_text("x")
    assert "no trace by its name" in fail(capsys, traces / "ours", tmp_path / "text.txt")
    numpy.savez(tmp_path / "ints.npz", classifier=numpy.arange(3))
    assert "no floating-point tensor" in fail(capsys, traces / "ours", tmp_path / "ints.npz")
    (tmp_path / "empty").mkdir()
    assert TRACE_INDEX in fail(capsys, traces / "ours", tmp_path / "empty")
    fail(capsys, traces / "ours")


def test_names_do_not_reach_the_terminal(capsys, tmp_path):
    evil = "a\x1b]0;title\x07\n\x1b[2Jb"
    for name, value in (("ours", 1.0), ("theirs", 2.0)):
        write_safetensors(tmp_path / f"{name}.safetensors", {evil: numpy.full(3, value)})
    code, out, err = run(capsys, tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors", "--atol", "0.5")
    assert code == 1
    assert "\x1b" not in out + err
    assert "\x07" not in out + err
    assert len(out.splitlines()) == 4


def test_help_shows_how(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for word in ("--find-layouts", "qkv[I] by head", '"blocks.{N}.qkv"', "Exit codes"):
        assert word in out


def test_layouts_are_found_beside_a_single_number(tmp_path, capsys):
    """A trace with labels holds the loss."""
    model = model_of()
    pixels = clip_for(model.config, numpy.random.default_rng(1))
    trace_model(model, pixels, tmp_path / "ours", labels=numpy.zeros(len(pixels), int), budgets=["float32"])
    assert open_source(tmp_path / "ours").shapes["loss"] == ()
    code, out, _ = run(capsys, tmp_path / "ours", tmp_path / "ours", "--find-layouts")
    assert code == 0
    assert "pairs agree to the bit" in out
