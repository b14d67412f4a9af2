"""What a check found: a number that can say why."""

from dataclasses import dataclass


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
        place = f"case {self.case}, {self.where}: " if self.case else ""
        return f"{place}{self.what}." + (f" Likely cause: {self.cause}." if self.cause else "")


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
    """

    name: str
    faults: tuple[Fault, ...]
    text: str

    def __new__(cls, score: float, name: str, faults: tuple[Fault, ...], text: str) -> "Report":
        """A float with the other three beside it."""
        report = super().__new__(cls, score)
        report.name, report.faults, report.text = name, faults, text
        return report

    def __bool__(self) -> bool:
        return self.score == 1.0

    @property
    def score(self) -> float:
        """The score as a plain float in [0, 1]."""
        return float(self)

    def points(self, full: float) -> float:
        """The score as points of `full`, rounded to a hundredth: what an nbgrader cell ends with, for partial credit.

        Rounding never makes points of `full` out of a score that is not: what rounds up to `full` loses a hundredth.
        """
        points = round(self.score * full, 2)
        return points if self or points < full else full - 0.01
