"""What is sent comes back as it was; what is no message is refused, and quickly."""

import json
import math

import numpy
import pytest

from minivivit.grading.apart import wire
from minivivit.grading.apart.wire import Tagged, WireError, pack, unpack


def there_and_back(value):
    return unpack(pack(value)[8:])


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -1,
        2**127,
        1.5,
        math.inf,
        -0.0,
        "",
        "letters, and ü\ud800",
        [],
        (),
        {},
        [1, (2.0, {"a": None})],
    ],
)
def test_plain_values_come_back(value):
    found = there_and_back(value)
    assert found == value
    assert type(found) is type(value)
    assert math.copysign(1, found) == math.copysign(1, value) if isinstance(value, float) else True


@pytest.mark.parametrize(
    "dtype", ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?", "c8", "c16", ">f8"]
)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (4, 3)])
def test_arrays_come_back_bit_by_bit(dtype, shape):
    array = numpy.arange(math.prod(shape)).reshape(shape).astype(dtype)
    found = there_and_back([array, array.T])
    for one, other in zip(found, (array, array.T), strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype.newbyteorder("=")
        assert one.tobytes() == other.astype(one.dtype).tobytes()
        assert one.flags.writeable


def test_scalars_and_odd_values_keep_their_kind():
    assert isinstance(there_and_back(numpy.float32(2)), numpy.float32)
    assert numpy.isnan(there_and_back(math.nan))
    assert callable(there_and_back(print))
    assert type(there_and_back(range(3))).__name__ == "range"
    assert there_and_back(numpy.array([1.5, None], dtype=object)).tolist() == [1.5, None]
    assert there_and_back(Tagged("model", {"a": 1})).value == {"a": 1}
    assert there_and_back({3: numpy.longdouble(1)}) == {"3": 1.0}


def header(text: bytes, data: bytes = b"") -> bytes:
    return len(text).to_bytes(4, "big") + text + data


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0\0\0",
        b"\xff\xff\xff\xff",
        header(b""),
        header(b"\xff"),
        header(b"null"),
        header(b"[]"),
        header(b'["plain"]'),
        header(b'["plain", 3]'),
        header(b'["pickle", "cos"]'),
        header(b'["int", "1' + b"0" * 5000 + b'"]'),
        header(b'["float", "x"]'),
        header(b"[" * 100_000),
        header(b'["list", [' * 60 + b'["plain", null]' + b"]]" * 60),
        header(b'["array", "O", [1], 0, false]', bytes(8)),
        header(b'["array", "V8", [1], 0, false]', bytes(8)),
        header(b'["array", "<f8", [2], 0, false]', bytes(8)),
        header(b'["array", "<f8", [1], 8, false]', bytes(8)),
        header(b'["array", "<f8", [-1], 0, false]', bytes(8)),
        header(b'["array", "<f8", [1], -8, false]', bytes(8)),
        header(b'["array", "<f8", [1.0], 0, false]', bytes(8)),
        header(b'["array", "<f8", [true], 0, false]', bytes(8)),
        header(b'["array", "<f8", [1073741824, 1073741824, 1073741824, 0], 0, false]'),
        header(b'["array", "<f8", [' + b"1, " * 40 + b"1], 0, false]", bytes(8)),
        header(b'["array", ["<f8"], [1], 0, false]', bytes(8)),
        header(b'["objects", [7], []]'),
        header(b'["dict", [["a"]]]'),
        header(b'["dict", 3]'),
        header(b'["tagged", 3, ["plain", null]]'),
    ],
)
def test_what_is_no_message_is_refused(body):
    with pytest.raises(WireError) as caught:
        unpack(body)
    assert len(str(caught.value)) < 200


def test_damaged_messages_are_refused_or_read():
    message = bytearray(pack({"status": "returned", "value": numpy.arange(6.0).reshape(2, 3)})[8:])
    rng = numpy.random.default_rng(0)
    for _ in range(2000):
        damaged = bytearray(message)
        for place in rng.integers(len(message), size=3):
            damaged[place] = rng.integers(256)
        try:
            unpack(bytes(damaged))
        except WireError:
            continue


def test_a_length_that_is_too_long_is_refused_before_memory_is_taken():
    taken = []

    def take(count):
        taken.append(count)
        return b"\x7f" * count

    with pytest.raises(WireError, match="at most"):
        wire.read(take)
    assert taken == [8]


def test_what_is_too_large_or_too_deep_is_not_sent():
    nested: list = []
    for _ in range(100):
        nested = [nested]
    with pytest.raises(WireError, match="deeply"):
        pack(nested)
    with pytest.raises(WireError, match="bytes"):
        pack(numpy.broadcast_to(0.0, (1 << 24,)))


def by_hand(described, data=b""):
    """A message without its length, as a student's code may write it."""
    header = json.dumps(described).encode()
    return len(header).to_bytes(4, "big") + header + data


def test_what_is_made_of_a_message_is_no_larger_than_it():
    """Bytes belong to one array each; a class is made of few values, and of no name that fills a report."""
    one = ["array", "|u1", [4], 0, False]
    assert unpack(by_hand(one, b"abcd")).tolist() == list(b"abcd")
    for described in (
        ["list", [one, one]],
        ["array", "|u1", [2], 2, False],
        ["list", [["odd", f"Kind{number}"] for number in range(wire.MOST_OBJECTS + 1)]],
        ["objects", [wire.MOST_OBJECTS + 1], [["plain", None]] * (wire.MOST_OBJECTS + 1)],
        ["dict", [["x" * (wire.LONGEST_NAME + 1), ["plain", None]]]],
    ):
        with pytest.raises(WireError):
            unpack(by_hand(described, b"abcd"))


def test_a_name_is_one_line():
    """A report shows it."""
    assert list(there_and_back({"a\nb\u2028c\x85d": 1, "größer": 2})) == ["a?b?c?d", "größer"]
