"""Mistakes planted into an independent port: none passes, none is taken for another, and no right port is suspected.

    pytest -m parity tests/parity/test_port_gallery.py -n 2

`port_report.py` prints what is said of each.
"""

import dataclasses
from functools import cache
from itertools import product

import pytest

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")

from port.gallery import PORT_FAULTS  # noqa: E402
from port.hidden import HIDDEN  # noqa: E402
from port.measure import Column, Finding, measure, strength  # noqa: E402
from port.right_pairs import RIGHT_PAIRS, false_alarm  # noqa: E402

FULL, COARSE = Column(), Column(coarse=True)
COLUMNS = [
    *(Column(coarse, dtype) for coarse, dtype in product((False, True), ("float32", "float16", "bfloat16"))),
    Column(pairing="order"),
    Column(coarse=True, pairing="order"),
    Column(fresh=True),
    Column(coarse=True, fresh=True),
]
LEAST_RIGHT = {FULL: 0.7, COARSE: 0.4}
# A fault that is named as hidden by rounding changes no tensor by more than this many times what rounding does.
UNSEEN = 2.0


def called(column: Column) -> str:
    """An id for pytest."""
    words = ["coarse" if column.coarse else "full", column.dtype, column.pairing, "fresh" * column.fresh]
    return "-".join(word for word in words if word)


columns = pytest.mark.parametrize("column", COLUMNS, ids=called)


@cache
def findings(column: Column) -> list[Finding]:
    """Of all faults that such a recording can have."""
    chosen = [fault for fault in PORT_FAULTS if not fault.precisions or column.dtype in fault.precisions]
    return [measure(fault, column) for fault in chosen]


def test_there_are_enough():
    assert len(PORT_FAULTS) >= 140
    assert len({fault.name for fault in PORT_FAULTS}) == len(PORT_FAULTS)
    assert len(RIGHT_PAIRS) >= 150
    assert len({pair.name for pair in RIGHT_PAIRS}) == len(RIGHT_PAIRS)
    assert {fault.model for fault in PORT_FAULTS} == {"m1", "m2", "m3"}


@columns
def test_no_broken_port_passes_and_each_is_found_where_it_is(column):
    hidden = HIDDEN.get(column, {})
    seen = [finding for finding in findings(column) if finding.fault not in hidden]
    assert [finding.fault for finding in seen if finding.exit_code == 0] == []
    assert [finding.fault for finding in seen if not finding.localised] == []


@columns
def test_no_wrong_cause_is_claimed(column):
    wrong = {finding.fault: finding.causes for finding in findings(column) if finding.cause_verdict == "wrong"}
    assert wrong == {}


@pytest.mark.parametrize("column", LEAST_RIGHT, ids=called)
def test_most_causes_are_named(column):
    with_cause = [finding for finding in findings(column) if finding.expected_cause is not None]
    right = [finding for finding in with_cause if finding.cause_verdict == "right"]
    assert len(right) >= LEAST_RIGHT[column] * len(with_cause)


def test_the_place_of_what_is_confined_to_one_is_named():
    assert [finding.fault for finding in findings(FULL) if finding.place_said is False] == []


@pytest.mark.parametrize("column", HIDDEN, ids=called)
def test_what_is_called_hidden_cannot_be_seen(column):
    faults = {fault.name: fault for fault in PORT_FAULTS}
    strengths = {name: strength(faults[name], column) for name in HIDDEN[column]}
    assert {name: found for name, found in strengths.items() if found > UNSEEN} == {}


def test_freshly_initialised_weights_hide_nothing_that_is_not_named():
    """A fault that fresh weights hide is seen with the others."""
    fresh = set(HIDDEN.get(dataclasses.replace(FULL, fresh=True), {}))
    assert fresh <= {finding.fault for finding in findings(FULL) if finding.exit_code != 0}


@pytest.mark.parametrize("pair", RIGHT_PAIRS, ids=lambda pair: pair.name.replace(" ", "_"))
def test_nothing_is_reported_of_a_right_port(pair):
    assert false_alarm(pair) == ""
