"""Between scenic's files and the Hugging Face layout, and what does not fit."""

import argparse
import json
import logging
import os
import re
import shutil

import numpy
import pytest
from scenic_goldens import DATA, Golden, flat, nested

from minivivit import InputError, VivitConfig, VivitForVideoClassification, VivitImageProcessor, VivitVideoProcessor
from minivivit.checkpoints import load_scenic, to_scenic
from minivivit.checkpoints.convert import SCENIC_PRESETS, hugging_face_to_scenic, scenic_to_hugging_face
from minivivit.checkpoints.names import scenic_parameters
from minivivit.checkpoints.scenic import save_scenic
from minivivit.cli import main
from minivivit.commands.convert import add_convert_arguments, run_convert
from minivivit.config import PRESETS
from minivivit.models.parameters import classification_shapes, flatten

msgpack = pytest.importorskip("msgpack", reason="msgpack is not installed (pip install '.[scenic]')")

SMALL = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 12, "num_hidden_layers": 1, "num_labels": 3}
CONFIGS = {
    "model 1": {"attention_type": "spatio_temporal"},
    "model 2": {"attention_type": "factorised_encoder", "num_temporal_layers": 2, "representation_size": 5},
    "baseline": {"attention_type": "factorised_encoder", "spatial_only_baseline": True, "classifier": "gmp"},
    "model 3": {"attention_type": "factorised_self_attention", "attention_order": "space_time"},
    "model 4": {"attention_type": "factorised_dot_product", "classifier": "gsp"},
}


def small_config(**values):
    details = {"hidden_act": "gelu_pytorch_tanh", "image_size": (8, 12), "num_frames": 4, "tubelet_size": (2, 4, 4)}
    return VivitConfig(**{**SMALL, **details, **values})


def convert(*arguments):
    parser = argparse.ArgumentParser()
    add_convert_arguments(parser)
    return run_convert(parser.parse_args([str(argument) for argument in arguments]))


def same_weights(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        assert (ours[name] == array).all(), name


# --------------------------------------------------------------------------------------------------------------------
# There and back
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONFIGS)
def test_to_scenic_and_back(tmp_path, name):
    model = VivitForVideoClassification(small_config(**CONFIGS[name]), backend="numpy", seed=1)
    model.save_pretrained(tmp_path / "hf")
    assert convert(tmp_path / "hf", tmp_path / "scenic") == 0
    assert sorted(path.name for path in (tmp_path / "scenic").iterdir()) == ["checkpoint", "config.json"]
    raw = msgpack.unpackb((tmp_path / "scenic" / "checkpoint").read_bytes())
    assert list(raw) == ["optimizer"]
    assert list(raw["optimizer"]) == ["target"]

    assert convert(tmp_path / "scenic", tmp_path / "again") == 0
    again = VivitForVideoClassification.from_pretrained(tmp_path / "again", backend="numpy")
    same_weights(again.state_dict(), model.state_dict())
    assert json.loads((tmp_path / "again" / "config.json").read_text()) == json.loads(
        (tmp_path / "hf" / "config.json").read_text()
    )


def test_a_golden(tmp_path, capsys):
    golden = Golden("factorized_encoder_token")
    golden.config.save_pretrained(tmp_path)
    (tmp_path / "checkpoint").write_bytes((DATA / "factorized_encoder_token.checkpoint").read_bytes())
    convert(tmp_path / "checkpoint", tmp_path / "out")
    output = capsys.readouterr()
    assert output.err.startswith("minivivit: note: ")  # no bar where standard error is no terminal
    assert "out holds no image processor: resizing the shortest edge to " in output.err
    assert output.err.count("\n") == 1
    assert "factorised_encoder" in output.out
    model = VivitForVideoClassification.from_pretrained(tmp_path / "out", dtype="float64", backend="numpy")
    numpy.testing.assert_allclose(model(golden.pixel_values).logits, golden.arrays["logits"], rtol=1e-12)


def test_presets(tmp_path, monkeypatch):
    """Told by --preset, or recognised by names and shapes."""
    for name in SCENIC_PRESETS:  # the published ones, made small
        monkeypatch.setitem(PRESETS, name, {**PRESETS[name], **SMALL, "num_labels": PRESETS[name]["num_labels"]})
        small_image = {"image_size": 32, "num_frames": 4}
        monkeypatch.setitem(PRESETS, name, {**PRESETS[name], **small_image})
    for name in SCENIC_PRESETS:
        model = VivitForVideoClassification(VivitConfig.from_preset(name), backend="numpy")
        save_scenic(model, tmp_path / "checkpoint")
        for more in ([], ["--preset", name]):
            convert(tmp_path / "checkpoint", tmp_path / name, "--overwrite", *more)
            again = VivitForVideoClassification.from_pretrained(tmp_path / name, backend="numpy")
            same_weights(again.state_dict(), model.state_dict())
            assert VivitConfig.from_pretrained(tmp_path / name).class_splits == model.config.class_splits
    with pytest.raises(InputError, match=r"checkpoint does not fit the config: .*output_projection/bias is \(397,\)"):
        convert(tmp_path / "checkpoint", tmp_path / "other", "--preset", "vivit-l-16x2-fe-kinetics400")


def test_the_answers_survive_the_way_there_and_back(tmp_path, capsys):
    """A processor that changes the answers, the names of the classes, and what a command then says of a clip."""
    config = small_config(id2label={0: "left", 1: "right", 2: "über"})
    model = VivitForVideoClassification(config, backend="numpy", seed=1)
    for array in model.state_dict().values():
        array[...] = numpy.random.default_rng(array.size).standard_normal(array.shape)
    model.save_pretrained(tmp_path / "hf")
    processor = VivitImageProcessor(size={"height": 8, "width": 12}, do_center_crop=False, resample=0, offset=False)
    processor.save_pretrained(tmp_path / "hf")
    numpy.save(tmp_path / "clip.npy", numpy.random.default_rng(0).integers(0, 256, (4, 20, 30, 3), dtype=numpy.uint8))

    def answers(directory):
        assert main(["classify", str(tmp_path / "clip.npy"), "--model", str(tmp_path / directory), "--json"]) == 0
        return json.loads(capsys.readouterr().out)["predictions"]

    expected = answers("hf")
    assert {answer["label"] for answer in expected} == {"left", "right", "über"}
    convert(tmp_path / "hf", tmp_path / "scenic")
    assert sorted(os.listdir(tmp_path / "scenic")) == ["checkpoint", "config.json", "preprocessor_config.json"]
    convert(tmp_path / "scenic", tmp_path / "again")
    convert(tmp_path / "scenic" / "checkpoint", tmp_path / "from_file")
    assert capsys.readouterr().err == ""
    assert answers("again") == answers("from_file") == expected
    (tmp_path / "again" / "preprocessor_config.json").unlink()
    assert answers("again") != expected  # so it is the processor that the answers hang on
    # --preset is told what it passes over
    save_scenic(model, tmp_path / "scenic" / "checkpoint")
    for path in (tmp_path / "scenic").glob("*.json"):
        path.write_text("{}" if path.name == "config.json" else path.read_text())
    with pytest.raises(InputError, match="does not fit the config"):
        convert(tmp_path / "scenic", tmp_path / "new", "--preset", "vivit-b-16x2-kinetics400")


def test_a_video_processor_goes_along(tmp_path):
    VivitForVideoClassification(small_config(), backend="numpy").save_pretrained(tmp_path / "hf")
    processor = VivitVideoProcessor(size={"height": 8, "width": 12}, resample=3, num_frames=4)
    processor.save_pretrained(tmp_path / "hf")
    convert(tmp_path / "hf", tmp_path / "scenic")
    files = {"checkpoint", "config.json", "video_preprocessor_config.json"}
    assert set(os.listdir(tmp_path / "scenic")) == files
    convert(tmp_path / "scenic", tmp_path / "again")
    assert VivitVideoProcessor.from_pretrained(tmp_path / "again").to_dict() == processor.to_dict()
    (tmp_path / "hf" / "video_preprocessor_config.json").write_text('{"resample": 77}')
    with pytest.raises(InputError, match=r"video_preprocessor_config\.json: resample is 77"):
        convert(tmp_path / "hf", tmp_path / "out")
    VivitImageProcessor().save_pretrained(tmp_path / "again")  # beside the other: both go along
    convert(tmp_path / "again", tmp_path / "both")
    assert set(os.listdir(tmp_path / "both")) == files | {"preprocessor_config.json"}


def test_a_preset_says_what_it_passes_over(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(PRESETS, "tiny", {**SMALL, "image_size": 8, "num_frames": 4, "tubelet_size": (2, 4, 4)})
    config = VivitConfig.from_preset("tiny", hidden_act="gelu_pytorch_tanh", id2label={0: "a", 1: "b", 2: "c"})
    VivitForVideoClassification(config, backend="numpy").save_pretrained(tmp_path / "hf")
    convert(tmp_path / "hf", tmp_path / "scenic")
    capsys.readouterr()
    convert(tmp_path / "scenic", tmp_path / "out", "--preset", "tiny")
    notes = capsys.readouterr().err.splitlines()
    assert [note.startswith("minivivit: note: ") for note in notes] == [True, True]
    assert "was not read, nor the names of classes in it: --preset goes first" in notes[1]


def test_a_damaged_processor_is_refused_before_anything_is_made(tmp_path):
    model = VivitForVideoClassification(small_config(), backend="numpy")
    model.save_pretrained(tmp_path / "hf")
    for content in ("{", '{"resample": 77}', "[]"):
        (tmp_path / "hf" / "preprocessor_config.json").write_text(content)
        with pytest.raises(InputError, match=r"preprocessor_config\.json"):
            convert(tmp_path / "hf", tmp_path / "out")
        assert os.listdir(tmp_path) == ["hf"]


# --------------------------------------------------------------------------------------------------------------------
# Where it is written
# --------------------------------------------------------------------------------------------------------------------


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_nothing_is_overwritten_unasked(tmp_path):
    model = VivitForVideoClassification(small_config(), backend="numpy", seed=1)
    model.save_pretrained(tmp_path / "hf")
    out = tmp_path / "out"
    for name in ("checkpoint", "config.json", "notes.txt"):
        out.mkdir(exist_ok=True)
        (out / name).write_text("mine")
        before = contents(out)
        with pytest.raises(InputError, match=f"out is not empty, it holds .*'{name}'.*pass --overwrite"):
            convert(tmp_path / "hf", out)
        with pytest.raises(InputError, match="is not empty"):
            hugging_face_to_scenic(tmp_path / "hf", out)
        assert contents(out) == before
    convert(tmp_path / "hf", out, "--overwrite")
    assert sorted(os.listdir(out)) == ["checkpoint", "config.json", "notes.txt"]
    assert (out / "notes.txt").read_text() == "mine"
    with pytest.raises(InputError, match="is not empty"):
        scenic_to_hugging_face(out, tmp_path / "hf")
    (tmp_path / "empty").mkdir()
    convert(out, tmp_path / "empty")
    same_weights(
        VivitForVideoClassification.from_pretrained(tmp_path / "empty", backend="numpy").state_dict(),
        model.state_dict(),
    )
    assert sorted(os.listdir(tmp_path)) == ["empty", "hf", "out"]


@pytest.mark.parametrize("place", ["os.fsync", "minivivit.files.msgpack_file.msgpack.Packer", "os.replace"])
@pytest.mark.parametrize("there", [False, True])
def test_nothing_is_half_made(tmp_path, monkeypatch, place, there):
    """Whatever fails on the way, DIR is as it was and the second try succeeds."""
    VivitForVideoClassification(small_config(), backend="numpy").save_pretrained(tmp_path / "hf")
    out = tmp_path / "some" / "where"
    if there:
        out.mkdir(parents=True)
        (out / "notes.txt").write_text("mine")

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(place, fail)
        with pytest.raises(OSError, match="No space left"):
            convert(tmp_path / "hf", out, "--overwrite")
    assert out.exists() == there == (tmp_path / "some").exists()
    if there:
        assert os.listdir(out) == ["notes.txt"]
        assert os.listdir(tmp_path / "some") == ["where"]
    convert(tmp_path / "hf", out, "--overwrite")
    assert (out / "checkpoint").is_file()


def test_a_variant_alone_is_named(tmp_path):
    VivitForVideoClassification(small_config(), backend="numpy").save_pretrained(tmp_path / "hf")
    (tmp_path / "hf" / "model.safetensors").rename(tmp_path / "hf" / "model.fp16.safetensors")
    with pytest.raises(InputError, match="these variants: 'fp16 "):
        convert(tmp_path / "hf", tmp_path / "out")


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("wrapper", ["optimizer", "params", "neither", "flat"])
def test_trees(name, wrapper):
    config = small_config(**CONFIGS[name])
    model = VivitForVideoClassification(config, backend="numpy", seed=2)
    tree = to_scenic(model.state_dict(), config)
    source = {
        "optimizer": {"optimizer": {"target": tree}, "global_step": 3},
        "params": {"params": tree, "optimizer": None},
        "neither": tree,
        "flat": flat(tree),
    }[wrapper]
    again = load_scenic(source, config, backend="numpy")
    same_weights(again.state_dict(), model.state_dict())
    assert again.dtype == numpy.float32


# --------------------------------------------------------------------------------------------------------------------
# to_scenic on any dict with our names
# --------------------------------------------------------------------------------------------------------------------


def test_every_parameter_has_a_place_of_its_own():
    for values in [
        *CONFIGS.values(),
        {"temporal_encoding": "frame_sampling", "num_sampled_frames": 2, "tubelet_size": (1, 4, 4)},
    ]:
        config = small_config(**values)
        shapes = flatten(classification_shapes(config))
        table = scenic_parameters(config)
        assert table.keys() == shapes.keys()
        assert len({row.path for row in table.values()}) == len(table)
        for name, row in table.items():
            array = numpy.random.default_rng(0).standard_normal(shapes[name])
            assert row.to_scenic(array).shape == row.shape
            assert (row.from_scenic(row.to_scenic(array), shapes[name]) == array).all()


def test_gradients_and_parts():
    config = small_config()
    model = VivitForVideoClassification(config, dtype="float64", backend="numpy")
    pixel_values = numpy.random.default_rng(0).standard_normal((1, 4, 3, 8, 12))
    _, gradients = model.loss_and_gradients(pixel_values, numpy.array([1]))
    tree = to_scenic(gradients, config)
    assert (tree["video"] == gradients["pixel_values"].transpose(0, 1, 3, 4, 2)).all()
    assert (tree["output_projection"]["kernel"] == gradients["classifier.weight"].T).all()
    assert to_scenic({"classifier.bias": gradients["classifier.bias"]}, config).keys() == {"output_projection"}
    bare = flat(to_scenic(model.vivit.state_dict(), config))
    assert bare.keys() == {name for name in flat(tree) if not name.startswith(("output", "video"))}


def test_to_scenic_copies():
    config = small_config()
    model = VivitForVideoClassification(config, backend="numpy")
    tree = to_scenic(model.state_dict(), config)
    for array in flat(tree).values():
        array += 1
    fresh = VivitForVideoClassification(config, backend="numpy")
    same_weights(model.state_dict(), fresh.state_dict())


def test_load_scenic_copies():
    """The model's arrays are its own, writable and in the usual order, whatever they came from."""
    config = small_config()
    tree = to_scenic(VivitForVideoClassification(config, backend="numpy").state_dict(), config)
    before = {name: array.copy() for name, array in flat(tree).items()}
    for array in flat(tree).values():
        array.flags.writeable = False
    model = load_scenic(tree, config, backend="numpy")
    for array in model.state_dict().values():
        assert array.flags.c_contiguous
        array += 1
    same_weights(flat(tree), before)


def test_to_scenic_names_what_does_not_fit():
    config = small_config()
    state_dict = VivitForVideoClassification(config, backend="numpy").state_dict()
    state_dict |= {"vivit.pooler.dense.bias": numpy.zeros(8), "classifier.bias": numpy.zeros(4)}
    with pytest.raises(
        InputError, match=r"1 unexpected: vivit.pooler.dense.bias; 1 of another shape: classifier.bias is \(4,\)"
    ):
        to_scenic(state_dict, config)


# --------------------------------------------------------------------------------------------------------------------
# What does not fit
# --------------------------------------------------------------------------------------------------------------------


def refused(source, config, match):
    with pytest.raises(InputError, match=match) as error:
        load_scenic(source, config, backend="numpy")
    assert "\n" not in str(error.value)


def golden_leaves():
    golden = Golden("spacetime_token")
    return golden.config, golden.part("param")


def test_all_that_does_not_fit_is_named_at_once():
    config, leaves = golden_leaves()
    del leaves["cls"], leaves["Transformer/encoder_norm/bias"]
    leaves["Transformer/encoderblock_7/new\nline"] = numpy.zeros(3)
    leaves["embedding/kernel"] = leaves["embedding/kernel"][1:]
    refused(
        nested(leaves),
        config,
        r"2 missing: Transformer/encoder_norm/bias, cls; 1 unexpected: 'Transformer/encoderblock_7/new\\nline'; "
        r"1 of another shape: embedding/kernel is \(1, 8, 8, 3, 24\), expected \(2, 8, 8, 3, 24\)",
    )
    refused({}, config, "missing: ")


def test_of_a_wrong_preset_a_few_names_are_shown(tmp_path):
    config, _ = golden_leaves()
    checkpoint = DATA / "spacetime_token.checkpoint"
    with pytest.raises(InputError, match=r"\d+ missing: .* and \d+ more; .*; is it another preset\?$") as error:
        convert(checkpoint, tmp_path / "out", "--preset", "vivit-b-16x2-kinetics400")
    assert len(str(error.value)) < 1000 + len(str(checkpoint))
    shutil.copy(checkpoint, tmp_path / "checkpoint")
    VivitConfig.from_dict(config.to_dict(), num_hidden_layers=9).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r" and \d+ more; is it the config\.json of this checkpoint\?$"):
        convert(tmp_path / "checkpoint", tmp_path / "out")


def test_too_many_names_are_cut_short():
    config, leaves = golden_leaves()
    leaves |= {f"junk_{index}": numpy.zeros(1) for index in range(5000)}
    refused(leaves, config, r"5000 unexpected: junk_0, junk_1, .*, junk_\d+ and \d,\d{3} more")


def test_another_model_in_a_file():
    config, _ = golden_leaves()
    refused(
        DATA / "factorized_encoder_token.checkpoint", config, "missing: .*unexpected: SpatialTransformer/encoder_norm"
    )


def test_numbers_that_are_none():
    config, leaves = golden_leaves()
    refused({**leaves, "cls": numpy.full_like(leaves["cls"], numpy.inf)}, config, "'cls' holds inf")
    refused({**leaves, "cls": leaves["cls"].astype(int)}, config, "int64 under 'cls'")
    refused({**leaves, "cls": "text"}, config, "under 'cls'")


def test_scenics_arithmetic_is_assumed():
    config, leaves = golden_leaves()
    config.hidden_act, config.layer_norm_eps = "gelu_fast", 1e-5
    model = load_scenic(nested(leaves), config, backend="numpy")
    assert (model.config.hidden_act, model.config.layer_norm_eps) == ("gelu_pytorch_tanh", 1e-6)
    assert config.hidden_act == "gelu_fast"


def test_truncated_checkpoints(tmp_path):
    data = (DATA / "spacetime_token.checkpoint").read_bytes()
    config, _ = golden_leaves()
    for length in (1, 100, len(data) // 2, len(data) - 1):
        (tmp_path / "checkpoint").write_bytes(data[:length])
        refused(tmp_path / "checkpoint", config, "checkpoint")


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ({"qkv_bias": False}, "qkv_bias"),
        ({"layer_norm_eps": 1e-5}, "eps"),
    ],
)
def test_models_that_scenic_does_not_have(tmp_path, values, match):
    model = VivitForVideoClassification(small_config(**values), backend="numpy")
    with pytest.raises(InputError, match=match):
        save_scenic(model, tmp_path / "checkpoint")
    assert not list(tmp_path.iterdir())


def test_the_commands_own_errors(tmp_path, caplog):
    caplog.set_level(logging.ERROR)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"\x80")
    model = VivitForVideoClassification(small_config(), backend="numpy")
    model.save_pretrained(tmp_path / "hf")
    for arguments, match in [
        ((tmp_path / "nothing", tmp_path / "out"), "does not exist"),
        ((tmp_path / "empty", tmp_path / "out"), "holds no weights; expected one of"),
        ((tmp_path / "file", tmp_path / "out"), "holds no weights that are known"),
        ((tmp_path / "hf", tmp_path / "file"), "is a file; expected a directory"),
        ((tmp_path / "hf", tmp_path / "hf"), "the same directory"),
        (
            (tmp_path / "hf", tmp_path / "out", "--preset", "vivit-b-16x2"),
            "--preset says what model a scenic checkpoint is",
        ),
        ((tmp_path / "file", tmp_path / "out", "--preset", "best"), "'best' is not a preset"),
    ]:
        with pytest.raises(InputError, match=match):
            convert(*arguments)
        assert not (tmp_path / "out").exists()
    (tmp_path / "renamed").write_bytes((tmp_path / "hf" / "model.safetensors").read_bytes())
    for name in ("hf/model.safetensors", "renamed"):
        path = tmp_path / name
        with pytest.raises(
            InputError, match=f"is a file with a model's weights; .*: give {re.escape(str(path.parent))}$"
        ):
            convert(path, tmp_path / "out")
    save_scenic(model, tmp_path / "file")
    with pytest.raises(
        InputError, match="none of scenic's published models by its names and shapes; say with --preset"
    ):
        convert(tmp_path / "file", tmp_path / "out")


def test_the_published_models():
    """Sizes as scenic's configs give them."""
    large = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24}
    base = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "num_hidden_layers": 12}
    factorised = {"attention_type": "factorised_encoder"}
    expected = {
        "vivit-b-16x2-kinetics400": {**base, "attention_type": "spatio_temporal", "num_labels": 400},
        "vivit-b-16x2-fe-kinetics400": {**base, **factorised, "num_temporal_layers": 4, "num_labels": 400},
        "vivit-l-16x2-fe-kinetics400": {**large, **factorised, "num_temporal_layers": 24, "num_labels": 400},
        "vivit-l-16x2-fe-kinetics600": {**large, **factorised, "num_temporal_layers": 24, "num_labels": 600},
        "vivit-l-16x2-fe-epic-kitchens": {
            **large,
            **factorised,
            "num_temporal_layers": 4,
            "num_labels": 397,
            "class_splits": [300, 97],
            "stochastic_droplayer_rate": 0.2,
        },
    }
    assert list(expected) == SCENIC_PRESETS
    for name, values in expected.items():
        config = VivitConfig.from_preset(name)
        common = {"image_size": 224, "num_frames": 32, "tubelet_size": [2, 16, 16], "classifier": "token"}
        common |= {"representation_size": None, "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6}
        for field, value in {**common, **values}.items():
            assert getattr(config, field) == value, (name, field)
