"""Likely causes of a divergence, each tested: what would this mistake have made of our inputs, and is it theirs?"""

from minivivit.verification.causes.cause import Cause
from minivivit.verification.causes.likely import likely_causes

__all__ = ["Cause", "likely_causes"]
