"""Where the site's Python comes from: a Pyodide on the network, or one that is copied into the site."""

import json
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from minivivit.errors import InputError
from minivivit.files.tensor_data import listed, quoted

VERSION = "0.27.7"  # the one that the site was tested with
CDN = f"https://cdn.jsdelivr.net/pyodide/v{VERSION}/full/"
CORE = ("pyodide.js", "pyodide.asm.js", "pyodide.asm.wasm", "python_stdlib.zip")
LOCK = "pyodide-lock.json"
# What the kernel and the package need of it. ssl and sqlite3 are IPython's; nothing that is not named here is copied.
PACKAGES = (
    *("numpy", "scipy", "pillow", "matplotlib", "threadpoolctl"),
    *("micropip", "packaging", "ssl", "sqlite3", "ipython", "jedi", "traitlets"),
)


class Pyodide(NamedTuple):
    """A Pyodide.

    Attributes
    ----------
    url : str
        Where the browser finds it, with a slash at its end; ``./`` is the place of JupyterLite.
    folder : pathlib.Path or None
        Where it is copied from, when it is.
    lock : dict or None
        Of that, the lock file, of the packages that are copied.
    """

    url: str
    folder: Path | None = None
    lock: dict[str, Any] | None = None


def find_pyodide(given: str | None) -> Pyodide:
    """The Pyodide of ``--pyodide``: a folder, an address, or by default the CDN's in the version that was tested.

    Raises
    ------
    InputError
        When the folder lacks something that the course needs.
    """
    if given is None:
        return Pyodide(CDN)
    if re.match(r"https?://[^/]", given):
        return Pyodide(re.sub(r"(?:/pyodide\.m?js|/)?$", "/", given, count=1))
    folder = Path(given)
    if not folder.is_dir():
        raise InputError(
            f"{given} is no folder and no address; expected a Pyodide {VERSION} with its packages, unpacked, or https://..."
        )
    lacking = [name for name in (*CORE, LOCK) if not (folder / name).is_file()]
    if lacking:
        raise InputError(
            f"{given} is no Pyodide: it lacks {listed(lacking)}; expected one of version {VERSION}, unpacked"
        )
    return Pyodide("./pyodide/", folder, _needed_lock(folder))


def copy_pyodide(pyodide: Pyodide, lite: Path) -> None:
    """Copy what is needed of a folder into the site; of a Pyodide on the network, nothing."""
    if pyodide.folder is None or pyodide.lock is None:
        return
    target = lite / "pyodide"
    target.mkdir()
    for name in (*CORE, *(package["file_name"] for package in pyodide.lock["packages"].values())):
        shutil.copyfile(pyodide.folder / name, target / name)
    (target / LOCK).write_text(json.dumps(pyodide.lock), encoding="utf-8")


def _needed_lock(folder: Path) -> dict[str, Any]:
    """A folder's lock file with `PACKAGES` and what these need; the file names are bare, and the files are there."""
    lock = _read_lock(folder / LOCK)
    packages, needed, waiting = lock["packages"], {}, list(PACKAGES)
    while waiting:
        name = _normalised(waiting.pop())
        if name in needed:
            continue
        package = packages.get(name)
        file = package.get("file_name") if isinstance(package, dict) else None
        if not isinstance(file, str) or Path(file).name != file or not (folder / file).is_file():
            raise InputError(
                f"{folder} lacks the package {quoted(name)} or its file; expected a whole Pyodide {VERSION} "
                "(not the one that is called core)"
            )
        needed[name] = package
        waiting += [str(other) for other in package.get("depends", [])]
    return {**lock, "packages": needed}


def _read_lock(path: Path) -> dict[str, Any]:
    try:
        lock = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(lock["packages"], dict):
            return lock
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise InputError(f"{path} is no lock file of Pyodide; expected JSON with its packages")


def _normalised(name: str) -> str:
    """Pyodide's lock files name packages with hyphens, and what they depend on sometimes not."""
    return re.sub(r"[-_.]+", "-", name).lower()
