"""How a plan is to be run, and how it ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from procray.execution.agenda import Event

if TYPE_CHECKING:
    from procray.planning.plan import Plan


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
