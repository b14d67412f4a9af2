"""JSON files that are checked before they are believed."""

import json
import os
from pathlib import Path

from minivivit.errors import InputError
from minivivit.files.atomic import write_text

# A config, an index or a processor file is a few kilobytes. What claims to be one and is larger is something else.
MAX_JSON_BYTES = 64 * 1024 * 1024



def write_json(path: str | os.PathLike[str], value: object) -> None:
    """Write `value` as indented JSON with sorted keys, as transformers writes its configs, atomically."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def read_json(path: str | os.PathLike[str]) -> dict:
    """Read a JSON object from `path`.

    Raises
    ------
    InputError
        When the file is missing, empty, larger than 64 MiB, not UTF-8, not JSON, or holds no JSON object.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist or is not a file; expected a JSON file there")
    if path.stat().st_size > MAX_JSON_BYTES:
        raise InputError(f"{path} has {path.stat().st_size:,} bytes; a JSON file of at most {MAX_JSON_BYTES:,} was expected")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is not valid JSON ({reason}); is the file complete?") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} holds a JSON {type(value).__name__}; a JSON object {{...}} was expected")
    return value
