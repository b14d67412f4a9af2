"""`CITATION.cff` says of the software what pyproject.toml says, and names the paper."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
LINES = (ROOT / "CITATION.cff").read_text(encoding="utf-8").splitlines()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def top_level():
    """The fields of the file itself, not of its references: lines that are not indented."""
    fields = [re.fullmatch(r"([a-z-]+):(?: (.+))?", line) for line in LINES if not line.startswith((" ", "#"))]
    assert all(fields), "a line is neither a field, nor indented, nor a comment"
    names = [field[1] for field in fields]
    assert len(set(names)) == len(names)
    return {field[1]: (field[2] or "").strip('"') for field in fields}


def test_what_every_citation_file_must_have():
    fields = top_level()
    assert fields["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= fields.keys()
    assert fields["type"] == "software"
    assert not any("\t" in line for line in LINES)


def test_it_agrees_with_pyproject():
    fields = top_level()
    assert fields["title"] == PROJECT["name"]
    assert fields["version"] == PROJECT["version"]
    assert fields["license"] == PROJECT["license"]
    assert fields["abstract"] == PROJECT["description"]
    first_author = LINES[LINES.index("authors:") + 1]
    assert first_author == f'  - name: "{PROJECT["authors"][0]["name"]}"'


def test_the_paper_is_named_with_all_its_authors():
    references = "\n".join(LINES[LINES.index("references:") :])
    assert 'title: "ViViT: A Video Vision Transformer"' in references
    assert re.findall(r"family-names: (\S+)", references) == [
        "Arnab",
        "Dehghani",
        "Heigold",
        "Sun",
        "Lučić",
        "Schmid",
    ]
    assert "arXiv:2103.15691" in references


def test_the_changelog_begins_with_this_version():
    text = (ROOT / "notebooks" / "changelog.md").read_text(encoding="utf-8")
    first = re.search(r"^## (\S+),", text, re.M)
    assert first is not None
    assert first[1] == PROJECT["version"]
