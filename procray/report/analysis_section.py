"""The part of a sweep's report that looks inside its models: one finished seed of every variant beside the baseline.

Looking costs seconds a model, so it is done when asked for (`procray report FILE --analyze`); what was found is kept
in the store, and later reports show it without being asked.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from procray.errors import ProcrayError
from procray.report import analysis
from procray.report.analysis_tables import Table
from procray.report.canvas import Picture
from procray.report.cells import best_first
from procray.report.results import Results, Target, Variant
from procray.report.wording import count, plural

if TYPE_CHECKING:
    from procray.planning.plan import Plan
    from procray.report.analysis import Inside, Look
    from procray.store.store import Store

MOST_PARAMETERS = 30_000_000  # of a model that a report looks into by itself
MOST_VARIANTS = 8  # of a target, the baseline among them; the best ones


@dataclass(frozen=True)
class Chosen:
    """A finished run of a variant whose model can be looked into."""

    target: str
    variant: Variant
    seed: int
    phase: str
    step: int
    parameters: int


@dataclass(frozen=True)
class Inner:
    """What the section is made of. `key` changes when its content does; `notes` say what is missing and why."""

    chosen: tuple[Chosen, ...]
    known: frozenset[tuple[str, int]]  # of these the store has the numbers
    notes: tuple[str, ...]
    key: tuple[str, ...]


def look_inside(
    results: Results,
    plan: Plan,
    store: Store,
    file: str,
    analyze: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Inner:
    """Finds the models to show, and, if asked, looks into those that nobody has looked into.

    Args:
        file: the sweep file as the user named it.
    """
    chosen = [one for target in results.targets for one in _choose(target, plan, store)]
    notes: list[str] = []
    if analyze:
        for number, one in enumerate(chosen, 1):
            if one.parameters <= MOST_PARAMETERS and not analysis.has_numbers(store, one.phase, one.step):
                say(f"looking inside {one.variant.name} ({number} of {len(chosen)})")
                try:
                    analysis.cached(store, one.phase, one.step, write=True)
                except ProcrayError as error:
                    notes.append(f"{one.variant.name}: {error}")
    known = frozenset((one.phase, one.step) for one in chosen if analysis.has_numbers(store, one.phase, one.step))
    large = [one for one in chosen if one.parameters > MOST_PARAMETERS and (one.phase, one.step) not in known]
    if large:
        names = " ".join(f"{one.phase}@{one.step}" for one in large)
        notes.append(
            f"Models of {count(large[0].parameters)} parameters are not looked into by a report (up to "
            f"{count(MOST_PARAMETERS)}); this does it: procray analyze {names}"
        )
    rest = len(chosen) - len(known) - len(large)
    if rest and not analyze:
        who = "these models" if not known else plural(rest, "model")
        notes.append(f"Nobody has looked inside {who} yet: procray report {shlex.quote(file)} --analyze")
    key = (*(f"{phase}@{step}" for phase, step in sorted(known)), *notes, str(analysis.VERSION))
    return Inner(tuple(chosen), known, tuple(notes), key if chosen else ())


def _choose(target: Target, plan: Plan, store: Store) -> list[Chosen]:
    """The first finished seed of the baselines and of the best variants; nothing where no variant was warmed up."""
    from procray.model import parameters
    from procray.planning.costs import config

    found = []
    for variant in (*target.baselines, *sorted(target.warmed, key=best_first(target))):
        for run in variant.finished:
            if run.phase in plan.phases and store.phase(run.phase).exists_mark(run.last_step):
                phase = plan.phases[run.phase]
                size = parameters(config(phase.recipe.model, phase.vocab, phase.rows))
                found.append(Chosen(target.name, variant, run.seed, run.phase, run.last_step, size))
                break
    return found[:MOST_VARIANTS] if any(not one.variant.is_baseline for one in found) else []


def section(inner: Inner, results: Results, store: Store) -> tuple[str, list[Picture]]:
    """The section's HTML, empty where there is nothing to say, and its pictures."""
    if not inner.chosen:
        return "", []
    from procray.report.analysis_figures import heads
    from procray.report.analysis_page import figure_html, table_html

    body: list[str] = []
    drawn: list[Picture] = []
    for target in results.targets:
        shown = []
        for one in inner.chosen:
            if one.target == target.name and (one.phase, one.step) in inner.known:
                inside = analysis.cached(store, one.phase, one.step)
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
                body.append(figure_html(picture))
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
    place = f"{results.sweep}@{results.scale}"
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
