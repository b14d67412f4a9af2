"""Clips that cannot be used, found before a training begins: all of them, not one a run."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from minivivit.backend import results_ahead
from minivivit.errors import InputError
from minivivit.files.tensor_data import listed
from minivivit.progress import progress_bar
from minivivit.system_errors import message_of
from minivivit.training.data.clip_data import READERS
from minivivit.training.data.segments import Clip, path_of, span_of
from minivivit.video.reading import check_video


def check_clips(clips: Mapping[str, Clip], skip_damaged: bool = False) -> tuple[dict[Path, int], list[str]]:
    """Decode every file once.

    Parameters
    ----------
    clips : mapping
        Each clip by a name for the message (`ClipFolders.by_name`, `ListedClips.by_name`).
    skip_damaged : bool
        Name those that cannot be used instead of raising.

    Returns
    -------
    lengths : dict
        How many frames each file has that can be used.
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
    paths = list(dict.fromkeys(path_of(clip) for _, clip in sorted(clips.items())))
    found: dict[Path, int | Exception] = {}
    with progress_bar(len(paths), "checking clips", "clip") as bar:
        checks = results_ahead((partial(_length, path) for path in paths), READERS, 4 * READERS)
        for path, length in zip(paths, checks, strict=True):
            found[path] = length
            bar.update()
    damaged: list[str] = []
    reason = ""
    for name, clip in sorted(clips.items()):
        try:
            span_of(clip, _raised(found[path_of(clip)]))
        except (InputError, OSError) as error:
            damaged.append(name)
            reason = reason or message_of(error)
    if damaged and not skip_damaged:
        raise damaged_error(damaged, len(clips), reason)
    return {path: length for path, length in found.items() if isinstance(length, int)}, damaged


def damaged_error(damaged: list[str], count: int, reason: str) -> InputError:
    """The error of clips that cannot be used, of which the first is so for this reason."""
    return InputError(
        f"{len(damaged):,} of {count:,} clips cannot be used: {listed(damaged)}; the first: {reason[:400]}; "
        "repair or remove them, or leave them out with --skip-damaged"
    )


def _length(path: Path) -> int | Exception:
    """How many frames a file has, or why it cannot be used."""
    try:
        return check_video(path)
    except (InputError, OSError) as error:
        return error.with_traceback(None)


def _raised(length: int | Exception) -> int:
    if isinstance(length, Exception):
        raise length
    return length
