"""A known mistake of one step."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class MistakenStep:
    """What a step would compute, and in words.

    Attributes
    ----------
    cause : str
        The mistake's name.
    mistake : str
        Completes "theirs equals ours ...".
    advice : str
        Where to look, or what to change.
    compute : callable
        From the step's inputs, arrays, to its output: an array, or a tuple of them.
    whole : bool
        Whether it mixes tokens that the step itself keeps apart, so that no part of them can be computed alone.
    """

    cause: str
    mistake: str
    advice: str
    compute: Callable[..., Any]
    whole: bool = False
