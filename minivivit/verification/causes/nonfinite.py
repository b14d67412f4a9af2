"""NaN and infinity: where they come from."""

from collections.abc import Iterator

import numpy

from minivivit.verification.causes.cause import Cause
from minivivit.verification.causes.evidence import Evidence

LARGEST_FLOAT16 = 65504.0


def nonfinite_causes(evidence: Evidence, num_nonfinite: int) -> Iterator[Cause]:
    """Name the kind of number, and overflow where ours says that the numbers are too large for float16.

    Parameters
    ----------
    num_nonfinite : int
        Entries that are NaN or infinite in theirs or in ours only.
    """
    theirs = evidence.read_theirs(evidence.name)
    if theirs is None or num_nonfinite == 0:
        return
    ours = evidence.sample(evidence.name)
    largest = float(numpy.abs(ours).max(initial=0.0)) if ours is not None else 0.0
    nan, infinite = int(numpy.isnan(theirs).sum()), int(numpy.isinf(theirs).sum())
    if not nan + infinite:
        yield Cause(
            "not finite in ours",
            f"not finite in ours: {num_nonfinite} entries of {evidence.name} are NaN or infinite in ours and not in "
            "theirs; check our weights and input",
        )
        return
    kinds = " and ".join(f"{count} {word}" for count, word in ((nan, "NaN"), (infinite, "infinities")) if count)
    if largest > LARGEST_FLOAT16:
        yield Cause(
            "overflow in float16",
            f"overflow in float16: theirs has {kinds} in {evidence.name}, where ours reaches {largest:.4g}, more than "
            f"float16 can hold ({LARGEST_FLOAT16:.0f}); keep this tensor in float32 or bfloat16",
        )
        return
    name = "NaN" if nan else "infinity"
    yield Cause(
        name,
        f"{name}: theirs has {kinds} in {evidence.name}, the first with any; ours is at most {largest:.4g} there; "
        "look for a division by 0, a root of a negative number, infinity times 0 (a mask), or float16 on the way",
    )
