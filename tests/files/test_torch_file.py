"""PyTorch's format without PyTorch: the numbers are right, and a pickle can neither run code nor claim memory."""

import copyreg
import os
import pickle
import subprocess
import tarfile
import zipfile

import numpy
import pytest
from counting import num_calls
from file_writers import DATA, Call, Name, Persistent, assemble, storage, tensor, write_torch_file

from minivivit.errors import InputError
from minivivit.files.safetensors_file import read_safetensors
from minivivit.files.torch_file import read_torch, torch_index

NUMBERS = numpy.arange(12, dtype="<f4")
RECORDS = {"data/0": NUMBERS.tobytes()}
WHOLE = tensor(storage("0", 12), 0, (3, 4), (4, 1))
GOLDEN = DATA / "tiny" / "pytorch_model.bin"


def from_type(*arguments) -> Call:
    return Call(Name("torch._tensor", "_rebuild_from_type_v2"), *arguments, {})


def refused(path, program: bytes, match: str, records=RECORDS, **zip_options) -> None:
    write_torch_file(path, program, records, **zip_options)
    for read in (read_torch, torch_index):
        with pytest.raises(InputError, match=match) as error:
            read(path)
        assert "\n" not in str(error.value)
        assert str(path) in str(error.value)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "pytorch_model.bin"


# --------------------------------------------------------------------------------------------------------------------
# Reading
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tiny", "rectangular_no_qkv_bias"])
@pytest.mark.parametrize("dtype", [None, "float32", "float64"])
def test_goldens_equal_their_safetensors_twins(name, dtype):
    expected = read_safetensors(DATA / name / "model.safetensors", dtype)
    arrays = read_torch(DATA / name / "pytorch_model.bin", dtype)
    assert arrays.keys() == expected.keys()
    assert len(arrays) > 30
    for key, array in arrays.items():
        numpy.testing.assert_array_equal(array, expected[key], strict=True)
        assert array.flags.c_contiguous
        assert array.flags.writeable


def test_index_and_names():
    index = torch_index(GOLDEN)
    arrays = read_torch(GOLDEN)
    assert index == {name: (array.shape, "float32") for name, array in arrays.items()}
    assert list(arrays) == list(index)
    assert list(read_torch(GOLDEN, names=["classifier.bias"])) == ["classifier.bias"]
    with pytest.raises(InputError, match="no tensor 'absent'"):
        read_torch(GOLDEN, names=["absent"])


def test_views_of_one_storage_become_arrays_of_their_own(path):
    place = storage("0", 12)
    views = {
        "whole": tensor(place, 0, (3, 4), (4, 1)),
        "transposed": tensor(place, 0, (4, 3), (1, 4)),
        "diagonal": tensor(place, 1, (3,), (4,)),
        "expanded": tensor(place, 5, (2, 3), (0, 1)),
        "scalar": tensor(place, 11, (), ()),
        "nothing": tensor(place, 12, (0, 4), (4, 1)),
        "parameter": Call(Name("torch._utils", "_rebuild_parameter"), WHOLE, True, None),
    }
    write_torch_file(path, assemble(views), RECORDS)
    base = NUMBERS.reshape(3, 4)
    expected = {
        "whole": base,
        "transposed": base.T,
        "diagonal": NUMBERS[1::4],
        "expanded": numpy.stack([NUMBERS[5:8]] * 2),
        "scalar": NUMBERS[11].reshape(()),
        "nothing": numpy.zeros((0, 4), "float32"),
        "parameter": base,
    }
    arrays = read_torch(path)
    for name, array in arrays.items():
        numpy.testing.assert_array_equal(array, expected[name], strict=True)
        assert array.flags.c_contiguous
        array[...] = -1
    numpy.testing.assert_array_equal(read_torch(path, names=["transposed"])["transposed"], base.T, strict=True)
    assert not any(numpy.shares_memory(arrays["whole"], arrays[name]) for name in ("transposed", "parameter"))


@pytest.mark.parametrize("order", ["little", "big", None])
@pytest.mark.parametrize(
    ("kind", "stored"),
    [("HalfStorage", "f2"), ("FloatStorage", "f4"), ("DoubleStorage", "f8"), ("BFloat16Storage", "f4")],
)
def test_dtypes_and_byte_orders(path, order, kind, stored):
    code = ">" if order == "big" else "<"
    data = NUMBERS.astype(code + stored).tobytes()
    if kind == "BFloat16Storage":  # the upper halves; small integers need no more
        data = (NUMBERS.view("u4") >> 16).astype(code + "u2").tobytes()
    records = {"data/0": data} | ({"byteorder": order.encode()} if order else {})
    write_torch_file(path, assemble({"w": tensor(storage("0", 12, kind), 0, (12,), (1,))}), records)
    array = read_torch(path)["w"]
    assert array.dtype == ("float64" if kind == "DoubleStorage" else "float32")
    numpy.testing.assert_array_equal(array, NUMBERS)
    assert read_torch(path, "float64")["w"].dtype == numpy.float64


def test_one_dict_of_tensors_inside_a_dict(path):
    write_torch_file(path, assemble({"epoch": 3, "state_dict": {"w": WHOLE}, "args": [1.5, None, True]}), RECORDS)
    numpy.testing.assert_array_equal(read_torch(path)["w"], NUMBERS.reshape(3, 4))
    one = tensor(storage("0", 12), 5, (), ())
    write_torch_file(path, assemble({"best_accuracy": one, "state_dict": {"w": WHOLE}}), RECORDS)
    assert list(read_torch(path)) == ["w"]
    refused(path, assemble({"a": {"w": WHOLE}, "b": {"w": WHOLE}}), "holds several state dicts: 'a', 'b'; save the one")
    refused(path, assemble({"w": WHOLE, "epoch": 3}), "entry 'epoch' is a int")
    refused(path, assemble({"w": WHOLE, 3: WHOLE}), "entry 3 is a Tensor")
    refused(path, assemble({"w": WHOLE, "inner": {"w": WHOLE}}), "entry 'inner' is a dict")
    refused(path, assemble([WHOLE]), "holds a list")
    refused(path, assemble(WHOLE), "holds a Tensor")
    refused(path, assemble({"a": 1}), "entry 'a' is a int")


def test_what_else_a_state_dict_may_hold(path):
    """Parameters and tensors with attributes, tensors from CUDA, and of dtypes without a storage of their own."""
    hooks = Call(Name("collections", "OrderedDict"))
    attributes = {
        "decay": False,
        "tags": Call(Name("__builtin__", "set"), ["a"]),
        "shape": Call(Name("torch", "Size"), (3, 4)),
    }
    v2 = (storage("0", 12), 0, (3, 4), (4, 1), False, hooks)
    on_cuda = Persistent(("storage", Name("torch.cuda", "FloatStorage"), "0", "cuda:0", 12))
    untyped = Persistent(("storage", Name("torch.storage", "UntypedStorage"), "1", "cpu", 6))
    small = (untyped, 1, (2,), (1,), False, hooks, Name("torch", "uint16"))
    program = {
        "parameter": Call(Name("torch._utils", "_rebuild_parameter_with_state"), WHOLE, True, hooks, attributes),
        "tensor": from_type(Name("torch._utils", "_rebuild_tensor_v2"), Name("torch", "Tensor"), v2),
        "cuda": tensor(on_cuda, 0, (3, 4), (4, 1)),
        "uint16": Call(Name("torch._utils", "_rebuild_tensor_v3"), *small),
    }
    write_torch_file(path, assemble(program), RECORDS | {"data/1": bytes(6)})
    assert torch_index(path) == dict.fromkeys(list(program)[:3], ((3, 4), "float32")) | {"uint16": ((2,), "uint16")}
    for name in list(program)[:3]:
        numpy.testing.assert_array_equal(read_torch(path, names=[name])[name], NUMBERS.reshape(3, 4), strict=True)
    outside = (untyped, 2, *small[2:])  # two elements from the third on, and there are three
    refused(
        path,
        assemble({"w": Call(Name("torch._utils", "_rebuild_tensor_v3"), *outside)}),
        "ends at element 4 of storage '1', which has 3",
        RECORDS | {"data/1": bytes(6)},
    )
    refused(path, assemble({"w": tensor(untyped, 0, (2,), (1,))}), "unknown way", RECORDS | {"data/1": bytes(6)})


def test_other_dtypes_are_refused_by_name(path):
    records = RECORDS | {"data/1": numpy.arange(2).tobytes()}
    program = assemble({"w": WHOLE, "steps": tensor(storage("1", 2, "LongStorage"), 0, (2,), (1,))})
    write_torch_file(path, program, records)
    with pytest.raises(InputError, match="tensor 'steps' has dtype int64"):
        read_torch(path)
    assert torch_index(path)["steps"] == ((2,), "int64")
    assert list(read_torch(path, names=["w"])) == ["w"]


# --------------------------------------------------------------------------------------------------------------------
# Pickles that try to run code
# --------------------------------------------------------------------------------------------------------------------


class RunsCommand:
    """The classic: pickles as a call of `function` on its arguments."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "function", [os.system, os.putenv, subprocess.Popen, eval, exec, __import__, open, getattr, print]
)
def test_calls_of_anything_are_refused_by_name(tmp_path, path, protocol, function):
    """GLOBAL (protocols 2 and 3) or STACK_GLOBAL (4 and 5), then REDUCE, as Python itself writes them."""
    canary = tmp_path / "canary"
    program = pickle.dumps({"w": RunsCommand(function, f"touch {canary}")}, protocol)[2:-1]
    refused(path, program, rf"refers to '\w+\.{function.__name__}': refused")
    assert not canary.exists()


@pytest.mark.parametrize(
    ("name", "program"),
    [
        ("INST", b"(Vtouch canary\nios\nsystem\n"),
        ("OBJ", b"(}o"),
        ("NEWOBJ", b"))\x81"),
        ("NEWOBJ_EX", b")))\x92"),
        ("EXT1", b"\x82\x01"),
        ("EXT2", b"\x83\x01\x00"),
        ("EXT4", b"\x84\x01\x00\x00\x00"),
        ("PERSID", b"P0\n"),
        ("DUP", b"N2"),
        ("LONG4", b"\x8b\xff\xff\xff\x7f"),
        ("BINBYTES8", b"\x8e" + b"\xff" * 8),
        ("BINUNICODE8", b"\x8d" + b"\xff" * 8),
        ("BYTEARRAY8", b"\x96\xff\xff\xff\xff\xff\x00\x00\x00"),
        ("NEXT_BUFFER", b"\x97"),
        ("EMPTY_SET", b"\x8f"),
        (r"b'\\xff'", b"\xff"),
    ],
)
def test_opcodes_that_no_state_dict_needs_are_refused_by_name(path, name, program):
    if name == "INST":
        program = program.replace(b"(Vtouch canary\n", b"(")
    refused(path, program, f"uses the opcode {name},")


def test_an_extension_code_that_python_has_cached_runs_nothing(path, tmp_path):
    """pickle.Unpickler takes a cached EXT code without asking find_class; our machine has no such opcode."""
    copyreg.add_extension("os", "system", 0xF1)
    try:
        pickle.loads(b"\x80\x02\x82\xf1.")  # now it is cached
        program = b"\x82\xf1" + assemble((f"touch {tmp_path / 'canary'}",)) + b"R"
        refused(path, program, "uses the opcode EXT1")
    finally:
        copyreg.remove_extension("os", "system", 0xF1)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Name("builtins", "eval"), "refers to 'builtins.eval'"),
        (Name("posix", "system"), "refers to 'posix.system'"),
        (Name("torch", "FloatStorage.__class__"), "refers to 'torch.FloatStorage.__class__'"),
        (Name("torch._utils", "_rebuild_tensor_v2.__globals__"), "refers to"),
        (Name("collections", "OrderedDict.__subclasses__"), "refers to"),
        (Name("minivivit.files.torch_file", "os.system"), "refers to"),
        (Call(Name("torch", "FloatStorage"), 1 << 40), "calls torch.FloatStorage"),
        (Call(Name("collections", "OrderedDict"), [["a", 1, 2]]), "OrderedDict with arguments"),
        (Call(Name("collections", "OrderedDict"), [[1, 2]]), "OrderedDict with arguments"),
        (Call(Name("collections", "OrderedDict"), [[{}, 2]]), "OrderedDict with arguments"),
        (Call(Name("collections", "OrderedDict"), [], []), "OrderedDict with arguments"),
        (Call(Name("collections", "OrderedDict"), "ab"), "OrderedDict with arguments"),
        (Call(Name("torch", "Size"), [1]), "calls torch.Size"),
        (Call(Name("torch", "Size"), (-1,)), "calls torch.Size"),
        (Call(Name("torch", "float32")), "calls torch.float32"),
        (Call(Name("torch", "Tensor"), 1 << 40), "calls torch.Tensor"),
        (Call(Name("builtins", "set"), [1]), "entry 'w' is a Ignored"),
        (Call(Name("builtins", "bytearray"), 1 << 40), "refers to 'builtins.bytearray'"),
        (Call(Name("torch._utils", "_rebuild_tensor"), 1), "unknown way"),
        (Call(Name("torch._utils", "_rebuild_tensor"), *range(4)), "unknown way"),
        (Call(Name("torch._utils", "_rebuild_tensor_v3"), *range(7)), "unknown way"),
        (Call(Name("torch._utils", "_rebuild_parameter_with_state"), 1, 2, 3, 4), "unknown way"),
        (from_type(Name("torch._utils", "_rebuild_parameter"), Name("torch", "Tensor"), (WHOLE, 1, 2)), "unknown way"),
        (from_type(Name("torch._utils", "_rebuild_tensor_v2"), Name("torch", "Size"), ()), "unknown way"),
        (from_type(Name("torch._utils", "_rebuild_tensor_v2"), Name("torch", "Tensor"), [1]), "unknown way"),
        (from_type(Name("os", "system"), Name("torch", "Tensor"), ("touch canary",)), "refers to 'os.system'"),
        (Call(Call(Name("collections", "OrderedDict")), 1), "calls an object of type dict"),
        (Call(Name("torch._utils", "_rebuild_tensor_v2")), "unknown way"),
        (Call(Name("torch._utils", "_rebuild_tensor_v2"), *range(6)), "unknown way"),
        (Call(Name("torch._utils", "_rebuild_parameter"), 1, 2, 3), "unknown way"),
        (Persistent("storage"), "names a storage in an unknown way"),
        (Persistent(("module", Name("torch", "FloatStorage"), "0", "cpu", 12)), "names a storage in an unknown way"),
        (Persistent(("storage", Name("collections", "OrderedDict"), "0", "cpu", 12)), "names a storage"),
        (Persistent(("storage", Name("torch", "FloatStorage"), "0", "cpu", -1)), "names a storage in an unknown way"),
        (storage("../data.pkl", 12), "'../data.pkl' is missing"),
        (storage("7", 12), "'7' is missing"),
    ],
)
def test_allowed_names_cannot_be_abused(path, value, message):
    refused(path, assemble({"w": value}), message)


def test_state_cannot_be_set_on_anything_but_ignored_on_dicts(path):
    state = assemble({"items": 1, "__class__": 2})
    for target in (Name("torch._utils", "_rebuild_tensor_v2"), Name("collections", "OrderedDict"), WHOLE, [1], "text"):
        refused(path, assemble(target) + state + b"b", r"sets the state of something that is no dict \(BUILD\)")
    write_torch_file(path, assemble({"w": WHOLE}) + state + b"b", RECORDS)
    assert list(read_torch(path)) == ["w"]


# --------------------------------------------------------------------------------------------------------------------
# Files that claim more than they hold
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (tensor(storage("0", 1 << 40), 0, (1 << 40,), (1,)), "has 48 bytes, but 1.09951e"),
        (tensor(storage("0", 1 << 200), 0, (3,), (1,)), "unknown way"),
        (tensor(storage("0", 6, "DoubleStorage"), 0, (7,), (1,)), "ends at element 7 of storage '0', which has 6"),
        (tensor(storage("0", 12), 0, (3, 4), (5, 1)), "ends at element 14"),
        (tensor(storage("0", 12), 12, (1,), (1,)), "ends at element 13"),
        (tensor(storage("0", 12), -1, (1,), (1,)), "no sizes"),
        (tensor(storage("0", 12), 5, (2,), (-1,)), "no sizes"),
        (tensor(storage("0", 12), 0, (-2,), (1,)), "no sizes"),
        (tensor(storage("0", 12), 0, (2,), (1, 1)), "no sizes"),
        (tensor(storage("0", 12), 0, (1 << 300,), (0,)), "no sizes"),
        (tensor(storage("0", 12), 0, (1,) * 33, (1,) * 33), "no sizes"),
        (tensor(storage("0", 12), 0, [2], [1]), "no sizes"),
        (tensor(storage("0", 12), 0, (2.0,), (1,)), "no sizes"),
        (tensor(storage("0", 12), 0, (1 << 40,), (0,)), "its tensors claim 1.09951e"),
        (tensor(storage("0", 12), 0, (1 << 62, 1 << 62), (0, 0)), "impossible shape"),
        (tensor(storage("0", 12), 0, (0, 1 << 62, 1 << 62), (0, 0, 0)), "impossible shape"),
        (tensor(storage("0", 12), 0, (3,), (1,), {"neg": True}), "negative bits"),
    ],
)
def test_tensors_that_lie(path, value, message):
    refused(path, assemble({"w": value}), message)


def test_many_views_of_one_storage_are_refused_before_memory_is_taken(path):
    views = {f"w{i}": tensor(storage("0", 1 << 20), 0, (1 << 20,), (1,)) for i in range(20)}
    refused(path, assemble(views), "its tensors claim 2.09715e", {"data/0": bytes(4 << 20)})


def test_one_storage_has_one_dtype(path):
    both = {"a": tensor(storage("0", 12), 0, (2,), (1,)), "b": tensor(storage("0", 12, "IntStorage"), 0, (2,), (1,))}
    refused(path, assemble(both), "two dtypes")


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (b"N" * (2 << 20), "its pickle has 2,097,155 bytes"),
        (b"Nr\xff\xff\xff\xff" + assemble({"a": 1}), "entry 'a' is a int"),  # asks pickle.Unpickler for 64 GiB
        (b"\x95" + b"\xff" * 8 + b"N", "holds a NoneType"),
        (b"X\xff\xff\xff\xffabc", "pickle is damaged"),
        (
            b")" + b"\x85" * 100_000 + b"}" + b")" + b"\x85" * 100_000 + b"Ns",
            "no dict with names or small numbers as keys",
        ),
        pytest.param(b"]" * 200_000 + b"a" * 199_999, "holds a list", marks=pytest.mark.thorough),
        (b"(" * 100_000 + b"t" * 100_000, "holds a tuple"),
        (b"}q\x00X\x01\x00\x00\x00ah\x00s", "entry 'a' is a dict"),  # holds itself
        (b"h\x07", "pickle is damaged"),
        (b"N(Q", "pickle is damaged|unknown way"),
        (b"t", "pickle is damaged"),
        (b"", "pickle is damaged"),
        (b"\x85", "pickle is damaged"),
        (b"cos", "pickle is damaged"),
        (b"c\xff\n\xff\n", "pickle is damaged"),
        (b"NN\x93", "refers to something that is no name"),
        (b"}NNs", "no dict with names or small numbers as keys"),
        (b"}(NNNu", "no dict with names or small numbers as keys"),
        (b"}Na", "appends to something that is no list"),
    ],
)
def test_pickles_that_ask_for_the_impossible(path, program, message):
    refused(path, program, message)


def test_a_dict_that_is_repeated_many_times_is_looked_at_once(path):
    """The work is a sum of what the dict and the repetitions need, not a product."""

    def work(entries, repetitions):
        inner = assemble({f"w{i}": WHOLE for i in range(entries)} | {"not a tensor": 1})
        repeats = b"".join(assemble(f"k{i}") + b"h\x01" for i in range(repetitions))
        program = b"}(" + assemble("k") + inner + b"q\x01" + repeats + b"u"
        return num_calls(lambda: refused(path, program, "not one dict of tensors"))

    together = work(200, 1000) + work(100, 500) - work(200, 500) - work(100, 1000)
    assert together < 100 * 500 / 10


# --------------------------------------------------------------------------------------------------------------------
# Archives that are damaged
# --------------------------------------------------------------------------------------------------------------------


def test_compressed_records_are_refused(path):
    refused(path, assemble({"w": WHOLE}), "is compressed", {"data/0": bytes(48)}, compression=zipfile.ZIP_DEFLATED)


def test_records_that_overlap_or_repeat_are_refused(path):
    write_torch_file(path, assemble({"w": WHOLE}), RECORDS | {"data/1": bytes(4000)})
    data = path.read_bytes()
    # In the directory at the end, let the record data/0 claim what it does not have.
    place = data.rindex(b"PK\x01\x02", 0, data.rindex(b"model/data/0"))
    path.write_bytes(data[: place + 20] + (1 << 31).to_bytes(4, "little") * 2 + data[place + 28 :])
    with pytest.raises(InputError, match="records claim 2,147,4"):
        read_torch(path)
    path.write_bytes(data.replace(b"model/data/1", b"model/data/0"))
    with pytest.raises(InputError, match="two records of one name"):
        read_torch(path)


def test_changed_numbers_are_noticed(path):
    write_torch_file(path, assemble({"w": WHOLE}), RECORDS)
    data = bytearray(path.read_bytes())
    data[data.index(NUMBERS.tobytes()) + 30] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="Bad CRC-32"):
        read_torch(path)


def test_other_files_are_refused_with_what_to_do(path):
    with tarfile.open(path, "w") as archive:
        archive.add(__file__, "sys_info")
    with pytest.raises(InputError, match=r"a tar archive.*before version 0\.2.*save it again there:  torch\.save"):
        read_torch(path)
    path.write_bytes(b"something else")
    with pytest.raises(InputError, match="it is no zip archive"):
        read_torch(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="is empty"):
        read_torch(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "text")
    with pytest.raises(InputError, match=r"not one that torch\.save wrote"):
        read_torch(path)
    write_torch_file(path, assemble({"w": WHOLE}), RECORDS | {"byteorder": b"middle"})
    with pytest.raises(InputError, match="neither 'little' nor 'big'"):
        read_torch(path)
    with pytest.raises(InputError, match="does not exist"):
        read_torch(path.with_name("absent.bin"))


def test_truncation_anywhere_is_refused(path):
    data = GOLDEN.read_bytes()
    lengths = [*range(200), *range(200, len(data), 997), *range(len(data) - 120, len(data))]
    for length in lengths:
        path.write_bytes(data[:length])
        with pytest.raises(InputError):
            read_torch(path)


def test_random_damage_gives_the_right_numbers_or_an_input_error(path):
    """Nearly every byte is covered by a checksum; the others do not matter to what is read."""
    write_torch_file(path, assemble({"w": WHOLE, "b": tensor(storage("1", 2), 0, (2,), (1,))}),
                     RECORDS | {"data/1": bytes(8), "byteorder": b"little"})  # fmt: skip
    good, rng, expected = path.read_bytes(), numpy.random.default_rng(3), read_torch(path)
    messages: list[str] = []
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
            for name, array in arrays.items():
                numpy.testing.assert_array_equal(array, expected[name], strict=True)
    assert not any("\n" in message for message in messages)
    assert 500 < len(messages) < 980  # damage to time stamps and the like is read over


def test_random_damage_to_the_pickle_alone_gives_tensors_or_an_input_error(path):
    """With the checksums made right again, so that the machine itself is what stands in the way."""
    with zipfile.ZipFile(GOLDEN) as archive:
        records = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    program, rng = bytes(records.pop("data.pkl")[2:-1]), numpy.random.default_rng(4)
    records = {name: data for name, data in records.items() if name.startswith("data/")}
    messages: list[str] = []
    for _ in range(300):
        damaged = bytearray(program)
        for _ in range(rng.integers(1, 4)):
            damaged[rng.integers(len(damaged))] = rng.integers(256)
        write_torch_file(path, bytes(damaged), records)
        try:
            arrays = read_torch(path)
        except InputError as error:
            messages.append(str(error).removeprefix(f"{path}: "))
        else:
            assert sum(array.size for array in arrays.values()) < 8 << 20
    assert not any("\n" in message for message in messages)
    assert len({message[:25] for message in messages}) > 5
