"""`notebooks/paper_map.md`: everything that it names exists, and nothing of the paper is left out."""

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "notebooks" / "paper_map.md"
TEXT = PAGE.read_text(encoding="utf-8")
LINKS = re.findall(r"\[([^\]]*)\]\(([^)]+)\)", TEXT)
ROWS = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in TEXT.splitlines() if line.startswith("| ")]

# The paper's (second version on arXiv, with its appendix).
NUMBERED = [
    *(f"Equation {number}" for number in range(1, 13)),
    *(f"Figure {number}" for number in range(1, 10)),
    *(f"Table {number}" for number in range(1, 8)),
]


def local_links(suffix):
    links = [(text.strip("`"), target) for text, target in LINKS if not target.startswith("http")]
    return [(text, target) for text, target in links if target.endswith(suffix)]


def test_every_link_leads_somewhere():
    missing = [target for _, target in local_links("") if not (PAGE.parent / target).is_file()]
    assert missing == []


@pytest.mark.parametrize(("name", "target"), sorted({link for link in local_links(".py") if "../" in link[1]}))
def test_every_name_is_in_its_file(name, target):
    path = (PAGE.parent / target).resolve().relative_to(ROOT)
    if path.parts[0] == "minivivit":
        module = importlib.import_module(".".join(path.with_suffix("").parts))
        thing = getattr(module, name)
        assert getattr(thing, "__module__", module.__name__) == module.__name__, f"{name} is only imported there"
    else:
        functions = [node for node in ast.parse((ROOT / path).read_text()).body if isinstance(node, ast.FunctionDef)]
        assert name.startswith("test_")
        assert name in [function.name for function in functions]


def test_all_of_the_paper_is_there_once_and_in_order():
    named = [match[0] for row in ROWS if (match := re.match(r"(Equation|Figure|Table) \d+", row[0]))]
    assert named == NUMBERED


def test_every_row_has_a_function_a_test_and_a_notebook():
    rows = [row for row in ROWS if row[0] not in ("in the paper", "---")]
    assert len(rows) > len(NUMBERED)
    for row in rows:
        assert len(row) == 5, row[0]
        functions, tests, notebooks = row[2:]
        assert re.search(r"\]\(\.\./minivivit/", functions), row[0]
        assert re.search(r"\]\(\.\./tests/", tests), row[0]
        assert re.search(r"\]\(\d\d_\w+\.ipynb\)", notebooks), row[0]


def test_notebooks_are_named_by_their_numbers():
    assert local_links(".ipynb")
    for text, target in local_links(".ipynb"):
        assert target.startswith(f"{text}_"), target
