"""PyTorch's format from before 1.6: the same numbers as in the newer one, and nothing runs or takes memory."""

import pickle

import numpy
import pytest
from file_writers import DATA, Call, Name, assemble, legacy_storage, tensor, write_legacy_file

from minivivit.errors import InputError
from minivivit.files import restricted_pickle
from minivivit.files.torch_file import read_torch, torch_index
from minivivit.files.torch_pickle import ALLOWED, MAX_PICKLE_BYTES
from minivivit.files.weights import read_tensors

NUMBERS = numpy.arange(12, dtype="<f4")
WHOLE = tensor(legacy_storage("140", 12), 0, (3, 4), (4, 1))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "pytorch_model.bin"


def refused(path, match):
    for read in (read_torch, torch_index):
        with pytest.raises(InputError, match=match) as caught:
            read(path)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)
        assert len(str(caught.value)) < 600


def test_views_dtypes_and_order(path):
    """Several tensors of one storage, in any order, with strides, empty; and storages of every size of element."""
    halves = numpy.array([1.5, -2, 65504], "<f2")
    brains = numpy.array([0x3FC0, 0xC000], "<u2")  # 1.5 and -2 in bfloat16
    doubles = numpy.array([numpy.pi, 1e300])
    program = {
        "last": tensor(legacy_storage("9", 2, "DoubleStorage"), 0, (2,), (1,)),
        "whole": WHOLE,
        "transposed": tensor(legacy_storage("140", 12), 0, (4, 3), (1, 4)),
        "sliced": tensor(legacy_storage("140", 12), 5, (2, 2), (4, 1)),
        "empty": tensor(legacy_storage("7", 0), 0, (0, 3), (3, 1)),
        "halves": tensor(legacy_storage("21", 3, "HalfStorage"), 0, (3,), (1,)),
        "brains": tensor(legacy_storage("3", 2, "BFloat16Storage"), 0, (2,), (1,)),
        "ancient": Call(Name("torch._utils", "_rebuild_tensor"), legacy_storage("140", 12), 0, (12,), (1,)),
    }
    storages = {"140": NUMBERS, "21": halves, "3": brains, "7": NUMBERS[:0], "9": doubles}
    write_legacy_file(path, assemble(program), storages)
    square = NUMBERS.reshape(3, 4)
    expected = {
        "last": doubles,
        "whole": square,
        "transposed": square.T,
        "sliced": square[1:, 1:3],
        "empty": NUMBERS[:0].reshape(0, 3),
        "halves": halves.astype("f4"),
        "brains": numpy.array([1.5, -2], "f4"),
        "ancient": NUMBERS,
    }
    found = read_torch(path)
    assert list(found) == list(expected)
    for name, array in expected.items():
        numpy.testing.assert_array_equal(found[name], numpy.ascontiguousarray(array), strict=True)
        assert found[name].flags.writeable
    assert torch_index(path)["halves"] == ((3,), "float16")
    assert list(read_torch(path, "float64", ["brains"])) == ["brains"]


def test_a_golden_in_either_format(path):
    """The tiny model, whose newer file PyTorch wrote."""
    expected = read_tensors(DATA / "tiny" / "pytorch_model.bin")
    storages = {str(1000 + index): array for index, array in enumerate(expected.values())}
    program = {}
    for (key, array), name in zip(storages.items(), expected, strict=True):
        strides = tuple(stride // 4 for stride in array.strides)
        program[name] = tensor(legacy_storage(key, array.size), 0, array.shape, strides)
    write_legacy_file(path, assemble({"state_dict": program, "epoch": 3}), storages)
    for name, array in read_torch(path).items():
        numpy.testing.assert_array_equal(array, expected[name], strict=True)


def test_python_2(path):
    """Its pickles hold short byte strings for text, and fill an OrderedDict with a list of pairs."""
    program = assemble(Call(Name("collections", "OrderedDict"), [["w", WHOLE]])).replace(
        b"X\x01\x00\x00\x00w", b"U\x01w"
    )
    assert b"U\x01w" in program
    write_legacy_file(path, program, {"140": NUMBERS})
    numpy.testing.assert_array_equal(read_torch(path)["w"], NUMBERS.reshape(3, 4))


@pytest.mark.parametrize(
    ("program", "storages", "keys", "match"),
    [
        ({"w": WHOLE}, {}, None, "storage '140' is missing"),
        ({"w": WHOLE}, {"140": NUMBERS, "5": NUMBERS}, None, "storage '5' is missing, or nothing's"),
        ({"w": WHOLE}, {"140": NUMBERS[:11]}, None, "has not the 12 elements"),
        ({"w": WHOLE}, {"140": NUMBERS[:0]}, None, "has not the 12 elements"),
        ({"w": WHOLE}, {"140": NUMBERS}, ["140", "140"], "no list of its storages"),
        ({"w": WHOLE}, {"140": NUMBERS}, {"140": 1}, "no list of its storages"),
        ({"w": WHOLE}, {"140": NUMBERS}, [140], "no list of its storages"),
        ({"w": tensor(legacy_storage("140", 1 << 60), 0, (1 << 60,), (1,))}, {"140": NUMBERS}, None, "1.15292e"),
        ({"w": tensor(legacy_storage("140", 12), 0, (1 << 50,), (0,))}, {"140": NUMBERS}, None, "claim 1.1259e"),
        ({"w": tensor(legacy_storage("140", 12), 0, (13,), (1,))}, {"140": NUMBERS}, None, "ends at element 13"),
        ({"w": tensor(legacy_storage("140", 12, view=("1", 0, 4)), 0, (4,), (1,))}, {}, None, "views of others"),
        ({"w": tensor(legacy_storage("140", 12, "TextStorage"), 0, (4,), (1,))}, {}, None, "refers to 'torch.TextStor"),
        ({"a": WHOLE, "b": tensor(legacy_storage("140", 12, "IntStorage"), 0, (4,), (1,))}, {}, None, "two things"),
        (Call(Name("os", "system"), "touch canary"), {}, None, "refers to 'os.system'"),
        ([WHOLE], {"140": NUMBERS}, None, "holds a list"),
    ],
)
def test_hostile(path, program, storages, keys, match, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    write_legacy_file(path, assemble(program), storages, keys)
    refused(path, match)
    assert not (tmp_path / "canary").exists()


def test_other_pickles(path):
    path.write_bytes(pickle.dumps({"w": 1}, 2))
    refused(path, "a pickle, but not one that torch.save wrote")
    path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1000, 2))
    refused(path, "a pickle, but not one that torch.save wrote")
    path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2))
    refused(path, "damaged near byte")
    write_legacy_file(path, assemble({"w": WHOLE, "text": "x" * MAX_PICKLE_BYTES}), {"140": NUMBERS})
    refused(path, "has more than 2,097,152 bytes")


def test_a_count_before_the_numbers_that_lies(path):
    data = write_legacy_file(path, assemble({"w": WHOLE}), {"140": NUMBERS}).read_bytes()
    place = len(data) - NUMBERS.nbytes - 8
    for count in (11, 13, -1, 1 << 62):
        path.write_bytes(data[:place] + count.to_bytes(8, "little", signed=True) + data[place + 8 :])
        refused(path, "storage '140' has not the 12 elements that were promised")


def test_truncation_anywhere_is_refused(path):
    data = write_legacy_file(path, assemble({"w": WHOLE}), {"140": NUMBERS}).read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(InputError):
            read_torch(path)
    path.write_bytes(data + b"x")
    refused(path, "1 bytes too many")


def test_random_damage_is_tensors_or_one_line(path):
    good = write_legacy_file(path, assemble({"w": WHOLE}), {"140": NUMBERS}).read_bytes()
    rng, messages = numpy.random.default_rng(0), []
    for _ in range(1000):
        data = bytearray(good)
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(len(data))] = rng.integers(256)
        path.write_bytes(data)
        try:
            arrays = read_torch(path)
        except InputError as error:
            messages.append(str(error))
        else:
            assert sum(array.size for array in arrays.values()) < 1000
    assert not any("\n" in message for message in messages)
    assert len(messages) > 500


def test_one_list_is_not_copied_again_and_again():
    """A pickle of a few bytes a call could else have a long list copied a hundred thousand times."""
    pairs = assemble([["k", None]]) + b"q\x00"
    program = b"(" + pairs + (b"ccollections\nOrderedDict\nh\x00\x85R" * 3) + b"t."
    pairs_left, *dicts = restricted_pickle.load(program, ALLOWED, lambda _: None)
    assert dicts == [{"k": None}, {}, {}]
    assert pairs_left == []
