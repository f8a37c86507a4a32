"""The plain-text ending of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from procray.report.cells import best_first, final_text, interval_text, level_text, match_text
from procray.report.headline import headline
from procray.report.results import Results, Target, Trouble
from procray.report.wording import percent, plural

_ROWS = 14  # of a table in the terminal; the report has all


def answer(results: Results, page: Path | None = None, more: Sequence[str] = ()) -> str:
    """The ending of `procray sweep` and of `procray report`: plain text, at most 120 columns wide where names allow.

    Args:
        page: the HTML report, named at the end.
        more: further lines for the end, such as the command that opens the curves.
    """
    lines = [f"{results.sweep}@{results.scale}: {results.phases_done} of {plural(results.phases, 'phase')} done"]
    for target in results.targets:
        lines += ["", target.title, "  " + headline(target), "", *_table(target)]
    if results.failed or results.skipped:
        lines.append("")
    lines += [_trouble("failed", trouble) for trouble in results.failed]
    lines += [_trouble("skipped", trouble) for trouble in results.skipped[:_ROWS]]
    if len(results.skipped) > _ROWS:
        lines.append(f"  ... and {len(results.skipped) - _ROWS} more skipped")
    if page is not None or more:
        lines.append("")
    if page is not None:
        lines.append(f"report: {page}")
    return "\n".join([*lines, *more])


def _trouble(word: str, trouble: Trouble) -> str:
    where = f" at step {trouble.step}" if trouble.step is not None and word == "failed" else ""
    return f"{word}: {trouble.label} [{trouble.phase}]{where}: {trouble.reason or 'no reason recorded'}"


def _table(target: Target) -> list[str]:
    warmed = sorted(target.warmed, key=best_first(target))
    shown = [*target.baselines, *warmed[:_ROWS]]
    rows = [["variant", "final", "against baseline (95 %)", "data, read-off", "data, matched"]]
    rows += [[v.short, final_text(v), interval_text(v), match_text(v.readoff), match_text(v.matched)] for v in shown]
    if target.level is not None:
        rows[0].append(f"data to {percent(target.level)}")
        for row, variant in zip(rows[1:], shown, strict=True):
            row.append(level_text(target, variant))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    if len(warmed) > _ROWS:
        lines.append(f"  ... and {len(warmed) - _ROWS} more variants in the report")
    return lines
