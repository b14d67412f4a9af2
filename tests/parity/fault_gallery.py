"""Running the fault gallery: plant a fault, capture the faulty model, compare, and see what the tool says."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import torch
from fault_planting import healthy_model, inputs, our_model
from planted_faults import Fault
from threadpoolctl import threadpool_limits

from minivivit.verification.comparison.evidence.cause import Cause
from minivivit.verification.comparison.likely_causes import likely_causes
from minivivit.verification.comparison.verdict import Comparison, compare
from minivivit.verification.rounding.budget import rounding_budgets
from minivivit.verification.tensors.source import ArraySource
from minivivit.verification.tracing.capture_transformers import capture_transformers
from minivivit.verification.tracing.recording import record_pass

MODEL = our_model()
PRECISIONS = ("float64", "float32", "bfloat16")


@dataclass(frozen=True)
class Finding:
    """What the tool says of a fault."""

    comparison: Comparison
    causes: list[Cause]

    @property
    def first_wrong(self) -> str | None:
        """The name of the first tensor that differs."""
        row = self.comparison.first_divergent
        return None if row is None else row.name


@cache
def our_trace(with_scores: bool = True) -> ArraySource:
    """Our float64 run, with rounding budgets; without scores and probabilities it is what `minivivit trace` writes."""
    given = inputs()
    pixels, labels = MODEL.checked_pixels(given["pixel_values"].numpy()), given["labels"].numpy()
    store: dict = {}
    record_pass(MODEL, pixels, store, labels=labels)
    if not with_scores:
        store = {name: array for name, array in store.items() if not name.endswith((".scores", ".probs"))}
    source = ArraySource(store, {"labels": labels.tolist(), "config": MODEL.config.to_dict()})
    source.metadata["rounding_budgets"] = rounding_budgets(MODEL, pixels, source, PRECISIONS, labels=labels)
    return source


@contextmanager
def one_thread() -> Iterator[None]:
    """So small a model runs faster in one thread, the more so where other work is going on."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


def their_trace(fault: Fault | None, precision: str) -> ArraySource:
    """What transformers' model with `fault`, or none, makes in `precision`."""
    model, given = healthy_model(precision), inputs(precision)
    if fault is not None:
        fault.plant(model, given)
    return ArraySource(capture_transformers(model, given["pixel_values"], labels=given["labels"]))


@cache
def find(fault: Fault | None, precision: str = "float32", with_scores: bool = True) -> Finding:
    """Plant `fault`, or none, into the model in `precision`, and compare with ours."""
    with one_thread():
        ours, theirs = our_trace(with_scores), their_trace(fault, precision)
        comparison = compare(ours, theirs, precision=precision, model=MODEL)
        return Finding(comparison, likely_causes(comparison, ours, theirs, MODEL))
