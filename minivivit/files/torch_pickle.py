"""What the pickle in a PyTorch file says: tensors as views of storages, in dicts by name.

A tensor is a view of a storage: offset, shape and strides, all counted in elements. Several tensors may share one.
Each function that a pickle may call is safe with any arguments, and takes no memory and time beyond what the pickle's
own bytes have taken. What may be called is what ``torch.load(..., weights_only=True)`` calls for dense tensors; see
``torch/_utils.py`` and ``torch/_weights_only_unpickler.py``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from minivivit.errors import InputError
from minivivit.files.restricted_pickle import Global
from minivivit.files.tensor_data import listed, quoted

# A tensor takes some 150 bytes of pickle, so this is room for 13,000 tensors; the full-size model has 200.
MAX_PICKLE_BYTES = 2 * 1024 * 1024

# torch.FloatStorage and its kin, which the pickle uses to name dtypes, and the bytes of an element.
CPU_STORAGES = {
    "HalfStorage": ("float16", 2),
    "BFloat16Storage": ("bfloat16", 2),
    "FloatStorage": ("float32", 4),
    "DoubleStorage": ("float64", 8),
    "BoolStorage": ("bool", 1),
    "ByteStorage": ("uint8", 1),
    "CharStorage": ("int8", 1),
    "ShortStorage": ("int16", 2),
    "IntStorage": ("int32", 4),
    "LongStorage": ("int64", 8),
    "ComplexFloatStorage": ("complex64", 8),
    "ComplexDoubleStorage": ("complex128", 16),
}
BYTES = "bytes"
STORAGE_TYPES = {
    **{f"torch.{name}": own for name, own in CPU_STORAGES.items()},
    **{f"torch.cuda.{name}": own for name, own in CPU_STORAGES.items()},
    "torch.storage.UntypedStorage": (BYTES, 1),
}
# Dtypes that have no storage of their own, with their bytes; a tensor of one says so itself (_rebuild_tensor_v3).
NEW_DTYPES = {
    **{"torch.uint16": 2, "torch.uint32": 4, "torch.uint64": 8},
    **dict.fromkeys(("torch.float8_e4m3fn", "torch.float8_e5m2"), 1),
    **dict.fromkeys(("torch.float8_e4m3fnuz", "torch.float8_e5m2fnuz", "torch.float8_e8m0fnu"), 1),
}
# Dtypes that only hyperparameters name.
OLD_DTYPES = [f"torch.{dtype}" for dtype, _ in CPU_STORAGES.values()]


@dataclass(frozen=True, slots=True)
class Storage:
    """`count` elements under the name `key`."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """A strided view of a storage, in elements of `dtype`; known to lie inside it."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Ignored:
    """Stands for what weights do not need, such as a set among the hyperparameters."""


# --------------------------------------------------------------------------------------------------------------------
# What the pickle may call
# --------------------------------------------------------------------------------------------------------------------


def are_sizes(values: Any) -> bool:
    """Whether this is a tuple of at most 32 integers from 0 to 2^62, which further arithmetic cannot blow up."""
    return type(values) is tuple and len(values) <= 32 and all(type(n) is int and 0 <= n <= 1 << 62 for n in values)


def _view(arguments: tuple, dtype: str | None = None, item_size: int = 1) -> Tensor:
    """The tensor that (storage, offset, shape, strides, ...) describe; of `dtype`, if it is not the storage's own."""
    storage, offset, shape, strides = arguments[:4]
    if type(storage) is not Storage or (storage.dtype == BYTES) != (dtype is not None):
        raise UnpicklingError("its pickle describes a tensor in an unknown way")
    if not (are_sizes((offset,)) and are_sizes(shape) and are_sizes(strides) and len(shape) == len(strides)):
        raise UnpicklingError("its pickle has a tensor whose offset, shape or strides are no sizes")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    count = storage.count // item_size
    if 0 not in shape and last >= count:
        raise UnpicklingError(
            f"its pickle has a tensor that ends at element {last + 1:.6g} of storage {quoted(storage.key)}, "
            f"which has {count:,}"
        )
    return Tensor(storage, dtype or storage.dtype, offset, shape, strides)


def _rebuild_tensor(arguments: tuple) -> Tensor:
    """``torch._utils._rebuild_tensor(storage, offset, size, stride)``, of PyTorch before 0.4."""
    if len(arguments) != 4:
        raise UnpicklingError("its pickle describes a tensor in an unknown way (_rebuild_tensor)")
    return _view(arguments)


def _rebuild_tensor_v2(arguments: tuple) -> Tensor:
    """``torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata])``."""
    if len(arguments) not in (6, 7):
        raise UnpicklingError("its pickle describes a tensor in an unknown way (_rebuild_tensor_v2)")
    _check_metadata(arguments[6:])
    return _view(arguments)


def _rebuild_tensor_v3(arguments: tuple) -> Tensor:
    """The same with a dtype after the hooks; the storage is one of bytes."""
    item_size = NEW_DTYPES.get(arguments[6].name) if len(arguments) > 6 and type(arguments[6]) is Global else None
    if len(arguments) not in (7, 8) or item_size is None:
        raise UnpicklingError("its pickle describes a tensor in an unknown way (_rebuild_tensor_v3)")
    _check_metadata(arguments[7:])
    return _view(arguments, arguments[6].name.removeprefix("torch."), item_size)


def _check_metadata(metadata: tuple) -> None:
    if metadata and metadata[0]:
        raise UnpicklingError("its pickle has a tensor with conjugate or negative bits; call resolve_neg() first")


def _rebuild_parameter(arguments: tuple) -> Tensor:
    """``torch._utils._rebuild_parameter(tensor, requires_grad, hooks)``: the tensor is all that is wanted."""
    if len(arguments) != 3 or type(arguments[0]) is not Tensor:
        raise UnpicklingError("its pickle describes a parameter in an unknown way (_rebuild_parameter)")
    return arguments[0]


def _rebuild_parameter_with_state(arguments: tuple) -> Tensor:
    """``torch._utils._rebuild_parameter_with_state(tensor, requires_grad, hooks, attributes)``: likewise."""
    if len(arguments) != 4 or type(arguments[0]) is not Tensor:
        raise UnpicklingError("its pickle describes a parameter in an unknown way (_rebuild_parameter_with_state)")
    return arguments[0]


def _rebuild_from_type(arguments: tuple) -> Tensor:
    """``torch._tensor._rebuild_from_type_v2(function, type, arguments, attributes)``, of tensors with attributes."""
    names = [value.name if type(value) is Global else "" for value in arguments[:2]]
    if len(arguments) != 4 or names[1] not in TENSOR_TYPES or type(arguments[2]) is not tuple:
        raise UnpicklingError("its pickle describes a tensor in an unknown way (_rebuild_from_type_v2)")
    rebuild = REBUILD.get(names[0])
    if rebuild is None:
        raise UnpicklingError("its pickle describes a tensor in an unknown way (_rebuild_from_type_v2)")
    return rebuild(arguments[2])


def _ordered_dict(arguments: tuple) -> dict:
    """``collections.OrderedDict()``, which is filled afterwards; or, from Python 2, with a list of pairs."""
    pairs = arguments[0] if len(arguments) == 1 else []
    if len(arguments) > 1 or type(pairs) is not list:
        raise UnpicklingError("its pickle calls collections.OrderedDict with arguments that torch.save does not write")
    if not all(type(pair) in (list, tuple) and len(pair) == 2 and type(pair[0]) is str for pair in pairs):
        raise UnpicklingError("its pickle calls collections.OrderedDict with arguments that torch.save does not write")
    filled = dict(pairs)
    pairs.clear()  # so that no pickle can have one long list copied a hundred thousand times
    return filled


def _size(arguments: tuple) -> tuple:
    """``torch.Size(sizes)``: a tuple."""
    if len(arguments) != 1 or not are_sizes(arguments[0]):
        raise UnpicklingError("its pickle calls torch.Size with something that is no sizes")
    return arguments[0]


def _ignore(arguments: tuple) -> Ignored:
    return Ignored()


TENSOR_TYPES = ("torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer")
REBUILD: dict[str, Callable[[tuple], Tensor]] = {
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor_v2,
    "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
}
ALLOWED: dict[str, Callable[[tuple], Any] | None] = {
    "collections.OrderedDict": _ordered_dict,
    **REBUILD,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": _rebuild_parameter_with_state,
    "torch._tensor._rebuild_from_type_v2": _rebuild_from_type,
    "torch.Size": _size,
    "torch.device": _ignore,
    # What a training's checkpoint may hold beside the weights. Of Python 2 and 3; nothing is made.
    **dict.fromkeys(
        (f"{module}.{name}" for module in ("builtins", "__builtin__") for name in ("set", "complex")), _ignore
    ),
    **dict.fromkeys(("_codecs.encode", "collections.Counter"), _ignore),
    **dict.fromkeys((*TENSOR_TYPES, *STORAGE_TYPES, *NEW_DTYPES, *OLD_DTYPES)),
}


# --------------------------------------------------------------------------------------------------------------------
# What it holds
# --------------------------------------------------------------------------------------------------------------------


def storage_type(tag: Any) -> tuple[str, int]:
    """The dtype and the bytes of an element of the type that a storage is said to have."""
    name = tag.name if type(tag) is Global else ""
    if name not in STORAGE_TYPES:
        raise UnpicklingError("its pickle names a storage in an unknown way")
    return STORAGE_TYPES[name]


def _is_dict_of_tensors(value: Any) -> bool:
    return type(value) is dict and all(type(k) is str and type(v) is Tensor for k, v in value.items())


def find_state_dict(path: Path, value: Any) -> dict[str, Tensor]:
    """The dict of tensors that the pickle of `path` holds: all of it, or the one entry that is such a dict."""
    if _is_dict_of_tensors(value):
        return value
    if type(value) is not dict:
        raise InputError(f"{path} holds a {type(value).__name__}; a state dict was expected: name -> tensor")
    # Each object once: a small pickle can hold one large dict a hundred thousand times.
    distinct = {id(entry): key for key, entry in value.items()}.values()
    inner = [key for key in distinct if value[key] and _is_dict_of_tensors(value[key])]
    # Beside a state dict, a single number may stand, such as the best accuracy so far.
    tensors = [key for key, entry in value.items() if type(entry) is Tensor and prod(entry.shape) != 1]
    if len(inner) == 1 and not tensors:
        return value[inner[0]]
    if len(inner) > 1 and not tensors:
        raise InputError(f"{path} holds several state dicts: {listed(inner)}; save the one that you want alone")
    other = next(key for key, entry in value.items() if type(key) is not str or type(entry) is not Tensor)
    raise InputError(
        f"{path} is not one dict of tensors: entry {quoted(other)} is a {type(value[other]).__name__}; save the "
        "model's state_dict() alone"
    )
