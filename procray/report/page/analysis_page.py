"""`procray analyze` as files: one HTML page that loads nothing, the pictures, and every number as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from procray.files import digest, write_atomic, write_json
from procray.report.figures.canvas import Picture
from procray.report.numbers.analysis_cache import VERSION
from procray.report.numbers.inside import Inside
from procray.report.numbers.wording import count, listing, plural
from procray.report.page.analysis_tables import tables
from procray.report.page.markup import document, figure_html, table_html

if TYPE_CHECKING:
    from procray.store.store import Store


@dataclass(frozen=True)
class Written:
    """Where an analysis stands."""

    folder: Path
    page: Path
    json: Path
    pictures: tuple[Path, ...]


def write_analysis(
    insides: Sequence[Inside],
    across: Sequence[dict[str, Any]],
    notes: Sequence[str],
    folder: Path,
    command: str = "",
) -> Written:
    """Writes `analysis.html`, `analysis.json` and `figures/`; each file is replaced as a whole.

    Args:
        across: CKA of pairs of these phases, as `compare` gives it; notes: what could not be compared.
        command: the line that repeats it.
    """
    from procray.report.figures import inside as draw  # matplotlib only when something is drawn

    drawn: list[tuple[Inside | None, str, list[Picture]]] = []
    if len(insides) > 1:
        side = [(f"{inside.label}@{inside.step}", inside.looks[-1]) for inside in insides]
        where = plural(len(insides), "phase")
        heads = [draw.heads(f"heads-{score}", "", score, side, where) for score in draw.SHOWN]
        drawn.append((None, "", [p for p in heads if p is not None] + draw.similarity("cka", where, across)))
    for number, inside in enumerate(insides, 1):
        drawn.append((inside, f"{number}/" if len(insides) > 1 else "", draw.pictures(inside)))
    pictures = []
    for _, below, own in drawn:
        for picture in own:
            for suffix, content in (("png", picture.png), ("svg", picture.svg)):
                path = folder / "figures" / f"{below}{picture.name}.{suffix}"
                write_atomic(path, content)
                pictures.append(path)
    write_json(folder / "analysis.json", to_json(insides, across, notes))
    sections = [_section(inside, own, below) for inside, below, own in drawn]
    write_atomic(folder / "analysis.html", _page(insides, sections, notes, command))
    return Written(folder, folder / "analysis.html", folder / "analysis.json", tuple(pictures))


def to_json(insides: Sequence[Inside], across: Sequence[dict[str, Any]], notes: Sequence[str]) -> dict[str, Any]:
    """Every number: `{"version", "phases", "cka", "notes"}`."""
    phases = [inside.to_json() for inside in insides]
    return {"version": VERSION, "phases": phases, "cka": list(across), "notes": list(notes)}


def folder_of(store: Store, insides: Sequence[Inside], options: dict[str, Any]) -> Path:
    """Where an analysis goes that nobody gave a folder: below `analysis/` of the store.

    One phase has `<id>@<step>`; several, and other options than the usual ones, a name of their own.
    """
    names = [f"{inside.phase}@{inside.step}" for inside in insides]
    asked = {key: value for key, value in options.items() if value is not None}
    name = names[0] if len(names) == 1 else f"{len(names)}-phases-{digest(names, 8)}"
    return store.path / "analysis" / (f"{name}-{digest(asked, 8)}" if asked else name)


def _section(inside: Inside | None, pictures: Sequence[Picture], below: str) -> str:
    figures = "".join(figure_html(picture, below, scroll=True) for picture in pictures)
    if inside is None:
        return f"<section><h2>Side by side</h2>{figures}</section>" if figures else ""
    last = inside.looks[-1]
    facts = (
        f"{inside.kind}, {plural(last.layers, 'layer')} of {plural(last.heads, 'head')}, width {last.width}, "
        f"{count(last.parameters)} parameters; id {inside.phase}, step {inside.step}."
    )
    rebuilt = [look for look in inside.looks if look.rebuilt]
    notes = [facts]
    if rebuilt:
        notes.append(
            f"The start was not kept: {rebuilt[0].title} is drawn again from the phase's seed"
            f"{', with what its parents gave' if inside.look('parent') else ''}."
        )
    notes += inside.notes
    listed = "".join(f"<li>{escape(note)}</li>" for note in notes)
    body = "".join(table_html(table) for table in tables(inside))
    return f'<section><h2>{escape(inside.label)}</h2><ul class="remarks">{listed}</ul>{body}{figures}</section>'


def _page(insides: Sequence[Inside], sections: Sequence[str], notes: Sequence[str], command: str) -> str:
    title = "Inside " + listing([inside.label for inside in insides[:3]] + (["others"] if len(insides) > 3 else []))
    listed = "".join(f"<li>{escape(note)}</li>" for note in notes)
    again = f"<section><h2>Again</h2><pre>{escape(command)}</pre></section>" if command else ""
    return document(
        title,
        f'<header><p class="kind">{escape(title)}</p></header>'
        + (f'<ul class="remarks">{listed}</ul>' if listed else "")
        + "\n".join(section for section in sections if section)
        + f"\n{again}",
    )
