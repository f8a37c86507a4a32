"""The tables of the page, as HTML; every text from outside is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from procray.palette import colours
from procray.report.numbers.published import Comparison, at_a_glance, effect_text, measured_text, published_text
from procray.report.numbers.results import Match, Results, Target, Variant
from procray.report.numbers.runs import Curve, mean_curve
from procray.report.numbers.warmups import Warmup
from procray.report.numbers.wording import count, percent
from procray.report.page.cells import (
    ends_text,
    final_text,
    interval_text,
    level_text,
    match_text,
    readoff_text,
    solved_text,
)
from procray.report.page.grid import MARKS, Entry, Grid
from procray.report.page.tables import warmups_grid


def variants_html(target: Target) -> str:
    level = target.level
    unit = "accuracy" if target.metric == "accuracy" else "loss"
    heads = [
        ("variant", ""),
        ("T1", "procedural tokens before it"),
        ("seeds", "finished of planned"),
        (f"final {unit}", "mean ± standard deviation over seeds"),
        ("perplexity", "exp of the mean final loss") if target.metric == "loss" else ("loss", "mean final loss"),
        ("against baseline", _against_hint(target)),
    ]
    if level is not None:
        heads.append((f"to {percent(level)}", "tokens until the level, as a fraction of the baseline's"))
    if any(variant.solved for variant in target.variants):
        heads.append(("solved after", "tokens after which training stopped, the task being solved (k/n seeds)"))
    heads += [
        ("read-off", "data fraction and tokens where the full-length curve reaches the baseline's level (k/n seeds)"),
        (
            "matched",
            "data fraction and tokens from reruns with own schedules, of the baseline's best budget (k/n seeds)",
        ),
        ("total", "procedural and other tokens together, as a fraction of the baseline's: read-off / matched"),
        ("unique", "distinct tokens, as a fraction of the baseline's: read-off / matched"),
        ("FLOPs", "with the warm-up's, as a fraction of the baseline's: read-off / matched"),
    ]
    shades = colours(variant.name for variant in target.variants)
    rows = [*target.baselines, *target.ranked]
    head = "".join(f'<th title="{escape(hint, quote=True)}">{escape(name)}</th>' for name, hint in heads)
    body = "".join(_row(target, variant, shades[variant.name]) for variant in rows)
    return (
        f'<div class="scroll"><table><caption>Every planned variant of {escape(target.title)}, best first, and last '
        f"what lost seeds or has not finished. Bold: better or worse than the baseline by a test at 5 % for the whole "
        f"table (Holm&#39;s correction).</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _against_hint(target: Target) -> str:
    if target.all_or_nothing:
        return "runs that left the plateau, of the planned ones, with the 95 % interval of Clopper and Pearson"
    return "mean of the differences seed by seed, with its 95 % t-interval"


def _row(target: Target, variant: Variant, colour: str) -> str:
    readoff, matched = variant.readoff, variant.matched
    second = f"{variant.perplexity:.2f}" if variant.perplexity is not None else "-"
    if target.metric == "accuracy":
        second = f"{variant.final_loss.mean:.3f}" if variant.final_loss else "-"
    mark = {"better": " class='better'", "worse": " class='worse'"}.get(variant.verdict, "")
    cells = [
        f"<td>{escape(text)}</td>"
        for text in (count(variant.t1), f"{variant.n} of {len(variant.runs)}", final_text(variant, seeds=False), second)
    ]
    ends = f"<small>{escape(ends_text(variant))}</small>" if target.all_or_nothing else ""
    cells.append(f"<td{mark}>{escape(interval_text(variant))}{ends}</td>")
    if target.level is not None:
        cells.append(f"<td>{escape(level_text(target, variant))}</td>")
    if any(other.solved for other in target.variants):
        cells.append(f"<td>{escape(solved_text(variant))}</td>")
    cells += [
        f"<td>{escape(text)}</td>"
        for text in (
            _crossing(readoff, readoff_text(variant)),
            _crossing(matched, match_text(matched)),
            _both(readoff.total_fraction, matched.total_fraction),
            _both(readoff.unique_fraction, matched.unique_fraction),
            _both(readoff.flops_fraction, matched.flops_fraction),
        )
    ]
    # The column of seeds says what is partial.
    named = variant.n == 0 or variant.lost
    state = f' <span class="state">{escape(variant.state)}</span>' if named else ""
    return (
        f'<tr{" class=base" if variant.is_baseline else ""}><th scope="row"><span class="chip" '
        f'style="background:{colour}"></span>{escape(variant.short)}{state}</th>{"".join(cells)}</tr>'
    )


def _crossing(match: Match, text: str) -> str:
    """`53 % [50, 56] · 798k (3/3)`."""
    if match.tokens is None:
        return text
    share, bracket, seeds = text.partition(" (")
    return f"{share} · {count(match.tokens)}{bracket}{seeds}"


def _both(readoff: float | None, matched: float | None) -> str:
    if readoff == matched:
        return "-" if readoff is None else percent(readoff)
    return " / ".join("-" if share is None else percent(share) for share in (readoff, matched))


_FOLDED_FROM = 40  # rows: a longer table would push the rest of the page away


def grid_html(grid: Grid) -> str:
    """A table across variants: the value with its mark, and below it the interval and what else is known."""
    labels = len(grid.rows[0].labels) if grid.rows else 1
    head = "".join(
        f"<th{' class=label' if i < labels else ''}>{escape(name)}</th>" for i, name in enumerate(grid.heads)
    )
    body = []
    for i, row in enumerate(grid.rows):
        new = labels == 1 or i == 0 or grid.rows[i - 1].labels[0] != row.labels[0]
        names = "".join(f'<th scope="row">{escape(name) if j or new else ""}</th>' for j, name in enumerate(row.labels))
        group = " class=group" if labels > 1 and new and i else ""
        body.append(f"<tr{group}>{names}{''.join(map(_entry_html, row.entries))}</tr>")
    notes = " ".join(escape(note) for note in grid.notes)
    table = (
        f'<div class="scroll"><table class="grid"><caption><b>{escape(grid.title)}.</b> {notes}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )
    if len(grid.rows) <= _FOLDED_FROM or grid.name == "modes":
        return table
    return f"<details><summary>{escape(grid.title)}: {len(grid.rows)} rows</summary>{table}</details>"


def _entry_html(entry: Entry | None) -> str:
    if entry is None:
        return "<td></td>"
    mark = f' <span title="{entry.verdict}">{MARKS[entry.verdict]}</span>' if entry.verdict else ""
    details = "".join(f"<small>{escape(detail)}</small>" for detail in entry.details)
    known = f' class="{entry.verdict}"' if entry.verdict in ("better", "worse") else ""
    return f"<td{known}><span>{escape(entry.text)}{mark}</span>{details}</td>"


def warmups_html(results: Results) -> str:
    """The table of the warm-ups, each with its curves."""
    grid = warmups_grid(results)
    if grid is None:
        return ""
    drawn = "".join(
        f"<figure class='spark'><figcaption>{escape(one.name)}: loss from {escape(ends[0])} to {escape(ends[1])}"
        f"</figcaption>{spark}</figure>"
        for one in results.warmups
        if (ends := _ends(one)) and (spark := _spark([run.curve for run in one.runs if len(run.curve.tokens) > 1]))
    )
    return (
        f"{grid_html(grid)}<details open><summary>Their curves: validation loss by tokens, one line a seed</summary>"
        f"{drawn}</details>"
    )


def _ends(one: Warmup) -> tuple[str, str] | None:
    _, values = mean_curve([run.curve for run in one.runs if run.curve.tokens], "loss")
    return (f"{values[0]:.3f}", f"{values[-1]:.3f}") if values else None


def _spark(curves: Sequence[Curve]) -> str:
    """Lines without axes, in a box of 240 x 60."""
    points = [(t, v) for curve in curves for t, v in zip(curve.tokens, curve.loss, strict=True) if v == v]
    if not points:
        return ""
    most, low, high = max(t for t, _ in points) or 1, min(v for _, v in points), max(v for _, v in points)
    height = (high - low) or 1.0
    lines = "".join(
        '<polyline fill="none" stroke="currentColor" stroke-opacity="0.6" points="'
        + " ".join(
            f"{2 + 236 * t / most:.1f},{58 - 56 * (v - low) / height:.1f}"
            for t, v in zip(curve.tokens, curve.loss, strict=True)
            if v == v
        )
        + '"/>'
        for curve in curves
    )
    return f'<svg class="spark" width="240" height="60" viewBox="0 0 240 60" role="img">{lines}</svg>'


_VERDICT_CLASS = {"reproduced": "good", "not reproduced": "bad", "not comparable": "wait"}


def published_html(comparisons: Sequence[Comparison]) -> str:
    """What is published beside what was measured, with the evidence of both."""
    rows = "".join(
        f"<tr><th scope='row'>{escape(c.quantity.replace('_', ' '))}<small>{escape(c.variant or c.target)}</small></th>"
        f"<td>{escape(published_text(c))}<small>{escape(c.source)}</small><small>{escape(c.strength)}</small></td>"
        f"<td>{escape(measured_text(c))}<small>{escape(effect_text(c))}</small></td>"
        f"<td><b class='{_VERDICT_CLASS[c.verdict]}'>{escape(c.verdict)}</b><small>{escape(c.reason)}</small>"
        f"{f'<small>{escape(c.note)}</small>' if c.note else ''}</td></tr>"
        for c in comparisons
    )
    return (
        f"<p>{escape(at_a_glance(comparisons))}. Reproduced: our mean lies within the tolerance, and the 95 % interval "
        f'of the effect excludes no effect.</p><div class="scroll"><table class="words"><thead><tr>'
        f"<th>quantity</th><th>published ± tolerance, source, strength of its evidence</th>"
        f"<th>here: mean ± sd, effect with 95 % interval</th><th>verdict</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )
