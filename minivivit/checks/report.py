"""What a check found: a number that can say why."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minivivit.checks.case import Case, copied
from minivivit.checks.hints import place_to_look
from minivivit.errors import InputError


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with an answer.

    Attributes
    ----------
    case : int
        Which case, counted from 1; 0 when the fault is not one of a case.
    where : str
        The case in words, such as "x of shape (2, 3, 7)".
    what : str
        What is wrong, with numbers.
    cause : str
        The likely cause; empty when none is known.
    """

    case: int
    where: str
    what: str
    cause: str = ""

    def __str__(self) -> str:
        return self.told(2)

    def told(self, hints: int) -> str:
        """What is wrong; with `hints` 1 also where to look, with 2 the likely cause instead."""
        place = f"case {self.case}, {self.where}: " if self.case else ""
        hint = {1: f" Look at: {place_to_look(self.cause)}.", 2: f" Likely cause: {self.cause}."}.get(hints, "")
        return f"{place}{self.what}." + (hint if self.cause else "")


class Report(float):
    """The score of a check, a float in [0, 1], with what was found.

    It is true only when the score is full, so that ``assert checks.softmax(softmax)`` means what it says.

    Attributes
    ----------
    name : str
        The check.
    faults : tuple of Fault
        What is wrong; empty for a full score.
    text : str
        What was printed.
    error : exception or None
        The first that the student's function raised, with its traceback: ``raise report.error``, and then ``%debug``.
    """

    name: str
    faults: tuple[Fault, ...]
    text: str
    error: BaseException | None
    _cases: Sequence[Case]
    _answers: dict[int, Any]

    def __new__(
        cls,
        score: float,
        name: str,
        faults: tuple[Fault, ...],
        text: str,
        *,
        cases: Sequence[Case] = (),
        answers: dict[int, Any] | None = None,
        error: BaseException | None = None,
    ) -> "Report":
        """A float with the others beside it; `answers` are what was returned, by the number of the case."""
        report = super().__new__(cls, score)
        report.name, report.faults, report.text = name, faults, text
        report._cases, report._answers, report.error = tuple(cases), dict(answers or {}), error
        return report

    def __bool__(self) -> bool:
        return self.score == 1.0

    @property
    def score(self) -> float:
        """The score as a plain float in [0, 1]."""
        return float(self)

    def inputs(self, case: int) -> dict[str, Any]:
        """The inputs of a case, counted from 1, by name: ``softmax(**report.inputs(3))`` calls it again.

        Raises
        ------
        InputError
            When there is no such case.
        """
        return {name: copied(value) for name, value in self._case(case).arguments.items()}

    def answer(self, case: int) -> Any:
        """What the student's function returned for a case, counted from 1.

        Raises
        ------
        InputError
            When there is no such case, or nothing came back from it.
        """
        self._case(case)
        if case not in self._answers:
            raise InputError(f"case {case} of {self.name} has no answer: the function was stopped, refused or raised")
        return self._answers[case]

    def _case(self, case: int) -> Case:
        if isinstance(case, bool) or not isinstance(case, int) or not 1 <= case <= len(self._cases):
            raise InputError(f"case is {str(case)[:40]}; expected a whole number from 1 to {len(self._cases)}")
        return self._cases[case - 1]

    def points(self, full: float) -> float:
        """The score as points of `full`, rounded to a hundredth: what an nbgrader cell ends with, for partial credit.

        Rounding never makes points of `full` out of a score that is not: what rounds up to `full` loses a hundredth.
        """
        points = round(self.score * full, 2)
        return points if self or points < full else full - 0.01
