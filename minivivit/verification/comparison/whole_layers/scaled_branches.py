r"""A branch times a number, which is solved for through the rest of the layer.

The output y(f) for the factor f is followed along its tangent to theirs (Gauss-Newton in one unknown):
:math:`f \leftarrow f + \langle y'(f), t - y(f) \rangle / \|y'(f)\|^2`.
"""

from collections.abc import Iterator, Mapping

import numpy

from minivivit.verification.comparison.evidence.evidence import Evidence
from minivivit.verification.comparison.mistakes.mistaken_step import MistakenStep
from minivivit.verification.comparison.whole_layers.layer import Layer, Parameters
from minivivit.verification.comparison.whole_layers.mistake import Mistake, in_places, subsets

STEPS, STEP, ROWS = 12, 1e-4, 256
# Factors closer than this to one that has another name are that one, and steps smaller than this are the last.
SAME_FACTOR, SETTLED = 1e-4, 1e-12
FARTHEST = 1e3


def scaled_branch_mistakes(
    evidence: Evidence, layer: Layer, x: numpy.ndarray, parameters: Parameters, target: str
) -> Iterator[Mistake]:
    """One branch scaled, or all of them."""
    theirs = evidence.read_theirs(evidence.name)
    if theirs is None or not numpy.isfinite(theirs).all():
        return
    branches = {branch.name: branch.name for branch in layer.branches} | {"mlp": "the MLP"}
    for places in subsets(branches):
        key = f"factor of {', '.join(places)}"
        if key not in evidence.shared.fits:
            evidence.shared.fits[key] = _solved(layer, x, parameters, target, theirs, places)
        factor = evidence.shared.fits[key]
        if factor is not None and min(abs(factor - own) for own in (-1, 0, 1, 2)) > SAME_FACTOR:
            yield _scaled(factor, places)


def _scaled(factor: float, places: Mapping[str, str]) -> Mistake:
    step = MistakenStep(
        "branch scaled",
        f"with the branch times {factor:.5g} at the sum",
        "a sum is of the stream and the branch, unscaled",
        lambda stream, branch, normalised, first: stream + factor * branch,
    )
    return in_places(step, "add", places)


def _solved(
    layer: Layer,
    x: numpy.ndarray,
    parameters: Parameters,
    target: str,
    theirs: numpy.ndarray,
    places: Mapping[str, str],
) -> float | None:
    """The factor, where the search settles; of the first tokens, where these can be had alone."""
    rows = layer.rows(ROWS)
    theirs = theirs[:, :rows]

    def computed(factor: float) -> numpy.ndarray:
        return _scaled(factor, places).run(layer, x, parameters, target, rows)[:, :rows]

    factor = 0.5
    for _ in range(STEPS):
        y = computed(factor)
        slope = (computed(factor + STEP) - y) / STEP
        square = float(numpy.square(slope).sum())
        if not 0 < square < numpy.inf:
            return None
        step = float((slope * (theirs - y)).sum()) / square
        factor += step
        if not abs(factor) < FARTHEST:
            return None
        if abs(step) < SETTLED:
            break
    return factor
