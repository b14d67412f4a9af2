"""``minivivit conformance``: write what a port must compute, for it to check itself."""

import argparse
from pathlib import Path

from minivivit.commands.common.text_table import printable
from minivivit.config import VivitConfig
from minivivit.files.atomic import check_free
from minivivit.progress import progress_bar
from minivivit.verification.conformance.pack import CASES, check_own, write_conformance_pack

DESCRIPTION = """\
Write a conformance pack: small models of all four kinds with their weights, inputs, every intermediate value and every
gradient in float64, and how much rounding changes each in float64, float32, TF32, bfloat16 and float16.

A port in any language checks itself against it, without any of our code: tensors are in safetensors files, all else is
JSON, and the README.md in the pack says how to read them and what passes. On one machine the pack is the same to the
bit whenever it is written.

With --config the pack has one case, of your own model's config, with weights of which none is 0 or 1 and hides a
mistake."""

EXAMPLES = """\
examples:
  minivivit conformance pack
  minivivit conformance --config vivit/config.json mine
  cd pack && sha256sum -c SHA256SUMS
  minivivit compare pack/model1_token/trace THEIRS"""


def add_conformance_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments to `parser`."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument("directory", metavar="DIR", help="the directory to write; must be empty or not be there")
    parser.add_argument("--config", metavar="FILE", help="the config.json of your own model: a pack of that one alone")


def run_conformance(arguments: argparse.Namespace) -> None:
    """Write the pack, and say what it holds."""
    directory = Path(arguments.directory)
    check_free(directory)
    config = None if arguments.config is None else VivitConfig.from_json_file(arguments.config)
    if config is not None:
        check_own(config)
    with progress_bar(len(CASES) if config is None else 1, "conformance") as bar:
        index = write_conformance_pack(directory, config=config, on_case=lambda name: bar.update())
    size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    num_tensors = sum(len(case["weights"]) + len(case["tensors"]) for case in index["cases"].values())
    cases = f"{len(index['cases'])} case{'' if len(index['cases']) == 1 else 's'}"
    print(f"{index['format']}: {cases}, {num_tensors:,} tensors, {size / 1e6:.1f} MB")
    print(f"written to {printable(directory)}; how to use it says {printable(directory / 'README.md')}")
