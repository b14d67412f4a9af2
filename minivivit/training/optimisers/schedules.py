"""Learning-rate schedules: from the number of a step to the learning rate of that step.

Each schedule is a factor, and the learning rate is a product of factors, as in scenic's
``lr_configs.factors = "constant * cosine_decay * linear_warmup"``. Steps count from 0.
"""

import math

from minivivit.errors import InputError

FACTORS = ("constant", "cosine_decay", "linear_warmup")


def linear_warmup(step: int, warmup_steps: int, warmup_alpha: float = 0.0) -> float:
    """Factor that rises in a straight line from `warmup_alpha` at step 0 to 1 at step `warmup_steps`, and stays there.

    ``min(1, alpha + (1 - alpha) step / warmup_steps)``; 1 throughout when `warmup_steps` is 0.

    With `warmup_alpha` 0 the first step is taken with a learning rate of 0, and changes nothing (but the moments).
    """
    if warmup_steps <= 0:
        return 1.0
    return min(1.0, warmup_alpha + step * (1.0 - warmup_alpha) / warmup_steps)


def cosine_decay(step: int, steps_per_cycle: int, alpha: float = 0.0) -> float:
    """Factor that falls from 1 along half a cosine towards `alpha`, and starts anew after each cycle.

    ``alpha + (1 - alpha) (1 + cos(pi x)) / 2``, where ``x`` is the position within the cycle, from 0 up to but not
    including 1. With `steps_per_cycle` the length of the training, there is one cycle and no restart.
    """
    if steps_per_cycle <= 0:
        raise InputError(f"steps_per_cycle is {steps_per_cycle}; expected at least 1")
    position = (step / steps_per_cycle) % 1.0
    return alpha + (1.0 - alpha) * 0.5 * (1.0 + math.cos(math.pi * position))


def learning_rate(
    step: int,
    *,
    base_learning_rate: float,
    factors: str = "constant * cosine_decay * linear_warmup",
    warmup_steps: int = 0,
    warmup_alpha: float = 0.0,
    steps_per_cycle: int | None = None,
    total_steps: int | None = None,
    alpha: float = 0.0,
) -> float:
    """The learning rate of a step: the product of the named factors.

    - ``constant``: `base_learning_rate`
    - ``linear_warmup``: `linear_warmup` over the first `warmup_steps`
    - ``cosine_decay``: `cosine_decay` that begins when the warm-up ends; a cycle is shortened by its share of the
      warm-up, so that one that spans the whole training reaches its bottom at the last step

    The names of the arguments, their defaults and the meaning of the product are those of scenic's
    ``compound_lr_scheduler``. There, and here, a product without ``constant`` is a factor and not a rate.

    Parameters
    ----------
    step : int
        From 0.
    base_learning_rate : float
        The largest rate.
    factors : str
        Names joined by ``*``.
    warmup_steps, warmup_alpha
        See `linear_warmup`.
    steps_per_cycle : int, optional
        The length of a cycle, warm-up included. Left out: `total_steps`.
    total_steps : int, optional
        The length of the training. Left out: `steps_per_cycle`.
    alpha : float
        See `cosine_decay`.

    Raises
    ------
    InputError
        For an unknown factor, a negative step, or a cosine whose length is not given.
    """
    if step < 0:
        raise InputError(f"step is {step}; steps count from 0")
    rate = 1.0
    for factor in (name.strip() for name in factors.split("*")):
        if factor == "constant":
            rate *= base_learning_rate
        elif factor == "linear_warmup":
            rate *= linear_warmup(step, warmup_steps, warmup_alpha)
        elif factor == "cosine_decay":
            cycle = _cycle_after_warmup(steps_per_cycle, total_steps, warmup_steps)
            if cycle > 0:  # a warm-up that fills the whole cycle leaves nothing to decay
                rate *= cosine_decay(max(0, step - warmup_steps), cycle, alpha)
        else:
            raise InputError(f"unknown factor {factor!r} in {factors!r}; expected some of {', '.join(FACTORS)}")
    return rate


def _cycle_after_warmup(steps_per_cycle: int | None, total_steps: int | None, warmup_steps: int) -> int:
    cycle = steps_per_cycle if steps_per_cycle is not None else total_steps
    total = total_steps if total_steps is not None else steps_per_cycle
    if cycle is None or total is None or cycle <= 0 or total <= 0:
        raise InputError("cosine_decay needs to know how long to decay; give total_steps, a number of at least 1")
    return cycle - int(warmup_steps / (total / cycle))
