"""Which models a sweep's report looks into: one finished seed of every variant beside the baseline.

Looking costs seconds a model, so it is done when asked for (`procray report FILE --analyze`); what was found is kept
in the store, and later reports show it without being asked.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from procray.errors import ProcrayError
from procray.report.numbers import analysis_cache
from procray.report.numbers.results import Results, Target, Variant
from procray.report.numbers.wording import count, plural

if TYPE_CHECKING:
    from procray.planning.plan import Plan
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
            if one.variant.parameters <= MOST_PARAMETERS and not analysis_cache.has_numbers(store, one.phase, one.step):
                say(f"looking inside {one.variant.name} ({number} of {len(chosen)})")
                try:
                    analysis_cache.cached(store, one.phase, one.step, write=True)
                except ProcrayError as error:
                    notes.append(f"{one.variant.name}: {error}")
    known = frozenset((one.phase, one.step) for one in chosen if analysis_cache.has_numbers(store, one.phase, one.step))
    large = [one for one in chosen if one.variant.parameters > MOST_PARAMETERS and (one.phase, one.step) not in known]
    if large:
        names = " ".join(f"{one.phase}@{one.step}" for one in large)
        notes.append(
            f"Models of {count(large[0].variant.parameters)} parameters are not looked into by a report (up to "
            f"{count(MOST_PARAMETERS)}); this does it: procray analyze {names}"
        )
    rest = len(chosen) - len(known) - len(large)
    if rest and not analyze:
        who = "these models" if not known else plural(rest, "model")
        notes.append(f"Nobody has looked inside {who} yet: procray report {shlex.quote(file)} --analyze")
    key = (*(f"{phase}@{step}" for phase, step in sorted(known)), *notes, str(analysis_cache.VERSION))
    return Inner(tuple(chosen), known, tuple(notes), key if chosen else ())


def _choose(target: Target, plan: Plan, store: Store) -> list[Chosen]:
    """The first finished seed of the baselines and of the best variants; nothing where no variant was warmed up."""
    found = []
    for variant in (*target.baselines, *target.ranked):
        for run in variant.finished:
            if run.phase in plan.phases and store.phase(run.phase).exists_mark(run.last_step):
                found.append(Chosen(target.name, variant, run.seed, run.phase, run.last_step))
                break
    return found[:MOST_VARIANTS] if any(not one.variant.is_baseline for one in found) else []
