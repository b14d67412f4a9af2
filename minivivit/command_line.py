"""The command line: which commands there are, and how their errors are said."""

import argparse
import contextlib
import errno
import importlib
import io
import os
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TextIO, cast

from minivivit.backend import num_threads
from minivivit.commands.common.text_table import printable
from minivivit.errors import InputError, MissingExtraError
from minivivit.files.atomic import naming_errors
from minivivit.system_errors import message_of

# name: (what it does, the module with add_NAME_arguments and run_NAME, imported when the command is called)
COMMANDS = {
    "classify": ("name the classes of a clip", "minivivit.commands.classify"),
    "info": ("count a model's parameters and multiply-accumulates", "minivivit.commands.info"),
    "trace": ("write every intermediate value of a pass into a directory", "minivivit.commands.trace"),
    "explore": ("lay a network open, on one clip, in one page", "minivivit.commands.explore"),
    "conformance": (
        "write small models with every value, for a port to check itself",
        "minivivit.commands.conformance",
    ),
    "gradcheck": ("hold a model's gradients against central differences", "minivivit.commands.gradcheck"),
    "compare": ("find where a port differs from ours by more than rounding", "minivivit.commands.compare"),
    "train": ("train or fine-tune a model on a folder of clips, or on built-in data", "minivivit.commands.train"),
    "evaluate": ("measure a model's accuracy", "minivivit.commands.evaluate"),
    "variants": (
        "train the paper's variants side by side, and compare them",
        "minivivit.commands.experiments.variants",
    ),
    "ablate": (
        "train the paper's ablations: regularisers, starts, depth, size",
        "minivivit.commands.experiments.ablate",
    ),
    "assignments": ("lay out a course of assignments for a course system", "minivivit.commands.teaching"),
    "grade": ("grade what students handed in, running their code apart", "minivivit.commands.teaching"),
    "site": ("write the course as a web site that runs in the browser", "minivivit.commands.site"),
    "convert": ("convert scenic's checkpoints to the Hugging Face layout, and back", "minivivit.commands.convert"),
}

DESCRIPTION = "The Video Vision Transformer (ViViT) in explicit array code."

EXAMPLES = """\
examples:
  minivivit classify                         the bundled clip, with the bundled model
  minivivit classify CLIP --model DIR        a clip of your own, with a model in the Hugging Face layout
  minivivit info --preset vivit-b-16x2       what the paper's model costs
  minivivit trace CLIP DIR --model DIR       every intermediate value by name, to compare a port with
  minivivit explore --output FILE.html       a page to walk through the network, down to single numbers
  minivivit compare DIR THEIRS               the first tensor of a port that is wrong
  minivivit COMMAND --help                   more about a command

Exit codes: 0 done; 1 compared, and it differs; 2 something that you can mend, said in one line on standard error;
130 interrupted."""
STREAMS = ("standard output", "standard error")
LONGEST_LINE = 2000  # letters of an error: names and values in it may be of any length


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """argparse's, filling the paragraphs of a description to the terminal's width; indented ones stay as they are."""

    def add_usage(self, usage: Any, actions: Iterable[argparse.Action], groups: Any, prefix: Any = None) -> None:
        """The arguments before the options: one that takes several values would take an argument behind it as well."""
        arguments = [action for action in actions if not action.option_strings and action.nargs != argparse.PARSER]
        if usage is None and arguments:
            names = [f"[{one.metavar}]" if one.nargs == "?" else str(one.metavar) for one in arguments]
            usage = f"%(prog)s {' '.join(names)} [options]"
        super().add_usage(usage, actions, groups, prefix)

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
        usage = " ".join(self.format_usage().removeprefix("usage: ").split())
        expected = f"; expected  {usage}" if "[options]" in usage else ""
        _say(message, f"{expected}; see  {self.prog} --help")
        sys.exit(2)

    def _print_message(self, message: str, file: Any = None) -> None:
        """argparse's own passes over a standard output that cannot be written."""
        print(message, end="", file=file)


class Version(argparse.Action):
    """``--version``: print the installed version, which takes a while to look up, and leave."""

    def __call__(self, parser: argparse.ArgumentParser, *arguments: Any) -> None:
        """Print and leave."""
        from importlib.metadata import version

        print(f"minivivit {version('minivivit')}")
        parser.exit()


def run_command(argv: Sequence[str], on_imported: Callable[[], None] = lambda: None) -> int:
    """Run the command line `argv` and return the exit code; `on_imported` is called when all modules are there.

    `InputError`, `MissingExtraError`, the operating system's errors, among them a standard output that cannot be
    written, and a lack of memory become one line on standard error and exit code 2. Anything else that escapes is a
    defect of ours and keeps its traceback.
    """
    with _usable_streams():
        try:
            return _call(argv, on_imported)
        except (InputError, MissingExtraError, MemoryError, OSError) as error:
            if isinstance(error, OSError) and _is_broken_pipe(error):
                return 141  # who read our output has left, as `head` does: no fault of anyone
            _say(message_of(error))
        return 2


def _call(argv: Sequence[str], on_imported: Callable[[], None]) -> int:
    """Call the command, and see to it that all of its output is written."""
    try:
        arguments = parse(argv)
        num_threads()  # a number in the environment that is none is said before anything begins
        run = getattr(importlib.import_module(COMMANDS[arguments.command][1]), f"run_{arguments.command}")
        on_imported()
        code = run(arguments) or 0
    except SystemExit:  # argparse's way: after an error of its own, or --help
        sys.stdout.flush()
        raise
    sys.stdout.flush()
    return code


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments of the command that `argv` names; ``arguments.command`` is its name."""
    parser = Parser(prog="minivivit", description=DESCRIPTION, epilog=EXAMPLES, formatter_class=HelpFormatter)
    parser.add_argument("--version", action=Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, title="commands")
    called = next((argument for argument in argv if not argument.startswith("-")), None)
    for name, (help_text, module) in COMMANDS.items():
        command = commands.add_parser(name, help=help_text, formatter_class=HelpFormatter, allow_abbrev=False)
        if name == called:
            getattr(importlib.import_module(module), f"add_{name}_arguments")(command)
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        commands.choices[arguments.command].error(f"unrecognized arguments: {' '.join(unknown)}")
    _refuse_empty(commands.choices[arguments.command], arguments)
    return arguments


def _refuse_empty(command: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Refuse an empty text as an argument: as a path it would be the current directory, which nobody has named."""
    for action in command._actions:
        value = getattr(arguments, action.dest, None)
        if value == "" or (isinstance(value, list) and "" in value):
            name = "/".join(action.option_strings) or action.metavar or action.dest
            command.error(f"{name} is empty; expected one or more characters (is a variable of the shell empty?)")


def _say(message: str, end: str = "") -> None:
    """An error of one line, of bounded length."""
    if len(message) > LONGEST_LINE:
        message = f"{message[: LONGEST_LINE * 3 // 4]} ... {message[-LONGEST_LINE // 4 :]}"
    with contextlib.suppress(OSError):  # nobody is there to read it
        print(f"minivivit: error: {printable(message)}{end}", file=sys.stderr, flush=True)


# --------------------------------------------------------------------------------------------------------------------
# Standard output and standard error
# --------------------------------------------------------------------------------------------------------------------


@contextmanager
def _usable_streams() -> Iterator[None]:
    """Meanwhile, both streams are there and take any letter; afterwards they are as they were.

    A stream may be missing: closed by the shell (``>&-``), or in a program without a console (Windows's ``pythonw``).
    Labels and names of files may hold what a terminal cannot show.
    """
    streams = sys.stdout, sys.stderr
    with contextlib.ExitStack() as stack:
        if None in streams:
            _open_standard_descriptors()
        sys.stdout, sys.stderr = (
            stack.enter_context(open(os.devnull, "w", encoding="utf-8")) if stream is None else stream
            for stream in streams
        )
        wrappers = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, io.TextIOWrapper)]
        usual = [wrapper.errors for wrapper in wrappers]
        try:
            for wrapper in wrappers:
                wrapper.reconfigure(errors="backslashreplace")
            sys.stdout, sys.stderr = (
                cast(TextIO, _NamedStream(stream, name))
                for stream, name in zip((sys.stdout, sys.stderr), STREAMS, strict=True)
            )
            yield
        finally:
            for wrapper, errors in zip(wrappers, usual, strict=True):
                _give_up_unless_flushed(wrapper)
                wrapper.reconfigure(errors=errors)
            sys.stdout, sys.stderr = streams


class _NamedStream:
    """A stream whose errors say which one it is: a disk may be full under it, or its reader gone."""

    def __init__(self, stream: TextIO, name: str):
        self._stream, self._name = stream, name

    def write(self, text: str) -> int:
        with naming_errors(Path(self._name)):
            return self._stream.write(text)

    def flush(self) -> None:
        with naming_errors(Path(self._name)):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _open_standard_descriptors() -> None:
    """Open what is closed of descriptors 0 to 2, lest a file that we write gets the number of standard error, say, into
    which libraries write their warnings.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def _is_broken_pipe(error: OSError) -> bool:
    """Whether the error is of a stream that nobody reads any more; Windows says EINVAL."""
    return error.filename in STREAMS and (
        isinstance(error, BrokenPipeError) or (os.name == "nt" and error.errno == errno.EINVAL)
    )


def _can_flush(stream: TextIO) -> bool:
    try:
        stream.flush()
    except OSError:
        return False
    return True


def _give_up_unless_flushed(stream: TextIO) -> None:
    """Let what cannot be written to `stream` go nowhere: Python would try again at its end, and complain."""
    if not _can_flush(stream):
        with contextlib.suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
        _can_flush(stream)
