"""Something-Something's JSON: a list of objects, each with the number of a clip and the sentence that is its class.

::

    [{"id": "78687", "label": "holding potato next to vicks vaporub bottle",
      "template": "Holding [something] next to [something]", "placeholders": ["potato", "vicks vaporub bottle"]}, ...]

The class is the template without its brackets, as ``something-something-v2-labels.json`` (or ``labels.json``) spells
it, which goes with it as `--labels`. The clips are ``ID.webm`` in the root, or re-encoded ones under other endings, or
folders of frames called ``ID``.
"""

import os
from pathlib import Path
from typing import Any

from minivivit.errors import InputError
from minivivit.files.json_file import MAX_JSON_BYTES
from minivivit.files.tensor_data import quoted
from minivivit.training.data.lists.clip_list import ClipList, ListedClip, clip_at
from minivivit.training.data.lists.lines import list_json

ENDINGS = (".webm", ".mp4", ".avi", ".mkv", ".mov", ".gif", ".npy", "")


def read_something(path: Path, root: Path) -> ClipList:
    """The list in such a file.

    Raises
    ------
    InputError
        When it is no JSON list of such objects; when they have no template, as those of the test set; when the root
        is no folder.
    """
    if path.stat().st_size > MAX_JSON_BYTES:
        raise InputError(f"{path} has {path.stat().st_size:,} bytes; a list of at most {MAX_JSON_BYTES:,} was expected")
    entries = list_json(path)
    if not isinstance(entries, list):
        raise InputError(
            f"{path} holds a JSON {type(entries).__name__}; expected a list of objects with id and template"
        )
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; expected the one with the clips of {path.name}, such as 78687.webm")
    there = set(os.listdir(root))
    clips = [_clip(entry, number, path, root, there) for number, entry in enumerate(entries, start=1)]
    return ClipList(path, ("label",), clips)


def _clip(entry: Any, number: int, source: Path, root: Path, there: set[str]) -> ListedClip:
    where = f"{source}, entry {number}"
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str | int) or isinstance(entry.get("id"), bool):
        raise InputError(f"{where} is {quoted(entry)}; expected an object with id and template")
    template = entry.get("template")
    if not isinstance(template, str) or not template.strip():
        raise InputError(f"{where} has no template, which says its class; is it the test set, which has no labels?")
    name = str(entry["id"])
    if "/" in name or "\\" in name or "\0" in name or name in ("", ".", ".."):
        raise InputError(f"{where} has the id {quoted(name)}; expected the name of a clip without its ending")
    found = next((name + ending for ending in ENDINGS if name + ending in there), f"{name}{ENDINGS[0]}")
    return ListedClip(*clip_at(root, found), (template.replace("[", "").replace("]", "").strip(),), number)
