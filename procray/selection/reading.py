"""Which plan a command that shows results reads: the file's own, or one that was run, where the texts are others now.

Results need no corpus. A sweep file names texts by where they lie, and what lies there may be gone or changed since:
then the file alone cannot say any more which phases were meant, but the plans that were run can.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from procray import corpora
from procray.errors import SpecError, StoreError
from procray.files import digest
from procray.planning import load_sweep
from procray.planning.plan import Plan, title
from procray.planning.plan_json import read_plan
from procray.redaction import redacted
from procray.selection import select
from procray.selection.former import changed_files
from procray.spec.load import load_scales, read_text
from procray.store.plans import StoredPlan, named

if TYPE_CHECKING:
    from procray.store.store import Store
    from procray.training.recipe import PhaseRecipe

_FILES = (".yaml", ".yml")


@dataclass(frozen=True)
class Reading:
    """The plan to show. `note` is for whoever asked for the file, where it is not the file's own or was never run."""

    plan: Plan
    file: str  # the sweep file, as far as one is known
    note: str = ""


def read(what: str, scale: str | None, settings: list[str] | None, store: Store) -> Reading:
    """The plan that a user means who asks for results.

    Args:
        what: a sweep file; or a plan of the store: its digest, the beginning of one, or a title.
        scale, settings: `--scale` and `--set`, of a file.

    Raises:
        SpecError: everything that is wrong with the file, where it is more than texts that are not here, or nothing
            of this title was run.
        StoreError: neither a file nor a plan, or a plan with settings.
    """
    if is_file(what):
        return _of_file(what, scale, settings, store)
    try:
        meant = named(store.plans(), what, str(store))
    except StoreError as error:
        raise StoreError(f"there is no file '{what}', and {error}") from None
    stored = next(plan for plan in meant if plan.newest or len(meant) == 1)
    if scale is not None or settings:
        raise StoreError(
            f"'{what}' is a plan of the store, which is shown as it was run; --scale and --set are of files"
        )
    plan = read_plan(stored.path)
    return Reading(plan, plan.file)


def is_file(what: str) -> bool:
    """Whether a user means a sweep file, be it there or not."""
    return os.path.isfile(what) or what.endswith(_FILES)


def is_plan(what: str, store: Store) -> bool:
    """Whether it is the title or the whole digest of a plan of the store."""
    return any(what in (plan.title, plan.digest, f"{plan.title}/{plan.digest}") for plan in store.plans())


def _of_file(file: str, scale: str | None, settings: list[str] | None, store: Store) -> Reading:
    try:
        spec = load_sweep(file, scale=scale, set=settings or [])
    except SpecError as error:
        if not all(problem.not_here for problem in error.problems):
            raise
        if (found := _without_texts(file, scale, settings, store)) is None:
            raise
        return found
    plan = select.staged(spec, store)
    run = store.plans(plan.title)
    if not run or any(stored.digest == plan.digest for stored in run):
        return Reading(plan, file)
    run = _newest_first(run)
    plans = ((one, read_plan(one.path)) for one in run)
    same = next(((one, it) for one, it in plans if same_but_for_texts(plan, it)), None)
    if same is None:
        note = (
            f"this plan was never run; of {plan.title}, plan {_named(run[0])} was run last, and is shown by its digest"
        )
        return Reading(plan, file, note)
    stored, former = same
    changes = _changed_texts(plan, former, store)
    why = "this version of procray names its phases otherwise" if changes is None else f"its texts changed: {changes}"
    note = f"{why}; showing the results of plan {_named(stored)}. Running the sweep would be a new result"
    return Reading(former, file, note)


def _without_texts(file: str, scale: str | None, settings: list[str] | None, store: Store) -> Reading | None:
    """The plan that was run last of a file whose texts are not here, if any was."""
    spec = load_scales(read_text(file), file, scale, settings or [], file)[0][0].spec
    run = store.plans(title(spec.name, spec.scale, spec.settings))
    if not run:
        return None
    resolved = redacted(spec.resolved)
    plans = [(stored, read_plan(stored.path)) for stored in _newest_first(run)]
    same = [(stored, plan) for stored, plan in plans if plan.spec == resolved]
    stored, plan = (same or plans)[0]
    changed = "" if same else ", and the file has changed since"
    note = f"the files that this sweep names are not here{changed}; showing the results of plan {_named(stored)}"
    return Reading(plan, file, note)


def _newest_first(run: list[StoredPlan]) -> list[StoredPlan]:
    return sorted(run, key=lambda stored: (not stored.newest, -stored.written))


def _named(stored: StoredPlan) -> str:
    return f"{stored.digest} of {time.strftime('%Y-%m-%d %H:%M', time.localtime(stored.written))}"


# -- what is the same but for its texts -----------------------------------------------------------------------


def same_but_for_texts(plan: Plan, former: Plan) -> bool:
    """Whether two plans train and read the same, but for what the files of their texts hold.

    A sweep with `select:` that has not been searched with the texts of today is compared with the search of before.
    """
    here, there = _names(plan), _names(former)
    if plan.then is None:
        return list(_lines(plan, here)) == list(_lines(former, there))
    trained = {(here[phase.id], *phase.marks) for phase in plan.phases.values()}
    searched = [_trials(plan, here), _trials(former, there)]
    return searched[0] == searched[1] and trained <= {(there[one.id], *one.marks) for one in former.phases.values()}


def _names(plan: Plan) -> dict[str, str]:
    """By id, a digest of what a phase is and of all that it descends from, but for the texts' files."""
    found: dict[str, str] = {}
    for phase in plan.phases.values():  # parents come before children
        value = {**phase.recipe.meaning(), "data": _without_content(phase.recipe)}
        found[phase.id] = digest([_renamed(value["init"], found), {**value, "init": None}], 16)
    return found


def _renamed(init: Any, names: dict[str, str]) -> Any:
    if isinstance(init, dict):
        return {key: names.get(part, part) if key == "phase" else _renamed(part, names) for key, part in init.items()}
    return [_renamed(part, names) for part in init] if isinstance(init, list) else init


def _without_content(recipe: PhaseRecipe) -> dict[str, Any]:
    data = corpora.identity(recipe.data)
    if "content" not in data.get("corpus", {}):
        return data
    left_out = ("content", "files", "validation", "base")
    return {**data, "corpus": {key: value for key, value in data["corpus"].items() if key not in left_out}}


def _lines(plan: Plan, names: dict[str, str]) -> Iterator[tuple[Any, ...]]:
    """As for the plan's digest."""
    for phase in plan.phases.values():
        yield names[phase.id], *phase.marks
    for cell in plan.cells:
        yield cell.variant, cell.seed, names[cell.compared], cell.step, cell.baseline, cell.fraction
    yield from _trials(plan, names)


def _trials(plan: Plan, names: dict[str, str]) -> list[tuple[Any, ...]]:
    return [(one.variant, one.label, one.seed, names[one.compared], one.step) for one in plan.trials]


def _changed_texts(plan: Plan, former: Plan, store: Store) -> str | None:
    """What changed in the texts' files, by name; None where nothing did."""
    changed = changed_files(store)
    before = {_contents(phase.recipe): phase.recipe for phase in former.phases.values()}
    by_name = {name: former.phases[id].recipe for id, name in _names(former).items()}
    found: dict[str, None] = {}
    for id, name in _names(plan).items():
        recipe = plan.phases[id].recipe
        if _contents(recipe) not in before and name in by_name:
            found[changed(by_name[name], recipe) or f"{corpora.title(recipe.data)} holds something else"] = None
    return "; ".join(found) or None


def _contents(recipe: PhaseRecipe) -> Any:
    return recipe.data.get("corpus", {}).get("content")
