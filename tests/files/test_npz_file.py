"""NumPy's .npz files: read with suspicion."""

import io
import tracemalloc
import zipfile

import numpy
import pytest

from minivivit.errors import InputError
from minivivit.files.npz_file import npz_index, read_npz

ARRAYS = {"a/b": numpy.arange(6, dtype=numpy.float32).reshape(2, 3), "c": numpy.ones(4)}


def npy(array, **lies):
    """A .npy file, whose header may lie."""
    header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape, **lies}
    file = io.BytesIO()
    numpy.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + array.tobytes()


def write_zip(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def refused(path, match, read=read_npz):
    with pytest.raises(InputError, match=match) as error:
        read(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("save", [numpy.savez, numpy.savez_compressed])
def test_reads_what_numpy_wrote(tmp_path, save):
    save(tmp_path / "file.npz", **ARRAYS)
    arrays = read_npz(tmp_path / "file.npz")
    assert list(arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        assert (arrays[name] == array).all()
    assert npz_index(tmp_path / "file.npz") == {"a/b": ((2, 3), "float32"), "c": ((4,), "float64")}
    assert list(read_npz(tmp_path / "file.npz", "float64", names=["c"])) == ["c"]
    with pytest.raises(InputError, match="has no tensor 'd'"):
        read_npz(tmp_path / "file.npz", names=["d"])


def test_python_objects_are_never_unpickled(tmp_path):
    class Hostile:
        def __reduce__(self):
            return open, (str(tmp_path / "canary"), "w")

    path = tmp_path / "file.npz"
    for objects in ([Hostile()], {"a": Hostile()}, None):
        numpy.savez(path, a=numpy.array(objects, dtype=object), b=numpy.ones(2))
        refused(path, "tensor 'a' has dtype object")
        assert npz_index(path)["a"][1] == "object"
        assert list(read_npz(path, names=["b"])) == ["b"]
    fields = numpy.zeros(2, [("x", "f4"), ("y", object)])
    numpy.savez(path, a=fields)
    refused(path, "tensor 'a' has dtype object")
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    ("lies", "match"),
    [
        ({"shape": (2, 4)}, "does not agree with its"),
        ({"shape": (1 << 40,)}, "does not agree with its"),
        ({"shape": (0, 1 << 62)}, "impossible shape"),
        ({"descr": "<f8"}, "does not agree with its"),
        ({"descr": "<i4"}, "dtype int32"),
        ({"descr": "<c8", "shape": (3,)}, "dtype complex64"),
        ({"descr": "V5"}, "does not agree with its"),
    ],
)
def test_headers_that_lie(tmp_path, lies, match):
    refused(write_zip(tmp_path / "file.npz", {"a": npy(ARRAYS["a/b"], **lies)}), match)


def test_members_that_are_no_arrays(tmp_path):
    for content in (
        b"",
        b"text",
        b"\x93NUMPY\x09\x09",
        npy(ARRAYS["c"])[:40],
        b"\x93NUMPY\x01\x00\x10\x00{'descr': __import__",
    ):
        refused(write_zip(tmp_path / "file.npz", {"a": content}), "not a whole .npz file")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("second", ["a.npy", "a"])
def test_an_array_that_is_there_twice(tmp_path, second):
    file = io.BytesIO()
    numpy.save(file, numpy.zeros(2))
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        for name in ("a.npy", second):
            archive.writestr(name, file.getvalue())
    for read in (npz_index, read_npz):
        with pytest.raises(InputError, match=r"x\.npz holds the array 'a' twice"):
            read(tmp_path / "x.npz")


def test_a_bomb_is_seen_before_it_is_read(tmp_path):
    """64 MiB of zeros take 64 KiB in the file: the index tells without taking the memory."""
    path = write_zip(tmp_path / "file.npz", {"a": npy(numpy.zeros(1 << 23))}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    tracemalloc.start()
    try:
        index = npz_index(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert index == {"a": ((1 << 23,), "float64")}
    assert peak < 2e6


def test_damaged(tmp_path):
    path = tmp_path / "file.npz"
    numpy.savez(path, **ARRAYS)
    data = path.read_bytes()
    for length in range(1, len(data), 7):
        path.write_bytes(data[:length])
        refused(path, "not a whole .npz file")
        refused(path, "not a whole .npz file", npz_index)
    position = data.index(ARRAYS["a/b"].tobytes()) + 5  # one bit of a number: only the checksum knows
    path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
    refused(path, "not a whole .npz file .*CRC")
    path.write_bytes(b"")
    refused(path, "empty")
    refused(tmp_path / "nothing.npz", "does not exist")
