"""No reader takes more than linear time: files that would take minutes otherwise, in a process with a few seconds."""

import io
import json
import os
import pickle
import struct
import sys
import zipfile

import numpy
import pytest
from file_writers import write_header, write_torch_file

from minivivit.checkpoints.image_source import open_image_source, renumber_modules
from minivivit.errors import InputError
from minivivit.files.json_file import parse_json_object
from minivivit.files.npz_file import npz_index
from minivivit.files.restricted_pickle import load
from minivivit.files.safetensors_file import safetensors_index
from minivivit.files.torch_file import torch_index
from minivivit.verification.comparison.mapping import apply_mapping
from minivivit.verification.tensors.source import open_source

resource = pytest.importorskip("resource", reason="the system has no limit on processor time")
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks, and limits processor time")

# Of processor time: some hundred times what these files take, and a fraction of what they took.
SECONDS = 15
MERSENNE = (1 << 61) - 1  # whole numbers hash to their remainder by this


def within_seconds(function) -> str:
    """The `InputError` that `function` raises, or "" when it returns, in a child that may take `SECONDS`."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reading)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        limit = int(usage.ru_utime + usage.ru_stime) + 1 + SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
        message = "returned"
        try:
            function()
        except BaseException as error:
            message = f"{type(error).__name__}: {error}"
        os.write(writing, message.encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as file:
        message = file.read().decode()
    _, status = os.waitpid(process, 0)
    assert not os.WIFSIGNALED(status), f"more than {SECONDS} seconds of processor time"
    return message


def long1(number: int) -> bytes:
    data = pickle.encode_long(number)
    return b"\x8a" + bytes([len(data)]) + data


COLLIDING = [long1(index * MERSENNE) for index in range(64_000)]


@pytest.mark.parametrize(
    "program",
    [
        b"}(" + b"N".join([*COLLIDING, b""]) + b"u",
        b"](}(" + b"N".join([*COLLIDING, b""]) + b"ue",
        b"ccollections\nOrderedDict\n)R(" + b"N".join([*COLLIDING, b""]) + b"u",
        b"}" + b"".join(key + b"Ns" for key in COLLIDING),
        b"}(" + b"".join(key + b"q\x00N" for key in COLLIDING) + b"u",
        b"}(" + b"".join(b"J" + struct.pack("<i", (index << 15) - (1 << 31)) + b"N" for index in range(1 << 17)) + b"u",
        b"}(" + b"".join(long1(index << 43) + b"N" for index in range(1 << 16)) + b"u",
        b"N" + b"".join(b"r" + struct.pack("<I", index << 15) for index in range(1 << 17)),
    ],
    ids=["setitems", "nested", "OrderedDict", "setitem", "memo", "small numbers", "large ones", "memo's own"],
)
def test_pickles_with_keys_that_collide(program):
    allowed = {"collections.OrderedDict": lambda arguments: {}}
    message = within_seconds(lambda: load(b"\x80\x02" + program + b".", allowed, lambda value: value))
    assert message == "returned" or "no dict with names or small numbers as keys" in message


def test_colliding_keys_in_a_whole_file(tmp_path):
    path = write_torch_file(tmp_path / "pytorch_model.bin", b"}(" + b"N".join([*COLLIDING, b""]) + b"u", {})
    assert "InputError" in within_seconds(lambda: torch_index(path))


def test_an_optimiser_s_state_may_have_numbers_as_keys():
    state = {0: None, 140_234_567_890_123: {"a": 1}}  # places in a list, or, in old files, addresses
    assert load(pickle.dumps(state, 2), {}, lambda value: value) == state


def test_json_with_a_key_doubled():
    keys = [f'"key{index}": {index}' for index in range(60_000)]
    text = "{" + ", ".join([*keys, '"key59999": 0']) + "}"
    assert "the key 'key59999' occurs twice" in within_seconds(lambda: parse_json_object(text.encode(), "it"))


def test_a_list_of_records_that_was_filled_for_the_purpose(tmp_path):
    """What `zipfile` reads at once, it takes apart in steps that copy what is left."""
    extra, members = struct.pack("<HH", 0x9999, 0) * 16383, 1500
    local, central = bytearray(), bytearray()
    for index in range(members):
        name = b"%d.npy" % index
        sizes = (len(name), len(extra), 0, 0, 0, 0, len(local))
        central += struct.pack("<IHHHHHHIIIHHHHHII", 0x02014B50, 20, 20, *[0] * 7, *sizes) + name + extra
        local += struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, 0, 0, 0, 0, 0, 0, 0, len(name), 0) + name
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, members, members, len(central), len(local), 0)
    path = tmp_path / "file.npz"
    path.write_bytes(local + central + end)
    assert "whose list of records has" in within_seconds(lambda: npz_index(path))


def npy() -> bytes:
    file = io.BytesIO()
    numpy.save(file, numpy.zeros(1, "float32"))
    return file.getvalue()


@pytest.mark.thorough
def test_thousands_of_members(tmp_path):
    path, content = tmp_path / "file.npz", npy()
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(3_000):
            archive.writestr(f"block/Module_{index}/kernel.npy", content)
    assert within_seconds(lambda: open_image_source(path)) == "returned"

    def read_all():
        source = open_source(path)
        for name in source.shapes:
            source.read(name)

    assert within_seconds(read_all) == "returned"


def test_modules_of_one_class():
    names = [f"block/Module_{index}/kernel" for index in range(60_000)]
    assert within_seconds(lambda: renumber_modules(names)) == "returned"


def test_names_of_thousands_of_parts(tmp_path):
    path = tmp_path / "file.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(50):
            archive.writestr("a/" * 30_000 + f"{index}.npy", npy())
    assert "a name of 60,00" in within_seconds(lambda: open_image_source(path))


def test_modules_keep_their_order_when_they_are_numbered_anew():
    names = [
        "a/LayerNorm_0/x",
        "a/MlpBlock_3/x",
        "a/LayerNorm_10/x",
        "a/LayerNorm_2/x",
        "head/bias",
        "encoderblock_7/x",
    ]
    assert renumber_modules(names) == {
        "a/LayerNorm_0/x": "a/LayerNorm_0/x",
        "a/MlpBlock_3/x": "a/MlpBlock_0/x",
        "a/LayerNorm_10/x": "a/LayerNorm_2/x",
        "a/LayerNorm_2/x": "a/LayerNorm_1/x",
        "head/bias": "output_projection/bias",
        "encoderblock_7/x": "encoderblock_7/x",
    }


@pytest.mark.thorough
def test_a_header_of_many_tensors(tmp_path):
    places = [{"dtype": "F32", "shape": [1], "data_offsets": [start, start + 4]} for start in range(0, 200_000, 4)]
    header = {f"{'x' * 200}.{index}": place for index, place in enumerate(places)}
    path = write_header(tmp_path / "model.safetensors", header, b"\x00" * 200_000)
    assert within_seconds(lambda: safetensors_index(path)) == "returned"


@pytest.mark.thorough
def test_a_mapping_of_many_placeholders():
    names = [f"vivit.layer.{index}" for index in range(2000)] + ["1" * 5000 + "x", "1" * 5000]
    words = ["{A}", "{B}", "{C}", "{D}", "{E}", "{F}", "{G}", "{H}", "{I}"]
    for key in ("".join(words), ".".join(words), "".join(words) + "x"):
        assert "fits no tensor of ours" in within_seconds(lambda key=key: apply_mapping(names, {key: "x"}))
    many = {f"vivit.layer.{{N}}.{index}": "x" for index in range(100_000)}
    assert "entries with" in within_seconds(lambda: apply_mapping(names, many))
    assert "words in braces" in within_seconds(lambda: apply_mapping(names, {"{N}" * 100_000: "x"}))
    with pytest.raises(InputError, match="fits no tensor"):  # a number is all of its digits
        apply_mapping(["a.12"], {"a.{N}{M}": "b.{N}.{M}"})
    assert apply_mapping(["a.12.b.3"], {"a.{N}.b.{M}": "{M}.{N}"})["a.12.b.3"].their_name == "3.12"


def test_messagepack_with_keys_that_collide(tmp_path):
    msgpack = pytest.importorskip("msgpack", reason="msgpack is not installed (pip install '.[scenic]')")
    from minivivit.checkpoints.scenic import read_scenic

    packer = msgpack.Packer()
    count = 100_000
    keys = b"".join(packer.pack(index * MERSENNE % (1 << 64)) + b"\xc0" for index in range(count))
    path = tmp_path / "checkpoint"
    path.write_bytes(packer.pack_map_header(1) + packer.pack("params") + packer.pack_map_header(count) + keys)
    assert "InputError" in within_seconds(lambda: read_scenic(path))


def test_an_index_of_many_names(tmp_path):
    from minivivit.files.weights import read_shard_index

    weight_map = {f"tensor.{index}": f"model-{index % 7}.safetensors" for index in range(200_000)}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    path = tmp_path / "model.safetensors.index.json"
    assert within_seconds(lambda: read_shard_index(path)) == "returned"
