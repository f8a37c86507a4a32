"""Results along an axis of numbers: the share of a task in a mixture, and the size of the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from procray.palette import BLACK, HUES
from procray.report.figures.canvas import FAINT, Picture, end_labels, finish, percent_axis, points_axis, settle, sheet
from procray.report.figures.lines import metric_name
from procray.report.numbers.results import Match, Target, Variant
from procray.report.numbers.wording import count, seeds

_NOT_REACHED = 1.11  # where fractions that were not reached stand, times the largest that was

Families = dict[str, list[tuple[float, Variant]]]


# --- mixtures --------------------------------------------------------------------------------------------------------


def mixed_tasks(target: Target) -> tuple[str, str] | None:
    """The two tasks that the warm-ups mix, where there are two and at least three shares to look along."""
    tasks = list(dict.fromkeys(task for variant in target.tested for task in variant.shares))
    if len(tasks) != 2 or len({round(v.shares.get(tasks[0], 0.0), 6) for v in target.tested if v.shares}) < 3:
        return None
    return tasks[0], tasks[1]


def mixture(target: Target, palette: dict[str, str], name: str, where: str) -> Picture:
    """The final value against the share of the first task; the ends are the tasks by themselves."""
    tasks = mixed_tasks(target)
    assert tasks is not None
    families = _families(target, lambda v: v.shares.get(tasks[0], 0.0) if v.shares else None, _beside_mixture)
    hues = _hues(families)
    title = f"{target.title}: final {metric_name(target)} by what the warm-up mixes"
    details = f"{where} · mean ± sd of {_seeds(families)}, small dots: single seeds · dotted: baseline, ± sd"
    with sheet(title, details, 10.5, 5.4, margin=_margin(families)) as (figure, (axes,)):
        for base in target.baselines:
            if base.final:
                axes.axhline(base.final.mean, color=palette[base.name], lw=1.3, ls=(0, (1, 2)), zorder=1)
                reach = base.final.sd or 0.0
                axes.axhspan(base.final.mean - reach, base.final.mean + reach, color="#EEEEEE", lw=0, zorder=0)
        for members, colour in zip(families.values(), hues, strict=True):
            _means(axes, members, colour)
        axes.set_xlim(-0.03, 1.03)
        axes.set_xlabel(f"share of {tasks[0]} in the warm-up; the rest is {tasks[1]}")
        axes.set_ylabel(f"final {metric_name(target)}" + (" (nats per token)" if target.metric == "loss" else ""))
        percent_axis(axes.xaxis)
        if target.metric == "accuracy":
            percent_axis(axes.yaxis)
        settle(figure)
        ends = [(family, members[-1][1].final) for family, members in families.items()]
        labels = [(end.mean, family, hue) for (family, end), hue in zip(ends, hues, strict=True) if end]
        base_labels = [(b.final.mean, b.short, palette[b.name]) for b in target.baselines if b.final]
        end_labels(axes, [*labels, *base_labels])
        caption = (
            f"Final {metric_name(target)} on {target.title} against the share of sequences that are {tasks[0]} in the "
            f"warm-up, the rest being {tasks[1]}; mean ± sd of {_seeds(families)}. The dotted line is the baseline."
        )
        return finish(figure, name, target.name, title, caption)


def _beside_mixture(variant: Variant) -> str:
    kept = []
    for name, label in variant.labels.items():
        parts, value = name.split("."), variant.axes.get(name)
        if "task" not in parts or parts[-1] == "prefix":
            kept.append(label)
        elif isinstance(value, dict) and value.get("prefix"):
            kept.append("with prefix")
    return "/".join(kept) or "warm-up"


def _means(axes: Any, members: Sequence[tuple[float, Variant]], colour: str) -> None:
    known = [(place, variant, variant.final) for place, variant in members if variant.final]
    axes.plot([place for place, _, _ in known], [final.mean for _, _, final in known], color=colour, zorder=3)
    for place, variant, final in known:
        if final.sd is not None:
            axes.plot([place] * 2, [final.mean - final.sd, final.mean + final.sd], color=colour, lw=1.4, zorder=3)
        ends = [run.final(variant.metric) for run in variant.finished]
        axes.plot([place + 0.008] * len(ends), ends, "o", ms=3.5, mew=0, color=colour, alpha=0.5, zorder=2)
        axes.plot([place], [final.mean], "o", ms=8, color=colour, mec="white", mew=1, zorder=4)


# --- size of the model -----------------------------------------------------------------------------------------------


def sizes(target: Target) -> list[int]:
    """The numbers of parameters of the compared models, where there are several."""
    found = sorted({variant.parameters for variant in target.tested})
    return found if len(found) > 1 else []


def scale(target: Target, name: str, where: str) -> Picture:
    """Against the number of parameters: the difference from the baseline, and beside it the data fraction."""
    going_with_size = _with_size(target)

    def beside(variant: Variant) -> str:
        return "/".join(text for axis, text in variant.labels.items() if axis not in going_with_size) or "warm-up"

    families = _families(target, lambda v: float(v.parameters), beside)
    hues = _hues(families)
    title = f"{target.title}: does the effect last as models grow?"
    details = f"{where} · mean of {_seeds(families)}; differences are paired, with 95 % t-interval"
    with sheet(title, details, 12.5, 5.4, panels=2, margin=_margin(families)) as (figure, (left, right)):
        left.axhline(0, color=BLACK, lw=1.6, zorder=1)
        right.axhline(1, color=BLACK, lw=1.3, ls=(0, (5, 3)), zorder=1)
        fractions = [f for members in families.values() for _, v in members if (f := _form(v).fraction) is not None]
        top = max([1.0, *fractions])
        for members, colour in zip(families.values(), hues, strict=True):
            _differences(left, members, colour)
            _fractions(right, members, colour, top * _NOT_REACHED)
        better = "below" if target.mode == "min" else "above"
        left.set_title(
            f"final {metric_name(target)} minus the baseline's ({better} zero: better)", fontsize=12, color=FAINT
        )
        right.set_title(f"data fraction, {_form_name(target)} (below the dashed line: saved)", fontsize=12, color=FAINT)
        left.set_ylabel("difference" + (" (nats per token)" if target.metric == "loss" else ""))
        right.set_ylabel("fraction of the baseline's tokens")
        right.axhspan(1.06 * top, 1.24 * top, color="#F3F3F3", lw=0, zorder=0)
        right.annotate(
            "not reached", (0.01, 1.23 * top), xycoords=("axes fraction", "data"), va="top", fontsize=10.5, color=FAINT
        )
        right.set_ylim(0, 1.24 * top)
        right.set_yticks([place for place in right.get_yticks() if place <= 1.06 * top])
        percent_axis(right.yaxis)
        if target.metric == "accuracy":
            points_axis(left.yaxis)
        for axes in (left, right):
            _size_axis(axes, sizes(target))
        settle(figure)
        labels = []
        for (family, members), colour in zip(families.items(), hues, strict=True):
            last = _form(members[-1][1]).fraction
            labels.append((top * _NOT_REACHED if last is None else last, family, colour))
        end_labels(right, labels)
        caption = (
            f"By the number of the model's parameters: difference in final {metric_name(target)} on {target.title} "
            f"from the same seed's baseline of the same size, and the fraction of the baseline's tokens that still "
            f"matches it; {_seeds(families)}. Crosses did not reach it."
        )
        return finish(figure, name, target.name, title, caption)


def _with_size(target: Target) -> set[str]:
    """The axes that describe the model, and those whose values go with its size, as a learning rate zipped to it."""
    found = {axis for variant in target.tested for axis in variant.labels if "model" in axis.split(".")}
    for axis in {axis for variant in target.tested for axis in variant.labels} - found:
        by_size: dict[int, set[str]] = {}
        for variant in target.tested:
            by_size.setdefault(variant.parameters, set()).add(variant.labels.get(axis, ""))
        if all(len(values) == 1 for values in by_size.values()) and len(set().union(*by_size.values())) > 1:
            found.add(axis)
    return found


def _form(variant: Variant) -> Match:
    return variant.matched if variant.points else variant.readoff


def _form_name(target: Target) -> str:
    return "schedule-matched reruns" if any(variant.points for variant in target.tested) else "read-off"


def _differences(axes: Any, members: Sequence[tuple[float, Variant]], colour: str) -> None:
    known = [(place, variant.difference) for place, variant in members if variant.difference]
    axes.plot([place for place, _ in known], [one.mean for _, one in known], color=colour, zorder=3)
    for place, one in known:
        if one.low is not None and one.high is not None:
            axes.plot([place] * 2, [one.low, one.high], color=colour, lw=1.4, alpha=0.8, zorder=2)
        axes.plot([place], [one.mean], "o", ms=8, color=colour, mec="white", mew=1, zorder=4)


def _fractions(axes: Any, members: Sequence[tuple[float, Variant]], colour: str, missed_at: float) -> None:
    # Only neighbours are joined: a line through a size that missed would claim what was not found.
    previous: tuple[float, float] | None = None
    for place, variant in members:
        match, here = _form(variant), None
        if match.fraction is not None:
            here = (place, match.fraction)
            axes.plot(*here, "o", ms=8, color=colour, mec="white", mew=1, zorder=4)
            if previous:
                axes.plot([previous[0], place], [previous[1], match.fraction], color=colour, zorder=3)
        elif match.state == "not reached":
            axes.plot(place, missed_at, "x", ms=8, mew=2, color=colour, zorder=4)
        previous = here


def _size_axis(axes: Any, places: Sequence[int]) -> None:
    from matplotlib.ticker import NullLocator

    axes.set_xscale("log")
    axes.set_xticks(list(places), [count(place) for place in places])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(places[0] / (places[-1] / places[0]) ** 0.08, places[-1] * (places[-1] / places[0]) ** 0.08)
    axes.set_xlabel("parameters of the model")


# --- both ------------------------------------------------------------------------------------------------------------


def _families(target: Target, place: Callable[[Variant], float | None], beside: Callable[[Variant], str]) -> Families:
    """Variants with a result along the axis, in groups by what else tells them apart."""
    found: Families = {}
    for variant in target.tested:
        where = place(variant)
        if where is not None and variant.final is not None:
            found.setdefault(beside(variant), []).append((where, variant))
    for members in found.values():
        members.sort(key=lambda member: member[0])
    return found


def _hues(families: Families) -> list[str]:
    """A line joins several variants, so it has a colour of its own."""
    return [HUES[index % len(HUES)] for index in range(len(families))]


def _seeds(families: Families) -> str:
    variants = [variant for members in families.values() for _, variant in members]
    return seeds((variant.n for variant in variants), min((variant.one for variant in variants), default="seed"))


def _margin(families: Families) -> float:
    return 0.5 + 0.098 * max([8, *(len(family) for family in families)])
