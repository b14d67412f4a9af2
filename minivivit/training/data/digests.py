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
from minivivit.progress import progress_bar
from minivivit.video.images import FOLDER_SUFFIXES


def file_digest(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's content, as ``sha256sum`` prints it: 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def clip_names(clips: Mapping[str, list[Path]]) -> dict[str, Path]:
    """Each clip by ``CLASS/NAME``, from what `find_clips` returns."""
    return {f"{name}/{path.name}": path for name, paths in clips.items() for path in paths}


def clip_digests(clips: Mapping[str, list[Path]]) -> dict[str, str]:
    """The digest of each clip, by ``CLASS/NAME``.

    That of a folder of pictures is of the names and digests of the pictures in it, and of nothing else that lies there.

    Raises
    ------
    InputError
        When a clip is neither a file nor a folder.
    """
    names = clip_names(clips)
    digests = {}
    with progress_bar(len(names), "reading clips", "clip") as bar:
        for name, path in names.items():
            digests[name] = _clip_digest(path)
            bar.update()
    return digests


def _clip_digest(path: Path) -> str:
    if path.is_file():
        return file_digest(path)
    if not path.is_dir():
        raise InputError(f"{path} is neither a file nor a folder; expected a clip")
    pictures = [picture for picture in sorted(path.iterdir()) if picture.suffix.lower() in FOLDER_SUFFIXES]
    lines = [f"{file_digest(picture)}  {picture.name}\n" for picture in pictures if picture.is_file()]
    return hashlib.sha256("".join(lines).encode(errors="surrogatepass")).hexdigest()
