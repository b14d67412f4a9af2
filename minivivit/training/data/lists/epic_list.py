"""Epic Kitchens' CSV: a stretch of a long video each line, with the classes of a verb and of a noun.

Of its columns (``EPIC_100_train.csv``, ``EPIC_100_validation.csv``, and those of Epic Kitchens 55) these count:
``narration_id`` or ``uid``, ``participant_id``, ``video_id``, ``start_frame``, ``stop_frame``, ``verb_class``,
``noun_class``. The clips are found in the root: cut ones, called as the narration (``P01_01_0.mp4``), else the frames
of the video, a folder with ``frame_0000000001.jpg`` and so on, else the video itself, each there, or as the download
has it in ``P01/rgb_frames/P01_01``, ``P01/videos/P01_01.MP4``. Frames are counted from 1, and the last one belongs to
the clip.

The heads are in scenic's order: nouns first, then verbs.
"""

import os
from functools import cache
from pathlib import Path

from minivivit.errors import InputError
from minivivit.files.tensor_data import listed, quoted
from minivivit.training.data.lists.clip_list import ClipList, ListedClip, clip_at, frame_number, wrong_line
from minivivit.training.data.lists.csv_list import rows_of

HEADS = ("noun", "verb")
KNOWN_SIZES = ((300, 97), (352, 125))  # Epic Kitchens 100 and 55
NEEDED = ("video_id", "start_frame", "stop_frame", "noun_class", "verb_class")
ENDINGS = ("", ".MP4", ".mp4", ".webm", ".avi", ".mkv", ".npy", ".gif")


def is_epic(names: list[str]) -> bool:
    """Whether these are the columns of Epic Kitchens."""
    return "video_id" in names and ("verb_class" in names or "noun_class" in names or "stop_frame" in names)


def read_epic(path: Path, root: Path) -> ClipList:
    """The list in such a file.

    Raises
    ------
    InputError
        When a column is missing, as the classes are in the test set, or a cell is empty or cannot be meant.
    """
    find = _finder(root)
    clips = []
    for number, row in rows_of(path):
        missing = [name for name in NEEDED if name not in row]
        if missing:
            raise InputError(
                f"{path} has no column {listed(missing)}; expected {', '.join(NEEDED)}: is it the test set, which has "
                "no labels?"
            )
        video, participant = row["video_id"], row.get("participant_id") or row["video_id"].partition("_")[0]
        narration = row.get("narration_id") or f"{video}_{row.get('uid', '')}"
        for name in (video, participant, narration):
            if not name or "/" in name or "\\" in name or name in (".", ".."):
                raise wrong_line(path, number, f"{quoted(name)} is no name of a video; expected one such as P01_01")
        labels = tuple(str(frame_number(row[f"{head}_class"], f"{head}_class", path, number)) for head in HEADS)
        first = frame_number(row["start_frame"], "start_frame", path, number)
        last = frame_number(row["stop_frame"], "stop_frame", path, number)
        if last < first or last == 0:
            raise wrong_line(path, number, f"the frames are {first} to {last}; the last one comes later than the first")
        place, is_cut = find(participant, video, narration)
        part = (0, None) if is_cut else (max(first - 1, 0), last)
        clips.append(ListedClip(*clip_at(root, place, *part), labels, number))
    return ClipList(path, HEADS, clips, KNOWN_SIZES)


class _finder:
    """Finds clips; what is in a folder is looked up once."""

    def __init__(self, root: Path):
        self.names = cache(lambda folder: frozenset(_listing(root / folder)))

    def __call__(self, participant: str, video: str, narration: str) -> tuple[str, bool]:
        """Where in the root the clip of a narration lies, and whether it is cut out of the video already."""
        folders = ("", participant, f"{participant}/clips", f"{participant}/rgb_frames", f"{participant}/videos")
        for name in (narration, video):
            for folder in folders:
                for ending in ENDINGS:
                    if name + ending in self.names(folder):
                        return f"{folder}/{name}{ending}".removeprefix("/"), name == narration
        return f"{participant}/rgb_frames/{video}", False


def _listing(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
