"""What is handed out of an assignment: its notebook without solutions and hidden tests, or the same in Python."""

import copy
import re
from typing import Any

STUB = "# YOUR CODE HERE\nraise NotImplementedError()"
WRITTEN = "YOUR ANSWER HERE"
# What a Python file says in place of a notebook's words: (pattern, text).
IN_A_FILE = (
    (
        r"\*\*How this works\.\*\*.*?\n\n",
        """\
**How this works.** Write each function where it says YOUR CODE HERE, and run `python -m pytest`, as often as you like:
it tests every function with new inputs, and tells which entries are wrong, by how much, and the likely cause.

""",
    ),
    (
        r"- `checks\.NAME\(NAME, hints=0\)`.*?(?=\n- |\n\n|\Z)",
        """\
- To look closer, run `python -i` with the name of this file, then `from minivivit import checks` and, for a function
  NAME, `report = checks.NAME(NAME)`. (`hints=0` says only what is wrong, `hints=1` where to look, too.)
  `report.inputs(3)` and `report.answer(3)` are what your function got in case 3 and what it gave. When it raised an
  error, `raise report.error` and then `import pdb; pdb.pm()` opens the debugger in its line.""",
    ),
    (r"\A" + WRITTEN + r"\Z", f"{WRITTEN}, in lines that begin with #"),
)


def student_version(notebook: dict[str, Any]) -> dict[str, Any]:
    """A notebook as nbgrader would hand it out."""
    book = copy.deepcopy(notebook)
    for cell in book["cells"]:
        text = without_secrets("".join(cell["source"]))
        settings = cell["metadata"].get("nbgrader", {})
        if settings.get("solution") and cell["cell_type"] == "markdown":
            text = WRITTEN
        cell["source"] = text
    return book


def without_secrets(source: str) -> str:
    """Source with a stub for every solution, and without hidden tests."""

    def stub(found: re.Match) -> str:
        indent = found[1]
        return "".join(f"{indent}{line}\n" for line in STUB.split("\n"))

    source = re.sub(r"^( *)### BEGIN SOLUTION\n.*?### END SOLUTION(?:\n|\Z)", stub, source, flags=re.M | re.S)
    source = re.sub(r"^ *### BEGIN HIDDEN TESTS\n.*?### END HIDDEN TESTS(?:\n|\Z)", "", source, flags=re.M | re.S)
    return source.rstrip("\n")


def python_version(notebook: dict[str, Any]) -> str:
    """A notebook as a plain Python file to be filled in: texts as comments, functions with stubs, no tests.

    What the notebook ends with, a text and a cell to look at, is left out.
    """
    parts = []
    for cell in student_version(notebook)["cells"]:
        text = "".join(cell["source"])
        for pattern, words in IN_A_FILE:
            text = re.sub(pattern, words.replace("\\", "\\\\"), text, flags=re.S)
        settings = cell["metadata"].get("nbgrader", {})
        if cell["cell_type"] == "markdown" and text.startswith("## Look"):
            break
        if cell["cell_type"] == "markdown":
            parts.append("# %% [markdown]\n" + "\n".join(f"# {line}".rstrip() for line in text.split("\n")))
        elif settings and not settings["grade"]:
            parts.append("# %%\n" + text)
    return "\n\n\n".join(parts) + "\n"
