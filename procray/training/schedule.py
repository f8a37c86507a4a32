"""Learning rates as functions of the step. Nothing here has a state, so stopping early changes nothing."""

from __future__ import annotations

import math

from procray.training.recipe import Optimizer


def lr_at(step: float, optimizer: Optimizer, steps: float | None) -> float:
    """The learning rate of update `step`, counted from 0.

    A warm-up rises linearly and ends just below the peak, so that update `warmup_steps` is the first
    at full rate. After it:

    * constant: the peak, for ever;
    * linear, cosine: down to `min_lr` times the peak, which is reached at `steps`;
    * wsd: the peak, and over the last `decay` of all steps a straight line down to the floor.

    Args:
        step: 0-based, between two steps where updates count for parts of one. Past `steps` a decaying schedule stays
            at its floor.
        optimizer: peak, shape, warm-up and floor.
        steps: length of a decaying schedule; None for a constant one.
    """
    assert (steps is None) == (optimizer.schedule == "constant"), "steps belong to decaying schedules"
    if step < optimizer.warmup_steps:
        return optimizer.lr * (step + 1) / (optimizer.warmup_steps + 1)
    if steps is None:
        return optimizer.lr
    start: float = optimizer.warmup_steps
    if optimizer.schedule == "wsd":
        start = max(start, steps - round(optimizer.decay * steps))
    if step < start:
        return optimizer.lr
    done = min(1.0, (step - start) / max(1, steps - start))
    if optimizer.schedule == "cosine":
        left = 0.5 * (1 + math.cos(math.pi * done))
    else:
        left = 1 - done
    return optimizer.lr * (optimizer.min_lr + (1 - optimizer.min_lr) * left)
