"""NaN and infinity: where they come from."""

from collections.abc import Iterator

import numpy

from minivivit.verification.comparison.evidence.cause import Cause
from minivivit.verification.comparison.evidence.evidence import Evidence
from minivivit.verification.tensors.error import TensorError

LARGEST_FLOAT16 = 65504.0


def nonfinite_causes(evidence: Evidence, error: TensorError) -> Iterator[Cause]:
    """Name the kind of number, and overflow where ours says that the numbers are too large for float16.

    Parameters
    ----------
    error : TensorError
        Of the whole tensor: any clip of the batch may be the one, and `evidence` holds the first.
    """
    count, name = error.num_nonfinite, evidence.name
    if count == 0:
        return
    differ = f"{count:,} entries of {name} are NaN or infinite in one and not in the other"
    if numpy.isfinite(error.theirs):
        yield Cause(
            "not finite in ours",
            f"not finite in ours: {differ}, the first of them {error.ours} in ours; check our weights and input",
        )
        return
    ours = evidence.sample(name)
    finite = ours[numpy.isfinite(ours)] if ours is not None else numpy.empty(0)
    largest = float(numpy.abs(finite).max(initial=abs(error.ours) if numpy.isfinite(error.ours) else 0.0))
    kind = "NaN" if numpy.isnan(error.theirs) else "infinity"
    where = f"{differ}, the first of them {error.theirs} in theirs"
    if largest > LARGEST_FLOAT16:
        yield Cause(
            "overflow in float16",
            f"overflow in float16: {where}, where ours reaches {largest:.4g}, more than float16 can hold "
            f"({LARGEST_FLOAT16:.0f}); keep this tensor in float32 or bfloat16",
        )
        return
    yield Cause(
        kind,
        f"{kind}: {where}; no tensor before has any, and ours is at most {largest:.4g}; look for a division by 0, a "
        "root of a negative number, infinity times 0 (a mask), or float16 on the way",
    )
