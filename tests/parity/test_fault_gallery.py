"""Bugs planted into a model of transformers: the first wrong tensor must be named, and no wrong cause claimed."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from fault_gallery import MODEL, PRECISIONS, find, one_thread, our_trace, their_trace  # noqa: E402
from fault_gallery_page import page  # noqa: E402
from planted_faults import FAULTS  # noqa: E402

from minivivit.verification.comparison import likely_causes as likely  # noqa: E402

PAGE = Path(__file__).parent.parent.parent / "notebooks" / "fault_gallery.md"
IN_ATTENTION = [fault for fault in FAULTS if fault.first_wrong.endswith((".scores", ".probs"))]
# What is true of more than one mistake: a description, where the mistake itself is not known.
DESCRIPTIONS = {
    "pixel scaling",
    "transposed",
    "bias differs",
    "another tensor",
    "token order",
    "feature order",
    "a constant factor",
    "NaN",
}


def named(faults):
    return pytest.mark.parametrize("fault", faults, ids=lambda fault: fault.name.replace(" ", "_"))


def test_there_are_enough():
    assert len(FAULTS) >= 28
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert len({fault.cause for fault in FAULTS}) >= 28


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_model_without_fault_raises_no_alarm(precision):
    finding = find(None, precision)
    assert finding.comparison.agrees, finding.comparison.verdict
    assert finding.causes == []


@named(FAULTS)
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_the_first_wrong_tensor_and_its_cause_are_named(fault, precision):
    finding = find(fault, precision)
    assert finding.first_wrong == fault.first_wrong
    assert [cause.name for cause in finding.causes] == ([] if fault.cause is None else [fault.cause])
    assert finding.comparison.hints == [cause.sentence for cause in finding.causes]
    assert all("\n" not in hint for hint in finding.comparison.hints)


@named(FAULTS)
def test_in_bfloat16_nothing_wrong_is_claimed(fault):
    """Rounding hides the smaller ones there; what is seen is seen in the right place."""
    finding = find(fault, "bfloat16")
    assert finding.first_wrong in (fault.first_wrong, None)
    assert {cause.name for cause in finding.causes} <= {fault.cause}


def test_in_bfloat16_most_are_still_found():
    assert sum(find(fault, "bfloat16").first_wrong is not None for fault in FAULTS) >= len(FAULTS) - 8


@named(IN_ATTENTION)
def test_without_scores_the_output_of_the_attention_tells_as_much(fault):
    finding = find(fault, with_scores=False)
    assert finding.first_wrong == fault.first_wrong.rpartition(".")[0]
    assert [cause.name for cause in finding.causes] == [fault.cause]


@named(FAULTS)
def test_a_mistake_that_is_not_known_is_not_taken_for_another(fault, monkeypatch):
    """Each mistake in turn is struck off the list: then nothing may be claimed, or what is true of it all the same."""
    find(fault)  # with the whole list
    for name in ("hypotheses", "general_hypotheses"):
        original = getattr(likely, name)
        monkeypatch.setattr(
            likely,
            name,
            lambda evidence, original=original: (one for one in original(evidence) if one.cause != fault.cause),
        )
    with one_thread():
        causes = likely.likely_causes(find(fault).comparison, our_trace(), their_trace(fault, "float32"), MODEL)
    assert {cause.name for cause in causes} <= DESCRIPTIONS


def test_the_page_is_up_to_date():
    """But for the digits of errors, which depend on the order of sums."""
    digits = re.compile(r"\d+\.\d+(?:e[+-]\d+)?%?|\d+e[+-]\d+|-0\.00")
    written, made = (digits.sub("#", text) for text in (PAGE.read_text(encoding="utf-8"), page()))
    assert written.splitlines() == made.splitlines(), (
        "run  python tests/parity/fault_gallery_page.py > notebooks/fault_gallery.md"
    )
