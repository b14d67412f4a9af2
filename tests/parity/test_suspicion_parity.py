"""Half precision: mistakes that no budget exceeds are suspicious, in their own tensor; right ports are not.

All of both: `python tests/parity/port_report.py --dtype bfloat16`, and `--right [--drawn SEED]`.
"""

import pytest

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")

from port.gallery import PORT_FAULTS  # noqa: E402
from port.hidden import HIDDEN  # noqa: E402
from port.measure import Column, measure  # noqa: E402
from port.right_pairs import RIGHT_PAIRS, false_alarm  # noqa: E402

HALF = Column(dtype="bfloat16")
SUSPICIOUS = [
    "kernel through int8",
    "int8 weights in the MLP",
    "activations through int8",
    "an activation of one's own",
    "erf GELU in layer 1",
    "layer norm's backward without the mean",
    "layer norm's backward without the projection",
    "layer norm's backward with neither",
    "final norm's backward without the mean",
    "erf backward",
]
RIGHT = [pair for pair in RIGHT_PAIRS if pair.column.dtype != "float32" or pair.how == "autocast"]


@pytest.mark.parametrize("name", SUSPICIOUS)
def test_a_mistake_within_its_budget_is_suspicious(name):
    (fault,) = (fault for fault in PORT_FAULTS if fault.name == name)
    finding = measure(fault, HALF)
    assert (finding.exit_code, finding.localised) == (4, True), finding
    assert name not in HIDDEN[HALF]


@pytest.mark.parametrize("pair", RIGHT[::6], ids=lambda pair: pair.name)
def test_a_right_port_in_half_precision_is_not(pair):
    assert false_alarm(pair) == ""
