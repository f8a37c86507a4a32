"""The pictures of a sweep: curves, differences, what the warm-up replaces, and which weights carry it.

Every picture says how many seeds stand behind it. Colours are those of `procray.palette`, black is the baseline.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from procray.palette import BLACK, colours
from procray.report.canvas import (
    FAINT,
    Picture,
    end_labels,
    finish,
    ink_on,
    log_token_axis,
    percent_axis,
    points_axis,
    readable,
    settle,
    sheet,
    token_axis,
)
from procray.report.results import LEVELS, Match, Results, Target, Variant, level_match, mean_curve
from procray.report.statistics import spread
from procray.report.wording import listing, percent, plural, signed

MOST_LABELS = 7  # curves with a colour and a name of their own; further ones are drawn thin and grey


def pictures(results: Results) -> list[Picture]:
    """All pictures that the results allow: targets without a finished or running baseline give none."""
    drawn: list[Picture] = []
    palette = colours(variant.name for variant in results.variants)
    for target in results.targets:
        if not any(_shown_runs(variant) for variant in target.baselines):
            continue
        suffix = f"-{target.name}" if target.name else ""
        where = f"{results.sweep}@{results.scale}"
        for total in (False, True):
            draw = _accuracy if target.metric == "accuracy" else _loss
            drawn.append(draw(target, palette, f"{target.metric}{'-total' * total}{suffix}", where, total))
        if any(variant.difference for variant in target.warmed):
            drawn.append(_gap(target, palette, f"gap{suffix}", where))
            drawn.append(_differences(target, palette, f"difference{suffix}", where))
            if _modes(target):
                drawn.append(_transfer(target, f"transfer{suffix}", where))
        if any(variant.readoff.state in ("reached", "not reached") for variant in target.warmed):
            drawn.append(_substitutive(target, palette, f"substitutive{suffix}", where))
    return drawn


# --- what is drawn ---------------------------------------------------------------------------------------------------


def _shown_runs(variant: Variant) -> tuple[Any, ...]:
    """The finished runs; while none is finished, those that have begun."""
    return variant.finished or tuple(run for run in variant.runs if len(run.curve.tokens) > 1)


@dataclass(frozen=True)
class _Line:
    """A mean curve with its band, ready to draw."""

    variant: Variant
    tokens: list[float]
    mean: list[float]
    sd: list[float]
    seeds: int
    running: bool


def _line(variant: Variant, metric: str) -> _Line | None:
    runs = _shown_runs(variant)
    curves = [run.curve for run in runs]
    tokens, means = mean_curve(curves, metric)
    if not tokens:
        return None
    tables = [dict(zip(curve.tokens, curve.values(metric), strict=True)) for curve in curves]
    spreads = [spread([table[place] for table in tables]) for place in tokens]
    sds = [(found.sd or 0.0) if found else 0.0 for found in spreads]
    return _Line(variant, [float(t) for t in tokens], means, sds, len(runs), not variant.finished)


def _named(target: Target) -> tuple[list[Variant], str]:
    """The variants drawn in colour, and what to say about the choice.

    All of them when there are few; otherwise the one with the best end of every family, and of these the best.
    """
    warmed = [variant for variant in target.warmed if _shown_runs(variant)]
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


def _seeds(lines: Iterable[_Line]) -> str:
    numbers = sorted({line.seeds for line in lines})
    if not numbers:
        return "no seeds yet"
    return plural(numbers[0], "seed") if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]} seeds"


def _band(lines: Sequence[_Line]) -> str:
    return f"mean ± sd of {_seeds(lines)}" if any(line.seeds > 1 for line in lines) else "one seed: no spread known"


def _metric(target: Target) -> str:
    return "accuracy" if target.metric == "accuracy" else "validation loss"


def _tokens_label(target: Target, total: bool) -> str:
    own = {"semantic": "semantic tokens", "finetune": "fine-tuning tokens"}.get(target.kind, "tokens of the task")
    return f"procedural + {own} (T1 + T2)" if total else f"{own} (T2)"


# --- curves ----------------------------------------------------------------------------------------------------------


def _loss(target: Target, palette: dict[str, str], name: str, where: str, total: bool) -> Picture:
    """The whole curve at the left, the part where the baseline's final level is reached at the right."""
    chosen, lines, details = _choice(target, where)
    title = f"{target.title}: validation loss against {'total' if total else _own_tokens(target)} tokens"
    margin = 0.45 + 0.098 * max((len(_label(line)) for line in lines if _in_colour(line, chosen)), default=0)
    with sheet(title, details, 12.5, 5.8, panels=2, ratios=(1, 1.35), margin=margin) as (figure, panels):
        for axes in panels:
            for line in sorted(lines, key=lambda line: _in_colour(line, chosen)):
                _draw(axes, line, palette, _in_colour(line, chosen), total)
            _final_levels(axes, target, palette)
            axes.set_xlabel(_tokens_label(target, total))
        whole, close = panels
        whole.set_ylabel("validation loss (nats per token)")
        whole.set_title("whole run", fontsize=12, color=FAINT)
        close.set_title("the end, magnified", fontsize=12, color=FAINT)
        log_token_axis(whole)
        _magnify(close, target, lines, total)
        coloured = [line for line in lines if _in_colour(line, chosen)]
        for line in coloured:
            _mark(close, target, line.variant, palette[line.variant.name], total)
        settle(figure)
        end_labels(close, [(line.mean[-1], _label(line), palette[line.variant.name]) for line in coloured])
        caption = (
            f"Validation loss of {target.title} against {_tokens_label(target, total)}; {_band(lines)}. The dotted "
            "line is the baseline's final level; a ring marks where a mean curve reaches it for good (read-off)."
        )
        return finish(figure, name, target.name, title, caption)


def _accuracy(target: Target, palette: dict[str, str], name: str, where: str, total: bool) -> Picture:
    """The curve at the left; at the right the tokens after which three levels are reached for good."""
    chosen, lines, details = _choice(target, where)
    title = f"{target.title}: accuracy against {'total' if total else _own_tokens(target)} tokens"
    coloured = [line for line in lines if _in_colour(line, chosen)]
    height = max(5.6, 1.9 + 0.36 * len(coloured))
    with sheet(title, details, 12.5, height, panels=2, ratios=(1.25, 1)) as (figure, (axes, ranking)):
        for line in sorted(lines, key=lambda line: _in_colour(line, chosen)):
            _draw(axes, line, palette, _in_colour(line, chosen), total)
        _final_levels(axes, target, palette)
        axes.set_title("mean curves", fontsize=12, color=FAINT)
        axes.set_xlabel(_tokens_label(target, total))
        axes.set_ylabel("accuracy")
        axes.set_ylim(-0.02, 1.03)
        axes.set_xlim(0, max(line.tokens[-1] + (line.variant.t1 if total else 0) for line in lines))
        percent_axis(axes.yaxis)
        token_axis(axes.xaxis)
        _ranking(ranking, coloured, palette, total)
        ranking.set_xlabel(_tokens_label(target, total))
        ranking.set_xlim(axes.get_xlim())
        caption = (
            f"Accuracy on {target.title} against {_tokens_label(target, total)}; {_band(lines)}. Right: tokens from "
            f"which the mean curve stays above {_levels_text()}; a level that is not drawn was not reached for good."
        )
        return finish(figure, name, target.name, title, caption)


def _levels_text() -> str:
    return listing([percent(level) for level in LEVELS])


def _ranking(axes: Any, lines: Sequence[_Line], palette: dict[str, str], total: bool) -> None:
    """One row a variant, the quickest at the top; light, middle and full dots are the levels."""

    def speed(line: _Line) -> tuple[float, ...]:
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


def _choice(target: Target, where: str) -> tuple[set[str], list[_Line], str]:
    """The names drawn in colour, all lines, and the subtitle that says what they are."""
    named, choice = _named(target)
    lines = [line for variant in target.variants if (line := _line(variant, target.metric))]
    details = [where, _band(lines)]
    if any(line.running for line in lines):
        details.append("dashed: not finished")
    if choice:
        details.append(choice)
    return {variant.name for variant in named}, lines, " · ".join(details)


def _final_levels(axes: Any, target: Target, palette: dict[str, str]) -> None:
    for base in target.baselines:
        if base.final:
            axes.axhline(base.final.mean, color=palette[base.name], lw=1.1, ls=(0, (1, 2)), zorder=1)


def _own_tokens(target: Target) -> str:
    return {"semantic": "semantic", "finetune": "fine-tuning"}.get(target.kind, "task")


def _in_colour(line: _Line, chosen: set[str]) -> bool:
    return line.variant.is_baseline or line.variant.name in chosen


def _label(line: _Line) -> str:
    return f"{line.variant.short}  {line.mean[-1]:.3f}"


def _draw(axes: Any, line: _Line, palette: dict[str, str], in_colour: bool, total: bool) -> None:
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


def _mark(axes: Any, target: Target, variant: Variant, colour: str, total: bool) -> None:
    """A ring where the mean curve reaches the baseline's final level for good."""
    base = target.baseline_of(variant)
    place = variant.readoff.total if total else variant.readoff.tokens
    if variant.is_baseline or place is None or base is None or base.final is None:
        return
    axes.plot([place], [base.final.mean], "o", ms=8, mfc="white", mec=colour, mew=2, zorder=4, clip_on=False)


def _magnify(axes: Any, target: Target, lines: Sequence[_Line], total: bool) -> None:
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


# --- how the difference develops -------------------------------------------------------------------------------------


def _gap(target: Target, palette: dict[str, str], name: str, where: str) -> Picture:
    """Difference from the same seed's baseline after equally many tokens: does a head start last?"""
    named, choice = _named(target)
    chosen = {variant.name for variant in named}
    gaps = [found for variant in target.warmed if (found := _gap_line(target, variant))]
    better = "below" if target.mode == "min" else "above"
    title = f"{target.title}: lead over the baseline, and whether it lasts"
    details = [where, f"paired by seed, {_band(gaps)}"]
    if choice:
        details.append(choice)
    width = max((len(f"{line.variant.short}  {_delta_text(target, 0.001)}") for line in gaps), default=0)
    with sheet(title, " · ".join(details), 11.5, 5.4, margin=0.5 + 0.098 * width) as (figure, (axes,)):
        axes.axhline(0, color=BLACK, lw=1.6, zorder=2)
        for line in gaps:
            _draw(axes, line, palette, line.variant.name in chosen, total=False)
        axes.set_xlabel(_tokens_label(target, total=False))
        axes.set_ylabel(f"difference in {_metric(target)} ({better} zero: better)")
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
            (line.mean[-1], f"{line.variant.short}  {_delta_text(target, line.mean[-1])}", palette[line.variant.name])
            for line in gaps
            if line.variant.name in chosen
        ]
        end_labels(axes, [*labels, (0.0, "baseline", BLACK)])
        caption = (
            f"Difference in {_metric(target)} from the same seed's baseline after equally many tokens of "
            f"{target.title}; {_band(gaps)}. A curve that runs into zero shows a head start that does not last."
        )
        return finish(figure, name, target.name, title, caption)


def _gap_line(target: Target, variant: Variant) -> _Line | None:
    base = target.baseline_of(variant)
    if base is None:
        return None
    partners = {run.seed: run for run in base.runs}
    tables = []
    runs = [run for run in _shown_runs(variant) if run.seed in partners]
    for run in runs:
        other = partners[run.seed].curve
        reference = dict(zip(other.tokens, other.values(target.metric), strict=True))
        own = zip(run.curve.tokens, run.curve.values(target.metric), strict=True)
        tables.append({place: value - reference[place] for place, value in own if place in reference})
    if not tables:
        return None
    places = [p for p in tables[0] if all(p in t and not math.isnan(t[p]) for t in tables)]
    found = [spread([table[place] for table in tables]) for place in places]
    if len(places) < 2:
        return None
    return _Line(
        variant,
        [float(place) for place in places],
        [one.mean for one in found if one],
        [one.sd or 0.0 for one in found if one],
        len(tables),
        not variant.finished,
    )


def _delta_text(target: Target, value: float) -> str:
    """A difference in its unit: nats, or points of accuracy in percent."""
    return f"{signed(100 * value, 1)} pp" if target.metric == "accuracy" else signed(value)


# --- final differences -----------------------------------------------------------------------------------------------


def _differences(target: Target, palette: dict[str, str], name: str, where: str) -> Picture:
    """One row a variant, best at the top: mean, 95 % interval and every seed; unfinished cells say so."""
    sign = 1 if target.mode == "min" else -1
    known = sorted((v for v in target.warmed if v.difference), key=lambda v: sign * (v.difference.mean))  # type: ignore[union-attr]
    unknown = [variant for variant in target.warmed if not variant.difference]
    rows = [*known, *unknown]
    scale = 100 if target.metric == "accuracy" else 1
    title = f"{target.title}: final {_metric(target)} against the baseline"
    numbers = sorted({v.difference.n for v in known if v.difference})
    seeds = plural(numbers[0], "seed") if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]} seeds"
    subtitle = f"{where} · mean difference of {seeds}, paired, with 95 % t-interval; small dots: single seeds"
    longest = max(len(variant.short) for variant in rows)
    with sheet(title, subtitle, 8.0 + 0.1 * longest, 1.75 + 0.36 * len(rows), margin=1.1) as (figure, (axes,)):
        axes.axvline(0, color=BLACK, lw=1.6, zorder=1)
        axes.grid(axis="y", visible=False)
        for row, variant in enumerate(rows):
            difference = variant.difference
            if difference is None:
                axes.annotate(
                    variant.state, (0, row), xytext=(8, 0), textcoords="offset points", va="center",
                    fontsize=10.5, color=FAINT, fontstyle="italic",
                )  # fmt: skip
                continue
            colour = palette[variant.name]
            seeds_x = [scale * value for value in _seed_differences(target, variant)]
            axes.plot(seeds_x, [row + 0.24] * len(seeds_x), "o", ms=4.5, color=colour, alpha=0.5, mew=0, zorder=2)
            if difference.low is not None and difference.high is not None:
                axes.plot(
                    [scale * difference.low, scale * difference.high], [row, row], color=colour, lw=2.2,
                    solid_capstyle="butt", zorder=3,
                )  # fmt: skip
            axes.plot([scale * difference.mean], [row], "o", ms=8.5, color=colour, mec="white", mew=1, zorder=4)
            number = axes.annotate(
                _delta_text(target, difference.mean), (1.0, row), xycoords=("axes fraction", "data"), xytext=(10, 0),
                textcoords="offset points", va="center", fontsize=11, color=readable(colour), annotation_clip=False,
                fontweight="bold" if difference.excludes_zero else "normal",
            )  # fmt: skip
            number.set_in_layout(False)
        axes.set_yticks(range(len(rows)), [variant.short for variant in rows])
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.spines["left"].set_visible(False)
        _focus(axes, known, scale)
        if target.metric == "accuracy":
            axes.set_xlabel("difference in final accuracy (percentage points; to the right is better)")
        else:
            axes.set_xlabel("difference in final validation loss (nats per token; to the left is better)")
        caption = (
            f"Final {_metric(target)} of every variant minus the same seed's baseline on {target.title}; dots are "
            f"means of {seeds} with 95 % t-intervals. An interval that includes zero shows no difference; "
            f"numbers in bold belong to intervals that exclude it."
        )
        return finish(figure, name, target.name, title, caption)


def _focus(axes: Any, variants: Sequence[Variant], scale: float) -> None:
    """Limits from the means and seeds; an interval of few seeds may be so wide that it would hide everything."""
    means = [scale * v.difference.mean for v in variants if v.difference]
    reach = max(max(abs(mean) for mean in means), 1e-4 * scale)
    ends = [
        min(max(scale * end, -3 * reach), 3 * reach)
        for variant in variants
        if variant.difference
        for end in (variant.difference.low, variant.difference.high)
        if end is not None
    ]
    low, high = min([0.0, *means, *ends]), max([0.0, *means, *ends])
    pad = 0.06 * (high - low)
    axes.set_xlim(low - pad, high + pad)


def _seed_differences(target: Target, variant: Variant) -> list[float]:
    base = target.baseline_of(variant)
    partners = {run.seed: run for run in base.finished} if base else {}
    return [
        run.final(target.metric) - partners[run.seed].final(target.metric)
        for run in variant.finished
        if run.seed in partners
    ]


# --- what the warm-up replaces ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Form:
    """One way to ask how many tokens are needed: a panel. `reference` is what the baseline needs."""

    title: str
    reference: float
    match: Callable[[Variant], Match]

    def top(self, variants: Iterable[Variant]) -> float:
        """The largest number to draw; what was not reached stands above it."""
        return max([self.reference, *(tokens for v in variants if (tokens := self.match(v).tokens) is not None)])


def _forms(target: Target, base: Variant) -> list[_Form]:
    """Read-off and matched; for a diagnostic first the tokens to the highest level that the baseline reaches."""
    forms = []
    level = target.level
    needed = base.levels.get(level) if level is not None else None
    if level is not None and needed is not None:
        forms.append(_Form(f"until {percent(level)} accuracy, for good", needed, lambda v: level_match(v, level)))
        forms.append(_Form("until the baseline's final accuracy", base.t2, lambda v: v.readoff))
    else:
        forms.append(_Form("read-off: full-length runs", base.t2, lambda v: v.readoff))
    if any(variant.points for variant in target.warmed):
        forms.append(_Form("matched: schedules made for the budget", base.t2, lambda v: v.matched))
    return forms


def _substitutive(target: Target, palette: dict[str, str], name: str, where: str) -> Picture:
    """T1 against the T2 that matches the baseline, one panel a form and one line a family."""
    base = next(variant for variant in target.baselines if _shown_runs(variant))
    forms = _forms(target, base)
    families: dict[str, list[Variant]] = {}
    for variant in sorted(target.warmed, key=lambda v: v.t1):
        if variant.baseline == base.name:
            families.setdefault(variant.family, []).append(variant)

    def best(family: str) -> float:
        return min((t for v in families[family] if (t := forms[-1].match(v).tokens) is not None), default=math.inf)

    named = {family: families[family] for family in sorted(families, key=best)[:MOST_LABELS]}
    own = _own_tokens(target)
    title = f"{target.title}: {own} tokens that still reach the baseline's {_metric(target)}"
    numbers = sorted({variant.n for variant in target.variants})
    seeds = plural(numbers[0], "seed") if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]} seeds"
    details = f"{where} · on the mean of {seeds}, bars: single seeds · below the dashed line: data saved"
    if len(named) < len(families):
        details += f" · in colour: the best {len(named)} of {len(families)} families"
    margin = 0.45 + 0.098 * max((len(family) for family in named), default=8)
    width = 6.6 + 3.9 * (len(forms) - 1) + margin
    with sheet(title, details, width, 5.6, panels=len(forms), margin=margin) as (figure, panels):
        for axes, form in zip(panels, forms, strict=True):
            _substitutive_panel(axes, form, families, named, palette)
            axes.set_xlabel("procedural tokens (T1)")
        panels[0].set_ylabel(f"{own} tokens (T2) needed")
        settle(figure)
        end_labels(panels[-1], _substitutive_labels(named, forms[-1], palette))
        caption = (
            f"Tokens of {target.title} after which a model warmed up on T1 procedural tokens reaches the baseline's "
            f"{_metric(target)}; the diamond is the baseline. Crosses in the grey strip did not reach it. Below the "
            "dotted line even the total of both kinds of tokens is smaller than the baseline's."
        )
        return finish(figure, name, target.name, title, caption)


def _substitutive_panel(
    axes: Any,
    form: _Form,
    families: dict[str, list[Variant]],
    named: dict[str, list[Variant]],
    palette: dict[str, str],
) -> None:
    everyone = [variant for members in families.values() for variant in members]
    widest, top = max(variant.t1 for variant in everyone), form.top(everyone)
    axes.set_title(form.title, fontsize=12, color=FAINT)
    axes.axhspan(1.06 * top, 1.28 * top, color="#F3F3F3", lw=0, zorder=0)
    axes.text(0.012 * widest, 1.265 * top, "not reached", va="top", fontsize=10.5, color=FAINT)
    axes.axhline(form.reference, color=BLACK, lw=1.3, ls=(0, (5, 3)), zorder=1)
    axes.plot([0, widest], [form.reference, form.reference - widest], color="#999999", lw=1.1, ls=":", zorder=1)
    axes.plot([0], [form.reference], "D", ms=8, color=BLACK, zorder=5, clip_on=False)
    for family, members in families.items():
        if family not in named:
            _substitutive_line(axes, members, form, "#C4C4C4", 1.13 * top)
    for index, members in enumerate(named.values()):
        _substitutive_line(axes, members, form, _family_colour(members, palette), _missed_at(top, index))
    axes.set_xlim(-0.02 * widest, 1.06 * widest)
    axes.set_ylim(0, 1.28 * top)
    token_axis(axes.xaxis)
    token_axis(axes.yaxis)


def _missed_at(top: float, index: int) -> float:
    """Where the crosses of a family stand; neighbours keep out of each other's way."""
    return top * (1.13 + 0.034 * (index % 3 - 1))


def _family_colour(members: Sequence[Variant], palette: dict[str, str]) -> str:
    return palette[members[len(members) // 2].name]


def _substitutive_line(axes: Any, members: Sequence[Variant], form: _Form, colour: str, missed_at: float) -> None:
    # Only neighbours on the T1 axis are joined: a line through a budget that missed would claim what was not found.
    previous: tuple[float, float] | None = None
    for variant in members:
        match = form.match(variant)
        here = None
        if match.tokens is not None:
            here = (float(variant.t1), match.tokens)
            axes.plot(*here, "o", ms=8, color=colour, mec="white", mew=1, zorder=4)
            if len(match.per_seed) > 1:
                seeds = [tokens for tokens in match.per_seed.values() if tokens is not None]
                axes.plot([variant.t1] * len(seeds), seeds, "_", ms=9, mew=1.4, color=colour, alpha=0.5, zorder=3)
            if previous:
                axes.plot([previous[0], here[0]], [previous[1], here[1]], color=colour, lw=2, zorder=3)
        elif match.state == "not reached":
            axes.plot(variant.t1, missed_at, "x", ms=8, mew=2, color=colour, zorder=4)
        previous = here


def _substitutive_labels(
    families: dict[str, list[Variant]], form: _Form, palette: dict[str, str]
) -> list[tuple[float, str, str]]:
    top = form.top(variant for members in families.values() for variant in members)
    labels = []
    for index, (name, members) in enumerate(families.items()):
        ends = [tokens for variant in members if (tokens := form.match(variant).tokens) is not None]
        labels.append((ends[-1] if ends else _missed_at(top, index), name, _family_colour(members, palette)))
    return labels


# --- which weights carry it ------------------------------------------------------------------------------------------


def _modes(target: Target) -> list[str]:
    """The transfer modes when there is more than one to compare, in the plan's order."""
    modes = list(dict.fromkeys(variant.carried for variant in target.warmed if variant.carried))
    return modes if len(modes) > 1 else []


def _transfer(target: Target, name: str, where: str) -> Picture:
    """A table coloured by the final difference: rows are warm-ups, columns what is carried over."""
    from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm

    modes = _modes(target)
    cells = {(v.setting, v.carried): v for v in target.warmed if v.carried}
    rows = list(dict.fromkeys(setting for setting, _ in cells))
    sign = -1 if target.mode == "min" else 1
    reach = max(abs(v.difference.mean) for v in cells.values() if v.difference) or 1e-6
    shades = LinearSegmentedColormap.from_list("worse-better", ["#D55E00", "#FBE3CF", "#FFFFFF", "#CFE3F0", "#0072B2"])
    norm = TwoSlopeNorm(0, -reach, reach)
    title = f"{target.title}: which weights carry the effect"
    metric = "accuracy (points)" if target.metric == "accuracy" else "validation loss (nats)"
    subtitle = f"{where} · final {metric} minus baseline · blue: better · bold: 95 % interval excludes zero"
    longest = max(len(row) for row in rows)
    width = 0.6 + 0.115 * longest + 1.75 * len(modes)
    with sheet(title, subtitle, width, 1.55 + 0.46 * len(rows)) as (figure, (axes,)):
        axes.grid(visible=False)
        for y, row in enumerate(rows):
            for x, mode in enumerate(modes):
                variant = cells.get((row, mode))
                difference = variant.difference if variant else None
                good = sign * difference.mean if difference else 0.0
                face = shades(norm(good)) if difference else (0.95, 0.95, 0.95)
                axes.fill_between([x - 0.48, x + 0.48], y - 0.46, y + 0.46, color=face, lw=0)
                text = _delta_text(target, difference.mean) if difference else (variant.state if variant else "not run")
                axes.text(
                    x, y, text, ha="center", va="center_baseline", fontsize=12 if difference else 10,
                    color=ink_on(face) if difference else FAINT,
                    fontweight="bold" if difference and difference.excludes_zero else "normal",
                )  # fmt: skip
        axes.set_xticks(range(len(modes)), modes)
        axes.set_yticks(range(len(rows)), rows)
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        axes.set_xlim(-0.52, len(modes) - 0.48)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        for spine in axes.spines.values():
            spine.set_visible(False)
        caption = (
            f"Final {_metric(target)} on {target.title} minus the baseline's, by what is carried over from the "
            f"warm-up (columns). Blue is better, orange worse than no warm-up."
        )
        return finish(figure, name, target.name, title, caption)
