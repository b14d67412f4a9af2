"""``minivivit conformance``: write what a port must compute, for it to check itself."""

import argparse
from pathlib import Path

from minivivit.commands.text_table import printable
from minivivit.files.atomic import check_free
from minivivit.progress import progress_bar
from minivivit.verification.conformance.pack import CASES, write_conformance_pack

DESCRIPTION = """\
Write a conformance pack: small models of all four kinds with their weights, inputs, every intermediate value and every
gradient in float64, and how much rounding changes each in float64, float32, TF32, bfloat16 and float16.

A port in any language checks itself against it, without any of our code: tensors are in safetensors files, all else is
JSON, and the README.md in the pack says how to read them and what passes. On one machine the pack is the same to the
bit whenever it is written."""

EXAMPLES = """\
examples:
  minivivit conformance pack
  cd pack && sha256sum -c SHA256SUMS
  minivivit compare pack/model1_token/trace THEIRS"""


def add_conformance_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments to `parser`."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument("directory", metavar="DIR", help="the directory to write; must be empty or not be there")


def run_conformance(arguments: argparse.Namespace) -> None:
    """Write the pack, and say what it holds."""
    directory = Path(arguments.directory)
    check_free(directory)
    with progress_bar(len(CASES), "conformance") as bar:
        index = write_conformance_pack(directory, on_case=lambda name: bar.update())
    size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    num_tensors = sum(len(case["weights"]) + len(case["tensors"]) for case in index["cases"].values())
    print(f"{index['format']}: {len(index['cases'])} models, {num_tensors:,} tensors, {size / 1e6:.1f} MB")
    print(f"written to {printable(directory)}; how to use it says {printable(directory / 'README.md')}")
