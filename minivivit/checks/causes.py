"""Why an answer is wrong: the known mistake that makes just these numbers, in every case that was looked at.

A mistake explains an output when it makes all that was seen of it: the same wrong numbers where it is wrong, the right
ones where it is right. One case alone is weak evidence: with eps near 0 many mistakes look alike, and zeros are made by
many.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy

from minivivit.checks.case import Case, leaves
from minivivit.checks.comparison import ZERO, agree, as_numbers, describe, general_cause, scale_of, size_of

# A known mistake: its cause in words, and a function that makes it, called as the student's.
Mistake = tuple[str, Callable]

KEPT = "something is kept from call to call (a global, a mutable default such as velocity={}): start anew in each"
_TOOK_AN_AXIS = "a sum, mean or maximum took an axis away: keep it, with keepdims=True"


@dataclass
class Compared:
    """One case whose answer could be compared.

    Attributes
    ----------
    number : int
        Of the case, counted from 1.
    case : Case
    answers, want : sequences
        The student's outputs, and those expected.
    wrong : dict of int to str
        What is wrong, by the number of the output.
    """

    number: int
    case: Case
    answers: Sequence[Any]
    want: Sequence[Any]
    wrong: dict[int, str] = field(default_factory=dict)


def least_scale(want: Sequence[Any]) -> float:
    """The least that rounding errors are measured by: an output may be 0 but for rounding, where others are not."""
    arrays = [array for output in want for array in _arrays(output)]
    return 1e-3 * max(map(scale_of, arrays))


def is_zero(output: Any) -> bool:
    """Whether an expected output is 0 everywhere, but for rounding."""
    return all(size_of(array) <= 1e-12 or not array.any() for array in _arrays(output))


def _arrays(output: Any) -> list[numpy.ndarray]:
    return list(leaves(output).values()) if isinstance(output, Mapping) else [numpy.asarray(output)]


def wrong_parts(
    found: Mapping[str, Any], expected: Mapping[str, numpy.ndarray], dtype: str, least: float
) -> dict[str, str]:
    """What is wrong with the arrays of a tree, by name. Some may be 0 but for rounding: their scale is the tree's."""
    scale = max(least, *map(scale_of, expected.values()))
    return {part: what for part in expected if (what := describe(found[part], expected[part], dtype, scale))}


# --------------------------------------------------------------------------------------------------------------------
# Outputs that are wrong
# --------------------------------------------------------------------------------------------------------------------


def causes_of(mistakes: Sequence[Mistake], outputs_of: Callable, compared: Sequence[Compared]) -> dict:
    """The likely cause by (number of the case, number of the output), for all that is wrong.

    Parameters
    ----------
    mistakes : sequence of (cause, callable)
    outputs_of : callable (function, case) -> tuple
        What a mistake makes of a case.
    compared : sequence of Compared
    """
    wrong = [one for one in compared if one.wrong]
    places = [(one.number, index) for one in wrong for index in one.wrong]
    causes = dict.fromkeys(places, "")
    if not places:
        return causes
    if _changes_from_call_to_call(compared):
        return dict.fromkeys(places, KEPT)
    best: dict[int, tuple[tuple[bool, int, int], str]] = {}
    for cause, mistaken in mistakes:
        explained, is_all = _explained(_made(outputs_of, mistaken), compared)
        rank = (is_all, len(explained), sum(explained.values()))
        for index in explained:
            if index not in best or rank > best[index][0]:
                best[index] = (rank, cause)
    for one in wrong:
        for index in one.wrong:
            known = best[index][1] if index in best else ""
            causes[one.number, index] = known or _by_its_looks(one, index, compared)
    return causes


def _made(outputs_of: Callable, mistaken: Callable) -> Callable[[Case], Sequence[Any] | None]:
    def make(case: Case) -> Sequence[Any] | None:
        try:
            return outputs_of(mistaken, case)
        except Exception:
            return None  # a mistake that cannot be made with these shapes

    return make


def _explained(make: Callable, compared: Sequence[Compared]) -> tuple[dict[int, int], bool]:
    """Output -> in how many cases a mistake makes it as wrong as it is; and whether all outputs are what it makes.

    Without the outputs that it contradicts: it makes them wrong where they are right, or otherwise wrong.
    """
    found = dict.fromkeys(range(len(compared[0].want)), 0)
    wrong = {index for one in compared for index in one.wrong}
    for one in sorted(compared, key=lambda one: (not one.wrong, one.case.weight)):  # what is wrong first, small first
        if not found.keys() & wrong:
            break  # nothing that is wrong is explained any more
        made = make(one.case)
        if made is None:
            continue
        for index in list(found):
            verdict = _explains(made[index], one, index)
            if verdict is None:
                continue
            if verdict:
                found[index] += index in one.wrong
            else:
                del found[index]
    return {index: count for index, count in found.items() if count}, len(found) == len(compared[0].want)


def _explains(made: Any, one: Compared, index: int) -> bool | None:
    """Whether a mistake makes what was answered; None where that cannot be told."""
    answer, want, dtype, least = one.answers[index], one.want[index], one.case.dtype, least_scale(one.want)
    if index not in one.wrong:
        return not _wrong(made, want, dtype, least)
    got, expected = _first_wrong(answer, want, dtype, least)
    if isinstance(want, Mapping):
        name = next((name for name, array in leaves(want).items() if array is expected), None)
        made = leaves(made).get(name or "") if isinstance(made, Mapping) else None
    numbers = as_numbers(got)
    if agree(got, made, dtype):
        # near the tolerance a wrong answer looks like a right one, and so does its mistake
        return None if agree(made, expected, dtype) else True
    if isinstance(numbers, str) or not numpy.isfinite(numbers).all():
        return None
    return None if agree(got, expected, dtype) else False


def _wrong(made: Any, want: Any, dtype: str, least: float) -> bool:
    if not isinstance(want, Mapping):
        return bool(describe(made, numpy.asarray(want), dtype, max(least, scale_of(numpy.asarray(want)))))
    found, expected = leaves(made) if isinstance(made, Mapping) else {}, leaves(want)
    return found.keys() != expected.keys() or bool(wrong_parts(found, expected, dtype, least))


def _first_wrong(answer: Any, want: Any, dtype: str, least: float) -> tuple[Any, numpy.ndarray]:
    """The first wrong array of an output, and what was expected there."""
    if not isinstance(want, Mapping):
        return answer, numpy.asarray(want)
    found, expected = leaves(answer) if isinstance(answer, Mapping) else {}, leaves(want)
    if found.keys() == expected.keys():
        for name in wrong_parts(found, expected, dtype, least):
            return found[name], expected[name]
    return None, numpy.zeros(0)


def _by_its_looks(one: Compared, index: int, compared: Sequence[Compared]) -> str:
    """The cause by the looks of the numbers; zeros, and a factor of a scalar, need other cases that agree."""
    got, want = _first_wrong(one.answers[index], one.want[index], one.case.dtype, least_scale(one.want))
    cause = general_cause(got, want)
    others = [(as_numbers(other.answers[index]), numpy.asarray(other.want[index])) for other in compared]
    if cause == ZERO and any(not isinstance(answer, str) and answer.any() for answer, _ in others):
        return (
            "it is 0 in this case and not in others: exp of what is far below 0, or a branch that only this one takes"
        )
    if not cause and want.size == 1 and not isinstance(one.want[index], Mapping):
        return _common_factor(others)
    return cause


def _common_factor(pairs: Sequence[tuple[Any, Any]]) -> str:
    """The factor by which all numbers of several cases are off; empty if there is none."""
    ratios = [
        float(answer.reshape(())) / float(want.reshape(()))
        for answer, want in pairs
        if not isinstance(answer, str) and answer.size == want.size == 1 and want.any()
    ]
    if len(ratios) < 2 or numpy.ptp(ratios) > 1e-6 * abs(ratios[0]) or not ratios[0]:
        return ""
    return "the sign is turned" if abs(ratios[0] + 1) < 1e-6 else f"a factor: all is {ratios[0]:.4g} times"


def _changes_from_call_to_call(compared: Sequence[Compared]) -> bool:
    """Whether one case was answered twice, and otherwise the second time, or one got the right answer of another."""
    for number, one in enumerate(compared):
        for earlier in compared[:number]:
            pairs = zip(earlier.answers, one.answers, strict=True)
            differ = [_differ(*pair, one.case.dtype) for pair in pairs]
            if earlier.case.arguments is one.case.arguments and any(differ):
                return True
            if one.wrong and not earlier.wrong and not any(differ):
                return True
    return False


def _differ(first: Any, second: Any, dtype: str) -> bool:
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        one, other = leaves(first), leaves(second)
        return one.keys() != other.keys() or any(not agree(one[name], other[name], dtype) for name in one)
    return not agree(first, second, dtype) and not isinstance(as_numbers(first), str)


# --------------------------------------------------------------------------------------------------------------------
# Errors that were raised
# --------------------------------------------------------------------------------------------------------------------

# (type, a part of the message, cause): what these errors mean most often here.
_ERRORS: list[tuple[type[BaseException], str, str]] = [
    (
        KeyError,
        "pixel_values",
        "the gradients have one named pixel_values, which is no parameter: go through the names of model.state_dict()",
    ),
    (ValueError, "could not be broadcast", ""),  # the shapes say more, see below
    (ValueError, "matmul: Input operand", "a transpose is missing, or too many: write down the shape of each factor"),
    (ValueError, "cannot reshape", "the shape that is asked for has another number of entries: check every length"),
    (ValueError, "unpack", "the input has another number of axes, or a function returns another number of values"),
    (TypeError, "NoneType", "a function that returns nothing was called: is its return missing?"),
    (TypeError, "only length-1 arrays", "math takes one number: for arrays take NumPy's function"),
    (TypeError, "only 0-dimensional arrays", "math takes one number: for arrays take NumPy's function"),
    (TypeError, "positional argument", "the function's parameters are not those of the task: put back its def line"),
    (NameError, "", "a name that is not defined, or in a cell that was not run"),
    (IndexError, "out of bounds", "an index counted from 1, or along another axis"),
    (OverflowError, "", "exp of a large number: subtract the row's maximum before"),
    (ZeroDivisionError, "", "what it is divided by may be 0"),
]


def cause_of_error(error: BaseException) -> str:
    """What an error that a student's function raised means most often; empty when nothing is known."""
    message = str(error)
    for kind, part, cause in _ERRORS:
        if isinstance(error, kind) and part in message:
            return cause or _cause_of_broadcast(message)
    return ""


def _cause_of_broadcast(message: str) -> str:
    """Of two shapes one of which is the other without its last axis, that axis was lost."""
    shapes = [
        tuple(int(length) for length in part.partition(")")[0].split(",") if length.strip())
        for part in message.split("(")[1:]
        if part.partition(")")[0].replace(",", "").replace(" ", "").isdigit()
    ]
    for one, other in itertools.pairwise(shapes):
        if other == one[:-1] or one == other[:-1]:
            return _TOOK_AN_AXIS
    return "two shapes that do not fit: write down the shape of each"
