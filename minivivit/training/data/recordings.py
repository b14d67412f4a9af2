"""Clips of one recording, kept on one side of a split.

Clips that were cut from one recording share its room, its light and its person: a model that has learned from one of
them knows the next one. Where some are trained on and others validated on, the accuracy is that of recognising a
recording, and no new recording will reach it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from minivivit.errors import InputError
from minivivit.files.tensor_data import listed, quoted
from minivivit.training.data.segments import Clip, path_of

Entry = TypeVar("Entry")


def recording_of(clip: Clip, group_by: str | None = None) -> str:
    """What a clip was cut from: its file; or, with `group_by`, what its name has before the last of these characters.

    With ``"_"`` the clips ``attic_1.mp4`` and ``attic_2.mp4``, of whatever class, are of the recording ``attic``.
    """
    path = path_of(clip)
    if group_by is None:
        return str(path)
    return path.name.rpartition(group_by)[0] or path.stem


def held_out_recordings(
    labelled: Iterable[tuple[int, str]], validation_fraction: float, order: Callable[[str], bytes]
) -> set[str]:
    """The recordings to validate on.

    Of each class, one after the other, recordings are held out until they have `validation_fraction` of its clips, and
    one of them at least is left to train on. A recording with clips of several classes lies on the side to which the
    first of these puts it.

    Parameters
    ----------
    labelled : iterable of (label, recording)
        One a clip.
    validation_fraction : float
    order : callable
        What the recordings of a class are sorted by.
    """
    classes: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for label, recording in labelled:
        classes[label][recording] += 1
    held_out: dict[str, bool] = {}
    for label in sorted(classes):
        recordings = classes[label]
        total = sum(recordings.values())
        wanted = min(max(round(validation_fraction * total), 1), total - 1)
        wanted -= sum(count for recording, count in recordings.items() if held_out.get(recording))
        free = sorted(recordings.keys() - held_out.keys(), key=lambda recording: (order(recording), recording))
        is_trained = len(free) < len(recordings) and any(not held_out.get(name, True) for name in recordings)
        for place, recording in enumerate(free):
            held_out[recording] = wanted > 0 and (is_trained or place < len(free) - 1)
            wanted -= recordings[recording] if held_out[recording] else 0
    return {recording for recording, is_held_out in held_out.items() if is_held_out}


def split_recordings(
    entries: Sequence[Entry],
    labels: Iterable[int],
    recordings: Sequence[str],
    validation_fraction: float,
    order: Callable[[str], bytes],
) -> tuple[list[Entry], list[Entry]]:
    """The entries to train on and those to validate on, by the label and the recording of each."""
    held_out = held_out_recordings(zip(labels, recordings, strict=True), validation_fraction, order)
    sides: tuple[list[Entry], list[Entry]] = [], []
    for entry, recording in zip(entries, recordings, strict=True):
        sides[recording in held_out].append(entry)
    return sides


def check_names(clips: Sequence[Clip], group_by: str) -> None:
    """Refuse names that do not say what `group_by` asks of them.

    Raises
    ------
    InputError
        When it is in no clip's name, or all clips are of one recording.
    """
    if not any(group_by in path_of(clip).name for clip in clips):
        raise InputError(
            f"group_by is {quoted(group_by)}, which no clip's name holds, such as {quoted(path_of(clips[0]).name)}; "
            "expected what separates the name of a recording from the rest"
        )
    recordings = {recording_of(clip, group_by) for clip in clips}
    if len(recordings) == 1:
        raise InputError(
            f"with group_by {quoted(group_by)} all {len(clips):,} clips are of one recording, {listed(recordings)}: "
            "none is left to validate on"
        )


def recording_notes(training: Sequence[Clip], validation: Sequence[Clip], group_by: str) -> list[str]:
    """What to say of the recordings that are validated on."""
    known = {recording_of(clip, group_by) for clip in training}
    both = sum(recording_of(clip, group_by) in known for clip in validation)
    if both:
        return [f"{both:,} clips to validate on are of recordings that are trained on, too"]
    names = sorted({recording_of(clip, group_by) for clip in validation})
    return [f"validated on whole recordings: {listed(names)}"] if names else []
