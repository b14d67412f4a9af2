"""Every notebook runs from a clean kernel, without a warning, in little time and memory, to the committed outputs."""

import pytest

pytestmark = pytest.mark.notebooks
pytest.importorskip("nbclient")

import drawing  # noqa: E402
import matplotlib.pyplot as plt  # noqa: E402
import nbconvert  # noqa: E402
import nbformat  # noqa: E402
from execute import MAX_TOTAL_SECONDS, NOTEBOOKS, execute, numbered_notebooks, problems  # noqa: E402

ALT = "A straight line that rises from left to right."
seconds: dict[str, float] = {}


@pytest.mark.parametrize("path", numbered_notebooks(), ids=lambda path: path.stem)
def test_a_notebook_runs_and_its_outputs_are_fresh(path, capsys):
    run = execute(path)
    seconds[path.stem] = run.seconds
    with capsys.disabled():
        print(f"{path.name}: {run.seconds:.1f} s of processor time, peak {run.peak_bytes / 1e6:.0f} MB")
    assert problems(path, run, compare=True) == []


def test_all_together_take_little_time():
    if len(seconds) < len(numbered_notebooks()):
        pytest.skip("not all notebooks ran")
    assert sum(seconds.values()) < MAX_TOTAL_SECONDS


def notebook_of(*sources: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import warnings; warnings.warn('look out')", "look out"),
        ("import numpy; numpy.log(numpy.zeros(1))", "divide by zero"),
        ("raise ValueError('no')", "no"),
    ],
)
def test_a_warning_stops_a_notebook_as_an_error_does(tmp_path, source, message):
    nbformat.write(notebook_of("x = 1", source), tmp_path / "notebook.ipynb")
    with pytest.raises(Exception, match=message):
        execute(tmp_path / "notebook.ipynb")


def test_problems_name_stderr_and_what_is_stale(tmp_path):
    path = tmp_path / "notebook.ipynb"
    nbformat.write(notebook_of("import sys; print('psst', file=sys.stderr)", "print(6 * 7)"), path)
    run = execute(path)
    assert [cell.execution_count for cell in run.notebook.cells] == [1, 2]
    lines = problems(path, run, compare=True)
    assert "psst" in lines[0]
    assert any("['stdout'], committed []" in line for line in lines)
    nbformat.write(run.notebook, path)
    assert len(problems(path, execute(path), compare=True)) == 1  # stderr stays wrong


def test_memory_and_processor_time_are_measured(tmp_path):
    path = tmp_path / "notebook.ipynb"
    busy = "import time; data = bytearray(300_000_000)\nwhile time.process_time() < 2: pass"
    nbformat.write(notebook_of(busy), path)
    run = execute(path)
    assert 300_000_000 < run.peak_bytes < 600_000_000
    assert run.seconds > 0.9
    assert any("GB are allowed" in line for line in problems(path, run._replace(peak_bytes=4 * 10**9), compare=False))
    assert any("s are allowed" in line for line in problems(path, run._replace(seconds=241.0), compare=False))


# --------------------------------------------------------------------------------------------------------------------
# Drawing
# --------------------------------------------------------------------------------------------------------------------


def line() -> tuple[plt.Figure, plt.Axes]:
    figure, axes = plt.subplots(figsize=(3, 2))
    axes.plot([0, 1], [0, 1])
    axes.set(title="A line", xlabel="x", ylabel="y")
    return figure, axes


@pytest.mark.parametrize("missing", ["title", "xlabel", "ylabel"])
def test_a_figure_without_words_is_refused(missing):
    figure, axes = line()
    axes.set(**{missing: ""})
    with pytest.raises(ValueError, match=missing.removeprefix("x").removeprefix("y")):
        drawing.show(figure, ALT)


def test_a_figure_without_alternative_text_or_colour_bar_label_is_refused():
    figure, axes = line()
    with pytest.raises(ValueError, match="alternative text"):
        drawing.show(figure, "A line.")
    figure, axes = line()
    figure.colorbar(axes.imshow([[0, 1]]))
    with pytest.raises(ValueError, match="colour bar"):
        drawing.show(figure, ALT)


def test_a_figure_with_tiny_text_or_wider_than_a_page_is_refused():
    figure, axes = line()
    axes.text(0, 0, "look closely", fontsize=7)
    with pytest.raises(ValueError, match="is 7"):
        drawing.show(figure, ALT)
    figure, axes = line()
    figure.set_figwidth(15)
    with pytest.raises(ValueError, match="15 inches wide"):
        drawing.show(figure, ALT)


def test_a_knob_draws_positions_over_its_range_beforehand():
    assert drawing._positions({"a": [3, 0, 1, 2, 3]}) == [{"a": 0}, {"a": 1}, {"a": 2}]
    assert drawing._positions({"a": range(17)}) == [{"a": 3}, {"a": 9}, {"a": 14}]
    assert drawing._positions({"a": [0, 1], "b": [0, 1, 2]}) == [{"a": 1, "b": 0}, {"a": 0, "b": 2}]
    assert drawing._positions({"a": [0]}) == []


KNOB = f"""
import sys
sys.path.insert(0, {str(NOTEBOOKS)!r})
import drawing
import matplotlib.pyplot as plt

def draw(power):
    figure, axes = plt.subplots()
    axes.plot([x**power for x in range(5)])
    axes.set(title="A power", xlabel="x", ylabel="y")
    return figure

drawing.knob(draw, lambda power: f"A curve that rises as x to the {{power}}.", power=[1, 2])
drawing.show(draw(3), "A curve that rises as x to the third.")
"""


def test_pictures_reach_html_with_their_alternative_text(tmp_path):
    """A knob's pictures are there without a kernel too, and its sliders are not."""
    nbformat.write(notebook_of(KNOB), tmp_path / "notebook.ipynb")
    notebook = execute(tmp_path / "notebook.ipynb").notebook
    (cell,) = notebook.cells
    alts = ["A curve that rises as x to the 1.", "A curve that rises as x to the third."]
    pictures = [output for output in cell.outputs if "image/png" in output.data]
    assert [output.metadata["image/png"]["alt"] for output in pictures] == alts
    captions = [output.data["text/markdown"] for output in cell.outputs if "text/markdown" in output.data]
    assert captions == [f"*{alt}*" for alt in alts]
    html, _ = nbconvert.HTMLExporter(template_name="classic").from_notebook_node(notebook)
    for alt in [*alts, "A curve that rises as x to the 2."]:  # the last is the knob's other position
        assert f'alt="{alt}"' in " ".join(html.split())
        assert f"<em>{alt}</em>" in " ".join(html.split())


def test_a_turned_knob_draws_its_picture_anew(tmp_path):
    turn = """
from ipywidgets import SelectionSlider
from ipywidgets.widgets import widget

(slider,) = [one for one in widget._instances.values() if isinstance(one, SelectionSlider)]
slider.value = 2
"""
    nbformat.write(notebook_of(KNOB, turn), tmp_path / "notebook.ipynb")
    picture, caption, _, other, _ = execute(tmp_path / "notebook.ipynb").notebook.cells[0].outputs
    assert picture.metadata["image/png"]["alt"] == "A curve that rises as x to the 2."
    assert caption.data["text/markdown"] == "*A curve that rises as x to the 2.*"
    assert other.metadata["image/png"]["alt"] == "A curve that rises as x to the third."
