"""JSON files that are checked before they are believed."""

import json
import os
from pathlib import Path
from typing import Any

from minivivit.errors import InputError
from minivivit.files.atomic import write_text
from minivivit.files.tensor_data import check_is_file, quoted, reason_of

# A config, an index or a processor file is a few kilobytes. What claims to be one and is larger is something else.
MAX_JSON_BYTES = 64 * 1024 * 1024
# The longest whole number that any of our files holds is part of a random generator's state: 39 digits. With a number
# of more digits than this nothing can be done: float() of it fails.
MAX_DIGITS = 300
# Far more than any of our files has, and far less than what Python's recursion bears: copying, comparing, writing.
DEEPEST_NESTING = 100


def dumps_json(value: object) -> str:
    """`value` as indented JSON with sorted keys, as transformers writes its configs."""
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


def write_json(path: str | os.PathLike[str], value: object) -> None:
    """Write `value` as `dumps_json` spells it to `path`, atomically."""
    write_text(path, dumps_json(value))


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a JSON object from `path`.

    Raises
    ------
    InputError
        When the file is missing, larger than 64 MiB, or is not what `parse_json_object` accepts.
    """
    path = Path(path)
    check_is_file(path, f"a JSON file, such as {path / 'config.json'}" if _holds_config(path) else "a JSON file")
    size = path.stat().st_size
    if size > MAX_JSON_BYTES:
        raise InputError(f"{path} has {size:,} bytes; a JSON file of at most {MAX_JSON_BYTES:,} was expected")
    return parse_json_object(path.read_bytes(), str(path))


def _holds_config(path: Path) -> bool:
    return (path / "config.json").is_file()


def parse_json_object(data: bytes, source: str, strict: bool = False) -> dict[str, Any]:
    """Parse `data` as one JSON object; `source` says in the error where it came from.

    Python's parser takes more than JSON allows: NaN, infinities, half of a surrogate pair. With `strict` they are
    refused, as other languages' parsers refuse them.

    Raises
    ------
    InputError
        As `parse_json`, and when it is no object.
    """
    value = parse_json(data, source, strict)
    if not isinstance(value, dict):
        raise InputError(f"{source} holds a JSON {type(value).__name__}; a JSON object {{...}} was expected")
    return value


def parse_json(data: bytes, source: str, strict: bool = False) -> Any:
    """Parse `data` as one JSON value, as `parse_json_object` does.

    Raises
    ------
    InputError
        When it is empty, not UTF-8, not JSON, nested too deeply, names a key twice, or holds a whole number of more
        than 300 digits.
    """
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_object_without_duplicates, parse_int=_whole_number)
        if strict:
            json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source} is not valid JSON ({reason_of(error)}); is the file complete?") from None
    if nesting(value) > DEEPEST_NESTING:
        raise InputError(f"{source} is nested more than {DEEPEST_NESTING} deep; is it the file that it should be?")
    return value


def nesting(value: object) -> int:
    """How many lists and dicts stand in each other, counted without recursion, which a hostile file could exhaust."""
    depth, level = 0, [value]
    while level := [node for node in level if isinstance(node, dict | list)]:
        depth += 1
        level = [child for node in level for child in (node.values() if isinstance(node, dict) else node)]
    return depth


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """What `json` would make of `pairs`, except that it would let the last of two equal keys win without a word."""
    value: dict[str, Any] = {}
    for key, entry in pairs:
        if key in value:
            raise ValueError(f"the key {quoted(key)} occurs twice")
        value[key] = entry
    return value


def _whole_number(digits: str) -> int | float:
    if digits == "-0":  # no whole number has this sign; to other parsers, too, it is a real number
        return -0.0
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a whole number in it has {len(digits):,} digits, more than {MAX_DIGITS}")
    return int(digits)
