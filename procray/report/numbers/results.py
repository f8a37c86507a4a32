"""What a sweep found, as numbers: results of targets, of variants, of runs.

A cell is finished when its phase has an evaluation at the cell's last step. Means are over finished seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from procray.planning.plan import title
from procray.report.numbers.crossing import Mode
from procray.report.numbers.pairs import Key, key_of
from procray.report.numbers.runs import Run
from procray.report.numbers.statistics import Difference, Spread, ratio
from procray.report.numbers.warmups import Warmup
from procray.selection.select import Searched

MatchState = Literal["reached", "not reached", "pending", "no result", "not planned", "baseline"]
# Accuracies whose first lasting crossing is reported beside the match: a saturated baseline makes its own final
# level an arbitrary one.
LEVELS = (0.5, 0.9, 0.99)
DECISIVE = 3  # so many answers of the gate, its first ones, must be yes before "saves" may be said


@dataclass(frozen=True)
class Match:
    """An answer to "how many tokens until the baseline's final level?" with the same in other currencies.

    `tokens` is None unless the state is `reached` (or `baseline`, where it is the baseline's own budget). `at_most`
    says that already the first place looked at was good enough. Fractions are of what the baseline spent, and `of` is
    its tokens: all of them where curves are read off, its best budget where reruns are matched. A fraction above 1 is
    an answer too: as good, with more data.
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
    per_seed: dict[Key, float | None] = field(default_factory=dict)  # every planned run
    of: float | None = None

    @property
    def seeds_reached(self) -> int:
        return sum(tokens is not None for tokens in self.per_seed.values())


@dataclass(frozen=True)
class Fraction:
    """A share of the baseline's tokens with its interval; `high` is None where no place within the budget is sure.

    `low` is None where already the end of the curve is surely not good enough.
    """

    low: float | None
    high: float | None


@dataclass(frozen=True)
class Speed:
    """Tokens until a fixed accuracy, as a share of those that the same seed's baseline needs: a geometric mean."""

    level: float
    share: float
    low: float
    high: float
    p: float  # after Holm's correction
    n: int


@dataclass(frozen=True)
class Left:
    """How many runs left the plateau, with the interval of Clopper and Pearson, and p of Fisher's exact test."""

    k: int
    n: int
    low: float
    high: float


@dataclass(frozen=True)
class Evidence:
    """What may be said of a variant against its baseline, corrected for its table (docs/claims.md).

    Attributes:
        method: of the test of the final values: `paired t`, `crossed t`, `Fisher exact`; empty without one.
        family: how many variants the table has.
        p: by itself, two-sided; `corrected` by Holm for the family; `level` the step's, by which intervals are made.
        verdict: `better`, `worse`, `unclear`; empty for a baseline and where there is nothing to compare.
        fraction: where the curve is as good as the baseline's end; `settled` the baseline's own such place. Both
            as shares of the baseline's tokens.
        saves: whether "saves data" may be said, as far as the numbers of this table go.
    """

    method: str = ""
    family: int = 0
    p: float | None = None
    corrected: float | None = None
    level: float | None = None
    verdict: str = ""
    fraction: Fraction | None = None
    settled: Fraction | None = None
    speed: Speed | None = None
    left: Left | None = None
    saves: bool = False


@dataclass(frozen=True)
class Answer:
    """One cell of the gate: what a reviewer asks of a variant, and what this sweep answers (docs/claims.md).

    Attributes:
        question: one of `procray.report.numbers.gate.QUESTIONS`.
        state: `yes`, `no`, or `not run`.
        number: the answer's number, short: `−0.210`, `99.8 %`; empty where there is none.
        said: the same in words.
        values: the same for machines.
    """

    question: str
    state: Literal["yes", "no", "not run"]
    number: str = ""
    said: str = ""
    values: dict[str, float | str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class MatchedPoint:
    """The reruns made for one fraction of the budget; `difference` is against the baseline at its best budget."""

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
    verdict: str = ""  # corrected for the variants beside it


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
    control: str = ""  # which of `controls:` it is; empty for a variant of the grid
    controls: dict[str, str] = field(default_factory=dict)  # by kind, the variant that is this one's control
    settled: float | None = None  # baselines: where the mean curve reaches its own final level for good
    evidence: Evidence = Evidence()
    score_verdicts: dict[str, str] = field(default_factory=dict)  # as `score_deltas`
    gate: tuple[Answer, ...] = ()  # by QUESTIONS; of a baseline and of a control there is none

    @property
    def is_baseline(self) -> bool:
        return self.name == self.baseline

    @property
    def mode(self) -> Mode:
        return mode_of(self.metric)

    @cached_property
    def finished(self) -> tuple[Run, ...]:
        return tuple(run for run in self.runs if run.done)

    @property
    def n(self) -> int:
        return len(self.finished)

    @cached_property
    def solved(self) -> dict[Key, int]:
        """By run, the tokens after which a finished one was stopped because it had solved its task."""
        return {key_of(run): run.solved for run in self.finished if run.solved is not None}

    @property
    def final(self) -> Spread | None:
        return self.final_accuracy if self.metric == "accuracy" else self.final_loss

    @property
    def one(self) -> str:
        """What a single run is: a seed, or a run of donors crossed with target seeds, which is none of its own."""
        return "run" if any(run.donor is not None for run in self.runs) else "seed"

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
        """`better`, `worse` or `unclear` against the baseline, corrected for the table; empty for the baseline."""
        return self.evidence.verdict

    @property
    def saves(self) -> bool:
        """Whether "saves data" may be said: its numbers allow it, and so does its gate where it has one."""
        return self.evidence.saves and all(answer.state == "yes" for answer in self.gate[:DECISIVE])

    @property
    def lost(self) -> bool:
        """Whether a planned seed failed, or was skipped because of one that did."""
        return bool(self.lost_runs)

    @property
    def lost_runs(self) -> int:
        return sum(run.state in ("failed", "skipped") for run in self.runs)

    @property
    def pending(self) -> int:
        """Runs that are still to come: what failed or was skipped is not, unless it is tried again."""
        return sum(not run.done and run.state not in ("failed", "skipped") for run in self.runs)


def mode_of(metric: str) -> Mode:
    """Whether more or less is better."""
    return "max" if metric == "accuracy" else "min"


def paired(runs: Sequence[Run], others: Sequence[Run]) -> list[tuple[Run, Run]]:
    """Finished runs with the finished one of the same seed among the others."""
    by_seed = {run.seed: run for run in others if run.done}
    return [(run, by_seed[run.seed]) for run in runs if run.done and run.seed in by_seed]


@dataclass(frozen=True)
class Target:
    """One tail of the sweep: what all its variants are trained on after the warm-up."""

    name: str
    title: str
    kind: str
    metric: str
    variants: tuple[Variant, ...]
    chance: dict[str, float] = field(default_factory=dict)  # accuracies of cheap strategies, by their names
    all_or_nothing: bool = False  # some runs stay on a plateau and others of the same variant leave it
    validation: str = ""  # what its runs are judged on, in words

    @property
    def cheap(self) -> float | None:
        """The accuracy of the best cheap strategy; None where none is known."""
        return max(self.chance.values(), default=None)

    @property
    def middle(self) -> float | None:
        """Half way between the best cheap strategy and everything right: above it a run has left the plateau."""
        return None if self.cheap is None else (1 + self.cheap) / 2

    @property
    def mode(self) -> Mode:
        return mode_of(self.metric)

    @property
    def unit(self) -> str:
        """What the numbers in a table of it are."""
        return "accuracy, %" if self.metric == "accuracy" else "validation loss, nats"

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
        return ratio(variant.levels.get(self.level), base.levels.get(self.level))

    @cached_property
    def baselines(self) -> tuple[Variant, ...]:
        return tuple(variant for variant in self.variants if variant.is_baseline)

    @cached_property
    def warmed(self) -> tuple[Variant, ...]:
        return tuple(variant for variant in self.variants if not variant.is_baseline)

    @property
    def tested(self) -> tuple[Variant, ...]:
        """The warmed-up variants that the file asks about: the table's tests are corrected for their number."""
        return tuple(variant for variant in self.warmed if not variant.control)

    @cached_property
    def in_control(self) -> frozenset[str]:
        """The names of the variants that are a control of another, be it added by `controls:` or written out."""
        added = {variant.name for variant in self.variants if variant.control}
        return frozenset(added.union(*(variant.controls.values() for variant in self.variants)))

    @property
    def ranked(self) -> list[Variant]:
        """The warmed-up variants by tokens to `level` where there is one, then by final difference.

        What has none comes last, and before it what has not finished or lost a seed: a diverged seed never makes its
        variant win.
        """
        sign = 1 if self.mode == "min" else -1

        def rank(variant: Variant) -> tuple[int, float, float]:
            share = self.level_fraction(variant) if self.level is not None else 0.0
            difference = sign * variant.difference.mean if variant.difference else math.inf
            whole = 3 if not variant.difference else 2 if variant.lost else 1 if variant.state != "complete" else 0
            return (whole, math.inf if share is None else share, difference)

        return sorted(self.warmed, key=rank)

    def seed_differences(self, variant: Variant) -> list[float]:
        """Final values minus those of the same seed's baseline, of all seeds that both have finished."""
        base = self.baseline_of(variant)
        pairs = paired(variant.runs, base.runs) if base else []
        return [run.final(self.metric) - other.final(self.metric) for run, other in pairs]


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
    settings: str  # what `--set` changed, in short
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
    warmups: tuple[Warmup, ...] = ()

    @property
    def title(self) -> str:
        return title(self.sweep, self.scale, self.settings)

    @property
    def complete(self) -> bool:
        return self.phases_done == self.phases and (self.search is None or self.search.settled)

    @property
    def pending(self) -> bool:
        """Whether anything is still to come without a failed phase being tried again."""
        ended = self.phases_done + len(self.failed) + len(self.skipped) == self.phases
        return not ended or (self.search is not None and not self.search.settled)

    @property
    def variants(self) -> tuple[Variant, ...]:
        return tuple(variant for target in self.targets for variant in target.variants)
