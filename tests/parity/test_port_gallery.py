"""Mistakes planted into an independent port: none is taken for another, most are named, and the place is said.

    pytest -m parity tests/parity/test_port_gallery.py

It holds what holds in float32, paired by name: of full recordings with all mistakes, and of coarse ones, of freshly
initialised weights and of half precision with some, for each takes a search through a layer. All of them, and the other
recordings (by order, coarse ones in half precision):

    python tests/parity/port_report.py --kind coarse [--fresh] [--dtype float16] [--pairing order]
"""

from functools import cache

import pytest

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")

from port.gallery import PORT_FAULTS  # noqa: E402
from port.hidden import HIDDEN, OTHER_SHAPES, SEEN_LATER  # noqa: E402
from port.measure import Column, Finding, measure  # noqa: E402
from port.right_pairs import RIGHT_PAIRS  # noqa: E402

FULL, COARSE, FRESH, COARSE_FRESH = Column(), Column(coarse=True), Column(fresh=True), Column(coarse=True, fresh=True)
FLOAT16, BFLOAT16 = Column(dtype="float16"), Column(dtype="bfloat16")
NAMES = ["full", "coarse", "fresh", "coarse, fresh", "float16", "bfloat16"]
COLUMNS = [FULL, COARSE, FRESH, COARSE_FRESH, FLOAT16, BFLOAT16]
LEAST_RIGHT = 0.7
# Every so-many-th fault is planted, from which one on; other ones in each column.
SAMPLES = {FULL: (0, 1), COARSE: (0, 2), FRESH: (1, 3), COARSE_FRESH: (2, 5), FLOAT16: (3, 11), BFLOAT16: (5, 11)}


@cache
def findings(column: Column = FULL) -> list[Finding]:
    """Of the faults that are planted into such a recording."""
    chosen = [fault for fault in PORT_FAULTS if not fault.precisions or column.dtype in fault.precisions]
    start, step = SAMPLES[column]
    return [measure(fault, column) for fault in chosen[start::step]]


def with_column(columns):
    return pytest.mark.parametrize("column", columns, ids=NAMES[: len(columns)])


def test_there_are_enough():
    assert len(PORT_FAULTS) >= 140
    assert len({fault.name for fault in PORT_FAULTS}) == len(PORT_FAULTS)
    assert len(RIGHT_PAIRS) >= 150
    assert len({pair.name for pair in RIGHT_PAIRS}) == len(RIGHT_PAIRS)
    assert {fault.model for fault in PORT_FAULTS} == {"m1", "m2", "m3"}


@with_column(COLUMNS)
def test_no_broken_port_passes(column):
    passed = {finding.fault for finding in findings(column) if finding.exit_code == 0}
    assert passed <= HIDDEN.get(column, {}).keys()


@with_column(COLUMNS)
def test_what_is_not_localised_is_named(column):
    lost = {finding.fault for finding in findings(column) if not finding.localised}
    named = HIDDEN.get(column, {}).keys() | SEEN_LATER.get(column, {}).keys()
    assert lost <= named | (set() if column.coarse else OTHER_SHAPES.keys())


@with_column(COLUMNS)
def test_no_wrong_cause_is_claimed(column):
    wrong = {finding.fault: finding.causes for finding in findings(column) if finding.cause_verdict == "wrong"}
    assert wrong == {}


@with_column([FULL, COARSE])
def test_most_causes_are_named(column):
    with_cause = [finding for finding in findings(column) if finding.expected_cause is not None]
    right = [finding for finding in with_cause if finding.cause_verdict == "right"]
    assert len(right) >= LEAST_RIGHT * len(with_cause)


@with_column([FULL, COARSE])
def test_the_place_of_what_is_confined_to_one_is_named(column):
    assert [finding.fault for finding in findings(column) if finding.place_said is False] == []
