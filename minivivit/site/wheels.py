"""Wheels for the browser's Python, without a network: of this package, and of packages that are installed here."""

import base64
import hashlib
import importlib.metadata
import io
import re
import tomllib
import zipfile
from pathlib import Path
from typing import NamedTuple

from minivivit.errors import InputError, MissingExtraError

WHEEL = "Wheel-Version: 1.0\nGenerator: minivivit site\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
# Of the clone: what the site has beside its wheel.
BESIDE = "minivivit/site/assets"
# Of an installed package: what pip puts elsewhere or makes itself, and tests.
LEFT_OUT = {"..", "__pycache__", "tests"}


class Wheel(NamedTuple):
    """A wheel's file name and bytes."""

    name: str
    data: bytes


def wheel_of_clone(clone: Path) -> Wheel:
    """The package of a clone, as it lies there."""
    project = tomllib.loads((clone / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    paths = sorted(path for path in (clone / "minivivit").rglob("*") if path.is_file())
    files = {
        path.relative_to(clone).as_posix(): path.read_bytes()
        for path in paths
        if "__pycache__" not in path.parts and clone / BESIDE not in path.parents
    }
    needs = [f"Requires-Dist: {line}" for line in project["dependencies"]]
    metadata = ["Metadata-Version: 2.1", f"Name: {project['name']}", f"Version: {project['version']}", *needs]
    return _wheel(project["name"], project["version"], files, "\n".join(metadata) + "\n")


def wheel_of_installed(name: str) -> Wheel:
    """A package in pure Python, put together again from what an installation made of its wheel.

    Raises
    ------
    MissingExtraError
        When it is not installed.
    InputError
        When it is not pure Python, which alone runs in a browser as it is.
    """
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        raise MissingExtraError(name, "site", "the site") from None
    places = [place for place in distribution.files or [] if not LEFT_OUT & set(place.parts)]
    files = {
        place.as_posix(): Path(str(place.locate())).read_bytes()
        for place in places
        if ".dist-info" not in place.parts[0]
    }
    compiled = sorted(place for place in files if place.endswith((".so", ".pyd", ".dylib")))
    if compiled or not files:
        reason = f"it holds {compiled[0]}, which is compiled" if compiled else "no list of its files was kept"
        raise InputError(f"the installed {name} cannot go into the browser: {reason}; install it from a pure wheel")
    return _wheel(name, distribution.version, files, distribution.read_text("METADATA") or "")


def _wheel(name: str, version: str, files: dict[str, bytes], metadata: str) -> Wheel:
    stem = f"{re.sub(r'[-_.]+', '_', name).lower()}-{version}"
    info = f"{stem}.dist-info"
    entries = {**files, f"{info}/METADATA": metadata.encode(), f"{info}/WHEEL": WHEEL.encode()}
    record = [f"{place},sha256={_digest(data)},{len(data)}" for place, data in entries.items()]
    entries[f"{info}/RECORD"] = ("\n".join([*record, f"{info}/RECORD,,"]) + "\n").encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for place, data in entries.items():
            of_1980 = zipfile.ZipInfo(place)  # the same files, the same bytes
            archive.writestr(of_1980, data, zipfile.ZIP_DEFLATED, compresslevel=9)
    return Wheel(f"{stem}-py3-none-any.whl", buffer.getvalue())


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
