"""Planting one fault, comparing, and judging what was said."""

import dataclasses
import json
import math
import tempfile
import traceback
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from threadpoolctl import threadpool_limits

from minivivit.errors import InputError
from minivivit.verification.comparison.judgement import FEW
from minivivit.verification.comparison.verdict import Comparison, compare
from minivivit.verification.tensors.source import TensorSource, open_source

from .fault import Fault
from .mapping import full_mapping, mapping_of
from .models import Setting, our_model, our_trace
from .recording import Port, as_source, make_port, record


@dataclass(frozen=True)
class Column:
    """How the port is recorded, and how it is paired: a column of the table.

    Attributes
    ----------
    coarse : bool
    dtype : {"float32", "float16", "bfloat16"}
    pairing : {"map", "whole map", "order", "sorted"}
        "map" holds the lines whose tensors were recorded, "whole map" all lines; "sorted" is by order, of a file that
        safetensors' `save_file` wrote, which sorts the names.
    fresh : bool
        Freshly initialised weights.
    """

    coarse: bool = False
    dtype: str = "float32"
    pairing: str = "map"
    fresh: bool = False


@dataclass(frozen=True)
class Finding:
    """What the tool says of a fault, and whether it is right.

    Attributes
    ----------
    fault : str
    expected, found : str or None
        The first wrong tensor, or the first suspicious one.
    localised : bool
    exit_code : int
        2 where it raised an error.
    causes : tuple of str
    expected_cause : str or None
    cause_verdict : {"right", "vague", "wrong", "none", "missed"}
        "none" where none was to be claimed and none was; "missed" where one was.
    place_said : bool or None
        None where the mistake is not confined to one.
    effect : float
        Where nothing was found: the fault's `strength`. Where something else was: the largest effect before that.
    verdict : str
    """

    fault: str
    expected: str | None
    found: str | None
    localised: bool
    exit_code: int
    causes: tuple[str, ...]
    expected_cause: str | None
    cause_verdict: str
    place_said: bool | None
    effect: float
    verdict: str


def setting_of(fault: Fault, column: Column) -> Setting:
    """The model that a fault is planted into."""
    return Setting(fault.model, column.fresh, weights=fault.weights)


def compare_port(
    port: Port, column: Column, gradients: bool, values: dict[str, Any] | None = None
) -> tuple[Comparison, TensorSource]:
    """Record it, and compare."""
    values = record(port, column.coarse, gradients) if values is None else values
    ours, model = our_trace(port.setting, gradients), our_model(port.setting)
    if column.pairing == "map":
        theirs: TensorSource = as_source(values)
        return compare(ours, theirs, mapping=mapping_of(port.setting, values), model=model), theirs
    if column.pairing == "whole map":
        theirs = as_source(values)
        return compare(ours, theirs, mapping=full_mapping(port.setting), model=model), theirs
    if column.pairing == "order":
        theirs = as_source(values)
        return compare(ours, theirs, by_order=True, find_layouts=True, model=model), theirs
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "theirs.safetensors"
        save_file({name: value.contiguous() for name, value in values.items()}, path)
        theirs = open_source(path)
        return compare(ours, theirs, by_order=True, find_layouts=True, model=model), theirs


def exit_code(comparison: Comparison) -> int:
    """Of the command: the comparison's own where it has one, else 0 or 1."""
    return getattr(comparison, "exit_code", 0 if comparison.agrees else 1)


@cache
def healthy_pairs(setting: Setting, column: Column, gradients: bool) -> tuple[str, ...]:
    """Our names that are paired when nothing is wrong."""
    comparison, _ = compare_port(make_port(setting, column.dtype), column, gradients)
    return tuple(row.name for row in comparison.rows)


@cache
def effects(fault: Fault, column: Column) -> dict[str, float]:
    """The fault's effect in float64, tensor by tensor: relative to ours, over the precision's measured rounding.

    The larger one of the quotients of norms and of largest entries, since a mistake may be of one token alone. Numbers
    that stand alone, as the loss does, are left out: by luck our own run may round nothing there.
    """
    setting = setting_of(fault, column)
    port = make_port(setting, "float64")
    torch.manual_seed(0)
    fault.plant(port)
    ours = our_trace(setting, fault.gradients)
    # not by order, which a mistake may disturb, and not as they were stored
    recorded = dataclasses.replace(column, dtype="float64", pairing="map")
    values = {name: value.double() for name, value in record(port, column.coarse, fault.gradients).items()}
    comparison, _ = compare_port(port, recorded, fault.gradients, values)
    budgets = ours.metadata["rounding_budgets"][column.dtype]
    return {row.name: _times_rounding(row, budgets[row.name]) for row in comparison.rows if math.prod(row.shape) >= FEW}


def _times_rounding(row: Any, budget: dict[str, float]) -> float:
    if row.error is None or row.error.num_nonfinite:
        return math.inf
    return max(row.error.relative_l2 / (budget["relative_l2"] or TINY), row.error.max_abs / (budget["max_abs"] or TINY))


def strength(fault: Fault, column: Column) -> float:
    """The fault's largest effect on any tensor that is paired: below 1 rounding hides it."""
    try:
        return max(effects(fault, column).values())
    except InputError:  # it changes a shape
        return math.inf


# Where our own run rounded nothing away.
TINY = 1e-300
# A fault must be localised where its effect is this many times what rounding makes, and may be before.
LOUD = 8.0
# Causes that are of a part by their nature. Any other one, said of the whole, is wrong where only a part has it.
CONFINED = {"keys cut off", "a key masked", "head order", "NaN", "infinity"}
# Parts of the JSON that name tensors, and nothing else.
LISTS = ("rows", "unpaired_ours", "unpaired_theirs")


def measure(fault: Fault, column: Column) -> Finding:
    """Plant the fault, and see what is said."""
    with threadpool_limits(1):
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return _measure(fault, column)
        finally:
            torch.set_num_threads(threads)


def _measure(fault: Fault, column: Column) -> Finding:
    setting = setting_of(fault, column)
    expected = expected_name(fault, setting, column)
    port = make_port(setting, column.dtype)
    torch.manual_seed(0)
    fault.plant(port)
    try:
        comparison, _ = compare_port(port, column, fault.gradients)
    except Exception as error:
        words = f"{type(error).__name__}: {error} ({traceback.extract_tb(error.__traceback__)[-1].name})"
        return Finding(
            fault.name, expected, None, False, 2, (), fault.cause, "missed" if fault.cause else "none",
            _said(fault, words), float("nan"), words,
        )  # fmt: skip
    causes = tuple(hint.partition(":")[0] for hint in comparison.hints)
    row, said = comparison.first_divergent, _said(fault, _words(comparison))
    suspected = next((suspicion.tensor for suspicion in comparison.suspicions), None)
    found = suspected if row is None else row.name
    if expected != fault.first_wrong and not said:
        said = None  # the place is one of a tensor that was not recorded
    localised, effect = found == expected, float("nan")
    if found is None:
        effect = strength(fault, column)
    elif not localised:
        localised, effect = _as_near(fault, column, expected, found)
    return Finding(
        fault.name,
        expected,
        found,
        localised,
        exit_code(comparison),
        causes,
        fault.cause,
        _cause_verdict(fault, causes, said),
        said,
        effect,
        comparison.verdict,
    )


def expected_name(fault: Fault, setting: Setting, column: Column) -> str | None:
    """The first tensor that is paired, from the fault's own on."""
    names = list(our_trace(setting).shapes)
    place = names.index(fault.first_wrong)
    paired = set(healthy_pairs(setting, column, fault.gradients))
    return next((name for name in names[place:] if name in paired), None)


def _as_near(fault: Fault, column: Column, expected: str | None, found: str | None) -> tuple[bool, float]:
    """Whether nothing louder lies between the fault's place and what was found; and the loudest effect before that.

    The first tensor after the fault need not be wrong: the values are not made from a wrong query.
    """
    try:
        loud = effects(fault, column)
    except Exception:
        return False, float("nan")
    names = [name for name in our_trace(setting_of(fault, column), fault.gradients).shapes if name in loud]
    start = names.index(expected) if expected in names else len(names)
    end = names.index(found) if found in names else len(names)
    between = max((loud[name] for name in names[start:end]), default=0.0)
    return found is not None and start <= end and between < LOUD, between


def _cause_verdict(fault: Fault, causes: tuple[str, ...], said: bool | None) -> str:
    if any(cause not in fault.right_causes | set(fault.vague) for cause in causes):
        return "wrong"
    if causes and said is False and not set(causes) <= CONFINED:
        return "wrong"  # what is true of a part is said of the whole
    if causes:
        return "right" if fault.right_causes & set(causes) else "vague"
    return "none" if fault.cause is None else "missed"


def _words(comparison: Comparison) -> str:
    """All that the JSON says, but for the lists of tensors."""
    said = comparison.to_json()
    return json.dumps({name: value for name, value in said.items() if name not in LISTS})


def _said(fault: Fault, words: str) -> bool | None:
    """Whether the place is named, in the words of the JSON."""
    return any(place.lower() in words.lower() for place in fault.where) if fault.where else None
