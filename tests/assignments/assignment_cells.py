"""The assignments' notebooks without Jupyter: their cells, run as Python, and the answers of the banks.

A bank is a Python file of blocks. A block begins with `# %% TASK: TITLE` and is what a student wrote in place of the
solution of that task; in a bank of wrong answers `# says: TEXT` follows, a part of what the check has to say. Lines
`# change: OLD => NEW` stand for the notebook's solution with a text in it replaced.
"""

import ast
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
SOURCES = HERE.parents[1] / "notebooks" / "assignments"
NAMES = sorted(path.parent.name for path in SOURCES.glob("[0-9]*/*.ipynb"))


class Answer(NamedTuple):
    """One block of a bank."""

    assignment: str
    task: str
    title: str
    says: str
    source: str


@cache
def read_notebook(assignment: str) -> dict[str, Any]:
    """The source notebook of an assignment, as JSON."""
    return json.loads((SOURCES / assignment / f"{assignment}.ipynb").read_text(encoding="utf-8"))


def grade_id(cell: Mapping[str, Any]) -> str:
    """nbgrader's name of a cell; empty when it has none."""
    return cell["metadata"].get("nbgrader", {}).get("grade_id", "")


def points(assignment: str) -> dict[str, int]:
    """Points of every task."""
    cells = read_notebook(assignment)["cells"]
    return {
        grade_id(cell).removeprefix("test_"): cell["metadata"]["nbgrader"]["points"]
        for cell in cells
        if grade_id(cell).startswith("test_")
    }


def bank(folder: str) -> list[Answer]:
    """All answers of "wrong_answers" or "correct_answers"."""
    answers = []
    for path in sorted((HERE / folder).glob("*.py")):
        for block in re.split(r"^# %% ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            head, source = block.split("\n", 1)
            task, title = head.split(": ", 1)
            says = re.match(r"# says: (.*)\n", source)
            changes = re.findall(r"^# change: (.*) => ?(.*)$", source, flags=re.MULTILINE)
            source = changed_solution(path.stem, task, changes) if changes else source.strip("\n")
            answers.append(Answer(path.stem, task, title, says[1].strip() if says else "", source))
    return answers


def changed_solution(assignment: str, task: str, changes: list[tuple[str, str]]) -> str:
    """The notebook's solution of a task with texts in it replaced, each of which it has."""
    source = solution(assignment, task)
    for old, new in changes:
        assert old in source, (task, old)
        source = source.replace(old, new)
    return source


def solution(assignment: str, task: str) -> str:
    """The notebook's solution of a task."""
    (cell,) = (cell for cell in read_notebook(assignment)["cells"] if grade_id(cell) == task)
    return "".join(cell["source"])


def answered(answer: Answer) -> Any:
    """The function of an answer, defined after the imports and the solutions of the other tasks of its notebook."""
    space: dict[str, Any] = {"__name__": "__main__"}
    for cell in read_notebook(answer.assignment)["cells"]:
        name = grade_id(cell)
        if cell["cell_type"] == "code" and cell["id"] != "look" and not name.startswith("test_"):
            source = answer.source if name == answer.task else "".join(cell["source"])
            exec(compile(source, f"<{answer.task}: {answer.title}>", "exec"), space)
    return space[answer.task]


def shipped_seed(assignment: str, task: str) -> int:
    """The seed of a task's hidden test, as it ships."""
    (cell,) = (cell for cell in read_notebook(assignment)["cells"] if grade_id(cell) == f"test_{task}")
    return max(int(seed) for seed in re.findall(r"seed=(\d+)", "".join(cell["source"])))


def run_cells(assignment: str, answers: Mapping[str, str], only: str | None = None) -> dict[str, float]:
    """Run an assignment's cells in order, answers in place of the solutions of their tasks: the points of each task.

    A cell that raises earns nothing, as with nbgrader. With `only` the tests of other tasks are left out.
    """
    space: dict[str, Any] = {"__name__": "__main__"}
    earned = {}
    for cell in read_notebook(assignment)["cells"]:
        name = grade_id(cell)
        is_other_test = only is not None and name.startswith("test_") and name != f"test_{only}"
        if cell["cell_type"] != "code" or cell["id"] == "look" or is_other_test:
            continue
        source = answers.get(name, "".join(cell["source"]))
        value: Any = None
        try:
            value = run_cell(source, f"<{assignment} {cell['id']}>", space)
        except Exception:
            if name not in answers and not name.startswith("test_"):
                raise
        if name.startswith("test_"):
            earned[name.removeprefix("test_")] = float(value) if value is not None else 0.0
    return earned


def run_cell(source: str, filename: str, space: dict[str, Any]) -> Any:
    """Run a cell in `space`; the value of its last line, where that is an expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, filename, "exec"), space)
    return None if last is None else eval(compile(ast.Expression(last.value), filename, "eval"), space)
