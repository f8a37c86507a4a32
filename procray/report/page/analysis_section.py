"""The part of a sweep's report that shows the insides of its models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import TYPE_CHECKING

from procray.report.figures.canvas import Picture
from procray.report.numbers import analysis_cache
from procray.report.numbers.analysis_choice import Chosen, Inner
from procray.report.numbers.inside import Inside, Look
from procray.report.numbers.results import Results, Target
from procray.report.page.analysis_tables import Table
from procray.report.page.markup import figure_html, table_html

if TYPE_CHECKING:
    from procray.store.store import Store


def section(inner: Inner, results: Results, store: Store) -> tuple[str, list[Picture]]:
    """The section's HTML, empty where there is nothing to say, and its pictures."""
    if not inner.chosen:
        return "", []
    from procray.report.figures.inside import heads

    body: list[str] = []
    drawn: list[Picture] = []
    for target in results.targets:
        shown = []
        for one in inner.chosen:
            if one.target == target.name and (one.phase, one.step) in inner.known:
                inside = analysis_cache.cached(store, one.phase, one.step)
                if inside is not None:
                    shown.append((one, inside))
        if not shown:
            continue
        if len(results.targets) > 1:
            body.append(f"<h3>{escape(target.title)}</h3>")
        body.append(table_html(_table(shown)))
        suffix = f"-{target.name}" if target.name else ""
        looks = [(one.variant.short, inside.looks[-1]) for one, inside in shown]
        for score in ("normalised", "previous", "induction"):
            picture = heads(f"inside-{score}{suffix}", target.name, score, looks, _where(results, target))
            if picture is not None:
                drawn.append(picture)
                body.append(figure_html(picture, scroll=True))
    notes = "".join(f"<li>{escape(note)}</li>" for note in inner.notes)
    said = (
        "<p>Where the heads look and how large the weights are at the end of training, in one finished seed of each "
        "variant. Heads have no order of their own: head 3 of one model is not head 3 of another that began "
        "elsewhere.</p>"
        if body
        else ""
    )
    listed = f'<ul class="remarks">{notes}</ul>' if notes else ""
    return f'<section id="inside"><h2>Inside the models</h2>{said}{listed}{"".join(body)}</section>', drawn


def _where(results: Results, target: Target) -> str:
    place = results.title
    return f"{place}, {target.title}" if len(results.targets) > 1 else place


def _table(shown: Sequence[tuple[Chosen, Inside]]) -> Table:
    columns = [
        "variant", "seed", "entropy start", "end", "lowest head", "previous", "induction parent", "end",
        "attention norm", "moved", "MLP norm", "moved", "layernorm", "embeddings",
    ]  # fmt: skip
    rows = []
    for one, inside in shown:
        last, start = inside.looks[-1], inside.look("start")
        parents = [look for look in inside.looks if look.role == "parent"]
        moved = {
            entry["component"]: entry["relative"]
            for distance in inside.distances
            if inside.looks[distance["from"]] is start
            for entry in distance["entries"]
            if entry["layer"] == "all"
        }
        row = [one.variant.short, str(one.seed), _mean(start), _mean(last), _extreme(last, "normalised", min)]
        row += [_extreme(last, "previous", max)]
        row += [_extreme(parents[0], "induction", max) if parents else "-", _extreme(last, "induction", max)]
        for component in ("attention", "mlp"):
            row += [_norm(last, component), "-" if moved.get(component) is None else f"{moved[component]:.2f}"]
        row += [_norm(last, component) for component in ("layernorm", "embeddings")]
        rows.append(tuple(row))
    first = shown[0][1].looks[-1]
    even = first.chance("induction")
    caption = (
        f"Entropy: mean over heads, as a share of the greatest possible, on {first.data}. Previous and induction: the "
        f"strongest head (layer.head); looking everywhere alike gives {_plain(first.chance('previous'))} and "
        f"{_plain(even)}. Norms: Frobenius; moved: relative distance from the phase's own start."
    )
    return Table(caption, tuple(columns), tuple(rows))


def _mean(look: Look | None) -> str:
    table = look.score("normalised") if look else None
    if table is None:
        return "-"
    return f"{sum(map(sum, table)) / sum(map(len, table)):.2f}"


def _extreme(look: Look, score: str, pick: Callable[..., tuple[float, int, int]]) -> str:
    table = look.score(score)
    if table is None:
        return "-"
    value, layer, head = pick((value, i, j) for i, row in enumerate(table) for j, value in enumerate(row))
    return f"{value:.2f} ({layer}.{head})"


def _norm(look: Look, component: str) -> str:
    squares = [norm["frobenius"] ** 2 for norm in look.norms if norm["component"] == component]
    return f"{sum(squares) ** 0.5:.3g}" if squares else "-"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
