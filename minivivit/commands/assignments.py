"""``minivivit assignments``: lay out a course for nbgrader."""

import argparse
import shlex
from pathlib import Path

from minivivit.commands.text_table import printable
from minivivit.errors import InputError
from minivivit.files.atomic import atomic_directory, atomic_path

DESCRIPTION = """\
Lay out a course for nbgrader in DIR, a directory that is new or empty: six assignments with solutions and hidden
tests, from tubelet embedding to training, a page for instructors on each, and nbgrader's settings.

Laying it out needs nothing else; making the students' version and grading needs
pip install 'minivivit[teaching]'. DIR/README.md tells how."""

EXAMPLES = """\
examples:
  minivivit assignments course
  cd course && nbgrader generate_assignment 01_tubelet_embedding"""

INSTRUCTORS_PAGE = "INSTRUCTOR.md"


def add_assignments_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments to `parser`."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument("directory", metavar="DIR", help="where to write the course: a new or an empty directory")


def run_assignments(arguments: argparse.Namespace) -> None:
    """Write the course, and say what to do with it."""
    directory = Path(arguments.directory)
    places = course_files(_sources())
    with atomic_directory(directory) as course:
        for target, source in places.items():
            (course / target).parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(course / target) as temporary:
                temporary.write_bytes(source.read_bytes())
    names = sorted({target.parts[1] for target in places if target.parts[0] == "source" and len(target.parts) == 3})
    print(f"{printable(directory)}: {len(names)} assignments for nbgrader ({', '.join(names)})")
    print("next (with  pip install 'minivivit[teaching]'):")
    print(f"  cd {printable(shlex.quote(str(directory)))} && nbgrader generate_assignment {names[0]}")
    print(f"then hand out release/{names[0]}; {printable(directory / 'README.md')} tells how to grade what comes back")


def course_files(sources: Path) -> dict[Path, Path]:
    """The files of a course: where each goes within it, and where it lies.

    The instructors' pages go beside `source/`, since nbgrader hands out what else is in an assignment's folder.
    """
    course = sources / "course"
    places = {Path(name): course / name for name in ("README.md", "nbgrader_config.py")}
    places[Path("source") / "header.ipynb"] = course / "header.ipynb"
    for notebook in sorted(sources.glob("[0-9]*/*.ipynb")):
        places[Path("source") / notebook.parent.name / notebook.name] = notebook
        places[Path("instructors") / f"{notebook.stem}.md"] = notebook.with_name(INSTRUCTORS_PAGE)
    return places


def _sources() -> Path:
    """Where the assignments lie: in an installed package beside its modules, in the repository in notebooks/."""
    package = Path(__file__).parents[1]
    for place in (package / "assignments", package.parent / "notebooks" / "assignments"):
        if (place / "course").is_dir():
            return place
    raise InputError("this copy of minivivit holds no assignments: install it again, from a wheel or the repository")
