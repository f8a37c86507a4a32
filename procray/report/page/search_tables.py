"""The search of a sweep with `select:` as tables: every setting tried, the chosen ones, and what the search cost."""

from __future__ import annotations

from collections.abc import Sequence

from procray.report.numbers.results import Results
from procray.report.numbers.statistics import Spread
from procray.report.numbers.wording import listing, plural
from procray.report.page.cells import mean_text
from procray.report.page.grid import Entry, Grid, Row
from procray.selection.select import Searched, Tried

CHOSEN = "*"


def search_grids(results: Results) -> list[Grid]:
    """One table a target: variants x settings, the chosen setting marked. None without a search."""
    found = results.search
    if found is None:
        return []
    targets = list(dict.fromkeys(cell.target for cell in found.tried))
    return [_grid(target, found, len(targets) > 1) for target in targets]


def _grid(target: str, found: Searched, several: bool) -> Grid:
    tried = [cell for cell in found.tried if cell.target == target]
    variants = list(dict.fromkeys(cell.variant for cell in tried))
    labels = list(dict.fromkeys(cell.label for cell in tried))
    cells = {(cell.variant, cell.label): cell for cell in tried}
    unit = "accuracy, %" if tried[0].metric == "accuracy" else "loss, nats"
    rows = []
    for variant in variants:
        name = variant.removeprefix(f"{target}/") if target else variant
        entries = [_entry(cells[variant, label]) if (variant, label) in cells else None for label in labels]
        rows.append(Row((name,), tuple(entries)))
    axes = listing([name.removeprefix(f"targets.{target}.") for name in found.axes if _concerns(name, tried)])
    seeds = listing([str(seed) for seed in found.seeds])
    return Grid(
        f"search-{target}" if target else "search",
        f"{f'{target}: s' if several else 'S'}ettings searched ({axes}) on the tuning data, {unit}, "
        f"{'mean ± sd of seeds' if len(found.seeds) > 1 else 'seed'} {seeds}",
        ("variant", *labels),
        tuple(rows),
        tuple(_notes(tried, variants)),
    )


def _concerns(name: str, tried: Sequence[Tried]) -> bool:
    return any(name in cell.setting for cell in tried)


def _entry(cell: Tried) -> Entry:
    seeds = f"{cell.n} of {plural(cell.planned, 'seed')}"
    if cell.mean is None:
        return Entry(cell.state, "", (cell.reason or seeds,))
    text = mean_text(cell.metric, Spread(cell.mean, cell.sd, cell.n))
    if cell.state != "done":
        text += f" ({cell.state}, {cell.n} of {cell.planned})"
    return Entry(f"{text} {CHOSEN}" if cell.chosen else text, "", (cell.reason or seeds,))


def _notes(tried: Sequence[Tried], variants: Sequence[str]) -> list[str]:
    chosen = [cell for cell in tried if cell.chosen]
    notes = [f"{CHOSEN} chosen: the best mean over the tuning seeds. " + _budget(tried, variants)]
    at_edge: dict[str, list[str]] = {}
    for cell in chosen:
        for edge in cell.edges:
            at_edge.setdefault(edge, []).append(cell.variant)
    for edge, names in at_edge.items():
        notes.append(f"{listing(names)}: {edge} of the values tried; a better one may lie beyond the edge.")
    failed = [cell for cell in tried if cell.state == "failed"]
    if failed:
        notes.append("Failed, so never chosen: " + "; ".join(f"{cell.variant}/{cell.label}" for cell in failed) + ".")
    without = [variant for variant in variants if not any(cell.variant == variant for cell in chosen)]
    if without and all(cell.state != "pending" for cell in tried):
        notes.append(f"Not run with the sweep's seeds, because no setting survived: {listing(without)}.")
    elif without:
        notes.append(f"Still searched: {listing(without)}.")
    return notes


def _budget(tried: Sequence[Tried], variants: Sequence[str]) -> str:
    """The runs that each arm got, and whether they are equal."""
    runs = {v: [cell.planned for cell in tried if cell.variant == v] for v in variants}
    base = [v for v in variants if any(cell.variant == v and cell.is_baseline for cell in tried)]
    warm = [v for v in variants if v not in base]

    def said(names: Sequence[str]) -> str:
        counts = sorted({len(runs[v]) for v in names})
        settings = plural(counts[0], "setting") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} settings"
        return f"{settings} x {plural(runs[names[0]][0], 'seed')}"

    text = f"Budget: {said(base)} for the baseline" if base else "Budget:"
    if warm:
        each = "each of " if len(warm) > 1 else ""
        text += f", {said(warm)} for {each}{plural(len(warm), 'warmed-up variant')}"
    equal = len({len(settings) for settings in runs.values()}) == 1
    return text + ("." if equal else ". The arms did not get the same search.")
