"""`notebooks/costs.md`: what it says is what was measured, and its counts are ours."""

import importlib
import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "notebooks" / "costs.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def benchmarks():
    """The scripts that measured and wrote it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "tests" / "benchmarks"))
        yield importlib.import_module("cost_curves"), importlib.import_module("cost_page")
    for name in ("cost_curves", "cost_page"):
        sys.modules.pop(name, None)


def test_the_page_is_that_of_the_figures(benchmarks):
    curves, page = benchmarks
    assert page.page(json.loads(curves.FIGURES.read_text(encoding="utf-8"))) == PAGE


def test_what_the_text_says_without_a_figure_holds_in_the_figures(benchmarks):
    curves, page = benchmarks
    figures = json.loads(curves.FIGURES.read_text(encoding="utf-8"))
    growth = {name: page.growth(figures, "num_frames", name, "seconds", 1) for name in curves.MODELS}
    assert growth["Model 1"] == max(growth.values()) > 2.5, "it bends"
    memory = [page.growth(figures, "num_frames", name, "memory", way) for name in curves.MODELS for way in (0, 1)]
    assert max(memory) < 2.3, "a straight line: twice the frames, twice the memory"
    one, twelve, dry, whole = figures["checks"].values()
    assert one < twelve < 1.05 * one, "forward, depth costs no memory but the weights"
    assert dry < whole < 1.01 * dry, "nor do products"
    for name in curves.MODELS:
        assert all(3.88e9 <= entry.get("peak", 4e9) <= 4e9 for entry in figures["longest"][name])


def test_the_pictures_are_there_and_small():
    names = re.findall(r"!\[[^\]]{60,}\]\((\w+\.png)\)", PAGE)
    assert len(names) == 2
    assert all((ROOT / "notebooks" / name).stat().st_size < 60_000 for name in names)
