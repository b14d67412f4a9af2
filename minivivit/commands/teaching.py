"""``minivivit assignments`` and ``minivivit grade``: lay out a course, and grade what comes back."""

import argparse
import secrets
import shlex
from pathlib import Path
from typing import Any

from minivivit.commands.common.arguments import natural
from minivivit.commands.common.text_table import printable, text_table
from minivivit.errors import InputError
from minivivit.files.atomic import atomic_directory, atomic_path, write_text
from minivivit.files.tensor_data import listed

LAYING_OUT = """\
Lay out a course in DIR, a directory that is new or empty: six assignments, from tubelet embedding to training, and a
page for instructors on each.

With  --for nbgrader  they are notebooks with solutions and hidden tests; with  --for gradescope  what students get, and
autograders to upload; with  --for pytest  plain Python files with tests, a template repository for GitHub Classroom.

This runs in a clone of minivivit's repository: an installed copy, which students have too, holds no solutions.
DIR/README.md tells how to go on."""

EXAMPLES_OF_LAYING_OUT = """\
examples:
  minivivit assignments course
  cd course && nbgrader generate_assignment 01_tubelet_embedding
  minivivit assignments course --for gradescope --seed 2027"""

NEXT = {
    "nbgrader": "next (nbgrader:  pip install '.[teaching]'  in the clone):  cd {} && nbgrader generate_assignment {}",
    "gradescope": "next: hand out what is in {0}/students, and upload {0}/autograders/{1}.zip",
    "pytest": "next: make a template repository of {}/{}",
}


def add_assignments_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments to `parser`."""
    parser.description, parser.epilog = LAYING_OUT, EXAMPLES_OF_LAYING_OUT
    parser.add_argument("directory", metavar="DIR", help="where to write the course: a new or an empty directory")
    parser.add_argument(
        "--for", dest="system", choices=tuple(NEXT), default="nbgrader", help="the course system (default: nbgrader)"
    )
    parser.add_argument(
        "--seed",
        type=natural,
        metavar="N",
        help="of all hidden tests; keep it secret (default: a new one each time; --for pytest has none)",
    )
    parser.add_argument("--sources", metavar="DIR", help="a clone of minivivit's repository (default: this one)")


def run_assignments(arguments: argparse.Namespace) -> None:
    """Write the course, and say what to do with it."""
    from minivivit.grading.layouts import LAYOUTS, find_sources
    from minivivit.grading.tasks import ASSIGNMENTS

    directory = Path(arguments.directory)
    seed = secrets.randbelow(10**9) if arguments.seed is None else arguments.seed
    files = LAYOUTS[arguments.system](find_sources(arguments.sources), seed)
    with atomic_directory(directory) as course:
        for place, data in files.items():
            (course / place).parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(course / place) as temporary:
                temporary.write_bytes(data)
    print(f"{printable(directory)}: {len(ASSIGNMENTS)} assignments for {arguments.system} ({', '.join(ASSIGNMENTS)})")
    if arguments.system != "pytest":
        print(f"hidden seeds: drawn from {seed} (--seed {seed} makes the same course again)")
    elif arguments.seed is not None:
        print("--seed changes nothing here: new inputs are drawn each time; give it to  minivivit grade --seed N")
    print(NEXT[arguments.system].format(printable(shlex.quote(str(directory))), next(iter(ASSIGNMENTS))))
    print(f"{printable(directory / 'README.md')} tells how to hand out and to grade")


GRADING = """\
Grade a submission: a notebook, a Python file, or a folder or zip file of them, a whole class at once.

The students' code runs in processes of its own, which see inputs and nothing else, with limits on memory, time, prints,
files and processes, and without network where the system has namespaces (Linux). Points are given for answers, by
comparing them with what is computed here afterwards. A crash costs the task that crashed.

Of a course that 'minivivit assignments' laid out for nbgrader, give the course's directory: what is in submitted/ is
graded, and points and feedback go into its gradebook."""

EXAMPLES_OF_GRADING = """\
examples:
  minivivit grade 03_layer_norm_and_gelu.ipynb     what the tasks earned, and why not more
  minivivit grade downloads --json grades.json     all files in a folder, and the results for a program
  minivivit grade downloads --csv grades.csv       and a table for a spreadsheet: a row for each student and task
  minivivit grade course                           an nbgrader course: into its gradebook"""


def add_grade_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments to `parser`."""
    parser.description, parser.epilog = GRADING, EXAMPLES_OF_GRADING
    parser.add_argument("submission", metavar="SUBMISSION", help="a notebook, a Python file, a folder or a zip file")
    parser.add_argument("--assignment", metavar="NAME", help="which one it is; by default the content says it")
    parser.add_argument("--json", metavar="FILE", help="write the results for a program to read")
    parser.add_argument("--csv", metavar="FILE", help="write a table: student, assignment, task, points, of, file")
    parser.add_argument(
        "--seed",
        type=natural,
        metavar="N",
        help="of all inputs: the same for everybody, and the same points for the same file again "
        "(default: a new one each time, which is printed)",
    )


def run_grade(arguments: argparse.Namespace) -> None:
    """Grade, print, and write what is to be written."""
    from minivivit.files.json_file import write_json
    from minivivit.grading.batch import grade
    from minivivit.grading.results import OTHER, as_csv, as_json

    path = Path(arguments.submission)
    for place in filter(None, (arguments.json, arguments.csv)):
        _check_place(Path(place))
    if arguments.json and arguments.json == arguments.csv:
        raise InputError(f"--json and --csv both name {arguments.json}; expected two files")
    seed = secrets.randbelow(10**9) if arguments.seed is None else arguments.seed
    if (path / "nbgrader_config.py").is_file():
        from minivivit.grading.gradebook import grade_course

        results = grade_course(path, seed=seed, assignment=arguments.assignment)
    else:
        results = grade(path, seed=seed, assignment=arguments.assignment)
    if path.is_file() and len(results) == 1 and not results[0].tasks:
        raise InputError(f"{path} cannot be graded: {results[0].problems[0]}")
    if arguments.json:
        write_json(arguments.json, as_json(results, seed))
    if arguments.csv:
        write_text(Path(arguments.csv), as_csv(results))
    others = [result.file for result in results if result.problems == [OTHER]]
    answers = [result for result in results if result.problems != [OTHER]]
    for result in answers:
        _print_result(result, whole=len(answers) == 1)
    if others:
        print(f"{len(others)} {'file' if len(others) == 1 else 'files'} not graded: {listed(others, 20)}: {OTHER}")
    _print_fences(results)
    print(f"seed: {seed} (--seed {seed} draws the same inputs again)")


def _check_place(place: Path) -> None:
    """Refuse a place for the results that cannot be written, before an hour's work."""
    if place.is_dir() or not place.parent.is_dir():
        reason = "is a directory" if place.is_dir() else "lies in no directory that is there"
        raise InputError(f"{place} {reason}; expected the name of a file to write")


def _print_result(result: Any, whole: bool) -> None:
    """A table of the tasks, and, of a single submission, all that was found."""
    total = f"{result.points:g} of {result.of} points, {result.assignment}" if result.tasks else "not graded"
    by_hand = f" (and {result.by_hand} for the derivation, graded by hand)" if result.by_hand else ""
    print(f"{printable(result.file)}: {total}{by_hand}")
    for problem in result.problems:
        print(f"  note: {printable(problem)}")
    if whole:
        for task in result.tasks:
            for line in task.text.splitlines():
                print(" " * (len(line) - len(line.lstrip(" "))) + printable(line))
    if result.tasks:
        rows = [[task.task, f"{task.points:g}", str(task.of)] for task in result.tasks]
        print(text_table(["task", "points", "of"], rows) if whole else "  " + _in_a_line(result))


def _in_a_line(result: Any) -> str:
    return ", ".join(f"{task.task} {task.points:g}/{task.of}" for task in result.tasks)


def _print_fences(results: Any) -> None:
    """Say where the system lacks what walls students' code off."""
    words = {
        "network": "the network",
        "files": "the files that this user can read",
        "processes": "other processes of this user",
        "limits": "more memory, files or processes than it should have",
    }
    lacking = {name for result in results for name, done in result.fences.items() if name in words and not done}
    if lacking:
        print("not fenced off by this system:", "; ".join(words[name] for name in sorted(lacking)))
        print("(Python's own hooks alone keep students' code from them, and code that takes Python apart gets around")
        print("those: grade in a container, as the course's README tells)")
