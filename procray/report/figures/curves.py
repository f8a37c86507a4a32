"""Loss and accuracy against tokens, and how the lead over the baseline develops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from procray.palette import BLACK
from procray.report.figures.canvas import (
    FAINT,
    Picture,
    end_labels,
    finish,
    log_token_axis,
    percent_axis,
    points_axis,
    readable,
    settle,
    sheet,
    token_axis,
)
from procray.report.figures.lines import (
    Line,
    band,
    chosen_lines,
    delta_text,
    draw_line,
    is_coloured,
    metric_name,
    named_in_colour,
    own_tokens,
    shown_runs,
    tokens_label,
)
from procray.report.numbers.results import LEVELS, Target, Variant
from procray.report.numbers.statistics import spread
from procray.report.numbers.wording import listing, percent


def loss(target: Target, palette: dict[str, str], name: str, where: str, total: bool) -> Picture:
    """The whole curve at the left, the part where the baseline's final level is reached at the right."""
    chosen, lines, details = chosen_lines(target, where)
    title = f"{target.title}: validation loss against {'total' if total else own_tokens(target)} tokens"
    margin = 0.45 + 0.098 * max((len(_label(line)) for line in lines if is_coloured(line, chosen)), default=0)
    with sheet(title, details, 12.5, 5.8, panels=2, ratios=(1, 1.35), margin=margin) as (figure, panels):
        for axes in panels:
            for line in sorted(lines, key=lambda line: is_coloured(line, chosen)):
                draw_line(axes, line, palette, is_coloured(line, chosen), total)
            _final_levels(axes, target, palette)
            axes.set_xlabel(tokens_label(target, total))
        whole, close = panels
        whole.set_ylabel("validation loss (nats per token)")
        whole.set_title("whole run", fontsize=12, color=FAINT)
        close.set_title("the end, magnified", fontsize=12, color=FAINT)
        log_token_axis(whole)
        _magnify(close, target, lines, total)
        coloured = [line for line in lines if is_coloured(line, chosen)]
        for line in coloured:
            _mark(close, target, line.variant, palette[line.variant.name], total)
        settle(figure)
        end_labels(close, [(line.mean[-1], _label(line), palette[line.variant.name]) for line in coloured])
        caption = (
            f"Validation loss of {target.title} against {tokens_label(target, total)}; {band(lines)}. The dotted "
            "line is the baseline's final level; a ring marks where a mean curve reaches it for good (read-off)."
        )
        return finish(figure, name, target.name, title, caption)


def accuracy(target: Target, palette: dict[str, str], name: str, where: str, total: bool) -> Picture:
    """The curve at the left; at the right the tokens after which three levels are reached for good."""
    chosen, lines, details = chosen_lines(target, where)
    title = f"{target.title}: accuracy against {'total' if total else own_tokens(target)} tokens"
    coloured = [line for line in lines if is_coloured(line, chosen)]
    height = max(5.6, 1.9 + 0.36 * len(coloured))
    with sheet(title, details, 12.5, height, panels=2, ratios=(1.25, 1)) as (figure, (axes, ranking)):
        for line in sorted(lines, key=lambda line: is_coloured(line, chosen)):
            draw_line(axes, line, palette, is_coloured(line, chosen), total)
            if is_coloured(line, chosen):
                _stops(axes, line, palette[line.variant.name], total)
        _final_levels(axes, target, palette)
        axes.set_title("mean curves", fontsize=12, color=FAINT)
        axes.set_xlabel(tokens_label(target, total))
        axes.set_ylabel("accuracy")
        axes.set_ylim(-0.02, 1.03)
        axes.set_xlim(0, max(line.tokens[-1] + (line.variant.t1 if total else 0) for line in lines))
        percent_axis(axes.yaxis)
        token_axis(axes.xaxis)
        _ranking(ranking, coloured, palette, total)
        ranking.set_xlabel(tokens_label(target, total))
        ranking.set_xlim(axes.get_xlim())
        caption = (
            f"Accuracy on {target.title} against {tokens_label(target, total)}; {band(lines)}. Right: tokens from "
            f"which the mean curve stays above {_levels_text()}; a level that is not drawn was not reached for good."
        )
        if any(line.variant.solved for line in coloured):
            caption += (
                " A triangle marks where training of a seed stopped because the task was solved; from there on its "
                "curve goes on at its last value."
            )
        return finish(figure, name, target.name, title, caption)


def _stops(axes: Any, line: Line, colour: str, total: bool) -> None:
    """A triangle on the mean curve where a seed was stopped, its task being solved."""
    values = dict(zip(line.tokens, line.mean, strict=True))
    for place in line.variant.solved.values():
        if place in values:
            shift = line.variant.t1 if total else 0
            axes.plot([place + shift], [values[place]], "v", ms=9, color=colour, mec="white", mew=1, zorder=5)


def _levels_text() -> str:
    return listing([percent(level) for level in LEVELS])


def _ranking(axes: Any, lines: Sequence[Line], palette: dict[str, str], total: bool) -> None:
    """One row a variant, the quickest at the top; light, middle and full dots are the levels."""

    def speed(line: Line) -> tuple[float, ...]:
        shift = line.variant.t1 if total else 0
        places = [line.variant.levels.get(level) for level in reversed(LEVELS)]
        return tuple(math.inf if place is None else place + shift for place in places)

    ordered = sorted(lines, key=speed)
    axes.set_title(f"tokens until {_levels_text()} for good", fontsize=12, color=FAINT)
    axes.grid(axis="y", visible=False)
    for row, line in enumerate(ordered):
        shift = line.variant.t1 if total else 0
        colour = palette[line.variant.name]
        reached = [(place + shift, level) for level, place in line.variant.levels.items() if place is not None]
        if not reached:
            note = f"{percent(LEVELS[0])} not reached" if line.variant.finished else "not finished"
            axes.annotate(note, (0, row), (8, 0), textcoords="offset points", va="center", fontsize=10, color=FAINT)
            continue
        axes.plot([place for place, _ in reached], [row] * len(reached), color=colour, lw=1.6, alpha=0.45, zorder=2)
        for place, level in reached:
            full = level == LEVELS[-1]
            axes.plot([place], [row], "o", ms=9 if full else 6.5, mfc=colour if full else "white", mec=colour, mew=1.8)
        if reached[-1][1] != LEVELS[-1]:
            missing = next(level for level in LEVELS if level > reached[-1][1])
            axes.annotate(
                f"{percent(missing)} not reached", (reached[-1][0], row), (9, 0), textcoords="offset points",
                va="center", fontsize=10, color=FAINT,
            )  # fmt: skip
    axes.set_yticks(range(len(ordered)), [line.variant.short for line in ordered])
    for label, line in zip(axes.get_yticklabels(), ordered, strict=True):
        label.set_color(readable(palette[line.variant.name]))
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(ordered) - 0.4, -0.6)
    axes.spines["left"].set_visible(False)
    token_axis(axes.xaxis)


def _final_levels(axes: Any, target: Target, palette: dict[str, str]) -> None:
    for base in target.baselines:
        if base.final:
            axes.axhline(base.final.mean, color=palette[base.name], lw=1.1, ls=(0, (1, 2)), zorder=1)


def _label(line: Line) -> str:
    return f"{line.variant.short}  {line.mean[-1]:.3f}"


def _mark(axes: Any, target: Target, variant: Variant, colour: str, total: bool) -> None:
    """A ring where the mean curve reaches the baseline's final level for good."""
    base = target.baseline_of(variant)
    place = variant.readoff.total if total else variant.readoff.tokens
    if variant.is_baseline or place is None or base is None or base.final is None:
        return
    axes.plot([place], [base.final.mean], "o", ms=8, mfc="white", mec=colour, mew=2, zorder=4, clip_on=False)


def _magnify(axes: Any, target: Target, lines: Sequence[Line], total: bool) -> None:
    """Limits around the crossings and the ends."""
    right = max(line.tokens[-1] + (line.variant.t1 if total else 0) for line in lines)
    matches = [v.readoff.total if total else v.readoff.tokens for v in target.warmed]
    left = min([0.45 * right, *(0.8 * place for place in matches if place)])
    axes.set_xlim(max(left, 0.1 * right), right)
    seen = [
        value
        for line in lines
        for place, value in zip(line.tokens, line.mean, strict=True)
        if place >= 0.97 * line.tokens[-1] or (line.variant.is_baseline and place >= 0.6 * line.tokens[-1])
    ]
    low, high = min(seen), max(seen)
    # A variant that ends far off must not flatten the rest: its curve may leave the panel at the top.
    base = [line.mean[-1] for line in lines if line.variant.is_baseline]
    if base:
        high = min(high, max(base) + 4 * max(max(base) - low, 0.08))
    pad = 0.08 * max(high - low, 0.02)
    axes.set_ylim(low - pad, high + pad)
    token_axis(axes.xaxis)


def gap(target: Target, palette: dict[str, str], name: str, where: str) -> Picture | None:
    """Difference from the same seed's baseline after equally many tokens: does a head start last?

    None where no variant has two evaluations beside its baseline.
    """
    named, choice = named_in_colour(target)
    chosen = {variant.name for variant in named}
    gaps = [found for variant in target.warmed if (found := _gap_line(target, variant))]
    if not gaps:
        return None
    better = "below" if target.mode == "min" else "above"
    title = f"{target.title}: lead over the baseline, and whether it lasts"
    details = [where, f"paired by seed, {band(gaps)}"]
    if choice:
        details.append(choice)
    width = max((len(f"{line.variant.short}  {delta_text(target, 0.001)}") for line in gaps), default=0)
    with sheet(title, " · ".join(details), 11.5, 5.4, margin=0.5 + 0.098 * width) as (figure, (axes,)):
        axes.axhline(0, color=BLACK, lw=1.6, zorder=2)
        for line in gaps:
            draw_line(axes, line, palette, line.variant.name in chosen, total=False)
        axes.set_xlabel(tokens_label(target, total=False))
        axes.set_ylabel(f"difference in {metric_name(target)} ({better} zero: better)")
        late = [
            value
            for line in gaps
            for place, value in zip(line.tokens, line.mean, strict=True)
            if place >= (0.12 if target.metric == "loss" else 0.0) * line.tokens[-1]
        ]
        low, high = min([0.0, *late]), max([0.0, *late])
        pad = 0.1 * max(high - low, 1e-3)
        axes.set_ylim(low - pad, high + pad)
        axes.set_xlim(0, max(line.tokens[-1] for line in gaps))
        token_axis(axes.xaxis)
        if target.metric == "accuracy":
            points_axis(axes.yaxis)
        settle(figure)
        labels = [
            (line.mean[-1], f"{line.variant.short}  {delta_text(target, line.mean[-1])}", palette[line.variant.name])
            for line in gaps
            if line.variant.name in chosen
        ]
        end_labels(axes, [*labels, (0.0, "baseline", BLACK)])
        caption = (
            f"Difference in {metric_name(target)} from the same seed's baseline after equally many tokens of "
            f"{target.title}; {band(gaps)}. A curve that runs into zero shows a head start that does not last."
        )
        return finish(figure, name, target.name, title, caption)


def _gap_line(target: Target, variant: Variant) -> Line | None:
    base = target.baseline_of(variant)
    if base is None:
        return None
    partners = {run.seed: run for run in shown_runs(base)}
    tables = []
    runs = [run for run in shown_runs(variant) if run.seed in partners]
    for run in runs:
        other = partners[run.seed].curve
        reference = dict(zip(other.steps, other.values(target.metric), strict=True))
        own = zip(run.curve.steps, run.curve.values(target.metric), strict=True)
        tables.append({step: value - reference[step] for step, value in own if step in reference})
    if not tables:
        return None
    steps = [p for p in tables[0] if all(p in t and not math.isnan(t[p]) for t in tables)]
    found = [spread([table[step] for table in tables]) for step in steps]
    tokens = [dict(zip(run.curve.steps, run.curve.tokens, strict=True)) for run in runs]
    places = [sum(one[step] for one in tokens) / len(tokens) for step in steps]
    if len(places) < 2:
        return None
    return Line(
        variant,
        places,
        [one.mean for one in found if one],
        [one.sd or 0.0 for one in found if one],
        len(tables),
        not variant.finished,
    )
