"""The resume state: everything that training needs to go on as if nothing had happened.

    state.safetensors   weights/<name>, exp_avg/<name>, exp_avg_sq/<name>
    state.json          counters, sums since the last evaluation, the last evaluation, what was carried in

There is no random state and no data position: batches are functions of the step, and so is dropout.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from procray.errors import StoreError
from procray.files import read_json, write_json
from procray.model import Network
from procray.training.optimizer import moments, restore_moments
from procray.training.placement import on_device
from procray.training.recipe import PhaseRecipe

FORMAT = 1


@dataclass
class State:
    """Counters since the start of the phase, and sums since the last evaluation of the cadence.

    The sums end at every multiple of `evaluation.every` and nowhere else: marks and stops in between are
    not part of the phase's identity, so they must not show in the evaluations that follow them.
    """

    step: int = 0
    tokens: int = 0  # nominal, of the phase's own data
    scored_tokens: int = 0
    positions: int = 0  # really computed
    flops: float = 0.0
    seconds: float = 0.0  # of training alone
    length: int | None = None  # a curriculum's current one
    since_loss: float = 0.0  # summed over scored values
    since_scored: int = 0
    since_norm: float = 0.0  # summed over steps
    since_steps: int = 0
    since_tokens: int = 0
    since_positions: int = 0
    since_seconds: float = 0.0
    since_flops: float = 0.0
    row: dict[str, Any] | None = None  # the last evaluation
    marked: bool = False  # a mark was kept at this very step
    streak: int = 0  # evaluations of the cadence in a row that were good enough to count as solved
    solved_at: int | None = None  # the step at which training ended for good
    transfer: dict[str, Any] | None = None  # the manifest of what was carried in from parents
    # Of a task that stands among the text:
    inserted: int = 0  # updates on it
    inserted_tokens: int = 0  # nominal
    since_inserted_loss: float = 0.0
    since_inserted_scored: int = 0
    learned: list[float] | None = None  # loss and accuracy on its validation set, right after the last of them

    @property
    def updates(self) -> int:
        """Of the optimiser."""
        return self.step + self.inserted


def state_tensors(model: Network, optimizer: torch.optim.AdamW) -> dict[str, Tensor]:
    """Everything in a resume state that is a tensor, by its name there."""
    return {f"weights/{name}": value for name, value in model.named_parameters()} | moments(optimizer)


def save_state(folder: Path, recipe: PhaseRecipe, state: State, tensors: Mapping[str, Tensor]) -> None:
    """Writes a resume state into an empty folder; `tensors` as `state_tensors` gives them, none of them spread."""
    save_file(
        {name: value.detach().cpu().contiguous() for name, value in tensors.items()}, folder / "state.safetensors"
    )
    write_json(folder / "state.json", {"format": FORMAT, "recipe": recipe.id, "state": asdict(state)})


def load_state(
    folder: Path,
    recipe: PhaseRecipe,
    model: Network,
    optimizer: torch.optim.AdamW,
    share: Callable[[Tensor, Tensor], Tensor] = on_device,
) -> State:
    """Puts a resume state into a model and its optimiser, on whatever device they are.

    Args:
        share: places a whole tensor as another one is placed.

    Raises:
        StoreError: unreadable, of another phase, or of another version of procray.
    """
    try:
        content = read_json(folder / "state.json")
        tensors = load_file(folder / "state.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise StoreError(f"the resume state {folder} cannot be read: {error}") from error
    if content.get("format") != FORMAT or content.get("recipe") != recipe.id:
        raise StoreError(
            f"the resume state {folder} is of phase {content.get('recipe')} (format {content.get('format')}), "
            f"not of phase {recipe.id} (format {FORMAT})"
        )
    state = State(**content["state"])
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(share(tensors[f"weights/{name}"], parameter))
    restore_moments(optimizer, tensors, state.updates, share)
    return state
