"""What a sweep found: every planned cell, with its uncertainty, from the plan and the store.

Definitions (both forms of *tokens to match* follow the analysis in arXiv 2601.21725 and what it leaves open):

- A cell is finished when its phase has an evaluation at the cell's last step. Means are over finished seeds.
- Differences from the baseline are taken seed by seed, then averaged, so that a partial sweep compares like with like.
- *Read-off*: where the mean curve of the full-length runs reaches the baseline's final level for good.
- *Matched*: the same question asked of reruns whose schedule was made for a fraction of the budget; the smallest
  fraction that matches, interpolated between the fractions that were run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from procray.garbage import keeping_everything
from procray.planning.notes import notes
from procray.redaction import redact
from procray.report.match import Mode, tokens_to_match, value_at
from procray.report.runs import SCORES, Curve, Reader, Run, finite
from procray.report.statistics import Difference, Spread, paired_difference, spread
from procray.selection.select import Searched
from procray.selection.select import read as read_search

if TYPE_CHECKING:
    from procray.planning.plan import Cell, Plan, PlannedPhase
    from procray.store.store import Store

MatchState = Literal["reached", "not reached", "pending", "no result", "not planned", "baseline"]
# Accuracies whose first lasting crossing is reported beside the match: a saturated baseline makes its own final
# level an arbitrary one.
LEVELS = (0.5, 0.9, 0.99)


@dataclass(frozen=True)
class Match:
    """An answer to "how many tokens until the baseline's final level?" with the same in other currencies.

    `tokens` is None unless the state is `reached` (or `baseline`, where it is the baseline's own budget). `at_most`
    says that already the first place looked at was good enough. Fractions are of what the baseline spent.
    """

    state: MatchState
    tokens: float | None = None
    at_most: bool = False
    fraction: float | None = None
    total: float | None = None  # with the procedural tokens
    total_fraction: float | None = None
    unique: float | None = None
    unique_fraction: float | None = None
    flops: float | None = None
    flops_fraction: float | None = None
    per_seed: dict[int, float | None] = field(default_factory=dict)

    @property
    def seeds_reached(self) -> int:
        return sum(tokens is not None for tokens in self.per_seed.values())


@dataclass(frozen=True)
class MatchedPoint:
    """The reruns made for one fraction of the budget; `difference` is against the full-length baseline."""

    fraction: float
    tokens: int
    final: Spread | None
    difference: Difference | None
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Stage:
    """One phase after the warm-up in a chain with several: what it was trained on, and how every seed ended there.

    `difference` is against the baseline at the same stage, paired by seed.
    """

    kind: str
    title: str
    metric: str
    runs: tuple[Run, ...]
    final: Spread | None = None
    difference: Difference | None = None


@dataclass(frozen=True)
class Variant:
    """One row of the table.

    `short` is the name within its target; without its number of procedural tokens it is the `family`, without its
    transfer mode (`carried`, empty where no axis says it) the `setting`. `labels` are the short names of the values
    of all axes that vary, by the axes' dotted names.
    """

    target: str
    name: str
    short: str
    family: str
    setting: str
    carried: str
    baseline: str
    axes: dict[str, Any]
    metric: str  # what matching looks at: loss, or accuracy for a diagnostic
    t1: int
    t2: int
    runs: tuple[Run, ...]
    labels: dict[str, str] = field(default_factory=dict)
    parameters: int = 0  # of the compared phase's model
    shares: dict[str, float] = field(default_factory=dict)  # of the tasks in the warm-up; they sum to 1
    constant: bool = False  # a constant schedule: every shorter run is a prefix, so matched and read-off are one
    points: tuple[MatchedPoint, ...] = ()
    final_loss: Spread | None = None
    final_accuracy: Spread | None = None
    delta: Difference | None = None
    accuracy_delta: Difference | None = None
    scores: dict[str, Spread] = field(default_factory=dict)  # further accuracies of a diagnostic, by SCORES
    score_deltas: dict[str, Difference] = field(default_factory=dict)
    stages: tuple[Stage, ...] = ()  # all phases after the warm-up, where there are several
    readoff: Match = Match("pending")
    matched: Match = Match("not planned")
    levels: dict[float, float | None] = field(default_factory=dict)
    settled: float | None = None  # baselines: where the mean curve reaches its own final level for good

    @property
    def is_baseline(self) -> bool:
        return self.name == self.baseline

    @property
    def mode(self) -> Mode:
        return "max" if self.metric == "accuracy" else "min"

    @property
    def finished(self) -> tuple[Run, ...]:
        return tuple(run for run in self.runs if run.done)

    @property
    def n(self) -> int:
        return len(self.finished)

    @property
    def solved(self) -> dict[int, int]:
        """By seed, the tokens after which a finished run was stopped because it had solved its task."""
        return {run.seed: run.solved for run in self.finished if run.solved is not None}

    @property
    def final(self) -> Spread | None:
        return self.final_accuracy if self.metric == "accuracy" else self.final_loss

    @property
    def perplexity(self) -> float | None:
        """exp of the mean final loss; None for diagnostics and where it would overflow."""
        if self.metric != "loss" or self.final_loss is None or self.final_loss.mean > 700:
            return None
        return math.exp(self.final_loss.mean)

    @property
    def difference(self) -> Difference | None:
        return self.accuracy_delta if self.metric == "accuracy" else self.delta

    @property
    def state(self) -> str:
        """`complete`, or what keeps it from being so: the most telling state among the unfinished seeds."""
        states = {run.state for run in self.runs if not run.done}
        for state in ("failed", "skipped", "running", "paused", "waiting"):
            if state in states:
                return state if self.n == 0 else f"partial ({self.n} of {len(self.runs)} seeds)"
        return "complete"

    @property
    def verdict(self) -> str:
        """`better`, `worse` or `unclear` against the baseline by the 95 % interval; empty for the baseline."""
        return "" if self.is_baseline else verdict_of(self.difference, self.mode)


def verdict_of(difference: Difference | None, mode: Mode) -> str:
    """`better`, `worse` or `unclear` by the 95 % interval; empty where there is nothing to compare.

    One pair has no interval, so it is unclear.
    """
    if difference is None:
        return ""
    if not difference.excludes_zero:
        return "unclear"
    return "better" if (difference.mean < 0) == (mode == "min") else "worse"


@dataclass(frozen=True)
class Target:
    """One tail of the sweep: what all its variants are trained on after the warm-up."""

    name: str
    title: str
    kind: str
    metric: str
    variants: tuple[Variant, ...]

    @property
    def mode(self) -> Mode:
        return "max" if self.metric == "accuracy" else "min"

    @cached_property
    def _by_name(self) -> dict[str, Variant]:
        return {variant.name: variant for variant in self.variants}

    def baseline_of(self, variant: Variant) -> Variant | None:
        return self._by_name.get(variant.baseline)

    @property
    def level(self) -> float | None:
        """The highest of LEVELS that the first baseline reaches for good; None for a loss."""
        reached = [level for base in self.baselines[:1] for level, place in base.levels.items() if place is not None]
        return max(reached, default=None)

    def level_fraction(self, variant: Variant) -> float | None:
        """Tokens until `level` as a share of what the variant's baseline needs for it; None when not reached."""
        base = self.baseline_of(variant)
        if self.level is None or base is None:
            return None
        return _ratio(variant.levels.get(self.level), base.levels.get(self.level))

    @property
    def baselines(self) -> tuple[Variant, ...]:
        return tuple(variant for variant in self.variants if variant.is_baseline)

    @property
    def warmed(self) -> tuple[Variant, ...]:
        return tuple(variant for variant in self.variants if not variant.is_baseline)


@dataclass(frozen=True)
class Trouble:
    """A phase that failed, or was skipped because of one that did."""

    phase: str
    label: str
    variants: tuple[str, ...]
    reason: str
    step: int | None = None


@dataclass(frozen=True)
class Results:
    """Everything the report says, as numbers."""

    sweep: str
    scale: str
    setting: str
    question: str
    targets: tuple[Target, ...]
    failed: tuple[Trouble, ...]
    skipped: tuple[Trouble, ...]
    phases_done: int
    phases: int
    published: tuple[dict[str, Any], ...] = ()  # values to compare with, as the sweep file has them
    search: Searched | None = None  # of a sweep with `select:`
    notes: tuple[str, ...] = ()  # what to know beside the numbers

    @property
    def complete(self) -> bool:
        return self.phases_done == self.phases and (self.search is None or self.search.settled)

    @property
    def variants(self) -> tuple[Variant, ...]:
        return tuple(variant for target in self.targets for variant in target.variants)


@keeping_everything()
def summarise(plan: Plan, store: Store) -> Results:
    """Reads every cell of the plan from the store; unfinished and failed ones stay in, marked as such."""
    reader = Reader(plan, store)
    by_target: dict[str, list[Cell]] = {}
    for cell in plan.cells:
        by_target.setdefault(cell.target, []).append(cell)
    targets = [_target(name, cells, plan, reader) for name, cells in by_target.items()]
    failed: list[Trouble] = []
    skipped: list[Trouble] = []
    done = 0
    for phase in plan.phases.values():
        state, reason, step = reader.state(phase.id, max(phase.marks, default=0))
        done += state == "done"
        if state in ("failed", "skipped"):
            trouble = Trouble(phase.id, phase.label, tuple(phase.variants), reason, step)
            (failed if state == "failed" else skipped).append(trouble)
    return Results(
        plan.name, plan.scale, plan.setting, redact(plan.question or question_of(plan.source)), tuple(targets),
        tuple(failed), tuple(skipped), done, len(plan.phases), tuple(plan.published), read_search(plan, store),
        tuple(notes(plan)),
    )  # fmt: skip


def question_of(source: str) -> str:
    """The comment that a sweep file begins with, up to its first empty line."""
    lines: list[str] = []
    for line in source.splitlines():
        text = line.strip()
        if text.startswith(("#!", "# yaml-language-server")):
            continue
        if not text.startswith("#") or (lines and not text.strip("# ")):
            break
        if text.strip("# "):
            lines.append(text.lstrip("#").strip())
    return " ".join(lines)


def title_of(data: dict[str, Any]) -> str:
    """A short name for a stream of data: the task, or the corpus."""
    if "task" in data:
        return _task_title(data["task"])
    from procray import corpora  # numpy and more, which readers of results do not need

    return corpora.title(data)


def _task_title(task: dict[str, Any]) -> str:
    for combinator in ("shuffled", "mixture"):
        if combinator in task:
            inner = task[combinator]
            parts = [part["task"] for part in inner] if isinstance(inner, list) else [inner]
            return f"{combinator} " + "+".join(_task_title(part) for part in parts)
    name = str(task.get("name", "task"))
    return f"{name} (definition ours; the paper's is unpublished)" if name == "sorting" else name


def _target(name: str, cells: list[Cell], plan: Plan, reader: Reader) -> Target:
    phase = plan.phases[cells[0].compared]
    kind = phase.recipe.kind
    metric = "accuracy" if kind == "diagnostic" else "loss"
    variants: dict[str, Variant] = {}
    by_variant: dict[str, list[Cell]] = {}
    for cell in cells:
        by_variant.setdefault(cell.variant, []).append(cell)
    for variant, own in by_variant.items():
        full = [cell for cell in own if cell.fraction is None]
        if not full:
            continue
        names = _names(full[0], plan)
        whole = {cell.compared for cell in full}
        runs = tuple(reader.run(cell) for cell in sorted(full, key=lambda cell: cell.seed))
        reruns: dict[float, list[Run]] = {}
        for cell in own:
            # With a constant schedule the full-length run is the rerun for every fraction: nothing to add.
            if cell.fraction is not None and cell.compared not in whole:
                reruns.setdefault(cell.fraction, []).append(reader.run(cell))
        variants[variant] = Variant(
            target=name,
            name=variant,
            short=names[0],
            family=names[1],
            setting=names[2],
            carried=names[3],
            labels=names[4],
            parameters=_parameters(plan.phases[full[0].compared]),
            shares=_shares(full[0], plan),
            stages=_stages(full, plan, reader),
            baseline=full[0].baseline or variant,
            axes=dict(full[0].axes),
            metric=metric,
            t1=max(cell.t1 for cell in full),
            t2=max(run.budget for run in runs),
            runs=runs,
            constant=all(plan.phases[cell.compared].recipe.steps is None for cell in full),
            points=tuple(
                MatchedPoint(fraction, max(run.budget for run in again), None, None, tuple(again))
                for fraction, again in sorted(reruns.items())
            ),
        )
    filled = [_fill(variant, variants.get(variant.baseline)) for variant in variants.values()]
    filled.sort(key=lambda variant: not variant.is_baseline)  # baselines first, the plan's order otherwise
    return Target(name, name or title_of(phase.recipe.data), kind, metric, tuple(filled))


def _parameters(phase: PlannedPhase) -> int:
    from procray.model.shape import GPT2Config, parameters

    shape = phase.recipe.model
    return parameters(
        GPT2Config(shape.layers, shape.heads, shape.width, phase.vocab, shape.context, shape.tied, rows=phase.rows)
    )


def _shares(cell: Cell, plan: Plan) -> dict[str, float]:
    """How a variant's only warm-up is divided among tasks; empty for none, several, or one on text."""
    warmups = {parent.phase for parent in cell.warmups}
    data = plan.phases[warmups.pop()].recipe.data if len(warmups) == 1 else {}
    if "task" not in data:
        return {}
    parts = data["task"].get("mixture") or [{"task": data["task"], "weight": 1.0}]
    total = sum(part["weight"] for part in parts)
    shares: dict[str, float] = {}
    for part in parts:
        name = _task_title(part["task"])
        shares[name] = shares.get(name, 0.0) + part["weight"] / total
    return shares


def _stages(cells: Sequence[Cell], plan: Plan, reader: Reader) -> tuple[Stage, ...]:
    found = []
    cells = sorted(cells, key=lambda cell: cell.seed)
    for marks in zip(*(cell.stages for cell in cells), strict=True):
        recipe = plan.phases[marks[0].phase].recipe
        runs = tuple(
            reader.run(replace(cell, compared=mark.phase, step=mark.step))
            for cell, mark in zip(cells, marks, strict=True)
        )
        metric = "accuracy" if recipe.kind == "diagnostic" else "loss"
        found.append(Stage(recipe.kind, title_of(recipe.data), metric, runs))
    return tuple(found)


def _names(cell: Cell, plan: Plan) -> tuple[str, str, str, str, dict[str, str]]:
    """Short name, family, setting, transfer mode and labels of a variant."""
    prefix = f"{cell.target}/" if cell.target else ""
    short = cell.variant.removeprefix(prefix)
    labels: dict[str, str] = {}
    searched = plan.search["axes"] if plan.search else ()  # chosen for a variant, so no part of its name
    for axis in plan.axes:
        if axis["name"] in searched:
            continue
        if axis["name"] in cell.axes and len(axis["values"]) > 1 and cell.axes[axis["name"]] in axis["values"]:
            labels[axis["name"]] = axis["labels"][axis["values"].index(cell.axes[axis["name"]])]
    kinds = {name: name.split(".") for name in labels}
    mode = next((labels[name] for name, parts in kinds.items() if parts[-1] == "transfer"), "")

    def without(skip: Callable[[list[str]], bool]) -> str:
        return "/".join(label for name, label in labels.items() if not skip(kinds[name])) or "warm-up"

    family = without(lambda parts: parts[-1] == "tokens" and "procedural" in parts)
    return short, family, without(lambda parts: parts[-1] == "transfer"), mode, labels


def _pairs(runs: Sequence[Run], base: Variant) -> list[tuple[Run, Run]]:
    """Finished runs with the finished baseline run of the same seed."""
    by_seed = {run.seed: run for run in base.finished}
    return [(run, by_seed[run.seed]) for run in runs if run.done and run.seed in by_seed]


def _fill(variant: Variant, base: Variant | None) -> Variant:
    finished = variant.finished
    scores = {name: [run.scores[name] for run in finished if name in run.scores] for name in SCORES}
    variant = replace(
        variant,
        final_loss=spread([run.final("loss") for run in finished]),
        final_accuracy=spread([run.accuracy for run in finished if run.accuracy is not None]),
        scores={name: found for name, values in scores.items() if (found := spread(values))},
        stages=_fill_stages(variant, base),
        levels={level: _level(variant, level) for level in LEVELS} if variant.metric == "accuracy" else {},
    )
    if base is None:
        return variant
    if variant.is_baseline:
        return _fill_baseline(variant)
    pairs = _pairs(variant.runs, base)
    with_accuracy = [(a, b) for a, b in pairs if a.accuracy is not None and b.accuracy is not None]
    variant = replace(
        variant,
        score_deltas=_score_deltas(pairs),
        points=tuple(_fill_point(point, variant, base) for point in variant.points),
        delta=_difference(pairs, "loss"),
        accuracy_delta=_difference(with_accuracy, "accuracy"),
    )
    readoff = _readoff(variant, base, pairs)
    return replace(variant, readoff=readoff, matched=readoff if variant.constant else _matched(variant, base))


def _score_deltas(pairs: Sequence[tuple[Run, Run]]) -> dict[str, Difference]:
    found = {}
    for name in SCORES:
        both = [(a.scores[name], b.scores[name]) for a, b in pairs if name in a.scores and name in b.scores]
        difference = paired_difference([a for a, _ in both], [b for _, b in both])
        if difference:
            found[name] = difference
    return found


def _fill_stages(variant: Variant, base: Variant | None) -> tuple[Stage, ...]:
    stages = []
    for index, stage in enumerate(variant.stages):
        difference = None
        if base is not None and not variant.is_baseline and len(base.stages) == len(variant.stages):
            done = {run.seed: run for run in base.stages[index].runs if run.done}
            pairs = [(run, done[run.seed]) for run in stage.runs if run.done and run.seed in done]
            difference = _difference(pairs, stage.metric)
        ends = spread([run.final(stage.metric) for run in stage.runs if run.done])
        stages.append(replace(stage, final=ends, difference=difference))
    return tuple(stages)


def _difference(pairs: Sequence[tuple[Run, Run]], metric: str) -> Difference | None:
    return paired_difference([a.final(metric) for a, _ in pairs], [b.final(metric) for _, b in pairs])


def _fill_baseline(variant: Variant) -> Variant:
    """The baseline matches itself at its own budget, by definition."""
    if not variant.finished or variant.final is None:
        return replace(variant, matched=Match("pending"))
    spent = _spent(variant)
    own = Match(
        "baseline", variant.t2, False, 1.0, variant.t1 + variant.t2, 1.0,
        spent[0], None if spent[0] is None else 1.0, spent[1], None if spent[1] is None else 1.0,
    )  # fmt: skip
    tokens, values = mean_curve([run.curve for run in variant.finished], variant.metric)
    settled = tokens_to_match(tokens, values, variant.final.mean, variant.mode)
    return replace(variant, readoff=own, matched=own, settled=settled)


def mean_curve(curves: Sequence[Curve], metric: str) -> tuple[list[int], list[float]]:
    """The mean over curves, at the places that all of them have and where all are finite."""
    tables = [dict(zip(curve.tokens, curve.values(metric), strict=True)) for curve in curves]
    if not tables:
        return [], []
    places = [place for place in tables[0] if all(place in table for table in tables)]
    means = [sum(table[place] for table in tables) / len(tables) for place in places]
    kept = [(place, mean) for place, mean in zip(places, means, strict=True) if not math.isnan(mean)]
    return [place for place, _ in kept], [mean for _, mean in kept]


def _level(variant: Variant, level: float) -> float | None:
    tokens, values = mean_curve([run.curve for run in variant.finished], "accuracy")
    return tokens_to_match(tokens, values, level, "max")


def level_match(variant: Variant, level: float) -> Match:
    """Tokens from which the mean accuracy stays above a fixed level, and the same for every finished seed."""
    if not variant.finished:
        return Match("pending")
    tokens = variant.levels.get(level)
    per_seed = {
        run.seed: tokens_to_match(run.curve.tokens, run.curve.accuracy, level, "max") for run in variant.finished
    }
    return Match("not reached" if tokens is None else "reached", tokens, per_seed=per_seed)


def _readoff(variant: Variant, base: Variant, pairs: Sequence[tuple[Run, Run]]) -> Match:
    if not pairs:
        return Match(_why_not(variant.runs, base))
    metric, mode = variant.metric, variant.mode
    level = sum(other.final(metric) for _, other in pairs) / len(pairs)
    tokens, values = mean_curve([run.curve for run, _ in pairs], metric)
    place = tokens_to_match(tokens, values, level, mode)
    per_seed = {
        run.seed: tokens_to_match(run.curve.tokens, run.curve.values(metric), other.final(metric), mode)
        for run, other in pairs
    }
    if place is None:
        return Match("not reached", per_seed=per_seed)
    unique = _mean(value_at(run.curve.tokens, run.curve.unique, place) for run, _ in pairs)
    flops = _mean(_plus(value_at(run.curve.tokens, run.curve.flops, place), run.warmup_flops) for run, _ in pairs)
    return _in_all_currencies(variant, base, place, place == tokens[0], unique, flops, per_seed)


def _fill_point(point: MatchedPoint, variant: Variant, base: Variant) -> MatchedPoint:
    return replace(
        point,
        final=spread([run.final(variant.metric) for run in point.runs if run.done]),
        difference=_difference(_pairs(point.runs, base), variant.metric),
    )


def _matched(variant: Variant, base: Variant) -> Match:
    """Interpolates between the fractions that were run; the full-length run is the fraction 1."""
    if not variant.points:
        return Match("not planned")
    full = MatchedPoint(1.0, variant.t2, variant.final, variant.difference, variant.runs)
    points = [*variant.points, full]
    # A run that may still come could change the answer, and points of unlike seeds are no curve; one that failed
    # cannot come any more.
    if any(run.state not in ("failed", "skipped", "done") for point in points for run in point.runs):
        return Match("pending")
    known = [point for point in points if point.difference is not None]
    if not known or known[-1] is not full:
        return Match(_why_not(variant.runs, base))
    tokens = [point.tokens for point in known]
    means = [point.difference.mean for point in known if point.difference is not None]
    place = tokens_to_match(tokens, means, 0.0, variant.mode)
    per_seed = _matched_per_seed(known, variant, base)
    if place is None:
        return Match("not reached", per_seed=per_seed)
    unique = value_at(tokens, [_mean_end(point.runs, "unique") for point in known], place)
    flops = value_at(tokens, [_mean_end(point.runs, "flops") for point in known], place)
    return _in_all_currencies(variant, base, place, place == tokens[0], unique, flops, per_seed)


def _why_not(runs: Sequence[Run], base: Variant) -> MatchState:
    """Whether a comparison without a single pair of finished runs can still get one."""
    lost = ("failed", "skipped")
    mine = {run.seed for run in runs if run.state not in lost}
    return "pending" if mine & {run.seed for run in base.runs if run.state not in lost} else "no result"


def _matched_per_seed(points: Sequence[MatchedPoint], variant: Variant, base: Variant) -> dict[int, float | None]:
    result: dict[int, float | None] = {}
    for other in base.finished:
        mine = [(point.tokens, run) for point in points for run in point.runs if run.seed == other.seed and run.done]
        if len(mine) == len(points):
            values = [run.final(variant.metric) for _, run in mine]
            level = other.final(variant.metric)
            result[other.seed] = tokens_to_match([place for place, _ in mine], values, level, variant.mode)
    return result


def _mean_end(runs: Sequence[Run], what: Literal["unique", "flops"]) -> float:
    """Unique tokens, or FLOPs with those of the warm-up, at the end of the finished runs."""
    done = [run for run in runs if run.done]
    ends = [getattr(run.curve, what)[-1] + (run.warmup_flops if what == "flops" else 0.0) for run in done]
    return sum(ends) / len(ends) if ends else math.nan


def _spent(base: Variant) -> tuple[float | None, float | None]:
    return tuple(finite(_mean_end(base.finished, what)) for what in ("unique", "flops"))  # type: ignore[return-value]


def _in_all_currencies(
    variant: Variant,
    base: Variant,
    place: float,
    at_most: bool,
    unique: float | None,
    flops: float | None,
    per_seed: dict[int, float | None],
) -> Match:
    base_unique, base_flops = _spent(base)
    total = variant.t1 + place
    return Match(
        "reached",
        place,
        at_most,
        place / base.t2,
        total,
        total / (base.t1 + base.t2),
        unique := finite(unique),
        _ratio(unique, base_unique),
        flops := finite(flops),
        _ratio(flops, base_flops),
        per_seed,
    )


def _ratio(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


def _plus(value: float | None, other: float) -> float | None:
    return None if value is None else value + other


def _mean(values: Iterable[float | None]) -> float | None:
    known = list(values)
    if not known or any(value is None for value in known):
        return None
    return sum(value for value in known if value is not None) / len(known)
