"""What tells a file, or a clip, from any other: the SHA-256 of its content.

Names, sizes and times would be had sooner, but a clip can be made again under its name, copied with its time, or lose a
bit on the disk, and a training on it would not be the one that began. Reading every clip once takes about as long as
copying them.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from minivivit.errors import InputError
from minivivit.files.tensor_data import quoted
from minivivit.progress import progress_bar
from minivivit.training.data.segments import Clip, path_of
from minivivit.video.readers.images import FOLDER_SUFFIXES


def file_digest(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's content, as ``sha256sum`` prints it: 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def clip_digests(clips: Mapping[str, Clip]) -> dict[str, str]:
    """The digest of each clip, by the names that `clips` gives them (`ClipFolders.by_name`).

    That of a part of a file is that of the file. That of a folder of pictures is of the names and digests of the
    pictures in it, and of nothing else that lies there.

    Raises
    ------
    InputError
        When a clip is neither a file nor a folder.
    """
    of_paths: dict[Path, str] = {}
    digests = {}
    with progress_bar(len(clips), "reading clips", "clip") as bar:
        for name, clip in clips.items():
            path = path_of(clip)
            if path not in of_paths:
                of_paths[path] = _clip_digest(path)
            digests[name] = of_paths[path]
            bar.update()
    return digests


def differences(clips: Mapping[str, Clip], recorded: Mapping[str, str]) -> list[str]:
    """In words, what of the clips is not as it was when they were `recorded`, as `clip_digests` returned them.

    Their contents are looked at only if their names are the same.
    """
    found = [f"{quoted(name)} is new" for name in clips if name not in recorded]
    found += [f"{quoted(name)} is no longer there" for name in recorded if name not in clips]
    if found:
        return found
    digests = clip_digests(clips)
    return [f"{quoted(name)} has another content" for name in clips if digests[name] != recorded[name]]


def _clip_digest(path: Path) -> str:
    if path.is_file():
        return file_digest(path)
    if not path.is_dir():
        raise InputError(f"{path} is neither a file nor a folder; expected a clip")
    pictures = [picture for picture in sorted(path.iterdir()) if picture.suffix.lower() in FOLDER_SUFFIXES]
    lines = [f"{file_digest(picture)}  {picture.name}\n" for picture in pictures if picture.is_file()]
    return hashlib.sha256("".join(lines).encode(errors="surrogatepass")).hexdigest()


def check_unchanged(path: Path, digest: str, writer: str) -> None:
    """Raise unless `path` is the file of this digest that `writer`, such as "the comparison", wrote.

    Raises
    ------
    InputError
        When it is missing or has changed.
    """
    if not path.is_file() or file_digest(path) != digest:
        raise InputError(
            f"{path} is missing, or not as {writer} wrote it: put back a copy of it, or begin anew in another --output"
        )
