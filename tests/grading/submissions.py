"""Submissions for tests: Python files and notebooks made of answers to tasks."""

import json
import sys
from pathlib import Path
from typing import Any

from minivivit.grading.tasks import ASSIGNMENTS

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "notebooks" / "assignments"
sys.path.append(str(ROOT / "tests" / "assignments"))

ATTENTION = "02_softmax_and_attention"
TASKS = list(ASSIGNMENTS[ATTENTION].points)


def solved(assignment: str) -> dict[str, Any]:
    """The source notebook of an assignment, as JSON, which holds the solutions."""
    return json.loads((SOURCES / assignment / f"{assignment}.ipynb").read_text(encoding="utf-8"))


def notebook(assignment: str, answers: dict[str, str]) -> bytes:
    """A solved notebook with some answers in place of the solutions."""
    book = solved(assignment)
    for cell in book["cells"]:
        name = cell["metadata"].get("nbgrader", {}).get("grade_id", "")
        if name in answers:
            cell["source"] = answers[name]
    return json.dumps(book).encode()


def packed(cheats: dict[str, str]) -> list[tuple[dict[str, str], bytes]]:
    """Notebooks of assignment 2 with a cheat in place of each of some solutions: ({task: cheat}, notebook)."""
    left, found = list(cheats), []
    while left:
        names = dict(zip(TASKS, left, strict=False))
        left = left[len(names) :]
        answers = {
            task: cheats[name].replace("THE_TASK", task).replace("THE_PLACE", repr(str(ROOT)))
            for task, name in names.items()
        }
        found.append((names, notebook(ATTENTION, answers)))
    return found
