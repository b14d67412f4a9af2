"""Clips that cannot be used, found before a training begins: all of them, not one a run."""

from collections.abc import Mapping
from pathlib import Path

from minivivit.errors import InputError
from minivivit.files.tensor_data import listed
from minivivit.progress import progress_bar
from minivivit.video.reading import check_video


def check_clips(clips: Mapping[str, Path], skip_damaged: bool = False) -> tuple[dict[Path, int], list[str]]:
    """Decode every clip once.

    Parameters
    ----------
    clips : mapping
        Each clip by a name for the message (`ClipFolders.by_name`).
    skip_damaged : bool
        Name those that cannot be used instead of raising.

    Returns
    -------
    lengths : dict
        How many frames each clip has that can be used.
    damaged : list of str
        The names of the others.

    Raises
    ------
    InputError
        When some cannot be used: they cannot be opened or decoded to their end, hold no frames, or frames of several
        sizes. It names the first few, and says how many there are.
    MissingExtraError
        When a clip needs PyAV, which is not installed.
    """
    lengths: dict[Path, int] = {}
    damaged: list[str] = []
    reason = ""
    with progress_bar(len(clips), "checking clips", "clip") as bar:
        for name, path in sorted(clips.items()):
            try:
                lengths[path] = check_video(path)
            except (InputError, OSError) as error:
                damaged.append(name)
                reason = reason or str(error)
            bar.update()
    if damaged and not skip_damaged:
        raise InputError(
            f"{len(damaged):,} of {len(clips):,} clips cannot be used: {listed(damaged)}; the first: {reason[:400]}; "
            "repair or remove them, or leave them out with --skip-damaged"
        )
    return lengths, damaged
