"""How often the report's sentences are false: sweeps with known effects, simulated and reported, nothing trained.

    python benchmarks/calibration.py             # about two minutes; prints the tables of docs/claims.md
    python benchmarks/calibration.py --sweeps 50 # quicker and rougher

Every simulated sweep goes through the report's own numbers (`against_baseline`, `judge`, `headline`), from the curves
on; the first of every kind is also written as journals, planned and summarised, which must give the same answers.
A null sweep has useless warm-ups: a claim of saved data or a mark of "better" in it is false.

Outcomes:
- smooth: validation losses on a falling curve; seeds shift whole runs, evaluations jitter;
- plateau: accuracies that jump from 13 % to 95 % when a run leaves the plateau, which about half of them do;
- saturating: the same with all runs leaving, at times that vary: there the claim is of tokens until 99 %;
- coarse: accuracies near 90 % of which 100 sequences are all that is seen, so that many differences are alike;
- chance: accuracies that never come near the best cheap strategy (70 %) and lie far apart below it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from procray.planning import Plan, load_sweep, plan
from procray.report.numbers.evidence import judge
from procray.report.numbers.gate import without_gate
from procray.report.numbers.headline import headline
from procray.report.numbers.matching import against_baseline
from procray.report.numbers.results import Target, Variant
from procray.report.numbers.runs import Curve, Run
from procray.report.numbers.statistics import holm, mean_and_error, p_value
from procray.report.numbers.summary import summarise
from procray.store.store import Store

BUDGET = 1_024_000
SEQUENCES, COARSE = 1000, 100  # of a validation set
PLACES = np.array([0, *(BUDGET * i // 16 for i in range(1, 17))])
SHARED, OWN, JITTER = 0.3, 0.1, 0.01  # nats: what a pair shares, what a run has by itself, and every evaluation
SD = OWN * 2**0.5  # of a paired difference
OUTCOMES = ("smooth", "plateau", "saturating", "coarse", "chance")
VARIANTS, SEEDS = (1, 5, 20), (3, 5, 10)
CROSSED = ((3, 3), (5, 3))


@dataclass(frozen=True)
class Kind:
    """A sweep to simulate: `effect` (in sd of a paired difference) is that of the first variant, the rest is null.

    With `donors` each variant has a run for every donor and target seed, and half of the variance is the donors'.
    """

    outcome: str
    variants: int
    seeds: int
    effect: float = 0.0
    donors: int = 0


def values(kind: Kind, rng: np.random.Generator) -> dict[tuple[int, int | None, int], np.ndarray]:
    """Curves over PLACES by (variant, donor, seed); variant 0 is the baseline."""
    maker: Callable[..., np.ndarray] = {
        "smooth": _smooth, "plateau": _plateau, "saturating": _saturating, "coarse": _coarse, "chance": _chance,
    }[kind.outcome]  # fmt: skip
    shared = rng.normal(0, 1, kind.seeds)
    curves = {(0, None, seed): maker(rng, shared[seed], 0.0, None) for seed in range(kind.seeds)}
    for variant in range(1, kind.variants + 1):
        effect = kind.effect if variant == 1 else 0.0
        for donor in range(kind.donors) if kind.donors else (None,):
            common = None if donor is None else rng.normal(0, 1)
            for seed in range(kind.seeds):
                curves[variant, donor, seed] = maker(rng, shared[seed], effect, common)
    return curves


def _own(rng: np.random.Generator, donor: float | None) -> float:
    """What a run has by itself, with variance 1; half of it comes from its donor where there is one."""
    own = rng.normal(0, 1)
    return float(own) if donor is None else float(own + donor) / 2**0.5


def _smooth(rng: np.random.Generator, shared: float, effect: float, donor: float | None) -> np.ndarray:
    fall = 3 + 2 / (1 + 20 * PLACES / BUDGET) ** 0.5
    jitter = rng.normal(0, JITTER, len(PLACES))
    return fall + SHARED * shared + OWN * _own(rng, donor) - SD * effect + jitter


def _plateau(
    rng: np.random.Generator, shared: float, effect: float, donor: float | None, place: float = 0.0
) -> np.ndarray:
    """Leaves at a place whose logarithm varies from run to run; `place` 0 is the end of the budget."""
    leaves = math.log(BUDGET) + place + 0.5 * shared + 0.5 * _own(rng, donor) - 0.7 * effect
    risen = 1 / (1 + np.exp(-8 * (np.log(np.maximum(PLACES, 1)) - leaves)))
    top = 0.997 if place else 0.95
    return np.clip(0.13 + (top - 0.13) * risen + rng.normal(0, 0.002, len(PLACES)), 0, 1)


def _saturating(rng: np.random.Generator, shared: float, effect: float, donor: float | None) -> np.ndarray:
    return _plateau(rng, 0.2 * shared, effect * 0.2, None if donor is None else donor * 0.2, place=-1.6)


def _coarse(rng: np.random.Generator, shared: float, effect: float, donor: float | None) -> np.ndarray:
    """One run differs from another by less than one sequence."""
    sd = 0.3 / COARSE
    level = 0.9 + sd * (2 * shared + _own(rng, donor) + 2**0.5 * effect)
    risen = 1 / (1 + 20 * np.exp(-12 * PLACES / BUDGET))
    return np.round((0.13 + (level - 0.13) * risen) * COARSE) / COARSE


def _chance(rng: np.random.Generator, shared: float, effect: float, donor: float | None) -> np.ndarray:
    end = np.clip(0.35 + 0.05 * shared + 0.15 * _own(rng, donor) + 0.15 * 2**0.5 * effect, 0, 0.69)
    return np.clip(end * np.sqrt(PLACES / BUDGET) + rng.normal(0, 0.002, len(PLACES)), 0, 1)


def target(kind: Kind, rng: np.random.Generator) -> Target:
    """A simulated sweep, as the report sees it."""
    metric = "loss" if kind.outcome == "smooth" else "accuracy"
    curves = values(kind, rng)
    runs: dict[int, list[Run]] = {}
    for (variant, donor, seed), curve in curves.items():
        runs.setdefault(variant, []).append(_run(donor, seed, curve, metric, kind.outcome))
    chance = {} if metric == "loss" else {"among the shown": 0.7 if kind.outcome == "chance" else 0.13}
    blank = [_variant(number, tuple(own), metric) for number, own in runs.items()]
    filled = tuple(against_baseline(variant, blank[0]) for variant in blank)
    return judge(Target("", "simulated", "semantic" if metric == "loss" else "diagnostic", metric, filled, chance))


def _run(donor: int | None, seed: int, curve: np.ndarray, metric: str, outcome: str) -> Run:
    places = tuple(PLACES.tolist())
    flat = (0.0,) * len(places)
    other = curve if metric == "loss" else 4 * (1 - curve)
    row = Curve(places, places, tuple(other.tolist()), flat if metric == "loss" else tuple(curve.tolist()), flat, flat)
    accuracy = None if metric == "loss" else float(curve[-1])
    sequences = COARSE if outcome == "coarse" else SEQUENCES
    run = Run(seed, "p", "p", "done", "", BUDGET, BUDGET, BUDGET, row, 0.0, sequences, float(other[-1]), accuracy)
    return replace(run, donor=donor)


def _variant(number: int, runs: tuple[Run, ...], metric: str) -> Variant:
    name = f"v{number}" if number else "baseline"
    return Variant("", name, name, name, name, "full", "baseline", {}, metric, 0, BUDGET, runs, constant=True)


@dataclass
class Count:
    """Over the sweeps of one kind."""

    sweeps: int = 0
    marked: int = 0  # some variant has a mark of "better"
    claimed: int = 0  # the headline, or the evidence of some variant, says that data are saved
    false: int = 0  # either
    found: int = 0  # the first variant has the mark
    saved: int = 0  # the first variant may be said to save data
    plain: int = 0  # a Holm-corrected paired t-test (of the same numbers) finds it better
    covered: int = 0  # the interval of the first variant's data fraction holds the true one
    intervals: int = 0


def simulate(kind: Kind, sweeps: int, seed: int) -> Count:
    count = Count()
    rng = np.random.default_rng(
        [seed, *map(ord, kind.outcome), kind.variants, kind.seeds, kind.donors, round(10 * kind.effect)]
    )
    truth = _truth(kind)
    for _ in range(sweeps):
        found = target(kind, rng)
        warmed = found.warmed
        marked = any(variant.verdict == "better" for variant in warmed)
        claimed = any(variant.evidence.saves for variant in warmed)
        assert claimed == ("saves data" in headline(found)), "the headline says what the evidence allows"
        count.sweeps += 1
        count.marked += marked
        count.claimed += claimed
        count.false += marked or claimed
        count.found += warmed[0].verdict == "better"
        count.saved += warmed[0].evidence.saves
        count.plain += _plain(found)
        fraction = warmed[0].evidence.fraction
        if truth is not None and fraction is not None:
            count.intervals += 1
            count.covered += (fraction.low is not None and fraction.low <= truth) and (
                fraction.high is None or truth <= fraction.high
            )
    return count


def _plain(found: Target) -> bool:
    """Whether a paired t-test with Holm's correction, and nothing else, finds the first variant better."""
    sign = 1 if found.mode == "min" else -1
    tests = []
    for variant in found.warmed:
        values = np.asarray(found.seed_differences(variant))
        mean, error, degrees = mean_and_error(values, crossed=False)
        tests.append((float(mean), p_value(float(mean), float(error), degrees)))
    first = holm([p for _, p in tests], len(tests))[0]
    return first.rejected and sign * tests[0][0] < 0


def _truth(kind: Kind) -> float | None:
    """The share of the tokens with which the first variant's true curve is at the baseline's true end."""
    if kind.outcome != "smooth" or kind.effect < 0:
        return None
    # 3 + 2 / sqrt(1 + 20 x) - SD * effect = 3 + 2 / sqrt(21)
    level = 2 / 21**0.5 + SD * kind.effect
    return ((2 / level) ** 2 - 1) / 20


# --- the same through journals ---------------------------------------------------------------------------------------

SWEEP = """name: calibration
seeds: [{seeds}]
model: {{layers: 1, heads: 1, width: 8, context: 64}}
procedural: {{task: identity, length: 8, batch: 16, tokens: {{grid: [{tokens}]}}, optimizer: {{lr: 1e-3}}}}
transfer: full
semantic:
  corpus: {{files: [{corpus}]}}
  tokenizer: byte
  tokens: {budget}
  batch_tokens: 1024
  optimizer: {{lr: 1e-3}}
  evaluate: {{every: {every}}}
"""


def through_journals(kind: Kind, folder: Path) -> None:
    """Writes a simulated sweep as journals and asks that its report says what the direct way says."""
    found = target(kind, np.random.default_rng(1))
    curves = values(kind, np.random.default_rng(1))
    (folder / "corpus.txt").write_text("abc " * 200)
    (folder / "sweep.yaml").write_text(
        SWEEP.format(
            seeds=", ".join(map(str, range(kind.seeds))),
            tokens=", ".join(f"{20 + i}k" for i in range(kind.variants)),
            corpus=folder / "corpus.txt",
            budget=BUDGET,
            every=BUDGET // 16,
        )
    )
    graph, store = plan(load_sweep(folder / "sweep.yaml")), Store(folder / "store")
    order = list(dict.fromkeys(cell.variant for cell in graph.cells))
    for cell in graph.cells:
        _journal(graph, store, cell.compared, curves[order.index(cell.variant), None, cell.seed])
    (read,) = map(without_gate, summarise(graph, store).targets)
    for one, other in zip(found.variants, read.variants, strict=True):
        mine, theirs = replace(one.evidence), replace(other.evidence)
        assert mine == theirs, f"{kind}: {mine} is not {theirs}"
    assert (headline(found).count("saves data") > 0) == ("saves data" in headline(read)), kind


def _journal(graph: Plan, store: Store, phase_id: str, curve: np.ndarray) -> None:
    phase, folder = graph.phases[phase_id], store.phase(phase_id)
    (folder.path / "journal").mkdir(parents=True)
    rows: list[dict[str, Any]] = [
        {"step": int(place) // 1024, "tokens": int(place), "loss": float(value), "accuracy": 0.1, "flops": 0.0}
        for place, value in zip(PLACES, curve, strict=True)
    ]
    (folder.path / "journal" / "1.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder.write_description(phase.recipe, {"device": "cpu"}, 1)
    folder.set_status(state="done", step=rows[-1]["step"])


# --- tables ----------------------------------------------------------------------------------------------------------


def kinds() -> list[Kind]:
    shapes = list(itertools.product(VARIANTS, SEEDS))
    found = [Kind(outcome, m, n) for outcome in OUTCOMES for m, n in shapes]
    found += [Kind("smooth", m, n, effect) for effect in (1, 2, 3) for m, n in shapes]
    found += [Kind("smooth", m, t, effect, d) for effect in (0, 2) for m in (1, 5) for d, t in CROSSED]
    return found + [Kind("plateau", m, t, 0, d) for m in (1, 5) for d, t in CROSSED]


def _job(job: tuple[Kind, int]) -> Count:
    return simulate(job[0], job[1], seed=0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sweeps", type=int, default=200, help="simulated sweeps of every kind of null")
    asked = parser.parse_args()
    began = time.perf_counter()
    for m, n in ((1, 3), (5, 5)):
        with tempfile.TemporaryDirectory() as folder:
            through_journals(Kind("smooth", m, n), Path(folder))
    jobs = [(kind, max(20, asked.sweeps // 2) if kind.effect else asked.sweeps) for kind in kinds()]
    with multiprocessing.Pool(2) as pool:
        counts = dict(zip((kind for kind, _ in jobs), pool.map(_job, jobs, chunksize=1), strict=True))
    print("\n".join(tables(counts)))
    print(f"\n{sum(count.sweeps for count in counts.values()):,} sweeps in {time.perf_counter() - began:.0f} s")


def tables(counts: dict[Kind, Count]) -> list[str]:
    lines = [
        "| null sweeps | variants | seeds | mark of better | claim of saved data | either |",
        "|---|---|---|---|---|---|",
    ]
    for kind, one in counts.items():
        if not kind.effect:
            shares = " | ".join(f"{100 * k / one.sweeps:.1f} %" for k in (one.marked, one.claimed, one.false))
            lines.append(f"| {kind.outcome} | {kind.variants} | {_seeds(kind)} | {shares} |")
    lines += [
        "",
        "| effect | variants | seeds | marked better | Holm t-test alone | said to save data | interval holds |",
    ]
    lines.append("|---|---|---|---|---|---|---|")
    for kind, one in counts.items():
        if kind.effect or (kind.outcome == "smooth" and not kind.donors):
            shares = " | ".join(f"{100 * k / one.sweeps:.1f} %" for k in (one.found, one.plain, one.saved))
            covered = f"{100 * one.covered / one.intervals:.1f} %" if one.intervals else "-"
            lines.append(f"| {kind.effect:g} sd | {kind.variants} | {_seeds(kind)} | {shares} | {covered} |")
    return lines


def _seeds(kind: Kind) -> str:
    return f"{kind.donors} donors x {kind.seeds}" if kind.donors else str(kind.seeds)


if __name__ == "__main__":
    main()
