"""Count what a function does, where a clock would say how busy the machine is.

Linear and quadratic work are told apart by counting at two sizes: twice as many inputs are twice as many calls, or four
times.
"""

import sys
from collections.abc import Callable
from typing import Any


class CountedName(str):
    """A string whose comparisons and hashes are calls of Python functions, so that a search through a list shows."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return str.__ne__(self, other)

    def __lt__(self, other: str) -> bool:
        return str.__lt__(self, other)

    def __hash__(self) -> int:
        return str.__hash__(self)


def num_calls(function: Callable[[], Any]) -> int:
    """How many calls of functions, in Python and in C, a call of `function` makes in its thread."""
    count = 0

    def watch(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        function()
    finally:
        sys.setprofile(before)
    return count
