"""The default tests, run by pytest within Pyodide: what run.mjs runs. Its last expression is the exit code."""

import shlex
import sys
import tomllib
from pathlib import Path

import pytest

# pyproject.toml's options without those for several processes, which there are none of.
settings = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
usual = shlex.split(settings["addopts"])
DEFAULT = usual[usual.index("-m") + 1]
options = ["-o", "addopts=", "-m", DEFAULT, "--strict-markers", "-ra", "--durations=10", "-p", "no:cacheprovider"]
sys.dont_write_bytecode = True
sys.path[:] = [folder for folder in sys.path if folder]  # not the package's source, but its wheel
int(pytest.main([*options, *sys.argv[1:]]))
