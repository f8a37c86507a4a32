"""Tables as plain text for a terminal of a given width."""

from __future__ import annotations

from collections.abc import Sequence

from procray.report.numbers.wording import wrapped
from procray.report.page.grid import MARKS, Entry, Grid, Row


def grid_text(grid: Grid, width: int) -> list[str]:
    """The lines of a table; columns that do not fit beside each other stand below, with the labels again."""
    rows = grid.rows[: grid.brief]
    labels = len(rows[0].labels) if rows else 1
    lines = wrapped(grid.title, width) if grid.title else []
    lines += columns([list(grid.heads), *(_line(row, i, rows) for i, row in enumerate(rows))], width, labels)
    if len(grid.rows) > len(rows):
        lines.append(f"  ... and {len(grid.rows) - len(rows)} more rows in the report")
    for note in grid.notes:
        indent = "     " if note[:1].isdigit() else "  "
        lines += wrapped(note, width, "  ", indent)
    return lines


def _line(row: Row, index: int, rows: Sequence[Row]) -> list[str]:
    """The cells of a row as text. A label that the row above has too, in a table of several, is left out."""
    labels = list(row.labels)
    if index and len(labels) > 1 and rows[index - 1].labels[0] == labels[0]:
        labels[0] = ""
    return [*labels, *(_text(entry) for entry in row.entries)]


def _text(entry: Entry | None) -> str:
    if entry is None:
        return ""
    return f"{entry.text} {MARKS[entry.verdict]}" if entry.verdict else entry.text


def columns(lines: Sequence[Sequence[str]], width: int, labels: int = 1) -> list[str]:
    """Cells under each other, indented by two; the first `labels` of them stand before every group of columns."""
    found: list[str] = []
    for kept in _fitting(lines, labels, width - 2):
        found += [""] if found else []
        sizes = [max(len(line[i]) for line in lines) for i in kept]
        for line in lines:
            found.append("  " + "  ".join(line[i].ljust(size) for i, size in zip(kept, sizes, strict=True)).rstrip())
    return found


def _fitting(lines: Sequence[Sequence[str]], labels: int, width: int) -> list[list[int]]:
    """Columns in groups that fit into the width, each with the labels in front."""
    sizes = [max(map(len, column)) for column in zip(*lines, strict=True)]
    front = list(range(labels))
    groups: list[list[int]] = []
    room = 0
    for i in range(labels, len(sizes)):
        if not groups or room < sizes[i]:
            groups.append([*front])
            room = width - sum(sizes[k] + 2 for k in front)
        groups[-1].append(i)
        room -= sizes[i] + 2
    return groups or [front]
