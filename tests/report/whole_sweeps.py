"""Whole sweeps of journals whose every sentence and number stands in `told/`, so that none changes unnoticed.

python -m tests.report.whole_sweeps      # writes `told/` again; read what it changes before it is committed
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from procray.planning import Plan
from procray.report.numbers.evidence import between_seeds
from procray.report.numbers.interchange import results_json
from procray.report.numbers.power import power, power_text
from procray.report.numbers.results import Results
from procray.report.numbers.summary import summarise
from procray.report.page.answer import answer
from procray.store.store import Store

from . import claims, science
from .synthetic import fill, loss_and_accuracy, make_plan, mode

TOLD = Path(__file__).parent / "told"
BASE = (3.0, 3.1, 2.9, 3.05, 2.95)
_WIDE = 5000  # columns: no line is broken
NOISE = (0.004, -0.006, 0.001, 0.003, -0.002)
_NUMBERS = (
    "state", "verdict", "evidence", "final_loss", "accuracy", "delta", "accuracy_delta", "scores", "solved", "stages",
    "tokens_to_match", "data_fraction", "data_fraction_of", "total_fraction", "unique_fraction", "flops_fraction",
    "match_is_upper_bound", "seeds_reached", "levels", "level_fraction", "settled", "matched_points",
)  # fmt: skip


def _shifted(gap: float, times: float = 1.0, lost: Sequence[int] = ()) -> list[float | None]:
    """The baseline's ends, `gap` away, with noise of its own."""
    return [None if i in lost else base + gap + times * NOISE[i] for i, base in enumerate(BASE)]


def _text(folder: Path) -> Results:
    """Better surely, better only before the correction, not at all, worse, with a lost seed; a slow and a flat end."""
    ends = {
        "baseline": BASE,
        "20k": _shifted(-0.2), "21k": _shifted(-0.02, 4), "22k": _shifted(0.0), "23k": _shifted(0.15),
        "24k": _shifted(-0.4, lost=[4]), "25k": _shifted(0.3, lost=[0]), "26k": _shifted(-0.2, 40),
    }  # fmt: skip

    def curve(end: float, share: float, variant: str, seed: int) -> float:
        late = {"22k": 0.3, "26k": 0.95}.get(variant, 0.9)  # from where it is at its end
        return end + max(0.0, 1 - share / late)

    return claims.sweep(folder, ends, curve=curve)


def _lost_base(folder: Path) -> Results:
    ends = {"baseline": [3.0, None, 2.9, 3.05, 2.95], "20k": _shifted(-0.2), "21k": _shifted(-0.1, lost=[0, 1, 2, 3])}
    return claims.sweep(folder, ends)


def _few(count: int) -> Callable[[Path], Results]:
    def made(folder: Path) -> Results:
        return claims.sweep(folder, {"baseline": BASE[:count], "20k": _shifted(-0.2)[:count]})

    return made


def _running(folder: Path) -> Results:
    """Some seeds are under way, some wait."""

    def until(phase: Any) -> float:
        late = {"20k": 3, "21k": 1}.get(phase.variant, 9)
        return 1.0 if phase.kind == "procedural" or phase.recipe.seed < late else 0.5 if late == 3 else 0.0

    return claims.sweep(folder, {"baseline": BASE, "20k": _shifted(-0.1), "21k": _shifted(-0.3)}, until=until)


def _worse(folder: Path) -> Results:
    """Nothing reaches the baseline."""
    return claims.sweep(folder, {"baseline": BASE, "20k": _shifted(0.2), "21k": _shifted(0.1)})


def _worse_but_lost(folder: Path) -> Results:
    """What is better lost a seed, and what has all of them is worse."""
    ends = {
        "baseline": BASE,
        "20k": _shifted(0.2),
        "21k": _shifted(-0.1, lost=[2]),
        "22k": _shifted(-0.3, lost=[1, 2, 3]),
    }
    return claims.sweep(folder, ends)


def _plateau(folder: Path) -> Results:
    ends = {
        "baseline": [0.12, 0.1, 0.9, 0.12, 0.11], "20k": [0.9, 0.95, 0.9, 0.88, 0.97],
        "21k": [0.9, 0.12, 0.9, None, 0.12], "22k": [0.12] * 5,
    }  # fmt: skip
    return claims.sweep(folder, ends, "find")


def _quick(folder: Path) -> Results:
    """All reach the same end, some sooner; one settles lower and one ends worse."""
    places = {"baseline": [0.8, 0.9, 0.8, 0.8, 0.85], "20k": [0.4, 0.4, 0.4, 0.5, 0.45],
              "21k": [0.7, 0.95, 0.8, 0.75, 0.9], "22k": [0.3, 0.3, 0.3, 0.35, 0.3]}  # fmt: skip
    ends = {name: [1.0] * 5 for name in places} | {"22k": [0.93, 0.95, 0.94, 0.92, 0.95]}

    def curve(end: float, share: float, variant: str, seed: int) -> float:
        return min(end, share / places[variant][seed])

    return claims.sweep(folder, ends, "find", curve)


def _three_levels(folder: Path) -> Results:
    """A baseline whose every seed keeps 50 % and not all 90 %; accuracies that differ clearly."""
    ends = {"baseline": [0.88, 0.93, 0.9], "20k": [0.97, 0.98, 0.99], "21k": [0.6, 0.62, 0.66]}
    return claims.sweep(folder, ends, "find")


def _donors(folder: Path) -> Results:
    """Three donors for each of three targets; attention of one donor fails at one target."""
    plan, store = _crossed(folder, {7: 0.0, 8: 0.03, 9: -0.02}, 0.0)
    entries = _published(
        (-0.2, 0.15, {"target": "text", "variant": "20k/full", "quantity": "delta"}),
        (-0.2, 0.05, {"target": "text", "variant": "20k/full", "quantity": "delta"}),
        (9.9, 0.12, {"target": "text", "variant": "20k/full", "quantity": "final_loss", "baseline": 10.1}),
        (9.9, 0.19, {"target": "text", "variant": "20k/full", "quantity": "final_loss", "baseline": 10.1}),
        (0.75, 0.1, {"target": "text", "variant": "20k/full"}),
        (0.75, 0.2, {"target": "text", "variant": "20k/full"}),
    )
    return replace(summarise(plan, store), published=entries)


def _four_donors(folder: Path) -> Results:
    """More donors than targets, and some go better with one target than with others."""
    plan, store = _crossed(folder, {7: 0.0, 8: 0.03, 9: -0.02, 10: 0.01}, 0.02)
    return summarise(plan, store)


def _crossed(folder: Path, donors: dict[int, float], both: float) -> tuple[Plan, Store]:
    """Each donor moves the loss by so much, and by a multiple of `both` that differs from target to target."""
    plan, store = make_plan(folder, donors=[*donors]), Store(folder / "store")

    def formula(phase: Any, tokens: float) -> dict[str, float]:
        value = loss_and_accuracy(phase, tokens)
        above = [plan.phases[parent.phase].recipe.seed for parent in phase.parents]
        moved = sum(donors[seed] + both * (seed * (phase.recipe.seed + 1) % 3) for seed in above)
        return {**value, "loss": value["loss"] + moved}

    fill(plan, store, formula)
    return plan, store


def _published(*entries: tuple[float, float, dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    return tuple(
        {"value": value, "tolerance": tolerance, "source": "a paper", "strength": "one seed", **more}
        for value, tolerance, more in entries
    )


def _matched(folder: Path) -> Results:
    """Reruns for half and three quarters; the baseline is best with three quarters of its tokens."""
    plan, store = make_plan(folder), Store(folder / "store")

    def formula(phase: Any, tokens: float) -> dict[str, float]:
        value = loss_and_accuracy(phase, tokens)
        if phase.recipe.kind == "semantic" and mode(phase) == "none" and phase.recipe.steps:
            value["loss"] += {500: 0.3, 750: -0.3}.get(phase.recipe.steps, 0.0)
        return value

    fill(plan, store, formula)
    entries = _published(
        (0.75, 0.05, {"target": "text", "variant": "20k/full"}),
        (0.9, 0.05, {"target": "text", "variant": "20k/full", "quantity": "data_fraction_matched"}),
        (1.13, 0.05, {"target": "text", "variant": "20k/full", "quantity": "data_fraction_matched"}),
        (-0.2, 0.1, {"target": "text", "variant": "20k/full", "quantity": "delta"}),
        (-0.2, 0.1, {"target": "text", "variant": "20k/attention", "quantity": "delta"}),
        (-0.5, 0.1, {"target": "text", "variant": "40k/full", "quantity": "delta"}),
        (10.0, 0.2, {"target": "text", "variant": "baseline", "quantity": "final_loss"}),
        (9.8, 0.19, {"target": "text", "variant": "20k/full", "quantity": "final_loss", "baseline": 10.1}),
        (9.8, 0.19, {"target": "text", "variant": "20k/full", "quantity": "final_loss", "baseline": 9.5}),
        (20000, 4000, {"target": "text", "variant": "20k/full", "quantity": "perplexity", "baseline": 30000}),
        (0.8, 0.1, {"target": "find", "variant": "20k/full", "quantity": "accuracy", "baseline": 1.0}),
        (0.8, 0.1, {"target": "find", "variant": "20k/full", "quantity": "accuracy", "baseline": 0.6}),
        (1.0, 0.1, {"target": "find", "variant": "baseline", "quantity": "accuracy"}),
        (0.5, 0.1, {"target": "find", "variant": "20k/*"}),
        (0.5, 0.1, {"target": "find", "comparable": "our task is easier"}),
    )
    return replace(summarise(plan, store), published=entries)


SWEEPS: dict[str, Callable[[Path], Results]] = {
    "text": _text,
    "lost_baseline": _lost_base,
    "one_seed": _few(1),
    "two_seeds": _few(2),
    "three_seeds": _few(3),
    "running": _running,
    "worse": _worse,
    "worse_but_lost": _worse_but_lost,
    "plateau": _plateau,
    "quick": _quick,
    "three_levels": _three_levels,
    "donors": _donors,
    "four_donors": _four_donors,
    "matched": _matched,
    "chain": lambda folder: science.made(folder, science.CHAIN),
    "diagnostics": lambda folder: science.made(folder, science.DIAGNOSTICS),
    "composition": lambda folder: science.made(folder, science.COMPOSITION),
    "scale": lambda folder: science.made(folder, science.SCALE),
}


def told(results: Results) -> str:
    """The text of the terminal, and below it the numbers of every variant, four digits of each."""
    text = answer(results, width=_WIDE)
    text = re.sub(r" \[[0-9a-f]{6,}\]", "", text)  # names of phases are those of the code's version
    text = re.sub(r"(?<=\S)  +(?=\S)", "   ", text)
    lines = [text, ""]
    for target in results.targets:
        lines += [f"{target.name} {base.name} {_short(_facts(between_seeds(base)))}" for base in target.baselines]
    for variant in results_json(results)["variants"]:
        lines.append(f"{variant['name']}")
        lines += [f"  {name}: {_short(variant[name])}" for name in _NUMBERS]
    # The corpus is in another folder each time; columns are as wide as its name, so their spaces are not told above.
    return re.sub(r"\S+/corpus\.txt", "corpus.txt", "\n".join(lines)) + "\n"


def _facts(value: Any) -> Any:
    return None if value is None else vars(value)


def _short(value: Any) -> str:
    return json.dumps(_rounded(value), ensure_ascii=False)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items() if one is not None}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    if isinstance(value, float):
        return 0.0 if abs(value) < 1e-9 else float(f"{value:.4g}")
    return value


def told_powers(folder: Path) -> str:
    """What `plan` says of the seeds: nothing measured, baselines only, and pairs, also crossed."""
    said = []
    for name, change, until in (
        ("nothing", {}, lambda phase: 0.0),
        ("baselines", {}, lambda phase: float(mode(phase) == "none")),
        ("pairs", {}, lambda phase: 1.0),
        ("two of three", {}, lambda phase: float(phase.recipe.seed < 2)),
        ("donors", {"donors": [7, 8, 9]}, lambda phase: 1.0),
    ):
        plan, store = make_plan(folder / name, **change), Store(folder / name / "store")
        fill(plan, store, _seeds_apart, until)
        for one in power(plan, store):
            said.append(f"{name}, {one.title}: {power_text(one)} {_short(vars(one))}")
    return "\n".join(said) + "\n"


def _seeds_apart(phase: Any, tokens: float) -> dict[str, float]:
    value, own = loss_and_accuracy(phase, tokens), NOISE[phase.recipe.seed % 5]
    share = 1.0 if mode(phase) == "none" else 2.0
    return {"loss": value["loss"] + share * own, "accuracy": 0.5 + share * own}


def main() -> None:
    for name, make in SWEEPS.items():
        with tempfile.TemporaryDirectory() as folder:
            (TOLD / f"{name}.txt").write_text(told(make(Path(folder))), encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        (TOLD / "power.txt").write_text(told_powers(Path(folder)), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
