"""What `procray analyze` does: looks into models, prints what it found, writes pictures, page and numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from procray.cli.terminal import answer, answer_json, say
from procray.files import may_write
from procray.visible import on_one_line, visible

if TYPE_CHECKING:
    from procray.report.numbers.inside import Inside
    from procray.report.page.analysis_tables import Table
    from procray.store.store import Store


def run_analysis(
    store: Store,
    phases: list[str],
    *,
    step: int | None,
    on: str | None,
    sequences: int | None,
    out: Path | None,
    json: bool,
    command: str,
) -> None:
    """Analyses phases of a store.

    Args:
        phases: as users name them, each with its own mark or none.
        step: of those that have none of their own.
        command: the line that repeats it.
    """
    from procray.report.numbers import analysis, analysis_cache
    from procray.report.page import analysis_page
    from procray.selection.naming import find

    found = [find(text, store) for text in phases]
    named = list(dict.fromkeys((one.phase, step if one.step is None else one.step) for one in found))
    insides = []
    for phase, wanted in named:
        inside = analysis.inspect(store, phase, wanted, on=on, sequences=sequences, say=say)
        if on is None and sequences is None:
            analysis_cache.keep(store, inside)
        insides.append(inside)
    across: list[dict[str, Any]] = []
    notes: list[str] = []
    if len(insides) > 1:
        across, notes = analysis.compare(store, insides, on=on, sequences=sequences, say=say)
    folder = out or analysis_page.folder_of(store, insides, {"on": on, "sequences": sequences})
    written = None
    if may_write(folder):
        say("drawing")
        written = analysis_page.write_analysis(insides, across, notes, folder, command)
    if json:
        answer_json(analysis_page.to_json(insides, across, notes))
        return
    for inside in insides:
        show(inside)
    for note in notes:
        answer(note)
    if written is None:
        answer(f"page: not written: {folder} is not yours to write; `--out FOLDER` writes it elsewhere")
        return
    answer(f"page: {written.page}")
    answer(f"numbers: {written.json}")


def show(inside: Inside) -> None:
    """The tables of one phase on stdout."""
    from rich.console import Console
    from rich.text import Text

    from procray.report.numbers.wording import wrapped
    from procray.report.page.analysis_tables import tables

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=120)
    console.print(Text(on_one_line(inside.label), "bold") + f", step {inside.step} ({inside.phase})", soft_wrap=True)
    for look in inside.looks:
        again = ", made again from its recipe" if look.rebuilt else ""
        console.print(f"  {on_one_line(f'{look.role}: {look.title}')}{again}", soft_wrap=True, markup=False)
    for note in inside.notes:
        console.print(f"  {on_one_line(note)}", soft_wrap=True, markup=False)
    for table in tables(inside):
        console.print()
        console.print("\n".join(wrapped(visible(table.caption), console.width)), markup=False, soft_wrap=True)
        console.print(_rich(table))
    console.print()


def _rich(table: Table) -> Any:
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=None, pad_edge=False)
    for number, name in enumerate(table.columns):
        grid.add_column(Text(name), justify="left" if number == 0 else "right")
    for row in table.rows:
        grid.add_row(*(Text(on_one_line(cell)) for cell in row))
    return grid
