"""What the site is made of: the clone it comes from, and which of its files become pages, in one place."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from minivivit.errors import InputError
from minivivit.files.tensor_data import quoted
from minivivit.grading.student_version import student_version
from minivivit.grading.tasks import ASSIGNMENTS

ONE_PAGE = "vivit_one_page.py"
# The pages beside the notebooks, by the door of the front page that leads to them: file, what it is about.
PAGES = {
    "port": (
        ("capture.md", "how to record your port's values, in PyTorch, JAX or anything else"),
        ("fault_gallery.md", "planted bugs, and what the comparison says of each"),
        ("trace_names.md", "every intermediate value's name, here, in transformers and in scenic"),
    ),
    "look up": (
        ("paper_map.md", "the paper's equations and figures, each with its function, test and notebook"),
        ("api.md", "every public function and class"),
        ("differences.md", "where this differs from transformers and scenic, on purpose"),
        ("variants.md", "the paper's models and input encodings, trained side by side"),
        ("costs.md", "how time and memory grow with a clip, measured, and the longest that 4 GB bear"),
        ("scaling.md", "training in several processes: what they share, and how far that reaches"),
        ("teaching.md", "a plan of seven weeks, and what to grade by hand"),
        ("changelog.md", "what has changed"),
    ),
}


class Entry(NamedTuple):
    """A file that becomes a page: its place in the clone, what the reader sees of it in a list."""

    path: Path
    title: str
    about: str


def find_clone(given: str | None) -> Path:
    """The clone of the repository: `given`, or that which the package runs from, or the current directory.

    Raises
    ------
    InputError
        When it is nowhere.
    """
    places = [Path(given)] if given is not None else [Path(__file__).parents[2], Path.cwd()]
    needed = ("pyproject.toml", "minivivit/__init__.py", f"notebooks/{ONE_PAGE}", "notebooks/assignments")
    for place in places:
        if all((place / name).exists() for name in needed):
            return place.resolve()
    if given is not None:
        raise InputError(
            f"{quoted(given)} is no clone of minivivit; expected the folder with its pyproject.toml and notebooks"
        )
    raise InputError(
        "an installed minivivit holds no notebooks: run this in a clone of minivivit's repository, or say where one is "
        "with --sources DIR"
    )


def read_notebook(path: Path) -> dict[str, Any]:
    """A notebook in nbformat's JSON.

    Raises
    ------
    InputError
        When the file is none.
    """
    try:
        book = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(book["cells"], list):
            return book
    except (ValueError, KeyError, TypeError):
        pass
    raise InputError(f"{path} is no notebook; expected JSON with a list of cells")


def notebooks(clone: Path) -> list[Entry]:
    """The notebooks of the course, in order; what each is about stands in the README's table."""
    readme = clone / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    about = dict(re.findall(r"^\| \d+ \| \[[^\]]*\]\(notebooks/([^)]+)\) \| (.*?) \|$", text, flags=re.MULTILINE))
    found = sorted((clone / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    return [Entry(path, _title(read_notebook(path), path), about.get(path.name, "")) for path in found]


def helpers(clone: Path) -> list[Path]:
    """What stands beside the notebooks in the browser too: Python that they import, read or link to."""
    return sorted((clone / "notebooks").glob("*.py"))


def pages(clone: Path) -> dict[str, list[Entry]]:
    """The pages in Markdown that are there, by their door."""
    return {
        door: [
            Entry(path, first_heading(path.read_text(encoding="utf-8"), path), about)
            for path, about in ((clone / "notebooks" / name, about) for name, about in entries)
            if path.is_file()
        ]
        for door, entries in PAGES.items()
    }


def assignments(clone: Path) -> list[tuple[Entry, dict[str, Any]]]:
    """What students get of each assignment: a notebook without solutions and hidden tests."""
    found = []
    for name, assignment in ASSIGNMENTS.items():
        path = clone / "notebooks" / "assignments" / name / f"{name}.ipynb"
        book = student_version(read_notebook(path))
        points = f"{sum(assignment.points.values())} points"
        found.append((Entry(path, _title(book, path), points), book))
    return found


def without_outputs(book: dict[str, Any]) -> dict[str, Any]:
    """A notebook as it is before anyone ran it."""
    cells = [
        {**cell, "outputs": [], "execution_count": None} if cell["cell_type"] == "code" else cell
        for cell in book["cells"]
    ]
    return {**book, "cells": cells}


def _title(book: dict[str, Any], path: Path) -> str:
    texts = ("".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "markdown")
    return first_heading("\n\n".join(texts), path)


def first_heading(text: str, path: Path) -> str:
    """The first heading, without Markdown's marks and without a number that the list gives anyway."""
    found = re.search(r"^# +(.+?) *$", text, flags=re.MULTILINE)
    title = re.sub(r"[*`$]", "", found[1]) if found else path.stem
    return re.sub(r"^\d+(?:[.:])? +(?:· +|- +)?", "", title)
