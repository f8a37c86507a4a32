"""How many tokens a warm-up replaces: T1 against the T2 that is still needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from procray.palette import BLACK
from procray.report.figures.canvas import FAINT, Picture, end_labels, finish, settle, sheet, token_axis
from procray.report.figures.lines import MOST_LABELS, metric_name, own_tokens, shown_runs
from procray.report.numbers.matching import level_match
from procray.report.numbers.results import Match, Target, Variant
from procray.report.numbers.wording import percent, seeds


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
        best = base.matched.of or base.t2
        forms.append(_Form("matched: schedules made for the budget", best, lambda v: v.matched))
    return forms


def needed(target: Target, palette: dict[str, str], name: str, where: str) -> Picture:
    """T1 against the T2 that matches the baseline, one panel a form and one line a family."""
    base = next(variant for variant in target.baselines if shown_runs(variant))
    forms = _forms(target, base)
    families: dict[str, list[Variant]] = {}
    for variant in sorted(target.warmed, key=lambda v: v.t1):
        if variant.baseline == base.name:
            families.setdefault(variant.family, []).append(variant)

    def best(family: str) -> float:
        return min((t for v in families[family] if (t := forms[-1].match(v).tokens) is not None), default=math.inf)

    named = {family: families[family] for family in sorted(families, key=best)[:MOST_LABELS]}
    own = own_tokens(target)
    title = f"{target.title}: {own} tokens that still reach the baseline's {metric_name(target)}"
    one = min(variant.one for variant in target.variants)
    behind = seeds((variant.n for variant in target.variants), one)
    details = (
        f"{where} · on the mean of {behind}, bars: single {one}s · below the dashed line: fewer than the baseline's"
    )
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
            f"{metric_name(target)}; the diamond is the baseline. Crosses in the grey strip did not reach it. Below "
            "the dotted line even the total of both kinds of tokens is smaller than the baseline's."
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
                single = [tokens for tokens in match.per_seed.values() if tokens is not None]
                axes.plot([variant.t1] * len(single), single, "_", ms=9, mew=1.4, color=colour, alpha=0.5, zorder=3)
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
