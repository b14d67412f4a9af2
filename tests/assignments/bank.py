"""Every answer of the banks at many seeds: `python tests/assignments/bank.py --seeds 20`.

Every wrong answer has to lose points at each, and every right one none. With `--only mutants` the references' own code
and the notebooks' solutions are broken, one term at a time, and have to lose points too. Exit status 1 when one does
not.

A score is full when no case is wrong, and less when one is: a wrong answer is left at its first wrong case, and what a
case should give is computed once for all answers. `--assignment 03` does a part, so that a process can do each.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from assignment_cells import Answer, answered, bank, shipped_seed  # noqa: E402
from mutants import TASKS, mutants  # noqa: E402

from minivivit.checks import student_call  # noqa: E402
from minivivit.checks.case import Case, copied  # noqa: E402
from minivivit.checks.run_check import Called, Task, expected_outputs, judge, limit_for  # noqa: E402

# Seconds of computing that a wrong answer which does not end is given here.
SHORT = 0.3


class Drawn:
    """The cases of a task at a seed, with what each should give, computed when first asked for."""

    def __init__(self, task: Task, seed: int):
        self.task, self.cases = task, task.cases(numpy.random.default_rng(seed))
        self._wanted: dict[int, tuple] = {}

    def wanted(self, number: int) -> tuple:
        """What case `number`, counted from 1, should give, and the seconds that it takes."""
        if number not in self._wanted:
            self._wanted[number] = expected_outputs(self.task, self.cases[number - 1])
        return self._wanted[number]


class Judged(NamedTuple):
    """Of an answer at a seed: the first fault in words, empty when there is none, and the largest share of a limit."""

    fault: str
    share: float


def judged(answer: Answer, drawn: Drawn) -> Judged:
    """Judge an answer up to its first fault; its cell is run anew, so that nothing is left of earlier calls."""
    try:
        function = answered(answer)
    except Exception as error:  # the cell itself raises
        return Judged(f"{type(error).__name__}: {error}", 0.0)
    largest = 0.0
    for number, case in enumerate(drawn.cases, 1):
        want, seconds = drawn.wanted(number)
        limit = SHORT if _is_endless(answer) else limit_for(seconds)
        start = time.process_time()
        called = _called(drawn.task, function, case, limit)
        largest = max(largest, (time.process_time() - start) / limit)
        verdict = judge(drawn.task, number, case, called, want, seconds)
        faults = [verdict.failed] if verdict.failed else list(verdict.wrong.values())
        if faults:
            return Judged(f"case {number}, {case.about}: {faults[0]}", largest)
    return Judged("", largest)


def _called(task: Task, function: Callable, case: Case, limit: float) -> Called:
    arguments = {name: copied(value) for name, value in case.arguments.items()}
    return Called(student_call.call_student(function, tuple(arguments.values()), limit, task.may_use), arguments)


def _is_endless(answer: Answer) -> bool:
    return answer.says == "stopped after" or "finite differences" in answer.title


def failures(answers: Iterable[Answer], seeds: Sequence[int], is_right: bool) -> list[str]:
    """The answers that were judged wrongly, with the seed; of right ones, also what came near to its time limit."""
    found = []
    for (assignment, task), group in groupby(answers, lambda answer: (answer.assignment, answer.task)):
        same = list(group)
        for seed in [shipped_seed(assignment, task), *seeds]:
            drawn = Drawn(TASKS[task], seed)
            for answer in same:
                fault, share = judged(answer, drawn)
                if is_right and not fault and share > 0.5:
                    fault = f"right, but it took {share:.0%} of its time limit"
                if bool(fault) == is_right:
                    found.append(f"{task}: {answer.title} (seed {seed}) {fault}")
    return found


def surviving_mutants(seeds: Sequence[int]) -> tuple[int, list[str]]:
    """How many mutants there are, and those that got full marks at some seed."""
    number, found = 0, []
    for mutant in mutants():
        number += 1
        found += [f"{mutant.about} (seed {seed})" for seed in seeds if mutant.score(seed) == 1]
    return number, found


def main() -> int:
    """Run, and print figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=20, help="how many, beside the shipped ones (20)")
    parser.add_argument("--first", type=int, default=1000, help="the first of them (1000)")
    parser.add_argument("--only", choices=["wrong", "right", "mutants"], help="part of it")
    parser.add_argument("--assignment", default="", metavar="01", help="answers to one assignment only; no mutants")
    parser.add_argument("--task", default="", help="answers to one task only; no mutants")
    arguments = parser.parse_args()
    seeds = range(arguments.first, arguments.first + arguments.seeds)

    def report(what: str, judge_all: Callable[[], tuple[int, list[str]]]) -> bool:
        if arguments.only not in (None, what):
            return True
        start = time.process_time()
        number, found = judge_all()
        print(f"{what}: {number}, of them judged wrongly {len(found)}; {time.process_time() - start:.0f} s", flush=True)
        print("".join(f"  {line}\n" for line in found), end="")
        return not found

    def of(folder: str, is_right: bool) -> tuple[int, list[str]]:
        chosen = [answer for answer in bank(folder) if answer.assignment.startswith(arguments.assignment)]
        chosen = [answer for answer in chosen if arguments.task in ("", answer.task)]
        return len(chosen), failures(sorted(chosen, key=lambda answer: answer[:2]), seeds, is_right)

    results = [
        report("wrong", lambda: of("wrong_answers", False)),
        report("right", lambda: of("correct_answers", True)),
    ]
    if not arguments.assignment and not arguments.task:
        results.append(report("mutants", lambda: surviving_mutants([1, *seeds[:2]])))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
