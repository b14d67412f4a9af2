"""Warnings are errors where they come from our own code or speak of our numbers, and only there."""

import warnings

import numpy
import pytest


def warn_from(module, category=DeprecationWarning):
    """As if code of a module warned."""
    warnings.warn_explicit("is deprecated", category, filename=f"{module}.py", lineno=1, module=module, registry={})


@pytest.mark.parametrize("category", [DeprecationWarning, PendingDeprecationWarning, FutureWarning, UserWarning])
@pytest.mark.parametrize(
    "module",
    ["minivivit", "minivivit.ops.layer_norm", "minivivit.cli", "test_warnings", "small_models", "vivit_one_page"],
)
def test_ours_are_errors(module, category):
    with pytest.raises(category, match="is deprecated"):
        warn_from(module, category)


@pytest.mark.parametrize("module", ["pyparsing.core", "matplotlib.font_manager", "PIL.Image", "minivivit_viewer"])
def test_those_of_others_are_none(module):
    with warnings.catch_warnings(record=True) as seen:
        warn_from(module)
    assert [str(warning.message) for warning in seen] == ["is deprecated"]


def test_what_is_called_wrongly_counts_as_ours():
    """A library that warns its caller names the caller's module."""
    with pytest.raises(DeprecationWarning):
        warnings.warn("called from here", DeprecationWarning, stacklevel=1)
    with pytest.raises(RuntimeWarning, match="divide by zero"):
        numpy.array(1.0) / numpy.array(0.0)


def test_what_numpy_says_of_our_numbers_is_an_error():
    """Some of NumPy is written in Python, and warns in its own name."""
    with pytest.raises(RuntimeWarning, match="overflow"):
        numpy.array([1e308, 1e308]).var()
    with pytest.raises(RuntimeWarning):
        warn_from("numpy._core._methods", RuntimeWarning)
    with warnings.catch_warnings(record=True) as seen:
        warn_from("numpy.lib", DeprecationWarning)
    assert len(seen) == 1
