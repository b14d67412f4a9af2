"""The default tests, run by pytest within Pyodide: what run.mjs runs. Its last expression is the exit code."""

import sys

import pytest

# pyproject.toml's options without those for several processes, which there are none of.
DEFAULT = "not thorough and not parity and not gpu and not contract and not mpi and not notebooks and not teaching"
DEFAULT += " and not site"
options = ["-o", "addopts=", "-m", DEFAULT, "--strict-markers", "-ra", "--durations=10", "-p", "no:cacheprovider"]
sys.dont_write_bytecode = True
sys.path[:] = [folder for folder in sys.path if folder]  # not the package's source, but its wheel
int(pytest.main([*options, *sys.argv[1:]]))
