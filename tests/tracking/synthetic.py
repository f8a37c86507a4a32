"""A small sweep whose journals are written directly: nothing trains, every number is a formula.

Two targets (a diagnostic and a corpus) share their warm-ups; two seeds; one variant beside the
baseline for each of two transfer modes; one rerun made for half of the tokens.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from procray.files import sha256_file, write_json
from procray.planning.plan import Cell, Plan, PlannedPhase
from procray.store.store import Store
from procray.training.recipe import Evaluation, Init, ModelShape, Optimizer, Parent, PhaseRecipe

START = 1_790_000_000.0  # of the whole sweep, unix
EVERY = 10
SOURCE = """# How much does a warm-up on IDENTITY save?
# Two targets share their warm-ups.
#
name: synthetic
"""
TASK = {"task": {"name": "identity", "length": {"min": 2, "max": 24}, "vocab": 100}}
HAYSTACK = {"task": {"name": "haystack", "pairs": 10, "vocab": 100}}
TEXT = {"corpus": {"source": "files", "files": ["https://ann:hunter2@host/data.txt"]}, "tokenizer": {"kind": "byte"}}


def recipe(
    kind: str, data: dict[str, Any], seed: int, init: Init | None = None, steps: int | None = 200
) -> PhaseRecipe:
    return PhaseRecipe(
        kind=kind,  # type: ignore[arg-type]
        model=ModelShape(layers=2, heads=2, width=32, context=64),
        data=data,
        batch=16,
        optimizer=Optimizer(lr=1e-3, schedule="constant" if steps is None else "cosine"),
        evaluation=Evaluation(every=EVERY, sequences=64),
        seed=seed,
        steps=steps,
        init=init or Init(),
    )


def planned(of: PhaseRecipe, label: str, marks: list[int], variants: list[str], per_step: int = 1000) -> PlannedPhase:
    return PlannedPhase(
        id=of.id,
        recipe=of,
        label=label,
        marks=marks,
        nominal={step: step * per_step for step in marks},
        parents=of.init.parents(),
        resources={"workers": 1, "gpu": 0.0, "cpu": 1},
        variant=label.rsplit(" s", 1)[0],
        variants=variants,
        asked={step: [step * per_step] for step in marks},
        vocab=100,
        rows=None,
        flops=1e9 * marks[-1],
        tokens_per_step=float(per_step),
    )


def build(
    name: str = "synthetic", seeds: tuple[int, ...] = (0, 1), targets: tuple[str, ...] = ("haystack", "code")
) -> Plan:
    phases: dict[str, PlannedPhase] = {}
    cells: list[Cell] = []
    modes = {"attention": ("attention",), "full": ("attention", "layernorm", "mlp")}
    tails = {target: f"{target}/" if len(targets) > 1 else "" for target in targets}
    users = [f"{tail}identity/{mode}" for tail in tails.values() for mode in modes]
    for seed in seeds:
        warm = planned(recipe("procedural", TASK, seed, steps=None), f"identity L2-24 s{seed}", [50, 100], users)
        parent = Parent(warm.id, 100)
        phases[warm.id] = warm
        for target, tail in tails.items():
            kind, data = ("diagnostic", HAYSTACK) if target == "haystack" else ("semantic", TEXT)
            baseline = f"{tail}baseline"
            common = {"seed": seed, "target": tail.rstrip("/"), "baseline": baseline}
            bare = planned(recipe(kind, data, seed), f"{baseline} s{seed}", [200], [baseline])
            phases[bare.id] = bare
            cells.append(Cell(baseline, axes={}, compared=bare.id, step=200, warmups=[], t1=0, **common))
            for mode, components in modes.items():
                init = Init(dict.fromkeys(components, parent))
                variant = f"{tail}identity/{mode}"
                whole = planned(recipe(kind, data, seed, init), f"{variant} s{seed}", [200], [variant])
                half = planned(recipe(kind, data, seed, init, 100), f"{variant}@0.5 s{seed}", [100], [variant])
                for one, step, fraction in ((whole, 200, None), (half, 100, 0.5)):
                    if fraction is None or mode == "full":
                        phases[one.id] = one
                        cell = Cell(variant, axes={"transfer": mode}, compared=one.id, step=step, warmups=[parent],
                                    t1=warm.nominal[100], fraction=fraction, **common)  # fmt: skip
                        cells.append(cell)
    return Plan(
        name=name,
        scale="laptop",
        setting="substitutive",
        question="How much does a warm-up on IDENTITY save?",
        spec={"name": name},
        source=SOURCE,
        phases=phases,
        cells=cells,
        resources={},
        retries=1,
        matched=[0.5],
        published=[],
        axes=[],
    )


def row(plan: Plan, phase: str, step: int) -> dict[str, Any]:
    """The evaluation at a step: falls from 5 nats; faster and lower with a warm-up."""
    one = plan.phases[phase]
    gain = 0.8 if one.parents else 1.0
    noise = 0.01 * math.sin(7 * step + one.recipe.seed * 3 + len(one.label))
    loss = 1.5 + 3.5 / (1 + step / (15 * gain)) + noise
    order = list(plan.phases).index(phase)
    return {
        "step": step,
        "tokens": step * int(one.tokens_per_step),
        "scored_tokens": step * 900,
        "positions": step * 950,
        "flops": step * 1e9,
        "loss": loss,
        "accuracy": max(0.0, min(1.0, 1 / (1 + math.exp((100 * gain - step) / 15)) + noise)),
        "exact": 0.0,
        "train_loss": None if step == 0 else loss - 0.05,
        "lr": 1e-3,
        "grad_norm": 1.0,
        "tokens_per_s": None if step == 0 else 5e4,
        "mfu": None if step == 0 else 0.4,
        "positions_per_s": 5e4,
        "seconds": step * 0.02,
        "time": START + 60 * order + step * 0.125,
    }


def write_rows(store: Store, plan: Plan, phase: str, until: int, attempt: int = 1, first: int = 0) -> None:
    """Appends the evaluations from `first` up to `until` to the journal of an attempt."""
    journal = store.phase(phase).path / "journal" / f"{attempt}.jsonl"
    journal.parent.mkdir(parents=True, exist_ok=True)
    with open(journal, "a", encoding="utf-8") as file:
        for step in range(first, until + 1, EVERY):
            file.write(json.dumps(row(plan, phase, step)) + "\n")


def write_mark(store: Store, plan: Plan, phase: str, step: int) -> None:
    """A mark with a few bytes for weights."""
    folder = store.phase(phase).path / "marks" / str(step)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(f"{phase}/{step}".encode())
    (folder / "config.json").write_text("{}")
    one = plan.phases[phase]
    if one.parents:
        parent = one.parents[0]
        write_json(folder / "transfer.json", {"copied": {"from": parent.phase, "step": parent.step}})
    files = {file.name: {"sha256": sha256_file(file), "bytes": file.stat().st_size} for file in folder.iterdir()}
    manifest = {"phase": phase, "step": step, "tokens": one.nominal.get(step), "files": files}
    write_json(folder / "manifest.json", manifest)


def finish(store: Store, plan: Plan, phase: str) -> None:
    """The whole phase: rows, marks, status and description."""
    one = plan.phases[phase]
    if not store.phase(phase).curve():
        write_rows(store, plan, phase, one.marks[-1])
    for step in one.marks:
        write_mark(store, plan, phase, step)
    store.phase(phase).set_status("done", step=one.marks[-1])
    store.phase(phase).write_description(one.recipe, {}, 1, None if "task" in one.recipe.data else "d" * 64)


def finish_all(store: Store, plan: Plan) -> None:
    store.write_plan(plan)
    for phase in plan.phases:
        finish(store, plan, phase)


def expected_rows(plan: Plan, phase: str) -> dict[int, float]:
    """`{tokens: loss}` of the whole phase."""
    one = plan.phases[phase]
    rows = [row(plan, phase, step) for step in range(0, one.marks[-1] + 1, EVERY)]
    return {r["tokens"]: r["loss"] for r in rows}


def write_report(store: Store, plan: Plan) -> Path:
    """What a report leaves in the store, as far as MLflow reads it."""
    folder = store.plan_folder(plan.title, plan.digest) / "report"
    folder.mkdir(parents=True, exist_ok=True)
    variants = []
    for variant in plan.variants:
        cells = [cell for cell in plan.cells if cell.variant == variant and cell.fraction is None]
        seeds = [
            {
                "seed": cell.seed,
                "phase": cell.compared,
                "final_loss": 1.7,
                "tokens_to_match": None if cell.is_baseline else 150_000.0 + 1000 * cell.seed,
            }
            for cell in cells
        ]
        one = cells[0]
        about = {"name": variant, "target": one.target, "is_baseline": one.is_baseline, "baseline": one.baseline}
        variants.append({**about, "t2": 200_000, "per_seed": seeds})
    write_json(folder / "results.json", {"variants": variants})
    (folder / "report.html").write_text("<html>report</html>")
    return folder
