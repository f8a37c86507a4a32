"""Gives an agenda to Ray: a local one, or the cluster at an address."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from procray.errors import EnvironmentProblem
from procray.execution.agenda import Agenda
from procray.execution.cluster import cluster, local_resources
from procray.execution.disk import disk_full
from procray.execution.jobs import threads_of
from procray.execution.preparation import prepare_corpora
from procray.execution.progress import progress
from procray.execution.room import Room, check_feasible, slots
from procray.execution.stopping import Stop
from procray.execution.terms import RunOptions
from procray.execution.watch import Away, RayLost, watching
from procray.execution.word import retract
from procray.garbage import set_aside
from procray.store.store import Store

if TYPE_CHECKING:
    from procray.planning.plan import Plan

RAYS_LOST = 3  # so often is a local Ray started again that died


def run_on_ray(
    plan: Plan, store: Store, agenda: Agenda, options: RunOptions, stop: Stop, logs: Path, scratch: Path
) -> None:
    """Gives the agenda to Ray, and to another local one when it dies."""
    ours = options.address is None and not ("ray" in sys.modules and sys.modules["ray"].is_initialized())
    for tried in itertools.count(1):
        try:
            return _on_one_ray(plan, store, agenda, options, stop, logs, scratch)
        except RayLost as lost:
            agenda.again()
            if not ours or tried > RAYS_LOST:
                raise
            options.on_event({"event": "ray", "state": "lost", "reason": str(lost)})


def _on_one_ray(
    plan: Plan, store: Store, agenda: Agenda, options: RunOptions, stop: Stop, logs: Path, scratch: Path
) -> None:
    """Prepares what the phases read, starts Ray or connects to it, and tunes until nothing is left.

    Raises:
        RayLost: it died on the way.
    """
    emit = options.on_event
    items = agenda.open()
    phases = list(dict.fromkeys(item.phase for item in items))
    groups = any(item.executor != "inprocess" for item in items)
    threads = max((threads_of(item.resources) for item in items), default=1)

    def prepare() -> None:
        prepare_corpora(plan, store, lambda message: emit({"event": "corpus", "message": message}), phases)

    with contextlib.ExitStack() as stack:
        stack.enter_context(set_aside())
        if options.address is None:
            machine = local_resources(gpus=any(item.resources["gpu"] for item in items))
            check_feasible(items, [machine], "this machine")
            prepare()
        from procray.training.environment import worker_environment

        emit({"event": "ray", "state": "starting"})
        stop.graceful = True  # from here on there is something to save
        stack.callback(setattr, stop, "graceful", False)

        def import_tune() -> None:
            importlib.import_module("procray.execution.tuning")

        stack.enter_context(cluster(options.address, logs, worker_environment(threads), import_tune))
        stop.listen()
        watch = stack.enter_context(watching(emit, options.on_stuck))
        check_feasible(
            items, watch.nodes.all, f"the cluster at {options.address}" if options.address else "the local Ray"
        )
        if options.address is not None:
            prepare()
            try:
                check_feasible(items, watch.nodes.live, "the cluster so far")
            except EnvironmentProblem as problem:  # what its autoscaler may add makes up for it
                emit({"event": "ray", "state": "grows", "reason": str(problem).partition(";")[0]})
        concurrent = min(slots(items, watch.nodes.all), options.max_concurrent or 10**6)
        emit({"event": "ray", "state": "ready", "concurrent": concurrent})
        if not agenda.finished():  # asked to stop while Ray was starting
            from procray.execution.tuning import tune_segments

            pulse = stack.enter_context(progress(plan, agenda, store, emit))
            if options.address is not None:  # a Ray of this command's own forgets by itself
                stack.callback(lambda: None if watch.lost else retract(stop.control.address))
            room = Room(lambda: watch.nodes, lambda: watch.node_lost)
            try:
                tune_segments(agenda, room, watch.check, concurrent, groups, scratch, pulse)
            except (Exception, Away) as error:
                if not disk_full(error):
                    watch.explain(within=2.0)
                raise
        emit({"event": "ray", "state": "stopping"})
