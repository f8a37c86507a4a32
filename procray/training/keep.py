"""What a run leaves behind while it trains: marks, and the resume states from which it goes on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from procray.files import write_json
from procray.model.checkpoint import write_weights
from procray.training import runtime as rt
from procray.training.begin import Begun
from procray.training.context import Context
from procray.training.losses import Losses
from procray.training.pace import Pace
from procray.training.recipe import PhaseRecipe
from procray.training.state import save_state, state_tensors

SAVE_AT_EVALUATION_SECONDS = 20.0
SAVE_ANYWHERE_SECONDS = 300.0  # where evaluations lie far apart


class Keeper:
    """Writes through the context what rank 0 gathers; every rank makes every call."""

    def __init__(
        self, recipe: PhaseRecipe, context: Context, runtime: rt.Runtime, begun: Begun, losses: Losses, pace: Pace
    ):
        self.recipe, self.context, self.runtime = recipe, context, runtime
        self.begun, self.losses, self.pace = begun, losses, pace
        self.saved_at = time.perf_counter()
        self.saved_inserted = begun.state.inserted  # updates on a task among the text, in the state last saved
        self.between: int | None = self._name() if self._is_between() else None  # where one between two steps lies

    def due(self, seconds: float) -> bool:
        """Whether so much time has passed since the last save; where all workers must take part, rank 0 decides."""
        mine = time.perf_counter() - self.saved_at >= seconds
        if not self.begun.placement.spread:
            return mine
        return self.begun.ranks.add([float(mine and self.context.rank == 0)]) != [0.0]

    def mark(self) -> None:
        """Keeps a mark of this step, and a resume state to extend the phase from."""
        state = self.begun.state
        self.require_finite_weights()
        self.save_mark(state.step)
        state.marked = True
        if state.step > 0:
            self.losses.saved_step = -1
            self.save()

    def save_mark(self, step: int) -> None:
        """Writes the mark of a step: this one, or any later one of a phase that is solved."""
        state, row = self.begun.state, self.begun.state.row
        assert row is not None
        assert row["step"] == state.step
        weights = self.begun.placement.gathered(self.begun.model.state_dict(), keep=self.context.rank == 0)
        if self.context.rank == 0:
            about = {
                "step": step,
                "recipe": self.recipe.id,
                "kind": self.recipe.kind,
                "provenance": rt.provenance(self.runtime),
                **{name: row[name] for name in ("tokens", "scored_tokens", "positions", "loss", "accuracy", "exact")},
                **({} if state.solved_at is None else {"solved_at": state.solved_at}),
            }
            self.context.save_mark(step, lambda folder: self._write_mark(folder, weights), about)

    def _write_mark(self, folder: Path, weights: dict[str, Tensor]) -> dict[str, Any]:
        facts = write_weights(weights, self.begun.model.config, folder)
        if self.begun.state.transfer is not None:
            write_json(folder / "transfer.json", self.begun.state.transfer)
        return facts

    def save(self) -> None:
        """Saves the resume state of this step, unless that was done; never one with a NaN in it."""
        begun, state = self.begun, self.begun.state
        if self.losses.saved_step == state.step and self.saved_inserted == state.inserted:
            return
        self.losses.drain(state)
        self.require_finite_weights()
        self.pace.stop()
        tensors = begun.placement.gathered(state_tensors(begun.model, begun.optimizer), keep=self.context.rank == 0)
        name = self._name()
        if self.context.rank == 0:
            if name == self.between:
                self.context.drop_resume(name)
            self.context.save_resume(name, lambda folder: save_state(folder, self.recipe, state, tensors))
        self.between = name if self._is_between() else None
        self.losses.saved_step, self.saved_inserted = state.step, state.inserted
        self.saved_at = time.perf_counter()

    def _is_between(self) -> bool:
        """Whether updates on a task were made that belong to the next step."""
        state, found = self.begun.state, self.recipe.interleaving
        return found is not None and state.inserted > (found.due(state.step - 1) if state.step else 0)

    def _name(self) -> int:
        """The step under which a resume state is kept: none before it can be trained from there."""
        return self.begun.state.step + self._is_between()

    def require_finite_weights(self) -> None:
        """A last update can break the weights after a finite loss.

        Raises:
            PhaseFailed: it did.
        """
        norms = torch.stack(torch._foreach_norm([p.detach() for p in self.begun.model.parameters()]))
        if not bool(self.begun.placement.whole(norms).isfinite().all()):
            raise self.losses.failure("the weights are not finite", self.begun.state.step)
