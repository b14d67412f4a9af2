"""Layouts: the same numbers in another order of axes, and how that is undone, when told or when asked to find it.

A layout says what to do with their tensor to get ours. It is a line of words, one after the other with spaces between,

    reshape(2, 10, 3, 8)     the same numbers, row-major, in another shape; one size may be -1
    transpose(0, 2, 1)       axis i of the result is the named axis of what goes in, as in numpy.transpose
    take(2, 0)               of axis 2, the entry 0; the axis is gone

and the names of `NAMED_LAYOUTS`, which say how a tensor lies and are undone. These look at the last axes alone:
whatever axes come before, (batch, times, places, ...) or (batch * times, places, ...), stay as they are. What comes out
need not have our shape to the axis: axes of one entry may be missing or too many, and axes before the last may be
merged or apart. (In a mapping sizes may also be named, see `minivivit.verification.tensors.layout_sizes`.)
"""

import itertools
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy

from minivivit.errors import InputError
from minivivit.files.tensor_data import quoted

Shape = tuple[int, ...]
Step = tuple[str, tuple[int, ...]]  # ("transpose", (0, 2, 1))

NAMED_LAYOUTS = {
    "transposed": "the last two axes are swapped",
    "channels last": "frames as (..., frames, height, width, channels)",
    "channels first": "frames as (..., channels, frames, height, width)",
    "heads merged": "(..., tokens, heads * d), where ours is (..., heads, tokens, d)",
    "heads split": "(..., heads, tokens, d), where ours is (..., tokens, heads * d)",
    "qkv[I]": "part I (0, 1 or 2) of query, key and value one after the other on the last axis",
    "qkv[I] by head": "the same, with each head's query, key and value together",
    "qkv[I] innermost": "the same, with query, key and value alternating number by number",
}
FIND = "find"  # in the place of a layout: find it

LONGEST_LAYOUT = 1000  # characters
WORD = re.compile(
    r"\s*(?:(?P<step>reshape|transpose|take)\((?P<numbers>[-0-9, ]{0,200})\)"
    r"|qkv\[(?P<part>[012])\](?P<packing> by head| innermost|)"
    r"|(?P<name>heads merged|heads split|transposed|channels last|channels first))(?:\s+|\Z|(?<=[\])])(?=[a-z]))"
)
SAMPLE = 1 << 14  # entries that candidates are judged by
DEEPEST = 6  # axes that are permuted, at most: 6! = 720 candidates
# As it stands, a tensor of our shape is taken for ours when its relative difference is below this, ...
LIKENESS = 0.1
# ... and another layout is preferred when its difference is below this part of the plainest's.
CLEARLY_SMALLER = 0.5
# Where none agrees, so many remain for others to try: the likest, and then the plainest.
LIKEST, MOST_CANDIDATES = 6, 24


class OtherShapeError(InputError):
    """A layout that does not lead from their shape to ours.

    Attributes
    ----------
    shape : tuple of int
        To which it leads; theirs as it is stored, where its words cannot be done to that.
    """

    def __init__(self, message: str, shape: Shape):
        super().__init__(message)
        self.shape = shape


def undo_layout(array: numpy.ndarray, layout: str, goal: Shape, heads: int | None = None) -> numpy.ndarray:
    """Their tensor as ours is laid out.

    Parameters
    ----------
    array : array
        Theirs.
    layout : str
        A line of words; see this module. "" is for the same layout.
    goal : tuple of int
        Shape of ours. Axes of one entry may be missing or too many, and those before the last merged or apart.
    heads : int, optional
        Number of attention heads, for "by head" and "heads merged".

    Returns
    -------
    array of shape `goal`
        A view of theirs where possible.

    Raises
    ------
    InputError
        For a layout that is none; `OtherShapeError` for one that does not lead from their shape to ours.
    """
    result = _apply(array, parse_layout(layout, array.shape, goal, heads))
    if not same_axes(result.shape, goal):
        message = f"layout {quoted(layout)} makes {result.shape} of {array.shape}, but ours is {goal}"
        raise OtherShapeError(message, result.shape)
    return result.reshape(goal)


def same_axes(shape: Shape, goal: Shape) -> bool:
    """Whether two shapes are of one tensor: but for axes of one entry, and for merged ones before the last."""
    shape, goal = _without_ones(shape), _without_ones(goal)
    if shape == goal:
        return True
    return shape[-1:] == goal[-1:] and (_merges(shape, goal) or _merges(goal, shape))


def parse_layout(layout: str, shape: Shape, goal: Shape, heads: int | None = None) -> list[Step]:
    """The steps that a layout stands for, for a tensor of theirs of shape `shape` and one of ours of shape `goal`."""
    text = layout.strip()
    steps: list[Step] = []
    result, end = _weightless(shape), 0
    while end < len(text):
        word = WORD.match(text, end) if len(text) <= LONGEST_LAYOUT else None
        if word is None:
            raise InputError(
                f"{quoted(layout)} is no layout; expected {', '.join(NAMED_LAYOUTS)}, find, or a line such as "
                "'reshape(1, 10, 2, 4) transpose(0, 2, 1, 3) take(2, 0)'"
            )
        for step in _steps(word, result.shape, goal, heads):
            result = _apply(result, [step])
            steps.append(step)
        end = word.end()
    return steps


def keeps_order(layout: str) -> bool:
    """Whether a layout leaves the numbers where they are, row-major: it has no words but reshape."""
    return re.fullmatch(r"(\s*reshape\([-0-9, ]{0,200}\)\s*)*", layout[:LONGEST_LAYOUT]) is not None


def _weightless(shape: Shape) -> numpy.ndarray:
    """A tensor that takes no memory, to try steps on."""
    return numpy.broadcast_to(numpy.float64(0), shape)


def _steps(word: re.Match[str], shape: Shape, goal: Shape, heads: int | None) -> list[Step]:
    """The steps that one word of a layout stands for, for a tensor of `shape`."""
    if word["step"]:
        try:
            return [(word["step"], tuple(int(number) for number in word["numbers"].split(",") if number.strip()))]
        except ValueError:
            raise InputError(f"{quoted(word[0].strip())} in a layout; expected whole numbers") from None
    if word["part"]:
        return _third(int(word["part"]), word["packing"].strip(), word[0].strip(), shape, heads)
    axes, last = tuple(range(len(shape))), len(shape) - 1
    name = word["name"]
    if name == "transposed":
        return [("transpose", (*axes[:-2], *axes[:-3:-1]))]
    if name in ("channels last", "channels first"):
        order = (0, 3, 1, 2) if name == "channels last" else (1, 0, 2, 3)
        before = max(len(shape) - 4, 0)
        return [("transpose", (*range(before), *(before + axis for axis in order)))]
    if name == "heads split" and len(shape) >= 3:
        merged = (*shape[:-3], shape[-2], shape[-3] * shape[-1])
        return [("transpose", (*axes[:-3], last - 1, last - 2, last)), ("reshape", merged)]
    count = heads or (goal[-3] if len(goal) >= 3 else 0)
    if name == "heads merged" and len(shape) >= 2 and count:
        split = (*shape[:-1], count, shape[-1] // count)
        return [("reshape", split), ("transpose", (*range(last - 1), last, last - 1, last + 1))]
    raise InputError(f"layout {quoted(name)} does not lead from their shape {shape} to ours, {goal}")


def _third(part: int, packing: str, shown: str, shape: Shape, heads: int | None) -> list[Step]:
    """The steps to query, key or value of a tensor that holds all three on its last axis."""
    if not shape:
        raise InputError(f"layout {quoted(shown)} cannot be done to a single number")
    *others, last = shape
    if packing == "":
        return [("reshape", (*others, 3, last // 3)), ("take", (len(others), part))]
    if packing == "innermost":
        return [("reshape", (*others, last // 3, 3)), ("take", (len(others) + 1, part))]
    if not heads:
        shown = quoted(shown)
        raise InputError(f"layout {shown} needs the number of heads, which our trace does not say; write it out")
    steps: list[Step] = [("reshape", (*others, heads, 3, last // (3 * heads))), ("take", (len(others) + 1, part))]
    return [*steps, ("reshape", (*others, last // 3))]


def _apply(array: numpy.ndarray, steps: list[Step]) -> numpy.ndarray:
    for word, numbers in steps:
        try:
            if word == "reshape":
                array = array.reshape(numbers)
            elif word == "transpose":
                array = array.transpose(numbers)
            elif len(numbers) == 2:
                array = numpy.moveaxis(array, numbers[0], 0)[numbers[1]]  # a view
            else:
                raise ValueError
        except (ValueError, IndexError, OverflowError):
            shown = quoted(f"{word}({', '.join(map(str, numbers))})")[1:-1]
            message = f"layout: {shown} cannot be done to a tensor of shape {array.shape}"
            raise OtherShapeError(message, array.shape) from None
    return array


# --------------------------------------------------------------------------------------------------------------------
# Finding
# --------------------------------------------------------------------------------------------------------------------


class Candidate(NamedTuple):
    """A layout that leads to our shape, and how far theirs is from ours then: ||theirs - ours|| / ||ours||."""

    layout: str
    difference: float


def candidate_layouts(ours: numpy.ndarray, theirs: numpy.ndarray, heads: int | None = None) -> Iterator[Candidate]:
    """Every layout that leads from their shape to ours, the plainest first; of those that do the same, the first.

    They are all orders of the axes, with the axis of the heads on its own or merged with its neighbour, with axes
    merged or divided where ours has them so, with axes of one entry missing or too many, and, when theirs is three
    times as large as ours, each third of an axis in the three ways that query, key and value are put together. They are
    judged by some thousand entries spread over the tensor.

    Parameters
    ----------
    ours, theirs : arrays
    heads : int, optional
        Number of attention heads; left out, that of ours when it has four axes.

    Yields
    ------
    Candidate
    """
    if heads is None and ours.ndim == 4:
        heads = ours.shape[1]
    places = _spread(ours.size)
    sample = ours.reshape(-1)[places]
    seen: set[bytes] = set()
    for layout in _lines(theirs.shape, ours.shape, heads):
        found = _entries(theirs, parse_layout(layout, theirs.shape, ours.shape, heads), places)
        effect = found.tobytes()
        if effect not in seen:
            seen.add(effect)
            yield Candidate(layout, _relative(sample, found))


def find_layouts(ours: numpy.ndarray, theirs: numpy.ndarray, heads: int | None = None) -> list[str]:
    """The layout in which theirs is most like ours; and where it is like ours in none, those that may be meant besides.

    The first is the plainest that fits, unless another is clearly better: half as far from ours, or, where even the
    plainest is another than ours, nearer by more than chance makes one. A tensor that is wrong is near ours in no
    layout, and which is meant can only be told by what explains it: so the others follow, for `likely_causes` to try.

    Parameters
    ----------
    ours, theirs, heads : see `candidate_layouts`

    Returns
    -------
    layouts : list of str
        Lines of words, "" for a tensor that is laid out as ours. Empty when none leads to our shape; at most 24.
    """
    found: list[Candidate] = []
    for candidate in candidate_layouts(ours, theirs, heads):
        found.append(candidate)
        if len(found) == 1 and candidate.difference < LIKENESS:
            break
    if not found:
        return []
    plainest, likest = found[0], min(found, key=lambda candidate: candidate.difference)
    # The relative difference of n unrelated numbers varies by about 1 / sqrt(n) of itself.
    by_chance = max(0.0, 1 - 6 / math.sqrt(max(min(ours.size, SAMPLE), 1)))
    margin = CLEARLY_SMALLER if plainest.layout == "" else max(CLEARLY_SMALLER, by_chance)
    chosen = likest if likest.difference < margin * plainest.difference else plainest
    if chosen.difference < LIKENESS:
        return [chosen.layout]
    others = sorted(found, key=lambda candidate: candidate.difference)[:LIKEST] + found
    return list(dict.fromkeys([chosen.layout, *(other.layout for other in others)]))[:MOST_CANDIDATES]


def find_layout(ours: numpy.ndarray, theirs: numpy.ndarray, heads: int | None = None) -> str | None:
    """The first of `find_layouts`; None when no layout leads to our shape."""
    return next(iter(find_layouts(ours, theirs, heads)), None)


def _spread(size: int) -> numpy.ndarray:
    """Up to `SAMPLE` places in a tensor, spread as multiples of the golden ratio are over a circle."""
    if size <= SAMPLE:
        return numpy.arange(size)
    return numpy.unique((numpy.arange(1, SAMPLE + 1) * (math.sqrt(5) - 1) / 2 % 1 * size).astype(int))


def _entries(theirs: numpy.ndarray, steps: list[Step], places: numpy.ndarray) -> numpy.ndarray:
    """The entries that come to lie at `places`; a last reshape, which would copy the tensor, moves none of them."""
    view = _apply(theirs, steps[:-1] if steps and steps[-1][0] == "reshape" else steps)
    if view.ndim == 0 or places.size == 0:
        return view.reshape(-1)[: places.size]
    return view[numpy.unravel_index(places, view.shape)]


def _relative(ours: numpy.ndarray, theirs: numpy.ndarray) -> float:
    """||theirs - ours|| / ||ours||; what is not finite in either is left out."""
    finite = numpy.isfinite(ours) & numpy.isfinite(theirs)
    ours, theirs = ours[finite], theirs[finite]
    # In units of the power of two above the largest number: squares do not overflow, and no digit changes.
    exponent = numpy.frexp(max(abs(ours).max(initial=0.0), abs(theirs).max(initial=0.0)))[1]
    with numpy.errstate(under="ignore"):
        ours, theirs = numpy.ldexp(ours, -exponent), numpy.ldexp(theirs, -exponent)
        difference, norm = numpy.linalg.norm(theirs - ours), numpy.linalg.norm(ours)
    return float(difference / norm) if norm else float(difference)


def _lines(shape: Shape, goal: Shape, heads: int | None) -> Iterator[str]:
    """Layouts that lead from `shape` to `goal`, the plainest first, and those with a name before those without."""
    if _without_ones(shape) == _without_ones(goal):
        yield ""
    for name in NAMED_LAYOUTS:
        for layout in [name.replace("I", str(part)) for part in range(3)] if "[I]" in name else [name]:
            if _leads_to(layout, shape, goal, heads):
                yield layout
    if math.prod(shape) == math.prod(goal):
        yield f"reshape{_list(goal)}"
    for start, first in _thirds(_without_ones(shape), math.prod(goal), heads):
        for split in _splits(start, heads):
            for order in itertools.permutations(range(len(split))) if len(split) <= DEEPEST else ():
                if _merges(tuple(split[axis] for axis in order), goal):
                    yield first + _written(split, order, goal)


def _leads_to(layout: str, shape: Shape, goal: Shape, heads: int | None) -> bool:
    """Whether a named layout fits."""
    try:
        result = _apply(_weightless(shape), parse_layout(layout, shape, goal, heads))
    except InputError:
        return False
    return same_axes(result.shape, goal)


def _thirds(shape: Shape, goal_size: int, heads: int | None) -> Iterator[tuple[Shape, str]]:
    """What may become ours, and the words that make it: the tensor itself, or its thirds along some axis."""
    size = math.prod(shape)
    if size == goal_size:
        yield shape, ""
    for axis, entries in enumerate(shape if size == 3 * goal_size else ()):
        before, third, after = shape[:axis], entries // 3, shape[axis + 1 :]
        divisions: list[tuple[Shape, int]] = [((3, third), 0), ((third, 3), 1)]
        if heads and third % heads == 0:
            divisions.append(((heads, 3, third // heads), 1))
        for division, place in divisions if entries % 3 == 0 else ():
            rest = (*before, *division[:place], *division[place + 1 :], *after)
            for part in range(3):
                yield _without_ones(rest), f"reshape{_list((*before, *division, *after))} take({axis + place}, {part}) "


def _splits(shape: Shape, heads: int | None) -> Iterator[Shape]:
    """The shape, and those with one axis divided into the heads and the rest, whichever comes first."""
    yield shape
    for axis, entries in enumerate(shape):
        if heads and heads > 1 and entries > heads and entries % heads == 0:
            for division in dict.fromkeys([(heads, entries // heads), (entries // heads, heads)]):
                yield (*shape[:axis], *division, *shape[axis + 1 :])


def _merges(shape: Shape, goal: Shape) -> bool:
    """Whether merging neighbouring axes of `shape`, none of one entry, makes `goal`."""
    sizes = iter(shape)
    for entries in _without_ones(goal):
        product = 1
        while product < entries:
            product *= next(sizes, entries + 1)
        if product != entries:
            return False
    return next(sizes, None) is None


def _written(split: Shape, order: Shape, goal: Shape) -> str:
    words = [f"reshape{_list(goal)}"]
    if order != tuple(sorted(order)):
        words = [f"reshape{_list(split)}", f"transpose{_list(order)}", *words]
    return " ".join(words)


def _list(numbers: Shape) -> str:
    return f"({', '.join(map(str, numbers))})"


def _without_ones(shape: Shape) -> Shape:
    return tuple(entries for entries in shape if entries != 1)
