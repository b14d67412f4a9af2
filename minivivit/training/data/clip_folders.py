"""Folders of clips, as people keep them: a sub-folder for each class, and whatever else has come to lie there."""

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from minivivit.errors import InputError
from minivivit.files.tensor_data import listed, quoted
from minivivit.training.data.segments import Clip

# What is no clip wherever it lies, in lower case: what Windows, macOS, Linux and network drives leave behind.
LITTER = frozenset(
    ("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "icon\r", "$recycle.bin", "system volume information")
) | frozenset(("lost+found", "@eadir", "#recycle"))
# Files beside the clips that say something of them, known by their ending.
NOTES = frozenset(
    (".csv", ".tsv", ".txt", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".md", ".html", ".pdf", ".log", ".ini")
) | frozenset((".srt", ".vtt", ".ass", ".md5", ".sha256", ".xls", ".xlsx", ".lnk", ".url"))
# Sub-folders of these names are parts of a data set and no classes (`_are_parts`).
TRAINING_NAMES, VALIDATION_NAMES = ("train", "training"), ("val", "valid", "validation")
PART_NAMES = (*TRAINING_NAMES, *VALIDATION_NAMES, "test", "testing")


@dataclass(frozen=True)
class ClipFolders:
    """The clips of a training by class, and those to validate on where they are apart.

    Attributes
    ----------
    training : dict
        As `find_clips` returns it.
    validation : dict, optional
        Likewise, with the same classes; None where a part of the training clips is kept for it.
    note : str, optional
        What the user may not expect of how they were found.
    """

    training: dict[str, list[Path]]
    validation: dict[str, list[Path]] | None = None
    note: str | None = None

    @property
    def classes(self) -> list[str]:
        """The names of the classes."""
        return list(self.training)

    @property
    def class_splits(self) -> None:
        """A folder has one label a clip."""
        return

    @property
    def notes(self) -> list[str]:
        """`note`, if there is one."""
        return [] if self.note is None else [self.note]

    def files(self) -> dict[str, Path]:
        """What beside the clips decides the training: nothing."""
        return {}

    def by_name(self) -> dict[str, Clip]:
        """Each clip by ``CLASS/NAME``; those of `validation` by ``validation/CLASS/NAME``."""
        parts = {"": self.training, "validation/": self.validation or {}}
        return {
            f"{part}{name}/{path.name}": path
            for part, clips in parts.items()
            for name, paths in clips.items()
            for path in paths
        }

    def without(self, names: Collection[str]) -> "ClipFolders":
        """The same without the clips of these names (`by_name`).

        Raises
        ------
        InputError
            When that leaves a class without a clip to train on.
        """
        names = set(names)
        left_out = {path for name, path in self.by_name().items() if name in names}
        training, validation = (
            clips and {name: [path for path in paths if path not in left_out] for name, paths in clips.items()}
            for clips in (self.training, self.validation)
        )
        assert training is not None
        empty = [name for name, paths in training.items() if not paths]
        if empty:
            raise InputError(f"no clip of {_classes(empty)} can be used; repair the clips, or remove the folder")
        return ClipFolders(training, validation, self.note)


def is_litter(path: Path) -> bool:
    """Whether a file or folder is passed over, not taken for a clip or a class.

    Hidden ones (``.DS_Store``, ``._clip.mp4``) are, those of `LITTER`, drafts that editors leave (``~$list.xlsx``,
    ``list~``), and files whose names end as in `NOTES` (``labels.csv``).
    """
    name = path.name.lower()
    if name.startswith((".", "~$")) or name.endswith("~") or name in LITTER:
        return True
    return path.suffix.lower() in NOTES and not path.is_dir()


def find_clips(folder: str | os.PathLike[str]) -> dict[str, list[Path]]:
    """The classes in a folder, in the order of their names, and the clips of each.

    A class is a sub-folder; its name is the label. What lies in it are clips: files, and folders of pictures. Litter
    (`is_litter`) is passed over, and so are files beside the classes.

    Raises
    ------
    InputError
        When it is no folder, has no sub-folders, some of them are empty, or they are parts of a data set.
    """
    folder = Path(folder)
    classes = _sub_folders(folder)
    parts = [path.name for path in classes]
    if _are_parts(parts):
        raise InputError(
            f"{folder} holds {listed(parts)}, which are parts of a data set and no classes; name one of them, such "
            f"as {folder / parts[0]} (minivivit train takes another as --validation)"
        )
    if len(classes) < 2:
        found = "1 sub-folder" if classes else "no sub-folders"
        raise InputError(f"{folder} has {found}; expected one for each class, at least 2, with its clips inside")
    clips = {path.name: sorted(clip for clip in path.iterdir() if not is_litter(clip)) for path in classes}
    empty = [name for name, paths in clips.items() if not paths]
    if empty:
        raise InputError(
            f"{folder} holds no clip of {_classes(empty)}; expected the clips of a class in its sub-folder"
        )
    return clips


def find_folders(data: str | os.PathLike[str], validation: str | os.PathLike[str] | None = None) -> ClipFolders:
    """The clips to train on, and those to validate on where they are apart.

    Parameters
    ----------
    data : path-like
        A folder with a sub-folder for each class; or one that holds two such folders, ``train`` (or ``training``) and
        ``val`` (or ``valid``, ``validation``), and beside them at most ``test`` (or ``testing``), which is not looked
        at.
    validation : path-like, optional
        A folder with the same classes as `data`, to validate on.

    Raises
    ------
    InputError
        As `find_clips`; when the two are one folder, or their classes differ.
    """
    note = None
    if validation is None:
        parts = {path.name.lower(): path for path in _sub_folders(Path(data))}
        first, second = (
            [parts[name] for name in names if name in parts] for names in (TRAINING_NAMES, VALIDATION_NAMES)
        )
        if not _are_parts(parts) or len(first) != 1 or len(second) != 1:
            return ClipFolders(find_clips(data))
        note = (
            f"{data} holds {listed(path.name for path in parts.values())}: the clips in {first[0].name} are trained "
            f"on, and those in {second[0].name} validated on"
        )
        data, validation = first[0], second[0]
    if Path(data).resolve() == Path(validation).resolve():
        raise InputError(f"{validation} is what is trained on; expected other clips to validate on")
    training, held_out = find_clips(data), find_clips(validation)
    for here, there, clips, others in (
        (data, validation, training, held_out),
        (validation, data, held_out, training),
    ):
        alone = [name for name in clips if name not in others]
        if alone:
            raise InputError(f"{here} has {_classes(alone)}, which {there} has not; both must have the same classes")
    return ClipFolders(training, held_out, note)


def _sub_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; expected one with a sub-folder of clips for each class, or a list")
    return sorted(path for path in folder.iterdir() if not is_litter(path) and path.is_dir())


def _are_parts(names: Collection[str]) -> bool:
    """Whether sub-folders of these names are parts of a data set: ``train`` alone, or beside ``bus``, is a class."""
    lower = {name.lower() for name in names}
    both = not lower.isdisjoint(TRAINING_NAMES) and not lower.isdisjoint(VALIDATION_NAMES)
    return both or (len(lower) > 1 and lower.issubset(PART_NAMES))


def _classes(names: list[str]) -> str:
    return f"the class {quoted(names[0])}" if len(names) == 1 else f"the {len(names)} classes {listed(names)}"
