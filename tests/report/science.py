"""Small sweeps of the shapes that the science needs, filled with numbers that can be checked by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from procray.planning import PlannedPhase
from procray.report.numbers.results import Results
from procray.report.numbers.summary import summarise
from procray.store.store import Store

from .synthetic import fill, make_plan

HEAD = """name: {name}
seeds: [0, 1, 2]
model: {{layers: 1, heads: 2, width: 16, context: 64}}
procedural:
  task: {task}
  length: 8
  batch: 16
  tokens: 20k
  optimizer: {{lr: 1e-3}}
"""
FIND = "task: haystack, pairs: 4, tokens: 400k, batch: 100, optimizer: {lr: 1e-3}, evaluate: {every: 20k}"
TEXT = "corpus: {files: [CORPUS]}, tokenizer: byte, tokens: 512k, batch_tokens: 1024, optimizer: {lr: 1e-3}"

DIAGNOSTICS = (
    HEAD.format(name="diagnostics", task="{grid: [identity, set]}")
    + "transfer: {grid: [full, attention, mlp]}\ntargets:\n"
    + f"  - name: find\n    diagnostic: {{{FIND}}}\n"
    + f"  - name: text\n    semantic: {{{TEXT}, evaluate: {{every: 51200}}}}\n"
)
COMPOSITION = (
    HEAD.format(name="composition", task="{grid: [identity, set, sort]}")
    + "transfer: {attention: {grid: [identity, set, sort]}, mlp: {grid: [identity, set, sort]}}\n"
    + f"diagnostic: {{{FIND}}}\n"
)
CHAIN = (
    HEAD.format(name="chain", task="identity")
    + "transfer: {grid: [full, attention]}\n"
    + f"semantic: {{{TEXT}, evaluate: {{every: 51200}}}}\n"
    + f"finetune: {{{TEXT.replace('512k', '128k')}, evaluate: {{every: 51200}}}}\n"
)
MIXTURES = (
    HEAD.format(
        name="mixtures",
        task="{grid: [set, {mixture: {set: 0.75, union: 0.25}}, {mixture: {set: 0.25, union: 0.75}}, union]}",
    )
    + f"transfer: {{grid: [full, attention]}}\ndiagnostic: {{{FIND}}}\n"
)
SCALE = (
    HEAD.format(name="scale", task="identity").replace("layers: 1", "layers: {grid: [1, 2, 4]}")
    + f"transfer: {{grid: [full, attention]}}\nsemantic: {{{TEXT}, evaluate: {{every: 51200}}}}\n"
)


def parents(phase: PlannedPhase, phases: dict[str, PlannedPhase]) -> dict[str, str]:
    """By component, the task of the warm-up that it comes from."""
    found = {}
    for component, parent in phase.recipe.init.components.items():
        above = phases[parent.phase]
        data = above.recipe.data
        if above.kind == "procedural":
            found[component] = data["task"].get("name", "mixture")
        elif component in (earlier := parents(above, phases)):
            found[component] = earlier[component]
    return found


def formula(phases: dict[str, PlannedPhase]) -> Any:
    """Numbers of a phase after so many tokens.

    Retrieval ends at 0.3 from scratch. Attention adds 0.5 from `identity`, 0.3 from `set` and nothing from others;
    an MLP takes 0.1 away, but for that of `sort`, which adds 0.15. What would be 0.8 or more is solved half way.
    Text: a warm-up costs 0.1 nats with its MLP and saves 0.05 with its attention. Seeds differ by 0.01 in all and by
    0.001 in the effect.
    """

    def numbers(phase: PlannedPhase, tokens: float) -> dict[str, Any]:
        seed, come = phase.recipe.seed, parents(phase, phases)
        share = min(tokens / max(phase.nominal[phase.end], 1), 1.0)
        if phase.recipe.kind == "diagnostic":
            top = 0.3 + {"identity": 0.5, "set": 0.3, "mixture": 0.4}.get(come.get("attention", ""), 0.0)
            top += {"": 0.0, "sort": 0.15}.get(come.get("mlp", ""), -0.1) + (0.001 * seed if come else 0)
            accuracy = min(top + 0.01 * seed, 1.0) * min(1.0, 2 * share)
            solved = {"solved": True} if accuracy >= 0.8 else {}
            scores = {"official_accuracy": 1 - (1 - accuracy) / 2, "corrected_accuracy": accuracy}
            return {"loss": 4 * (1 - accuracy), "accuracy": accuracy, **scores, "exact_match": accuracy**2, **solved}
        effect = (
            (0.1 if "mlp" in come else 0.0) - (0.05 if "attention" in come else 0.0) + (0.001 * seed if come else 0)
        )
        fade = 0.5 if phase.recipe.kind == "finetune" else 1.0
        return {"loss": 4 - share + fade * effect + 0.01 * seed, "accuracy": 0.2}

    return numbers


def made(folder: Path, yaml: str, until: Callable[[PlannedPhase], float] = lambda phase: 1.0) -> Results:
    """The results of one of these sweeps, filled."""
    plan, store = make_plan(folder, yaml), Store(folder / "store")
    fill(plan, store, formula(plan.phases), until)
    return summarise(plan, store)
