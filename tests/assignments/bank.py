"""Every answer of the banks at many seeds: `python tests/assignments/bank.py --seeds 20`.

Every wrong answer has to lose points at each, and every right one none. With `--mutants` the references' own code and
the notebooks' solutions are broken, one term at a time, and have to lose points too. Exit status 1 when one does not.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from assignment_cells import Answer, answered, bank, shipped_seed  # noqa: E402
from mutants import TASKS, mutants  # noqa: E402

from minivivit.checks import student_call  # noqa: E402
from minivivit.checks.run_check import run_check  # noqa: E402

# Seconds that a wrong answer which does not end is given here.
SHORT = 0.3


def score_of(answer: Answer, seed: int) -> tuple[float, str]:
    """The score of an answer, and what was said; its cell is run anew, so that nothing is left of earlier calls."""
    try:  # without the known mistakes, that only name causes
        report = run_check(replace(TASKS[answer.task], mistakes=()), answered(answer), seed=seed, quiet=True)
    except Exception as error:  # the cell itself raises
        return 0.0, f"{type(error).__name__}: {error}"
    return float(report), report.text


def failures(answers: Sequence[Answer], seeds: Sequence[int], is_right: bool) -> list[str]:
    """The answers that were judged wrongly, with the seed."""
    limits = student_call.TIME_LIMIT, student_call.TIMES_REFERENCE
    found = []
    for answer in answers:
        if answer.says == "stopped after" or "finite differences" in answer.title:
            student_call.TIME_LIMIT, student_call.TIMES_REFERENCE = SHORT, 10
        for seed in [shipped_seed(answer.assignment, answer.task), *seeds]:
            score, text = score_of(answer, seed)
            if (score == 1) != is_right:
                found.append(f"{answer.task}: {answer.title} (seed {seed}, score {score:.3f})\n{text}")
        student_call.TIME_LIMIT, student_call.TIMES_REFERENCE = limits
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
    parser.add_argument("--task", default="", help="answers to one task only")
    arguments = parser.parse_args()
    seeds = range(arguments.first, arguments.first + arguments.seeds)

    def report(what: str, judge: Callable[[], tuple[int, list[str]]]) -> bool:
        if arguments.only not in (None, what):
            return True
        start = time.process_time()
        number, found = judge()
        print(f"{what}: {number}, of them judged wrongly {len(found)}; {time.process_time() - start:.0f} s", flush=True)
        print("".join(f"  {line}\n" for line in found), end="")
        return not found

    def of(folder: str, is_right: bool) -> tuple[int, list[str]]:
        answers = [answer for answer in bank(folder) if arguments.task in ("", answer.task)]
        return len(answers), failures(answers, seeds, is_right)

    results = [
        report("wrong", lambda: of("wrong_answers", False)),
        report("right", lambda: of("correct_answers", True)),
        report("mutants", lambda: surviving_mutants([1, *seeds[:2]])),
    ]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
