"""The banks of answers through the grader: wrong ones lose points in their task, right ones in any style get all.

One student hands in one answer to each task; what does not end is handed in alone, since what is built on it waits too.
"""

import itertools

import pytest
from submissions import SOURCES, notebook  # noqa: F401 (it shows where the banks' reader lies)

from minivivit.checks import student_call
from minivivit.grading.examination import examine
from minivivit.grading.tasks import ASSIGNMENTS

from assignment_cells import NAMES, bank  # isort: skip


def students(folder, assignment):
    """One {task: source} for each student."""
    found: dict[str, dict[str, str]] = {}
    numbers: dict[str, itertools.count] = {}
    for answer in bank(folder):
        if answer.assignment == assignment:
            number = next(numbers.setdefault(answer.task, itertools.count()))
            key = f"alone {answer.task}" if answer.says == "stopped after" else str(number)
            found.setdefault(key, {})[answer.task] = answer.source
    return found.values()


@pytest.mark.teaching
@pytest.mark.parametrize("assignment", NAMES)
@pytest.mark.parametrize("folder", ["wrong_answers", "correct_answers"])
def test_answers_of_the_banks_earn_what_they_deserve(folder, assignment, monkeypatch):
    if folder == "wrong_answers":  # what does not end is not waited for
        monkeypatch.setattr(student_call, "TIME_LIMIT", 1.0)
    for seed, answers in enumerate(students(folder, assignment)):
        result = examine("x.ipynb", notebook(assignment, answers), seed=seed)
        for task in result.tasks:
            if folder == "correct_answers":
                assert task.points == task.of, (seed, task.text, result.problems)
            elif task.task in answers:
                assert task.points < task.of, (task.task, answers[task.task])


def test_every_right_answer_can_be_handed_in_as_a_python_file():
    assignment = "03_layer_norm_and_gelu"
    answers: dict[str, str] = {}
    for answer in bank("correct_answers"):
        if answer.assignment == assignment:
            answers.setdefault(answer.task, answer.source)
    result = examine("answers.py", "\n\n".join(answers.values()).encode(), seed=4)
    assert result.assignment == assignment
    assert result.points == sum(ASSIGNMENTS[assignment].points.values()), [task.text for task in result.tasks]
