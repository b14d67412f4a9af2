"""The weights of a directory: which file is read, shards, memory, and what a crash leaves behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
from file_writers import DATA, assemble, small_tensors, storage, tensor, write_torch_file
from in_part import one_in

from minivivit.errors import InputError
from minivivit.files import weights
from minivivit.files.safetensors_file import write_safetensors
from minivivit.files.weights import read_tensors, read_weights, tensor_index, write_weights

GOLDEN = DATA / "tiny"


def assert_same(arrays: dict, expected: dict) -> None:
    assert arrays.keys() == expected.keys()
    for name, array in arrays.items():
        own = numpy.float32 if expected[name].dtype == numpy.float16 else expected[name].dtype
        numpy.testing.assert_array_equal(array, expected[name].astype(own), strict=True)


def test_the_four_kinds_are_looked_for_in_order(tmp_path):
    with pytest.raises(
        InputError, match=r"looked for model\.safetensors, model\.safetensors\.index\.json, pytorch_model"
    ):
        read_weights(tmp_path)
    bin_index = {"weight_map": {"in_bin_shard": "pytorch_model-1.bin"}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(bin_index))
    with pytest.raises(InputError, match=r"files that are not there: 'pytorch_model-1\.bin'"):
        read_weights(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes((GOLDEN / "pytorch_model.bin").read_bytes())
    assert "classifier.bias" in read_weights(tmp_path)
    write_safetensors(tmp_path / "shard.safetensors", {"in_shard": numpy.ones(1)})
    index = {"weight_map": {"in_shard": "shard.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert list(read_weights(tmp_path)) == ["in_shard"]
    write_safetensors(tmp_path / "model.safetensors", {"in_file": numpy.ones(1)})
    assert list(read_weights(tmp_path)) == ["in_file"]


def test_shards_of_the_pytorch_format(tmp_path):
    (tmp_path / "pytorch_model-1.bin").write_bytes((GOLDEN / "pytorch_model.bin").read_bytes())
    weight_map = dict.fromkeys(tensor_index(GOLDEN), "pytorch_model-1.bin")
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert_same(read_weights(tmp_path), read_weights(GOLDEN))
    assert tensor_index(tmp_path) == tensor_index(GOLDEN)


def test_not_a_directory(tmp_path):
    (tmp_path / "file").write_text("text")
    for path in (tmp_path / "absent", tmp_path / "file"):
        with pytest.raises(InputError, match="is not a directory"):
            read_weights(path)
    for name in ("model.safetensors", "pytorch_model.bin"):
        with pytest.raises(InputError, match=r"a file with a model's weights; expected the model's directory"):
            read_weights(GOLDEN / name)


def test_a_config_is_no_file_of_weights():
    with pytest.raises(InputError, match="is a model's config; expected the model's directory: give "):
        tensor_index(GOLDEN / "config.json")


def test_the_dtype_is_checked_before_anything_is_read(tmp_path):
    with pytest.raises(InputError, match="dtype is 'float16'"):
        read_weights(tmp_path, "float16")


def test_read_tensors_goes_by_the_suffix(tmp_path):
    assert_same(read_tensors(GOLDEN / "model.safetensors"), read_tensors(GOLDEN / "pytorch_model.bin"))
    assert tensor_index(GOLDEN / "model.safetensors") == tensor_index(GOLDEN / "pytorch_model.bin")
    for read in (read_tensors, tensor_index):
        with pytest.raises(InputError, match=r"expected \.safetensors, \.bin, \.pt"):
            read(GOLDEN / "golden.npz")


def test_round_trip_in_one_file(tmp_path):
    write_weights(tmp_path / "new" / "directory", small_tensors())
    assert os.listdir(tmp_path / "new" / "directory") == ["model.safetensors"]
    assert_same(read_weights(tmp_path / "new" / "directory"), small_tensors())


def test_round_trip_in_shards(tmp_path):
    tensors = {f"w{i}": numpy.full((i + 1, 2), i, "float32") for i in range(6)}  # 8, 16, ... 48 bytes
    write_weights(tmp_path, tensors, max_shard_bytes=40)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_size": 168}
    shards = {1: ["w0", "w1"], 2: ["w2"], 3: ["w3"], 4: ["w4"], 5: ["w5"]}  # the last is larger than a shard may be
    expected = {name: f"model-{i:05d}-of-00005.safetensors" for i, names in shards.items() for name in names}
    assert index["weight_map"] == expected
    assert sorted(os.listdir(tmp_path)) == sorted({*expected.values(), "model.safetensors.index.json"})
    assert_same(read_weights(tmp_path), tensors)
    assert tensor_index(tmp_path) == {name: (array.shape, "float32") for name, array in tensors.items()}


def test_what_fits_into_one_shard_is_one_file(tmp_path):
    write_weights(tmp_path, small_tensors(), max_shard_bytes=10_000)
    assert os.listdir(tmp_path) == ["model.safetensors"]
    with pytest.raises(InputError, match="max_shard_bytes is 0"):
        write_weights(tmp_path, small_tensors(), max_shard_bytes=0)


def test_earlier_weights_are_replaced_whole(tmp_path):
    old, new = {"old": numpy.ones(100)}, {"a": numpy.zeros(10), "b": numpy.zeros(10), "c": numpy.zeros(10)}
    (tmp_path / "config.json").write_text("{}")
    write_weights(tmp_path, old)
    write_weights(tmp_path, new, max_shard_bytes=80)
    assert_same(read_weights(tmp_path), new)
    write_weights(tmp_path, new, max_shard_bytes=160)
    assert len(list(tmp_path.glob("*.safetensors"))) == 2
    assert_same(read_weights(tmp_path), new)
    write_weights(tmp_path, old)
    assert_same(read_weights(tmp_path), old)
    assert sorted(os.listdir(tmp_path)) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize(("max_shard_bytes", "failing_call"), [(None, 1), (60, 1), (60, 2)])
def test_a_failure_while_writing_leaves_the_old_weights(tmp_path, monkeypatch, max_shard_bytes, failing_call):
    old = small_tensors()
    write_weights(tmp_path, old, max_shard_bytes=60)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    real, calls = weights.write_safetensors_to, []

    def disk_full(file, *arguments) -> None:
        calls.append(file)
        if len(calls) == failing_call:
            file.write(b"half")
            raise OSError(28, "No space left on device")
        real(file, *arguments)

    monkeypatch.setattr(weights, "write_safetensors_to", disk_full)
    with pytest.raises(OSError, match="No space left"):
        write_weights(tmp_path, {name: -array for name, array in old.items() if array.ndim}, None, max_shard_bytes)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_crash_between_the_renames_of_shards_leaves_no_mixture(tmp_path, monkeypatch):
    tensors = {f"w{i}": numpy.full(4, i, "float32") for i in range(4)}
    write_weights(tmp_path, tensors, max_shard_bytes=16)
    real, calls = os.replace, []

    def crash(source, target) -> None:
        calls.append(target)
        if len(calls) == 3:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        write_weights(tmp_path, {name: array + 10 for name, array in tensors.items()}, max_shard_bytes=16)
    with pytest.raises(InputError, match="holds no weights"):
        read_weights(tmp_path)
    assert not list(tmp_path.glob(".*"))


def test_nothing_is_written_when_a_tensor_cannot_be(tmp_path):
    with pytest.raises(InputError, match="tensor 'b' has dtype int64"):
        write_weights(tmp_path / "model", {"a": numpy.ones(1), "b": numpy.arange(3)})
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("value", [numpy.nan, numpy.inf, -numpy.inf])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path, value):
    tensors = small_tensors()
    tensors["a.weight"][1, 2] = value
    write_weights(tmp_path, tensors)
    with pytest.raises(InputError, match=r"tensor 'a\.weight' holds \S+ at \(1, 2\)") as error:
        read_weights(tmp_path)
    assert "\n" not in str(error.value)
    assert not numpy.isfinite(read_tensors(tmp_path / "model.safetensors")["a.weight"][1, 2])


def test_a_number_beyond_float32_is_refused_unless_read_as_float64(tmp_path):
    write_weights(tmp_path, {"w": numpy.array([1.0, 1e300])})
    assert read_weights(tmp_path, "float64")["w"][1] == 1e300
    with pytest.raises(InputError, match=r"holds inf at \(1,\) when read as float32.*dtype='float64'"):
        read_weights(tmp_path, "float32")


def test_finiteness_is_checked_in_every_block(tmp_path, monkeypatch):
    monkeypatch.setattr("minivivit.files.tensor_data.BLOCK_ELEMENTS", 4)
    for position in range(10):
        array = numpy.ones(10)
        array[position] = numpy.nan
        write_weights(tmp_path, {"w": array})
        with pytest.raises(InputError, match=rf"at \({position},\)"):
            read_weights(tmp_path)


SHARD = "model-00001-of-00002.safetensors"


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        (None, "no 'weight_map'"),
        ({}, "no 'weight_map'"),
        ([SHARD], "no 'weight_map'"),
        ({"w": 3}, "maps 'w' to 3"),
        ({"w": "../secret.safetensors"}, "expected the name of a file beside it"),
        ({"w": "/etc/secret.safetensors"}, "expected the name of a file beside it"),
        ({"w": "sub/secret.safetensors"}, "expected the name of a file beside it"),
        ({"w": "sub\\secret.safetensors"}, "expected the name of a file beside it"),
        ({"w": "C:secret.safetensors"}, "expected the name of a file beside it"),
        ({"w": ".."}, "expected the name of a file beside it"),
        ({"w": ""}, "expected the name of a file beside it"),
        ({"w": "a\x00b.safetensors"}, "expected the name of a file beside it"),
        ({"w": f"{SHARD}\n"}, "expected the name of a file beside it"),
        ({"w": "config.json"}, "expected a .safetensors file"),
        ({"w": SHARD, "v": "absent.safetensors"}, "not there: 'absent.safetensors'"),
        ({"w": SHARD, "v": SHARD}, f"says that {SHARD} holds 'v'; it does not"),
        ({"w": SHARD, "v": "model-00002-of-00002.safetensors"}, "holds 'extra'; model.safetensors.index.json does not"),
    ],
)
def test_indices_that_lie(tmp_path, weight_map, message):
    (tmp_path / "model").mkdir()
    write_safetensors(tmp_path / "secret.safetensors", {"w": numpy.ones(1)})
    write_safetensors(tmp_path / "model" / SHARD, {"w": numpy.ones(1)})
    write_safetensors(
        tmp_path / "model" / "model-00002-of-00002.safetensors", {"v": numpy.ones(1), "extra": numpy.ones(1)}
    )
    (tmp_path / "model" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    for read in (read_weights, tensor_index):
        with pytest.raises(InputError, match=message) as error:
            read(tmp_path / "model")
        assert "\n" not in str(error.value)


def test_an_index_that_names_a_tensor_twice_is_refused(tmp_path):
    write_safetensors(tmp_path / SHARD, {"w": numpy.ones(1)})
    text = f'{{"weight_map": {{"w": "{SHARD}", "w": "{SHARD}"}}}}'
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(InputError, match="the key 'w' occurs twice"):
        read_weights(tmp_path)


# --------------------------------------------------------------------------------------------------------------------
# Memory: the peak of a process of its own
# --------------------------------------------------------------------------------------------------------------------

MEASURE = """
import sys, numpy
from minivivit.files.weights import read_weights, write_weights

def kilobytes(field):
    return int(next(line for line in open("/proc/self/status") if line.startswith(field)).split()[1])

def growth(work):
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak is counted from here
    before = kilobytes("VmRSS")
    result = work()
    return (kilobytes("VmHWM") - before) * 1024, result

directory, dtype, output = sys.argv[1:]
grown, arrays = growth(lambda: read_weights(directory, dtype))
size = sum(array.nbytes for array in arrays.values())
print(grown / size)
print(growth(lambda: write_weights(output, arrays))[0] / size)
"""


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="needs Linux's /proc to measure the peak")
@pytest.mark.parametrize("kind", one_in(4, ["safetensors", "shards", "bin", "half"]))
def test_reading_takes_the_weights_once_and_writing_takes_nothing(tmp_path, kind):
    rng = numpy.random.default_rng(5)
    count = 3_000_000
    tensors = {f"w{i}": rng.standard_normal((count // 1000, 1000), "float32") for i in range(5)}  # 60 MB
    if kind == "half":
        tensors = {name: array.astype("float16") for name, array in tensors.items()}
    if kind == "bin":
        state = {name: tensor(storage(name, count), 0, (count // 1000, 1000), (1000, 1)) for name in tensors}
        records = {f"data/{name}": array.tobytes() for name, array in tensors.items()}
        write_torch_file(tmp_path / "pytorch_model.bin", assemble(state), records)
    else:
        write_weights(tmp_path, tensors, max_shard_bytes=25_000_000 if kind == "shards" else None)
    command = [sys.executable, "-c", MEASURE, str(tmp_path), "float32", str(tmp_path / "out")]
    root = str(Path(__file__).parent.parent.parent)
    result = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": root}, check=True)
    reading, writing = map(float, result.stdout.split())
    print(f"{kind}: reading {reading:.3f}, writing {writing:.3f} times the weights")
    assert 0.95 < reading < 1.3
    assert writing < 0.1
