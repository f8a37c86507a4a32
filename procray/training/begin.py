"""Where a run begins: a model with its first weights or those last saved, its optimiser and its counters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from procray.errors import EnvironmentProblem, StoreError
from procray.model import Network, build
from procray.training import runtime as rt
from procray.training.context import Context
from procray.training.objective import Objective
from procray.training.optimizer import Held, build_optimizer, freeze
from procray.training.parents import carry_in
from procray.training.placement import Copies, Placement
from procray.training.ranks import Ranks
from procray.training.recipe import PhaseRecipe
from procray.training.source import Source
from procray.training.state import State, load_state


@dataclass(frozen=True)
class Begun:
    """What training moves.

    Attributes:
        held: what stays as it is within matrices that are trained in part.
        fresh: there was no resume state, so nothing has been measured yet.
    """

    model: Network
    objective: Objective
    placement: Placement
    optimizer: torch.optim.AdamW
    held: Held
    ranks: Ranks
    state: State
    fresh: bool


def begin(recipe: PhaseRecipe, source: Source, context: Context, runtime: rt.Runtime) -> Begun:
    """Builds everything on the device, from the latest resume state if there is one.

    Raises:
        StoreError: a resume state that does not belong here, or not the same for all workers.
        TransferError: parents that do not fit.
        EnvironmentProblem: workers that cannot share out weights.
    """
    rt.set_process(runtime)
    config = recipe.model.config(source.vocab, source.rows, runtime.pad_vocab)
    model: Network = build(config, seed=recipe.seed, role=recipe.role)
    partly = freeze(model, recipe.init.freeze)
    resume = context.latest_resume()
    transfer = carry_in(model, recipe, context) if resume is None else None
    compiled = rt.compiles_loss(runtime, source.vocab)
    objective = Objective(model, runtime.logits_bound, runtime.autocast, compiled)
    placement = _placement(runtime)(objective, context.device, context.world_size)
    rt.set_model(runtime, model)
    optimizer = build_optimizer(model, recipe.optimizer)
    ranks = Ranks(context.world_size)
    if resume is None:
        curriculum = source.curriculum
        state = State(length=None if curriculum is None else curriculum.start, transfer=transfer)
    else:
        state = load_state(resume, recipe, model, optimizer, placement.share)
    _require_alike(ranks, state.updates, runtime.micro_batch if runtime.shard else 0)
    objective.train()
    held = Held(model, partly, placement.share)
    return Begun(model, objective, placement, optimizer, held, ranks, state, resume is None)


def _placement(runtime: rt.Runtime) -> Callable[[Objective, torch.device, int], Placement]:
    if not runtime.shard:
        return Copies
    from procray.training.shard import Shards

    return Shards


def _require_alike(ranks: Ranks, step: int, micro_batch: int) -> None:
    """All workers stand at one update; those that share out weights also cut their batches alike."""
    mine = [float(step), float(micro_batch)]
    mean_step, mean_size = (total / ranks.world_size for total in ranks.add(mine))
    if mean_step != mine[0]:
        raise StoreError("the workers of a phase found different resume states; do they share one store?")
    if mean_size != mine[1]:  # every part of a batch gathers weights from all workers
        raise EnvironmentProblem("workers with unequal devices cannot share out weights; choose a micro batch")
