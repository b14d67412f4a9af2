"""`notebooks/api.md` is what the docstrings say now."""

import re
from pathlib import Path

import pytest
from api_page import anchor, described, modules, page, public_things, signature

import minivivit
from minivivit.training.optimisers.adamw import AdamW
from minivivit.training.optimisers.blocks import for_each_block

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "notebooks" / "api.md").read_text(encoding="utf-8")
HEADINGS = [match[1] for match in re.finditer(r"^#{1,4} (.+)$", PAGE, re.M)]


def test_it_is_fresh():
    new = page()
    assert new == PAGE, "write it again: python tests/api_page.py > notebooks/api.md"


@pytest.mark.parametrize("name", minivivit.__all__)
def test_what_is_imported_from_the_package_itself_is_there(name):
    (heading,) = [heading for heading in HEADINGS if heading in (name, f"class {name}")]
    assert f"[`{name}`](#{anchor(heading)})" in PAGE
    assert described(getattr(minivivit, name)) in PAGE


def test_links_lead_to_headings():
    anchors = {anchor(heading) for heading in HEADINGS}
    links = re.findall(r"\]\(#([^)]+)\)", PAGE)
    assert len(links) > 100
    assert set(links) <= anchors


def test_every_public_function_is_there():
    for module in modules():
        for name in public_things(module):
            assert name in HEADINGS or f"class {name}" in HEADINGS, f"{module.__name__}.{name}"


def test_nothing_private_and_nothing_of_this_machine():
    assert not [heading for heading in HEADINGS if re.search(r"(^|\.|class )_", heading)]
    assert str(ROOT) not in PAGE
    assert "site-packages" not in PAGE
    assert not re.search(r"\b0x[0-9a-f]{8,}\b", PAGE)
    assert len(PAGE.encode()) < 500_000


def test_signatures_by_hand():
    assert signature("AdamW.step", AdamW.step) == "AdamW.step(gradients, learning_rate)"
    assert signature("for_each_block", for_each_block) == "for_each_block(update, blocks, xp=numpy)"


def test_fences_are_closed():
    assert PAGE.count("```text\n") * 2 == PAGE.count("```")
