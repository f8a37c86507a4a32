"""A sweep with every control written out in its grid, whose ends are given seed by seed; nothing trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from procray.planning import Plan, PlannedPhase
from procray.report.numbers.results import Answer, Results, Target, Variant
from procray.report.numbers.summary import summarise
from procray.store.store import Store

from .claims import FIND, TEXT, falling, rising
from .synthetic import fill, make_plan

SHUFFLED = "{shuffled: identity}"
WORDS = "{text: {corpus: {files: [CORPUS]}, tokenizer: byte}}"
HEAD = """name: gated
seeds: {seeds}
model: {{layers: 1, heads: 2, width: 16, context: 64}}
procedural: {{task: {{grid: [{tasks}]}}, length: 8, batch: 16, tokens: 20k, optimizer: {{lr: 1e-3}}}}
transfer: {transfer}
perturb: {{grid: [{perturb}]}}
exclude: [{{task: [{SHUFFLED}, {WORDS}], perturb: [{{random: norm_matched}}]}}]
"""
KINDS = ("shuffled", "text", "random")


@dataclass
class Sweep:
    """What a sweep is to look like.

    Attributes:
        ends: by what it is (`baseline`, `identity`, a task beside it, a kind of control) the end of every seed (of
            every donor, one after the other, where there are some); None for one that failed half way.
        learned: accuracy at which every warm-up ends, or one of the seed.
        curve: the value after a share of the tokens, of (end, share, what it is).
        until: by what it is, the share of its compared phase that has been trained.
        passes: over the text, at the end.
        more: added to the sweep file.
    """

    ends: dict[str, Sequence[float | None]]
    kind: str = "text"
    learned: float | Callable[[int], float] = 0.98
    curve: Callable[..., float] | None = None
    until: dict[str, float] = field(default_factory=dict)
    passes: float = 0.5
    more: str = ""
    transfer: str = "full"
    donors: int = 0


def what(plan: Plan, phase: PlannedPhase) -> str:
    """`baseline`, the kind of control, or the task of the warm-up."""
    parents = phase.recipe.init.parents()
    if not parents:
        return "baseline"
    if phase.recipe.init.perturb is not None:
        return "random"
    data = plan.phases[parents[0].phase].recipe.data
    return "text" if "corpus" in data else "shuffled" if "shuffled" in data["task"] else data["task"]["name"]


def planned(folder: Path, sweep: Sweep, optimizer: str = "{lr: 1e-3}") -> tuple[Plan, Store]:
    """Its plan, of a target that is trained with this optimiser, and an empty store."""
    tasks = [name for name in sweep.ends if name not in ("baseline", *KINDS)]
    tasks += [word for kind, word in (("shuffled", SHUFFLED), ("text", WORDS)) if kind in sweep.ends]
    runs = len(sweep.ends["identity"])
    head = HEAD.format(
        seeds=list(range(runs // sweep.donors if sweep.donors else runs)), tasks=", ".join(tasks),
        transfer=sweep.transfer,
        perturb="none, {random: norm_matched}" if "random" in sweep.ends else "none", SHUFFLED=SHUFFLED, WORDS=WORDS,
    )  # fmt: skip
    if not {"shuffled", "text"} & set(sweep.ends) or "random" not in sweep.ends:
        head = head[: head.index("exclude:")]
    tail = (TEXT if sweep.kind == "text" else FIND).replace("optimizer: {lr: 1e-3}", f"optimizer: {optimizer}")
    return make_plan(folder, head + sweep.more + tail), Store(folder / "store")


def filled(plan: Plan, store: Store, sweep: Sweep) -> None:
    """Writes the journals of a plan of it."""
    curve = sweep.curve or (lambda end, share, name: (falling if sweep.kind == "text" else rising)(end, share))
    place = {
        (cell.compared, cell.variant): (
            sorted({one.donor or 0 for one in plan.cells}).index(cell.donor or 0),
            cell.seed,
        )
        for cell in plan.cells
    }
    seeds = len({cell.seed for cell in plan.cells}) or 1
    at = {phase: donor * seeds + seed for (phase, _), (donor, seed) in place.items()}

    def end(phase: PlannedPhase) -> float | None:
        name = what(plan, phase)
        return sweep.ends[name][at.get(phase.id, 0) % (seeds if name == "baseline" else len(sweep.ends[name]))]

    def formula(phase: PlannedPhase, tokens: float) -> dict[str, Any]:
        share = tokens / phase.nominal[phase.end]
        if phase.kind == "procedural":
            own = sweep.learned if isinstance(sweep.learned, float) else sweep.learned(phase.recipe.seed)
            return {"loss": 2.0 - share, "accuracy": own * share}
        last = end(phase)
        value = curve(0.0 if last is None else last, share, what(plan, phase))
        if sweep.kind != "text":
            return {"loss": 4 * (1 - value), "accuracy": value}
        seen = tokens / max(1.0, sweep.passes * share)
        return {"loss": value, "accuracy": 0.1, "epoch": sweep.passes * share, "unique_tokens": round(seen)}

    def lost(phase: PlannedPhase) -> bool:
        return phase.kind != "procedural" and end(phase) is None

    failed = {"state": "failed", "reason": "loss is nan", "step": 1}
    fill(
        plan, store, formula,
        until=lambda p: 0.5 if lost(p) else 1.0 if p.kind == "procedural" else sweep.until.get(what(plan, p), 1.0),
        state=lambda p: failed if lost(p) else None,
    )  # fmt: skip


def made(folder: Path, sweep: Sweep) -> Results:
    plan, store = planned(folder, sweep)
    filled(plan, store, sweep)
    return summarise(plan, store)


def gate(found: Target, name: str = "identity") -> dict[str, Answer]:
    """The answers of a variant, by question."""
    return {answer.question: answer for answer in named(found, name).gate}


def named(found: Target, name: str) -> Variant:
    return next(one for one in found.variants if one.short.split("/")[0] == name)
