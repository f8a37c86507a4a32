"""Frees what a killed nested trial leaves behind.

Ray Train makes its own placement group for a group of workers. When Tune kills the trial that owns
it, the group survives and its processors are lost to the sweep for ever; Ray's own cleaner needs the
dashboard. So each worker group reports its placement group to a small actor, and the driver removes
those of every trial that has ended.
"""

from __future__ import annotations

import contextlib
from typing import Any

import ray
from ray import tune
from ray.train.v2._internal.execution.callback import WorkerGroupCallback
from ray.util.placement_group import remove_placement_group


class Register:
    """Which trial made which placement groups."""

    def __init__(self) -> None:
        self._groups: dict[str, list[Any]] = {}

    def add(self, trial: str, group: Any) -> None:
        self._groups.setdefault(trial, []).append(group)

    def take(self, trial: str) -> list[Any]:
        return self._groups.pop(trial, [])


class Report(WorkerGroupCallback):
    """Runs in the Train controller and registers the group as soon as it exists."""

    def __init__(self, register: Any, trial: str):
        self._register = register
        self._trial = trial

    def after_worker_group_start(self, worker_group: Any) -> None:
        handle = worker_group.get_worker_group_state().placement_group_handle
        ray.get(self._register.add.remote(self._trial, handle.placement_group))


class Reaper(tune.Callback):
    """Runs in the driver and removes the groups of trials that are over."""

    def __init__(self, register: Any):
        self._register = register

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._reap(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._reap(trial)

    def _reap(self, trial: Any) -> None:
        for group in ray.get(self._register.take.remote(trial.trial_id)):
            with contextlib.suppress(Exception):  # Train itself was faster
                remove_placement_group(group)
