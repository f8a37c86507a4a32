"""A small sweep whose journals are written directly: nothing trains, every number is a formula.

Two targets share their warm-ups: text with a decaying schedule (three seeds, reruns for half and three quarters of the
tokens) and a retrieval task with a constant one. Each carries one warm-up in two ways.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from procray.planning import Plan, PlannedPhase, load_sweep, plan
from procray.store.store import Store

YAML = """# How much text does copying replace?
# It stands on two lines.
#
# Not part of the question.
name: tiny
setting: substitutive
seeds: [0, 1, 2]
model: {layers: 1, heads: 2, width: 16, context: 64}
procedural:
  task: identity
  length: {min: 2, max: 24}
  batch: 16
  tokens: {grid: [20k, 40k]}
  optimizer: {lr: 1e-3}
transfer: {grid: [attention, full]}
targets:
  - name: text
    semantic:
      corpus: {files: [CORPUS]}
      tokenizer: byte
      tokens: 1024k
      batch_tokens: 1024
      optimizer: {lr: 1e-3, schedule: cosine, min_lr: 0.1}
      evaluate: {every: 102400}
  - name: find
    diagnostic:
      task: haystack
      pairs: 4
      tokens: 400k
      batch: 100
      optimizer: {lr: 1e-3}
      evaluate: {every: 20k}
matched: [0.5, 0.75]
"""
# The same with a search of the learning rate.
TUNED = YAML.replace("{lr: 1e-3, schedule: cosine, min_lr: 0.1}", "{lr: {grid: [1e-4, 1e-3, 1e-2]}, schedule: cosine}")
TUNED = TUNED.replace("matched: [0.5, 0.75]", "select: {axes: [targets.text.semantic.optimizer.lr], seeds: [100, 101]}")

Formula = Callable[[PlannedPhase, float], dict[str, float]]


def make_plan(folder: Path, yaml: str = YAML, **change: Any) -> Plan:
    """The plan of the file above, `change` laid upon it."""
    folder.mkdir(exist_ok=True)
    corpus = folder / "corpus.txt"
    corpus.write_text("abc " * 200)
    path = folder / "tiny.yaml"
    path.write_text(yaml.replace("CORPUS", str(corpus)))
    return plan(load_sweep(path, set=change or None))


def mode(phase: PlannedPhase) -> str:
    carried = set(phase.recipe.init.components)
    return "none" if not carried else "attention" if carried == {"attention"} else "full"


def loss_and_accuracy(phase: PlannedPhase, tokens: float) -> dict[str, float]:
    """Numbers that can be checked by hand.

    Text: full transfer is 0.2 nats ahead and falls by 1 nat a doubling; attention is 0.1 behind. A schedule made for
    fewer tokens costs nothing. Each seed shifts all curves by the same amount, and full transfer by a little more.
    Retrieval: attention needs half of the tokens, full stalls at 80 %.
    """
    seed, carried = phase.recipe.seed, mode(phase)
    if phase.recipe.kind == "diagnostic":
        place = tokens * (2 if carried == "attention" else 1)
        top = 0.8 if carried == "full" else 1.0
        accuracy = min(top, place / 300_000)
        return {"loss": 4 * (1 - accuracy) + 0.01, "accuracy": accuracy}
    head = {"none": 0.0, "attention": -0.1, "full": 0.2 + 0.01 * seed}[carried]
    return {"loss": 20 - math.log2(max(tokens, 1.0)) * 0.5 - head + 0.05 * seed, "accuracy": 0.25}


def fill(
    plan: Plan,
    store: Store,
    formula: Formula = loss_and_accuracy,
    until: Callable[[PlannedPhase], float] = lambda phase: 1.0,
    state: Callable[[PlannedPhase], dict[str, Any] | None] = lambda phase: None,
) -> None:
    """Writes journals and states.

    Args:
        until: the share of a phase that has been trained; 0 leaves no folder behind.
        state: a status in place of the one that follows from `until`.
    """
    for phase in plan.phases.values():
        share = until(phase)
        folder = store.phase(phase.id)
        if share == 0 and not state(phase):
            continue
        (folder.path / "journal").mkdir(parents=True, exist_ok=True)
        steps = sorted({*range(0, phase.end + 1, phase.recipe.evaluation.every), *phase.marks})
        rows = [row(phase, step, formula) for step in steps if step <= share * phase.end]
        ends = next((i for i, one in enumerate(rows) if one.get("solved")), len(rows))
        rows = rows[: ends + 1]
        (folder.path / "journal" / "1.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
        folder.write_description(phase.recipe, {"device": "cpu", "torch": "2.13.0", "host": "<b>box</b>"}, 1)
        done = {"state": "done"} if share >= 1 else {"state": "paused"}
        folder.set_status(**(state(phase) or {**done, "step": rows[-1]["step"]}))


def row(phase: PlannedPhase, step: int, formula: Formula = loss_and_accuracy) -> dict[str, Any]:
    tokens = round(step * phase.tokens_per_step)
    text = phase.recipe.kind == "semantic"
    return {
        "step": step,
        "tokens": tokens,
        "flops": tokens * 1000.0,
        "seconds": step * 0.01,
        "epoch": tokens / 500_000 if text else None,
        "unique_tokens": min(tokens, 500_000) if text else None,
        **formula(phase, tokens),
    }


def better_in_the_middle(phase: PlannedPhase, tokens: float) -> dict[str, float]:
    """The baseline is best at 1e-2, the rest at 1e-3; a step of ten away costs 1 nat."""
    value = loss_and_accuracy(phase, tokens)
    if phase.recipe.kind != "semantic":
        return value
    best = 1e-2 if mode(phase) == "none" else 1e-3
    return {**value, "loss": value["loss"] + abs(math.log10(phase.recipe.optimizer.lr / best))}
