"""A mapping: which of their names, and in which layout, each of our names belongs to.

    {
      "vivit.embeddings": "tokens",
      "vivit.encoder.layer.{N}": "blocks.{N}",
      "vivit.encoder.layer.{N}.attention.attention.{P:query|key|value}": {"name": "blocks.{N}.qkv", "layout": "qkv[{P:0|1|2}]"},
      "pre_logits": {"name": "pooled", "optional": true},
      "loss": null
    }

In our name {N}, or another word in braces, stands for a number, and in their name for the same; {N+1} for the next. {P:a|b}
stands for one of the alternatives, and in their name and layout {P} for the same one, {P:x|y} for the one at its place.
"""  # noqa: E501

import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from minivivit.errors import InputError
from minivivit.files.json_file import read_json
from minivivit.files.tensor_data import listed, quoted
from minivivit.verification.tensors.layouts import LONGEST_LAYOUT

# Their name; or their name, layout and whether it may be missing; or None for what is to be left out.
Counterpart = str | Mapping[str, Any] | None

PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z_0-9]*)(?:([+-][0-9]{1,6})|:([^{}]*))?\}")
# Entries with a placeholder are looked for in all of our names, one after the other.
MOST_PATTERNS, MOST_PLACEHOLDERS = 1000, 20
# What the alternatives of one entry may come to, multiplied.
MOST_ALTERNATIVES = 100
LONGEST_NUMBER = 18  # digits of a number that something is added to
EXPECTED = '{"name": "...", "layout": "...", "optional": true or false}'


class Pair(NamedTuple):
    """One tensor of ours, and theirs.

    Attributes
    ----------
    name, their_name : str
    layout : str
        Theirs; "" as ours. See `minivivit.verification.tensors.layouts`.
    optional : bool or None
        Whether theirs may lack it: True, and nothing is said; False, it may not; None, it is listed. Without a mapping
        theirs has it.
    guessed : bool
        Whether shape and order paired them, not names.
    """

    name: str
    their_name: str
    layout: str = ""
    optional: bool | None = None
    guessed: bool = False


class Line(NamedTuple):
    """An entry of a mapping, with each of its alternatives chosen; their name None leaves the tensor out."""

    pattern: str
    their_name: str | None
    layout: str
    optional: bool | None


def read_mapping(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The mapping in a JSON file: an object with our names as keys; see `apply_mapping`.

    Raises
    ------
    InputError
        When the file is missing or no JSON object, or holds values of another kind than `apply_mapping` takes.
    """
    mapping = read_json(path)
    check_mapping(mapping, str(path))
    return mapping


def check_mapping(mapping: Mapping[str, Counterpart], source: str = "the mapping") -> None:
    """Refuse what is no mapping: see `apply_mapping`."""
    for name, counterpart in mapping.items():
        _lines(name, counterpart, f"{source}: the entry of {quoted(name)}")


def apply_mapping(
    ours: Sequence[str], mapping: Mapping[str, Counterpart], unwritten: Iterable[str] = ()
) -> dict[str, Pair | None]:
    """Which of our names the mapping speaks of.

    Parameters
    ----------
    ours : sequence of str
        Our names.
    mapping : mapping
        Our name -> their name, or ``{"name": their name, "layout": layout, "optional": bool}`` (each may be left out:
        the same name, the same layout), or None to leave the tensor out. In our name ``{N}`` (any word in braces)
        stands for a number (all of its digits), in their name for the same, and ``{N+1}`` and ``{N-1}`` for one more
        and one less. ``{P:query|key|value}`` in our name stands for one of these; in their name and layout ``{P}`` is
        the same one, and ``{P:0|1|2}`` the one of these at the same place. A full name wins over one with something
        left open, and an earlier entry over a later one.
    unwritten : iterable of str
        Names that we know and have no tensor of: an entry may be for them alone.

    Returns
    -------
    chosen : dict
        Our name -> Pair, or None for what is left out. Theirs may lack the name.

    Raises
    ------
    InputError
        For an entry that is no such thing or that fits none of our names; for more than 1,000 with something open.
    """
    chosen: dict[str, Pair | None] = {}
    known, unwritten = set(ours), list(unwritten)
    known_too = set(unwritten)
    entries = {key: _lines(key, counterpart, f"the entry of {quoted(key)}") for key, counterpart in mapping.items()}
    number = sum(len(lines) for key, lines in entries.items() if PLACEHOLDER.search(key))
    if number > MOST_PATTERNS:
        raise InputError(f"the mapping has {number:,} entries with {{N}}; expected at most {MOST_PATTERNS:,}")
    unused = []
    for key in sorted(entries, key=lambda name: PLACEHOLDER.search(name) is not None):  # full names first
        lines = [Line(key, *entries[key][0][1:])] if key in known else entries[key]
        found = [(line, name, numbers) for line in lines for name, numbers in _matches(line.pattern, ours, known)]
        if not found and not any(True for line in lines for _ in _matches(line.pattern, unwritten, known_too)):
            unused.append(key)
        for line, name, numbers in found:
            filled = _filled(line, name, numbers)
            if filled is not None:
                chosen.setdefault(name, None if line.their_name is None else filled)
    if unused:
        raise InputError(f"the mapping names {listed(unused)}, which fits no tensor of ours: {listed(ours, 3)}")
    return chosen


def _lines(key: str, counterpart: Counterpart, entry: str) -> list[Line]:
    """An entry, once for each choice among its alternatives."""
    fields: Mapping[str, Any] = counterpart if isinstance(counterpart, Mapping) else {"name": counterpart}
    kinds = {"name": str, "layout": str, "optional": bool}
    if isinstance(counterpart, Mapping):
        if any(not isinstance(value, kinds.get(field, ())) for field, value in fields.items()):
            raise InputError(f"{entry} is {quoted(counterpart)}; expected {EXPECTED}")
    elif counterpart is not None and not isinstance(counterpart, str):
        raise InputError(f"{entry} is {quoted(counterpart)}; expected their name, or {EXPECTED}, or null")
    their_name, layout, optional = fields.get("name", key), fields.get("layout", ""), fields.get("optional")
    if len(layout) > LONGEST_LAYOUT:
        raise InputError(f"{entry} has a layout of {len(layout):,} characters; expected at most {LONGEST_LAYOUT:,}")
    words = _words(key, entry)
    for text in (their_name or "", layout):
        for word, _, alternatives in PLACEHOLDER.findall(text):
            if word not in words:
                raise InputError(f"{entry} uses {{{quoted(word)[1:-1]}}}, which {quoted(key)} does not have")
            if alternatives and len(alternatives.split("|")) != len(words[word] or ()):
                raise InputError(
                    f"{entry} has {quoted(alternatives)} for {{{quoted(word)[1:-1]}}}; expected as many alternatives "
                    f"as {quoted(key)} has: {len(words[word] or ())}"
                )
    open_words = {word: range(len(alternatives)) for word, alternatives in words.items() if alternatives}
    lines = []
    for places in itertools.product(*open_words.values()):
        choice = dict(zip(open_words, places, strict=True))
        texts = [None if text is None else _choose(text, words, choice) for text in (key, their_name, layout)]
        lines.append(Line(str(texts[0]), texts[1], str(texts[2]), optional))
    return lines


def _words(key: str, entry: str) -> dict[str, list[str] | None]:
    """The words in braces of one of our names, each with its alternatives, or None where it stands for a number."""
    words: dict[str, list[str] | None] = {}
    found = PLACEHOLDER.findall(key)
    if len(found) > MOST_PLACEHOLDERS:
        raise InputError(f"{entry} has {len(found):,} words in braces; expected at most {MOST_PLACEHOLDERS}")
    number = 1
    for word, _, alternatives in found:
        if alternatives and words.get(word) is not None:
            raise InputError(f"{entry} has alternatives for {{{quoted(word)[1:-1]}}} twice; give them once")
        if alternatives:
            words[word] = alternatives.split("|")
            number *= alternatives.count("|") + 1
        words.setdefault(word, None)
    if number > MOST_ALTERNATIVES:
        raise InputError(f"{entry} has {number:,} combinations of alternatives; expected at most {MOST_ALTERNATIVES}")
    return words


def _choose(text: str, words: Mapping[str, list[str] | None], choice: Mapping[str, int]) -> str:
    """`text` with one alternative in the place of each word that has some."""

    def chosen(found: re.Match[str]) -> str:
        if found[1] not in choice:
            return found[0]
        own = found[3].split("|") if found[3] else words[found[1]]
        assert own is not None
        return own[choice[found[1]]]

    return PLACEHOLDER.sub(chosen, text)


def _matches(pattern: str, names: Sequence[str], known: set[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """The names that a pattern fits, each with the numbers that its words stand for."""
    places = list(PLACEHOLDER.finditer(pattern))
    if pattern in known or not places:
        yield from [(pattern, {})] if pattern in known else []
        return
    parts, end = [], 0
    for place in places:
        # "++" takes all digits and gives none back: there is one way to read a name, however many numbers are in it.
        parts += [re.escape(pattern[end : place.start()]), "([0-9]++)"]
        end = place.end()
    whole = re.compile("".join(parts) + re.escape(pattern[end:]))
    for name in names:
        match = whole.fullmatch(name)
        numbers = _numbers(places, match.groups()) if match else None
        if numbers is not None:
            yield name, numbers


def _numbers(places: list[re.Match[str]], digits: Sequence[str]) -> dict[str, str] | None:
    """What each word stands for, where the digits agree about it."""
    numbers: dict[str, str] = {}
    for place, number in zip(places, digits, strict=True):
        less = None if place[2] is None else str(-int(place[2]))
        value = number if less is None else _sum(number, less)
        if value is None or numbers.setdefault(place[1], value) != value:
            return None
    return numbers


def _sum(number: str, more: str) -> str | None:
    """The sum in digits; None where it is below 0, or the number is longer than anyone counts."""
    total = int(number) + int(more) if len(number) <= LONGEST_NUMBER else -1
    return str(total) if total >= 0 else None


def _filled(line: Line, name: str, numbers: Mapping[str, str]) -> Pair | None:
    """The pair of a name that fits; None where {N-1} would be below 0."""
    if not numbers:
        return Pair(name, line.their_name or "", line.layout, line.optional)
    texts = []
    for text in (line.their_name or "", line.layout):
        values = [_sum(numbers[word], more) if more else numbers[word] for word, more, _ in PLACEHOLDER.findall(text)]
        if None in values:
            return None
        rest = iter(values)
        texts.append(PLACEHOLDER.sub(lambda found: str(next(rest)), text))  # noqa: B023
    return Pair(name, texts[0], texts[1], line.optional)
