r"""What a tensor inherits of the errors of those that it is made of, where its own budget says next to nothing.

Budgets compare two draws of rounding errors, ours and theirs, tensor by tensor. A tensor that is nothing but rounding,
or a single number, may have lost all of its error by chance in our own run, and then another one seems large. But what
it is made of has bounds too, and from these follow some for it. They need no factor:

- Probabilities whose scores are off by d, as theirs are and were found to be rounding, are off by up to exp(2 d) - 1 of
  themselves. From d = `LOST` on a saturated row may choose another key: then rows of n keys are off by at most
  sqrt(2 / n), what they weigh by twice the values, and what follows by about as much as that in proportion.
- The loss: with logits off by no more than d, cross entropy is off by at most 2 d.
- The gradient of a bias is the sum over all n rows of the gradient of its layer's output, so that rows off by d make it
  off by at most n d. The key's bias is such a one: in exact arithmetic its gradient is 0. A weight's gradient is the
  product with the layer's input X: of entries of one size, at most n d rms(X).
- The gradient of the queries and keys where the attention is saturated is all but 0, and whether it is in theirs as
  well hangs on how its scores S were rounded. Whatever the probabilities are, dS = P (dP - sum P dP) has rows whose
  sums of absolute values are at most 2 max abs(dP), and dP = dO V^T. Scores off by d move a probability by no more than
  4 d of itself while that is below 1, so that for rows of one size

      rms(error of dQ) <= 2 sqrt(head size) rms(dO) rms(V) rms(K) min(1, 4 max abs(error of S))

  and that of dK by at most sqrt(n) more, with Q for K, since all n queries may attend to one key. Where ours is not
  lost to rounding, a right program may still take sum P dP in another way, as dO O^T: then dP and that sum do not
  cancel to the last bit, and 2 u takes the place of the last factor. That is heeded in float32 and float64.
  n rows of such errors add up to sqrt(n) of one.
- What such a gradient goes into, which is all before that attention, is as uncertain as the share that it has in the
  gradient of the norm before the attention.
"""

import math
import re
from collections.abc import Mapping

from minivivit.verification.comparison.judgement import FEW, NOISE, Budget
from minivivit.verification.tensors.error import TensorError, unit_roundoff

# The gradient of queries or keys, of the layer's attention or of one of its two.
ATTENTION_GRADIENT = re.compile(
    r"gradient\.(?P<attention>(?P<layer>.+)\.((?P<axis>temporal|spatial)_)?attention\.attention)\.(?P<part>query|key)"
)
FORWARD = re.compile(r"(?!gradient\.)(?P<attention>.+\.(temporal_|spatial_)?attention\.attention)(?P<probs>\.probs)?")
# Scores are the sums of many products: the largest error of them over the rms that follows from those of their factors.
LARGEST_OF_SCORES = 8.0

# Scores off by so much may move a probability to several times itself.
LOST = 1.0

# Of coarser unit roundoffs our own run says where it is lost, and 2 u of the bound would be more than most gradients.
FINE = 2.0**-20

# (of rms, of max_abs)
Floor = tuple[float, float]
NOTHING: Floor = (0.0, 0.0)
Budgets = Mapping[str, Budget]


class Inheritance:
    """Errors that were found to be rounding, by our names, in the order of execution.

    Parameters
    ----------
    shapes : dict of str to tuple of int
        Of our tensors.
    heads : int or None
        Of the attention.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], heads: int | None):
        self.shapes, self.heads = shapes, heads
        self.accepted: dict[str, TensorError] = {}
        self.latest: TensorError | None = None
        self.known: dict[str, dict[str, float]] = {}
        self.relative: float | None = None  # of what followed from a softmax that was lost, the largest

    def accept(self, name: str, error: TensorError) -> None:
        """Take in a tensor whose error is rounding."""
        self.accepted[name] = self.latest = error
        found = FORWARD.fullmatch(name)
        if self.relative is None and found and self._their_scores(found["attention"]) >= LOST:
            self.relative = 0.0
        if self.relative is not None and not name.endswith((".scores", ".probs")) and math.isfinite(error.relative_l2):
            self.relative = max(self.relative, min(error.relative_l2, 2.0))

    def floor(self, name: str, shape: tuple[int, ...], budgets: Budgets, precision: str) -> Floor:
        """The rms and the largest error of a tensor that those of its inputs explain, beside its own budget."""
        budget, size = budgets.get(name), math.prod(shape)
        if size < FEW and self.latest is not None and not name.startswith("gradient."):
            return 2 * self.latest.max_abs, 2 * self.latest.max_abs
        if budget is None:
            return NOTHING
        if found := FORWARD.fullmatch(name):
            forward = self._of_lost_softmax(found["attention"], bool(found["probs"]), shape, budgets)
        else:
            forward = NOTHING
        if self.relative is not None:
            following = 2 * self.relative * _rms_of_ours(budget)
            forward = max(forward[0], following), max(forward[1], math.sqrt(size) * following)  # in one entry
        backward = self._backward(name, shape, budgets, precision)
        return max(forward[0], backward[0]), max(forward[1], backward[1])

    def _their_scores(self, attention: str) -> float:
        """The largest error of their scores; 0 where these were not recorded, or not found to be rounding."""
        scores = self.accepted.get(f"{attention}.scores")
        return 0.0 if scores is None else scores.max_abs

    def _of_lost_softmax(self, attention: str, probs: bool, shape: tuple[int, ...], budgets: Budgets) -> Floor:
        if self._their_scores(attention) < LOST:
            return NOTHING
        if probs:
            return math.sqrt(2 / max(shape[-1], 1)), 1.0
        value = budgets.get(f"{attention}.value")
        bound = 2 * _rms_of_ours(value)
        return bound, bound * (1.0 if value is None else _crest(value))

    def _backward(self, name: str, shape: tuple[int, ...], budgets: Budgets, precision: str) -> Floor:
        budget = budgets[name]
        if not name.startswith("gradient."):
            return NOTHING
        u = unit_roundoff(precision)
        if precision not in self.known:
            self.known[precision] = self._uncertain(budgets, u)
        carried = self.known[precision].get(name, 0.0) * _rms_of_ours(budget)
        module, _, parameter = name.rpartition(".")
        if parameter in ("bias", "weight"):
            rms, largest = self._of_parameters(module, parameter, shape, budgets, u)
        else:
            rms, largest = self._of_any_probabilities(name, budgets, u)
        return max(rms, carried), max(largest, _crest(budget) * carried)

    def _of_parameters(self, module: str, parameter: str, shape: tuple[int, ...], budgets: Budgets, u: float) -> Floor:
        rows = math.prod(self.shapes.get(module, ())) / max(shape[0], 1)
        norm = budgets.get(_norm_before(module))
        inputs = 1.0 if parameter == "bias" else _rms_of_ours(norm)
        rms, largest = self._of_any_probabilities(module, budgets, u)
        if budgets[f"{module}.{parameter}"]["relative_l2"] <= NOISE:
            return math.sqrt(rows) * inputs * rms, math.sqrt(rows) * inputs * largest
        if module in self.accepted:
            rms, largest = self.accepted[module].rms, self.accepted[module].max_abs
        return rows * inputs * rms, rows * inputs * largest

    def _of_any_probabilities(self, name: str, budgets: Budgets, u: float) -> Floor:
        """The largest rms of the error of a gradient of queries or keys, and so of one entry; 0 of another tensor."""
        found, shape = ATTENTION_GRADIENT.fullmatch(name), self.shapes.get(name, ())
        if found is None or not self.heads or len(shape) < 2 or name not in budgets:
            return NOTHING
        attention, is_query = found["attention"], found["part"] == "query"
        names = f"gradient.{attention}", f"{attention}.value", f"{attention}.{'key' if is_query else 'query'}"
        factors = math.prod(_rms_of_ours(budgets.get(each)) for each in names)
        rows = 1 if is_query else shape[-2]
        bound = 2 * math.sqrt(shape[-1] / self.heads * rows) * factors
        lost = budgets[name]["relative_l2"] > NOISE
        if not lost and u > FINE:
            return NOTHING
        uncertain = max(4 * min(0.25, self._of_scores(attention, budgets)) if lost else 0.0, 2 * u)
        rms = bound * uncertain
        return rms, rms * _crest(budgets[name])

    def _of_scores(self, attention: str, budgets: Budgets) -> float:
        """Their largest error in our own run, or what those of queries and keys make of it."""
        scores = budgets.get(f"{attention}.scores")
        if scores is not None:
            return scores["max_abs"]
        parts = [budgets.get(f"{attention}.{part}") for part in ("query", "key")]
        relative = sum(part["relative_l2"] for part in parts if part is not None)
        return LARGEST_OF_SCORES * relative * math.prod(map(_rms_of_ours, parts))

    def _uncertain(self, budgets: Budgets, u: float) -> dict[str, float]:
        """Gradient -> the part of it that an attention's derivative, which is lost to rounding, may change."""
        shares: dict[str, float] = {}
        share = 0.0
        for name in budgets:
            if not name.startswith("gradient."):
                continue
            module, _, parameter = name.rpartition(".")
            shares[name] = shares.get(module, share) if parameter in ("bias", "weight") else share
            norm = _norm_before(name)
            if norm and (value := _rms_of_ours(budgets.get(f"gradient.{norm}"))):
                gain = _rms_of_ours(budgets.get(name.removeprefix("gradient."))) / (
                    _rms_of_ours(budgets.get(norm)) or math.inf
                )
                share = max(share, gain * self._of_any_probabilities(name, budgets, u)[0] / value)
        return shares


def _rms_of_ours(budget: Budget | None) -> float:
    return budget["rms"] / budget["relative_l2"] if budget is not None and budget["relative_l2"] else 0.0


def _crest(budget: Budget) -> float:
    """The largest error of our own run over its rms."""
    return budget["max_abs"] / budget["rms"] if budget["rms"] else 1.0


def _norm_before(gradient: str) -> str:
    """The name of what queries and keys are made of; "" of another layer's gradient."""
    found = ATTENTION_GRADIENT.fullmatch(gradient)
    return f"{found['layer']}.layernorm_{found['axis'] or 'before'}" if found else ""
