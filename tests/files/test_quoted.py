"""What a message shows of a name or a value is short and on one line, whatever the value is."""

import numpy
import pytest

from minivivit.files.tensor_data import all_listed, listed, quoted, reason_of


def nested(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        *("a" * 2_000_000, "a\nb", "\x1b[31m" * 1000, "\ud800", "\0", "'" * 99, '"' * 200, "é" * 300, ""),
        *(10**400, -(10**5000), [10**5000], 1e400, float("nan"), True, None, b"\xff" * 10**6, 1 + 2j),
        *(nested(5000), {"a": nested(900)}, ["a" * 10**6] * 1000, dict.fromkeys(range(10**5)), set(range(10**5))),
        *(
            numpy.zeros((1000, 1000)),
            numpy.zeros((3, 0)),
            numpy.dtype([("a\n" * 1000, "f4")]),
            object(),
            ("a",) * 10**6,
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_value_is_short_and_on_one_line(value):
    text = quoted(value)
    assert len(text) <= 100
    assert text.isprintable()
    assert listed([value] * 1000, 2).endswith(" and 998 more")


def test_short_values_are_as_python_writes_them():
    for value in ("a", "it's", "a\nb", 3, -1.5, None, True, [1, 2], (1,), {"a": [1]}, "x" * 98):
        assert quoted(value) == repr(value)
    assert quoted("x" * 1000) == f"'{'x' * 95}...'"


def test_all_names_of_a_model_but_no_megabytes():
    names = [f"vivit.encoder.layer.{index}.attention.output.dense.weight" for index in range(300)]
    assert all_listed(names) == ", ".join(names)
    assert len(all_listed([f"{index}" * 1000 for index in range(10**5)])) < 20_500
    assert all_listed(["a\nb"] * 3) == r"'a\nb', 'a\nb', 'a\nb'"
    assert all_listed(["abcd"] * 10, letters=20) == "abcd, abcd, abcd, abcd and 6 more"


def test_the_reason_that_another_library_gives():
    assert reason_of(ValueError("first\nsecond")) == "first"
    assert reason_of(ValueError("")) == reason_of(ValueError("\n")) == "ValueError"
    assert reason_of(ValueError("\x1b[31m" + "a" * 10**6)) == " [31m" + "a" * 195
