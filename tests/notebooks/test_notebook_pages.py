"""What a reader on the web finds in notebooks/, checked without running anything."""

import json
import re
from pathlib import Path

import pytest
from compare_outputs import text_of

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "notebooks").rglob("*.md"))]
MAX_BYTES = 1_000_000


def cells_of(path: Path, kind: str | None = None) -> list[dict]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if kind in (None, cell["cell_type"])]


def outputs_of(path: Path) -> list[dict]:
    return [output for cell in cells_of(path, "code") for output in cell["outputs"]]


def markdown_of(path: Path) -> str:
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    return "\n\n".join(text_of(cell["source"]) for cell in cells_of(path, "markdown"))


def each_notebook(test):
    return pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)(test)


def test_numbers_have_no_gaps():
    assert [int(path.name[:2]) for path in NOTEBOOKS] == list(range(1, len(NOTEBOOKS) + 1))


@each_notebook
def test_it_was_run_once_from_top_to_bottom(path):
    cells = cells_of(path, "code")
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert outputs_of(path)


@each_notebook
def test_no_output_is_an_error_or_a_warning(path):
    for output in outputs_of(path):
        assert output["output_type"] != "error"
        assert output.get("name") != "stderr"


@each_notebook
def test_every_picture_has_alternative_text(path):
    pictures = [output for output in outputs_of(path) if "image/png" in output.get("data", {})]
    assert pictures
    alts = [output["metadata"].get("image/png", {}).get("alt", "") for output in pictures]
    assert [alt for alt in alts if len(alt.split()) < 5] == []
    others = [kind for output in outputs_of(path) for kind in output.get("data", {}) if kind.startswith("image/")]
    assert set(others) == {"image/png"}
    assert not re.search(r"!\[\s*\]\(|<img(?![^>]*alt=\"[^\"]+)", markdown_of(path))


@each_notebook
def test_every_picture_has_a_caption_that_can_be_seen(path):
    outputs = [output for cell in cells_of(path, "code") for output in cell["outputs"]]
    alts = [output["metadata"]["image/png"]["alt"] for output in outputs if "image/png" in output.get("data", {})]
    captions = [text_of(output["data"].get("text/markdown", "")) for output in outputs if "data" in output]
    assert [alt for alt in alts if f"*{alt}*" not in captions] == []
    for output in outputs:
        html = text_of(output.get("data", {}).get("text/html", ""))
        assert html.count("<img alt=") == html.count("<img") == html.count("<figcaption>")


@each_notebook
def test_code_that_draws_is_folded_and_only_draws(path):
    for number, cell in enumerate(cells_of(path, "code")):
        source, folded = text_of(cell["source"]), cell["metadata"].get("jupyter", {}).get("source_hidden", False)
        assert folded == ("drawing" in cell["metadata"].get("tags", []))
        if folded:
            assert not re.search(r"\bprint\(|\bassert\b", source), number
            assert re.search(r"\bdrawing\.(show|knob)\(", source), number
        else:
            assert not re.search(r"\bplt\.|\bdrawing\.|\bdiagrams\.", source), number


@each_notebook
def test_every_exercise_has_an_answer_folded_away(path):
    exercises = markdown_of(path).rpartition("## Something to change")[2]
    questions = re.findall(r"^\d\. \*\*", exercises, flags=re.MULTILINE)
    folded = r"<details><summary>To check yourself</summary>\n\n   (.+?)\n\n   </details>"
    answers = re.findall(folded, exercises, flags=re.DOTALL)
    assert len(questions) == len(answers) >= 3
    assert [answer for answer in answers if "@@" in answer or len(answer.split()) < 8] == []


@each_notebook
def test_it_begins_with_a_title_and_ends_in_something_to_change(path):
    headings = re.findall(r"^(#+) (.*)$", markdown_of(path), flags=re.MULTILINE)
    assert headings[0][0] == "#"
    assert [text for level, text in headings if level == "##"][-1] == "Something to change"


@each_notebook
def test_it_says_nothing_of_the_machine_that_ran_it(path):
    text = path.read_text(encoding="utf-8")
    found = re.findall(r"(?:/work|/tmp|/home|/root|/Users|site-packages|[A-Z]:\\\\)[/\\][^\s\"]*", text)
    assert found == []


@each_notebook
def test_it_is_of_a_size_that_a_browser_likes(path):
    assert path.stat().st_size < MAX_BYTES


@pytest.mark.parametrize("path", [*PAGES, *NOTEBOOKS], ids=lambda path: path.name)
def test_links_between_pages_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", markdown_of(path)):
        if re.match(r"[a-z]+:", target) or target.startswith("#"):
            continue
        name, _, anchor = target.partition("#")
        assert (path.parent / name).exists(), f"{path.name} links to {target}"
        if anchor and name.endswith(".md"):
            headings = re.findall(r"^#+ (.*)$", (path.parent / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
            anchors = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor in anchors, f"{path.name} links to {target}"
