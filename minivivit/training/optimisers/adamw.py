"""AdamW: Adam whose weight decay does not pass through its moments."""

from collections.abc import Mapping
from typing import Any

import numpy

from minivivit.backend import Array, array_namespace, as_array, one_kernel, to_numpy
from minivivit.errors import InputError
from minivivit.files.tensor_data import quoted
from minivivit.training.optimisers.blocks import for_each_block, split_into_blocks
from minivivit.training.optimisers.checks import check_parameters, check_same_tensors, check_setting, check_step
from minivivit.training.optimisers.decay import DecayRule


class AdamW:
    """Adam with decoupled weight decay.

    For a parameter ``p`` with gradient ``g`` at step ``t`` = 1, 2, ..., learning rate ``lr`` and weight decay ``wd``::

        p <- p (1 - lr wd)                         (where the parameter decays)
        m <- m + (1 - beta1) (g - m)               (running mean of the gradient, zero at the start)
        v <- beta2 v + (1 - beta2) g^2             (running mean of its square, zero at the start)
        p <- p - lr / (1 - beta1^t)  m / (sqrt(v) / sqrt(1 - beta2^t) + eps)

    A mean that starts from zero is too small at first: after t steps its weights add up to ``1 - beta^t``, and dividing
    by that corrects the bias. In Adam with L2 regularisation ``wd p`` would be part of ``g`` and so be divided by
    ``sqrt(v)``; here every decaying weight shrinks by the same factor, however large its gradients are.

    Parameters
    ----------
    parameters : dict of str to array
        The arrays to train, by name; they are updated IN PLACE. Usually ``model.state_dict()``, or the part of it that
        `trainable_names` leaves.
    betas : pair of float
        ``(beta1, beta2)``, each in [0, 1).
    eps : float
        At least 0; keeps the division finite where the gradient has always been zero.
    weight_decay : float
        At least 0.
    decay_rule : callable (name, array) -> bool, optional
        Which parameters decay. None: all of them, as in PyTorch. See `minivivit.training.optimisers.decay.decays`.
    rate_scales : dict of str to float, optional
        A factor for the learning rate of each parameter (`layer_scales`); 1 for those that are not named.

    Raises
    ------
    InputError
        For a setting out of its range.

    References
    ----------
    Loshchilov and Hutter (2019), Decoupled Weight Decay Regularization, algorithm 2; ``torch.optim.AdamW``, whose
    defaults these are.
    """

    def __init__(
        self,
        parameters: Mapping[str, Array],
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        decay_rule: DecayRule | None = None,
        rate_scales: Mapping[str, float] | None = None,
    ):
        self.parameters = check_parameters(parameters)
        if len(betas) != 2:
            raise InputError(f"betas is {betas!r}; expected two numbers, such as (0.9, 0.999)")
        self.beta1 = check_setting("beta1", betas[0], below=1.0)
        self.beta2 = check_setting("beta2", betas[1], below=1.0)
        self.eps = check_setting("eps", eps)
        self.weight_decay = check_setting("weight_decay", weight_decay)
        self.decay_rule = decay_rule
        self.rate_scales = {
            name: check_setting(f"the scale of {name}", scale) for name, scale in (rate_scales or {}).items()
        }
        self.step_count = 0
        self.exp_avg = {name: array_namespace(p).zeros_like(p) for name, p in self.parameters.items()}
        self.exp_avg_sq = {name: array_namespace(p).zeros_like(p) for name, p in self.parameters.items()}

    def step(self, gradients: Mapping[str, Array], learning_rate: float) -> None:
        """Update every parameter in place, once.

        Parameters
        ----------
        gradients : dict of str to array
            One a parameter, of its shape and dtype. They are only read.
        learning_rate : float
            For this step; see `minivivit.training.optimisers.schedules`.

        Raises
        ------
        InputError
            When a gradient is missing, unexpected, or of another shape or dtype; then no parameter has changed.
        """
        learning_rate = check_setting("learning_rate", learning_rate)
        check_step(gradients, self.parameters)
        self.step_count += 1
        blocks, xp = [], None
        for name, parameter in self.parameters.items():
            xp = array_namespace(parameter)
            decays = self.decay_rule is None or self.decay_rule(name, parameter)
            rate = learning_rate * self.rate_scales.get(name, 1.0)
            step_size = rate / (1 - self.beta1**self.step_count)
            shrink = 1 - rate * self.weight_decay if decays else 1.0
            moments = self.exp_avg[name], self.exp_avg_sq[name]
            pieces = split_into_blocks(parameter, gradients[name], *moments, xp=xp)
            blocks += [(*piece, step_size, shrink) for piece in pieces]
        for_each_block(self._update_block, blocks, xp)

    def _update_block(self, parameter: Array, gradient: Array, m: Array, v: Array, step_size: float, shrink: float):
        root = (1 - self.beta2**self.step_count) ** 0.5
        one_kernel(
            _update,
            (parameter, m, v),
            (gradient, step_size, shrink, root),
            beta1=self.beta1,
            beta2=self.beta2,
            eps=self.eps,
        )

    def state_dict(self) -> dict[str, Array]:
        """The state, flat: ``"exp_avg.NAME"`` and ``"exp_avg_sq.NAME"``, live, and ``"step"``, an int64 scalar."""
        moments = {f"exp_avg.{name}": array for name, array in self.exp_avg.items()}
        moments |= {f"exp_avg_sq.{name}": array for name, array in self.exp_avg_sq.items()}
        return {**moments, "step": numpy.array(self.step_count, dtype=numpy.int64)}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Copy a saved state into this optimiser, which then continues to the bit.

        Raises
        ------
        InputError
            When a name is missing or unexpected, or a shape or dtype differs; then nothing has changed.
        """
        own = self.state_dict()
        state = {name: as_array(array, f"the optimiser state {quoted(name)}") for name, array in state.items()}
        check_same_tensors(state, own, "optimiser states", advice=": is it the state of AdamW?")
        if int(state["step"]) < 0:
            raise InputError(f"the optimiser states say step {int(state['step'])}; expected at least 0")
        self.step_count = int(state["step"])
        for name, array in own.items():
            if name != "step":
                array[...] = array_namespace(array).asarray(to_numpy(state[name]))


def _update(
    xp: Any,
    parameter: Array,
    m: Array,
    v: Array,
    gradient: Array,
    step_size: float,
    shrink: float,
    root_of_correction: float,
    beta1: float,
    beta2: float,
    eps: float,
) -> None:
    """Update a parameter and its moments; in PyTorch's order, so that float64 agrees to the last digits."""
    parameter *= shrink
    m += (1 - beta1) * (gradient - m)
    v *= beta2
    v += (1 - beta2) * gradient * gradient
    denominator = xp.sqrt(v)
    denominator /= root_of_correction
    denominator += eps
    parameter -= step_size * m / denominator
