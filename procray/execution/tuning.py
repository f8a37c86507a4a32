"""One `Tuner` for one sweep: hands the agenda's segments to Ray Tune until nothing is left."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial

from procray.execution.agenda import Agenda
from procray.execution.leaving import NodeLeaving
from procray.execution.memory import is_memory_kill, memory_kill, memory_kills_are_deaths
from procray.execution.room import DRIVER, Room
from procray.execution.searcher import Death, SegmentSearcher
from procray.execution.trial import SegmentTrial

_PROGRESS_EVERY = 0.5
# How Ray's texts say that a worker or its node is gone, whatever the class of the error.
_DEAD = re.compile(
    r"actor (is dead|died)|is unavailable|Actor(Died|Unavailable)Error|worker process has died"
    r"|gloo.*by peer"
)
_NODE = re.compile(r"[Nn]ode .*(has )?died|node was terminated|NodeDiedError")
_LEAVING = NodeLeaving.__name__


class _Pulse(tune.Callback):
    """Knows the trials, so that the searcher can say why one died, and reports progress."""

    def __init__(self, on_pulse: Callable[[], None], check: Callable[[], None]):
        self.trials: dict[str, Trial] = {}  # those whose process has started
        self._all: Sequence[Trial] = ()
        self._over: list[Trial] = []
        self._check = check
        self._on_pulse = on_pulse
        self._next = 0.0

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks to restore a run, which is never done here."""
        return {}

    def __deepcopy__(self, memo: Any) -> _Pulse:
        return self

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.trials[trial.trial_id] = trial

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._over.append(trial)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._over.append(trial)

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        self._all = trials
        self._check()

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        for trial in self._over:
            _forget(trial)
            self.trials.pop(trial.trial_id, None)
        self._over.clear()
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _PROGRESS_EVERY
            self._on_pulse()

    def why(self, trial_id: str) -> Death:
        """Why a trial died."""
        trial = self.trials.get(trial_id) or next(
            (one for one in reversed(self._all) if one.trial_id == trial_id), None
        )
        text = ""
        if trial is not None and trial.error_file:  # the text, not the pickle beside it
            with contextlib.suppress(OSError):
                text = Path(trial.error_file).read_text(encoding="utf-8", errors="replace").strip()
        last = text.splitlines()[-1].strip() if text else "its worker ended without a result"
        if _LEAVING in text:
            return Death("leaving", last.rpartition(f"{_LEAVING}: ")[2])
        if _NODE.search(text):
            return Death("node", "its node is gone")
        if "WorkerGroupStartupTimeoutError" in text:
            return Death("node", "its workers found no room")
        if is_memory_kill(text):
            return Death("gone", memory_kill(text))
        if _DEAD.search(text):
            return Death("gone", "its worker process died: killed, out of memory, or its node is gone")
        return Death("gone", last)


class _GivesUp(tune.Stopper):
    """Ends the run when it is asked to stop and whatever is left waits for room: Tune itself would wait with it."""

    def __init__(self, agenda: Agenda, pulse: _Pulse):
        self._agenda = agenda
        self._pulse = pulse

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._agenda.give_up_waiting({trial.config["key"] for trial in self._pulse.trials.values()})

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles it to restore a run, which is never done here."""
        return {}

    def __deepcopy__(self, memo: Any) -> _GivesUp:
        return self


def _forget(trial: Trial) -> None:
    """Drops what Tune keeps of a trial that is over, for ever: its job and statistics of every number it reported."""
    trial.config = {"key": trial.config["key"]}
    trial.evaluated_params = {}
    metadata = trial.run_metadata
    metadata.last_result = {}
    metadata.metric_analysis = {}
    metadata.metric_n_steps = {}


def tune_segments(
    agenda: Agenda,
    room: Room,
    check: Callable[[], None],
    concurrent: int,
    groups: bool,
    scratch: Path,
    on_pulse: Callable[[], None],
) -> None:
    """Returns when the agenda is finished; Ray must be connected.

    Args:
        room, check: as in SegmentSearcher.
        concurrent: trials side by side, at most.
        groups: some trials form worker groups, so placement groups must be watched.
        scratch: a folder on storage that all nodes share; holds nothing of worth.
    """
    pulse = _Pulse(on_pulse, check)
    callbacks: list[tune.Callback] = [pulse]
    register = None
    if groups:
        from procray.execution.reaper import Reaper, start_register

        name = f"procray-groups-{os.getpid()}-{scratch.name}"
        register = start_register(name)
        agenda.tell_runners(register=name)
        callbacks.append(Reaper(register))
    tuner = tune.Tuner(
        tune.with_resources(SegmentTrial, _request),
        tune_config=tune.TuneConfig(
            search_alg=SegmentSearcher(agenda, pulse.why, room, check),
            num_samples=-1,
            max_concurrent_trials=concurrent,
            reuse_actors=True,
            trial_name_creator=_name,
            trial_dirname_creator=_name,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(scratch),
            verbose=0,
            callbacks=callbacks,
            stop=_GivesUp(agenda, pulse),
            failure_config=tune.FailureConfig(max_failures=0),  # the agenda counts the tries
        ),
    )
    with memory_kills_are_deaths():
        tuner.fit()
    if register is not None:
        ray.kill(register)


def _request(config: dict[str, Any]) -> tune.PlacementGroupFactory:
    """What the trial itself holds; a worker group asks for its own."""
    resources = config["resources"]
    if json.loads(config["job"])["executor"] != "inprocess":
        return tune.PlacementGroupFactory([{"CPU": 0, DRIVER: 1}])
    bundle = {"CPU": resources["cpu"]}
    if resources["gpu"]:
        bundle["GPU"] = resources["gpu"]
    return tune.PlacementGroupFactory([bundle])


def _name(trial: Trial) -> str:
    return f"{trial.config['key']}-{trial.trial_id}"
