"""A part of a test's cases always, the others with `pytest -m thorough`: where cases take long and are much alike."""

from collections.abc import Iterable

import pytest


def one_in(step: int, cases: Iterable) -> list:
    """All cases; of each `step` of them the first is tried always."""
    return [
        case if number % step == 0 else pytest.param(*_values(case), marks=pytest.mark.thorough)
        for number, case in enumerate(cases)
    ]


def only(chosen: Iterable, cases: Iterable) -> list:
    """All cases; those that are `chosen` are tried always."""
    chosen = list(chosen)
    return [case if case in chosen else pytest.param(*_values(case), marks=pytest.mark.thorough) for case in cases]


def _values(case: object) -> tuple:
    return case if isinstance(case, tuple) else (case,)
