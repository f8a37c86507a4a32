"""The numbers of an analysis as tables, for the terminal and the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from procray.model.components import COMPONENTS, PARTS
from procray.report.numbers.inside import Inside, Look
from procray.report.numbers.wording import count, signed

MOST_HEADS = 16  # all heads of a model are listed up to here, beyond it the most telling ones


@dataclass(frozen=True)
class Table:
    """A caption, the names of the columns and rows of text; the first column names the row."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(inside: Inside) -> list[Table]:
    return [heads_table(inside), layers_table(inside), components_table(inside)]


def heads_table(inside: Inside) -> Table:
    """Every head, or those that changed or look most, with entropy and induction of every look."""
    looks, last, start = inside.looks, inside.looks[-1], inside.look("start")
    columns = ["head", *(f"entropy {name}" for name in _names(looks))]
    change = start is not None and start is not last and (start.layers, start.heads) == (last.layers, last.heads)
    columns += ["change"] if change else []
    columns += [f"induction {name}" for name in _names(looks)]
    columns += ["previous", "first", "prefix"]
    every = [(layer, head) for layer in range(last.layers) for head in range(last.heads)]
    shown = every if len(every) <= MOST_HEADS else sorted(_telling(last, start if change else None, every)[:MOST_HEADS])
    rows = []
    for place in shown:
        row = [f"{place[0]}.{place[1]}", *(_at(look, "entropy", place) for look in looks)]
        if change and start is not None:
            row.append(signed(_value(last, "entropy", place) - _value(start, "entropy", place), 2))
        row += [_at(look, "induction", place) for look in looks]
        row += [_at(last, name, place) for name in ("previous", "first", "prefix")]
        rows.append(tuple(row))
    chance = ["alike", *(_chance(look, "entropy") for look in looks), *(["-"] if change else [])]
    chance += [_chance(look, "induction") for look in looks]
    chance += [_chance(last, name) for name in ("previous", "first", "prefix")]
    which = "Heads (layer.head)" if len(shown) == len(every) else f"The {len(shown)} most telling of {len(every)} heads"
    caption = (
        f"{which}: entropy in nats; previous, first and prefix as the {last.role} attends, on {last.data}; "
        f"induction on {last.repeat_text()}; 'alike' is a head that looks everywhere alike."
    )
    return Table(caption, tuple(columns), (*rows, tuple(chance)))


def layers_table(inside: Inside) -> Table:
    """Layer by layer: mean entropy, the strongest heads, norms, how far the weights moved, stable ranks."""
    last, start = inside.looks[-1], inside.look("start")
    columns = ["layer", *(f"entropy {name}" for name in _names(inside.looks)), "previous (head)", "induction (head)"]
    columns += ["attention norm", "moved", "MLP norm", "moved", "stable rank QKV", "MLP"]
    moved = _distances(inside, start)
    rows = []
    for layer in range(last.layers):
        row = [str(layer)]
        for look in inside.looks:
            table = look.score("normalised")
            row.append(f"{_mean(table[layer]):.2f}" if table is not None and layer < len(table) else "-")
        row += [_strongest(last, "previous", layer), _strongest(last, "induction", layer)]
        for component in ("attention", "mlp"):
            norm = next(n["frobenius"] for n in last.norms if (n["component"], n["layer"]) == (component, layer))
            row += [_number(norm), _number(moved.get((component, layer)))]
        for parts in (("q", "k", "v"), PARTS["mlp"]):
            ranks = [s["stable_rank"] for s in last.spectra if s["layer"] == layer and s["part"] in parts]
            row.append(f"{_mean(ranks):.1f}" if ranks else "-")
        rows.append(tuple(row))
    caption = (
        "Layers: mean entropy of the heads as a share of the greatest possible; the head that looks most at the "
        f"previous token and the strongest induction head of the {last.role}; Frobenius norms, and how far from the "
        "start."
    )
    return Table(caption, tuple(columns), tuple(rows))


def components_table(inside: Inside) -> Table:
    """Whole components: norm at the end, and how far from every earlier model."""
    last = inside.looks[-1]
    columns = ["component", "values", "norm", "rms"]
    for distance in inside.distances:
        columns += [f"from {_names(inside.looks)[distance['from']]}", "cosine"]
    rows = []
    for component in COMPONENTS:
        own = [norm for norm in last.norms if norm["component"] == component]
        if not own:
            continue
        values, square = sum(n["values"] for n in own), sum(n["frobenius"] ** 2 for n in own)
        row = [component, count(values), _number(square**0.5), f"{(square / values) ** 0.5:.4f}"]
        for distance in inside.distances:
            entry = next(
                (e for e in distance["entries"] if (e["component"], e["layer"]) == (component, "all")), dict[str, Any]()
            )
            row += [_number(entry.get("relative")), _number(entry.get("cosine"))]
        rows.append(tuple(row))
    gave = [f"{inside.looks[d['from']].title} gave {', '.join(d['carried'])}" for d in inside.distances if d["carried"]]
    caption = "Components: Frobenius norm, root mean square, and the relative distance and cosine to earlier weights"
    return Table(". ".join([caption, *gave]) + ".", tuple(columns), tuple(rows))


def _names(looks: Sequence[Look]) -> list[str]:
    """`parent`, `start`, `end`; several parents are numbered."""
    parents = sum(look.role == "parent" for look in looks)
    return [f"parent {i}" if look.role == "parent" and parents > 1 else look.role for i, look in enumerate(looks, 1)]


def _telling(last: Look, start: Look | None, every: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The heads, those first that look at one place more than an even one would, or whose entropy changed most."""

    def weight(place: tuple[int, int]) -> float:
        found = [
            _value(last, name, place) - (last.chance(name) or 0.0)
            for name in ("previous", "induction")
            if last.score(name) is not None
        ]
        if start is not None:
            found.append(abs(_value(last, "normalised", place) - _value(start, "normalised", place)))
        return max(found)

    return sorted(every, key=weight, reverse=True)


def _value(look: Look, score: str, place: tuple[int, int]) -> float:
    table = look.score(score)
    assert table is not None
    return table[place[0]][place[1]]


def _at(look: Look, score: str, place: tuple[int, int]) -> str:
    table = look.score(score)
    if table is None or place[0] >= len(table) or place[1] >= len(table[0]):
        return "-"
    return f"{table[place[0]][place[1]]:.2f}"


def _chance(look: Look, score: str) -> str:
    value = look.chance(score)
    return "-" if value is None else f"{value:.2f}"


def _strongest(look: Look, score: str, layer: int) -> str:
    table = look.score(score)
    if table is None:
        return "-"
    best = max(range(len(table[layer])), key=lambda head: table[layer][head])
    return f"{table[layer][best]:.2f} ({best})"


def _distances(inside: Inside, start: Look | None) -> dict[tuple[str, int], float | None]:
    if start is None:
        return {}
    return {
        (entry["component"], entry["layer"]): entry["relative"]
        for distance in inside.distances
        if inside.looks[distance["from"]] is start
        for entry in distance["entries"]
    }


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
