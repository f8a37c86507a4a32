"""How a phase is trained: its batch, optimiser and evaluations, and the workers that it asks for."""

from __future__ import annotations

from typing import Any

from procray.planning.data import names_task, text_warmup
from procray.planning.inspection import Inspection
from procray.spec.cells import Pick
from procray.spec.counts import format_count
from procray.spec.structure import Link, SweepSpec
from procray.tasks.strata import stratified
from procray.training.recipe import Evaluation, Optimizer, Solved

EVERY_STEPS = 100  # between evaluations where the file is silent
TASK_SEQUENCES = 256  # size of the fixed evaluation set where the file is silent
TEXT_SEQUENCES = 64
STRATIFIED = 2  # version of the metrics whose held-out sets cover lengths and parts of mixtures as trained


def read_batch(
    inspection: Inspection, link: Link, section: dict[str, Any], pick: Pick, context: int | None
) -> int | None:
    """Sequences of one step; None where the file does not say it, or says something impossible."""
    path = link.section
    if "batch_tokens" in section and "batch" in section:
        inspection.report((*path, "batch_tokens"), pick, "give batch (sequences) or batch_tokens, not both")
    elif "batch" in section:
        return section["batch"]
    elif "batch_tokens" not in section:
        written = any(inspection.spec.written((*path, key), pick) for key in ("batch", "batch_tokens"))
        if not names_task(link) and not written:
            inspection.report(path, pick, "missing key 'batch' (sequences) or 'batch_tokens'")
    elif context is not None:
        batch, rest = divmod(section["batch_tokens"], context)
        if not rest:
            return batch
        near = [format_count(n * context) for n in (batch, batch + 1) if n]
        inspection.report(
            (*path, "batch_tokens"),
            pick,
            f"{format_count(section['batch_tokens'])} is no whole number of sequences of {context} tokens"
            f" (near: {' or '.join(near)})",
        )
    return None


def check_workers(
    inspection: Inspection,
    link: Link,
    section: dict[str, Any],
    pick: Pick,
    resources: dict[str, Any],
    batch: int | None,
) -> None:
    """Reports resources that a phase cannot be trained with.

    Args:
        resources: the section's own, laid upon the sweep's.
    """
    path, workers = link.section, resources["workers"]
    if batch is not None and batch < workers:
        inspection.report((*path, "batch"), pick, f"a batch of {batch} is too small for {workers} workers")
    if resources.get("executor") == "inprocess" and workers > 1:
        own = path if "executor" in section.get("resources", {}) else ()
        text = f"'inprocess' trains in one process, but this phase has {workers} workers"
        inspection.report((*own, "resources", "executor"), pick, text)
    least = resources.get("min_workers")
    if least is not None:
        own = (*path, "resources") if "min_workers" in section.get("resources", {}) else ("resources",)
        if least > workers:
            text = f"at least {least} workers are more than the {workers} of `workers`"
            inspection.report((*own, "min_workers"), pick, text)
        if resources.get("executor", "auto") not in ("auto", "train"):
            text = f"only the executor 'train' can do with fewer workers, not '{resources['executor']}'"
            inspection.report((*own, "min_workers"), pick, text)


def read_optimizer(
    inspection: Inspection, link: Link, given: dict[str, Any], pick: Pick, tokens_per_step: float, steps: int
) -> Optimizer | None:
    """The optimiser of a phase of so many steps; None without a learning rate."""
    path = (*link.section, "optimizer")
    values = {key: value for key, value in given.items() if key != "warmup"}
    key = "warmup" if "warmup" in given else "warmup_steps"
    if "warmup" in given and "warmup_steps" in given:
        inspection.report((*path, "warmup_steps"), pick, "give warmup (tokens) or warmup_steps, not both")
    elif "warmup" in given:
        values["warmup_steps"] = round(given["warmup"] / tokens_per_step)
    if values.get("warmup_steps", 0) >= steps:
        inspection.report((*path, key), pick, f"a warm-up as long as the whole budget ({steps} steps)")
    for key in _unused(values.get("schedule", "constant")):
        values.pop(key, None)
    return Optimizer(**values) if "lr" in values else None


def _unused(schedule: str) -> tuple[str, ...]:
    """What a schedule does not use: it is no part of the phase's identity."""
    return {"constant": ("min_lr", "decay"), "wsd": ()}.get(schedule, ("decay",))


def unused_of_schedule(spec: SweepSpec, link: Link, optimizer: Optimizer) -> frozenset[int]:
    """The axes of what a phase's schedule does not use."""
    paths = [(*link.section, "optimizer", key) for key in _unused(optimizer.schedule)]
    return frozenset(i for i, axis in enumerate(spec.axes) if axis.path in paths)


def read_evaluation(
    inspection: Inspection,
    link: Link,
    section: dict[str, Any],
    pick: Pick,
    tokens_per_step: float,
    budget: int,
    data: dict[str, Any],
) -> Evaluation:
    """When a phase is evaluated, and on how much. `budget` is in tokens, `data` the recipe of what it trains on."""
    given = section.get("evaluate", {})
    every = EVERY_STEPS
    if "every" in given:
        every = max(1, round(given["every"] / tokens_per_step))
        if given["every"] > budget >= tokens_per_step:
            inspection.report(
                (*link.section, "evaluate", "every"),
                pick,
                f"every {format_count(given['every'])} tokens is rarer than the budget of {format_count(budget)}",
            )
    is_text = "task" not in section or text_warmup(section) is not None
    sequences = given.get("sequences", TEXT_SEQUENCES if is_text else TASK_SEQUENCES)
    version = STRATIFIED if stratified(data.get("task", {})) else 1
    return Evaluation(every, sequences, version=version, solved=read_solved(section))


def read_solved(section: dict[str, Any]) -> Solved | None:
    """The rule that ends a phase early; None where it has none."""
    rule = section.get("evaluate", {}).get("solved") or {}
    return Solved(**{**rule, "accuracy": float(rule["accuracy"])}) if rule.get("accuracy") else None
