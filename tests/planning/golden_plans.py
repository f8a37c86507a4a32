"""Writes the golden plans: what each shipped sweep is at each scale, in readable text, so that a change shows as one.
Those of `tests/planning/sweeps` stand beside them for what no shipped sweep says.

    python tests/planning/golden_plans.py

A file of `tests/golden/plans` holds one sweep at one scale: its phases (id, kind, recipe, marks, parents, label), the
recipes without their seeds and parents, the cells, and the trials of a search. Recipes repeat, so each stands there
once and is called by number. Of a sweep with many seeds two are spelled out, and a digest stands for the others. Files
on this machine are taken as if they were empty: another Python has other ones.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unittest import mock

import procray

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "plans"
SEEDS = 2  # spelled out
FILES = [file for folder in ("sweeps", "tests/planning/sweeps") for file in sorted((ROOT / folder).glob("*.yaml"))]


def scales(file: Path) -> list[str]:
    return list(procray.load_sweep(file).scales)


def text_of(file: Path, scale: str) -> str:
    """One sweep at one scale, the search of its settings and what follows from it."""
    with mock.patch("procray.corpora.local.content_digest", return_value="0" * 16):
        graph = procray.plan(procray.load_sweep(file, scale))
        then = graph.then({trial.variant: trial.setting for trial in graph.trials}) if graph.then else None
    text = _plan(graph)
    if then is not None:  # as if of every variant the setting that stands last had been chosen
        text += "\nAFTER THE SEARCH\n\n" + _plan(then)
    return text


def _plan(graph: Any) -> str:
    recipes: dict[str, int] = {}
    seeds = set(sorted({cell.seed for cell in graph.cells})[:SEEDS]) | {trial.seed for trial in graph.trials}
    others: dict[str, str] = {}
    lines = [f"{graph.name}@{graph.scale} {graph.setting}, matched {graph.matched}, retries {graph.retries}"]
    lines += [f"total {key} {value}" for key, value in sorted(graph.totals.items())]
    lines += [f"axis {axis['name']} {json.dumps(axis.get('labels', axis))}" for axis in graph.axes]
    lines += [f"outside {one.id} {one.name}" for one in graph.outside.values()]
    lines += ["", "phases"]
    for phase in graph.phases.values():
        recipe = {key: value for key, value in phase.recipe.to_json().items() if key not in ("init", "seed", "kind")}
        number = recipes.setdefault(json.dumps([recipe, phase.resources], sort_keys=True), len(recipes))
        marks = " ".join(f"{step}={phase.nominal[step]}" for step in phase.marks)
        if phase.recipe.seed not in seeds:
            others[phase.id] = f"{phase.id} {marks} {phase.label}"
            continue
        lines.append(f"{phase.id} {phase.kind} r{number} seed {phase.recipe.seed} marks {marks} | {phase.label}")
        init = phase.recipe.init.to_json()
        if phase.recipe.init.parents() or any(init.get(key) for key in ("perturb", "freeze")):
            lines.append(f"    from {json.dumps(init, sort_keys=True)}")
    if others:
        lines.append(f"and {len(others)} of other seeds, digest {_digest(others.values())}")
    lines += ["", "recipes"]
    lines += [f"r{number} {recipe}" for recipe, number in recipes.items()]
    lines += ["", "cells"]
    cells: list[tuple[int, str]] = []
    for cell in graph.cells:
        warm = " ".join(f"{mark.phase}@{mark.step}" for mark in cell.warmups) or "-"
        more = "" if cell.fraction is None else f" matched {cell.fraction:g}"
        more += "".join(f" stage {mark.phase}@{mark.step}" for mark in cell.stages)
        line = f"{cell.variant} s{cell.seed} {cell.compared}@{cell.step} T1 {cell.t1} after {warm}"
        cells.append((cell.seed, f"{line} against {cell.baseline}{more}"))
    lines += [line for seed, line in cells if seed in seeds]
    if others:
        rest = [line for seed, line in cells if seed not in seeds]
        lines.append(f"and {len(rest)} of other seeds, digest {_digest(rest)}")
    for variant, controls in graph.controls.items():
        lines += [f"{kind} of {variant} is {name}" for kind, name in controls.items()]
    if graph.trials:
        lines += ["", "trials"]
        lines += [
            f"{trial.variant} {trial.label} s{trial.seed} {trial.compared}@{trial.step} against {trial.baseline}"
            for trial in graph.trials
        ]
    return "\n".join(lines) + "\n"


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def name_of(file: Path, scale: str) -> str:
    return f"{file.stem}@{scale}.txt"


def main() -> None:
    shutil.rmtree(GOLDEN, ignore_errors=True)
    GOLDEN.mkdir(parents=True)
    for file in FILES:
        for scale in scales(file):
            (GOLDEN / name_of(file, scale)).write_text(text_of(file, scale), encoding="utf-8")


if __name__ == "__main__":
    main()
