"""Where every model came from: phases, the marks they kept, and what was carried on from them.

Phases that differ only in their seed or in the length of their schedule stand as one box, so that a sweep of
hundreds of phases stays readable. Checkpoints from outside the sweep are boxes too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from procray.files import canonical_json, digest
from procray.model.components import COMPONENTS, parts_of, whole
from procray.model.families import family
from procray.planning.titles import task_among, title_of
from procray.report.numbers.runs import Reader
from procray.report.numbers.wording import count
from procray.selection.standing import nominal
from procray.training.recipe import Parent, PhaseRecipe

if TYPE_CHECKING:
    from procray.model.outside import Outside
    from procray.planning.plan import Plan, PlannedPhase
    from procray.store.store import Store

OUTSIDE = "checkpoints from outside"


@dataclass
class Box:
    """Phases that differ in seed or length of schedule only."""

    key: str
    title: str
    data: str  # the frame it stands in
    kind: str
    phases: list[str] = field(default_factory=list)
    seeds: set[int] = field(default_factory=set)
    budgets: dict[int, int] = field(default_factory=dict)  # by the step where phases end, the most tokens of them
    marks: dict[int, int] = field(default_factory=dict)  # nominal tokens by step, of marks that others begin with
    carried: list[tuple[str, int, tuple[str, ...]]] = field(default_factory=list)  # (parent box, step, components)
    links: dict[tuple[str, int], list[str]] = field(default_factory=dict)  # by parent box and step, what lines say
    frozen: list[str] = field(default_factory=list)  # of what no line says it
    states: dict[str, int] = field(default_factory=dict)
    depth: int = 0
    variant: str = ""

    @property
    def state(self) -> str:
        """`done`, or counts of what is not: `2 done, 1 failed`."""
        if set(self.states) == {"done"}:
            return "done"
        order = ("done", "running", "paused", "waiting", "failed", "skipped")
        return ", ".join(f"{self.states[state]} {state}" for state in order if state in self.states)


def boxes(plan: Plan, store: Store | None = None, merge_modes: bool = False) -> list[Box]:
    """The phases of a plan, grouped, parents before children.

    Args:
        store: tells states; without it every phase counts as waiting.
        merge_modes: also take boxes together that differ only in the components carried over.
    """
    reader = Reader(plan, store) if store is not None else None
    keys: dict[str, str] = {}
    found: dict[str, Box] = {}

    for outside in plan.outside.values():
        keys[outside.id] = outside.id
        found[outside.id] = Box(outside.id, outside.name, OUTSIDE, "outside", phases=[outside.id], marks={0: 0})
        found[outside.id].states = {"done": 1}

    def key_of(phase_id: str) -> str:
        if phase_id not in keys:
            known = phase_id in plan.phases
            keys[phase_id] = _key(plan.phases[phase_id], key_of, merge_modes) if known else phase_id
        return keys[phase_id]

    for phase in _parents_first(plan):
        key = key_of(phase.id)
        box = found.get(key)
        if box is None:
            box = found[key] = Box(key, "", streams(phase), phase.recipe.kind)
            box.variant = next(iter(phase.variants), "")
        end = max(phase.marks, default=0)
        box.phases.append(phase.id)
        box.seeds.add(phase.recipe.seed)
        box.budgets[end] = max(box.budgets.get(end, 0), consumed(phase, end, reader))
        state = reader.state(phase.id, end)[0] if reader else "waiting"
        box.states[state] = box.states.get(state, 0) + 1
        init, told = phase.recipe.init, set[str]()
        for parent, step, components in carried_by(phase):
            if parent not in plan.phases and parent not in plan.outside:
                continue
            above = found[key_of(parent)]
            if parent in plan.phases:
                above.marks[step] = max(above.marks.get(step, 0), asked_tokens(plan.phases[parent], step, reader))
            box.depth = max(box.depth, above.depth + 1)
            link = (above.key, step, components)
            if link not in box.carried:
                box.carried.append(link)
            done, parts = _done(phase.recipe, parent, step)
            told |= parts
            words = brief(components, init.embeddings) + (f", {done}" if done else "")
            known = box.links.setdefault((above.key, step), [])
            known += [words] if words not in known else []
        own = family(phase.recipe.model.family).parts
        rest = whole(set(parts_of(init.freeze, own)) - told, own)
        box.frozen += [name for name in rest if name not in box.frozen]
    for box in found.values():
        box.title = box.title or _title(box, plan)
    return list(found.values())


def _parents_first(plan: Plan) -> list[PlannedPhase]:
    done: dict[str, PlannedPhase] = {}

    def visit(phase: PlannedPhase) -> None:
        if phase.id in done:
            return
        for parent in phase.parents:
            if parent.phase in plan.phases:
                visit(plan.phases[parent.phase])
        done[phase.id] = phase

    for phase in plan.phases.values():
        visit(phase)
    return list(done.values())


def _key(phase: PlannedPhase, key_of: Callable[[str], str], merge_modes: bool) -> str:
    recipe = phase.recipe.to_json()
    recipe.pop("seed")
    recipe.pop("steps")
    init = recipe.pop("init")
    if "paced_by" in recipe:
        recipe["paced_by"] = key_of(recipe["paced_by"])
    if merge_modes:
        marks = {(key_of(parent.phase), parent.step) for parent in phase.recipe.init.parents()}
        return digest([recipe, sorted(map(list, marks))], 16)

    def by_box(value: Any) -> Any:
        """What a phase begins with, its parents' ids replaced by their boxes."""
        if isinstance(value, dict):
            return {key: key_of(part) if key == "phase" else by_box(part) for key, part in value.items()}
        return [by_box(part) for part in value] if isinstance(value, list) else value

    return digest([recipe, by_box(init)], 16)


def carried_by(phase: PlannedPhase) -> list[tuple[str, int, tuple[str, ...]]]:
    """`(parent, step, components)` for every mark that a phase begins with."""
    return [(parent.phase, parent.step, tuple(sorted(words))) for parent, words in phase.recipe.init.carried().items()]


def _done(recipe: PhaseRecipe, parent: str, step: int) -> tuple[str, set[str]]:
    """In words, what is done to the weights that one mark gives; and the parts that are told to be frozen."""
    mark, init, own = Parent(parent, step), recipe.init, family(recipe.model.family).parts
    given = set(parts_of((share.part for share in init.every_share() if mark in (share.parent, share.second)), own))
    words = []
    if init.perturb is not None:
        touched = given.intersection(parts_of(init.perturb.components, own)) if init.perturb.components else given
        if touched:
            words.append(init.perturb.words + ("" if touched == given else f" ({brief(whole(touched, own))})"))
    frozen = given.intersection(parts_of(init.freeze, own))
    if frozen:
        words.append("frozen" if frozen == given else f"{brief(whole(frozen, own))} frozen")
    return ", ".join(words), frozen


def brief(components: Iterable[str], embeddings: str = "mean") -> str:
    """The name of a bundle, as the sweep file would write it; a `+`-list of the others."""
    names = list(components)
    if set(names) == set(COMPONENTS):
        return "everything" if embeddings == "copy" else "full+embeddings"
    full = ("attention", "mlp", "layernorm")
    if not set(full) <= set(names):
        return "+".join(names)
    return "+".join(["full", *(name for name in names if name not in full)])


def consumed(phase: PlannedPhase, step: int, reader: Reader | None) -> int:
    """The tokens of a phase up to a step: as planned, or where its sequences grow those that it consumed."""
    return reader.consumed(phase, step) if reader and phase.recipe.growing else nominal(phase, step)


def asked_tokens(phase: PlannedPhase, step: int, reader: Reader | None = None) -> int:
    """The budget that the sweep file asks for, which the phase rounds up to a whole step; where its sequences grow the
    tokens consumed.
    """
    if phase.recipe.growing:
        return consumed(phase, step, reader)
    return phase.asked[step][0] if phase.asked.get(step) else nominal(phase, step)


def streams(phase: PlannedPhase) -> str:
    """What a phase trains on, with the procedural data among its text."""
    among = task_among(phase.recipe)
    return stream(phase.recipe.data) + (f", {stream(among)} among it" if among is not None else "")


def stream(data: dict[str, Any]) -> str:
    """The stream of data in a few words, with the parameters that tell streams of one name apart."""
    title = title_of(data)
    task, tokenizer = data.get("task"), data.get("tokenizer")
    if isinstance(task, dict):
        short = ", ".join(f"{key} {_short(value)}" for key, value in task.items() if key in _TELLING)
        return f"{title} ({short})" if short else title
    if isinstance(tokenizer, dict):
        words = [str(value) for key, value in tokenizer.items() if key in ("kind", "name", "entries")]
        return f"{title} ({' '.join(words)})" if words else title
    return title


_TELLING = (
    "length", "vocab", "k", "rule", "width", "pairs", "p_open", "max_depth", "alphabet", "hops", "states", "letters",
    "networks", "hidden", "grid", "simplest", "most_complex",
)  # fmt: skip


def _short(value: Any) -> str:
    if isinstance(value, dict):
        if {"min", "max"} <= set(value):
            return f"{value['min']}-{value['max']}"
        return canonical_json(value).replace('"', "")
    return str(value)


def _title(box: Box, plan: Plan) -> str:
    """What the planner calls the phases, without seed, matched fraction and the name of the target.

    Boxes that were merged show the parts in which their members differ side by side.
    """
    names = []
    targets = {cell.target for cell in plan.cells if cell.target}
    for phase in box.phases:
        name = plan.phases[phase].variant.partition("@")[0]
        head, slash, rest = name.partition("/")
        names.append(rest if slash and head in targets else name)
    names = list(dict.fromkeys(names))
    parts = [name.split("/") for name in names]
    if len({len(part) for part in parts}) > 1:
        return ", ".join(names)
    return "/".join("+".join(dict.fromkeys(column)) for column in zip(*parts, strict=True))


def budgets(box: Box) -> str:
    """`1.5M tokens`, `1.5M tokens and 3 shorter`."""
    more = f" and {len(box.budgets) - 1} shorter" if len(box.budgets) > 1 else ""
    return f"{count(max(box.budgets.values()))} tokens{more}"


def origin(outside: Outside) -> str:
    where = outside.origin
    text = f"hf:{where['hf']}@{where['revision'][:12]}" if "hf" in where else str(where["path"])
    return f"outside checkpoint {text}" + (f", sha256 {outside.digest[:12]}" if outside.digest else "")
