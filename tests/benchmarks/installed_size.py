"""Installed size of minivivit with all it needs, and of what else runs a ViViT, each in a new virtual environment.

    python tests/benchmarks/installed_size.py
    python tests/benchmarks/installed_size.py --torch torch==2.13.0

Counted are the bytes of all files that ``pip install`` adds to the environment, without compiled bytecode. Where pip
finds the version that ``--torch`` names decides whether it is PyTorch's build for the CPU or for CUDA; it is printed.
vit-pytorch brings torchvision. scenic is installed from its repository; counted are the packages from PyPI that its
setup.py asks for, and optax.
"""

import argparse
import json
import subprocess
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SHOWN = ("numpy", "torch", "transformers", "vit-pytorch", "jax", "tensorflow")
SCENIC_NEEDS = (
    "absl-py jax jaxlib flax ml-collections tensorflow immutabledict clu tensorflow-datasets optax"  # its setup.py
)


def size_of(directory: Path) -> int:
    """Bytes of all files under a directory."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file() and not path.is_symlink())


def measure(installs: list[str]) -> tuple[int, dict[str, str]]:
    """Install into a new environment, one after the other: the bytes and the versions of what was added."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python, before = Path(folder) / "bin" / "python", size_of(Path(folder))
        for package in installs:
            subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-compile", *package.split()], check=True)
        added = size_of(Path(folder)) - before
        command = [python, "-m", "pip", "list", "--format", "json"]
        listed = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return added, {entry["name"]: entry["version"] for entry in listed if entry["name"] not in ("pip", "setuptools")}


def main() -> None:
    """Print one line a contender."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", default="torch", metavar="REQUIREMENT", help="which PyTorch (default: torch)")
    torch = parser.parse_args().torch
    contenders = ([str(ROOT)], [f"{ROOT}[video]"], [torch, "transformers"], [torch, "vit-pytorch"], [SCENIC_NEEDS])
    for installs in contenders:
        size, versions = measure(installs)
        name = " + ".join(installs).replace(str(ROOT), "minivivit")
        shown = [f"{package} {versions[package]}" for package in SHOWN if package in versions]
        print(f"{name}: {size / 1e6:,.0f} MB, {len(versions)} packages ({', '.join(shown)})", flush=True)


if __name__ == "__main__":
    main()
