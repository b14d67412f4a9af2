"""Which tensor of theirs is to be compared with which of ours: by name, by a mapping, or by shape and order."""

import math
from collections.abc import Mapping
from typing import Any

import numpy
from scipy.optimize import linear_sum_assignment

from minivivit.errors import InputError
from minivivit.files.tensor_data import listed, quoted
from minivivit.verification.comparison.mapping import Counterpart, Pair, apply_mapping
from minivivit.verification.tensors.layout_sizes import named_sizes, with_sizes
from minivivit.verification.tensors.layouts import same_axes
from minivivit.verification.tensors.source import TensorSource

# Aligning by shape and order fills a table of ours x theirs.
LONGEST_ORDER = 4000
# In that table: a pair of one shape counts 1, and this much more for each of these parts of ours to which mean and rms
# agree: in a small port, tokens with and without their position embeddings agree to a hundredth. The last two decide
# between pairs, and are not worth giving one up; a tensor that theirs repeats more often than ours does not get them.
# 4000 pairs of 7 fit into 16 bits.
AGREEMENT, DECISION = {1e-2: 4}, {1e-3: 1, 1e-4: 1}
# What agrees so well is a repetition.
REPEATED = 1e-4
# Names in alphabetical order are taken for such that lost theirs when in order this part of what agrees is not paired.
ORDER_LOST = 0.1


def pair_tensors(
    ours: TensorSource,
    theirs: TensorSource,
    mapping: Mapping[str, Counterpart] | None = None,
    by_order: bool = False,
    any_layout: bool = False,
) -> tuple[list[Pair], list[str]]:
    """Each of our tensors with its like: the one that the mapping names, else the one of the same name or by order.

    Parameters
    ----------
    ours, theirs : TensorSource
    mapping : mapping, optional
        See `minivivit.verification.comparison.mapping.apply_mapping`. Sizes in its layouts may have names, see
        `minivivit.verification.tensors.layout_sizes`.
    by_order : bool
        Pair what the mapping does not name by shape and order, see `pair_by_order`, and not by equal names.
    any_layout : bool
        By order, pair tensors with equal numbers of entries, whatever their shapes.

    Returns
    -------
    pairs : list of Pair
        In our order, their layouts in numbers. A name that the mapping says theirs must have may be missing there.
    notes : list of str
        What the reader must know: what the mapping names and theirs lacks, and where an order was none.

    Raises
    ------
    InputError
        For a mapping or a size that is none, and when there is no pair at all.
    """
    pairs, notes = _by_name(ours, theirs, mapping or {}, not by_order)
    if by_order:
        taken = {pair.name for pair in pairs}, {pair.their_name for pair in pairs}
        named = apply_mapping(list(ours.shapes), mapping or {}, unwritten_names(ours.metadata))
        left = [name for name in ours.shapes if name not in taken[0] and name not in named]
        guessed, in_order = pair_by_order(
            ours, theirs, any_layout, left, [name for name in theirs.shapes if name not in taken[1]]
        )
        places = {name: place for place, name in enumerate(ours.shapes)}
        pairs = sorted([*pairs, *guessed], key=lambda pair: places[pair.name])
        notes += [] if in_order else [_no_order(theirs)]
    if not any(pair.their_name in theirs or pair.their_name in theirs.left_out for pair in pairs):
        raise InputError(_no_pair(ours, theirs, by_order, bool(mapping)))
    sizes = named_sizes(ours.metadata.get("config"), _input_shape(ours))
    return [_in_numbers(pair, ours, theirs, sizes) for pair in pairs], notes


def unwritten_names(metadata: Mapping[str, Any]) -> list[str]:
    """Names that our trace's pass had and that were not written, as its index says."""
    names = metadata.get("unwritten")
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _by_name(
    ours: TensorSource, theirs: TensorSource, mapping: Mapping[str, Counterpart], equal_names: bool
) -> tuple[list[Pair], list[str]]:
    """What the mapping pairs, and, if so wanted, what has equal names; and a note about what theirs lacks."""
    unwritten = unwritten_names(ours.metadata)
    if ours.metadata.get("gradients") is False:  # then an entry for a gradient is none for a misspelt name
        unwritten += [name for name in mapping if name.startswith("gradient.")]
    chosen = apply_mapping(list(ours.shapes), mapping, unwritten)
    pairs, lacking = [], []
    for name in ours.shapes:
        pair = chosen.get(name)
        if name not in chosen and equal_names and name in theirs:
            pairs.append(Pair(name, name))
        elif pair is not None and (
            pair.their_name in theirs or pair.their_name in theirs.left_out or pair.optional is False
        ):
            pairs.append(pair)
        elif pair is not None and pair.optional is None:
            lacking.append(pair.their_name)
    notes = []
    if lacking:
        number = f"{len(lacking):,} tensors" if len(lacking) > 1 else "a tensor"
        notes.append(f"theirs lacks {number} that the mapping names, not compared: {listed(lacking, 3)}")
    return pairs, notes


def _input_shape(ours: TensorSource) -> Any:
    return ours.shapes.get("pixel_values") or ours.metadata.get("input_shape")


def _in_numbers(pair: Pair, ours: TensorSource, theirs: TensorSource, sizes: Mapping[str, int]) -> Pair:
    """The pair with numbers for the names in its layout; one of a mapping may have other axes before its last."""
    try:
        layout = with_sizes(pair.layout, sizes)
    except InputError as error:
        raise InputError(f"the mapping of {quoted(pair.name)}: {error}") from None
    shape, their_shape = ours.shapes[pair.name], theirs.shapes.get(pair.their_name)
    mapped = pair.name != pair.their_name and not pair.guessed
    if layout == "" and mapped and their_shape is not None and _regrouped(their_shape, shape):
        layout = f"reshape({', '.join(map(str, shape))})"
    return pair._replace(layout=layout)


def _regrouped(shape: tuple[int, ...], goal: tuple[int, ...]) -> bool:
    plain = [tuple(size for size in sizes if size != 1) for sizes in (shape, goal)]
    return plain[0] != plain[1] and same_axes(shape, goal)


def _no_order(theirs: TensorSource) -> str:
    return (
        f"the tensors of {theirs.path} are in alphabetical order, as save_file of safetensors leaves them, and not in "
        "that of execution: they are paired by shape, mean and size alone; write the order with them, as metadata "
        '{"order": json.dumps(list(recorded))}'
    )


def _no_pair(ours: TensorSource, theirs: TensorSource, by_order: bool, mapped: bool) -> str:
    advice = []
    if not mapped:
        advice.append("give a mapping (--map FILE)")
    if not by_order:
        advice.append("pair by shape and order (--pair order)")
    return (
        f"no tensor of {ours.path} has its like in {theirs.path} (ours: {listed(ours.shapes, 2)}; theirs: "
        f"{listed(theirs.shapes, 2)}); {', or '.join(advice) or 'look whether the mapping is the one of this file'}"
    )


# --------------------------------------------------------------------------------------------------------------------
# By shape and order
# --------------------------------------------------------------------------------------------------------------------


def pair_by_order(
    ours: TensorSource,
    theirs: TensorSource,
    any_layout: bool = False,
    names: list[str] | None = None,
    their_names: list[str] | None = None,
) -> tuple[list[Pair], bool]:
    """Pair tensors whose names say nothing: both sequences in the order of execution, as many pairs as possible.

    It is the longest common subsequence of the shapes, by dynamic programming, in which a pair whose mean and root
    mean square agree counts more than one that agrees in shape alone: else a tensor that only one side records would
    shift its neighbours.

    Some steps change nothing, as dropout in inference, or the gradient of a sum on its way to both of its terms, and
    theirs may record what goes in and what comes out where ours records one of the two. The first of them is the like
    of ours: were it the second, the first would be free for another tensor of its shape, of which it is none.

    Where their names are in alphabetical order, no order is given, and out of order more pairs agree, that is no order
    of execution: then each tensor is paired with the likest one of its shape, wherever that stands.

    Parameters
    ----------
    ours, theirs : TensorSource
        In the order of execution; both are read once.
    any_layout : bool
        Pair tensors with equal numbers of entries, whatever their shapes.
    names, their_names : list of str, optional
        Pair these alone, in this order.

    Returns
    -------
    pairs : list of Pair
        In our order. They are guesses.
    in_order : bool
        False where their order was none.

    Raises
    ------
    InputError
        When either has more than 4000 tensors.
    """
    names = list(ours.shapes) if names is None else names
    their_names = list(theirs.shapes) if their_names is None else their_names
    for source, chosen in ((ours, names), (theirs, their_names)):
        if len(chosen) > LONGEST_ORDER:
            raise InputError(
                f"{source.path} holds {len(chosen):,} tensors; by order, at most {LONGEST_ORDER:,} are paired: "
                "trace fewer (--only), or give a mapping (--map)"
            )
    weights = _weights(ours, theirs, names, their_names, any_layout)
    found, in_order = _heaviest_alignment(weights), True
    if theirs.alphabetical:
        anywhere = _heaviest_assignment(weights)
        in_order = _weight(weights, found) >= (1 - ORDER_LOST) * _weight(weights, anywhere)
        found = found if in_order else anywhere
    return [Pair(names[i], their_names[j], guessed=True) for i, j in found], in_order


def _weights(
    ours: TensorSource, theirs: TensorSource, names: list[str], their_names: list[str], any_layout: bool
) -> numpy.ndarray:
    """How well each of ours goes with each of theirs, (ours, theirs): 0 for another shape, else see `AGREEMENT`."""
    keys = [_key(ours.shapes[name], any_layout) for name in names]
    their_keys = [_key(theirs.shapes[name], any_layout) for name in their_names]
    codes = {key: code for code, key in enumerate(dict.fromkeys(keys + their_keys))}
    their_codes = numpy.array([codes[key] for key in their_keys])
    common = set(keys) & set(their_keys)
    sketches, their_sketches = _sketches(ours, names, keys, common), _sketches(theirs, their_names, their_keys, common)
    our_codes = numpy.array([codes[key] for key in keys])
    before, their_before = _repetitions(our_codes, sketches), _repetitions(their_codes, their_sketches)
    weights = numpy.zeros((len(names), len(their_names)), "int16")
    for row, sketch in enumerate(sketches):
        distance = _distances(their_sketches, sketch)
        agreement = sum(worth * (distance <= part) for part, worth in AGREEMENT.items())
        decision = sum(worth * (distance <= part) for part, worth in DECISION.items())
        weights[row] = (their_codes == our_codes[row]) * (1 + agreement + decision * (their_before <= before[row]))
    return weights


def _distances(sketches: numpy.ndarray, sketch: numpy.ndarray) -> numpy.ndarray:
    """How far each is from one, in parts of its root mean square; NaN, which is like nothing, is as far as can be."""
    with numpy.errstate(invalid="ignore", divide="ignore"):
        distances = abs(sketches - sketch).max(axis=1)
        return numpy.where(distances == 0, 0.0, numpy.nan_to_num(distances / sketch[1], nan=numpy.inf))


def _repetitions(codes: numpy.ndarray, sketches: numpy.ndarray) -> numpy.ndarray:
    """How many tensors before each are the same, as far as shape, mean and size tell, (tensors,)."""
    found = [
        numpy.sum((codes[:place] == codes[place]) & (_distances(sketches[:place], sketch) <= REPEATED))
        for place, sketch in enumerate(sketches)
    ]
    return numpy.array(found, "int64")


def _key(shape: tuple[int, ...], any_layout: bool) -> Any:
    return math.prod(shape) if any_layout else shape


def _sketches(source: TensorSource, names: list[str], keys: list[Any], common: set[Any]) -> numpy.ndarray:
    """The sketch of each tensor, (tensors, 2); one whose key is not in `common` has no like, and is not read."""
    found = [_sketch(source, name) if key in common else (0, 0) for name, key in zip(names, keys, strict=True)]
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


def _heaviest_assignment(weights: numpy.ndarray) -> list[tuple[int, int]]:
    """Pairs (i, j) of the largest total weight, in any order of j."""
    rows, columns = linear_sum_assignment(weights, maximize=True)
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if weights[i, j]]


def _weight(weights: numpy.ndarray, pairs: list[tuple[int, int]]) -> int:
    return sum(int(weights[i, j]) for i, j in pairs)
