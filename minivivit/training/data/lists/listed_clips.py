"""Lists of clips to train on, and to validate on: what `minivivit.training.data.clip_folders` is for folders."""

import hashlib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from minivivit.config import VivitConfig
from minivivit.errors import InputError
from minivivit.files.tensor_data import listed
from minivivit.training.data.clip_data import ClipData, Entry
from minivivit.training.data.lists.classes import classes_of, label_indices, unused_note
from minivivit.training.data.lists.clip_list import ClipList
from minivivit.training.data.lists.label_names import read_label_names
from minivivit.training.data.lists.reading import read_list
from minivivit.training.data.recordings import check_names, recording_of, split_recordings
from minivivit.training.data.segments import Clip, path_of
from minivivit.training.regularisation.augmentations.pipeline import AugmentationParams

NamedClip = tuple[str, Clip, tuple[int, ...]]  # name in the list, clip, one label a head


@dataclass(frozen=True)
class ListedClips:
    """The clips of a training on lists.

    Attributes
    ----------
    heads : list of lists of str
        The classes, a list a head.
    training : list of (name, clip, labels)
    validation : list of such, optional
        None where a part of the training clips is kept for it.
    sources : list of Path
        The files that say so: lists and names.
    notes : list of str
        What the user may not expect.
    """

    heads: list[list[str]]
    training: list[NamedClip]
    validation: list[NamedClip] | None = None
    sources: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def classes(self) -> list[str]:
        """The names of all classes, head after head."""
        return [name for head in self.heads for name in head]

    @property
    def class_splits(self) -> list[int] | None:
        """How many classes each head has; None where there is one head."""
        return [len(head) for head in self.heads] if len(self.heads) > 1 else None

    def by_name(self) -> dict[str, Clip]:
        """Each clip by its name in the list; those of `validation` by ``validation: NAME``."""
        validation = {f"validation: {name}": clip for name, clip, _ in self.validation or []}
        return {name: clip for name, clip, _ in self.training} | validation

    def files(self) -> dict[str, Path]:
        """What beside the clips decides the training."""
        return {f"list {number}: {path.name}": path for number, path in enumerate(self.sources)}

    def without(self, names: Collection[str]) -> "ListedClips":
        """The same without the clips of these names (`by_name`).

        Raises
        ------
        InputError
            When no clip to train on is left.
        """
        gone = set(names)
        training = [entry for entry in self.training if entry[0] not in gone]
        validation = self.validation and [entry for entry in self.validation if f"validation: {entry[0]}" not in gone]
        if not training:
            raise InputError(f"none of the {len(self.training):,} clips to train on can be used; is --root right?")
        return replace(self, training=training, validation=validation)


def find_listed(
    data: str | Path,
    validation: str | Path | None = None,
    root: str | Path | None = None,
    labels: str | Path | None = None,
) -> ListedClips:
    """The clips of a list, and those to validate on where there is a list of them.

    Parameters
    ----------
    data, validation : path-like
        See `minivivit.training.data.lists.reading.read_list`.
    root : path-like, optional
        Of the paths in both.
    labels : path-like, optional
        A file with the names of the classes.

    Raises
    ------
    InputError
        As the readers do; when the two lists are one, or have labels of different heads.
    """
    lists = [read_list(data, root)]
    if validation is not None:
        if Path(data).resolve() == Path(validation).resolve():
            raise InputError(f"{validation} is what is trained on; expected other clips to validate on")
        if Path(validation).is_dir():
            raise InputError(f"{validation} is a folder, but {data} is a list; expected a list to validate on")
        lists.append(read_list(validation, root))
        if lists[0].heads != lists[1].heads:
            raise InputError(f"{validation} has labels of {lists[1].heads}, {data} of {lists[0].heads}")
    names = None if labels is None else read_label_names(Path(labels), lists[0].heads)
    classes = classes_of(lists, names)
    if max(map(len, classes)) < 2:
        raise _one_class(data, labels, lists[0])
    entries = [_named(clip_list, label_indices(clip_list, classes)) for clip_list in lists]
    held_out = entries[1] if validation is not None else None
    sources = [Path(path) for path in (data, validation, labels) if path is not None]
    known = names is not None or bool(lists[0].known_sizes)
    notes = [unused_note(classes, [entry[2] for entry in entries[0]], known), _overlap_note(entries[0], held_out)]
    return ListedClips(classes, entries[0], held_out, sources, [note for note in notes if note is not None])


def _one_class(data: str | Path, labels: str | Path | None, clip_list: ClipList) -> InputError:
    """The error of one class; of a file that names one, though the list may have clips of more."""
    if labels is None:
        return InputError(f"{data} has clips of one class; expected at least 2")
    found = sorted({clip.labels[0] for clip in clip_list.clips})
    more = f". The labels in {data} are {listed(found)}; give a name for each" if len(found) > 1 else ""
    return InputError(f"{labels} names 1 class; expected at least 2{more}")


def split_listed(
    clips: list[NamedClip], validation_fraction: float, seed: int, group_by: str | None = None
) -> tuple[list[NamedClip], list[NamedClip]]:
    """The clips to train on and those to validate on; the same split for the same list and seed.

    As `minivivit.training.data.folders.split_clips`: of each class (of the first head) the first `validation_fraction`
    in the order of a hash are for validation. But clips of one recording (`recording_of`), without `group_by` those of
    one file, stay together.
    """
    if validation_fraction == 0:
        return clips, []
    return split_recordings(
        clips,
        [labels[0] for *_, labels in clips],
        [recording_of(clip, group_by) for _, clip, _ in clips],
        validation_fraction,
        partial(_hash, seed),
    )


def _hash(seed: int, path: str) -> bytes:
    name = os.path.join(os.path.basename(os.path.dirname(path)), os.path.basename(path))  # wherever the root lies
    return hashlib.sha256(os.fsencode(f"{seed}/{name}")).digest()


class ListData(ClipData):
    """The clips of lists, in epochs (`ClipData`).

    Parameters
    ----------
    clips : ListedClips
    config, seed, batch_size, frame_sample_rate, augmentation, lengths, left_out
        See `ClipData`.
    validation_fraction, group_by
        See `TrainingSettings`.
    """

    def __init__(
        self,
        clips: ListedClips,
        config: VivitConfig,
        *,
        seed: int,
        batch_size: int,
        validation_fraction: float = 0.2,
        frame_sample_rate: int = 2,
        augmentation: AugmentationParams | None = None,
        lengths: Mapping[Path, int] | None = None,
        left_out: int = 0,
        group_by: str | None = None,
    ):
        training, validation = clips.training, clips.validation
        if validation is None:
            if group_by is not None:
                check_names([clip for _, clip, _ in training], group_by)
            training, validation = split_listed(training, validation_fraction, seed, group_by)
        super().__init__(
            [_entry(named) for named in training],
            [_entry(named) for named in validation],
            config,
            num_classes=len(clips.classes),
            seed=seed,
            batch_size=batch_size,
            frame_sample_rate=frame_sample_rate,
            augmentation=augmentation,
            lengths=lengths,
            left_out=left_out,
        )


def _named(clip_list: ClipList, indices: list[tuple[int, ...]]) -> list[NamedClip]:
    return [(clip.name, clip.clip, labels) for clip, labels in zip(clip_list.clips, indices, strict=True)]


def _entry(named: NamedClip) -> Entry:
    _, clip, labels = named
    return clip, labels if len(labels) > 1 else labels[0]


def _overlap_note(training: list[NamedClip], validation: list[NamedClip] | None) -> str | None:
    """Clips that are learned from say nothing of what was learned."""
    known = {path_of(clip) for _, clip, _ in training}
    both = sum(path_of(clip) in known for _, clip, _ in validation or [])
    return f"{both} clips to validate on are of files that are trained on, too" if both else None
