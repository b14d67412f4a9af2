"""Tensors by name from wherever they lie; and what is broken or hostile."""

import json
import sys
from pathlib import Path

import numpy
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "models"))
from small_models import clip_for, small_model

from minivivit.errors import InputError
from minivivit.files.safetensors_file import write_safetensors
from minivivit.files.tensor_data import BLOCK_ELEMENTS
from minivivit.verification.tensors.source import TRACE_INDEX, open_source
from minivivit.verification.tracing.recording import trace_model
from minivivit.verification.tracing.saved_recording import save_recording

ARRAYS = {
    "second": numpy.arange(6, dtype="float32").reshape(2, 3).T,
    "first": numpy.arange(4.0) / 3,
    "half": numpy.array([1, 2.5, numpy.nan], dtype="float16"),
    "number": numpy.array(2.5),
    "nothing": numpy.zeros((2, 0)),
}


def saved(kind, directory):
    """`ARRAYS` as they lie in memory, or in a file."""
    if kind == "memory":
        return ARRAYS
    if kind == "npz":
        numpy.savez_compressed(directory / "file.npz", **ARRAYS)
        return directory / "file.npz"
    write_safetensors(directory / "file.safetensors", ARRAYS)
    if kind == "safetensors":
        return str(directory / "file.safetensors")
    index = {"metadata": {"by": "hand"}, "weight_map": dict.fromkeys(ARRAYS, "file.safetensors")}
    (directory / kind).write_text(json.dumps(index))
    return directory


@pytest.mark.parametrize("kind", ["memory", "npz", "safetensors", TRACE_INDEX, "model.safetensors.index.json"])
def test_every_kind_gives_the_same(tmp_path, kind):
    source = open_source(saved(kind, tmp_path))
    assert source.shapes == {name: array.shape for name, array in ARRAYS.items()}
    assert source.dtypes == {name: array.dtype.name for name, array in ARRAYS.items()}
    for name, array in ARRAYS.items():
        found = source.read(name)
        assert found.dtype == numpy.float64
        numpy.testing.assert_array_equal(found, array)
        assert all(block.ndim == 1 for block in source.blocks(name))
    assert "half" in source
    assert "whole" not in source
    if kind != "safetensors":  # which sorts by width and name
        assert list(source.shapes) == list(ARRAYS)
    assert source.metadata == ({"by": "hand"} if kind.endswith(".json") else {})
    assert open_source(source) is source


@pytest.mark.parametrize("kind", ["memory", "npz", "safetensors"])
def test_blocks_are_small(tmp_path, kind):
    array = numpy.arange(2.0 * BLOCK_ELEMENTS + 10).astype("float32").reshape(2, -1)
    source = {"x": array}
    if kind == "npz":
        numpy.savez(tmp_path / "x.npz", **source)
        source = tmp_path / "x.npz"
    elif kind == "safetensors":
        write_safetensors(tmp_path / "x.safetensors", source)
        source = tmp_path / "x.safetensors"
    blocks = list(open_source(source).blocks("x"))
    assert [block.size for block in blocks] == [BLOCK_ELEMENTS, BLOCK_ELEMENTS, 10]
    assert {block.dtype.name for block in blocks} == {"float64"}
    numpy.testing.assert_array_equal(numpy.concatenate(blocks), array.ravel())


def test_bfloat16(tmp_path):
    numbers = numpy.array([0x3F80, 0xC040, 0x7F80], dtype="<u2")  # 1, -3, infinity
    header = json.dumps({"x": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]}}).encode()
    data = len(header).to_bytes(8, "little") + header + numbers.tobytes()
    (tmp_path / "x.safetensors").write_bytes(data)
    source = open_source(tmp_path / "x.safetensors")
    assert source.dtypes == {"x": "bfloat16"}
    assert source.read("x").tolist() == [1, -3, numpy.inf]


# --------------------------------------------------------------------------------------------------------------------
# Broken and hostile
# --------------------------------------------------------------------------------------------------------------------


def refused(source, message):
    with pytest.raises(InputError, match=message) as caught:
        open_source(source)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_integers_are_left_out_and_refused_alone(tmp_path):
    numpy.savez(tmp_path / "x.npz", a=numpy.zeros(2), b=numpy.zeros(2, dtype="int64"), c=numpy.array(["text"]))
    source = open_source(tmp_path / "x.npz")
    assert list(source.shapes) == list(source.dtypes) == ["a"]
    assert source.left_out == {"b": "int64", "c": "str128"}
    numpy.savez(tmp_path / "y.npz", b=numpy.zeros(2, dtype="int64"))
    refused(tmp_path / "y.npz", r"y\.npz holds no floating-point tensor, only 'b'")
    refused({"a": numpy.array([None])}, "memory holds no floating-point tensor, only 'a'")


def test_files_that_are_not_there_or_of_another_kind(tmp_path):
    refused(tmp_path / "gone.npz", r"gone\.npz does not exist; expected a trace's directory")
    (tmp_path / "trace.txt").write_text("pixel_values")
    refused(tmp_path / "trace.txt", "is no trace by its name")
    refused(tmp_path, f"holds no {TRACE_INDEX}")


@pytest.mark.parametrize("name", ["x.npz", "x.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not what it says", bytes(100), b"\xff" * 100])
def test_files_that_are_not_what_they_say(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, name.replace(".", r"\."))


@pytest.mark.parametrize("kind", ["npz", "safetensors", TRACE_INDEX])
def test_a_file_that_was_cut(tmp_path, kind):
    source = saved(kind, tmp_path)
    path = tmp_path / ("file.npz" if kind == "npz" else "file.safetensors")
    path.write_bytes(path.read_bytes()[:-10])
    refused(source, path.name)


@pytest.fixture
def trace(tmp_path):
    """The directory of a trace, to be spoilt."""
    model = small_model(num_hidden_layers=1)
    trace_model(model, clip_for(model.config), tmp_path / "trace")
    return tmp_path / "trace"


def spoil(trace, change):
    index = json.loads((trace / TRACE_INDEX).read_text())
    change(index)
    (trace / TRACE_INDEX).write_text(json.dumps(index))


@pytest.mark.parametrize(
    "file", ["../x.safetensors", "/etc/passwd", "a/b.safetensors", ".hidden.safetensors", "x.bin", 3, None]
)
def test_an_index_that_points_elsewhere(trace, file):
    spoil(trace, lambda index: index["weight_map"].update(classifier=file))
    refused(trace, r"maps 'classifier' to .*; expected (the name of a file beside it|a \.safetensors file)")


def test_an_index_that_lacks_a_name(trace):
    spoil(trace, lambda index: index["weight_map"].pop("classifier"))
    refused(trace, r"do not agree about 'classifier'; the trace is damaged: write it again")


def test_an_index_with_a_name_too_many(trace):
    spoil(trace, lambda index: index["weight_map"].update(more="vivit.layernorm.safetensors"))
    refused(trace, r"do not agree about 'more'")


def test_an_index_that_names_a_tensor_of_another_file(trace):
    spoil(trace, lambda index: index["weight_map"].update(classifier="pixel_values.safetensors"))
    refused(trace, r"do not agree about 'classifier'")


def test_a_file_of_the_trace_is_gone(trace):
    (trace / "vivit.layernorm.safetensors").unlink()
    refused(trace, r"vivit\.layernorm\.safetensors does not exist")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not valid JSON"),
        ('{"weight_map": {"a": ', "is not valid JSON"),
        ("[1]", "holds a JSON list"),
        ("{}", "has no 'weight_map'"),
        ('{"weight_map": {}}', "has no 'weight_map'"),
        ('{"weight_map": ["a"]}', "has no 'weight_map'"),
        ('{"weight_map": {"a": "x.safetensors", "a": "x.safetensors"}}', "occurs twice"),
        ("[" * 100000, "is not valid JSON"),
    ],
)
def test_an_index_that_is_none(trace, text, message):
    (trace / TRACE_INDEX).write_text(text)
    refused(trace, message)


def test_metadata_that_are_no_object(trace):
    spoil(trace, lambda index: index.update(metadata=["x"]))
    refused(trace, r"the metadata of .* is \['x'\]; expected an object")


def test_a_header_that_claims_too_much(trace):
    """Nothing is allocated for a tensor that the file does not hold."""
    path = trace / "vivit.layernorm.safetensors"
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"shape":[2,3]', b'"shape":[2,9]'))
    assert path.read_bytes() != data
    refused(trace, "is not a valid safetensors file")
    path.write_bytes((1 << 60).to_bytes(8, "little") + data[8:])
    refused(trace, "truncated or not a safetensors file")


def test_a_safetensors_file_may_say_its_order(tmp_path):
    path = tmp_path / "port.safetensors"
    arrays = {name: numpy.full(2, value, "f4") for value, name in enumerate(["tokens", "block", "attention", "head"])}
    write_safetensors(path, arrays)
    assert open_source(path).alphabetical
    write_safetensors(path, arrays, metadata={"order": json.dumps(list(arrays))})
    source = open_source(path)
    assert list(source.shapes) == list(arrays)
    assert source.order_given
    assert not source.alphabetical
    write_safetensors(path, arrays, metadata={"order": '["tokens", "head"]'})  # what it omits comes last
    assert list(open_source(path).shapes) == ["tokens", "head", "attention", "block"]


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ("[", "the metadata 'order' of .* is not valid JSON"),
        ('["a"] , "b": 3', "names 'a', which it does not hold"),
        ("3", "is 3; expected a list of names"),
        ('["x", 3]', "expected a list of names"),
        ('["x", "z"]', "names 'z', which it does not hold"),
        ('["x", "x"]', "or names one twice"),
        ("[" * 100_000, "is not valid JSON"),
        ('["x"], "order": ["y"]', "occurs twice"),
    ],
)
def test_an_order_that_is_none(tmp_path, order, message):
    write_safetensors(tmp_path / "port.safetensors", {"x": numpy.zeros(2), "y": numpy.zeros(2)}, {"order": order})
    with pytest.raises(InputError, match=message) as error:
        open_source(tmp_path / "port.safetensors")
    assert "\n" not in str(error.value)


def test_names_that_are_sorted_only_by_the_width_of_their_numbers(tmp_path):
    arrays = {"z": numpy.zeros(2), "a": numpy.zeros(2, "f4"), "b": numpy.zeros(2, "f4"), "y": numpy.zeros(2, "f2")}
    write_safetensors(tmp_path / "port.safetensors", arrays)
    assert list(open_source(tmp_path / "port.safetensors").shapes) == ["z", "a", "b", "y"]
    assert open_source(tmp_path / "port.safetensors").alphabetical
    assert not open_source({"b": numpy.zeros(1), "a": numpy.zeros(1), "c": numpy.zeros(1)}).alphabetical


def test_a_saved_recording_keeps_its_order(tmp_path):
    values = {name: numpy.full(3, place, "f4") for place, name in enumerate(["tokens", "block", "head", "file"])}
    save_recording(tmp_path / "port.safetensors", values)
    source = open_source(tmp_path / "port.safetensors")
    assert list(source.shapes) == list(values)
    assert not source.alphabetical
    assert all((source.read(name) == value).all() for name, value in values.items())
    with pytest.raises(InputError, match=r"port.npz does not end in \.safetensors"):
        save_recording(tmp_path / "port.npz", values)
