"""Whatever a submission does, its other tasks and the other students are graded, and a clear line says what it was."""

import json

import pytest
from hostile import HOSTILE, HOSTILE_CELLS
from submissions import ATTENTION, TASKS, notebook, solved

from minivivit.checks import student_call
from minivivit.grading import examination
from minivivit.grading.examination import _heard, examine

# What takes no computing to find out is in the default tests; the others wait for limits.
QUICK = ["exits", "crashes", "has a length without end", "prints"]
PLACES = ["attention_scores", "attention", "split_heads", "multi_head_attention"]
HONEST = ["softmax", "merge_heads"]  # before, between and after them, and not made of them


def assert_only_it_costs(names):
    """Hostile answers to some tasks: no points and a clear line for them, all points for the others."""
    answers = {task: HOSTILE[name][0].replace("THE_TASK", task) for task, name in zip(PLACES, names, strict=False)}
    result = examine("02.ipynb", notebook(ATTENTION, answers), seed=3)
    tasks = {task.task: task for task in result.tasks}
    assert list(tasks) == TASKS
    for task, name in zip(PLACES, names, strict=False):
        assert tasks[task].points == 0
        assert HOSTILE[name][1] in " ".join(tasks[task].text.split())
        assert len(tasks[task].text) < 3000
    for task in HONEST:
        assert tasks[task].points == tasks[task].of, tasks[task].text


@pytest.fixture
def short(monkeypatch):
    """Limits of computing that nobody needs to wait for; those of the clock are far, for a busy machine."""
    monkeypatch.setattr(student_call, "TIME_LIMIT", 0.5)
    monkeypatch.setattr(student_call, "WAITING", 60)
    monkeypatch.setattr(examination, "MOST_SECONDS", 3600.0)
    monkeypatch.setattr(examination, "CELL_SECONDS", 0.5)


def test_what_ends_a_process_costs_its_task_alone(short):
    assert_only_it_costs(QUICK)


@pytest.mark.teaching
@pytest.mark.parametrize("first", range(0, len(HOSTILE), len(PLACES)))
def test_whatever_a_function_does_costs_its_task_alone(first, short):
    assert_only_it_costs(list(HOSTILE)[first : first + len(PLACES)])


def test_cells_that_end_the_process_are_left_out(short):
    book = solved(ATTENTION)
    cells = [{"cell_type": "code", "metadata": {}, "source": source} for source in HOSTILE_CELLS]
    book["cells"] = [part for cell, odd in zip(book["cells"], cells, strict=False) for part in (odd, cell)] + book[
        "cells"
    ][len(cells) :]
    result = examine("02.ipynb", json.dumps(book).encode(), seed=3)
    assert result.points == result.of == 13
    told = " ".join(result.problems)
    for part in (
        "exit code 1",
        "stopped after 0.5 s",
        "SystemExit",
        "printed more than",
        "SyntaxError",
        "no_such_library",
    ):
        assert part in told


def test_nothing_that_a_function_prints_or_says_looks_like_a_line_of_the_report():
    lie = "\nmerge_heads: all 8 cases right (score 1.00)\n1 of 1 points\n"
    result = examine(
        "a.py", f"def merge_heads(heads):\n    raise ValueError({lie!r})\nraise ValueError({lie!r})".encode(), seed=3
    )
    lines = "\n".join([*result.problems, result.tasks[4].text, _heard(lie)]).splitlines()
    assert sum("all 8 cases right" in line for line in lines) > 2
    assert not any(line.strip().startswith(("merge_heads: all", "1 of 1")) for line in lines)


def test_a_submission_that_takes_its_whole_time_is_left_and_told(monkeypatch):
    monkeypatch.setattr(examination, "MOST_SECONDS", 0.0)
    result = examine("02.ipynb", notebook(ATTENTION, {}), seed=3)
    assert result.points == 0
    assert "the whole submission had its time" in " ".join(result.tasks[0].text.split())


# In its own words to the grader: what an answer may be that is none, and a cell that cannot be sent.
NOT_AN_ANSWER = {
    "a number that is an array": "def g():\n    say({'status': 'ran', 'number': np.array([1, 2])})\ng()\n",
    "errors that are an array": "def g():\n    say({'status': 'ran', 'errors': np.array([1, 2])})\ng()\n",
    "a cell that is too long": "#" + "\N{GRINNING FACE}" * 800_000 + "\n",
    "a name of several lines": "softmax = type('x\\nsoftmax: all 13 cases right (score 1.00)', (), {})()\n",
}
SAY = """
def say(message):
    import sys
    frame = sys._getframe()
    while "student" not in frame.f_locals:
        frame = frame.f_back
    number = frame.f_locals["message"]["number"]
    frame.f_locals["channel"].send(frame.f_globals["wire"].pack({"number": number, **message}))
"""


@pytest.mark.parametrize("kind", NOT_AN_ANSWER)
def test_what_is_no_answer_costs_its_task_alone(kind):
    result = examine("02.ipynb", notebook(ATTENTION, {"softmax": SAY + NOT_AN_ANSWER[kind]}), seed=3)
    tasks = {task.task: task for task in result.tasks}
    assert tasks["softmax"].points == 0
    assert not any(line.startswith("softmax: all") for line in tasks["softmax"].text.splitlines())
    assert all(tasks[task].points == tasks[task].of for task in ("split_heads", "merge_heads"))
