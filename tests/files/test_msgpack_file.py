"""Flax's msgpack files: what we write and read, and what we refuse."""

import os
import struct
import tracemalloc
from contextlib import contextmanager

import numpy
import pytest

from minivivit.errors import InputError, MissingExtraError
from minivivit.files import msgpack_file
from minivivit.files.msgpack_file import read_flax_msgpack, write_flax_msgpack

msgpack = pytest.importorskip("msgpack", reason="msgpack is not installed (pip install '.[scenic]')")
fallback = pytest.importorskip("msgpack.fallback")


@pytest.fixture(autouse=True, params=["compiled", "python"])
def library(request, monkeypatch):
    """msgpack as its wheels bring it, and in Python, as it is where there is no wheel for the interpreter."""
    if request.param == "python":
        for name in ("Packer", "Unpacker", "unpackb"):
            monkeypatch.setattr(msgpack, name, getattr(fallback, name))


PLACES = (("optimizer", "target"), ("params",))


def packed_array(array, dtype=None, shape=None, content=None):
    """An array as Flax packs it, or with lies."""
    fields = (
        list(array.shape) if shape is None else shape,
        array.dtype.name if dtype is None else dtype,
        array.tobytes() if content is None else content,
    )
    return msgpack.ExtType(1, msgpack.packb(fields, use_bin_type=True))


def write(path, value):
    path.write_bytes(msgpack.packb(value, use_bin_type=True))
    return path


def tree_with(leaf):
    return {"params": {"embedding": {"kernel": leaf}}}


ARRAY = numpy.arange(6, dtype=numpy.float32).reshape(2, 3)


def refused(path, match):
    with pytest.raises(InputError, match=match) as error:
        read_flax_msgpack(path, PLACES)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


@contextmanager
def peak_memory():
    """A list that holds, afterwards, the most bytes that were in use at a time."""
    peak = []
    tracemalloc.start()
    try:
        yield peak
    finally:
        peak.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()


def leaf_of(path):
    return read_flax_msgpack(path, PLACES)["embedding"]["kernel"]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(2, 3), (), (0, 4), (1, 1, 5)])
def test_round_trip(tmp_path, dtype, shape):
    array = numpy.random.default_rng(0).standard_normal(shape).astype(dtype)
    write_flax_msgpack(tmp_path / "file", {"params": {"a": {"b": array}, "c": array.T}})
    tree = read_flax_msgpack(tmp_path / "file", PLACES)
    for ours, theirs in ((tree["a"]["b"], array), (tree["c"], array.T)):
        assert ours.dtype == dtype
        assert ours.shape == theirs.shape
        assert (ours == theirs).all()


def test_the_bytes_are_flaxes(tmp_path):
    """As `flax.serialization.msgpack_serialize` packs them (taken down from flax 0.12.8)."""
    write_flax_msgpack(tmp_path / "file", {"params": {"b": numpy.array([1.0, 2.0], numpy.float32)}, "step": 3})
    expected = bytes.fromhex("82a6706172616d7381a162c71501939102a7666c6f61743332c4080000803f00000040a47374657003")
    assert (tmp_path / "file").read_bytes() == expected


def test_either_place(tmp_path):
    other = {"optimizer": {"state": {"step": 3}, "target": {"a": packed_array(ARRAY)}}, "params": None}
    assert (read_flax_msgpack(write(tmp_path / "old", other), PLACES)["a"] == ARRAY).all()
    other = {"optimizer": None, "rng": 1, "params": {"a": packed_array(ARRAY)}}
    assert (read_flax_msgpack(write(tmp_path / "new", other), PLACES)["a"] == ARRAY).all()


def test_lists_are_walked_over(tmp_path):
    """Beside the weights there may be anything."""
    other = {"history": [[1, "a"], {"b": [None, packed_array(ARRAY)]}, []], "params": {"a": packed_array(ARRAY)}}
    assert (read_flax_msgpack(write(tmp_path / "file", other), PLACES)["a"] == ARRAY).all()


def test_a_library_that_fails_is_not_taken_for_a_damaged_file(tmp_path, monkeypatch):
    path = write(tmp_path / "file", tree_with(packed_array(ARRAY)))

    class Unpacker(msgpack.Unpacker):
        def read_map_header(self):
            raise ValueError("1 exceeds max_map_len(0)")

    monkeypatch.setattr(msgpack, "Unpacker", Unpacker)
    refused(path, r"installed msgpack .* fails on sound files too \(1 exceeds max_map_len\(0\)\)")


def test_bfloat16_is_widened(tmp_path):
    upper_halves = (ARRAY.view(numpy.uint32) >> 16).astype(numpy.uint16)
    leaf = leaf_of(write(tmp_path / "file", tree_with(packed_array(upper_halves, dtype="bfloat16"))))
    assert leaf.dtype == numpy.float32
    assert (leaf == ARRAY).all()


def test_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(msgpack_file, "MAX_CHUNK_BYTES", 8)
    write_flax_msgpack(tmp_path / "file", tree_with(ARRAY))
    raw = msgpack.unpackb((tmp_path / "file").read_bytes())["params"]["embedding"]["kernel"]
    assert raw["__msgpack_chunked_array__"] is True
    assert raw["shape"] == {"0": 2, "1": 3}
    assert list(raw["chunks"]) == ["0", "1", "2"]
    assert (leaf_of(tmp_path / "file") == ARRAY).all()


@pytest.mark.parametrize(
    "change",
    [
        {"shape": {"0": 2, "1": 4}},
        {"shape": {"0": 1 << 60, "1": 1 << 60}},
        {"shape": {"0": -1, "1": 6}},
        {"shape": {"1": 6}},
        {"shape": 6},
        {"chunks": {}},
        {"chunks": {"0": 5}},
        {"chunks": {"1": packed_array(ARRAY[0])}},
        {"chunks": {"0": packed_array(ARRAY)}},
    ],
)
def test_pieces_that_do_not_fit(tmp_path, change):
    pieces = {"0": packed_array(ARRAY[0]), "1": packed_array(ARRAY[1])}
    leaf = {"__msgpack_chunked_array__": True, "shape": {"0": 2, "1": 3}, "chunks": pieces, **change}
    refused(write(tmp_path / "file", tree_with(leaf)), "pieces of 'embedding/kernel'")


def test_truncated(tmp_path):
    """Wherever it ends, also past the weights."""
    value = {"params": {"a": packed_array(ARRAY), "b": packed_array(ARRAY)}, "rng": packed_array(ARRAY), "step": 70000}
    data = msgpack.packb(value, use_bin_type=True)
    for length in range(1, len(data)):
        (tmp_path / "file").write_bytes(data[:length])
        refused(tmp_path / "file", "file")
    (tmp_path / "file").write_bytes(data + b"\xc0")
    refused(tmp_path / "file", "its tree ends after")
    (tmp_path / "file").write_bytes(b"")
    refused(tmp_path / "file", "empty")
    refused(tmp_path / "nothing", "does not exist")


def test_damaged_anywhere(tmp_path):
    """Each byte set to each of a few values: an error or a tree, never anything else."""
    data = msgpack.packb({"params": {"a": packed_array(ARRAY), "b": {"c": packed_array(ARRAY)}}}, use_bin_type=True)
    refusals = trees = 0
    for position in range(len(data)):
        for value in (0x00, 0x7F, 0x80, 0x90, 0xC1, 0xC6, 0xC9, 0xDB, 0xDD, 0xDF, 0xFF):
            damaged = bytearray(data)
            damaged[position] = value
            (tmp_path / "file").write_bytes(damaged)
            try:
                read_flax_msgpack(tmp_path / "file", PLACES)
            except InputError as error:
                refusals += "\n" not in str(error)
            else:
                trees += 1
    assert refusals + trees == len(data) * 11
    assert refusals > 300


@pytest.mark.parametrize(
    ("leaf", "match"),
    [
        (packed_array(ARRAY, shape=[2, 4]), r"claims the shape \[2, 4\]"),
        (packed_array(ARRAY, shape=[1 << 62, 1 << 62]), "claims the shape"),
        (packed_array(ARRAY, shape=[0, 1 << 62], content=b""), "claims the shape"),
        (packed_array(ARRAY, shape=[-2, -3]), "impossible shape"),
        (packed_array(ARRAY, shape=[True, 6]), "impossible shape"),
        (packed_array(ARRAY, shape=[1] * 33 + [6]), "impossible shape"),
        (packed_array(ARRAY, shape="23"), "is not"),
        (packed_array(ARRAY, content="text"), "is not"),
        (packed_array(ARRAY, dtype="object"), "dtype 'object'"),
        (packed_array(ARRAY, dtype="int32"), "dtype 'int32'"),
        (packed_array(ARRAY, dtype=[1]), "dtype"),
        (msgpack.ExtType(1, b"\xdd\xff\xff\xff\xff"), "not a whole"),
        (msgpack.ExtType(1, b"\x91" * 5000), "not a whole"),
        (msgpack.ExtType(1, b""), "not a whole"),
        (msgpack.ExtType(2, msgpack.packb((1.0, 2.0))), "extension of type 2"),
        (msgpack.ExtType(99, b"os.system"), "extension of type 99"),
        ("text", "holds a str under 'embedding/kernel'"),
        (1.5, "holds a float under 'embedding/kernel'"),
        (None, "holds a NoneType under 'embedding/kernel'"),
        ([1, 2], "holds a list among its weights"),
        (b"bytes", "not a whole"),
        ({"a" * 2000: 1}, "not a whole"),
    ],
)
def test_leaves_that_are_no_weights(tmp_path, leaf, match):
    refused(write(tmp_path / "file", tree_with(leaf)), match)


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ({"model": 1}, "holds no weights that are known"),
        ({}, "holds no weights that are known"),
        ([1, 2, 3], "holds no weights that are known"),
        ({"params": packed_array(ARRAY)}, "holds no tree of arrays under params, but a ndarray"),
        ({"params": 5}, "holds no tree of arrays under params, but a int"),
        ({7: {}, "params": {}}, "a key in it is a int"),
    ],
)
def test_trees_that_are_none(tmp_path, value, match):
    refused(write(tmp_path / "file", value), match)


def test_hostile_structure(tmp_path):
    """Claims of more than there is, and a little that would become much."""
    head = b"\x81\xa6params"
    for data, match in [
        (head + b"\xdf\xff\xff\xff\xff", "not a whole"),  # 2^32 entries
        (head + b"\x81\xa1a\xc9\xff\xff\xff\xff\x01", "."),  # an extension of 2^32 bytes
        (head + b"\x81\xa1a\xc6\xff\xff\xff\xff", "not a whole"),  # 2^32 bytes
        (head + b"\x81\xa1a\xdd\xff\xff\xff\xff", "not a whole"),  # a list of 2^32
        (b"\x81\xa1a" + b"\x91" * 100_000, "nested more than 64 deep"),
        (head + b"\x81\xa1a" * 100_000, "nested more than 64 deep"),  # nested too deeply
        (b"\xdf\xff\xff\xff\xff\xa1a\xdd\xff\xff\xff\xff", "not a whole"),  # in what is walked over
        (head + b"\x82\xa1a\x80\xa1a\x80", "'a' occurs twice"),
        (b"PK\x03\x04 a zip archive", "."),
        (os.urandom(1000), "."),
    ]:
        (tmp_path / "file").write_bytes(data)
        with peak_memory() as peak:
            refused(tmp_path / "file", match)
        assert peak[0] < 50e6


def test_many_dicts(tmp_path, monkeypatch):
    """Two bytes a dict in the file are a hundred in memory."""
    entries = b"".join(b"\xa4" + b"%04d" % index + b"\x80" for index in range(5000))
    path = tmp_path / "file"
    path.write_bytes(b"\x81\xa6params\xde" + struct.pack(">H", 5000) + entries)
    monkeypatch.setattr(msgpack_file, "MAX_DICTS", 4000)
    refused(path, "more than 4,000 dicts")
    monkeypatch.setattr(msgpack_file, "MAX_DICTS", 100_000)
    monkeypatch.setattr(msgpack_file, "MAX_ENTRIES", 4000)
    refused(path, "one of more than 4,000 entries")


def test_the_optimisers_state_is_never_held(tmp_path):
    big = packed_array(numpy.zeros(1 << 20, numpy.float32))  # 4 MiB
    state = {f"moment_{index}": big for index in range(20)}
    path = write(tmp_path / "file", {"optimizer": {"state": state, "target": {"a": packed_array(ARRAY)}}})
    sizes = []
    with peak_memory() as peak:
        read_flax_msgpack(path, PLACES, progress=sizes.append)
    assert peak[0] < 20e6
    assert sum(sizes) == path.stat().st_size


@pytest.mark.parametrize("leaf", ["text", numpy.arange(3), [1, 2], object()])
def test_what_cannot_be_written(tmp_path, leaf):
    with pytest.raises(InputError, match="'a/b'"):
        write_flax_msgpack(tmp_path / "file", {"a": {"b": leaf}})
    assert not list(tmp_path.iterdir())


def test_without_msgpack(tmp_path, monkeypatch):
    monkeypatch.setattr(msgpack_file, "msgpack", None)
    with pytest.raises(MissingExtraError, match=r"minivivit\[scenic\]"):
        read_flax_msgpack(tmp_path / "file", PLACES)
    with pytest.raises(MissingExtraError, match=r"minivivit\[scenic\]"):
        write_flax_msgpack(tmp_path / "file", {})
