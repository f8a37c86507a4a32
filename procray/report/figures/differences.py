"""Final differences from the baseline, one row a variant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from procray.palette import BLACK
from procray.report.figures.canvas import FAINT, Picture, finish, readable, sheet
from procray.report.figures.lines import delta_text, metric_name
from procray.report.numbers.results import Target, Variant
from procray.report.numbers.wording import seeds


def final(target: Target, palette: dict[str, str], name: str, where: str) -> Picture:
    """One row a variant, best at the top: mean, 95 % interval and every seed; unfinished cells say so."""
    sign = 1 if target.mode == "min" else -1
    known = sorted((v for v in target.warmed if v.difference), key=lambda v: sign * (v.difference.mean))  # type: ignore[union-attr]
    unknown = [variant for variant in target.warmed if not variant.difference]
    rows = [*known, *unknown]
    scale = 100 if target.metric == "accuracy" else 1
    title = f"{target.title}: final {metric_name(target)} against the baseline"
    crossed = any(variant.one == "run" for variant in known)
    pairs = seeds((v.difference.n for v in known if v.difference), "donor" if crossed else "seed")
    dots = f"small dots: single {'runs' if crossed else 'seeds'}"
    subtitle = f"{where} · mean difference of {pairs}, paired, with 95 % t-interval; {dots}"
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
            seeds_x = [scale * value for value in target.seed_differences(variant)]
            axes.plot(seeds_x, [row + 0.24] * len(seeds_x), "o", ms=4.5, color=colour, alpha=0.5, mew=0, zorder=2)
            if difference.low is not None and difference.high is not None:
                axes.plot(
                    [scale * difference.low, scale * difference.high], [row, row], color=colour, lw=2.2,
                    solid_capstyle="butt", zorder=3,
                )  # fmt: skip
            axes.plot([scale * difference.mean], [row], "o", ms=8.5, color=colour, mec="white", mew=1, zorder=4)
            number = axes.annotate(
                delta_text(target, difference.mean), (1.0, row), xycoords=("axes fraction", "data"), xytext=(10, 0),
                textcoords="offset points", va="center", fontsize=11, color=readable(colour), annotation_clip=False,
                fontweight="bold" if variant.verdict in ("better", "worse") else "normal",
            )  # fmt: skip
            number.set_in_layout(False)
        axes.set_yticks(range(len(rows)), [variant.short for variant in rows])
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.spines["left"].set_visible(False)
        cut = _focus(axes, known, scale)
        for row, variant in enumerate(known):
            for side in cut.get(variant.name, ()):
                _arrow(axes, row, side, palette[variant.name])
        if target.metric == "accuracy":
            axes.set_xlabel("difference in final accuracy (percentage points; to the right is better)")
        else:
            axes.set_xlabel("difference in final validation loss (nats per token; to the left is better)")
        caption = (
            f"Final {metric_name(target)} of every variant minus the same seed's baseline on {target.title}; dots are "
            f"means of {pairs} with 95 % t-intervals, each by itself. An interval that includes zero shows no "
            f"difference; numbers in bold are better or worse by a test at 5 % for the whole table."
        )
        if cut:
            caption += " An interval that ends in an arrow goes on beyond the axis; the table has its ends."
        return finish(figure, name, target.name, title, caption)


def _arrow(axes: Any, row: int, side: int, colour: str) -> None:
    """Marks the end of an interval that the edge of the axis cuts off; `side` is -1 on the left."""
    axes.plot(
        [0.0 if side < 0 else 1.0], [row], marker="<" if side < 0 else ">", ms=9, color=colour, mew=0,
        transform=axes.get_yaxis_transform(), clip_on=False, zorder=5, gid="cut",
    )  # fmt: skip


def _focus(axes: Any, variants: Sequence[Variant], scale: float) -> dict[str, list[int]]:
    """Limits from the means and seeds; an interval of few seeds may be so wide that it would hide everything.

    Returns:
        By variant, on which sides its interval is cut off: -1 left, 1 right.
    """
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
    low, high = low - pad, high + pad
    axes.set_xlim(low, high)
    cut: dict[str, list[int]] = {}
    for variant in variants:
        if variant.difference is None or variant.difference.low is None or variant.difference.high is None:
            continue
        beyond = ((-1, scale * variant.difference.low < low), (1, scale * variant.difference.high > high))
        if sides := [side for side, is_beyond in beyond if is_beyond]:
            cut[variant.name] = sides
    return cut
