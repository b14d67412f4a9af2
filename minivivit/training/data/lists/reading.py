"""A list of clips of any format: which one it is, its beginning says."""

import os
from pathlib import Path

from minivivit.errors import InputError
from minivivit.training.data.lists.clip_list import ClipList
from minivivit.training.data.lists.csv_list import header_of, read_csv
from minivivit.training.data.lists.epic_list import is_epic, read_epic
from minivivit.training.data.lists.lines import check_list_file, is_utf8, list_lines, not_utf8
from minivivit.training.data.lists.something_list import read_something
from minivivit.training.data.lists.spaced_list import read_spaced


def read_list(path: str | Path, root: str | Path | None = None) -> ClipList:
    """The clips of a list.

    JSON is Something-Something's; a first line that names columns makes it a CSV, Epic Kitchens' where they are that
    one's; anything else has a path and a label on each line.

    Parameters
    ----------
    path : path-like
        The list.
    root : path-like, optional
        Where relative paths begin; left out, in the folder of the list. Absolute paths, and ``..`` within paths, are
        taken as they are.

    Raises
    ------
    InputError
        When it is none of these, not in UTF-8, or holds no clip; a message about a line says which.
    """
    path = Path(path)
    check_list_file(path)
    root = path.parent if root is None else Path(root)
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; expected the root of the paths in {path}")
    with open(path, "rb") as file:
        head = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if head in (b"[", b"{"):
        found = read_something(path, root)
    else:
        names, _ = header_of(next((line for _, line in list_lines(path)), ""))
        found = (read_epic if is_epic(names) else read_csv if names else read_spaced)(path, root)
        _check_text(found)
    if not found.clips:
        raise InputError(f"{path} holds no clip; expected at least one")
    return found


def _check_text(clip_list: ClipList) -> None:
    """Refuse labels that are not UTF-8, and names of clips, unless files are called so: names of files are any bytes.

    One such file is enough: then the list was made from the folder, and others that are missing are what they seem.
    """
    odd = [clip for clip in clip_list.clips if not is_utf8(clip.name)]
    if odd and not any(os.path.exists(clip.clip.path) for clip in odd):
        raise not_utf8(clip_list.source, odd[0].line)
    for clip in clip_list.clips:
        if not all(map(is_utf8, clip.labels)):
            raise not_utf8(clip_list.source, clip.line)
