"""The answer: a cause and a sentence about it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Cause:
    """A likely cause of a divergence.

    Attributes
    ----------
    name : str
        Of the mistake, such as ``"missing 1/sqrt(d)"``.
    sentence : str
        The name, what theirs equals, how closely, and where to look.
    """

    name: str
    sentence: str
