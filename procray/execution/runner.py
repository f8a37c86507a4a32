"""Runs a plan: what the command `procray sweep` does between reading the file and writing the report."""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from procray import links
from procray.errors import Stopped
from procray.execution.agenda import Agenda, complete
from procray.execution.disk import disk_full, full_text
from procray.execution.jobs import items_of
from procray.execution.on_ray import run_on_ray
from procray.execution.segment import GO
from procray.execution.stopping import Stop, deadline, signals_taken
from procray.execution.terms import RunOptions, RunResult
from procray.records import is_plain
from procray.selection import select
from procray.selection.outside import bring_outside
from procray.store.note import Note
from procray.store.objects import PATIENCE_OF_RUNNERS
from procray.store.plans import namesake
from procray.store.runs import is_of_run, name_of_run, running
from procray.store.store import Store

if TYPE_CHECKING:
    from procray.planning.plan import Plan


def run(plan: Plan, store: Store | str | Path, options: RunOptions | None = None) -> RunResult:
    """Trains whatever of a plan the store does not have yet.

    A sweep with `select:` is run in two stages: first the search, then everything else with the settings that
    the search has chosen (`then` of its plan). Both continue wherever they were stopped.

    Segments of phases start as soon as the marks that they need exist. Failed phases leave unrelated ones alone.
    SIGINT, SIGTERM and SIGHUP (unless it is ignored) let the running segments save and return; a second one, other than
    SIGHUP, does not wait. Running the same plan again continues, and starts no Ray when nothing is left to do.

    Events are dictionaries with `event` and, where it concerns one, `phase` (id) and `label`:
    `plan` (phases, segments, done), `corpus` (message, also of an outside checkpoint), `ray` (state: starting,
    ready, stopping; concurrent; lost: reason, and another one is started; silent: seconds that it is waited for;
    answers; grows: reason, what the nodes so far have no room for), `waiting` (for room on the cluster), `start`
    (until), `progress` (phases: live numbers of those that run, about twice a second), `done` (step, whole: all marks
    of the phase), `failed` (reason), `skipped` (reason), `retry` (reason, attempt, of), `elsewhere` (host, pid: another
    sweep trains it), `paused` (step; reason: its node goes away, the disk is full, or there was no room), `stopping`
    (reason: signal, time or disk), `notice` (message: for people), `chosen` (plan: the whole one, run from here on).

    Raises:
        EnvironmentProblem: a phase wants more than there is, or Ray does not start or answer.
        CorpusError: a corpus cannot be prepared.
        StoreError: the store is damaged or does not fit the plan.
        Stopped: Ray is lost, or the disk is full; running the same plan again continues.
    """
    options = options or RunOptions()
    store = store if isinstance(store, Store) else Store(store)
    try:
        return _run_stages(plan, store, options)
    except Exception as error:
        if isinstance(error, Stopped) or not disk_full(error):
            raise
        raise Stopped(full_text(store.path)) from error


def _run_stages(plan: Plan, store: Store, options: RunOptions) -> RunResult:
    started = time.monotonic()
    shown = select.whole(plan, store) or plan
    if notice := namesake(shown, store.newest(shown.title)):
        options.on_event({"event": "notice", "message": notice})
    folder = store.write_plan(shown).parent
    store.be_patient(PATIENCE_OF_RUNNERS)  # it answers, so what happens from here on is an outage
    first = _run_plan(plan, store, options, started, folder)
    if plan.then is None:
        return first
    whole = select.whole(plan, store)
    select.record(whole or plan, store)
    if first.interrupted or first.out_of_time or whole is None:
        return first
    folder = store.write_plan(whole).parent
    options.on_event({"event": "chosen", "plan": whole})
    # What failed in the search is not tried again beside what was chosen without it.
    second = _run_plan(whole, store, options, started, folder, over=frozenset(plan.phases))
    failed, skipped = first.failed | second.failed, first.skipped | second.skipped
    return replace(
        second,
        done=[label for label in second.done if label not in {*first.failed, *first.skipped}],
        failed=failed,
        skipped={label: reason for label, reason in skipped.items() if label not in failed},
        trained=first.trained + second.trained,
    )


def _run_plan(
    plan: Plan, store: Store, options: RunOptions, started: float, folder: Path, over: frozenset[str] = frozenset()
) -> RunResult:
    """Runs one plan, with its logs below `folder`; the phases of `over` have been dealt with."""
    bring_outside(plan, store, lambda message: options.on_event({"event": "corpus", "message": message}))
    control, scratch = _own_paths(folder, store)
    items = [
        item for item in items_of(plan, store, control.address, scratch, options.profile) if item.phase not in over
    ]
    begun = set(store.phases())  # of a large plan most may not have begun: one look tells
    done_before = sum(1 for item in items if item.phase in begun and complete(item, store))
    options.on_event({"event": "plan", "phases": len(plan.phases), "segments": len(items), "done": done_before})
    agenda = Agenda(
        items,
        store,
        retries=plan.retries if options.retries is None else options.retries,
        retry_failed=options.retry_failed,
        on_event=options.on_event,
        on_full=lambda reason: stop.ask("disk", reason),
    )
    stop = Stop(control, options.on_event, agenda=agenda)
    interrupted = False
    if not agenda.finished():
        try:
            control.write(GO)
            stop.running = True
            with signals_taken(stop), deadline(stop, options.max_hours, started):
                run_on_ray(plan, store, agenda, options, stop, folder / "logs", scratch)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            stop.running = False
            control.remove()
            shutil.rmtree(scratch, ignore_errors=True)
    if stop.reason == "disk":
        raise Stopped(stop.why)
    _settle_statuses(plan, store)
    labels = {phase.id: phase.label for phase in plan.phases.values()}
    unfinished = agenda.unfinished()
    not_done = {*agenda.failed, *agenda.skipped, *unfinished}
    return RunResult(
        done=[label for phase, label in labels.items() if phase not in not_done],
        failed={labels[phase]: reason for phase, reason in agenda.failed.items()},
        skipped={labels[phase]: reason for phase, reason in agenda.skipped.items() if phase not in agenda.failed},
        unfinished=[labels[phase] for phase in unfinished],
        interrupted=interrupted or stop.reason == "signal",
        signal=stop.signal or (signal.SIGINT if interrupted else 0),
        out_of_time=stop.reason == "time",
        trained=sum(1 for item in items if complete(item, store)) - done_before,
        seconds=time.monotonic() - started,
        logs=folder / "logs",
        plan=plan,
    )


def _own_paths(folder: Path, store: Store) -> tuple[Note, Path]:
    """Where this run keeps its word to the runners and Ray's scratch; removes those of killed runs of this host."""
    for other in filter(is_plain, links.names_in(folder.parent)):  # whatever plan of the sweep they ran
        if not links.is_folder(folder.parent / other):
            continue
        for name in filter(is_of_run, links.names_in(folder.parent / other)):
            if running(name) == 0:
                links.remove_any(folder.parent / other / name)
    name = name_of_run()
    if store.in_bucket:  # nothing that Ray keeps for itself need be shared
        return store.note(folder / name), Path(tempfile.mkdtemp(prefix=f"procray{name}-", suffix="-ray"))
    return store.note(folder / name), folder / f"{name}-ray"


def _settle_statuses(plan: Plan, store: Store) -> None:
    """A command killed between the last mark of a phase and its status left the status behind."""
    for phase in plan.phases.values():
        folder = store.phase(phase.id)
        if not all(folder.exists_mark(step) for step in phase.marks):
            continue
        if folder.status()["state"] == "done":
            continue
        held = folder.acquire()
        if held is None:
            continue
        try:
            if phase.recipe.steps is not None and phase.marks[-1] >= phase.recipe.steps:
                folder.drop_resumes(held)
            folder.set_status("done", step=phase.marks[-1], attempt=held.attempt)
        finally:
            held.release()
