"""What the curves of a target are drawn from: mean lines with bands, their colours, and the words on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from procray.report.numbers.results import Target, Variant
from procray.report.numbers.runs import side_by_side
from procray.report.numbers.statistics import spread
from procray.report.numbers.wording import seeds, signed

MOST_LABELS = 7  # curves with a colour and a name of their own; further ones are drawn thin and grey


def shown_runs(variant: Variant) -> tuple[Any, ...]:
    """The finished runs; while none is finished, those that have begun."""
    return variant.finished or tuple(run for run in variant.runs if len(run.curve.tokens) > 1)


@dataclass(frozen=True)
class Line:
    """A mean curve with its band, ready to draw."""

    variant: Variant
    tokens: list[float]
    mean: list[float]
    sd: list[float]
    seeds: int
    running: bool


def line_of(variant: Variant, metric: str) -> Line | None:
    runs = shown_runs(variant)
    places, values = side_by_side([run.curve for run in runs], metric)
    kept = [(place, here) for place, here in zip(places, values, strict=True) if not math.isnan(sum(here))]
    if not kept:
        return None
    tokens, means = [place for place, _ in kept], [sum(here) / len(here) for _, here in kept]
    spreads = [spread(here) for _, here in kept]
    sds = [(found.sd or 0.0) if found else 0.0 for found in spreads]
    return Line(variant, [float(t) for t in tokens], means, sds, len(runs), not variant.finished)


def named_in_colour(target: Target) -> tuple[list[Variant], str]:
    """The variants drawn in colour, and what to say about the choice.

    All of them when there are few; otherwise the one with the best end of every family, and of these the best.
    """
    warmed = [variant for variant in target.warmed if shown_runs(variant)]
    if len(warmed) <= MOST_LABELS:
        return warmed, ""
    sign = 1 if target.mode == "min" else -1

    def rank(variant: Variant) -> float:
        return sign * variant.final.mean if variant.final else math.inf

    best: dict[str, Variant] = {}
    for variant in sorted(warmed, key=rank):
        best.setdefault(variant.family, variant)
    chosen = list(best.values())[:MOST_LABELS]
    kept = {variant.name for variant in chosen}
    named = [variant for variant in warmed if variant.name in kept]
    return named, f"in colour: the best of each family ({len(named)} of {len(warmed)}); the others grey"


def band(lines: Sequence[Line]) -> str:
    return (
        f"mean ± sd of {seeds((line.seeds for line in lines), min(line.variant.one for line in lines))}"
        if any(line.seeds > 1 for line in lines)
        else "one seed: no spread known"
    )


def metric_name(target: Target) -> str:
    return "accuracy" if target.metric == "accuracy" else "validation loss"


def tokens_label(target: Target, total: bool) -> str:
    own = {"semantic": "semantic tokens", "finetune": "fine-tuning tokens"}.get(target.kind, "tokens of the task")
    return f"procedural + {own} (T1 + T2)" if total else f"{own} (T2)"


def chosen_lines(target: Target, where: str) -> tuple[set[str], list[Line], str]:
    """The names drawn in colour, all lines, and the subtitle that says what they are."""
    named, choice = named_in_colour(target)
    lines = [line for variant in target.variants if (line := line_of(variant, target.metric))]
    details = [where, band(lines)]
    if any(line.running for line in lines):
        details.append("dashed: not finished")
    if choice:
        details.append(choice)
    return {variant.name for variant in named}, lines, " · ".join(details)


def own_tokens(target: Target) -> str:
    return {"semantic": "semantic", "finetune": "fine-tuning"}.get(target.kind, "task")


def is_coloured(line: Line, chosen: set[str]) -> bool:
    return line.variant.is_baseline or line.variant.name in chosen


def draw_line(axes: Any, line: Line, palette: dict[str, str], in_colour: bool, total: bool) -> None:
    shift = line.variant.t1 if total else 0
    # The untrained model's loss stands far above all others, and its place has no logarithm.
    kept = [i for i, place in enumerate(line.tokens) if place > 0 or line.variant.metric == "accuracy"]
    places = [line.tokens[i] + shift for i in kept]
    mean = [line.mean[i] for i in kept]
    if not in_colour:
        axes.plot(places, mean, color="#BBBBBB", lw=0.9, alpha=0.8, zorder=1.5)
        return
    colour = palette[line.variant.name]
    axes.plot(
        places,
        mean,
        color=colour,
        lw=2.0,
        ls=(0, (4, 2)) if line.running else "-",
        zorder=3.5 if line.variant.is_baseline else 3,
    )
    if line.seeds > 1:
        low = [line.mean[i] - line.sd[i] for i in kept]
        high = [line.mean[i] + line.sd[i] for i in kept]
        axes.fill_between(places, low, high, color=colour, alpha=0.14, lw=0, zorder=2)


def delta_text(target: Target, value: float) -> str:
    """A difference in its unit: nats, or points of accuracy in percent."""
    return f"{signed(100 * value, 1)} pp" if target.metric == "accuracy" else signed(value)
