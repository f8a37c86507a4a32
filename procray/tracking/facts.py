"""What MLflow is told about a phase: names, parameters, points. Pure: reads the plan and rows of the journal.

Parameters hold what can never change for a phase (MLflow refuses to change one); what may change when
the sweep file grows (the variant's name, its colour, the role) is also, or only, a tag.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

from procray.files import canonical_json
from procray.model.components import show_heads, show_layers
from procray.model.families import DEFAULT
from procray.planning.titles import task_among
from procray.tracking.backend import redact
from procray.training.recipe import Parent, PhaseRecipe

if TYPE_CHECKING:
    from procray.planning.plan import Cell, Plan, PlannedPhase
    from procray.tracking.index import Index

TOTAL = "tokens/total"  # written with every row: its steps say which rows MLflow has
START = "start_loss"
FINAL = "final_loss"
_STATUS = {
    "waiting": "SCHEDULED",
    "running": "RUNNING",
    "paused": "SCHEDULED",
    "done": "FINISHED",
    "failed": "FAILED",
    "skipped": "KILLED",
}
_WEIGHTS = {"attention", "mlp", "layernorm"}


Consumed = Callable[[str, int], int]  # of a phase and a step, the tokens up to there; see `Session.consumed`


class Point(NamedTuple):
    """One value of one metric. `time` is in milliseconds since 1970, as MLflow wants it."""

    name: str
    value: float
    time: int
    step: int
    model: str | None = None  # on whose page it also stands


def cells_of(index: Index, phase: str) -> list[Cell]:
    """The cells whose compared phase this is; those of full length first."""
    return index.cells.get(phase, [])


def role(index: Index, phase: str) -> str:
    """`compared`, `matched` (a rerun made for a fraction), `tuning` (a setting tried) or `warm-up` (all before)."""
    cells = cells_of(index, phase)
    if not cells:
        return "tuning" if index.trials.get(phase) else "warm-up"
    return "compared" if cells[0].fraction is None else "matched"


def colour(index: Index, phase: str) -> str | None:
    """The colour that the variant has in the report too; a rerun has its variant's, warm-ups have none."""
    cells = cells_of(index, phase)
    return index.colours[cells[0].variant] if cells else None


def is_diagnostic(index: Index, phase: str) -> bool:
    return index.phases[phase].recipe.kind == "diagnostic"


def metric(index: Index, phase: str, name: str) -> str:
    """The metric `name` of this phase.

    Values that must not share an axis have names of their own: warm-ups stand under their kind
    (`procedural/loss/val`), and so do tails where a sweep has several (`haystack/accuracy/val`). What is measured
    on the data for tuning is never drawn beside results (`tuning/haystack/accuracy/val`).
    """
    cells = cells_of(index, phase)
    trial = None if cells else index.trials.get(phase)
    if trial is not None:
        where = f"{plain(trial.target)}/" if len(index.targets) > 1 and trial.target else ""
        return f"tuning/{where}{name}"
    if not cells:
        return f"{index.phases[phase].recipe.kind}/{name}"
    if len(index.targets) > 1 and cells[0].target:
        return f"{plain(cells[0].target)}/{name}"
    return name


def summary(index: Index, phase: str, name: str) -> str:
    """The name of a number that a whole run has; MLflow draws those as bars."""
    full = metric(index, phase, name)
    return full if "/" in full else f"summary/{name}"


def plain(name: str) -> str:
    """`name` in the characters that MLflow accepts in a metric's name."""
    return re.sub(r"[^\w\-. /:]", "_", name)


def tokens_before(plan: Plan, phase: str, consumed: Consumed) -> int:
    """Tokens of all that was trained before this phase; a phase that feeds it twice counts once."""
    furthest: dict[str, int] = {}

    def walk(parents: list[Parent]) -> None:
        for parent in parents:
            furthest[parent.phase] = max(furthest.get(parent.phase, 0), parent.step)
            walk(plan.phases[parent.phase].parents)

    walk(plan.phases[phase].parents)
    return sum(consumed(name, step) for name, step in furthest.items())


def wanted_rows(planned: PlannedPhase, curve: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The evaluations up to the last mark that this sweep wants: another sweep may have gone further."""
    return [row for row in curve if row["step"] <= planned.end]


def curve_names(index: Index, phase: str) -> dict[str, str]:
    """`{entry of a journal row: metric}` of what is drawn as curves."""
    names = {
        "loss": metric(index, phase, "loss/val"),
        "train_loss": metric(index, phase, "loss/train"),
        "tokens_per_s": "perf/tokens_per_s",
        "mfu": "perf/mfu",
        "lr": "optim/lr",
    }
    if "task" in index.phases[phase].recipe.data:
        names["accuracy"] = metric(index, phase, "accuracy/val")
    if task_among(index.phases[phase].recipe) is not None:
        names["procedural_loss"] = metric(index, phase, "procedural/loss/val")
        names["procedural_accuracy"] = metric(index, phase, "procedural/accuracy/val")
        names["procedural_train_loss"] = metric(index, phase, "procedural/loss/train")
    return names


def points(names: dict[str, str], row: dict[str, Any], before: int, model: str | None = None) -> list[Point]:
    """The points of one evaluation, at `step` = tokens of the phase's own data. Gaps where nothing is finite.

    Args:
        before: tokens of the phases before.
        model: the checkpoint kept at this evaluation, whose page then shows the loss.
    """
    time, step = milliseconds(row), int(row["tokens"])
    found = []
    for entry, name in names.items():
        value = row.get(entry)
        if value is not None and finite(value):
            found.append(Point(name, float(value), time, step, model if entry == "loss" else None))
    found.append(Point(TOTAL, float(before + step + (row.get("procedural_tokens") or 0)), time, step))
    return found


def milliseconds(row: dict[str, Any]) -> int:
    """When an evaluation was made, as MLflow counts."""
    return int(row["time"] * 1000)


def finite(value: Any) -> TypeGuard[float]:
    """Infinity would be stored as 1.8e308 and ruin every axis."""
    return isinstance(value, int | float) and math.isfinite(value)


def opening(index: Index, phase: str, rows: list[dict[str, Any]]) -> list[Point]:
    """The loss that the phase starts from: what a transfer alone is worth."""
    if not rows or rows[0]["step"] != 0 or not finite(rows[0].get("loss")):
        return []
    name = summary(index, phase, START)
    return [Point(name, float(rows[0]["loss"]), milliseconds(rows[0]), 0)]


def closing(index: Index, phase: str, rows: list[dict[str, Any]], found: dict[str, float]) -> list[Point]:
    """The numbers that a finished phase ends with, at step 0 so that MLflow draws bars.

    Args:
        found: what the report found for this phase.
    """
    last = rows[-1]
    values = {FINAL: last.get("loss"), **found}
    if is_diagnostic(index, phase):
        values["final_accuracy"] = last.get("accuracy")
    time = milliseconds(last)
    return [Point(summary(index, phase, name), float(v), time, 0) for name, v in values.items() if finite(v)]


def whole(planned: PlannedPhase, rows: list[dict[str, Any]]) -> bool:
    """Whether the evaluations reach as far as this sweep wants the phase."""
    return bool(rows) and (rows[-1]["step"] >= planned.end or bool(rows[-1].get("solved")))


def run_status(state: str) -> str:
    """MLflow's word for a state of the store."""
    return _STATUS.get(state, "SCHEDULED")


def parameters(index: Index, phase: str, before: int) -> dict[str, str]:
    """At most 30 short parameters.

    Args:
        before: as `tokens_before` counts them; known for good when the phase begins.
    """
    planned = index.phases[phase]
    recipe = planned.recipe
    cells = cells_of(index, phase)
    values: dict[str, Any] = {
        "phase": recipe.kind,
        "variant": planned.variant,
        "task": warm_up_name(index, phase) if cells else data_name(recipe.data),
        "data": data_name(recipe.data),
        "transfer": transfer_name(recipe),
        "perturb": "" if recipe.init.perturb is None else canonical_json(recipe.init.perturb.to_json()),
        "freeze": "+".join(recipe.init.freeze),
        "target": cells[0].target if cells else "",
        "seed": recipe.seed,
        "donor": donor(index, phase),
        "setting": index.plan.setting,
        "scale": index.plan.scale,
        "family": "" if recipe.model.family == DEFAULT else recipe.model.family,
        "layers": recipe.model.layers,
        "heads": recipe.model.heads,
        "width": recipe.model.width,
        "context": recipe.model.context,
        "dropout": recipe.model.dropout or "",
        "lr": recipe.optimizer.lr,
        "schedule": recipe.optimizer.schedule,
        "weight_decay": recipe.optimizer.weight_decay,
        "batch": recipe.batch,
        "precision": recipe.precision,
        "length": length(index, phase),
        "warmup_tokens": before,
    }
    if recipe.interleaving is not None and recipe.interleaving.task is not None:
        values["procedural"] = canonical_json(recipe.interleaving.to_json())
        values["procedural_tokens"] = planned.procedural_tokens
    # A constant schedule can be extended, and of sequences that grow nobody knows how many tokens they will be.
    if recipe.steps is not None and not recipe.growing:
        values["tokens"] = planned.nominal[planned.end]
    if cells and cells[0].fraction is not None:
        values["fraction"] = cells[0].fraction
    return {name: _shown(value) for name, value in values.items() if value not in ("", None)}


def donor(index: Index, phase: str) -> int | None:
    """The seed of the warm-ups that a phase descends from, which all have one; None without any, and of a warm-up."""
    waiting = [phase]
    while waiting:
        planned = index.phases[waiting.pop()]
        if planned.kind == "procedural":
            return None if planned.id == phase else planned.recipe.seed
        waiting += [parent.phase for parent in planned.parents]
    return None


def _shown(value: Any) -> str:
    return _without_secrets(value)[:6000] if isinstance(value, str) else str(value)


_without_secrets = lru_cache(maxsize=4096)(redact)  # the same few texts stand with every phase


def warm_up_name(index: Index, phase: str) -> str:
    """The data of the phases that a compared phase starts from: `union`, `eca+set`, `none`."""
    names = {data_name(index.phases[parent.phase].recipe.data) for parent in index.phases[phase].parents}
    among = task_among(index.phases[phase].recipe)
    names |= set() if among is None else {data_name(among)}
    names |= {
        index.plan.outside[parent.phase].name
        for parent in index.phases[phase].recipe.init.parents()
        if parent.phase in index.plan.outside
    }
    return "+".join(sorted(names)) or "none"


def data_name(data: dict[str, Any]) -> str:
    """A short name of a stream of data: `union`, `shuffled union`, `mixture set+union`, `allenai/c4`, `files`."""
    if "task" in data:
        return _task_name(data["task"])
    corpus = data["corpus"]
    return str(corpus["name"] if corpus["source"] == "hf" else corpus["source"])


def _task_name(task: dict[str, Any]) -> str:
    if "shuffled" in task:
        return f"shuffled {_task_name(task['shuffled'])}"
    if "mixture" in task:
        return "mixture " + "+".join(_task_name(part["task"]) for part in task["mixture"])
    return str(task["name"])


def length(index: Index, phase: str) -> str:
    """The sequence length of the task, for a compared phase that of its warm-up: `64`, `2-24`, or nothing."""
    recipes = [index.phases[parent.phase].recipe for parent in index.phases[phase].parents if cells_of(index, phase)]
    streams = [task_among(index.phases[phase].recipe) or {}]
    streams += [recipe.data for recipe in recipes or [index.phases[phase].recipe]]
    tasks = [data["task"] for data in streams if "task" in data]
    return "+".join(sorted({_length(task) for task in tasks} - {""}))


def _length(task: dict[str, Any]) -> str:
    value = task.get("shuffled", task).get("length")
    if isinstance(value, dict):
        return f"{value.get('min', value.get('start'))}-{value.get('max')}"
    return "" if value is None else str(value)


def transfer_name(recipe: PhaseRecipe) -> str:
    """What comes from elsewhere: `none`, `full`, `attention+mlp`, `full+embeddings`, `attention+ln_1`, `mlp.0-5`."""
    parts = {
        share.part if share.layers is None else f"{share.part}.{show_layers(dict(share.layers))}"
        for share in recipe.init.every_share()
        if share.heads is None
    }
    parts |= {
        f"{share.part}.{show_heads(dict(share.heads))}" for share in recipe.init.shares if share.heads is not None
    }
    if not parts:
        return "none"
    if parts >= _WEIGHTS:
        rest = parts - _WEIGHTS - {"positions"}
        return "+".join(["full", *sorted(rest)]) if rest else "full"
    return "+".join(sorted(parts))


def tokens_text(count: float) -> str:
    """`2M`, `0.82M`, `655M`, `1.5B`, `64k`, `320`."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= size * (0.1 if unit == "M" else 1):
            return f"{count / size:.3g}{unit}"
    return f"{count:.0f}"
