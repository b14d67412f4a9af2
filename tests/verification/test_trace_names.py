"""notebooks/trace_names.md against the traces of models: every name is in it, and nothing else."""

import re
import sys
from pathlib import Path

import numpy
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "models"))
from small_models import MODELS, clip_for, small_config, small_model

from minivivit import VivitModel
from minivivit.checkpoints.names import scenic_parameters
from minivivit.models.encoders.embeddings import token_grid
from minivivit.verification.tracing.recording import record_pass

PAGE = Path(__file__).parents[2] / "notebooks" / "trace_names.md"
ALL_MODELS = pytest.mark.parametrize("number", MODELS)
SAMPLING = {"temporal_encoding": "frame_sampling", "num_sampled_frames": 4, "tubelet_size": [1, 4, 4]}
LABELS = numpy.array([1, 0])


def tables() -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The rows of the tables of values, and those of the table of parameters: title of the column -> cell."""
    values, parameters, header = [], [], []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            header = []
        elif not header:
            header = cells
        elif not set(line) <= set("|- "):
            row = dict(zip(header, cells, strict=True))
            (values if "name" in row else parameters).append(row)
    return values, parameters


VALUES, PARAMETERS = tables()


def rows_of(number: int) -> dict[str, dict[str, str]]:
    """Name -> row, for one of the paper's models."""
    rows = [row for row in VALUES if str(number) in row["models"].split()]
    return {row["name"].strip("`"): row for row in rows}


def variants(number: int):
    """Models of every kind that records other names than the plain one, and arguments of their pass."""
    gradients = {"labels": LABELS, "gradients": True}
    yield small_model(number), gradients, None
    yield small_model(number, classifier="gap"), gradients, None
    yield small_model(number, representation_size=6), gradients, None
    yield small_model(number, VivitModel, pooler_output_size=7), {}, None
    yield small_model(number, **SAMPLING), {}, None
    yield small_model(number), {"interpolate_pos_encoding": True}, (12, 12, 16)


def traced(model, arguments, size):
    """Name, with N for the layer -> shapes of the values; and the pixel values' shape."""
    pixels = clip_for(model.config, size=size)
    store: dict = {}
    record_pass(model, pixels, store, **arguments)
    for parameter in model.state_dict() if arguments.get("gradients") else ():
        del store[f"gradient.{parameter}"]
    return {name: numpy.shape(array) for name, array in store.items()}, pixels.shape


def symbols(model, shape) -> dict[str, int]:
    """What the letters of the page stand for."""
    config = model.config
    times, rows, columns = token_grid(shape, config, True)
    batch, frames, channels, height, width = shape
    return {
        **{"B": batch, "F": frames, "C": channels, "H": height, "W": width, "T": times, "P": rows * columns},
        **{"c": int(config.use_cls_token), "D": config.hidden_size, "M": config.intermediate_size},
        **{"A": config.num_attention_heads, "K": config.num_labels, "O": config.pooler_output_size},
        "R": config.representation_size or config.hidden_size,
    }


def evaluate(shape: str, letters: dict[str, int]) -> tuple[int, ...]:
    """The numbers that a shape such as (B·T, A/2, c+P) stands for."""
    assert re.fullmatch(r"\(.*\)", shape)
    found = []
    for size in filter(None, shape[1:-1].split(", ")):
        assert re.fullmatch(r"[A-Zc12](?:[·+/][A-Zc12])*", size), size
        found.append(eval(size.replace("·", "*").replace("/", "//"), {"__builtins__": {}}, letters))
    return tuple(found)


@ALL_MODELS
def test_every_name_is_in_the_table_and_nothing_else(number):
    rows, seen, with_gradient = rows_of(number), set(), set()
    for model, arguments, size in variants(number):
        found, pixels_shape = traced(model, arguments, size)
        letters = symbols(model, pixels_shape)
        bare = isinstance(model, VivitModel)
        for name, shape in found.items():
            is_gradient = name.startswith("gradient.")
            name = re.sub(r"\blayer\.\d+", "layer.N", name.removeprefix("gradient."))
            if bare and not name.startswith("pooler") and name != "pixel_values":
                name = f"vivit.{name}"
            assert name in rows
            assert shape == evaluate(rows[name]["shape"], letters), name
            (with_gradient if is_gradient else seen).add(name)
    assert seen == rows.keys()
    assert with_gradient == {name for name, row in rows.items() if row["gradient"] == "yes"}


@ALL_MODELS
def test_rows_stand_in_the_order_of_execution(number):
    order = list(rows_of(number))
    for model, arguments, size in variants(number):
        if isinstance(model, VivitModel):
            continue
        found, _ = traced(model, {**arguments, "gradients": False}, size)
        names = [name.replace("layer.0", "layer.N") for name in found if "layer.1" not in name]
        assert names == sorted(names, key=order.index)


def test_no_row_stands_twice():
    for table, key in ((VALUES, "name"), (PARAMETERS, "gradient of")):
        keys = [(row[key], model) for row in table for model in row["models"].split()]
        repeated = {key for key in keys if keys.count(key) > 1}
        assert not repeated


@ALL_MODELS
def test_every_parameter_is_in_the_table_with_scenic_s_name(number):
    expected = {}
    for fields in ({}, {"representation_size": 6}):
        for name, parameter in scenic_parameters(small_config(number, **fields)).items():
            scenic = re.sub(r"encoderblock_\d+", "encoderblock_N", parameter.name)
            expected[re.sub(r"layer\.\d+", "layer.N", name)] = scenic
    rows = [row for row in PARAMETERS if str(number) in row["models"].split()]
    found = {row["gradient of"].strip("`"): row["in scenic"].strip("`") for row in rows}
    assert found == expected


@ALL_MODELS
def test_modules_have_the_path_that_their_parameters_have_in_scenic(number):
    """A value that a module with parameters returns is that module's: its path is that of the parameters."""
    modules = {}
    for row in PARAMETERS:
        if str(number) in row["models"].split() and row["gradient of"].strip("`").endswith((".weight", ".bias")):
            name, path = (row[title].strip("`") for title in ("gradient of", "in scenic"))
            modules[name.rpartition(".")[0].removesuffix(".projection")] = path.rpartition("/")[0]
    rows = rows_of(number)
    for name, path in modules.items():
        row = rows[f"{name}.dense" if name == "pre_logits" else name]
        found = re.match("`([^`]*)`", row["in scenic"])
        assert found is not None
        # scenic names the MLP's second dense layer once more: mlp2 is the identity behind it
        assert found[1] == path.replace("/Dense_1", "/mlp2"), name


def test_the_tables_are_whole():
    titles = ["name", "models", "shape", "gradient", "in transformers", "in scenic", "what it is"]
    assert len(VALUES) > 80
    for row in VALUES:
        assert list(row) == titles
        assert row["what it is"]
        assert set(row["models"]) <= set("1234 ")
        assert row["gradient"] in ("", "yes")
        assert not row["in transformers"] or "1" in row["models"].split(), "transformers has Model 1 alone"
