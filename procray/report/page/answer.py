"""The plain-text ending of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from procray.report.numbers.headline import headline, remarks
from procray.report.numbers.published import at_a_glance, compare
from procray.report.numbers.results import Results, Target, Trouble, Variant
from procray.report.numbers.wording import percent, plural, wrapped
from procray.report.page.cells import final_text, interval_text, level_text, match_text, readoff_text, solved_text
from procray.report.page.gate_table import gate_legend, gate_text
from procray.report.page.grid import MARKS
from procray.report.page.plain import columns, grid_text
from procray.report.page.search_tables import search_grids
from procray.report.page.tables import grids, published_grid, warmups_grid

_ROWS = 14  # of a target's table in the terminal; the report has all
_ROWS_OF_MANY = 6  # of each, where a table across targets follows


def answer(results: Results, page: Path | None = None, more: Sequence[str] = (), width: int = 120) -> str:
    """The ending of `procray sweep` and of `procray report`: plain text.

    Args:
        page: the HTML report, named at the end.
        more: further lines for the end, such as the command that opens the curves.
        width: columns of the terminal, which text and tables keep to where names allow.
    """
    tables = grids(results)
    most = _ROWS_OF_MANY if tables else _ROWS
    lines = [f"{results.title}: {results.phases_done} of {plural(results.phases, 'phase')} done"]
    for target in results.targets:
        lines += ["", target.title, *_wrapped(headline(target), width), "", *_table(target, most, width)]
        lines += [line for remark in remarks(target) for line in _remark(remark, width)]
        lines += gate_text(target, width)
    lines += gate_legend(results.targets, width)
    if warmed := warmups_grid(results):
        lines += ["", *grid_text(warmed, width)]
    for grid in tables:
        lines += ["", *grid_text(grid, width)]
    for grid in search_grids(results):
        lines += ["", *grid_text(grid, width)]
    comparisons = compare(results)
    if comparisons:
        lines += ["", f"Published against measured: {at_a_glance(comparisons)}"]
        lines += grid_text(published_grid(comparisons), width)
    if results.notes:
        lines += ["", *(line for note in results.notes for line in _wrapped(f"Note: {note}.", width))]
    if results.failed or results.skipped:
        lines.append("")
    for word, troubles in (("failed", results.failed), ("skipped", results.skipped[:_ROWS])):
        lines += [line for trouble in troubles for line in _trouble(word, trouble, width)]
    if len(results.skipped) > _ROWS:
        lines.append(f"  ... and {len(results.skipped) - _ROWS} more skipped")
    if page is not None or more:
        lines.append("")
    if page is not None:
        lines.append(f"report: {page}")
    return "\n".join([*lines, *more])


def _wrapped(text: str, width: int) -> list[str]:
    return wrapped(text, width, "  ", "  ")


def _remark(text: str, width: int) -> list[str]:
    return wrapped(text, width, "  - ", "    ")


def _trouble(word: str, trouble: Trouble, width: int) -> list[str]:
    where = f" at step {trouble.step}" if trouble.step is not None and word == "failed" else ""
    said = f"{word}: {trouble.label} [{trouble.phase}]{where}: {trouble.reason or 'no reason recorded'}"
    return wrapped(said, width, rest="  ", long_words=False)


def _against(variant: Variant) -> str:
    mark = f" {MARKS[variant.verdict]}" if variant.verdict in ("better", "worse") else ""
    return f"{interval_text(variant)}{mark}"


def _table(target: Target, most: int, width: int) -> list[str]:
    warmed = target.ranked
    shown = [*target.baselines, *warmed[:most]]
    rows = [["variant", "final", "against baseline (95 %)", "data, read-off", "data, matched"]]
    rows += [[v.short, final_text(v), _against(v), readoff_text(v), match_text(v.matched)] for v in shown]
    if target.level is not None:
        rows[0].append(f"data to {percent(target.level)}")
        for row, variant in zip(rows[1:], shown, strict=True):
            row.append(level_text(target, variant))
    if any(variant.solved for variant in target.variants):
        rows[0].append("solved after")
        for row, variant in zip(rows[1:], shown, strict=True):
            row.append(solved_text(variant))
    lines = columns(rows, width)
    if len(warmed) > most:
        lines.append(f"  ... and {plural(len(warmed) - most, 'more variant')} in the report")
    return lines
