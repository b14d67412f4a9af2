"""The command ``minivivit``: which commands there are, and how their errors are said."""

import argparse
import importlib
import io
import os
import sys
import textwrap
from collections.abc import Sequence
from importlib.metadata import version
from typing import NoReturn

from minivivit.backend import num_threads
from minivivit.commands.text_table import printable
from minivivit.errors import InputError, MissingExtraError

# name: (what it does, the module with add_NAME_arguments and run_NAME, imported when the command is called)
COMMANDS = {
    "classify": ("name the classes of a clip", "minivivit.commands.classify"),
    "info": ("count a model's parameters and multiply-accumulates", "minivivit.commands.info"),
    "trace": ("write every intermediate value of a pass into a directory", "minivivit.commands.trace"),
    "conformance": (
        "write small models with every value, for a port to check itself",
        "minivivit.commands.conformance",
    ),
    "gradcheck": ("hold a model's gradients against central differences", "minivivit.commands.gradcheck"),
    "compare": ("find where a port differs from ours by more than rounding", "minivivit.commands.compare"),
    "train": ("train or fine-tune a model on a folder of clips, or on built-in data", "minivivit.commands.train"),
    "evaluate": ("measure a model's accuracy", "minivivit.commands.evaluate"),
    "variants": ("train the paper's variants side by side, and compare them", "minivivit.commands.variants"),
    "assignments": ("lay out a course of assignments for nbgrader", "minivivit.commands.assignments"),
    "convert": ("convert scenic's checkpoints to the Hugging Face layout, and back", "minivivit.checkpoints.command"),
}

DESCRIPTION = "The Video Vision Transformer (ViViT) in explicit array code."

EXAMPLES = """\
examples:
  minivivit classify                         the bundled clip, with the bundled model
  minivivit classify CLIP --model DIR        a clip of your own, with a model in the Hugging Face layout
  minivivit info --preset vivit-b-16x2       what the paper's model costs
  minivivit trace CLIP DIR --model DIR       every intermediate value by name, to compare a port with
  minivivit compare DIR THEIRS               the first tensor of a port that is wrong
  minivivit COMMAND --help                   more about a command

Exit codes: 0 done; 1 compared, and it differs; 2 something that you can mend, said in one line on standard error;
130 interrupted."""


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """argparse's, filling the paragraphs of a description to the terminal's width; indented ones stay as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.split("\n\n")
        return "\n\n".join(
            paragraph if "\n  " in paragraph else textwrap.fill(paragraph, width, break_on_hyphens=False)
            for paragraph in paragraphs
        )


class Parser(argparse.ArgumentParser):
    """argparse's parser, with errors of one line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and leave with exit code 2."""
        sys.stderr.write(f"minivivit: error: {printable(message)}; see  {self.prog} --help\n")
        sys.exit(2)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (`sys.argv` when None) and return the exit code.

    `InputError`, `MissingExtraError`, the operating system's errors and a lack of memory become one line on standard
    error and exit code 2. Anything else that escapes is a defect of ours and keeps its traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not stream.closed:
            stream.reconfigure(errors="backslashreplace")  # labels may hold what the terminal cannot show
    try:
        arguments = parse(sys.argv[1:] if argv is None else argv)
        num_threads()  # a number in the environment that is none is said before anything begins
        run = getattr(importlib.import_module(COMMANDS[arguments.command][1]), f"run_{arguments.command}")
        result = run(arguments)
        if sys.stdout is not None and not sys.stdout.closed:
            sys.stdout.flush()
        return result or 0
    except BrokenPipeError:
        # Who read our output has left, as `head` does: no fault of anyone. Python would complain again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print("minivivit: interrupted", file=sys.stderr)
        return 130
    except MemoryError as error:
        return _fail(f"not enough memory: {error}" if str(error) else "not enough memory")
    except (InputError, MissingExtraError, OSError) as error:
        return _fail(str(error))


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments of the command that `argv` names; ``arguments.command`` is its name."""
    parser = Parser(prog="minivivit", description=DESCRIPTION, epilog=EXAMPLES, formatter_class=HelpFormatter)
    parser.add_argument("--version", action="version", version=f"minivivit {version('minivivit')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, title="commands")
    called = next((argument for argument in argv if not argument.startswith("-")), None)
    for name, (help_text, module) in COMMANDS.items():
        command = commands.add_parser(name, help=help_text, formatter_class=HelpFormatter, allow_abbrev=False)
        if name == called:
            getattr(importlib.import_module(module), f"add_{name}_arguments")(command)
    return parser.parse_args(argv)


def _fail(message: str) -> int:
    print(f"minivivit: error: {printable(message)}", file=sys.stderr)
    return 2
