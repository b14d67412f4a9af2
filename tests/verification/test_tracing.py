"""Traces on the disk: what is written, when, and what is refused."""

import errno
import hashlib
import json
import math
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import numpy
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "models"))
from small_models import MODELS, clip_for, small_model
from stand_in_array import xp

from minivivit import VivitConfig, VivitForVideoClassification, VivitModel, progress
from minivivit.bundled import bundled_clip
from minivivit.cli import main
from minivivit.commands import trace as trace_command
from minivivit.config import uniform_frame_indices
from minivivit.errors import InputError
from minivivit.files.safetensors_file import read_safetensors, write_safetensors
from minivivit.files.safetensors_stream import ROOM, SafetensorsStream
from minivivit.models.parameters import map_tree
from minivivit.verification.tensors.source import TRACE_INDEX, open_source
from minivivit.verification.tracing import recording
from minivivit.verification.tracing.directory import TraceWriter, new_trace_directory
from minivivit.verification.tracing.recording import record_pass, trace_model, weights_sha256

ALL_MODELS = pytest.mark.parametrize("number", MODELS)
LABELS = numpy.array([2, 0])


class Copies(dict):
    """A store that copies what it is given, scores and probabilities left out."""

    def wants(self, name):
        return not name.endswith((".scores", ".probs"))

    def __setitem__(self, name, array):
        assert name not in self, "recorded twice"
        super().__setitem__(name, numpy.array(array))


def read_all(directory):
    source = open_source(directory)
    return {name: source.read(name) for name in source.shapes}


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name in expected:
        numpy.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def index_of(directory):
    return json.loads((directory / TRACE_INDEX).read_text())


def shape_the_index(directory, change):
    """Write the index again, changed."""
    index = index_of(directory)
    change(index)
    (directory / TRACE_INDEX).write_text(json.dumps(index))


# --------------------------------------------------------------------------------------------------------------------
# What is written
# --------------------------------------------------------------------------------------------------------------------


@ALL_MODELS
@pytest.mark.parametrize("gradients", [False, True])
def test_what_is_written_is_what_was_recorded(tmp_path, number, gradients):
    model = small_model(number, representation_size=5)
    pixels, expected = clip_for(model.config), Copies()
    record_pass(model, pixels, expected, labels=LABELS, gradients=gradients)
    trace_model(model, pixels, tmp_path / "trace", labels=LABELS, gradients=gradients)
    found = read_all(tmp_path / "trace")
    assert_same(found, expected)
    assert next(iter(found)) == "pixel_values"
    assert ("gradient.pixel_values" in found) == gradients


@ALL_MODELS
def test_the_gradients_are_those_of_the_model(tmp_path, number):
    model = small_model(number)
    pixels = clip_for(model.config)
    loss, gradients = model.loss_and_gradients(pixels, LABELS)
    trace_model(model, pixels, tmp_path / "trace", labels=LABELS, gradients=True)
    found = read_all(tmp_path / "trace")
    numpy.testing.assert_array_equal(found["loss"], loss)
    for name, gradient in gradients.items():
        numpy.testing.assert_array_equal(found[f"gradient.{name}"], gradient, err_msg=name)
    last = [name.removeprefix("gradient.") for name in found][-len(gradients) + 1 :]
    assert last == [name for name in reversed(list(gradients)) if name != "pixel_values"]


def test_a_file_a_layer_in_the_order_of_execution(tmp_path):
    model = small_model(2)
    trace_model(model, clip_for(model.config), tmp_path / "trace", labels=LABELS, gradients=True)
    weight_map = index_of(tmp_path / "trace")["weight_map"]
    names = list(weight_map)
    order = ["pixel_values", "vivit.spatial_encoder.layer.0", "vivit.spatial_encoder.layer.1", "vivit.spatial_encoder"]
    order += ["vivit.temporal_encoder.layer.0", "pre_logits", "classifier", "loss", "gradient.classifier"]
    order += ["gradient.vivit.spatial_encoder.layer.1", "gradient.vivit.spatial_encoder.layer.0"]
    order += ["gradient.pixel_values", "gradient.classifier.weight"]
    assert [name for name in names if name in order] == order
    assert set(weight_map.values()) | {TRACE_INDEX} == {path.name for path in (tmp_path / "trace").iterdir()}
    of_layer = {name for name in names if name.startswith("vivit.spatial_encoder.layer.1")}
    assert len(of_layer) == 12
    assert {
        name for name, file in weight_map.items() if file == "vivit.spatial_encoder.layer.1.safetensors"
    } == of_layer
    assert weight_map["classifier"] == weight_map["loss"] == "vivit.temporal_encoder.layernorm.safetensors"
    assert weight_map["gradient.classifier"] == "gradient.classifier.safetensors"
    with_intermediates = weight_map["gradient.vivit.spatial_encoder.layer.1"]
    with_parameters = weight_map["gradient.vivit.spatial_encoder.layer.1.layernorm_before.weight"]
    assert with_intermediates != with_parameters
    # the safetensors library reads the files as well
    library = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed (pip install '.[test]')")
    assert library.load_file(tmp_path / "trace" / with_intermediates).keys() | {"x"} > {
        "gradient.vivit.spatial_encoder.layer.1"
    }


@ALL_MODELS
def test_arrays_of_another_library_are_brought_over(tmp_path, number):
    """As those of a GPU: a stand-in that NumPy's functions refuse."""
    model = small_model(number)
    pixels = clip_for(model.config)
    trace_model(model, pixels, tmp_path / "numpy", labels=LABELS, gradients=True)
    model.params = map_tree(lambda array: xp.asarray(array), model.params)
    metadata = trace_model(model, pixels, tmp_path / "other", labels=LABELS, gradients=True)
    found, expected = read_all(tmp_path / "other"), read_all(tmp_path / "numpy")
    assert list(found) == list(expected)
    largest = max(abs(array).max() for array in expected.values())
    for name, array in expected.items():
        numpy.testing.assert_allclose(found[name], array, rtol=1e-11, atol=1e-12 * largest, err_msg=name)
    assert metadata["input_sha256"] == open_source(tmp_path / "numpy").metadata["input_sha256"]


def test_the_index_says_what_was_traced(tmp_path):
    model = small_model(3, dtype="float32")
    model.save_pretrained(tmp_path / "model")
    pixels = clip_for(model.config)
    metadata = trace_model(model, pixels, tmp_path / "trace", labels=LABELS, model_directory=tmp_path / "model")
    source = open_source(tmp_path / "trace")
    assert source.metadata == index_of(tmp_path / "trace")["metadata"] == json.loads(json.dumps(metadata))
    assert metadata["format"] == "minivivit-trace/1"
    assert metadata["config"] == model.config.to_dict()
    assert metadata["dtype"] == "float32"
    assert set(source.dtypes.values()) == {"float32"}
    assert metadata["input_sha256"] == hashlib.sha256(pixels.astype("<f4").tobytes()).hexdigest()
    assert metadata["input_shape"] == [2, 8, 3, 10, 10]
    assert metadata["model"] == str((tmp_path / "model").resolve())
    weights = (tmp_path / "model" / "model.safetensors").read_bytes()
    assert metadata["weights_sha256"] == hashlib.sha256(weights).hexdigest()
    assert metadata["versions"].keys() == {"minivivit", "numpy", "python"}
    assert metadata["gradients"] is False
    assert metadata["labels"] == [2, 0]
    assert metadata["total_size"] == sum(4 * math.prod(shape) for shape in source.shapes.values())
    assert metadata["rounding_budgets"] == {}
    in_memory = trace_model(model, pixels, tmp_path / "trace")
    assert in_memory["model"] is in_memory["weights_sha256"] is in_memory["labels"] is None


def test_shards_are_hashed_in_the_order_of_their_names(tmp_path):
    for shard, content in (("model-00002-of-00002", b"second"), ("model-00001-of-00002", b"first")):
        with open(tmp_path / f"{shard}.safetensors", "wb") as file:
            header = json.dumps({content.decode(): {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}).encode()
            file.write(len(header).to_bytes(8, "little") + header)
    weight_map = {"second": "model-00002-of-00002.safetensors", "first": "model-00001-of-00002.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    both = b"".join((tmp_path / name).read_bytes() for name in sorted(weight_map.values()))
    assert weights_sha256(tmp_path) == hashlib.sha256(both).hexdigest()


def test_the_same_bytes_twice(tmp_path):
    model = small_model(4)
    for name in ("first", "second"):
        trace_model(
            model,
            clip_for(model.config),
            tmp_path / name,
            labels=LABELS,
            gradients=True,
            budgets=["float16", "float64"],
        )
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("first", "second")
    )
    assert first == second


def test_budgets_are_measured_from_what_was_written(tmp_path):
    model = small_model()
    heard = []
    metadata = trace_model(
        model,
        clip_for(model.config),
        tmp_path / "trace",
        only="*.layer.1",
        budgets=["bfloat16"],
        on_record=heard.append,
    )
    budgets = index_of(tmp_path / "trace")["metadata"]["rounding_budgets"]
    assert budgets == metadata["rounding_budgets"]
    assert list(budgets) == ["bfloat16"]
    assert list(budgets["bfloat16"]) == ["pixel_values", "vivit.encoder.layer.1"]
    assert 1e-4 < budgets["bfloat16"]["vivit.encoder.layer.1"]["relative_l2"] < 0.1
    assert heard[-1] == "rounding_budgets"


def test_a_budget_without_bound_is_still_json(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "rounding_budgets", lambda *_, **__: {"float16": {"loss": {"rms": math.inf}}})
    model = small_model()
    trace_model(model, clip_for(model.config), tmp_path / "trace", budgets=["float16"])
    assert "Infinity" not in (tmp_path / "trace" / TRACE_INDEX).read_text()
    assert index_of(tmp_path / "trace")["metadata"]["rounding_budgets"]["float16"]["loss"]["rms"] > 1e308


# --------------------------------------------------------------------------------------------------------------------
# Which names
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "only", "expected"),
    [
        (1, "classifier", ["classifier"]),
        (1, ["*.layer.1", "pre_*"], ["vivit.encoder.layer.1", "pre_logits"]),
        (1, "*.[0]", ["vivit.encoder.layer.0"]),
        (1, "*.layer.0.*.probs", ["vivit.encoder.layer.0.attention.attention.probs"]),
        (
            3,
            "*.1.*.scores",
            [f"vivit.encoder.layer.1.{axis}_attention.attention.scores" for axis in ("temporal", "spatial")],
        ),
        (
            4,
            "*.0.*.probs",
            [f"vivit.encoder.layer.0.attention.attention.{axis}.probs" for axis in ("temporal", "spatial")],
        ),
        (2, "*temporal_encoder*probs", ["vivit.temporal_encoder.layer.0.attention.attention.probs"]),
        (1, "gradient.classifier.*", ["gradient.classifier.bias", "gradient.classifier.weight"]),
    ],
)
def test_patterns_choose_names(tmp_path, number, only, expected):
    model = small_model(number)
    gradients = {"labels": LABELS, "gradients": True} if "gradient" in only else {}
    trace_model(model, clip_for(model.config), tmp_path / "trace", only=only, **gradients)
    assert list(open_source(tmp_path / "trace").shapes) == ["pixel_values", *expected]


@ALL_MODELS
def test_scores_and_probabilities_only_when_named(tmp_path, number):
    """Even when the config asks for attentions, which makes the layers hold them."""
    model = small_model(number, output_attentions=True)
    trace_model(model, clip_for(model.config), tmp_path / "trace")
    without = set(open_source(tmp_path / "trace").shapes)
    assert not [name for name in without if name.endswith((".scores", ".probs"))]
    trace_model(model, clip_for(model.config), tmp_path / "trace", only=["*"])
    source = open_source(tmp_path / "trace")
    large = set(source.shapes) - without
    assert without < set(source.shapes)
    for name in large:
        assert name.endswith((".scores", ".probs"))
        if name.endswith(".probs"):
            probs = source.read(name)
            assert probs.ndim == 4
            assert probs.shape[2] == probs.shape[3]
            numpy.testing.assert_allclose(probs.sum(axis=-1), 1, rtol=1e-12)


def test_a_pattern_that_matches_nothing_is_a_mistake(tmp_path):
    model = small_model()
    with pytest.raises(
        InputError, match=r"no name matches the pattern 'vivit.encoder.layers.\*'; names are 'vivit.emb"
    ):
        trace_model(
            model, clip_for(model.config), tmp_path / "trace", only=["loss", "vivit.encoder.layers.*"], labels=LABELS
        )
    assert list(tmp_path.iterdir()) == []


def test_what_only_some_configs_have(tmp_path):
    """Frames that were sampled, positions that were interpolated, what the representation layer starts from."""
    sampling = {"temporal_encoding": "frame_sampling", "num_sampled_frames": 4, "tubelet_size": [1, 4, 4]}
    model = small_model(1, classifier="gap", representation_size=6, **sampling)
    pixels = clip_for(model.config, size=(8, 12, 16))
    trace_model(model, pixels, tmp_path / "trace", labels=LABELS, gradients=True, interpolate_pos_encoding=True)
    found = read_all(tmp_path / "trace")
    numpy.testing.assert_array_equal(found["vivit.embeddings.frame_sampling"], pixels[:, uniform_frame_indices(8, 4)])
    positions = found["vivit.embeddings.interpolated_positions"]
    assert positions.shape == (1, 4 * 3 * 4, 32)
    numpy.testing.assert_array_equal(found["vivit.embeddings"], found["vivit.embeddings.patch_embeddings"] + positions)
    numpy.testing.assert_allclose(found["pooling"], found["vivit.layernorm"].mean(axis=1), rtol=1e-13)
    numpy.testing.assert_array_equal(found["pre_logits"], numpy.tanh(found["pre_logits.dense"]))
    slope = 1 - found["pre_logits"] ** 2
    numpy.testing.assert_allclose(found["gradient.pre_logits.dense"], found["gradient.pre_logits"] * slope, rtol=1e-12)
    numpy.testing.assert_allclose(
        found["gradient.pooling"], found["gradient.vivit.layernorm"].sum(axis=1), rtol=1e-12, atol=1e-16
    )


def test_the_cls_token_is_in_front(tmp_path):
    model = small_model()
    trace_model(model, clip_for(model.config), tmp_path / "trace")
    found = read_all(tmp_path / "trace")
    tokens = found["vivit.embeddings.with_cls_token"]
    assert (tokens[:, 0] == model.state_dict()["vivit.embeddings.cls_token"][0]).all()
    numpy.testing.assert_array_equal(tokens[:, 1:], found["vivit.embeddings.patch_embeddings"])


@ALL_MODELS
def test_a_bare_model(tmp_path, number):
    model = small_model(number, VivitModel)
    pixels = clip_for(model.config)
    trace_model(model, pixels, tmp_path / "trace")
    found = read_all(tmp_path / "trace")
    assert not [name for name in found if name.startswith("vivit.")]
    out = model(pixels)
    numpy.testing.assert_array_equal(found["pooler"], out.pooler_output)
    last = "temporal_encoder.layernorm" if number == 2 else "layernorm"
    numpy.testing.assert_array_equal(found[last], out.last_hidden_state)
    weight, bias = (model.state_dict()[f"pooler.dense.{name}"] for name in ("weight", "bias"))
    numpy.testing.assert_allclose(found["pooler.pooling"] @ weight.T + bias, found["pooler.dense"], rtol=1e-12)


# --------------------------------------------------------------------------------------------------------------------
# What is refused
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gradients": True}, "gradients start from the loss, which needs labels"),
        ({"budgets": ["float8"]}, "'float8' is no precision; expected one of float64, float32"),
        ({"labels": [0, 3]}, "labels range from 0 to 3; expected 0 to 2"),
        ({"pixel_values": numpy.full((2, 8, 3, 10, 10), numpy.nan)}, "pixel_values holds NaN"),
        ({"pixel_values": numpy.zeros((2, 8, 10, 10, 3))}, "pixel_values has shape"),
        ({"pixel_values": numpy.zeros((2, 8, 3, 12, 10))}, "pass interpolate_pos_encoding=True"),
        ({"pixel_values": "clip.mp4"}, "expected a NumPy or CuPy array"),
    ],
)
def test_nothing_is_written_when_something_is_refused(tmp_path, arguments, message):
    model = small_model()
    with pytest.raises(InputError, match=message) as caught:
        trace_model(
            **{"model": model, "pixel_values": clip_for(model.config), "directory": tmp_path / "trace"} | arguments
        )
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_bare_model_has_no_loss(tmp_path):
    model = small_model(1, VivitModel)
    for arguments in ({"gradients": True}, {"gradients": True, "labels": LABELS}, {"labels": LABELS}):
        with pytest.raises(InputError, match="a bare VivitModel has no head and so no loss: it needs no labels"):
            trace_model(model, clip_for(model.config), tmp_path / "trace", **arguments)


def test_a_budget_starts_from_float64(tmp_path):
    model = small_model(dtype="float32")
    with pytest.raises(InputError, match="measured from float64, and the model is in float32"):
        trace_model(model, clip_for(model.config), tmp_path / "trace", budgets=["float32"])


def test_what_is_no_model(tmp_path):
    with pytest.raises(InputError, match="model is a str; expected"):
        trace_model("model", None, tmp_path / "trace")


# --------------------------------------------------------------------------------------------------------------------
# The place
# --------------------------------------------------------------------------------------------------------------------


def test_a_trace_replaces_a_trace(tmp_path):
    model, other = small_model(1), small_model(2)
    place = tmp_path / "deep" / "trace"
    trace_model(other, clip_for(other.config), place)
    trace_model(model, clip_for(model.config), place)
    assert "vivit.encoder.layer.0" in open_source(place)
    assert {path.name for path in place.iterdir()} == {TRACE_INDEX, *index_of(place)["weight_map"].values()}
    assert [path.name for path in place.parent.iterdir()] == ["trace"]


def test_an_empty_directory_and_a_link_to_one_are_welcome(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    model = small_model()
    trace_model(model, clip_for(model.config), tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert "classifier" in open_source(tmp_path / "empty")


def test_what_is_no_trace_is_left_alone(tmp_path):
    model = small_model()
    pixels = clip_for(model.config)

    def refuses(message):
        with pytest.raises(InputError, match=message) as caught:
            trace_model(model, pixels, tmp_path / "place")
        assert "\n" not in str(caught.value)

    (tmp_path / "place").write_text("a file")
    refuses("place is a file; expected a directory")
    with pytest.raises(InputError, match=r"place.below.trace cannot be made \(Not a directory\); choose a directory"):
        trace_model(model, pixels, tmp_path / "place" / "below" / "trace")
    (tmp_path / "place").unlink()
    model.save_pretrained(tmp_path / "place")
    refuses("place exists and is no trace; choose another")
    for path in (tmp_path / "place").iterdir():
        path.unlink()
    trace_model(model, pixels, tmp_path / "place")
    (tmp_path / "place" / "notes.txt").write_text("of hours of work")
    refuses("holds a trace, and besides 'notes.txt'; choose another")
    assert (tmp_path / "place" / "notes.txt").read_text() == "of hours of work"
    (tmp_path / "place" / "notes.txt").unlink()
    shape_the_index(tmp_path / "place", lambda index: index.update(metadata=[1]))
    refuses("is no trace")
    (tmp_path / "place" / TRACE_INDEX).write_text("{")
    refuses("is not valid JSON")
    assert len(list(tmp_path.iterdir())) == 1


def test_a_failure_leaves_the_older_trace(tmp_path, monkeypatch):
    model = small_model()
    pixels = clip_for(model.config)
    trace_model(model, pixels, tmp_path / "trace")
    before = read_all(tmp_path / "trace")

    def full(name):
        if name == "vivit.encoder.layer.1.attention_residual":
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        trace_model(model, pixels + 1, tmp_path / "trace", on_record=full)
    assert [path.name for path in tmp_path.iterdir()] == ["trace"]
    assert_same(read_all(tmp_path / "trace"), before)


def test_a_trace_that_cannot_be_put_in_its_place_leaves_the_older_one(tmp_path, monkeypatch):
    model = small_model()
    pixels = clip_for(model.config)
    trace_model(model, pixels, tmp_path / "trace")
    (tmp_path / "trace").chmod(0o700)
    before = read_all(tmp_path / "trace")
    usual = Path.rename

    def rename(self, target):
        if self.suffix == ".part":
            raise OSError(errno.EIO, "Input/output error", str(self))
        return usual(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename)
        with pytest.raises(OSError, match="trace'"):
            trace_model(model, pixels + 1, tmp_path / "trace")
    assert [path.name for path in tmp_path.iterdir()] == ["trace"]
    assert_same(read_all(tmp_path / "trace"), before)
    trace_model(model, pixels + 1, tmp_path / "trace")
    assert [path.name for path in tmp_path.iterdir()] == ["trace"]
    if os.name == "posix":
        assert stat.S_IMODE((tmp_path / "trace").stat().st_mode) == 0o700


def test_the_current_directory_is_filled_and_not_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = small_model()
    trace_model(model, clip_for(model.config), ".")
    assert Path(TRACE_INDEX).is_file()
    with pytest.raises(InputError, match="is the current directory and holds a trace"):
        trace_model(model, clip_for(model.config), ".")
    assert Path(TRACE_INDEX).is_file()


def test_a_place_that_is_taken_meanwhile(tmp_path):
    def trace():
        with new_trace_directory(tmp_path / "trace"):
            (tmp_path / "trace").mkdir()
            (tmp_path / "trace" / "notes.txt").write_text("of hours of work")

    with pytest.raises(InputError, match=r"is not empty, it holds 'notes\.txt'"):
        trace()
    assert (tmp_path / "trace" / "notes.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["trace"]


# --------------------------------------------------------------------------------------------------------------------
# The writer
# --------------------------------------------------------------------------------------------------------------------


def write(directory, arrays):
    store = TraceWriter(directory)
    for name, array in arrays:
        store[name] = array
    store.write_index({})
    return store


def test_file_names_that_every_system_takes(tmp_path):
    """Windows has devices called as these, tells no upper from lower case, and has other letters for separators."""
    names = ["con", "NUL.layer.0.x", "aux", "Com1.layer.1.y", "A.layer.0", "a.layer.0", "a.layer.0.b", "A.layer.0.c"]
    names += ["gradient.b:c", "x\\y.layer.0", "../up.layer.3", "dots...layer.4", "l" * 300 + ".layer.5", "é?*.layer.6"]
    store = write(tmp_path, [(name, numpy.full(2, float(place))) for place, name in enumerate(names)])
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {*store.weight_map.values(), TRACE_INDEX}
    assert len({file.lower() for file in files}) == len(files)
    for file in files:
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*[A-Za-z0-9]", file)
        assert len(file) < 130
        assert not re.match(r"(con|prn|aux|nul|com\d|lpt\d)\.", file, re.IGNORECASE)
    source = open_source(tmp_path)
    assert {name: float(source.read(name)[0]) for name in names} == dict(zip(names, range(len(names)), strict=True))


def test_a_name_that_comes_twice_is_an_error(tmp_path):
    store = TraceWriter(tmp_path)
    store["x"] = numpy.zeros(2)
    with pytest.raises(InputError, match="'x' was recorded twice"):
        store["x"] = numpy.ones(2)
    store.close()


def test_values_are_those_at_the_time_of_recording(tmp_path):
    """Whatever becomes of the array afterwards."""
    store, array = TraceWriter(tmp_path), numpy.arange(12.0).reshape(3, 4)
    expected = {}
    for name, value in (("layer.0.a", array), ("layer.0.b", array[:, 1:3]), ("layer.1", array.T)):
        store[name], expected[name] = value, value.copy()
        array += 1
    store.write_index({})
    assert_same(read_all(tmp_path), expected)


def test_odd_names_arrays_and_orders(tmp_path):
    rng = numpy.random.default_rng(0)
    arrays = {
        "/outer/layer.0/é": rng.standard_normal((3, 4)).T,
        "": rng.standard_normal(3).astype("float32")[::-1],
        "layer.1": numpy.float64(3.5),
        "layer.10.a": rng.standard_normal((2, 0, 3)),
        "layer.1.b": rng.standard_normal((2, 3)).astype(">f8"),
        "other": rng.standard_normal((2, 3)).astype("float16"),
        "layer.1.c": numpy.broadcast_to(rng.standard_normal(3), (2, 3)),
    }
    store = write(tmp_path, arrays.items())
    assert len(store) == 0
    assert_same(read_all(tmp_path), arrays)
    files = list(store.weight_map.values())
    assert files[2:] == [f"{name}.safetensors" for name in ("layer.1", "layer.10", "layer.1-2", "other", "layer.1-3")]
    found = {name: array for file in set(files) for name, array in read_safetensors(tmp_path / file).items()}
    for name, array in arrays.items():
        numpy.testing.assert_array_equal(found[name], array)


def test_a_header_that_is_full_begins_another_file(tmp_path):
    arrays = {f"{'x' * 100}.{number}": numpy.full(3, float(number)) for number in range(300)}
    store = write(tmp_path, arrays.items())
    assert 2 <= len(set(store.weight_map.values())) <= 5
    assert_same(read_all(tmp_path), arrays)


def test_a_stream_is_aligned_and_refuses(tmp_path):
    stream = SafetensorsStream(tmp_path / "file.safetensors")
    with pytest.raises(InputError, match="dtype int64; expected one of float16, float32, float64"):
        stream.add("x", numpy.zeros(3, dtype="int64"))
    with pytest.raises(InputError, match=r"has 20,000 letters, too many"):
        stream.add("x" * 20000, numpy.zeros(3))
    with pytest.raises(InputError, match="cannot be the name"):
        stream.add("__metadata__", numpy.zeros(3))
    assert stream.add("x", numpy.arange(3.0))
    stream.close()
    assert (tmp_path / "file.safetensors").read_bytes()[ROOM:] == numpy.arange(3.0).tobytes()
    with pytest.raises(FileExistsError):
        SafetensorsStream(tmp_path / "file.safetensors")


MEMORY = """
import sys
import numpy
from minivivit import VivitConfig, VivitForVideoClassification
from minivivit.layers.trace import Trace
from minivivit.verification.tracing.recording import trace_model

class Nothing(dict):
    def wants(self, name):
        return False
    def __setitem__(self, name, array):
        pass

def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024

shape = {"num_frames": 4, "image_size": 48, "tubelet_size": [2, 4, 4], "num_labels": 3}
size = {"hidden_size": 96, "num_attention_heads": 2, "intermediate_size": 384, "num_hidden_layers": 8}
model = VivitForVideoClassification(VivitConfig(**shape, **size), dtype="float64", backend="numpy")
pixels = numpy.random.default_rng(0).standard_normal((1, 4, 3, 48, 48))
options = {"labels": [1], "gradient_checkpointing": True}
model.loss_and_gradients(pixels, **options, trace=Trace(Nothing()))  # what the pass itself takes
before = peak()
metadata = trace_model(model, pixels, sys.argv[1], labels=[1], gradients=True)
print(metadata["total_size"], peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_trace_never_stands_in_memory_whole(tmp_path):
    """In a process of its own, forward and backward: beside what the pass takes, a few tensors of 0.9 MB at most."""
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "trace")]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "MINIVIVIT_NUM_THREADS": "1"}
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    total, more = map(int, result.stdout.split())
    assert total > 60e6
    assert more < 8e6


# --------------------------------------------------------------------------------------------------------------------
# The command
# --------------------------------------------------------------------------------------------------------------------

TINY = Path(__file__).parent.parent / "data" / "transformers" / "tiny"  # written by transformers; 4 frames of 16 x 16
SHAPE = (4, 3, 16, 16)


def succeed(capsys, *arguments):
    capsys.readouterr()
    assert main(["trace", *map(str, arguments)]) == 0
    return capsys.readouterr()


def fail(capsys, *arguments):
    """The command's error: one line, exit code 2, nothing on standard output."""
    capsys.readouterr()
    try:
        code = main(["trace", *map(str, arguments)])
    except SystemExit as leaving:
        code = leaving.code
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert err.startswith("minivivit: error: ")
    assert err.count("\n") == 1
    return err


@pytest.fixture
def pixels(tmp_path):
    """Pixel values of one clip, in a file."""
    path = tmp_path / "pixels.npy"
    numpy.save(path, numpy.random.default_rng(0).standard_normal(SHAPE))
    return path


def test_a_clip_is_prepared_as_for_classify(capsys, tmp_path):
    clip = tmp_path / "clip.npy"
    numpy.save(clip, numpy.random.default_rng(0).integers(0, 256, (12, 20, 30, 3), dtype=numpy.uint8))
    out, err = succeed(capsys, clip, tmp_path / "trace", "--model", TINY)
    assert "resizing the shortest edge to 18" in err
    source = open_source(tmp_path / "trace")
    size = source.metadata["total_size"] / 1e6
    assert out.splitlines()[0] == f"clip.npy: {len(source.shapes)} tensors in float64, {size:.2f} MB"
    assert f"written to {tmp_path / 'trace'}: from pixel_values to classifier\n" in out
    assert "rounding measured in float32\n" in out
    assert list(source.metadata["rounding_budgets"]["float32"]) == list(source.shapes)
    assert source.metadata["model"] == str(TINY)
    assert main(["classify", str(clip), "--model", str(TINY), "--json", "--dtype", "float64", "--top-k", "9"]) == 0
    classes = {entry["index"]: entry["probability"] for entry in json.loads(capsys.readouterr().out)["predictions"]}
    logits = source.read("classifier")[0]
    probabilities = numpy.exp(logits) / numpy.exp(logits).sum()
    numpy.testing.assert_allclose([classes[index] for index in range(5)], probabilities, rtol=1e-10)


def test_the_bundled_model_on_the_bundled_clip(capsys, tmp_path):
    succeed(capsys, bundled_clip(), tmp_path / "trace", "--gradients", "--label", 3, "--budget", "bfloat16", "float64")
    metadata = open_source(tmp_path / "trace").metadata
    assert metadata["labels"] == [3]
    assert metadata["gradients"] is True
    assert list(metadata["rounding_budgets"]) == ["bfloat16", "float64"]
    assert "gradient.pixel_values" in metadata["rounding_budgets"]["bfloat16"]


@pytest.mark.parametrize("kind", ["npy", "npy with batch", "npz", "safetensors", "safetensors with more"])
def test_pixel_values_from_a_file(capsys, tmp_path, kind):
    pixels = numpy.random.default_rng(0).standard_normal(SHAPE).astype("float32")
    if kind.startswith("npy"):
        path = tmp_path / "pixels.npy"
        numpy.save(path, numpy.stack([pixels, pixels + 1]) if "batch" in kind else pixels)
    elif kind == "npz":
        path = tmp_path / "pixels.npz"
        numpy.savez(path, pixels)  # "arr_0"
    else:
        path = tmp_path / "pixels.safetensors"
        more = {"logits": numpy.zeros((1, 5))} if "more" in kind else {}
        write_safetensors(path, {"pixel_values": pixels[None], **more})
    succeed(capsys, path, tmp_path / "trace", "--model", TINY, "--label", 1)
    source = open_source(tmp_path / "trace")
    found = source.read("pixel_values")
    numpy.testing.assert_array_equal(found[0], pixels)
    assert len(found) == (2 if "batch" in kind else 1)
    assert source.metadata["labels"] == [1] * len(found)
    model = VivitForVideoClassification.from_pretrained(TINY, dtype="float64", backend="numpy")
    out = model(found, labels=numpy.ones(len(found), dtype=int))
    numpy.testing.assert_allclose(source.read("classifier"), out.logits, rtol=1e-12)
    numpy.testing.assert_allclose(source.read("loss"), out.loss, rtol=1e-12)


def test_another_size_interpolates_and_says_so(capsys, tmp_path):
    numpy.save(tmp_path / "pixels.npy", numpy.zeros((4, 3, 24, 20)))
    _, err = succeed(capsys, tmp_path / "pixels.npy", tmp_path / "trace", "--model", TINY)
    assert "sees 4 of 24 x 20: its position embeddings are interpolated" in err
    assert "vivit.embeddings.interpolated_positions" in open_source(tmp_path / "trace")


def test_the_other_options(capsys, tmp_path, pixels):
    out, _ = succeed(
        capsys, pixels, tmp_path / "trace", "--model", TINY, "--dtype", "float32", "--only", "pre_*", "cl*"
    )
    source = open_source(tmp_path / "trace")
    assert source.dtypes == dict.fromkeys(["pixel_values", "pre_logits", "classifier"], "float32")
    assert source.metadata["rounding_budgets"] == {}
    assert "rounding" not in out
    succeed(capsys, pixels, tmp_path / "trace", "--model", TINY, "--budget")
    assert open_source(tmp_path / "trace").metadata["rounding_budgets"] == {}


def test_a_directory_without_a_head_is_a_bare_model(capsys, tmp_path, pixels):
    for pooler in (True, False):
        model = VivitModel(VivitConfig.from_pretrained(TINY), pooler, backend="numpy")
        model.save_pretrained(tmp_path / "model")
        succeed(capsys, pixels, tmp_path / "trace", "--model", tmp_path / "model")
        source = open_source(tmp_path / "trace")
        assert ("pooler" in source) == pooler
        assert "layernorm" in source
        assert "classifier" not in source
        err = fail(capsys, pixels, tmp_path / "other", "--model", tmp_path / "model", "--gradients", "--label", 1)
        assert "a bare VivitModel has no head" in err


def test_several_heads_take_one_label_each_or_one_for_all(capsys, tmp_path):
    model = small_model(class_splits=[2, 1])
    model.save_pretrained(tmp_path / "model")
    numpy.save(tmp_path / "pixels.npy", clip_for(model.config))
    arguments = (tmp_path / "pixels.npy", tmp_path / "trace", "--model", tmp_path / "model", "--label")
    succeed(capsys, *arguments, 0)
    assert open_source(tmp_path / "trace").metadata["labels"] == [[0, 0], [0, 0]]
    succeed(capsys, *arguments, 1, 0, 0, 0)
    assert open_source(tmp_path / "trace").metadata["labels"] == [[1, 0], [0, 0]]
    assert "expected 2 x 2 class indices" in fail(capsys, *arguments, 1, 0, 0)


def test_the_bar_moves_a_step_a_layer(capsys, tmp_path, pixels, monkeypatch):
    steps = []

    def bar(total, description):
        bar = progress.tqdm(total=total, desc=description, file=open(os.devnull, "w", encoding="utf-8"), disable=False)  # noqa: SIM115
        steps.append(bar)
        return bar

    monkeypatch.setattr(trace_command, "progress_bar", bar)
    succeed(capsys, pixels, tmp_path / "trace", "--model", TINY, "--gradients", "--label", 0)
    steps[0].fp.close()
    assert steps[0].n == steps[0].total == 2 + 2 * 2 + 1


def test_help_names_the_table_of_names(capsys):
    with pytest.raises(SystemExit):
        main(["trace", "--help"])
    assert "notebooks/trace_names.md" in capsys.readouterr().out


BROKEN = {
    "a name without a file": (None, "does not exist"),
    "empty.npy": (b"", "is empty|cannot be read"),
    "empty.npz": (b"", "is empty"),
    "empty.safetensors": (b"", "is empty"),
    "noise.npy": (b"x" * 500, "cannot be read as a .npy file"),
    "noise.npz": (b"x" * 500, "not a whole .npz file"),
    "noise.safetensors": (b"x" * 500, "truncated or not a safetensors file"),
    "noise.mp4": (b"x" * 500, "noise.mp4"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_inputs(capsys, tmp_path, name):
    content, message = BROKEN[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert re.search(message, fail(capsys, tmp_path / name, tmp_path / "trace", "--model", TINY))
    assert not (tmp_path / "trace").exists()


WRONG = {
    "integers": (numpy.zeros((1, *SHAPE), dtype="int64"), "int64"),
    "bytes": (numpy.zeros((1, *SHAPE), dtype="uint8"), "uint8"),
    "objects": (numpy.array([None, {}]), "object|allow_pickle|Python"),
    "complex": (numpy.zeros((1, *SHAPE), dtype="complex128"), "complex128"),
    "no clip": (numpy.zeros((0, *SHAPE)), "of shape"),
    "three axes": (numpy.zeros((4, 16, 16)), r"expected \(batch, frames, channels, height, width\)"),
    "six axes": (numpy.zeros((1, 1, *SHAPE)), r"expected \(batch, frames, channels, height, width\)"),
    "channels last": (numpy.zeros((4, 16, 16, 3)), "with 3 channels"),
    "too few frames": (numpy.zeros((1, 3, 16, 16)), "not one tubelet"),
    "not a number": (numpy.full(SHAPE, numpy.nan), "NaN or infinity"),
    "infinity": (numpy.full(SHAPE, numpy.inf), "NaN or infinity"),
}


@pytest.mark.parametrize("kind", ["npy", "npz"])
@pytest.mark.parametrize("name", WRONG)
def test_wrong_inputs(capsys, tmp_path, name, kind):
    array, message = WRONG[name]
    path = tmp_path / f"pixels.{kind}"
    numpy.save(path, array) if kind == "npy" else numpy.savez(path, pixel_values=array)
    found = fail(capsys, path, tmp_path / "trace", "--model", TINY)
    assert re.search(f"{message}|holds no floating-point tensor" if kind == "npz" else message, found)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("beside", ["pixel_values", "label"])
def test_integers_are_not_passed_over_for_the_tensor_beside_them(capsys, tmp_path, pixels, beside):
    clip = numpy.load(pixels)
    numpy.savez(tmp_path / "pixels.npz", x=clip, **{beside: clip.astype("uint8")})
    found = fail(capsys, tmp_path / "pixels.npz", tmp_path / "trace", "--model", TINY)
    assert ("'pixel_values' in uint8" if beside == "pixel_values" else "expected pixel values under") in found
    assert not (tmp_path / "trace").exists()


def test_files_that_were_cut(capsys, tmp_path, pixels):
    numpy.savez(tmp_path / "pixels.npz", numpy.load(pixels))
    write_safetensors(tmp_path / "pixels.safetensors", {"x": numpy.load(pixels)})
    for name in ("pixels.npy", "pixels.npz", "pixels.safetensors"):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:-100])
        assert name in fail(capsys, path, tmp_path / "trace", "--model", TINY)


def test_more_values_than_memory_can_be_meant_to_hold(capsys, tmp_path):
    """Headers are small, whatever they claim: here 8 TB, of which the file has a hole."""
    shape = (1 << 20, 1024, 3, 16, 16)
    with open(tmp_path / "pixels.npy", "wb") as file:
        numpy.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
        file.truncate(file.tell() + 8 * math.prod(shape))
    assert "values are the most" in fail(capsys, tmp_path / "pixels.npy", tmp_path / "trace", "--model", TINY)


def test_several_tensors_and_none_called_pixel_values(capsys, tmp_path):
    numpy.savez(tmp_path / "pixels.npz", a=numpy.zeros(SHAPE), b=numpy.zeros(SHAPE))
    err = fail(capsys, tmp_path / "pixels.npz", tmp_path / "trace", "--model", TINY)
    assert "holds 'a', 'b'; expected pixel values under 'pixel_values'" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--gradients"], "--gradients starts from the loss, which needs the class: pass --label N"),
        (["--label", "5"], "the label is 5; expected 0 to 4"),
        (["--label", "one"], "is not a whole number"),
        (["--budget", "float8"], "invalid choice"),
        (["--budget", "float32", "--dtype", "float32"], "measured from float64"),
        (["--dtype", "float16"], "invalid choice"),
        (["--only", "no.such.name"], "no name matches the pattern"),
        (["--only"], "expected at least one argument"),
        (["--model", "/no/such/directory"], "/no/such/directory"),
    ],
)
def test_wrong_options(capsys, tmp_path, pixels, options, message):
    assert message in fail(capsys, pixels, tmp_path / "trace", "--model", TINY, *options)
    assert not (tmp_path / "trace").exists()


def test_a_directory_of_something_else(capsys, tmp_path, pixels):
    assert "exists and is no trace" in fail(capsys, pixels, tmp_path, "--model", TINY)
    assert pixels.exists()
