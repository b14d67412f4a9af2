"""NumPy's .npz files: read with suspicion."""

import io
import tracemalloc
import zipfile

import numpy
import pytest

from minivivit.errors import InputError
from minivivit.files import npz_file
from minivivit.files.npz_file import NpzReader, npz_index, read_npz
from minivivit.verification.tensors.source import open_source

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
        ({"shape": (-2, -3)}, "impossible shape"),
        ({"shape": (True, 6)}, "impossible shape"),
        ({"shape": (2, False)}, "impossible shape"),
        ({"shape": (-6,)}, "impossible shape"),
        ({"shape": (int("9" * 400),)}, "impossible shape"),
        ({"shape": (1,) * 40}, "impossible shape"),
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


def test_names_that_are_too_long_and_offsets_that_lead_outside(tmp_path):
    refused(write_zip(tmp_path / "file.npz", {"a" * 2000: npy(ARRAYS["c"])}), "a name of 2,000 letters", npz_index)
    path = write_zip(tmp_path / "file.npz", {"a": npy(ARRAYS["c"])})
    data = path.read_bytes()
    place = data.rindex(b"PK\x01\x02") + 42  # of the member, in the archive's list
    path.write_bytes(data[:place] + b"\xff" * 4 + data[place + 4 :])
    for read in (npz_index, read_npz, NpzReader):
        with pytest.raises(InputError, match=r"not a whole \.npz file"):
            list(read(path).blocks("a")) if read is NpzReader else read(path)


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_is_read_a_block_at_a_time(tmp_path, order, monkeypatch):
    """A compressed file of 20 KB that holds 20 MB: in C order no more than a block of it is in memory."""
    monkeypatch.setattr(npz_file, "BLOCK_ELEMENTS", 1 << 12)
    array = numpy.asarray(numpy.add.outer(numpy.arange(1250), numpy.arange(2000)) % 7.0, order=order)
    numpy.savez_compressed(tmp_path / "file.npz", a=array)
    reader = NpzReader(tmp_path / "file.npz")
    assert (numpy.concatenate(list(reader.blocks("a"))) == array.reshape(-1)).all()
    tracemalloc.start()
    sizes = [block.size for block in reader.blocks("a")]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert max(sizes) == 1 << 12
    assert sum(sizes) == array.size
    assert order == "F" or peak < array.nbytes / 10


def test_more_than_the_machine_s_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sysconf", lambda name: 10)
    numpy.savez(tmp_path / "file.npz", a=numpy.ones((30, 40), order="F"), b=numpy.ones(3))
    source = open_source(tmp_path / "file.npz")
    with pytest.raises(
        InputError, match=r"file\.npz: tensor 'a' takes 0\.0 GB, but this machine has 0\.0 GB of memory"
    ):
        source.read("a")
    assert (source.read("b") == 1).all()
