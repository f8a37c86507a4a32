"""The sweep as a whole: the text, the files and the parameters of its own run and of the experiment's page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from procray import links
from procray.files import digest, encode, read_json
from procray.planning.plan_text import plan_lines
from procray.tracking import facts, views
from procray.tracking.backend import redact

if TYPE_CHECKING:
    from procray.planning.plan import Plan
    from procray.tracking.index import Index

REPORT = "report"
PLAN = "plan.json"
RESULTS = Path(REPORT, "results.json")
_LISTED = 20  # failed and skipped phases named in the note


def overall(found: dict[str, tuple[str, str]]) -> str:
    """`done`, `failed` (nothing more will come and something is missing), `running` or `waiting`."""
    names = {state for state, _ in found.values()}
    if names <= {"done"}:
        return "done"
    if names <= {"done", "failed", "skipped"}:
        return "failed"
    return "running" if "running" in names else "waiting"


def sweep_parameters(plan: Plan) -> dict[str, str]:
    """What cannot change when the grid grows: MLflow refuses to change a parameter."""
    values = {
        "phase": "sweep",
        "setting": plan.setting,
        "scale": plan.scale or "default",
        "targets": ", ".join(name for name in plan.targets if name),
    }
    return {name: str(value) for name, value in values.items() if value}


def sweep_note(plan: Plan, found: dict[str, tuple[str, str]], experiment: str, runs: dict[str, str]) -> str:
    """How far the sweep is, and what failed or was skipped, in Markdown."""
    counts: dict[str, int] = {}
    for state, _ in found.values():
        counts[state] = counts.get(state, 0) + 1
    lines = [plan.question, ", ".join(f"{number} {state}" for state, number in sorted(counts.items())) + " phases."]
    lost = [(phase, state, reason) for phase, (state, reason) in found.items() if state in ("failed", "skipped")]
    for phase, state, reason in lost[:_LISTED]:
        label = plan.phases[phase].label
        link = f"#/experiments/{experiment}/runs/{runs.get(phase)}?workflowType=machine_learning"
        name = f"[{label}]({link})" if phase in runs else label
        lines.append(f"- {name} {state}" + (f": {reason}" if reason else ""))
    if len(lost) > _LISTED:
        lines.append(f"- and {len(lost) - _LISTED} more")
    lines.append("The report, the sweep file and the plan are under Artifacts.")
    return redact("\n\n".join(line for line in lines if line))


def artifacts(plan: Plan, plan_digest: str, folder: Path) -> Iterator[tuple[str, str, str | Path]]:
    """What belongs to the sweep: its path in MLflow, what changes with its content, and a text or a file to copy.

    The plan's own text, which is large, is empty here: `plan_text` makes it where it is wanted.
    """
    source = redact(plan.source)
    yield "sweep.yaml", digest(source, 16), source
    yield PLAN, plan_digest, ""
    report = folder / REPORT
    if links.is_folder(report):
        for file in sorted(report.rglob("*")):  # which goes through no link
            if file.is_file() and not file.is_symlink() and not file.name.startswith("."):
                about = file.stat()
                yield f"{REPORT}/{file.relative_to(report)}", digest([about.st_size, about.st_mtime_ns], 16), file


def plan_text(plan: Plan) -> str:
    """plan.json without credentials.

    Phases and cells share what a user wrote in them. It is searched once, and not the whole text, which takes minutes
    for a large plan.
    """
    rest = b"".join(plan_lines(replace(plan, phases={}, cells=[]))).decode().splitlines()
    names = {planned.variant for planned in plan.phases.values()} | {cell.variant for cell in plan.cells}
    parts = {id(phase.recipe.data): phase.recipe.data for phase in plan.phases.values()}
    parts |= {id(cell.axes): cell.axes for cell in plan.cells}
    text = b"".join(plan_lines(plan)).decode()
    for part in {*rest, *names, *map(encode, parts.values())}:
        clean = redact(part)
        if clean != part:
            text = text.replace(part, clean)
    return text


def date_of(file: Path) -> tuple[int, int, int] | None:
    """Changes whenever a file does that is replaced as a whole; None where there is none."""
    try:
        about = file.stat()
    except OSError:
        return None
    return about.st_ino, about.st_size, about.st_mtime_ns


def results(folder: Path) -> dict[str, dict[str, float]]:
    """What the report found for single phases: tokens to match and data fraction, by phase.

    Empty before the first report. Per seed and read off the full-length curve; a phase that never
    matched its baseline has neither number.
    """
    try:
        variants = read_json(folder / RESULTS)["variants"]
        budgets = {(v["target"], v["name"]): v["t2"] for v in variants}
        found: dict[str, dict[str, float]] = {}
        for variant in variants:
            budget = budgets.get((variant["target"], variant["baseline"]))
            for seed in variant["per_seed"]:
                tokens = (
                    budget if variant["is_baseline"] and seed["final_loss"] is not None else seed["tokens_to_match"]
                )
                if budget and facts.finite(tokens):
                    found[seed["phase"]] = {"tokens_to_match": float(tokens), "data_fraction": tokens / budget}
        return found
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def experiment_tags(index: Index, extents: Mapping[str, views.Extent], created: int) -> dict[str, str]:
    """The experiment's text and its saved views."""
    plan = index.plan
    text = [
        plan.question,
        "Views (top left of the chart page): **All runs** has one line for every seed, coloured by variant; "
        "**Means by variant** averages the seeds. Warm-ups, reruns with a shorter schedule and settings tried are runs "
        "too: clear the search field to see them. What an earlier state of the file asked for has the role "
        "`former`. A checkpoint's page (tab Models) lists the runs that started from it.",
    ]
    return {
        "procray.sweep": plan.title,
        "mlflow.note.content": redact("\n\n".join(part for part in text if part)),
        **views.tags(index, extents, created),
    }
