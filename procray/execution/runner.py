"""Runs a plan: what the command `procray sweep` does between reading the file and writing the report."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from procray.errors import EnvironmentProblem, Stopped
from procray.execution.agenda import Agenda, Event, Item, complete
from procray.execution.cluster import cluster, local_resources
from procray.execution.disk import disk_full, full_text
from procray.execution.preparation import prepare_corpora
from procray.execution.room import Room, check_feasible, slots
from procray.execution.segment import GO, STOP
from procray.execution.watch import Away, RayLost, watching
from procray.files import digest
from procray.garbage import keeping_everything, set_aside
from procray.selection import select
from procray.selection.outside import bring_outside
from procray.store.lease import process_start, this_host, this_process
from procray.store.note import Note
from procray.store.objects import PATIENCE_OF_RUNNERS
from procray.store.store import Store

if TYPE_CHECKING:
    from procray.planning.plan import Plan, PlannedPhase, Segment


# A group of its own costs a segment 10 to 20 s. It is worth them from some minutes of training on, for which the speed
# of a fast machine stands: where training is slower than that, a warm group is no loss.
FRESH_FROM_SECONDS = 300.0
FLOPS_OF_PROCESSOR = 1e11
FLOPS_OF_GPU = 4e14
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
RAYS_LOST = 3  # so often is a local Ray started again that died


@dataclass(frozen=True)
class RunOptions:
    """How to run a plan.

    Attributes:
        max_concurrent: at most so many segments at once; None: as many as fit.
        max_hours: running segments save and the sweep stops, resumable, after so long.
        address: of a Ray cluster; None starts a local Ray.
        retry_failed: try again what an earlier run recorded as failed for good.
        on_event: called with what happens, see `run`; with `stopping` perhaps from another thread.
        retries: how often a segment is tried again after its worker died or ran out of memory; None: as
            often as the plan says.
        profile: trace the steps from the first to the second of every phase that this run trains, into
            `profile/` of its folder.
        on_stuck: called from a thread when Ray is lost while this process waits inside of it, from where it
            cannot be taken; a minute after its end Ray ends the process. The command says so and exits.
    """

    max_concurrent: int | None = None
    max_hours: float | None = None
    address: str | None = None
    retry_failed: bool = False
    on_event: Callable[[Event], None] = lambda event: None
    retries: int | None = None
    profile: tuple[int, int] | None = None
    on_stuck: Callable[[str], None] = lambda reason: None


@dataclass(frozen=True)
class RunResult:
    """How a run ended. Phases are named by their labels.

    Attributes:
        done: phases that have every mark that the plan wants, those of earlier runs included.
        failed: with the reason; among them those that an earlier run recorded.
        skipped: phases that a failed one keeps from starting, with the reason.
        unfinished: phases to continue when the same plan is run again.
        interrupted: a signal asked to stop.
        signal: its number; 0 without one.
        out_of_time: `max_hours` ran out.
        trained: segments that this run finished.
        seconds: wall time.
        logs: the folder with what Ray wrote; it need not exist.
        plan: what was run; of a sweep with `select:` the whole plan, once the search has settled.
    """

    done: list[str]
    failed: dict[str, str]
    skipped: dict[str, str]
    unfinished: list[str]
    interrupted: bool
    signal: int
    out_of_time: bool
    trained: int
    seconds: float
    logs: Path
    plan: Plan


@dataclass
class _Stop:
    """Why the run should stop, and how signals are taken at the moment."""

    control: Note
    emit: Callable[[Event], None]
    reason: str = ""
    why: str = ""  # in words
    signal: int = 0
    graceful: bool = False
    agenda: Agenda | None = field(default=None)
    running: bool = False  # there may be somebody who reads the note

    def ask(self, reason: str, why: str = "") -> None:
        """Running segments save and return; nothing new starts."""
        if self.reason:
            return
        self.reason, self.why = reason, why
        if self.agenda is not None:
            self.agenda.stop(reason)
        if self.running:
            with contextlib.suppress(
                EnvironmentProblem, OSError
            ):  # a store that is away; a second signal does not wait
                self.control.write(STOP)
        self.emit({"event": "stopping", "reason": reason})

    def listen(self) -> None:
        """Takes the signals, again where Ray has taken them away: it would print a trace and exit with 1."""
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                signal.signal(number, self.on_signal)

    def on_signal(self, number: int, frame: Any) -> None:
        self.signal = self.signal or number
        if not self.graceful or self.reason == "signal":  # nothing to save, or asked a second time
            self.reason = "signal"
            raise KeyboardInterrupt
        self.ask("signal")


def run(plan: Plan, store: Store | str | Path, options: RunOptions | None = None) -> RunResult:
    """Trains whatever of a plan the store does not have yet.

    A sweep with `select:` is run in two stages: first the search, then everything else with the settings that
    the search has chosen (`then` of its plan). Both continue wherever they were stopped.

    Segments of phases start as soon as the marks that they need exist. Failed phases leave unrelated
    ones alone. SIGINT and SIGTERM let the running segments save and return; a second one does not
    wait. Running the same plan again continues, and starts no Ray when nothing is left to do.

    Events are dictionaries with `event` and, where it concerns one, `phase` (id) and `label`:
    `plan` (phases, segments, done), `corpus` (message, also of an outside checkpoint), `ray` (state: starting,
    ready, stopping; concurrent; lost: reason, and another one is started; silent: seconds that it is waited for;
    answers; grows: reason, what the nodes so far have no room for), `waiting` (for room on the cluster), `start`
    (until), `progress` (phases: live numbers of those that run, about twice a second), `done` (step, whole: all marks
    of the phase), `failed` (reason), `skipped` (reason), `retry` (reason, attempt, of), `elsewhere` (host, pid: another
    sweep trains it), `paused` (step; reason: its node goes away, or the disk is full), `stopping` (reason: signal, time
    or disk), `chosen` (plan: the whole one, which is run from here on).

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
    store.write_plan(select.whole(plan, store) or plan)
    store.be_patient(PATIENCE_OF_RUNNERS)  # it answers, so what happens from here on is an outage
    first = _run_plan(plan, store, options, started)
    if plan.then is None:
        return first
    select.record(plan, store)
    whole = select.whole(plan, store)
    if first.interrupted or first.out_of_time or whole is None:
        return first
    store.write_plan(whole)
    options.on_event({"event": "chosen", "plan": whole})
    # What failed in the search is not tried again beside what was chosen without it.
    second = _run_plan(whole, store, options, started, over=frozenset(plan.phases))
    failed, skipped = first.failed | second.failed, first.skipped | second.skipped
    return replace(
        second,
        done=[label for label in second.done if label not in {*first.failed, *first.skipped}],
        failed=failed,
        skipped={label: reason for label, reason in skipped.items() if label not in failed},
        trained=first.trained + second.trained,
    )


def _run_plan(
    plan: Plan, store: Store, options: RunOptions, started: float, over: frozenset[str] = frozenset()
) -> RunResult:
    """Runs one plan; the phases of `over` have been dealt with."""
    folder = store.sweep_folder(plan.name, plan.scale)
    bring_outside(plan, store, lambda message: options.on_event({"event": "corpus", "message": message}))
    control, scratch = _own_paths(folder, store)
    items = [item for item in _items(plan, store, control.address, scratch, options.profile) if item.phase not in over]
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
    stop = _Stop(control, options.on_event, agenda=agenda)
    interrupted = False
    if not agenda.finished():
        try:
            control.write(GO)
            stop.running = True
            with _signals(stop), _deadline(stop, options.max_hours, started):
                _run(plan, store, agenda, options, stop, folder / "logs", scratch)
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
    mine = f".run-{digest(this_host(), 8)}-"
    for old in folder.glob(f"{mine}*"):
        pid = old.name.removeprefix(mine).split("-")[0]
        if pid.isdigit() and process_start(int(pid)) is None:
            if old.is_dir():
                shutil.rmtree(old, ignore_errors=True)
            else:
                old.unlink(missing_ok=True)
    name = f"{mine}{os.getpid()}-{uuid.uuid4().hex[:6]}"
    if store.in_bucket:  # nothing that Ray keeps for itself need be shared
        return store.note(folder / name), Path(tempfile.gettempdir()) / f"procray{name}-ray"
    return store.note(folder / name), folder / f"{name}-ray"


def _run(plan: Plan, store: Store, agenda: Agenda, options: RunOptions, stop: _Stop, logs: Path, scratch: Path) -> None:
    """Gives the agenda to Ray, and to another local one when it dies."""
    ours = options.address is None and not ("ray" in sys.modules and sys.modules["ray"].is_initialized())
    for tried in itertools.count(1):
        try:
            return _run_on_ray(plan, store, agenda, options, stop, logs, scratch)
        except RayLost as lost:
            agenda.again()
            if not ours or tried > RAYS_LOST:
                raise
            options.on_event({"event": "ray", "state": "lost", "reason": str(lost)})


def _run_on_ray(
    plan: Plan, store: Store, agenda: Agenda, options: RunOptions, stop: _Stop, logs: Path, scratch: Path
) -> None:
    emit = options.on_event
    items = agenda.open()
    phases = list(dict.fromkeys(item.phase for item in items))
    groups = any(item.executor != "inprocess" for item in items)
    threads = max((_threads(item.resources) for item in items), default=1)

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

            pulse = stack.enter_context(_progress(agenda, store, emit))
            room = Room(lambda: watch.nodes, lambda: watch.node_lost)
            try:
                tune_segments(agenda, room, watch.check, concurrent, groups, scratch, pulse)
            except (Exception, Away) as error:
                if not disk_full(error):
                    watch.explain(within=2.0)
                raise
        emit({"event": "ray", "state": "stopping"})


@keeping_everything()
def _items(
    plan: Plan, store: Store, control: str | Path, scratch: Path, profile: tuple[int, int] | None = None
) -> list[Item]:
    """The plan's segments with what their runners need."""
    driver = this_process()
    common = {
        "store": store.address,
        "control": str(control),
        "scratch": str(scratch),
        "profile": profile,
        "driver": driver,
        "about": {"sweep": f"{plan.name}@{plan.scale}", "driver": driver},
    }
    items = []
    reached: dict[str, int] = {}
    for segment in _in_order(plan):
        phase = plan.phases[segment.phase]
        flops = (segment.until - reached.get(phase.id, 0)) * phase.flops / phase.marks[-1]
        reached[phase.id] = segment.until
        resources, executor = _resources(phase), _executor(phase, flops)
        items.append(
            Item(
                phase=phase.id,
                label=phase.label,
                until=segment.until,
                marks=tuple(segment.marks),
                needs=tuple([(need[0], need[1]) for need in segment.needs if need[0] != phase.id]),
                weight=flops,
                resources=resources,
                executor=executor,
                make_job=partial(_job, common, phase, segment, resources, executor),
            )
        )
    return items


def _in_order(plan: Plan) -> list[Segment]:
    """The plan's segments, phase by phase."""
    order = {phase: number for number, phase in enumerate(plan.phases)}
    return sorted(plan.segments(), key=lambda segment: (order[segment.phase], segment.until))


def _job(
    common: dict[str, Any], phase: PlannedPhase, segment: Segment, resources: dict[str, float], executor: str
) -> dict[str, Any]:
    """What the runner of a segment needs."""
    return {
        **common,
        "phase": phase.id,
        "label": phase.label,
        "recipe": phase.recipe.to_json(),
        "until": segment.until,
        "marks": list(segment.marks),
        "last": segment.until == phase.marks[-1],
        "keep": list(phase.marks),
        "threads": _threads(resources),
        "device": "cuda" if resources["gpu"] else "cpu",
        "resources": resources,
        "executor": executor,
    }


def _threads(resources: dict[str, float]) -> int:
    return max(1, int(resources["cpu"]))


def needs(plan: Plan) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Of every segment: the label of its phase, how it runs and what it takes, without a store."""
    reached: dict[str, int] = {}
    for segment in sorted(plan.segments(), key=lambda segment: (segment.phase, segment.until)):
        phase = plan.phases[segment.phase]
        flops = (segment.until - reached.get(phase.id, 0)) * phase.flops / phase.marks[-1]
        reached[phase.id] = segment.until
        yield phase.label, _executor(phase, flops), _resources(phase)


def _executor(phase: PlannedPhase, flops: float) -> str:
    """How to run a segment of so many FLOPs, unless the sweep file says it."""
    asked = phase.resources.get("executor", "auto")
    if asked != "auto":
        return str(asked)
    resources = _resources(phase)
    if "least" in resources:
        return "train"
    if resources["workers"] == 1:
        return "inprocess"
    each = FLOPS_OF_GPU * resources["gpu"] if resources["gpu"] else FLOPS_OF_PROCESSOR * resources["cpu"]
    return "train" if flops / (resources["workers"] * each) >= FRESH_FROM_SECONDS else "train-warm"


def _resources(phase: PlannedPhase) -> dict[str, float]:
    given = phase.resources
    return {
        "workers": int(given.get("workers", 1)),
        **({"least": int(given["min_workers"])} if "min_workers" in given else {}),
        "gpu": float(given.get("gpu", 0.0)),
        "cpu": float(given.get("cpu", 1)),
    }


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


@contextlib.contextmanager
def _progress(agenda: Agenda, store: Store, emit: Callable[[Event], None]) -> Iterator[Callable[[], None]]:
    """What tells the live numbers whenever it is called; those in a bucket are fetched beside the scheduler."""

    def tell(running: list[Item]) -> None:
        live = []
        store.refresh([item.phase for item in running], all=False)
        for item in running:
            row = store.phase(item.phase).progress() or {}
            facts = {key: row.get(key) for key in ("step", "tokens", "loss", "tokens_per_s", "mfu")}
            live.append({"phase": item.phase, "label": item.label, "until": item.until, **facts})
        emit({"event": "progress", "phases": live})

    if not store.in_bucket:
        yield lambda: tell(agenda.running())
        return
    with ThreadPoolExecutor(1, "progress") as beside:
        last: list[Future[None]] = []

        def ask() -> None:
            if not last or last[0].done():
                last[:] = [beside.submit(tell, agenda.running())]

        yield ask


@contextlib.contextmanager
def _signals(stop: _Stop) -> Iterator[None]:
    """Takes SIGINT and SIGTERM while the block runs; in a thread of somebody else's program it does not."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    stop.listen()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _deadline(stop: _Stop, hours: float | None, started: float) -> Iterator[None]:
    if hours is None:
        yield
        return
    timer = threading.Timer(max(0.0, hours * 3600 - (time.monotonic() - started)), stop.ask, ["time"])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
