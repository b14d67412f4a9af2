"""`notebooks/differences.md`: each difference has its reason, and the tests that hold it exist."""

import ast
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent / "notebooks" / "differences.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith(("| ---", "| what |"))
]


def functions_of(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_each_difference_has_a_reason_and_a_test_that_exists(row):
    assert len(row) == 5
    assert all(len(cell) > 3 for cell in row)
    tests = re.findall(r"\[`(test_\w+)`\]\((\.\./tests/[\w/]+\.py)\)", row[4])
    assert tests
    assert re.sub(r"\[`\w+`\]\([^)]+\)", "", row[4]).strip(", ") == ""  # nothing but links to tests
    for name, target in tests:
        assert name in functions_of(PAGE.parent / target), f"{target} has no {name}"


def test_both_are_compared_with():
    headings = re.findall(r"^## (.*)$", PAGE.read_text(encoding="utf-8"), re.M)
    assert headings == ["From transformers", "From scenic", "Where scenic and the paper differ, and we do as scenic"]
    assert len(ROWS) >= 25
