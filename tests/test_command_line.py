"""How the command begins and ends: streams that are closed, full or narrow, Ctrl-C while Python imports, names that a
terminal would obey, numbers in other digits."""

import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
from in_part import one_in

from minivivit import cli, command_line
from minivivit.cli import main
from minivivit.commands.common.text_table import LONGEST_CELL, printable, text_table

ROOT = Path(__file__).parents[1]
POSIX = pytest.mark.skipif(os.name != "posix", reason="is about POSIX's shell and signals")
DEV_FULL = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")


def run_shell(command: str, **variables: str) -> subprocess.CompletedProcess:
    """A line of the shell in which $M is the command."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "M": f"{sys.executable} -m minivivit", "PYTHONUNBUFFERED": ""}
    environment |= variables
    return subprocess.run(
        ["sh", "-c", command], capture_output=True, encoding="utf-8", errors="replace", timeout=120, env=environment
    )


# --------------------------------------------------------------------------------------------------------------------
# Standard output and standard error
# --------------------------------------------------------------------------------------------------------------------


@POSIX
@pytest.mark.parametrize("arguments", one_in(3, ["info", "--help", "classify"]))
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(arguments, closed):
    result = run_shell(f"$M {arguments} {closed}")
    assert (result.returncode, result.stderr) == (0, "")
    assert (result.stdout == "") == (">&-" in closed.split())


@POSIX
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_an_error_with_closed_streams_has_its_exit_code(closed):
    result = run_shell(f"$M info --model nowhere {closed}")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == ("2>&-" not in closed)
    assert run_shell(f"$M info --nope {closed}").returncode == 2


@POSIX
def test_no_file_gets_the_number_of_a_closed_stream(tmp_path):
    """Libraries write their warnings to descriptor 2, whatever is open there."""
    code = "from minivivit.command_line import _usable_streams as usable\n"
    code += "with usable(): print(open('f', 'w', encoding='utf-8').fileno() > 2)"
    result = run_shell(f'cd {tmp_path}; {sys.executable} -c "{code}" 2>&-')
    assert result.stdout == "True\n"


@POSIX
@DEV_FULL
@pytest.mark.parametrize("arguments", one_in(4, ["info --json", "--help", "train --help", "classify"]))
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_standard_output(arguments, unbuffered):
    result = run_shell(f"$M {arguments} >/dev/full", PYTHONUNBUFFERED=unbuffered)
    assert result.returncode == 2
    assert result.stderr == (
        "minivivit: error: standard output cannot be written (No space left on device); make room on its disk, or "
        "choose a place on another one\n"
    )


@POSIX
@DEV_FULL
def test_a_full_standard_error():
    result = run_shell("$M info --model nowhere 2>/dev/full")
    assert (result.returncode, result.stdout) == (2, "")
    assert run_shell("$M info --nope 2>/dev/full").returncode == 2


@POSIX
@pytest.mark.parametrize("arguments", ["info", "train --help"])
def test_a_reader_who_leaves(arguments):
    result = run_shell(f"{{ $M {arguments}; echo $? >&2; }} | true")
    assert result.stderr in ("141\n", "0\n")  # 0: it had written all before the reader left
    result = run_shell(f"$M {arguments} 2>&1 | head -1")
    assert result.stdout.count("\n") == 1
    assert result.stderr == ""


@POSIX
@pytest.mark.thorough
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_a_page_into_a_device_or_into_standard_output(tmp_path):
    trace = "$M trace clip.npy ours >/dev/null"
    numpy.save(tmp_path / "clip.npy", numpy.zeros((8, 64, 64, 3), numpy.uint8))
    result = run_shell(f"""cd {tmp_path} && {trace} && for PAGE in /dev/null /dev/stdout; do
        $M compare ours ours --html $PAGE >$(basename $PAGE) || exit 1; done
        $M compare ours ours --html /dev/stdout | cat >piped
        $M compare ours ours --html /dev/full""")
    assert result.returncode == 2
    assert "/dev/full cannot be written (No space left on device)" in result.stderr
    told = (tmp_path / "null").read_bytes()
    both = (tmp_path / "stdout").read_bytes()
    assert told
    assert both.startswith(told + b"<!DOCTYPE html>")
    assert (tmp_path / "piped").read_bytes() == both


def test_without_streams_at_all(monkeypatch):
    """As under Windows's pythonw."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["info"]) == 0
    assert main(["info", "--model", "nowhere"]) == 2
    assert main(["classify"]) == 0
    assert (sys.stdout, sys.stderr) == (None, None)


def test_streams_are_left_as_they_were(monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    monkeypatch.setattr(sys, "stdout", out)
    assert main(["info"]) == 0
    assert sys.stdout is out
    assert out.errors == "strict"
    assert out.buffer.getvalue().startswith(b"/")


@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "ascii", "utf-8", "latin-1"])
@pytest.mark.parametrize(
    "arguments", [[], ["--help"], ["info"], ["info", "--model", "né→\u202eб"], ["classify", "é→б"]]
)
def test_any_console_takes_what_we_print(monkeypatch, encoding, arguments):
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict") for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    try:
        code = main(arguments)
    except SystemExit as leaving:
        code = leaving.code
    assert code in (0, 2)
    out.flush()
    err.flush()
    assert (out if code == 0 else err).buffer.getvalue().decode(encoding)
    assert err.buffer.getvalue().count(b"\n") == (code == 2)


@POSIX
@pytest.mark.parametrize("variables", [{"PYTHONIOENCODING": "cp1252"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_a_process_on_such_a_console(tmp_path, variables):
    (tmp_path / "clip é→б").mkdir()
    result = run_shell(f"$M classify '{tmp_path}/clip é→б'", PYTHONCOERCECLOCALE="0", **variables)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr


# --------------------------------------------------------------------------------------------------------------------
# Ctrl-C
# --------------------------------------------------------------------------------------------------------------------

PRESS = "import os, signal; os.kill(os.getpid(), signal.SIGINT)\n"
IMPORTS = {
    "goes on": PRESS + "from stand_in import *\n",
    "fails": PRESS + "raise ImportError('NumPy is not installed well')\n",
    "swallows": f"try:\n    {PRESS}except BaseException:\n    pass\n",
    "runs a text": f"exec({PRESS * 2!r})\n",
    "is pressed twice": PRESS * 2,
}


@POSIX
@pytest.mark.parametrize("name", IMPORTS)
def test_ctrl_c_while_python_imports(tmp_path, name):
    """A stand-in for NumPy, which is interrupted while it is imported."""
    (tmp_path / "numpy.py").write_text(IMPORTS[name], encoding="utf-8")
    path = os.pathsep.join((str(tmp_path), str(ROOT)))
    command = [sys.executable, "-m", "minivivit", "classify"]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": path}, cwd=tmp_path
    )
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "minivivit: interrupted\n")


def test_the_package_imports_nothing_heavy_before_main():
    code = "import sys; before = set(sys.modules); import minivivit.cli; print(*sorted(set(sys.modules) - before))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.split() == ["minivivit", "minivivit.cli"]


@pytest.mark.parametrize("swallowed_as", [KeyboardInterrupt, ImportError, SystemError])
def test_ctrl_c_in_a_command(capsys, monkeypatch, swallowed_as):
    def interrupted(arguments):
        try:
            signal.raise_signal(signal.SIGINT)
        except cli.Interrupted:
            raise swallowed_as from None

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr("minivivit.commands.info.run_info", interrupted)
    assert main(["info"]) == 130
    assert capsys.readouterr() == ("", "minivivit: interrupted\n")
    assert signal.getsignal(signal.SIGINT) is before


# --------------------------------------------------------------------------------------------------------------------
# What is said
# --------------------------------------------------------------------------------------------------------------------


def error_of(capsys, *arguments: str) -> str:
    capsys.readouterr()
    try:
        code = main(list(arguments))
    except SystemExit as leaving:
        code = leaving.code
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1)
    return err


@pytest.mark.parametrize("name", command_line.COMMANDS)
def test_unknown_options_name_the_help_of_their_command(capsys, name):
    needed = {"train": ["motion", "--output", "x"], "variants": ["--output", "x"], "assignments": ["x"], "site": ["x"]}
    needed |= {"explore": ["--output", "x"], "ablate": ["--output", "x"], "conformance": ["x"], "grade": ["x"]}
    needed |= {name: ["x", "y"] for name in ("trace", "compare", "convert")}
    message = error_of(capsys, name, *needed.get(name, []), "--nope")
    usage = rf"(; expected  minivivit {name} [A-Z\[][^;]* \[options\])?"
    assert re.search(rf"unrecognized arguments: --nope{usage}; see  minivivit {name} --help\n$", message)
    assert error_of(capsys, "--nope").endswith("see  minivivit --help\n")


@pytest.mark.parametrize(
    "options", [["--perturb"], ["--gradients", "--label", "3"], ["--budget", "float16"], ["--only", "*"]]
)
def test_arguments_stand_before_options_that_would_take_them(capsys, options):
    """As the usage says, and the error of who writes them the other way round."""
    usage = "minivivit trace INPUT DIR [options]"
    assert f"; expected  {usage}; see  minivivit trace --help\n" in error_of(
        capsys, "trace", *options, "clip.npy", "ours"
    )
    with pytest.raises(SystemExit):
        main(["trace", "--help"])
    assert capsys.readouterr().out.startswith(f"usage: {usage}\n")
    assert error_of(capsys, "trace", "clip.npy", "ours", *options).startswith("minivivit: error: clip.npy ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["classify", "x" * 2_000_000],
        ["classify", "--top-k", "9" * 2_000_000],
        ["classify", "--views", "9" * 2_000_000],
        ["classify", *(["xxxxxxxxx"] * 200_000)],
        ["x" * 2_000_000],
        ["compare", "a", "b", "--rtol", "x" * 2_000_000],
        ["info", "--preset", "x" * 2_000_000],
        ["info", "--model", "x/" * 1_000_000],
    ],
)
def test_an_error_is_a_line_of_bounded_length(capsys, arguments):
    assert len(error_of(capsys, *arguments)) < 2500


@pytest.mark.parametrize("number", ["٣", "３", "१", "1_0", " 3", "3 ", "³", "", "0x3", "+", "1e400000x"])
@pytest.mark.parametrize(
    "command",
    [
        ["classify", "--top-k"],
        ["classify", "--frames"],
        ["classify", "--stride"],
        ["evaluate", "--seed"],
        ["evaluate", "--clips"],
        ["gradcheck", "--label"],
        ["gradcheck", "--entries"],
        ["trace", "x", "y", "--label"],
        ["variants", "--output", "x", "--seed"],
        ["variants", "--output", "x", "--steps"],
        ["ablate", "--output", "x", "--seeds"],
        ["train", "motion", "--output", "x", "--steps"],
        ["train", "motion", "--output", "x", "--learning-rate"],
        ["compare", "x", "y", "--rtol"],
    ],
)
def test_numbers_in_the_digits_0_to_9_alone(capsys, tmp_path, monkeypatch, command, number):
    monkeypatch.chdir(tmp_path)
    assert "is not a" in error_of(capsys, *command, number)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("text", "value"), [("1", 1.0), (".5", 0.5), ("1.", 1.0), ("-2.5e-3", -0.0025), ("1E5", 1e5)])
def test_decimals(text, value):
    assert command_line.importlib.import_module("minivivit.commands.common.arguments").decimal(text) == value


def test_names_cannot_command_the_terminal(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "a\x1b[2J\x07\u202eb"
    assert main(["assignments", name]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert r"a\x1b[2J\x07\u202eb: 6 assignments" in out
    for arguments in (["assignments", name], ["info", "--model", name], ["classify", name], ["classify", f"--{name}"]):
        error = error_of(capsys, *arguments)
        assert r"a\x1b[2J\x07\u202eb" in error or r"a\x1b[2J\x07\\u202eb" in error
        out += error
    assert not {letter for letter in out if not letter.isprintable() and letter != "\n"}


def test_a_table_s_cells_are_bounded():
    lines = text_table(("name", "x"), [("n" * 2_000_000, "1"), ("b", "2")]).splitlines()
    assert max(map(len, lines)) <= LONGEST_CELL + 3
    assert "n..." in lines[1]


def test_what_is_not_printable_is_spelled_out():
    assert printable("a\udcff\u202e\x85b\x9b") == "a\\udcff\\u202e b\\x9b"
