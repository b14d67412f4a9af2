"""``minivivit grade``: grade what students handed in, running their code apart."""

import argparse
import secrets
from pathlib import Path
from typing import Any

from minivivit.commands.arguments import natural
from minivivit.commands.text_table import printable, text_table

DESCRIPTION = """\
Grade a submission: a notebook, a Python file, or a folder or zip file of them, a whole class at once.

The students' code runs in processes of its own, which see inputs and nothing else, with limits on memory, time, prints,
files and processes, and without network where the system has namespaces (Linux). Points are given for answers, by
comparing them with what is computed here afterwards. A crash costs the task that crashed.

Of a course that 'minivivit assignments' laid out for nbgrader, give the course's directory: what is in submitted/ is
graded, and points and feedback go into its gradebook."""

EXAMPLES = """\
examples:
  minivivit grade 03_layer_norm_and_gelu.ipynb     what the tasks earned, and why not more
  minivivit grade downloads --json grades.json     all files in a folder, and the results for a program
  minivivit grade course                           an nbgrader course: into its gradebook"""


def add_grade_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments to `parser`."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument("submission", metavar="SUBMISSION", help="a notebook, a Python file, a folder or a zip file")
    parser.add_argument("--assignment", metavar="NAME", help="which one it is; by default the content says it")
    parser.add_argument("--json", metavar="FILE", help="write the results for a program to read")
    parser.add_argument(
        "--seed", type=natural, metavar="N", help="of all inputs; the same for everybody (default: a new one each time)"
    )


def run_grade(arguments: argparse.Namespace) -> None:
    """Grade, print, and write what is to be written."""
    from minivivit.files.json_file import write_json
    from minivivit.grading.batch import grade
    from minivivit.grading.results import as_json

    path = Path(arguments.submission)
    seed = secrets.randbelow(2**31) if arguments.seed is None else arguments.seed
    if (path / "nbgrader_config.py").is_file():
        from minivivit.grading.gradebook import grade_course

        results = grade_course(path, seed=seed, assignment=arguments.assignment)
    else:
        results = grade(path, seed=seed, assignment=arguments.assignment)
    if arguments.json:
        write_json(arguments.json, as_json(results, seed))
    for result in results:
        _print_result(result, whole=len(results) == 1)
    _print_fences(results)
    print(f"seed: {seed} (--seed {seed} draws the same inputs again)")


def _print_result(result: Any, whole: bool) -> None:
    """A table of the tasks, and, of a single submission, all that was found."""
    total = f"{result.points:g} of {result.of} points, {result.assignment}" if result.tasks else "not graded"
    print(f"{printable(result.file)}: {total}")
    for problem in result.problems:
        print(f"  note: {printable(problem)}")
    if whole:
        for task in result.tasks:
            print("".join(f"{printable(line)}\n" for line in task.text.splitlines()), end="")
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
        print(
            "this system did not wall the students' code off from", ", ".join(words[name] for name in sorted(lacking))
        )
        print("(only Python's own hooks did): grade in a container, as the course's README tells")
