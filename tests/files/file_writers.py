"""Writers of PyTorch's file format and of safetensors headers, so that tests can write what torch.save would not."""

import json
import pickle
import struct
import zipfile
from pathlib import Path

import numpy

DATA = Path(__file__).parent.parent / "data" / "transformers"


class Name:
    """Pickles as a reference to `name`, whatever that is: nothing needs to be importable here."""

    def __init__(self, module: str, name: str):
        self.module, self.name = module, name


class Call:
    """Pickles as the call of a `Name` with arguments."""

    def __init__(self, function: Name, *arguments: object):
        self.function, self.arguments = function, arguments


class Persistent:
    """Pickles as a persistent id."""

    def __init__(self, value: object):
        self.value = value


def assemble(value: object) -> bytes:
    """The opcodes (protocol 2, no memo) that push `value`."""
    if isinstance(value, Name):
        return f"c{value.module}\n{value.name}\n".encode()
    if isinstance(value, Call):
        return assemble(value.function) + assemble(value.arguments) + b"R"
    if isinstance(value, Persistent):
        return assemble(value.value) + b"Q"
    if isinstance(value, dict):
        return b"}(" + b"".join(assemble(item) for pair in value.items() for item in pair) + b"u"
    if isinstance(value, tuple):
        return b"(" + b"".join(map(assemble, value)) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(map(assemble, value)) + b"e"
    return pickle.dumps(value, 2)[2:-1].replace(b"q\x00", b"")


def storage(key: str, count: int, kind: str = "FloatStorage") -> Persistent:
    return Persistent(("storage", Name("torch", kind), key, "cpu", count))


def tensor(place: Persistent, offset: int, shape: tuple, strides: tuple, *metadata: object) -> Call:
    hooks = Call(Name("collections", "OrderedDict"))
    return Call(Name("torch._utils", "_rebuild_tensor_v2"), place, offset, shape, strides, False, hooks, *metadata)


def write_torch_file(path: Path, program: bytes, records: dict[str, bytes], **zip_options) -> Path:
    """A PyTorch file with the pickle `program` (without PROTO and STOP) and records such as "data/0"."""
    with zipfile.ZipFile(path, "w", **zip_options) as archive:
        archive.writestr("model/data.pkl", b"\x80\x02" + program + b".")
        for name, data in records.items():
            archive.writestr(f"model/{name}", data)
    return path


def write_legacy_file(path: Path, program: bytes, storages: dict[str, numpy.ndarray], keys: object = None) -> Path:
    """A file as PyTorch wrote it before 1.6, with the pickle `program` (without PROTO and STOP)."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    heads = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, system)]
    order = list(storages) if keys is None else keys
    numbers = [struct.pack("<q", array.size) + array.tobytes() for array in storages.values()]
    path.write_bytes(b"".join([*heads, b"\x80\x02" + program + b".", pickle.dumps(order, 2), *numbers]))
    return path


def legacy_storage(key: str, count: int, kind: str = "FloatStorage", view: object = None) -> Persistent:
    return Persistent(("storage", Name("torch", kind), key, "cpu", count, view))


def write_header(path: Path, header: dict | bytes, data: bytes = b"", length: int | None = None) -> Path:
    """A safetensors file with a header of your making."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def small_tensors() -> dict[str, numpy.ndarray]:
    rng = numpy.random.default_rng(0)
    return {
        "a.weight": rng.standard_normal((3, 4)).astype("float32"),
        "a.bias": rng.standard_normal(4),
        "scalar": numpy.array(2.5, "float32"),
        "empty": numpy.zeros((0, 3), "float32"),
        "half": rng.standard_normal((2, 3, 5)).astype("float16"),
    }
