"""What drives Chromium, from npm: one version for all that is tested in a browser."""

import subprocess
from pathlib import Path

VERSION = "1.65.1"


def playwright(folder: Path) -> Path:
    """The package playwright-core, below `folder`; fetched unless it is there."""
    package = folder / "node_modules" / "playwright-core"
    if not package.is_dir():
        npm = ["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run([*npm, f"playwright-core@{VERSION}"], check=True, stdout=subprocess.DEVNULL)
    return package
