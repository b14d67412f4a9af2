"""Folders of clips (`minivivit.training.data.clip_folders`) as batches, of any kind of clip that `read_video` reads."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from minivivit.config import VivitConfig
from minivivit.training.data.clip_data import ClipData, Entry
from minivivit.training.data.recordings import check_names, recording_of, split_recordings
from minivivit.training.regularisation.augmentations.pipeline import AugmentationParams


def split_clips(
    clips: dict[str, list[Path]], validation_fraction: float, seed: int, group_by: str | None = None
) -> tuple[list[Entry], list[Entry]]:
    """(path, label) of the clips to train on and of those to validate on; the same split for the same names and seed.

    Of each class the clips are ordered by a hash of the seed and their names, and the first `validation_fraction`,
    rounded to a whole number, are for validation. So a clip that is added or taken away moves others across the border
    only by ones. At least one clip of each class stays for training; at least one is for validation where there are
    two or more, unless the fraction is 0.

    Given `group_by`, whole recordings (`recording_of`) are held out in the same way (`held_out_recordings`).
    """
    if group_by is not None and validation_fraction > 0:
        entries = [(path, label) for label, paths in enumerate(clips.values()) for path in paths]
        return split_recordings(
            entries,
            [label for _, label in entries],
            [recording_of(path, group_by) for path, _ in entries],
            validation_fraction,
            lambda recording: hashlib.sha256(os.fsencode(f"{seed}/{recording}")).digest(),
        )
    training: list[Entry] = []
    validation: list[Entry] = []
    for label, (name, paths) in enumerate(clips.items()):
        count = round(validation_fraction * len(paths))
        if validation_fraction > 0:
            count = min(max(count, 1), len(paths) - 1)
        order = sorted(paths, key=lambda path: hashlib.sha256(os.fsencode(f"{seed}/{name}/{path.name}")).digest())
        held_out = set(order[:count])
        validation += [(path, label) for path in paths if path in held_out]
        training += [(path, label) for path in paths if path not in held_out]
    return training, validation


class FolderData(ClipData):
    """The clips of a folder, in epochs (`ClipData`).

    Parameters
    ----------
    clips : dict
        The clips of each class, as `find_clips` returns them.
    config, seed, batch_size, frame_sample_rate, augmentation, lengths, left_out
        See `ClipData`.
    validation_fraction, group_by
        See `TrainingSettings`.
    held_out : dict, optional
        Clips to validate on, of the same classes. None: the `validation_fraction` of `clips`.
    """

    def __init__(
        self,
        clips: dict[str, list[Path]],
        config: VivitConfig,
        *,
        seed: int,
        batch_size: int,
        validation_fraction: float = 0.2,
        frame_sample_rate: int = 2,
        augmentation: AugmentationParams | None = None,
        held_out: dict[str, list[Path]] | None = None,
        lengths: Mapping[Path, int] | None = None,
        left_out: int = 0,
        group_by: str | None = None,
    ):
        if group_by is not None and held_out is None:
            check_names([path for paths in clips.values() for path in paths], group_by)
        training, validation = split_clips(clips, validation_fraction if held_out is None else 0, seed, group_by)
        if held_out is not None:
            classes = {name: label for label, name in enumerate(clips)}
            validation = [(path, classes[name]) for name, paths in held_out.items() for path in paths]
        super().__init__(
            training,
            validation,
            config,
            num_classes=len(clips),
            seed=seed,
            batch_size=batch_size,
            frame_sample_rate=frame_sample_rate,
            augmentation=augmentation,
            lengths=lengths,
            left_out=left_out,
        )
