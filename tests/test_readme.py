"""What the README shows works."""

import re
from pathlib import Path

import numpy
import pytest

from minivivit import VivitConfig, VivitForVideoClassification, VivitImageProcessor
from minivivit.command_line import COMMANDS, parse

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_library_example_runs(tmp_path, monkeypatch, capsys):
    example = PYTHON[0]
    config = VivitConfig(
        image_size=32,
        tubelet_size=[2, 16, 16],
        hidden_size=12,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_labels=6,
    )
    directory = tmp_path / "vivit-b-16x2-kinetics400"
    VivitForVideoClassification(config).save_pretrained(directory)
    VivitImageProcessor(size={"shortest_edge": 40}, crop_size=32).save_pretrained(directory)
    with open(tmp_path / "cooking.mp4", "wb") as file:  # what a file is, its content says
        numpy.save(file, numpy.random.default_rng(0).integers(0, 256, (64, 48, 64, 3), dtype=numpy.uint8))
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    label, shape = capsys.readouterr().out.splitlines()
    assert label.startswith("LABEL_")
    assert shape == "(12, 12)"


def test_commands_are_spelled_right():
    names = "|".join(COMMANDS)
    lines = re.findall(rf"(?:^ {{4}}(?:.*&& )?|`)(minivivit (?:{names})(?: [^`\n]+)?)", README, flags=re.MULTILINE)
    assert "minivivit classify" in lines
    for line in lines:
        if line != "minivivit train":  # the name alone, in a sentence
            parse(line.split()[1:])


def test_files_that_are_named_exist():
    root = Path(__file__).parent.parent
    for name in re.findall(r"\b(?:tests|minivivit)/[\w/]*(?:\.\w+)?", README):
        assert (root / name).exists(), name


def test_the_checks_are_reached_as_it_says():
    statement, call = re.search(r"`(from minivivit import checks)`, `(checks\.\w+\(my_softmax\))`", README).groups()

    def my_softmax(x):
        weights = numpy.exp(x - x.max(axis=-1, keepdims=True))
        return weights / weights.sum(axis=-1, keepdims=True)

    names = {"my_softmax": my_softmax}
    exec(statement, names)
    assert eval(call, names) == 1


@pytest.mark.parametrize("example", PYTHON[1:])
def test_other_examples_run_as_they_stand_and_print_what_they_say(example, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    said = re.findall(r"^print\(.*\)  # (.*)$", example, flags=re.MULTILINE)
    assert said
    assert capsys.readouterr().out.splitlines() == said


def test_one_example_needs_nothing_but_the_package():
    assert any("bundled_clip" in example for example in PYTHON[1:])


def test_no_page_installs_from_a_registry_that_does_not_have_it():
    root = Path(__file__).parent.parent
    pages = [root / "README.md", *(root / "notebooks").rglob("*.md"), *(root / "notebooks").rglob("*.ipynb")]
    for page in pages:
        assert not re.search(r"pip install minivivit(?![-\w])", page.read_text(encoding="utf-8")), page
