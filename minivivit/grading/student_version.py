"""What is handed out of an assignment: its notebook without solutions and hidden tests, or the same in Python."""

import copy
import re
from typing import Any

STUB = "# YOUR CODE HERE\nraise NotImplementedError()"
WRITTEN = "YOUR ANSWER HERE"
# In a Python file, where no cell stands under another.
HOW = """\
**How this works.** Write each function where it says YOUR CODE HERE, and run `python -m pytest`, as often as you like:
it tests every function with new inputs, and tells which entries are wrong, by how much, and the likely cause.

"""


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
    """A notebook as a plain Python file to be filled in: texts as comments, functions with stubs, no tests."""
    parts = []
    for cell in student_version(notebook)["cells"]:
        text = re.sub(r"\*\*How this works\.\*\*.*?\n\n", HOW, "".join(cell["source"]), flags=re.S)
        settings = cell["metadata"].get("nbgrader", {})
        if cell["cell_type"] == "markdown":
            parts.append("# %% [markdown]\n" + "\n".join(f"# {line}".rstrip() for line in text.split("\n")))
        elif settings and not settings["grade"]:
            parts.append("# %%\n" + text)
    return "\n\n\n".join(parts) + "\n"
