"""Weights that hide mistakes are named, and perturbed ones hide none."""

import json

import numpy
import pytest
from model_cases import clip_for, tiny_config

from minivivit import VivitConfig, VivitForVideoClassification, VivitImageProcessor, VivitVideoProcessor
from minivivit.cli import main
from minivivit.verification.comparison.verdict import compare
from minivivit.verification.tensors.source import open_source
from minivivit.verification.tracing.recording import record_pass
from minivivit.verification.tracing.telling_weights import hiding_weights, perturb


@pytest.fixture
def fresh(tmp_path):
    """A model that was never trained, in a directory, and pixel values for it."""
    model = VivitForVideoClassification(tiny_config("1"), dtype="float32", backend="numpy")
    model.save_pretrained(tmp_path / "fresh")
    VivitImageProcessor(crop_size={"height": 8, "width": 8}).save_pretrained(tmp_path / "fresh")
    numpy.save(tmp_path / "pixels.npy", clip_for(model.config, numpy.random.default_rng(1)).astype("f4"))
    return tmp_path


def trace(capsys, place, *arguments):
    capsys.readouterr()
    code = main(["trace", str(place / "pixels.npy"), *map(str, arguments)])
    return code, *capsys.readouterr()


def test_what_hides_is_named():
    state = VivitForVideoClassification(tiny_config("2"), backend="numpy").state_dict()
    kinds = ["all biases are 0", "all layer norms' weights are 1"]
    assert hiding_weights(state)[:2] == kinds
    state["classifier.bias"][0] = 1e-6
    assert hiding_weights(state)[0] == kinds[1]
    assert hiding_weights(perturb(state, 0)) == []
    assert hiding_weights({}) == []


@pytest.mark.parametrize("which", ["1", "2", "3", "4"])
def test_perturbed_weights_are_seen_and_healthy(which):
    """Each parameter has a gradient, no bias or norm is 0 or 1, and what comes out is of ordinary size."""
    config = tiny_config(which)
    model = VivitForVideoClassification(config, dtype="float64", backend="numpy")
    before = {name: array.copy() for name, array in model.state_dict().items()}
    model.load_state_dict(perturb(model.state_dict(), 3))
    assert all((before[name] != array).all() for name, array in model.state_dict().items())
    pixels = clip_for(config, numpy.random.default_rng(1))
    out: dict = {}
    record_pass(model, pixels, out)
    assert all(numpy.abs(value).max() < 100 for value in out.values())
    assert out["classifier"].std() > 0.1


def test_the_seed_decides():
    state = {"a.weight": numpy.zeros((3, 2)), "a.bias": numpy.ones(3)}
    one, same = perturb(state, 5), perturb(dict(reversed(state.items())), 5)
    assert all((one[name] == same[name]).all() for name in state)
    assert (perturb(state, 6)["a.bias"] != one["a.bias"]).all()
    assert (state["a.bias"] == 1).all()
    assert {array.dtype.name for array in one.values()} == {"float32"}


def test_trace_says_that_weights_look_fresh_and_so_does_compare(fresh, capsys):
    code, _, err = trace(capsys, fresh, fresh / "ours", "--model", fresh / "fresh")
    assert code == 0
    assert "all biases are 0, all layer norms' weights are 1" in err
    assert "with --perturb none is" in err
    assert main(["compare", str(fresh / "ours"), str(fresh / "ours")]) == 0
    assert "theirs may lack them and agree" in capsys.readouterr().err


def test_trace_writes_the_perturbed_model_beside_it(fresh, capsys):
    for name in ("one", "two"):
        code, out, err = trace(capsys, fresh, fresh / name, "--model", fresh / "fresh", "--perturb", "7")
        assert (code, err) == (0, "")
        assert "the model with perturbed weights is in" in out
    files = ("model.safetensors", "config.json", "preprocessor_config.json", "vivit.encoder.layer.0.safetensors")
    for file in files:
        assert (fresh / "one" / file).read_bytes() == (fresh / "two" / file).read_bytes()
    VivitVideoProcessor(size=8).save_pretrained(fresh / "fresh")
    assert trace(capsys, fresh, fresh / "two", "--model", fresh / "fresh", "--perturb", "7")[0] == 0
    assert (fresh / "two" / "video_preprocessor_config.json").is_file()
    metadata = open_source(fresh / "one").metadata
    assert metadata["model"] == str(fresh / "one")
    assert metadata["perturbed"] == {"seed": 7, "model": str(fresh / "fresh")}
    assert metadata["hiding_weights"] == []
    # a port loads that directory, and computes what the trace holds
    model = VivitForVideoClassification.from_pretrained(fresh / "one", dtype="float64", backend="numpy")
    assert model.config == VivitConfig.from_pretrained(fresh / "fresh")
    port: dict = {}
    record_pass(model, numpy.load(fresh / "pixels.npy").astype("f8"), port)
    assert compare(fresh / "one", port, rtol=1e-12).agrees
    # it may be traced again, and into itself not
    assert trace(capsys, fresh, fresh / "two", "--model", fresh / "one")[0] == 0
    assert not (fresh / "two" / "model.safetensors").exists()
    code, _, err = trace(capsys, fresh, fresh / "one", "--model", fresh / "one")
    assert code == 2
    assert "is the model; choose another directory" in err
    assert (fresh / "one" / "model.safetensors").is_file()


def test_a_model_that_nobody_perturbed_is_not_deleted(fresh, capsys):
    """Someone's model beside a trace, without the word that we wrote it."""
    assert trace(capsys, fresh, fresh / "ours", "--model", fresh / "fresh")[0] == 0
    (fresh / "ours" / "model.safetensors").write_bytes(b"mine")
    code, _, err = trace(capsys, fresh, fresh / "ours", "--model", fresh / "fresh")
    assert code == 2
    assert "holds a trace, and besides 'model.safetensors'" in err
    assert (fresh / "ours" / "model.safetensors").read_bytes() == b"mine"


def test_a_seed_that_is_none(fresh, capsys):
    code, _, err = trace(capsys, fresh, fresh / "ours", "--model", fresh / "fresh", "--perturb", "-1")
    assert code == 2
    assert "--perturb -1 is no seed" in err


def test_a_trace_says_what_it_did_not_write(fresh, capsys):
    assert trace(capsys, fresh, fresh / "ours", "--model", fresh / "fresh", "--only", "classifier")[0] == 0
    unwritten = json.loads((fresh / "ours" / "trace.safetensors.index.json").read_text())["metadata"]["unwritten"]
    assert "vivit.encoder.layer.0.intermediate" in unwritten
    assert "classifier" not in unwritten
    (fresh / "map.json").write_text('{"vivit.encoder.layer.{N}": "blocks.{N}", "gradient.classifier": "d_head"}')
    ours = str(fresh / "ours")
    capsys.readouterr()
    assert main(["compare", ours, ours, "--map", str(fresh / "map.json")]) == 0
