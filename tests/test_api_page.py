"""`notebooks/api.md` and the pages in `notebooks/api/` are what the docstrings say now."""

import re

import pytest
from api_page import FIRST, NOTEBOOKS, anchor, described, modules, pages, public_things, signature

import minivivit
from minivivit.training.optimisers.adamw import AdamW
from minivivit.training.optimisers.blocks import for_each_block

PAGES = {
    path.relative_to(NOTEBOOKS).as_posix(): path.read_text(encoding="utf-8")
    for path in (NOTEBOOKS / FIRST, *sorted((NOTEBOOKS / "api").glob("*.md")))
}
HEADINGS = {name: re.findall(r"^#{1,3} (.+)$", text, re.M) for name, text in PAGES.items()}
EACH_PAGE = pytest.mark.parametrize("name", sorted(PAGES))


def test_they_are_fresh():
    new = pages()
    assert sorted(new) == sorted(PAGES), "write them again: python tests/api_page.py"
    for name, text in new.items():
        assert text == PAGES[name], f"{name} is stale; write all again: python tests/api_page.py"


@pytest.mark.parametrize("name", minivivit.__all__)
def test_what_is_imported_from_the_package_itself_is_on_the_first_page_alone(name):
    (heading,) = [heading for heading in HEADINGS[FIRST] if heading in (name, f"class {name}")]
    assert f"[`{name}`](#{anchor(heading)})" in PAGES[FIRST]
    text = described(getattr(minivivit, name))
    assert [page for page, page_text in PAGES.items() if text in page_text] == [FIRST]


def test_the_first_page_is_short():
    """Who opens it sees what programs import, and not ten thousand lines."""
    assert len(PAGES[FIRST].splitlines()) < 1500
    assert max(map(len, PAGES.values())) < 200_000


@EACH_PAGE
def test_links_lead_to_headings(name):
    links = re.findall(r"\]\(([^)\s#]*)#([^)]+)\)", PAGES[name])
    assert links or name != FIRST
    for target, fragment in links:
        path = (NOTEBOOKS / name).parent / target if target else NOTEBOOKS / name
        there = path.resolve().relative_to(NOTEBOOKS).as_posix()
        assert fragment in [anchor(heading) for heading in HEADINGS[there]], f"{target}#{fragment}"


@EACH_PAGE
def test_no_two_headings_have_one_anchor(name):
    """A web page would number the second, and a link would lead to the first."""
    anchors = [anchor(heading) for heading in HEADINGS[name]]
    linked = re.findall(r"\]\(#([^)]+)\)", PAGES[name])
    assert [fragment for fragment in linked if anchors.count(fragment) != 1] == []


def test_every_public_function_is_there():
    headings = {heading for found in HEADINGS.values() for heading in found}
    for module in modules():
        for name in public_things(module):
            assert name in headings or f"class {name}" in headings, f"{module.__name__}.{name}"


@EACH_PAGE
def test_nothing_private_and_nothing_of_this_machine(name):
    assert not [heading for heading in HEADINGS[name] if re.search(r"(^|\.|class )_", heading)]
    assert str(NOTEBOOKS.parent) not in PAGES[name]
    assert "site-packages" not in PAGES[name]
    assert not re.search(r"\b0x[0-9a-f]{8,}\b", PAGES[name])


def test_signatures_by_hand():
    assert signature("AdamW.step", AdamW.step) == "AdamW.step(gradients, learning_rate)"
    assert signature("for_each_block", for_each_block) == "for_each_block(update, blocks, xp=numpy)"


@EACH_PAGE
def test_fences_are_closed(name):
    assert PAGES[name].count("```text\n") * 2 == PAGES[name].count("```")
