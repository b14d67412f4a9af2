"""Where the first NaN came from: a step is run again with every intermediate value watched."""

from collections.abc import Callable, MutableMapping

from minivivit.backend import Array, array_namespace
from minivivit.errors import InputError
from minivivit.training.parallel.ranks import ALONE, Ranks


class NonFiniteError(InputError):
    """A training met NaN or infinity. The message says at which step, and in which tensor it first appeared."""


class FirstNonFinite(dict):
    """A store for a trace that keeps only the logits, and remembers the first tensor that is not finite.

    Attributes
    ----------
    found : str or None
        The name of that tensor. Gradients have ``gradient.`` before their names.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: str | None = None

    def wants(self, name: str) -> bool:
        """Attention scores and probabilities too, unless the culprit is known."""
        return self.found is None

    def __setitem__(self, name: str, array: Array) -> None:
        if name == "classifier":
            super().__setitem__(name, array)
        if self.found is None and not is_finite(array):
            self.found = name


def is_finite(array: Array) -> bool:
    """Whether all numbers of an array are finite."""
    return bool(array_namespace(array).isfinite(array).all())


def hunt(
    step: int,
    symptom: str,
    parameters: dict[str, Array],
    run_again: Callable[[MutableMapping[str, Array]], dict[str, Array]],
    ranks: Ranks = ALONE,
) -> NonFiniteError:
    """Find the first tensor that is not finite, in the order in which they are made, and make the error that says so.

    Parameters
    ----------
    step : int
        Counted from 1, for the message.
    symptom : str
        What was noticed, such as ``"the loss is nan"``.
    parameters : dict of str to array
        They come first: the update before may have spoilt them.
    run_again : callable
        Runs the step again, from the same state of the generator, with the store that it is given as its trace, and
        returns the gradients of the parameters.
    ranks : Ranks
        Each of which has run its part of the step; the culprit of the lowest one that has found any is named.

    Returns
    -------
    NonFiniteError
        To be raised.
    """
    culprit = next((f"the parameter {name}" for name, array in parameters.items() if not is_finite(array)), None)
    if culprit is None:
        store = FirstNonFinite()
        gradients = run_again(store)
        culprit = store.found
        if culprit is None:
            name = next((name for name, array in gradients.items() if not is_finite(array)), None)
            culprit = None if name is None else f"the gradient of {name}"
    culprit = next((found for found in ranks.gathered(culprit) if found), None)
    where = f"it first appeared in {culprit}" if culprit else "every tensor is finite when the step is run again"
    return NonFiniteError(
        f"{symptom} at step {step}; {where}: train anew, in another output, with a lower learning_rate, a longer "
        "warm_up or a lower max_grad_norm (the last checkpoint is from before)"
    )
