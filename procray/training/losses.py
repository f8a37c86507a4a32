"""The losses and gradient norms of steps, read from the device some steps late, and how training that broke is told."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from procray.errors import PhaseFailed
from procray.training.ranks import Ranks
from procray.training.state import State

# Losses and gradient norms wait on the device for this many steps before the host reads them, so that a
# GPU never waits for the host; a NaN is found that late at most.
PENDING = 50


class Losses:
    """Those that were not read yet, and the last that were."""

    def __init__(self, ranks: Ranks, device: torch.device, saved_step: int):
        self._ranks = ranks
        self.ring = torch.zeros(2, PENDING, device=device)  # losses and norms not read yet
        self.pending: list[tuple[int, float, int, bool]] = []  # of each what `note` was told
        self.last: tuple[int, float, float, float] | None = None  # step, learning rate, loss, norm last read
        self.shown: float | None = None  # the loss last read, on the phase's own data
        self.saved_step = saved_step  # of the last resume state, to go back to when training breaks

    @property
    def full(self) -> bool:
        """Whether they have to be read before the next step."""
        return len(self.pending) == PENDING

    def put(self, loss: Tensor, norm: Tensor) -> None:
        """Keeps what a step gave, on the device; `note` follows."""
        self.ring[0, len(self.pending)] = loss
        self.ring[1, len(self.pending)] = norm

    def note(self, step: int, lr: float, scored: int, inserted: bool = False) -> None:
        """What the host knows of an update whose loss and norm stand in the ring.

        Args:
            inserted: on the task that stands among the text.
        """
        self.pending.append((step, lr, scored, inserted))

    def drain(self, state: State) -> None:
        """Reads what waits on the device into the sums of `state`; all ranks must do so at the same step.

        Raises:
            PhaseFailed: one of them is not finite.
        """
        if not self.pending:
            return
        losses, norms = self.ring[:, : len(self.pending)].tolist()
        losses = self._ranks.add(losses)
        for (step, lr, scored, inserted), total, norm in zip(self.pending, losses, norms, strict=True):
            loss = total / self._ranks.world_size
            self.last = (step, lr, loss, norm)
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise self.failure(f"the loss is {loss:g}", step)
            if inserted:
                state.since_inserted_loss += loss * scored
                state.since_inserted_scored += scored
                continue
            self.shown = loss
            state.since_loss += loss * scored
            state.since_scored += scored
            state.since_norm += norm
            state.since_steps += 1
        self.pending.clear()

    def failure(self, what: str, at: int) -> PhaseFailed:
        """`at`: the updates that were made before it broke."""
        if self.last is None:
            return PhaseFailed(f"{what} before the first step: the initial weights are broken", at)
        step, lr, loss, norm = self.last
        return PhaseFailed(
            f"{what} at step {step} (learning rate {lr:g}, training loss {loss:g}, gradient norm {norm:g}); "
            f"the last good state is that of step {max(0, self.saved_step)}. A lower learning rate may help",
            at,
        )
