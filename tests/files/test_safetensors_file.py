"""safetensors: what is written is read, and nothing that a file claims is believed."""

import struct

import numpy
import pytest
from file_writers import small_tensors, write_header

from minivivit.errors import InputError
from minivivit.files.safetensors_file import read_safetensors, safetensors_index, write_safetensors


def test_strides_and_byte_order_do_not_matter_when_writing(tmp_path):
    base = numpy.arange(24, dtype="float32").reshape(2, 3, 4)
    tensors = {"transposed": base.T, "sliced": base[:, ::2, 1:], "big": base.astype(">f4"), "fixed": base.copy()}
    tensors["fixed"].flags.writeable = False
    write_safetensors(tmp_path / "a.safetensors", tensors)
    for name, array in read_safetensors(tmp_path / "a.safetensors").items():
        numpy.testing.assert_array_equal(array, tensors[name].astype("=f4"), strict=True)


@pytest.mark.parametrize("dtype", ["float32", "float64", numpy.float64])
def test_conversion(tmp_path, dtype):
    tensors = small_tensors()
    write_safetensors(tmp_path / "a.safetensors", tensors)
    for name, array in read_safetensors(tmp_path / "a.safetensors", dtype).items():
        numpy.testing.assert_array_equal(array, tensors[name].astype(dtype), strict=True)


def test_blocks_join_without_a_seam(tmp_path, monkeypatch):
    monkeypatch.setattr("minivivit.files.tensor_data.BLOCK_ELEMENTS", 7)
    array = numpy.random.default_rng(1).standard_normal((5, 6)).astype("float32")
    write_safetensors(tmp_path / "a.safetensors", {"a": array, "b": array.astype("float16")})
    arrays = read_safetensors(tmp_path / "a.safetensors", "float64")
    numpy.testing.assert_array_equal(arrays["a"], array.astype("float64"), strict=True)
    numpy.testing.assert_array_equal(arrays["b"], array.astype("float16").astype("float64"), strict=True)


def test_every_bfloat16_is_the_float32_with_these_upper_bits(tmp_path):
    bits = numpy.arange(1 << 16, dtype="<u2")
    header = {"w": {"dtype": "BF16", "shape": [256, 256], "data_offsets": [0, bits.nbytes]}}
    path = write_header(tmp_path / "a.safetensors", header, bits.tobytes())
    array = read_safetensors(path)["w"]
    assert array.dtype == numpy.float32
    assert array.shape == (256, 256)
    numpy.testing.assert_array_equal(array.view("u4").reshape(-1), bits.astype("u4") * 65536)
    assert read_safetensors(path, "float64")["w"].reshape(-1)[0x3FC0] == 1.5
    assert safetensors_index(path) == {"w": ((256, 256), "bfloat16")}


def test_names_choose_what_is_read(tmp_path):
    write_safetensors(tmp_path / "a.safetensors", small_tensors())
    assert list(read_safetensors(tmp_path / "a.safetensors", names=["scalar", "a.bias"])) == ["scalar", "a.bias"]
    with pytest.raises(InputError, match=r"no tensor 'absent'; it holds 5"):
        read_safetensors(tmp_path / "a.safetensors", names=["absent"])


def test_other_dtypes_are_refused_by_name_but_may_lie_beside(tmp_path):
    path = tmp_path / "a.safetensors"
    data = numpy.arange(3, dtype="<i8").tobytes() + numpy.ones(2, "<f4").tobytes()
    write_header(path, {"steps": entry(0, 24, [3], "I64"), "w": entry(24, 32, [2])}, data)
    with pytest.raises(InputError, match="tensor 'steps' has dtype int64"):
        read_safetensors(path)
    assert list(read_safetensors(path, names=["w"])) == ["w"]
    assert safetensors_index(path)["steps"] == ((3,), "int64")


def test_bad_dtype_argument(tmp_path):
    write_safetensors(tmp_path / "a.safetensors", small_tensors())
    for dtype in ("float16", "int32", "double precision", 7):
        with pytest.raises(InputError, match=r"dtype is .* expected None or one of 'float32', 'float64'"):
            read_safetensors(tmp_path / "a.safetensors", dtype)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"a": numpy.arange(3)}, "tensor 'a' has dtype int64"),
        ({"a": [1.0]}, "tensor 'a' is a builtins.list"),
        ({"__metadata__": numpy.ones(1)}, "cannot be the name"),
        ({3: numpy.ones(1)}, "3 cannot be the name"),
    ],
)
def test_what_cannot_be_written_leaves_nothing(tmp_path, tensors, message):
    with pytest.raises(InputError, match=message):
        write_safetensors(tmp_path / "a.safetensors", tensors)
    assert not list(tmp_path.iterdir())


def entry(begin: int, end: int, shape: list, dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("header", "data_bytes"),
    [
        ({"a": entry(0, 8, [2]), "b": entry(4, 12, [2])}, 12),  # overlap
        ({"a": entry(0, 8, [2]), "b": entry(0, 8, [2])}, 8),  # the same numbers twice
        ({"a": entry(0, 8, [2]), "b": entry(12, 20, [2])}, 20),  # a gap
        ({"a": entry(0, 8, [2])}, 12),  # numbers without a name
        ({"a": entry(0, 8, [2])}, 4),  # truncated
        ({"a": entry(0, 8, [3])}, 8),  # shape and size disagree
        ({"a": entry(0, 4 << 40, [1 << 40])}, 8),  # claims terabytes
        ({"a": entry(0, 8, [1 << 62, 1 << 62])}, 8),
        ({"a": entry(0, 0, [0, 1 << 62, 1 << 62])}, 0),  # no element, and no array either
        ({"a": entry(8, 0, [2])}, 8),
        ({"a": entry(-8, 0, [2])}, 8),
        ({"a": entry(0, 8, [-2])}, 8),
        ({"a": entry(0, 8, [2.0])}, 8),
        ({"a": entry(0, 8, [2], "F33")}, 8),
        ({"a": {"dtype": "F32", "shape": [2]}}, 8),
        ({"a": 3}, 8),
        ({"a": []}, 8),
        ({"__metadata__": 3}, 0),
        (b"[]", 0),
        (b"{", 0),
        (b"\xff{}", 0),
        (b'{"a":' * 10_000, 0),
        (b'{"a": %s, "a": %s}' % ((b'{"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}',) * 2), 4),  # named twice
    ],
)  # fmt: skip
def test_headers_that_lie(tmp_path, header, data_bytes):
    path = write_header(tmp_path / "a.safetensors", header, bytes(data_bytes))
    for read in (read_safetensors, safetensors_index):
        with pytest.raises(InputError) as error:
            read(path)
        assert "\n" not in str(error.value)
        assert str(path) in str(error.value)


@pytest.mark.parametrize("length", [1, 1 << 20, 1 << 42, (1 << 64) - 1])
def test_header_lengths_that_lie(tmp_path, length):
    path = write_header(tmp_path / "a.safetensors", {"a": entry(0, 8, [2])}, bytes(8), length)
    with pytest.raises(InputError, match=r"would begin with a header of|not valid JSON"):
        read_safetensors(path)


def test_missing_empty_directory_and_pointer(tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(InputError, match="does not exist"):
        read_safetensors(path)
    with pytest.raises(InputError, match="is a directory; expected a file of weights"):
        read_safetensors(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="is empty"):
        read_safetensors(path)
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    with pytest.raises(InputError, match="git lfs pull"):
        read_safetensors(path)


def test_truncation_anywhere_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    write_safetensors(path, small_tensors())
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(InputError):
            read_safetensors(path)


def test_random_damage_gives_a_read_or_an_input_error(tmp_path):
    path, rng = tmp_path / "a.safetensors", numpy.random.default_rng(2)
    write_safetensors(path, small_tensors())
    good = path.read_bytes()
    header_end = 8 + struct.unpack("<Q", good[:8])[0]
    messages = []
    for _ in range(1000):
        data = bytearray(good)
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(header_end)] = rng.integers(256)
        path.write_bytes(data)
        try:
            arrays = read_safetensors(path)
        except InputError as error:
            messages.append(str(error))
        else:
            assert sum(array.size for array in arrays.values()) <= len(good)
    assert not any("\n" in message for message in messages)
    assert 500 < len(messages) < 1000  # damage to a name or to a metadata value is legal
