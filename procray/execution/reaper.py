"""Frees what a killed nested trial leaves behind.

Ray Train makes its own placement group for a group of workers. When Tune kills the trial that owns
it, the group survives and its processors are lost to the sweep for ever; Ray's own cleaner needs the
dashboard. So each worker group reports its placement group to a small actor, and the driver removes
those of every trial that has ended. A warm group outlives its trials: it belongs to the actor that
keeps it, and goes when a trial of that actor dies.
"""

from __future__ import annotations

import contextlib
from typing import Any

import ray
from ray import tune
from ray.train.v2._internal.execution.callback import WorkerGroupCallback
from ray.util.placement_group import remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


class Register:
    """Which trial, or which actor, made which placement groups."""

    def __init__(self) -> None:
        self._groups: dict[str, list[Any]] = {}

    def add(self, owner: str, group: Any) -> None:
        self._groups.setdefault(owner, []).append(group)

    def take(self, owner: str) -> list[Any]:
        return self._groups.pop(owner, [])


class Report(WorkerGroupCallback):
    """Runs in the Train controller and registers the group as soon as it exists."""

    def __init__(self, register: Any, owner: str):
        self._register = register
        self._owner = owner

    def after_worker_group_start(self, worker_group: Any) -> None:
        handle = worker_group.get_worker_group_state().placement_group_handle
        ray.get(self._register.add.remote(self._owner, handle.placement_group))


class Reaper(tune.Callback):
    """Runs in the driver and removes the groups of trials that are over."""

    def __init__(self, register: Any):
        self._register = register
        self._actors: dict[str, str] = {}  # by trial

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._actors[trial.trial_id] = trial.temporary_state.ray_actor._actor_id.hex()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._actors.pop(trial.trial_id, None)
        reap(self._register, trial.trial_id)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        reap(self._register, trial.trial_id)
        if trial.trial_id in self._actors:
            reap(self._register, self._actors.pop(trial.trial_id))


def beside_me() -> NodeAffinitySchedulingStrategy:
    """Puts an actor on the node of this process, with which it may die; any other node may be lost before."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def reap(register: Any, owner: str) -> None:
    """Removes the placement groups of an owner."""
    for group in ray.get(register.take.remote(owner)):
        with contextlib.suppress(Exception):  # Train itself was faster
            remove_placement_group(group)
