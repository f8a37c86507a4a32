"""The live table of a sweep: it reads the store, so it works for a sweep of any process, past or present."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from procray.cli.terminal import AT_MOST, say, short_count, short_time
from procray.planning import Plan, PlannedPhase
from procray.selection.standing import Standing, consumed, kept, reached
from procray.store.store import Store
from procray.visible import on_one_line

STATES = ("running", "waiting", "paused", "done", "failed", "skipped")


@dataclass(frozen=True)
class Row:
    """One phase as `status` and the live table show it. Tokens are of the phase's own data, `budget` the planned ones.

    `at_most`: the budget is the most that it may consume, because its sequences grow with what is mastered.
    """

    id: str
    label: str
    kind: str
    state: str
    tokens: float
    budget: float
    tokens_per_s: float | None
    mfu: float | None  # model FLOPs utilisation, a fraction; None on a GPU whose peak is not known
    loss: float | None
    reason: str | None
    solved: bool = False  # done before its budget, because its task was solved
    at_most: bool = False

    @property
    def seconds_left(self) -> float | None:
        if self.state != "running" or not self.tokens_per_s:
            return None
        return max(0.0, self.budget - self.tokens) / self.tokens_per_s


def row(phase: PlannedPhase, store: Store, standing: Standing) -> Row:
    """The state of one phase as far as its plan wants it, according to the store.

    The tokens of a phase that is not done are those that it goes on from, and of one that runs those it has come to.
    """
    folder = store.phase(phase.id)
    end = phase.end
    budget = phase.nominal[end]
    state, reason = standing.of(phase.id)
    if state == "done":
        about = folder.manifest(end)
        solved = about.get("solved_at") is not None and not phase.recipe.paced_by
        tokens = about.get("tokens", budget) if solved else consumed(phase, folder, end)
        budget = tokens if phase.recipe.growing and not solved else budget
        return Row(
            phase.id, phase.label, phase.recipe.kind, state, tokens, budget, None, None, about.get("loss"), None, solved
        )
    if state == "running":
        _, tokens, live = reached(phase, folder)
    else:
        _, tokens = kept(phase, folder)
        live = (folder.progress() or {}) if state in ("paused", "failed") else {}
    speed, mfu = (live.get("tokens_per_s"), live.get("mfu")) if state == "running" else (None, None)
    return Row(
        phase.id, phase.label, phase.recipe.kind, state, tokens, budget, speed, mfu, live.get("loss"), reason or None,
        at_most=phase.recipe.growing,
    )  # fmt: skip


class Watcher:
    """Follows the phases of a plan; a finished phase is read only once."""

    def __init__(self, plan: Plan, store: Store):
        self.plan, self.store = plan, store
        self.settled: dict[str, Row] = {}
        self.started = time.monotonic()

    def follow(self, plan: Plan) -> None:
        """Shows another plan from here on: after a search the whole one."""
        self.plan = plan

    def rows(self) -> list[Row]:
        rows = []
        self.store.refresh((phase for phase in self.plan.phases if phase not in self.settled), all=False)
        standing = Standing(self.plan, self.store)
        for phase in self.plan.phases.values():
            current = self.settled.get(phase.id) or row(phase, self.store, standing)
            if current.state == "done":
                self.settled[phase.id] = current
            rows.append(current)
        return rows


def counts(rows: list[Row]) -> str:
    """`done 3 · running 2 · waiting 16`."""
    have = Counter(r.state for r in rows)
    order = ("done", "running", "waiting", "paused", "failed", "skipped")
    return " · ".join(f"{state} {have[state]}" for state in order if have[state]) + f" of {len(rows)} phases"


def line(r: Row) -> str:
    """One phase as a plain line."""
    parts = [f"{r.state:8}", on_one_line(r.label), f"{short_count(r.tokens)} of {_budget(r)} tokens"]
    if r.solved:
        parts.append("solved")
    if r.loss is not None:
        parts.append(f"loss {r.loss:.4f}")
    if r.state == "running" and r.tokens_per_s:
        parts.append(f"{short_count(r.tokens_per_s)} tokens/s")
        if r.mfu is not None:
            parts.append(f"MFU {100 * r.mfu:.3g} %")
    if r.reason and r.state in ("failed", "skipped"):
        parts.append(on_one_line(r.reason))
    return "  ".join(parts)


def _budget(r: Row) -> str:
    return f"{AT_MOST if r.at_most else ''}{short_count(r.budget)}"


def table(rows: list[Row], height: int, seconds: float) -> Any:
    """The rich table: what runs, what failed, what finished last, and the counts."""
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False, caption_justify="left")
    grid.add_column("phase", no_wrap=True, overflow="ellipsis")
    for name in ("tokens", "tokens/s", "MFU", "loss", "left"):
        grid.add_column(name, justify="right", no_wrap=True)
    grid.add_column("state")
    rank = {"running": 0, "failed": 1, "skipped": 2, "paused": 3, "done": 4, "waiting": 5}
    style = {
        "running": "bold",
        "failed": "red",
        "skipped": "yellow",
        "done": "green",
        "waiting": "dim",
        "paused": "cyan",
    }
    shown = sorted(rows, key=lambda r: rank.get(r.state, 6))[: max(3, height - 4)]
    for r in shown:
        left = r.seconds_left
        grid.add_row(
            Text(on_one_line(r.label)),
            f"{short_count(r.tokens)} / {_budget(r)}",
            short_count(r.tokens_per_s) if r.tokens_per_s and r.state == "running" else "",
            f"{100 * r.mfu:.3g} %" if r.mfu is not None and r.state == "running" else "",
            f"{r.loss:.4f}" if r.loss is not None else "",
            short_time(left) if left is not None else "",
            Text("solved" if r.solved else r.state, style=style.get(r.state, "dim")),
        )
    grid.caption = f"{counts(rows)} · {short_time(seconds)}"
    return grid


@contextmanager
def watching(plan: Plan, store: Store, every: float = 1.0) -> Iterator[Watcher]:
    """Shows the sweep while the body runs: a live table on a terminal, plain lines elsewhere (stderr)."""
    from rich.console import Console
    from rich.live import Live

    watcher = Watcher(plan, store)
    console = Console(stderr=True)
    stop = threading.Event()

    def plain() -> None:
        known = {r.id: r.state for r in watcher.rows()}
        while True:
            last = stop.wait(every)
            for r in watcher.rows():
                if known.get(r.id) != r.state and r.state != "waiting":
                    say(f"{time.monotonic() - watcher.started:7.1f}s  {line(r)}")
                known[r.id] = r.state
            if last:
                return

    def live() -> None:
        with Live(console=console, refresh_per_second=4, transient=True) as view:
            while not stop.wait(every):
                rows = watcher.rows()
                view.update(table(rows, console.height, time.monotonic() - watcher.started))

    thread = threading.Thread(target=live if console.is_terminal else plain, daemon=True)
    thread.start()
    try:
        yield watcher
    finally:
        stop.set()
        thread.join()
        say(counts(watcher.rows()))
