"""Trains one segment of one phase in this process, with the store around it and no Ray.

Every executor ends here: in a Tune actor, in a worker of a Ray Train group, in a test.
"""

from __future__ import annotations

import contextlib
import os
import platform
import threading
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from procray.errors import CorpusError, EnvironmentProblem, PhaseFailed, ProcrayError, StoreError
from procray.execution.disk import disk_full, full_text
from procray.redaction import redact
from procray.store.context import StoreContext
from procray.store.lease import Lease, LeaseLost
from procray.store.note import open_note
from procray.store.objects import PATIENCE_OF_RUNNERS, StoreUnreachable
from procray.store.phase import PhaseFolder
from procray.store.processes import process_alive
from procray.store.store import Store
from procray.training.recipe import PhaseRecipe

if TYPE_CHECKING:
    from procray.training.source import Source

# What trying again at once cannot cure: the same code on the same data raises it again. Everything else
# may pass: a dead worker, memory, a file server, a connection between workers.
HOPELESS = (ProcrayError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError)
# Of these, what the user can mend outside the sweep file; the next run tries it again without being told.
MENDABLE = (EnvironmentProblem, StoreError, CorpusError)

GO, STOP = "go  ", "stop"  # of one length: on a full disk a file can still be overwritten in place


def is_hopeless(error: BaseException) -> bool:
    """Whether trying again at once would fail in the same way."""
    return isinstance(error, HOPELESS) and not isinstance(error, StoreUnreachable)


def run_segment(
    job: dict[str, Any], should_stop: Callable[[], bool], rank: int = 0, world_size: int = 1
) -> dict[str, Any]:
    """Trains a phase until `job["until"]`, or until it is asked to stop.

    Args:
        job: `store`, `recipe`, `label`, `until`, `marks`, `last` (until is the last step that the plan
            wants of this phase), `keep` (steps whose resume state stays), `threads`, `device` (torch's
            name), `about` (goes into the lease).
        should_stop: asked between steps.
        rank, world_size: this process in its group; above 1 torch.distributed is initialised.

    Returns:
        `{"state": "done" | "paused" | "failed" | "leased" | "full", "step", "reason", "seconds", "tokens"}`.
        `leased`: another living process trains the phase. `full`: the disk is. A failure that a retry cannot cure is
        recorded in the store and returned (one process) or raised (several, so that nobody waits for
        the rank that failed).

    Raises:
        Exception: whatever a retry may cure.
    """
    started = time.monotonic()
    recipe = PhaseRecipe.from_json(job["recipe"])
    store = Store(job["store"], PATIENCE_OF_RUNNERS)
    folder = store.phase(recipe.id)
    held = folder.acquire(job.get("about")) if rank == 0 else None
    try:
        go, at_most = _agree(held is not None, _resume_limit(recipe, folder, job["marks"]), world_size)
        if not go:
            return {"state": "leased"}
        try:
            result = _train(recipe, store, folder, held, job, should_stop, rank, world_size, at_most)
        except LeaseLost as lost:
            return {"state": "leased", "reason": str(lost)}
        except Exception as error:
            if disk_full(error) and world_size == 1:
                return {"state": "full", "reason": full_text(store.path)}
            if held is not None and not disk_full(error):
                record_failure(folder, error, held)
            if not is_hopeless(error) or world_size > 1:
                raise
            return {"state": "failed", "reason": describe(error)}
        return {**result, "seconds": time.monotonic() - started}
    finally:
        if held is not None:
            held.release()


def record_failure(folder: PhaseFolder, error: BaseException, held: Lease | None = None) -> None:
    """Writes into the status why the phase does not go on."""
    if held is not None and not held.held():
        return
    facts = {
        "step": _failed_at(folder, error, held),
        "traceback": redact("".join(traceback.format_exception(error))),
    }
    if held is not None:
        facts["attempt"] = held.attempt
    if is_hopeless(error):
        final = not isinstance(error, MENDABLE)
        folder.set_status("failed", reason=describe(error), final=final, **facts)
    else:
        folder.set_status("paused", reason=describe(error), **facts)


def _failed_at(folder: PhaseFolder, error: BaseException, held: Lease | None) -> int | None:
    """Updates after which it failed, or fewer; None where that is not known."""
    if isinstance(error, PhaseFailed):
        return error.step
    live = folder.progress() or {}
    mine = held is not None and live.get("attempt") == held.attempt  # an earlier attempt may have gone further
    return live.get("step") if mine else None


def describe(error: BaseException) -> str:
    """One line; an error of ours speaks for itself, others are named."""
    text = redact(" ".join(str(error).split())) or "no message"
    return text if isinstance(error, ProcrayError) else f"{type(error).__name__}: {text}"


def stop_flag(address: str | None, every: float | None = None) -> Callable[[], bool]:
    """A `should_stop` that reads the command's note at most once in `every` seconds."""
    if address is None:
        return lambda: False
    note = open_note(address)
    every = note.look_every if every is None else every
    state = {"stop": False, "next": 0.0}

    def asked() -> bool:
        if not state["stop"] and time.monotonic() >= state["next"]:
            state["next"] = time.monotonic() + every
            with contextlib.suppress(OSError, EnvironmentProblem):  # no answer: the next look tries again
                state["stop"] = note.read().strip() == STOP
        return bool(state["stop"])

    return asked


def any_of(*flags: Callable[[], bool]) -> Callable[[], bool]:
    """True as soon as one of the flags is."""
    return lambda: any(flag() for flag in flags)


_watched: set[tuple[Any, ...]] = set()


def die_with(driver: dict[str, Any] | None, every: float = 0.5) -> None:
    """Ends this process when the command that started it is gone, so that it holds no lease for nothing.

    Ray does this too, but takes its time. Only a command on the same host can be watched.
    """
    if not driver or process_alive(driver) is None or tuple(driver.values()) in _watched:
        return
    _watched.add(tuple(driver.values()))

    def watch() -> None:
        while process_alive(driver):
            time.sleep(every)
        os._exit(1)

    threading.Thread(target=watch, name="watch-driver", daemon=True).start()


def _train(
    recipe: PhaseRecipe,
    store: Store,
    folder: PhaseFolder,
    held: Lease | None,
    job: dict[str, Any],
    should_stop: Callable[[], bool],
    rank: int,
    world_size: int,
    at_most: int | None,
) -> dict[str, Any]:
    import torch

    from procray.training import runtime
    from procray.training.loop import train
    from procray.training.trace import Trace, trace_name

    until, marks, threads = int(job["until"]), [int(step) for step in job["marks"]], int(job.get("threads", 1))
    if all(folder.exists_mark(step) for step in marks):
        _settle(recipe, folder, held, job)
        return {"state": "done", "step": until}
    device = torch.device(job.get("device", "cpu"))
    source, data_digest = _source(recipe, store)
    provenance = None
    if held is not None:
        chosen = runtime.resolve(
            recipe,
            device,
            vocab=source.vocab,
            rows=source.rows,
            positions=source.context,
            steps=until,
            threads=threads,
            world_size=world_size,
        )
        mine = {**runtime.provenance(chosen), "host": platform.node(), "executor": job.get("executor", "inprocess")}
        provenance = folder.write_description(recipe, mine, held.attempt, data_digest)
        folder.set_status("running", attempt=held.attempt, until=until)
    context = StoreContext(
        folder,
        held,
        store,
        rank,
        world_size,
        device,
        should_stop,
        provenance=provenance,
        keep_resumes=job.get("keep", ()) if recipe.steps is None else (),
        resume_at_most=at_most,
    )
    traced = None
    if rank == 0 and job.get("profile"):
        first, last = job["profile"]
        traced = Trace(first, last, folder.path / "profile" / trace_name(first, last))
    try:
        outcome = train(recipe, source, context, until=until, marks=marks, threads=threads, trace=traced)
    finally:
        context.close()
    if outcome.status == "paused":
        if held is not None:
            held.check()
            folder.set_status("paused", step=outcome.step, attempt=held.attempt, reason="asked to stop")
        return {"state": "paused", "step": outcome.step, "tokens": outcome.tokens}
    _settle(recipe, folder, held, job)
    return {"state": "done", "step": outcome.step, "tokens": outcome.tokens}


def _settle(recipe: PhaseRecipe, folder: PhaseFolder, held: Lease | None, job: dict[str, Any]) -> None:
    """The status after the last step of a segment."""
    if held is None:
        return
    held.check()
    if recipe.steps is not None and int(job["until"]) >= recipe.steps:
        folder.drop_resumes(held)
    state = "done" if job.get("last", True) else "waiting"
    folder.set_status(state, step=int(job["until"]), attempt=held.attempt)


def _resume_limit(recipe: PhaseRecipe, folder: PhaseFolder, marks: list[int]) -> int | None:
    """The latest step to resume from: at or before every mark that is missing."""
    missing = [int(step) for step in marks if not folder.exists_mark(int(step))]
    return min(missing) if missing else None


def _source(recipe: PhaseRecipe, store: Store) -> tuple[Source, str | None]:
    from procray.training.source import task_source, text_source

    if "task" in recipe.data:
        return task_source(recipe), None
    from procray import corpora

    prepared = corpora.load(recipe.data, store.bring_corpus(recipe.data))
    return text_source(recipe, prepared), prepared.digest


def _agree(go: bool, at_most: int | None, world_size: int) -> tuple[bool, int | None]:
    """Rank 0's answers on every rank. As numbers: torch.distributed sends whole objects as pickles."""
    if world_size == 1:
        return go, at_most
    import torch
    import torch.distributed as distributed

    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    box = torch.tensor([go, -1 if at_most is None else at_most], dtype=torch.int64, device=device)
    distributed.broadcast(box, src=0)
    agreed = box.tolist()
    return bool(agreed[0]), None if agreed[1] < 0 else int(agreed[1])
