"""Frees what a killed nested trial leaves behind.

Ray Train makes its own placement group for a group of workers. When Tune kills the trial that owns
it, the group survives and its processors are lost to the sweep for ever; Ray's own cleaner needs the
dashboard. So each worker group reports its placement group to a small actor, and the driver removes
those of every trial that has ended. A warm group outlives its trials: it belongs to the actor that
keeps it, and goes when a trial of that actor dies.

The actor is started again when it dies. It has lost nothing then: the groups have names that tell whose they are.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from typing import Any

import ray
from ray import tune
from ray.train.v2._internal.execution.callback import WorkerGroupCallback
from ray.train.v2._internal.execution.worker_group import worker_group as making
from ray.util.placement_group import get_placement_group, placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from procray.execution.word import told_to_stop

_LOOK_EVERY = 0.5


class Register:
    """Which trial, or which actor, made which placement groups."""

    def __init__(self, name: str) -> None:
        """`name` is the actor's own; the groups that this sweep has already are found by it."""
        self._groups: dict[str, list[str]] = {}
        for group in placement_group_table().values():
            mine, _, rest = str(group["name"]).partition("/")
            if mine == name and group["state"] != "REMOVED":
                self.add(rest.partition("/")[0], str(group["name"]))

    def add(self, owner: str, group: str) -> None:
        self._groups.setdefault(owner, []).append(group)

    def of(self, owner: str) -> list[str]:
        """The names of an owner's groups."""
        return self._groups.get(owner, [])

    def forget(self, owner: str) -> None:
        self._groups.pop(owner, None)


def start_register(name: str) -> Any:
    """The actor, on the node of this process."""
    options = {"name": name, "num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
    return ray.remote(Register).options(scheduling_strategy=beside_me(), **options).remote(name)


class Report(WorkerGroupCallback):
    """Runs in the Train controller: registers the group as soon as it is asked for, and gives up when told to stop.

    A group waits for room, perhaps for nodes that never come, and none of its workers is there to look at the word to
    stop.
    """

    def __init__(self, register: str, owner: str, control: str | None):
        """
        Args:
            register: its name.
            control: address of the command's note.
        """
        self._register = register
        self._owner = owner
        self._control = control
        self._waiting: list[Any] = []

    def before_worker_group_start(self, worker_group_context: Any) -> None:
        stop = told_to_stop(self._control)
        if stop():
            raise RuntimeError("asked to stop before its workers had found room")
        making.placement_group = self._make  # the only place where a group can be named; this process makes no other
        threading.Thread(target=self._give_up, args=(stop, self._waiting), name="give-up", daemon=True).start()

    def after_worker_group_start(self, worker_group: Any) -> None:
        made = worker_group.get_worker_group_state().placement_group_handle.placement_group
        if made not in self._waiting:
            raise RuntimeError("this version of Ray Train makes its placement groups elsewhere")
        self._waiting.clear()

    def _make(self, *args: Any, **options: Any) -> Any:
        name = f"{self._register}/{self._owner}/{uuid.uuid4().hex[:8]}"
        group = placement_group(*args, **options, name=name)
        self._waiting[:] = [group]
        ray.get(ray.get_actor(self._register).add.remote(self._owner, name))
        return group

    def _give_up(self, stop: Any, waiting: list[Any]) -> None:
        """Takes the group away from whoever waits for it, once it is to stop."""
        started = False
        while not started or waiting:
            time.sleep(_LOOK_EVERY)
            started = started or bool(waiting)
            if waiting and stop():
                remove_placement_group(waiting[0])
                return


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
    for name in ray.get(register.of.remote(owner)):
        with contextlib.suppress(Exception):  # Train itself was faster
            remove_placement_group(get_placement_group(name))
    ray.get(register.forget.remote(owner))
