"""Find what was handed in: a file, or all notebooks and Python files of a folder or zip file, whatever their names."""

import io
import os
import stat
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from minivivit.errors import InputError
from minivivit.files.tensor_data import listed, reason_of
from minivivit.grading.results import OTHER
from minivivit.grading.submission import LARGEST
from minivivit.system_errors import message_of

KINDS = (".ipynb", ".py")
# What lies beside answers without being handed in.
LEFT_OUT = {"conftest.py", "setup.py", "nbgrader_config.py", "header.ipynb", "timestamp.txt", "requirements.txt"}
LEFT_OUT |= {"readme.md", "thumbs.db", "desktop.ini"}
FOLDERS_LEFT_OUT = ("__MACOSX", "__pycache__", "node_modules")
LARGEST_ZIP = 2 << 30
MOST_ENTRIES = 20_000
LARGEST_DIRECTORY = 8 << 20  # bytes that a zip file's list of entries may take
DEEPEST_ZIP = 2  # a class's zip file holds students' zip files, and these hold none


@dataclass(frozen=True)
class HandedIn:
    """One file.

    Attributes
    ----------
    name : str
        Where it lies within what was given, with ``!`` behind a zip file's name.
    place : Path
        The file itself, or the outermost zip file that it is in.
    within : tuple of str
        Its name in that zip file, or first the name of a zip file in it.
    problem : str
        Why it cannot be read; empty when it seems that it can.
    assignment : str or None
        Its name, where the place says it.
    """

    name: str
    place: Path
    within: tuple[str, ...] = ()
    problem: str = ""
    assignment: str | None = None

    def read(self) -> bytes:
        """Its bytes, at most `LARGEST`.

        Raises
        ------
        InputError, OSError
            When they cannot be read.
        """
        if not self.within:
            with open(self.place, "rb") as file:
                data = file.read(LARGEST + 1)
        else:
            data = _read_entry(self.place, self.within)
        if len(data) > LARGEST:
            raise InputError(f"the file has more than {LARGEST:,} bytes, which are not read")
        return data


def find_handed_in(path: Path) -> list[HandedIn]:
    """All files that were handed in, in the order of their names; those that cannot be graded have a problem.

    Raises
    ------
    InputError
        When there is no such file or folder, or nothing in it that could be graded.
    """
    if path.is_dir():
        found = list(_in_folder(path))
    elif path.is_file():
        if path.suffix.lower() not in (*KINDS, ".zip"):
            raise InputError(f"{path} is no notebook (.ipynb), Python file (.py), zip file or folder of them")
        is_zip = path.suffix.lower() == ".zip"
        found = list(_in_zip(path, path.name)) if is_zip else [HandedIn(path.name, path)]
    else:
        raise InputError(f"{path} does not exist; expected a notebook, a Python file, a zip file or a folder of them")
    if all(file.problem == OTHER for file in found):
        there = f", only {listed([file.name for file in found], 5)}" if found else ""
        raise InputError(f"{path} holds no notebook (.ipynb) and no Python file (.py){there}")
    return found


def _in_folder(folder: Path) -> Iterator[HandedIn]:
    for directory, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if _is_looked_into(name))
        for name in sorted(names):
            path = Path(directory) / name
            label = path.relative_to(folder).as_posix()
            if not _counts(name):
                continue
            if not label.lower().endswith((*KINDS, ".zip")):
                yield HandedIn(label, path, problem=OTHER)
            elif path.is_symlink() or not stat.S_ISREG(path.lstat().st_mode):
                yield HandedIn(label, path, problem="a link or a device; hand in the file itself")
            elif label.lower().endswith(".zip"):
                yield from _in_zip(path, label)
            else:
                yield HandedIn(label, path)


def _counts(name: str) -> bool:
    """Whether a file may be what was handed in: not a hidden one, nor a test or a wheel that was handed out."""
    is_handed_out = (name.startswith("test_") and name.endswith(".py")) or name.lower().endswith(".whl")
    return not name.startswith(".") and not is_handed_out and name.lower() not in LEFT_OUT


def _is_looked_into(folder: str) -> bool:
    return not folder.startswith(".") and folder not in FOLDERS_LEFT_OUT


def _in_zip(path: Path, label: str, within: tuple[str, ...] = ()) -> Iterator[HandedIn]:
    """The files in a zip file, which may itself lie in one."""
    try:
        names = sorted(_entries(path, within))
    except (InputError, OSError) as error:
        yield HandedIn(label, path, within, message_of(error))
        return
    for name in names:
        parts = PurePosixPath(name.replace("\\", "/")).parts
        inner = f"{label}!{name}"
        if not parts or not all(_is_looked_into(part) for part in parts[:-1] if part not in ("..", ".")):
            continue
        if not _counts(parts[-1]):
            continue
        if name.lower().endswith(".zip") and len(within) + 1 < DEEPEST_ZIP:
            yield from _in_zip(path, inner, (*within, name))
        elif name.lower().endswith(".zip"):
            yield HandedIn(inner, path, problem="a zip file in a zip file in a zip file; unpack it")
        else:
            yield HandedIn(inner, path, (*within, name), "" if name.lower().endswith(KINDS) else OTHER)


def _entries(path: Path, within: tuple[str, ...]) -> list[str]:
    with _opened(path, within) as archive:
        names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
        if len(names) > MOST_ENTRIES:
            raise InputError(f"a zip file of {len(names):,} entries; at most {MOST_ENTRIES:,} are looked at")
        return names


def _read_entry(path: Path, within: tuple[str, ...]) -> bytes:
    """The bytes of an entry, and one more than `LARGEST` at most, whatever the zip file says of its size."""
    with _opened(path, within[:-1]) as archive:
        return _unpacked(archive, within[-1])


def _unpacked(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        with archive.open(name) as file:
            return file.read(LARGEST + 1)
    except RuntimeError:
        raise InputError("it is locked with a password; hand it in without one") from None
    except Exception as error:  # what a damaged zip file makes zipfile and its decompressors raise is not documented
        raise InputError(f"it cannot be unpacked ({reason_of(error)}); hand it in again") from None


def _opened(path: Path, within: tuple[str, ...]) -> zipfile.ZipFile:
    """A zip file, or one that lies in it."""
    if not within:
        if path.stat().st_size > LARGEST_ZIP:
            raise InputError(f"a zip file of more than {LARGEST_ZIP:,} bytes")
        with open(path, "rb") as file:
            _check_directory(file, path.stat().st_size)
        return _zip_file(path)
    with _zip_file(path) as archive:
        data = _unpacked(archive, within[0])
    if len(data) > LARGEST:
        raise InputError(f"a zip file of more than {LARGEST:,} bytes in another")
    _check_directory(io.BytesIO(data), len(data))
    return _zip_file(io.BytesIO(data))


def _zip_file(file: Path | io.BytesIO) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except OSError:
        raise
    except Exception as error:
        raise InputError(f"it is no zip file that can be read ({reason_of(error)}); hand it in again") from None


def _check_directory(file: io.BufferedIOBase | io.BufferedReader | io.BytesIO, size: int) -> None:
    """Refuse a zip file whose list of entries would take much memory, before zipfile reads it."""
    file.seek(max(0, size - 65_557))
    tail = file.read()
    place = tail.rfind(b"PK\x05\x06")
    if place < 0 or len(tail) < place + 22:
        raise InputError("it is no zip file, or only a part of one; hand it in again")
    count, length = struct.unpack_from("<HL", tail, place + 10)
    if count > MOST_ENTRIES or length > LARGEST_DIRECTORY or b"PK\x06\x07" in tail[max(0, place - 20) : place]:
        raise InputError(f"a zip file of too many entries; at most {MOST_ENTRIES:,} are looked at")
