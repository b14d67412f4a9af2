"""Every wrong answer of the bank gets less than full marks in its task, and is told why; every right one gets full."""

import itertools

import pytest
from assignment_cells import NAMES, bank, points, run_cells
from bank import failures, surviving_mutants
from mutants import mutants

from minivivit.checks import student_call

WRONG, RIGHT = bank("wrong_answers"), bank("correct_answers")
# What may raise anywhere while a function is stopped, in a destructor too, is nobody's error.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def name_of(answer) -> str:
    return f"{answer.assignment[:2]}-{answer.task}-{answer.title}"


def some_of(answers, step: int) -> list:
    """All answers, of which one in `step` to each task is tried always, the others with `pytest -m teaching`."""
    numbers = {}
    found = []
    for answer in answers:
        number = numbers[answer.task] = numbers.get(answer.task, -1) + 1
        found.append(pytest.param(answer, marks=[pytest.mark.teaching] if number % step else [], id=name_of(answer)))
    return found


def test_the_banks_are_large_enough():
    assert len(WRONG) >= 250
    assert len(RIGHT) >= 200
    assert len({answer.source for answer in WRONG}) == len(WRONG)
    assert len({answer.source for answer in RIGHT}) == len(RIGHT)
    for name in NAMES:
        assert sum(answer.assignment == name for answer in WRONG) >= 10
        assert {answer.task for answer in WRONG if answer.assignment == name} == set(points(name))
        assert {answer.task for answer in RIGHT if answer.assignment == name} == set(points(name))


@pytest.mark.parametrize("name", NAMES)
def test_the_solutions_earn_all_points(name):
    assert run_cells(name, {}) == points(name)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_handed_out_earns_nothing(name, capsys):
    answers = {task: f"def {task}(*arguments):\n    raise NotImplementedError()" for task in points(name)}
    assert run_cells(name, answers) == dict.fromkeys(points(name), 0.0)
    assert capsys.readouterr().out.count("is not written yet") == 2 * len(answers)


@pytest.mark.parametrize("answer", some_of(WRONG, 16))
def test_a_wrong_answer_loses_points_in_its_task_and_is_told_why(answer, capsys, monkeypatch):
    if answer.says == "stopped after" or "finite differences" in answer.title:  # no need to wait for the full time
        monkeypatch.setattr(student_call, "TIME_LIMIT", 0.3)
        monkeypatch.setattr(student_call, "TIMES_REFERENCE", 10)
    earned = run_cells(answer.assignment, {answer.task: answer.source}, only=answer.task)
    assert earned[answer.task] < points(answer.assignment)[answer.task]
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith(f"{answer.task}: ")
    assert answer.says
    assert answer.says in said


@pytest.mark.parametrize("answer", some_of(RIGHT, 16))
def test_a_right_answer_in_another_style_earns_all_points(answer, capsys):
    earned = run_cells(answer.assignment, {answer.task: answer.source}, only=answer.task)
    assert earned == {answer.task: points(answer.assignment)[answer.task]}, capsys.readouterr().out


def test_the_references_broken_in_one_term_are_caught():
    """One mutant in eighty; `python tests/assignments/bank.py --only mutants` has them all."""
    some = list(itertools.islice(mutants(), 0, None, 80))
    assert len(some) > 10
    assert [mutant.about for mutant in some if mutant.score(1) == 1] == []


@pytest.mark.teaching
@pytest.mark.parametrize("task", sorted({answer.task for answer in WRONG}))
def test_every_answer_is_judged_rightly_at_other_seeds(task):
    """At two; `python tests/assignments/bank.py --seeds 20` tries twenty, in some minutes."""
    seeds = range(1000, 1002)
    assert failures([answer for answer in WRONG if answer.task == task], seeds, is_right=False) == []
    assert failures([answer for answer in RIGHT if answer.task == task], seeds, is_right=True) == []


@pytest.mark.teaching
def test_all_of_the_references_broken_in_one_term_are_caught():
    number, survivors = surviving_mutants([1])
    assert number > 900
    assert survivors == []
