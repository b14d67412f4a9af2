"""Stochastic gradient descent with momentum, as PyTorch defines it. The paper trains ViViT with it."""

from collections.abc import Mapping
from typing import Any

from minivivit.backend import Array, array_namespace, as_array, one_kernel, to_numpy
from minivivit.files.tensor_data import quoted
from minivivit.training.optimisers.blocks import for_each_block, split_into_blocks
from minivivit.training.optimisers.checks import check_parameters, check_same_tensors, check_setting, check_step
from minivivit.training.optimisers.decay import DecayRule


class SGD:
    """Stochastic gradient descent with momentum.

    For a parameter ``p`` with gradient ``g``, learning rate ``lr``, momentum ``mu`` and weight decay ``wd``::

        g <- g + wd p                 (where the parameter decays)
        b <- mu b + g                 (momentum buffer, zero at the start)
        p <- p - lr b                 (with nesterov=True: p <- p - lr (g + mu b))

    The learning rate multiplies the buffer, not the gradients that enter it (as in PyTorch and in scenic's optax), so
    a change of the rate acts on the whole accumulated velocity at once. Weight decay is part of the gradient here; with
    a momentum that is not the decoupled decay of AdamW.

    Parameters
    ----------
    parameters : dict of str to array
        The arrays to train, by name; they are updated IN PLACE. Usually ``model.state_dict()``, or the part of it that
        `trainable_names` leaves.
    momentum : float
        In [0, 1). The default is what scenic's ViViT configs train with (0.9, the default of the Flax optimiser).
    nesterov : bool
        Whether to look one step ahead.
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
    Sutskever et al. (2013), On the importance of initialization and momentum in deep learning; ``torch.optim.SGD``.
    """

    def __init__(
        self,
        parameters: Mapping[str, Array],
        *,
        momentum: float = 0.9,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        decay_rule: DecayRule | None = None,
        rate_scales: Mapping[str, float] | None = None,
    ):
        self.parameters = check_parameters(parameters)
        self.momentum = check_setting("momentum", momentum, below=1.0)
        self.nesterov = nesterov
        self.weight_decay = check_setting("weight_decay", weight_decay)
        self.decay_rule = decay_rule
        self.rate_scales = {
            name: check_setting(f"the scale of {name}", scale) for name, scale in (rate_scales or {}).items()
        }
        self.momentum_buffer = {}
        if self.momentum > 0:
            self.momentum_buffer = {name: array_namespace(p).zeros_like(p) for name, p in self.parameters.items()}

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
        blocks, xp = [], None
        for name, parameter in self.parameters.items():
            xp = array_namespace(parameter)
            decay = self.weight_decay if self.decay_rule is None or self.decay_rule(name, parameter) else 0.0
            buffer = self.momentum_buffer.get(name, parameter)  # without momentum no buffer exists and none is read
            pieces = split_into_blocks(parameter, gradients[name], buffer, xp=xp)
            rate = learning_rate * self.rate_scales.get(name, 1.0)
            blocks += [(*piece, rate, decay) for piece in pieces]
        for_each_block(self._update_block, blocks, xp)

    def _update_block(self, parameter: Array, gradient: Array, buffer: Array, learning_rate: float, decay: float):
        if self.momentum == 0:
            one_kernel(_descend, (parameter,), (gradient, learning_rate), decay=decay)
            return
        one_kernel(
            _descend_with_momentum,
            (parameter, buffer),
            (gradient, learning_rate),
            momentum=self.momentum,
            nesterov=self.nesterov,
            decay=decay,
        )

    def state_dict(self) -> dict[str, Array]:
        """The live state, flat: ``"momentum_buffer.NAME"`` for each parameter; empty without momentum."""
        return {f"momentum_buffer.{name}": buffer for name, buffer in self.momentum_buffer.items()}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Copy a saved state into this optimiser, which then continues to the bit.

        Raises
        ------
        InputError
            When a name is missing or unexpected, or a shape or dtype differs; then nothing has changed.
        """
        own = self.state_dict()
        state = {name: as_array(array, f"the optimiser state {quoted(name)}") for name, array in state.items()}
        check_same_tensors(state, own, "optimiser states", advice=": is it the state of SGD with momentum?")
        for name, array in own.items():
            array[...] = array_namespace(array).asarray(to_numpy(state[name]))


def _descend(xp: Any, parameter: Array, gradient: Array, learning_rate: float, decay: float) -> None:
    if decay != 0:
        gradient = gradient + decay * parameter
    parameter -= learning_rate * gradient


def _descend_with_momentum(
    xp: Any,
    parameter: Array,
    buffer: Array,
    gradient: Array,
    learning_rate: float,
    momentum: float,
    nesterov: bool,
    decay: float,
) -> None:
    if decay != 0:
        gradient = gradient + decay * parameter
    buffer *= momentum
    buffer += gradient
    direction = gradient + momentum * buffer if nesterov else buffer
    parameter -= learning_rate * direction
