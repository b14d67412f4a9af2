"""Lists without a header: a path and a label on each line, with blanks between.

SlowFast, VideoMAE and others have these for Kinetics, Something-Something and Moments in Time (``train.csv``,
``val.csv``, in spite of the name)::

    abseiling/0347ZoDXyP0_000095_000105.mp4 0

or with a comma (or a tab) between. mmaction2 has them too, and for folders of extracted frames it writes the number of
frames before the label, with clips of long videos also the index of the first frame before that::

    rawframes/0347ZoDXyP0 163 0
    rawframes/0347ZoDXyP0 12 163 0

The number of frames is a check of a folder's own, but where a first frame is given it says where the clip ends.
"""

import re
from pathlib import Path

from minivivit.files.tensor_data import quoted
from minivivit.training.data.lists.clip_list import ClipList, ListedClip, clip_at, frame_number, wrong_line
from minivivit.training.data.lists.lines import list_lines

COLUMNS = {2: "path label", 3: "folder frames label", 4: "folder offset frames label"}
FRAME_LIST = "original_vido_id"  # so spelled


def read_spaced(path: Path, root: Path) -> ClipList:
    """The list in such a file; its lines must all be of one kind.

    Raises
    ------
    InputError
        For a line without a label, of more columns than these, or of another kind than those before it.
    """
    clips: list[ListedClip] = []
    kind = None
    for number, line in list_lines(path):
        cells = _cells(line)
        if cells[0] == FRAME_LIST:
            raise wrong_line(
                path,
                number,
                "is the header of a list of frames, which holds no labels; give the JSON file of Something-Something, "
                "with the folder of the frames as --root",
            )
        if len(cells) not in COLUMNS or "" in cells:
            found = f"{len(cells)} columns" if len(cells) != 1 else f"{quoted(line.strip())}, and no label"
            raise wrong_line(path, number, f"has {found}; expected one of: {'; '.join(COLUMNS.values())}")
        if len(cells) != (kind or len(cells)):
            raise wrong_line(
                path, number, f"has {len(cells)} columns, but the lines before it have {kind} ({COLUMNS[kind or 2]})"
            )
        kind = len(cells)
        first, stop = 0, None
        if kind == 4:
            first = frame_number(cells[1], "the index of the first frame", path, number)
        if kind > 2:
            count = frame_number(cells[-2], "the number of frames", path, number)
            if count == 0:
                raise wrong_line(path, number, "the number of frames is 0; expected at least 1")
            stop = first + count if kind == 4 else None
        name, clip = clip_at(root, cells[0], first, stop)
        clips.append(ListedClip(name, clip, (cells[-1],), number))
    return ClipList(path, ("label",), clips)


def _cells(line: str) -> list[str]:
    """The columns of a line. A path may hold blanks where it ends as a file's name does, or stands in quotes."""
    line = line.strip()
    quoted_path = re.fullmatch(r'"([^"]+)"[\s,]+(.*)', line)
    if quoted_path:
        return [quoted_path[1], *quoted_path[2].split()]
    cells = line.split()
    if len(cells) > 2:
        place, label = line.rsplit(None, 1)
        if re.search(r"\.[A-Za-z][A-Za-z0-9]{1,4}$", place) and not re.search(r"\.[A-Za-z0-9]{2,5}\s", place):
            return [place, label]
    for separator in (",", "\t"):
        if separator in line and len(line.split(separator)) in COLUMNS:
            return [cell.strip() for cell in line.split(separator)]
    return cells
