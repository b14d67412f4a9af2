"""Recipes by name: files beside this one, each with the settings of a training and where they come from."""

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from minivivit.errors import InputError
from minivivit.files.json_file import parse_json_object
from minivivit.files.tensor_data import quoted

RECIPES = (
    *("kinetics400-b", "kinetics400-b-fe", "kinetics400-l-fe", "kinetics600-l-fe", "epic-kitchens-l-fe"),
    *("something-something-v2-l-fe", "moments-in-time-l-fe", "fine-tune"),
)


@dataclass(frozen=True)
class Recipe:
    """How a model was trained.

    Attributes
    ----------
    data, source, start : str
        What it is for, where it was written down, and what the training starts from.
    remarks : list of str
        What the source leaves open, or says otherwise elsewhere.
    settings : dict
        By the names of `TrainingSettings`.
    """

    data: str
    source: str
    start: str
    remarks: list[str]
    settings: dict[str, Any]


def read_recipe(name: str) -> Recipe:
    """The recipe of this name, one of `RECIPES`.

    Raises
    ------
    InputError
        When there is none.
    """
    if name not in RECIPES:
        raise InputError(f"there is no recipe {quoted(name)}; expected one of {', '.join(RECIPES)}")
    path = files(__package__) / f"{name}.json"
    return Recipe(**parse_json_object(path.read_bytes(), str(path)))
