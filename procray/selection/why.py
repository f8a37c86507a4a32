"""Why a phase would be trained although one of its name was: which settings differ, as the sweep file calls them.

Pure: two plans are compared, nothing is read. `former.py` finds the plans.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from procray.files import canonical_json
from procray.planning.plan import Plan, PlannedPhase
from procray.selection.differences import ChangedFiles, Difference, compare
from procray.training.recipe import PhaseRecipe


@dataclass(frozen=True)
class Retrained:
    """A phase of a plan that a former plan had otherwise.

    Attributes:
        phase, label: as it is now.
        before, name_before: the id and the label that it had.
        differences: in what it says itself.
        parents: labels of the phases it begins with that differ themselves.
        form: where no setting differs: in what its recipe is written down otherwise than before.
    """

    phase: str
    label: str
    before: str
    name_before: str
    differences: tuple[Difference, ...] = ()
    parents: tuple[str, ...] = ()
    form: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def counterparts(plan: Plan, former: Plan, phases: list[PlannedPhase], begun: set[str]) -> dict[str, str]:
    """By phase of a plan, the one of a former plan that it takes the place of.

    That is the one of its label, or else the nearest of the same kind and seed whose label the plan does not have.

    Args:
        phases: those that are looked for.
        begun: the ids that have something in the store.
    """
    gone = [one for one in former.phases.values() if one.id in begun and one.id not in plan.phases]
    by_label = {one.label: one.id for one in reversed(gone)}
    found = {phase.id: by_label[phase.label] for phase in phases if phase.label in by_label}
    if (former.name, former.scale) != (plan.name, plan.scale):
        return found
    labels = {phase.label for phase in plan.phases.values()}
    renamed: dict[tuple[Any, ...], list[tuple[str, dict[str, Any]]]] = {}
    targets_then, targets = _targets(former), _targets(plan)
    for one in gone:
        if one.label not in labels:
            renamed.setdefault(_place(one, former, targets_then), []).append((one.id, _values(one.recipe)))
    for phase in phases:
        if phase.id not in found and (like := renamed.get(_place(phase, plan, targets))):
            values = _values(phase.recipe)
            found[phase.id] = min(like, key=lambda one: _distance(one[1], values))[0]
    return found


def _targets(plan: Plan) -> dict[str, set[str]]:
    """By variant, the targets that have it."""
    found: dict[str, set[str]] = {}
    for cell in plan.cells:
        if cell.target:
            found.setdefault(cell.variant, set()).add(cell.target)
    return found


def _place(phase: PlannedPhase, plan: Plan, targets_of: Mapping[str, set[str]]) -> tuple[Any, ...]:
    """Where a phase stands in the graph: the kinds before it, what it takes from them, its seed and its target."""
    targets = set().union(*(targets_of.get(variant, ()) for variant in phase.variants))
    carried = sorted(word for words in phase.recipe.init.carried().values() for word in words)
    kinds = [plan.phases[parent.phase].kind for parent in phase.parents if parent.phase in plan.phases]
    own = tuple(sorted(targets)) * (phase.kind != "procedural")
    return phase.kind, phase.recipe.seed, tuple(sorted(kinds)), tuple(carried), own


def _values(recipe: PhaseRecipe) -> dict[str, Any]:
    """By dotted path, all that a recipe says but for what it begins with."""
    return dict(_leaves({**recipe.to_json(), "init": None}))


def _distance(here: dict[str, Any], there: dict[str, Any]) -> int:
    """In how many values two recipes differ."""
    return sum(here.get(key) != there.get(key) for key in here.keys() | there.keys())


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _leaves(child, f"{path}.{key}" if path else key)
    else:
        yield path, canonical_json(value)


def explain(
    plan: Plan,
    former: Plan,
    pairs: dict[str, str],
    changed_files: ChangedFiles = lambda before, after: None,
    written: Mapping[str, dict[str, Any]] | None = None,
) -> list[Retrained]:
    """What makes phases of a plan others than those of a former one.

    Args:
        pairs: by id, the id of the phase of `former`; see `counterparts`.
        changed_files: of two recipes of a text.
        written: by id, the recipes of `former` as its plan.json has them, perhaps in an older form.
    """
    found = []
    for now, then in pairs.items():
        phase, before = plan.phases[now], former.phases[then]
        differences, parents = compare(phase, plan, before, former, pairs, changed_files)
        form = "" if differences or parents else _form(phase, before, (written or {}).get(then))
        found.append(Retrained(now, phase.label, then, before.label, tuple(differences), parents, form))
    return found


def _form(phase: PlannedPhase, before: PlannedPhase, written: dict[str, Any] | None) -> str:
    """In words, how equal settings came to another id."""
    text = "no setting differs; this version of procray makes the id otherwise than the one that trained it"
    then = {key for key, _ in _leaves(before.recipe.to_json() if written is None else written)}
    now = {key for key, _ in _leaves(phase.recipe.to_json())}
    said = [(sorted(now - then), "also says"), (sorted(then - now), "no longer says")]
    words = [f"{verb} {', '.join(keys)}" for keys, verb in said if keys]
    return f"{text}: its recipe {' and '.join(words)}" if words else text
