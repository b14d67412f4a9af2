"""Layouts: the same numbers in another order of axes, and how that is undone, when told or when asked to find it.

A layout says what to do with their tensor to get ours. It is a line of three words,

    reshape(2, 10, 3, 8)     the same numbers, row-major, in another shape; one size may be -1
    transpose(0, 2, 1)       axis i of the result is the named axis of what goes in, as in numpy.transpose
    take(2, 0)               of axis 2, the entry 0; the axis is gone

one after the other, with spaces between, or one of the names of `NAMED_LAYOUTS`, which stand for such lines.
"""

import itertools
import math
import re
from collections.abc import Iterator

import numpy

from minivivit.errors import InputError
from minivivit.files.tensor_data import quoted

Shape = tuple[int, ...]
Step = tuple[str, tuple[int, ...]]  # ("transpose", (0, 2, 1))

NAMED_LAYOUTS = {
    "transposed": "the last two axes are swapped",
    "channels last": "frames as (batch, frames, height, width, channels)",
    "channels first": "frames as (batch, channels, frames, height, width)",
    "heads merged": "(batch, tokens, heads * d), where ours is (batch, heads, tokens, d)",
    "heads split": "(batch, heads, tokens, d), where ours is (batch, tokens, heads * d)",
    "qkv[I]": "part I (0, 1 or 2) of query, key and value one after the other on the last axis",
    "qkv[I] by head": "the same, with each head's query, key and value together",
    "qkv[I] innermost": "the same, with query, key and value alternating number by number",
}
FIND = "find"  # in the place of a layout: find it

STEP = re.compile(r"\s*(reshape|transpose|take)\(([-0-9, ]{0,200})\)\s*")
QKV = re.compile(r"qkv\[([012])\]( by head| innermost|)")
SAMPLE = 1 << 14  # entries that candidates are judged by
DEEPEST = 6  # axes that are permuted, at most: 6! = 720 candidates
# As it stands, a tensor of our shape is taken for ours when its relative difference is below this, ...
LIKENESS = 0.1
# ... and another layout is preferred when its difference is below this part of the plainest's.
CLEARLY_SMALLER = 0.5


def undo_layout(array: numpy.ndarray, layout: str, goal: Shape, heads: int | None = None) -> numpy.ndarray:
    """Their tensor as ours is laid out.

    Parameters
    ----------
    array : array
        Theirs.
    layout : str
        A line of words, or a name; see this module. "" is for the same layout.
    goal : tuple of int
        Shape of ours. Axes of one entry may be missing or too many.
    heads : int, optional
        Number of attention heads, for "by head".

    Returns
    -------
    array of shape `goal`
        A view of theirs where possible.

    Raises
    ------
    InputError
        For a layout that is none, or does not lead from their shape to ours.
    """
    result = _apply(array, parse_layout(layout, array.shape, goal, heads))
    if _without_ones(result.shape) != _without_ones(goal):
        raise InputError(f"layout {quoted(layout)} makes {result.shape} of {array.shape}, but ours is {goal}")
    return result.reshape(goal)


def parse_layout(layout: str, shape: Shape, goal: Shape, heads: int | None = None) -> list[Step]:
    """The steps that a layout stands for, for a tensor of theirs of shape `shape` and one of ours of shape `goal`."""
    text = layout.strip()
    named = _named(text, shape, goal, heads)
    if named is not None:
        return named
    steps, end = [], 0
    while end < len(text):
        match = STEP.match(text, end)
        if match is None:
            raise InputError(
                f"{quoted(layout)} is no layout; expected {', '.join(NAMED_LAYOUTS)}, find, or a line such as "
                "'reshape(1, 10, 2, 4) transpose(0, 2, 1, 3) take(2, 0)'"
            )
        try:
            numbers = tuple(int(number) for number in match[2].split(",") if number.strip())
        except ValueError:
            raise InputError(f"{quoted(match[0].strip())} in a layout; expected whole numbers") from None
        steps.append((match[1], numbers))
        end = match.end()
    return steps


def _named(text: str, shape: Shape, goal: Shape, heads: int | None) -> list[Step] | None:
    """The steps of a layout that has a name."""
    order = {"channels last": (0, 1, 4, 2, 3), "channels first": (0, 2, 1, 3, 4)}.get(text)
    if text == "transposed":
        axes = range(len(shape))
        order = (*axes[:-2], *axes[:-3:-1])
    if order is not None:
        return [("transpose", order)]
    qkv = QKV.fullmatch(text)
    if text not in ("heads merged", "heads split") and qkv is None:
        return None
    if text == "heads split" and len(shape) == 4:
        return [("transpose", (0, 2, 1, 3)), ("reshape", goal)]
    if text == "heads merged" and len(shape) == 3 and len(goal) == 4 and goal[1]:
        return [("reshape", (*shape[:2], goal[1], -1)), ("transpose", (0, 2, 1, 3))]
    if qkv is None or not shape:
        raise InputError(f"layout {quoted(text)} does not lead from their shape {shape} to ours, {goal}")
    *others, last = shape
    part = int(qkv[1])
    if qkv[2] == "":
        return [("reshape", (*others, 3, last // 3)), ("take", (len(others), part))]
    if qkv[2] == " innermost":
        return [("reshape", (*others, last // 3, 3)), ("take", (len(others) + 1, part))]
    if not heads:
        raise InputError(f"layout {quoted(text)} needs the number of heads, which our trace does not say; write it out")
    steps: list[Step] = [("reshape", (*others, heads, 3, last // (3 * heads))), ("take", (len(others) + 1, part))]
    return [*steps, ("reshape", (*others, last // 3))]


def _apply(array: numpy.ndarray, steps: list[Step]) -> numpy.ndarray:
    for word, numbers in steps:
        shown = f"{word}({', '.join(map(str, numbers))})"
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
            raise InputError(f"layout: {shown} cannot be done to a tensor of shape {array.shape}") from None
    return array


# --------------------------------------------------------------------------------------------------------------------
# Finding
# --------------------------------------------------------------------------------------------------------------------


def find_layout(ours: numpy.ndarray, theirs: numpy.ndarray, heads: int | None = None) -> str | None:
    """The layout in which theirs is most like ours.

    Candidates are all orders of the axes, with the axis of the heads on its own or merged with its neighbour, with axes
    merged or divided where ours has them so, with axes of one entry missing or too many, and, when theirs is three
    times as large as ours, each third of an axis in the three ways that query, key and value are put together. They are
    judged by the relative difference on some thousand entries spread over the tensor.

    Parameters
    ----------
    ours, theirs : arrays
    heads : int, optional
        Number of attention heads; left out, that of ours when it has four axes.

    Returns
    -------
    str or None
        A line of words, "" when theirs is laid out as ours; None when no layout leads to our shape. When none is
        clearly better than the plainest that fits, the plainest.
    """
    if heads is None and ours.ndim == 4:
        heads = ours.shape[1]
    places = _spread(ours.size)
    sample = ours.reshape(-1)[places]
    plainest: float | None = None
    best = (math.inf, "")
    for layout in _candidates(theirs.shape, ours.shape, heads):
        found = _entries(theirs, parse_layout(layout, theirs.shape, ours.shape, heads), places)
        difference = _relative(sample, found)
        if plainest is None:
            plainest, best = difference, (difference, layout)
            if difference < LIKENESS:
                break
        elif difference < min(best[0], CLEARLY_SMALLER * plainest):
            best = (difference, layout)
    return None if plainest is None else best[1]


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


def _candidates(shape: Shape, goal: Shape, heads: int | None) -> Iterator[str]:
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
    """Whether a named layout fits. The steps are tried on a tensor that takes no memory."""
    try:
        result = _apply(numpy.broadcast_to(numpy.float64(0), shape), parse_layout(layout, shape, goal, heads))
    except InputError:
        return False
    return _without_ones(result.shape) == _without_ones(goal)


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
    words = [f"reshape{_list(split)}"]
    if order != tuple(sorted(order)):
        words += [f"transpose{_list(order)}", f"reshape{_list(goal)}"]
    return " ".join(words)


def _list(numbers: Shape) -> str:
    return f"({', '.join(map(str, numbers))})"


def _without_ones(shape: Shape) -> Shape:
    return tuple(entries for entries in shape if entries != 1)
