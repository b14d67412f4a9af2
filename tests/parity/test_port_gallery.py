"""Mistakes planted into an independent port: none is taken for another, most are named, and the place is said.

    pytest -m parity tests/parity/test_port_gallery.py

It holds what holds: of full recordings in float32, paired by name. `port_report.py` measures the other recordings too
(coarse, half precision, by order, fresh weights), where more is still hidden or unnamed.
"""

from functools import cache

import pytest

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")

from port.gallery import PORT_FAULTS  # noqa: E402
from port.measure import Column, Finding, measure  # noqa: E402
from port.right_pairs import RIGHT_PAIRS  # noqa: E402

FULL = Column()
LEAST_RIGHT = 0.7


@cache
def findings() -> list[Finding]:
    """Of all faults that a full recording in float32 can have."""
    chosen = [fault for fault in PORT_FAULTS if not fault.precisions or FULL.dtype in fault.precisions]
    return [measure(fault, FULL) for fault in chosen]


def test_there_are_enough():
    assert len(PORT_FAULTS) >= 140
    assert len({fault.name for fault in PORT_FAULTS}) == len(PORT_FAULTS)
    assert len(RIGHT_PAIRS) >= 150
    assert len({pair.name for pair in RIGHT_PAIRS}) == len(RIGHT_PAIRS)
    assert {fault.model for fault in PORT_FAULTS} == {"m1", "m2", "m3"}


def test_no_broken_port_passes():
    assert [finding.fault for finding in findings() if finding.exit_code == 0] == []


def test_no_wrong_cause_is_claimed():
    wrong = {finding.fault: finding.causes for finding in findings() if finding.cause_verdict == "wrong"}
    assert wrong == {}


def test_most_causes_are_named():
    with_cause = [finding for finding in findings() if finding.expected_cause is not None]
    right = [finding for finding in with_cause if finding.cause_verdict == "right"]
    assert len(right) >= LEAST_RIGHT * len(with_cause)


def test_the_place_of_what_is_confined_to_one_is_named():
    assert [finding.fault for finding in findings() if finding.place_said is False] == []
