"""Notebooks and files as students hand them in: recognised by what they hold, with what is odd about them named."""

import json

import pytest
from submissions import ATTENTION, SOURCES, TASKS, notebook, solved

from minivivit.errors import InputError
from minivivit.grading.examination import examine
from minivivit.grading.submission import Cell, Test, read_submission
from minivivit.grading.tasks import ASSIGNMENTS

Test.__test__ = False


def cells_with(name):
    """The index of nbgrader's cell of a name in the source notebook of assignment 2."""
    found = [cell["metadata"].get("nbgrader", {}).get("grade_id") for cell in solved(ATTENTION)["cells"]]
    return found.index(name)


def changed(change):
    book = solved(ATTENTION)
    change(book["cells"])
    return read_submission("x.ipynb", json.dumps(book).encode())


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_every_assignment_is_recognised_by_what_it_holds(name):
    data = (SOURCES / name / f"{name}.ipynb").read_bytes()
    for file in ("a.ipynb", "03 homework (1).ipynb", "Untitled (2).IPYNB"):
        submission = read_submission(file, data)
        assert submission.assignment.name == name
        assert [step.task for step in submission.steps if isinstance(step, Test)] == list(submission.assignment.points)
        assert submission.problems == []
        assert isinstance(submission.steps[-1], Test)  # what only looks at the answers is not run


def test_nbgraders_names_are_not_needed():
    plain = {"cells": [{"cell_type": "code", "source": ["def gelu(x):\n", "    return x\n"]}]}
    submission = read_submission("x.ipynb", json.dumps(plain).encode())
    assert submission.assignment.name == "03_layer_norm_and_gelu"
    assert submission.problems == []
    assert read_submission("x.py", b"gelu = abs").assignment.name == "03_layer_norm_and_gelu"
    assert read_submission("06 train it.py", b"x = 1").assignment.name == "06_train_it"


def test_a_test_cell_that_is_missing_or_there_twice_is_named():
    test, solution = cells_with("test_attention"), cells_with("attention")
    submission = changed(lambda cells: cells.pop(test))
    assert submission.problems == [
        "the test cell of 'attention' is missing; what the whole notebook makes is tested",
    ]
    assert submission.steps[-1] == Test("attention")
    submission = changed(lambda cells: cells.extend([cells[solution], cells[test]]))
    assert submission.problems == ["the test cell of attention is there 2 times; the last counts"]
    assert submission.steps[-1] == Test("attention")
    assert [step.task for step in submission.steps if isinstance(step, Test)].count("attention") == 1
    submission = changed(lambda cells: cells.clear() or cells.append(solved(ATTENTION)["cells"][solution]))
    assert [step.task for step in submission.steps if isinstance(step, Test)] == TASKS


def test_test_cells_are_never_run():
    def cheat(cells):
        cells[cells_with("test_softmax")]["source"] = "softmax = 3"

    assert not [step for step in changed(cheat).steps if isinstance(step, Cell) and "softmax = 3" in step.source]


@pytest.mark.parametrize(
    ("name", "data", "wrong"),
    [
        ("x.ipynb", b"", "is not valid JSON"),
        ("x.ipynb", b"\xff\xfe", "is not valid JSON"),
        ("x.ipynb", b"[" * 100_000, "is not valid JSON"),
        ("x.ipynb", b"[]", "a JSON object {...} was expected"),
        ("x.ipynb", b"{}", "no list of cells"),
        ("x.ipynb", b'{"cells": {}}', "no list of cells"),
        ("x.ipynb", b'{"worksheets": [{"cells": []}]}', "no list of cells"),
        ("x.ipynb", b'{"cells": [{"cell_type": "code", "source": 3}]}', "is no text"),
        ("x.ipynb", b'{"cells": [3, null, {"cell_type": "code", "metadata": 3}]}', "which assignment is it?"),
        ("x.py", b"\xff", "not UTF-8"),
        ("x.py", b"print(1)", "which assignment is it?"),
        ("x.py", b"def softmax(x): pass\n" + b"#" * (1 << 21), "letters of code"),
    ],
)
def test_what_cannot_be_read_is_told_in_a_line(name, data, wrong):
    with pytest.raises(InputError) as caught:
        read_submission(name, data)
    assert wrong in str(caught.value)
    assert len(str(caught.value)) < 300


def test_cells_are_called_as_students_see_them():
    book = solved(ATTENTION)
    place, name = cells_with("softmax") + 1, f"<cell {cells_with('softmax') + 1} of {len(book['cells'])}, softmax>"
    assert book["cells"][place - 2]["cell_type"] == "markdown"
    (cell,) = (
        step for step in changed(lambda cells: None).steps if isinstance(step, Cell) and "def softmax" in step.source
    )
    assert cell.name == name


def test_lines_of_a_file_are_counted_from_its_beginning():
    text = "import math\n# %% one\n\nx = 1\ny = nothing\n# %%\ndef gelu(x):\n    return x +\n"
    result = examine("x.py", text.encode(), seed=1)
    assert result.problems == [
        "the file: NameError: name 'nothing' is not defined, in line 5: \"y = nothing\"",
        'the file: SyntaxError: invalid syntax, in line 8: "return x +"',
    ]
    result = examine("x.py", b"a = 1\n# %%\ndef gelu(x):\n\n    return x / nothing\n", seed=1)
    assert 'in line 5 of gelu: "return x / nothing"' in " ".join(result.tasks[2].text.split())


def test_an_answer_to_another_assignment_is_named_and_earns_nothing():
    norm = "03_layer_norm_and_gelu"
    for data in (notebook(norm, {}), notebook(norm, {"gelu": "def softmax(x):\n    return x\n"})):
        result = examine("homework.ipynb", data, seed=1, assignment=ATTENTION)
        assert result.problems == [f"this looks like {norm}, and not like {ATTENTION}: none of its tasks is there"]
        assert [(task.task, task.points) for task in result.tasks] == [(task, 0) for task in TASKS]
    for data in (b"def gelu(x): pass\ndef softmax(x): pass\n", b"x = 1\n"):
        assert read_submission("x.py", data, ATTENTION).looks_like == ""
    assert read_submission("x.ipynb", notebook(ATTENTION, {}), ATTENTION).looks_like == ""


def test_a_byte_order_mark_and_windows_lines_are_no_matter():
    assert read_submission("x.ipynb", b"\xef\xbb\xbf" + notebook(ATTENTION, {})).assignment.name == ATTENTION
    submission = read_submission("x.py", b"\xef\xbb\xbf# %% one\r\ndef gelu(x):\r\n    return x\r\n# %%\r\ny = 1\r\n")
    assert [step.source for step in submission.steps[1:-4] if isinstance(step, Cell)] == [
        "def gelu(x):\n    return x\n",
        "y = 1\n",
    ]
