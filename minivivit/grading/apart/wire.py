"""How values travel between the grader and the process that holds a student's code: plain bytes, read as hostile ones.

A message is 8 bytes with its length, 4 bytes with the length of a header, the header, which is JSON, and after it the
bytes of the arrays that the header describes. Nothing in it can name code. Every value in the header is a list that
begins with its kind.
"""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy

# Bytes of a message, and of its header.
LONGEST = 64 << 20
LONGEST_HEADER = 8 << 20
# Kinds of numbers that an array may hold.
DTYPES = frozenset(
    f"{order}{kind}"
    for order in "<|"
    for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1", "c8", "c16")
)
DEEPEST = 30  # lists in lists
MOST_AXES = 16
LONGEST_INTEGER = 400  # digits
LONGEST_NAME = 200  # letters of a name in a dictionary
MOST_OBJECTS = 5000  # entries of an array of objects, and values that stand for others


class WireError(ValueError):
    """Bytes that are no message, or a value that cannot be sent."""


class Tagged:
    """A value that the other side makes something of: a model, a generator.

    Attributes
    ----------
    kind : str
    value : object
        Made of what can be sent.
    """

    def __init__(self, kind: str, value: Any):
        self.kind, self.value = kind, value


class Odd:
    """Stands for a value that cannot be sent; `name` is its type's."""

    def __init__(self, name: str):
        self.name = name


def pack(value: Any) -> bytes:
    """A message with its length in front.

    Raises
    ------
    WireError
        When it is longer than a message may be, or nested too deeply.
    """
    arrays: list[bytes] = []
    header = json.dumps(_described(value, arrays, [0], 0)).encode("ascii")
    body = b"".join([len(header).to_bytes(4, "big"), header, *arrays])
    if len(header) > LONGEST_HEADER or len(body) > LONGEST:
        raise WireError(f"a message of {len(body):,} bytes, {len(header):,} of them its header; too long")
    return len(body).to_bytes(8, "big") + body


def read(take: Callable[[int], bytes]) -> Any:
    """The next message; `take` gives so many bytes, or raises EOFError."""
    length = int.from_bytes(take(8), "big")
    if length > LONGEST:
        raise WireError(f"a message of {length:,} bytes; at most {LONGEST:,} are taken")
    return unpack(take(length))


def unpack(body: bytes) -> Any:
    """The value of a message without its length.

    Raises
    ------
    WireError
        When it is not what `pack` makes.
    """
    size = int.from_bytes(body[:4], "big")
    if len(body) < 4 or size > min(LONGEST_HEADER, len(body) - 4):
        raise WireError("a header that is longer than its message")
    try:
        header = json.loads(body[4 : 4 + size])
        return _value(header, _Body(memoryview(body)[4 + size :]), 0)
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, OverflowError) as error:
        raise WireError(f"a message that cannot be read ({type(error).__name__})") from None


# --------------------------------------------------------------------------------------------------------------------
# To be sent
# --------------------------------------------------------------------------------------------------------------------


def _described(value: Any, arrays: list[bytes], offset: list[int], depth: int) -> list:
    """A value as JSON; the bytes of its arrays are appended to `arrays`, whose size `offset` counts."""
    if depth > DEEPEST:
        raise WireError("an answer that is nested too deeply")
    kind = type(value)
    if value is None or kind in (bool, str):
        return ["plain", value]
    if kind is int:
        return ["int", str(value)] if abs(value) < 10**LONGEST_INTEGER else ["odd", "int"]
    if kind is float:
        return ["float", value.hex()]
    if kind is complex:
        return _array(numpy.asarray(value), arrays, offset, depth, scalar=True)
    if isinstance(value, numpy.ndarray | numpy.generic):
        is_scalar = isinstance(value, numpy.generic)
        return _array(numpy.asarray(value), arrays, offset, depth, is_scalar)
    if isinstance(value, Tagged):
        return ["tagged", value.kind, _described(value.value, arrays, offset, depth + 1)]
    if isinstance(value, Mapping):
        parts = [[str(name), _described(part, arrays, offset, depth + 1)] for name, part in value.items()]
        return ["dict", parts]
    if isinstance(value, list | tuple):
        parts = [_described(part, arrays, offset, depth + 1) for part in value]
        return ["list" if isinstance(value, list) else "tuple", parts]
    if hasattr(kind, "__array__"):
        return _array(numpy.asarray(value), arrays, offset, depth, scalar=False)
    return ["function" if callable(value) else "odd", str(getattr(kind, "__name__", ""))[:100]]


def _array(array: numpy.ndarray, arrays: list[bytes], offset: list[int], depth: int, scalar: bool) -> list:
    if array.dtype.kind == "O":
        if array.size > MOST_OBJECTS or depth > 3:
            return ["odd", "ndarray"]
        parts = [_described(part, arrays, offset, depth + 1) for part in array.ravel().tolist()]
        return ["objects", list(array.shape), parts]
    if array.dtype.kind not in "fiubc":
        return ["odd", "ndarray"]
    if array.dtype.itemsize > (16 if array.dtype.kind == "c" else 8):
        array = array.astype("c16" if array.dtype.kind == "c" else "f8")  # long double is another on every system
    array = array.astype(array.dtype.newbyteorder("<"), order="C")
    data = array.tobytes()
    described = ["array", array.dtype.str, list(array.shape), offset[0], bool(scalar)]
    arrays.append(data)
    offset[0] += len(data)
    if offset[0] > LONGEST:
        raise WireError(f"an answer of more than {LONGEST:,} bytes")
    return described


# --------------------------------------------------------------------------------------------------------------------
# Received
# --------------------------------------------------------------------------------------------------------------------


class _Body:
    """The bytes behind a header, each of which belongs to one array, so that what is made is no larger."""

    def __init__(self, data: memoryview):
        self.data, self.taken, self.stand_ins = data, 0, 0


def _value(described: Any, body: _Body, depth: int) -> Any:
    if depth > DEEPEST + 2:
        raise WireError("nested too deeply")
    kind, *rest = described
    if kind == "plain" and (rest[0] is None or type(rest[0]) in (bool, str)):
        return rest[0]
    if kind == "int" and type(rest[0]) is str and len(rest[0]) <= LONGEST_INTEGER + 1:
        return int(rest[0])
    if kind == "float" and type(rest[0]) is str:
        return float.fromhex(rest[0])
    if kind == "array":
        return _received_array(body, *rest)
    if kind == "objects":
        shape, parts = rest
        if len(parts) > MOST_OBJECTS:
            raise WireError("an array of too many objects")
        array = numpy.empty(len(parts), dtype=object)
        for index, part in enumerate(parts):
            array[index] = _value(part, body, depth + 1)
        return array.reshape(_checked(shape))
    if kind == "tagged" and type(rest[0]) is str:
        return Tagged(rest[0], _value(rest[1], body, depth + 1))
    if kind == "dict":
        return {_name(name): _value(part, body, depth + 1) for name, part in rest[0]}
    if kind in ("list", "tuple"):
        parts = [_value(part, body, depth + 1) for part in rest[0]]
        return parts if kind == "list" else tuple(parts)
    if kind in ("function", "odd"):
        body.stand_ins += 1
        if body.stand_ins > MOST_OBJECTS:  # a class is made of each
            raise WireError("too many values that cannot be sent")
        return _stand_in(kind, str(rest[0])[:100])
    raise WireError("an unknown kind")


def _name(name: Any) -> str:
    """A name in a dictionary, which a report may show: of one line."""
    if len(str(name)) > LONGEST_NAME:
        raise WireError("a name that is too long")
    return "".join(letter if letter.isprintable() else "?" for letter in str(name))


def _received_array(body: _Body, dtype: Any, shape: Any, offset: Any, scalar: Any) -> Any:
    if dtype not in DTYPES or type(offset) is not int or offset != body.taken:
        raise WireError("an array of an unknown kind")
    shape = _checked(shape)
    found = numpy.dtype(dtype)
    count = math.prod(shape)
    if count * found.itemsize > len(body.data) - offset:
        raise WireError("an array that is longer than its message")
    body.taken += count * found.itemsize
    array = numpy.frombuffer(body.data, found, count, offset) if count else numpy.empty(0, found)
    array = array.reshape(shape).astype(found.newbyteorder("="))  # a copy, which can be written
    return array[()] if scalar and not shape else array


def _checked(shape: Any) -> tuple[int, ...]:
    if type(shape) is not list or len(shape) > MOST_AXES:
        raise WireError("a shape that is none")
    if not all(type(length) is int and 0 <= length <= LONGEST for length in shape):
        raise WireError("a shape that is none")
    return tuple(shape)


def _stand_in(kind: str, name: str) -> Any:
    """Something of the same type's name, for whoever says what was returned."""
    if kind == "function":
        return lambda *arguments: None
    return type(name if name.isidentifier() else "object", (Odd,), {})(name)
