"""Which tensor of theirs is to be compared with which of ours: by name, by a mapping, or by shape and order."""

import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy

from minivivit.errors import InputError
from minivivit.files.json_file import read_json
from minivivit.files.tensor_data import listed, quoted
from minivivit.verification.tensors.source import TensorSource

# Their name, or their name and layout, or None for what is to be left out.
Counterpart = str | Mapping[str, str] | None

PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z_0-9]*)\}")
# Entries with a placeholder are looked for in all of our names, one after the other.
MOST_PATTERNS, MOST_PLACEHOLDERS = 1000, 20
# Aligning by shape and order fills a table of ours x theirs.
LONGEST_ORDER = 4000
# In that table: a pair of one shape counts 1, and this much more for each of these parts of ours to which mean and rms
# agree: in a small port, tokens with and without their position embeddings agree to a hundredth. The last two decide
# between pairs, and are not worth giving one up. 4000 pairs of 7 fit into 16 bits.
AGREEMENT = {1e-2: 4, 1e-3: 1, 1e-4: 1}


class Pair(NamedTuple):
    """One tensor of ours, theirs, and theirs' layout ("" as ours; see `minivivit.verification.tensors.layouts`)."""

    name: str
    their_name: str
    layout: str = ""


def read_mapping(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The mapping in a JSON file: an object with our names as keys; see `pair_by_name`.

    Raises
    ------
    InputError
        When the file is missing or no JSON object, or holds values of another kind than `pair_by_name` takes.
    """
    mapping = read_json(path)
    check_mapping(mapping, str(path))
    return mapping


def check_mapping(mapping: Mapping[str, Counterpart], source: str = "the mapping") -> None:
    """Refuse what is no mapping: see `pair_by_name`."""
    for name, counterpart in mapping.items():
        entry = f"{source}: the entry of {quoted(name)}"
        if isinstance(counterpart, Mapping):
            odd = [key for key in counterpart if key not in ("name", "layout")]
            if odd or not all(isinstance(value, str) for value in counterpart.values()):
                raise InputError(f'{entry} is {quoted(counterpart)}; expected {{"name": "...", "layout": "..."}}')
        elif counterpart is not None and not isinstance(counterpart, str):
            raise InputError(
                f'{entry} is {quoted(counterpart)}; expected their name, or {{"name": ..., "layout": ...}}, or null'
            )
        used = set(PLACEHOLDER.findall(_their_name(name, counterpart) or ""))
        placed = PLACEHOLDER.findall(name)
        if len(placed) > MOST_PLACEHOLDERS:
            raise InputError(f"{entry} has {len(placed):,} words in braces; expected at most {MOST_PLACEHOLDERS}")
        unknown = used - set(placed)
        if unknown:
            raise InputError(f"{entry} uses {{{quoted(min(unknown))[1:-1]}}}, which {quoted(name)} does not have")


def pair_by_name(ours: Sequence[str], mapping: Mapping[str, Counterpart], theirs: Mapping[str, Any]) -> list[Pair]:
    """Each of our tensors with the one of theirs that the mapping names, else with the one of the same name.

    Parameters
    ----------
    ours : sequence of str
        Our names, in the order of execution.
    mapping : mapping
        Our name -> their name, or ``{"name": their name, "layout": layout}`` (without "name": the same one), or None to
        leave the tensor out. In our name ``{N}`` (any word in braces) stands for a number (all of its digits), in
        their name for the same: ``"vivit.encoder.layer.{N}": "blocks.{N}"``. A full name wins over one with numbers
        left open, and an earlier entry over a later one.
    theirs : mapping
        Whose keys are their names.

    Returns
    -------
    list of Pair
        In our order. A name that only the mapping gives may be missing in theirs.

    Raises
    ------
    InputError
        For an entry that is no such thing or that fits none of our names.
    """
    check_mapping(mapping)
    chosen = _apply_mapping(ours, mapping)
    pairs = []
    for name in ours:
        if name not in chosen:
            if name in theirs:
                pairs.append(Pair(name, name))
        elif chosen[name] is not None:
            pairs.append(chosen[name])
    return pairs


def _their_name(name: str, counterpart: Counterpart) -> str | None:
    return counterpart.get("name", name) if isinstance(counterpart, Mapping) else counterpart


def _apply_mapping(ours: Sequence[str], mapping: Mapping[str, Counterpart]) -> dict[str, Any]:
    """Our name -> Pair, or None for what is left out."""
    chosen: dict[str, Any] = {}
    known, unused = set(ours), []
    patterns = sum(PLACEHOLDER.search(name) is not None for name in mapping)
    if patterns > MOST_PATTERNS:
        raise InputError(f"the mapping has {patterns:,} entries with {{N}}; expected at most {MOST_PATTERNS:,}")
    for pattern in sorted(mapping, key=lambda name: PLACEHOLDER.search(name) is not None):  # full names first
        counterpart = mapping[pattern]
        layout = counterpart.get("layout", "") if isinstance(counterpart, Mapping) else ""
        matches = _matches(pattern, ours, known)
        if not matches:
            unused.append(pattern)
        for name, numbers in matches:
            their_name = _their_name(pattern, counterpart)
            if their_name is not None:
                their_name = PLACEHOLDER.sub(lambda found: numbers[found[1]], their_name)  # noqa: B023
            chosen.setdefault(name, None if their_name is None else Pair(name, their_name, layout))
    if unused:
        raise InputError(f"the mapping names {listed(unused)}, which fits no tensor of ours: {listed(ours, 3)}")
    return chosen


def _matches(pattern: str, ours: Sequence[str], known: set[str]) -> list[tuple[str, dict[str, str]]]:
    """Our names that a key of the mapping fits, each with the numbers that its words stand for."""
    if pattern in known:
        return [(pattern, {})]
    words: set[str] = set()
    parts, end = [], 0
    for found in PLACEHOLDER.finditer(pattern):
        # "++" takes all digits and gives none back: there is one way to read a name, however many numbers are in it.
        number = f"(?P={found[1]})" if found[1] in words else f"(?P<{found[1]}>[0-9]++)"
        parts += [re.escape(pattern[end : found.start()]), number]
        words.add(found[1])
        end = found.end()
    if not words:
        return []
    whole = re.compile("".join(parts) + re.escape(pattern[end:]))
    return [(name, match.groupdict()) for name in ours if (match := whole.fullmatch(name))]


# --------------------------------------------------------------------------------------------------------------------
# By shape and order
# --------------------------------------------------------------------------------------------------------------------


def pair_by_order(ours: TensorSource, theirs: TensorSource, any_layout: bool = False) -> list[Pair]:
    """Pair tensors whose names say nothing: both sequences in the order of execution, as many pairs as possible.

    It is the longest common subsequence of the shapes, by dynamic programming, in which a pair whose mean and root
    mean square agree counts more than one that agrees in shape alone: else a tensor that only one side records would
    shift its neighbours.

    Parameters
    ----------
    ours, theirs : TensorSource
        In the order of execution; both are read once.
    any_layout : bool
        Pair tensors with equal numbers of entries, whatever their shapes.

    Raises
    ------
    InputError
        When either has more than 4000 tensors.
    """
    for source in (ours, theirs):
        if len(source.shapes) > LONGEST_ORDER:
            raise InputError(
                f"{source.path} holds {len(source.shapes):,} tensors; by order, at most {LONGEST_ORDER:,} are paired: "
                "trace fewer (--only), or give a mapping (--map)"
            )
    names, their_names = list(ours.shapes), list(theirs.shapes)
    keys = [_key(ours.shapes[name], any_layout) for name in names]
    their_keys = [_key(theirs.shapes[name], any_layout) for name in their_names]
    codes = {key: code for code, key in enumerate(dict.fromkeys(keys + their_keys))}
    their_codes = numpy.array([codes[key] for key in their_keys])
    common = set(keys) & set(their_keys)
    sketches, their_sketches = _sketches(ours, keys, common), _sketches(theirs, their_keys, common)
    weights = numpy.zeros((len(names), len(their_names)), "int16")
    for row, (key, sketch) in enumerate(zip(keys, sketches, strict=True)):
        with numpy.errstate(invalid="ignore"):
            distance = abs(their_sketches - sketch).max(axis=1)  # NaN is like nothing
            agreement = sum(worth * (distance <= part * sketch[1]) for part, worth in AGREEMENT.items())
        weights[row] = (their_codes == codes[key]) * (1 + agreement)
    return [Pair(names[i], their_names[j]) for i, j in _heaviest_alignment(weights)]


def _key(shape: tuple[int, ...], any_layout: bool) -> Any:
    return math.prod(shape) if any_layout else shape


def _sketches(source: TensorSource, keys: list[Any], common: set[Any]) -> numpy.ndarray:
    """The sketch of each tensor, (tensors, 2); one whose key is not in `common` has no like, and is not read."""
    found = [_sketch(source, name) if key in common else (0, 0) for name, key in zip(source.shapes, keys, strict=True)]
    return numpy.array(found, "float64").reshape(-1, 2)


def _sketch(source: TensorSource, name: str) -> numpy.ndarray:
    """Mean and root mean square: they are the same in every layout."""
    total = squares = 0.0
    with numpy.errstate(over="ignore", invalid="ignore"):
        for block in source.blocks(name):
            total += float(block.sum())
            squares += float(block @ block)
    size = max(math.prod(source.shapes[name]), 1)
    return numpy.array([total / size, math.sqrt(squares / size)])


def _heaviest_alignment(weights: numpy.ndarray) -> list[tuple[int, int]]:
    """Pairs (i, j), both growing, of the largest total weight.

    With best[i, j] for the first i of ours and the first j of theirs,

        best[i, j] = max(best[i - 1, j], best[i, j - 1], best[i - 1, j - 1] + weight[i - 1, j - 1]).

    Along a row the second of the three is a running maximum.
    """
    rows, columns = weights.shape
    best = numpy.zeros((rows + 1, columns + 1), "int16")
    for i in range(rows):
        found = numpy.where(weights[i] > 0, best[i, :-1] + weights[i], 0)
        best[i + 1, 1:] = numpy.maximum.accumulate(numpy.maximum(best[i, 1:], found))
    pairs, i, j = [], rows, columns
    while i and j:
        if best[i, j] == best[i - 1, j]:
            i -= 1
        elif best[i, j] == best[i, j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            pairs.append((i, j))
    return pairs[::-1]
