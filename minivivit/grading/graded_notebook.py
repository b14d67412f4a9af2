"""A student's notebook as nbgrader expects it after grading: every test cell there once, with what the check said."""

import json
from collections.abc import Mapping
from typing import Any

from minivivit.errors import InputError
from minivivit.files.json_file import dumps_json, parse_json_object
from minivivit.grading.results import SubmissionResult
from minivivit.grading.student_version import student_version

LONGEST_CELL = 1 << 20  # letters


def graded_notebook(source: str, data: bytes, result: SubmissionResult) -> str:
    """The notebook that feedback is made of, as text.

    Parameters
    ----------
    source : str
        The assignment's own notebook: its cells and their settings are put back where a student changed them.
    data : bytes
        What was handed in; where it is no notebook, what was given out takes its place.
    result : SubmissionResult
    """
    given = student_version(json.loads(source))
    own = {_grade_id(cell): cell for cell in given["cells"] if _grade_id(cell)}
    try:
        cells = parse_json_object(data.removeprefix(b"\xef\xbb\xbf"), "it").get("cells") if data else given["cells"]
    except InputError:
        cells = given["cells"]
    kept: list[dict[str, Any]] = []
    seen: set[str] = set()
    for cell in reversed(cells if isinstance(cells, list) else []):
        if isinstance(cell, Mapping):
            name = _grade_id(cell)
            known = own[name] if name in own and name not in seen else None
            seen.add(name)
            kept.append(_clean(cell, known))
    missing = [_clean(cell, cell) for name, cell in own.items() if name not in seen]
    given["cells"] = [*reversed(kept), *missing]
    tasks = {f"test_{task.task}": task for task in result.tasks}
    for number, cell in enumerate(given["cells"]):
        cell["id"] = f"cell-{number}"
        task = tasks.get(_grade_id(cell))
        if task is not None:
            text = f"{task.text}{task.points:g} of {task.of} points\n"
            cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": text}]
    return dumps_json(given)


def _grade_id(cell: Mapping[str, Any]) -> str:
    metadata = cell.get("metadata")
    settings = metadata.get("nbgrader") if isinstance(metadata, Mapping) else None
    name = settings.get("grade_id") if isinstance(settings, Mapping) else None
    return name if isinstance(name, str) else ""


def _clean(cell: Mapping[str, Any], known: Mapping[str, Any] | None) -> dict[str, Any]:
    """A cell without outputs; of one that the assignment knows, its settings, and its text unless it is an answer."""
    metadata = dict(known["metadata"]) if known is not None else {}
    is_answer = known is None or metadata["nbgrader"]["solution"]
    text = _text(cell if is_answer else known or cell)
    kind = known["cell_type"] if known is not None else cell.get("cell_type")
    if kind != "code":
        return {"cell_type": "markdown", "metadata": metadata, "source": text}
    return {"cell_type": "code", "metadata": metadata, "source": text, "outputs": [], "execution_count": None}


def _text(cell: Mapping[str, Any]) -> str:
    source = cell.get("source", "")
    parts = source if isinstance(source, list) else [source]
    return "".join(part for part in parts if isinstance(part, str))[:LONGEST_CELL]
