"""Where every model came from: phases, the marks they kept, and what was carried on from them.

Phases that differ only in their seed or in the length of their schedule stand as one box, so that a sweep of
hundreds of phases stays readable. Boxes trained on one stream of data stand in one frame; a line leads from the mark
whose weights were carried to the phase that began with them, and says what was carried and what was done to it.
Checkpoints from outside the sweep are boxes too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

from procray.errors import StoreError, did_you_mean
from procray.files import canonical_json, digest
from procray.model.components import COMPONENTS, parts_of, whole
from procray.palette import BLACK, colours
from procray.report.results import title_of
from procray.report.runs import Reader, budget_of
from procray.report.wording import count, listing, plural
from procray.training.recipe import Init, Parent

if TYPE_CHECKING:
    from procray.model.outside import Outside
    from procray.planning.plan import Plan, PlannedPhase
    from procray.store.store import Store

OUTSIDE = "checkpoints from outside"
MOST_BOXES = 30  # in the drawing; beyond that, boxes that differ only in what was carried become one


@dataclass
class Box:
    """Phases that differ in seed or length of schedule only."""

    key: str
    title: str
    data: str  # the frame it stands in
    kind: str
    phases: list[str] = field(default_factory=list)
    seeds: set[int] = field(default_factory=set)
    budgets: set[int] = field(default_factory=set)  # nominal tokens at the ends
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
            box = found[key] = Box(key, "", _frame(phase.recipe.data), phase.recipe.kind)
            box.variant = next(iter(phase.variants), "")
        end = max(phase.marks, default=0)
        box.phases.append(phase.id)
        box.seeds.add(phase.recipe.seed)
        box.budgets.add(budget_of(phase, end))
        state = reader.state(phase.id, end)[0] if reader else "waiting"
        box.states[state] = box.states.get(state, 0) + 1
        init, told = phase.recipe.init, set[str]()
        for parent, step, components in _carried(phase):
            if parent not in plan.phases and parent not in plan.outside:
                continue
            above = found[key_of(parent)]
            if parent in plan.phases:
                above.marks[step] = _asked(plan.phases[parent], step)
            box.depth = max(box.depth, above.depth + 1)
            link = (above.key, step, components)
            if link not in box.carried:
                box.carried.append(link)
            done, parts = _done(init, parent, step)
            told |= parts
            words = _brief(components, init.embeddings) + (f", {done}" if done else "")
            known = box.links.setdefault((above.key, step), [])
            known += [words] if words not in known else []
        rest = whole(set(parts_of(init.freeze)) - told)
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


def _key(phase: PlannedPhase, key_of: Any, merge_modes: bool) -> str:
    recipe = phase.recipe.to_json()
    recipe.pop("seed")
    recipe.pop("steps")
    init = recipe.pop("init")
    if merge_modes:
        marks = {(key_of(parent.phase), parent.step) for parent in phase.recipe.init.parents()}
        return digest([recipe, sorted(map(list, marks))], 16)

    def by_box(value: Any) -> Any:
        """What a phase begins with, its parents' ids replaced by their boxes."""
        if isinstance(value, dict):
            return {key: key_of(part) if key == "phase" else by_box(part) for key, part in value.items()}
        return [by_box(part) for part in value] if isinstance(value, list) else value

    return digest([recipe, by_box(init)], 16)


def _carried(phase: PlannedPhase) -> list[tuple[str, int, tuple[str, ...]]]:
    """`(parent, step, components)` for every mark that a phase begins with."""
    return [(parent.phase, parent.step, tuple(sorted(words))) for parent, words in phase.recipe.init.carried().items()]


def _done(init: Init, parent: str, step: int) -> tuple[str, set[str]]:
    """In words, what is done to the weights that one mark gives; and the parts that are told to be frozen."""
    mark = Parent(parent, step)
    given = set(parts_of(share.part for share in init.every_share() if mark in (share.parent, share.second)))
    words = []
    if init.perturb is not None:
        touched = given.intersection(parts_of(init.perturb.components)) if init.perturb.components else given
        if touched:
            words.append(init.perturb.words + ("" if touched == given else f" ({_brief(whole(touched))})"))
    frozen = given.intersection(parts_of(init.freeze))
    if frozen:
        words.append("frozen" if frozen == given else f"{_brief(whole(frozen))} frozen")
    return ", ".join(words), frozen


def _brief(components: Iterable[str], embeddings: str = "mean") -> str:
    """The name of a bundle, as the sweep file would write it; a `+`-list of the others."""
    names = list(components)
    if set(names) == set(COMPONENTS):
        return "everything" if embeddings == "copy" else "full+embeddings"
    full = ("attention", "mlp", "layernorm")
    if not set(full) <= set(names):
        return "+".join(names)
    return "+".join(["full", *(name for name in names if name not in full)])


def _asked(phase: PlannedPhase, step: int) -> int:
    """The budget that the sweep file asks for, which the phase rounds up to a whole step."""
    return phase.asked[step][0] if phase.asked.get(step) else budget_of(phase, step)


def _frame(data: dict[str, Any]) -> str:
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


_TELLING = ("length", "vocab", "k", "rule", "width", "pairs", "p_open", "max_depth")


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


# --- text ------------------------------------------------------------------------------------------------------------


def lineage_text(plan: Plan, store: Store | None = None, phase: str | None = None) -> str:
    """A tree in plain text: the whole plan grouped, or the ancestors and descendants of one phase.

    Args:
        phase: an id, the beginning of an id, or a label of a phase of the plan.

    Raises:
        StoreError: no phase, or more than one, fits `phase`.
    """
    if phase is not None:
        return _one_phase(plan, store, find_phase(plan, phase))
    found = boxes(plan, store)
    children: dict[str, list[tuple[Box, int]]] = {}
    by_key = {box.key: box for box in found}
    for box in found:
        for parent, step in box.links:
            children.setdefault(parent, []).append((box, step))
    lines = [f"{plan.name}@{plan.scale}: {plural(len(plan.phases), 'phase')} in {len(found)} groups"]

    def show(box: Box, link: str, prefix: str, last: bool, root: bool) -> None:
        lines.append(prefix + ("" if root else "└─ " if last else "├─ ") + link + _line(box))
        below = sorted(children.get(box.key, []), key=lambda item: item[1])
        inner = prefix + ("" if root else "   " if last else "│  ")
        for index, (child, step) in enumerate(below):
            others = [
                f" (with {' | '.join(words)} from {by_key[parent].title})"
                for (parent, at), words in child.links.items()
                if (parent, at) != (box.key, step)
            ]
            mark = "" if box.kind == "outside" else f"at {count(box.marks[step])}, "
            edge = f"{mark}{' | '.join(child.links[box.key, step])}{''.join(others)} → "
            show(child, edge, inner, index == len(below) - 1, False)

    for box in found:
        if not box.carried:
            lines.append("")
            show(box, "", "", True, True)
    return "\n".join(lines)


def _line(box: Box) -> str:
    if box.kind == "outside":
        return f"{box.title}  [{box.data}]"
    frozen = f", {_brief(box.frozen)} frozen" if box.frozen else ""
    return f"{box.title}  [{box.data}]  {_budgets(box)}, {plural(len(box.seeds), 'seed')}{frozen}, {box.state}"


def _budgets(box: Box) -> str:
    """`1.5M tokens`, `1.5M tokens and 3 shorter`."""
    more = f" and {len(box.budgets) - 1} shorter" if len(box.budgets) > 1 else ""
    return f"{count(max(box.budgets))} tokens{more}"


def find_phase(plan: Plan, text: str) -> str:
    """The id of the one phase that `text` names by id, beginning of an id, or label."""
    if text in plan.phases:
        return text
    fits = [phase.id for phase in plan.phases.values() if phase.label == text or phase.id.startswith(text)]
    if len(fits) == 1:
        return fits[0]
    if fits:
        names = listing([f"{phase} ({plan.phases[phase].label})" for phase in fits[:5]])
        raise StoreError(f"'{text}' fits {len(fits)} phases of {plan.name}@{plan.scale}: {names}; give more of the id")
    known = [*plan.phases, *(phase.label for phase in plan.phases.values())]
    raise StoreError(f"{plan.name}@{plan.scale} has no phase '{text}'{did_you_mean(text, known)}")


def _one_phase(plan: Plan, store: Store | None, phase_id: str) -> str:
    reader = Reader(plan, store) if store is not None else None

    def line(one: str) -> str:
        if one in plan.outside:
            return f"{plan.outside[one].name}  [{one}]  {_origin(plan.outside[one])}"
        phase = plan.phases.get(one)
        if phase is None:
            return f"{one}  (outside this plan)"
        end = max(phase.marks, default=0)
        state = reader.state(one, end)[0] if reader else "waiting"
        return f"{phase.label}  [{one}]  {phase.recipe.kind}, {count(budget_of(phase, end))} tokens, {state}"

    init = plan.phases[phase_id].recipe.init
    lines = [f"* {line(phase_id)}", f"  trained on {_frame(plan.phases[phase_id].recipe.data)}"]
    if init.perturb is not None:
        about = f" (only {_brief(init.perturb.components)})" if init.perturb.components else ""
        lines.append(f"  what was carried is {init.perturb.words}{about}".replace("is noise", "has noise"))
    if init.freeze:
        lines.append(f"  {_brief(init.freeze)} frozen")

    def up(one: str, prefix: str) -> None:
        links = _carried(plan.phases[one]) if one in plan.phases else []
        if not links and prefix == "  ":
            lines.append("  began with random weights")
        for parent, step, components in links:
            tokens = count(_asked(plan.phases[parent], step)) if parent in plan.phases else f"step {step}"
            mark = "" if parent in plan.outside else f", mark at {tokens}"
            lines.append(f"{prefix}{' + '.join(components)} from {line(parent)}{mark}")
            up(parent, prefix + "    ")

    def down(one: str, prefix: str) -> None:
        for child in plan.phases.values():
            for parent, step, components in _carried(child):
                if parent == one:
                    tokens = count(_asked(plan.phases[one], step))
                    lines.append(f"{prefix}mark at {tokens} gave {' + '.join(components)} to {line(child.id)}")
                    down(child.id, prefix + "    ")

    up(phase_id, "  ")
    down(phase_id, "  ")
    return "\n".join(lines)


def _origin(outside: Outside) -> str:
    where = outside.origin
    text = f"hf:{where['hf']}@{where['revision'][:12]}" if "hf" in where else str(where["path"])
    return f"outside checkpoint {text}" + (f", sha256 {outside.digest[:12]}" if outside.digest else "")


# --- drawing ---------------------------------------------------------------------------------------------------------

_WIDE, _GAP, _PAD, _HEAD = 250, 190, 12, 30
_LETTERS = 30  # of what stands on a line


def lineage_svg(plan: Plan, store: Store | None = None) -> str:
    """A layered drawing: columns are generations, frames streams of data, dots marks, lines carried weights."""
    found = boxes(plan, store)
    if len(found) > MOST_BOXES:
        found = boxes(plan, store, merge_modes=True)
    shades = colours(cell.variant for cell in plan.cells)
    columns: dict[int, dict[str, list[Box]]] = {}
    for box in found:
        columns.setdefault(_column(box, found), {}).setdefault(box.data, []).append(box)
    place: dict[str, tuple[float, float, float]] = {}  # left, top, height
    frames: list[tuple[float, float, float, str, int]] = []
    height: float = 0
    for depth in sorted(columns):
        left, top = 14.0 + depth * (_WIDE + 2 * _PAD + _GAP), 14.0
        for data, members in columns[depth].items():
            ordered = _in_parents_order(members, place)
            start = top
            top += _HEAD
            for box in ordered:
                lines = len(_lines(box, plan))
                tall = max(28.0 + 16 * lines, 26.0 + 18 * len(box.marks), 12.0 + 16 * len(box.links))
                place[box.key] = (left + _PAD, top, tall)
                top += tall + 8
            frames.append((left, start, top - start + _PAD - 8, data, depth))
            top += _PAD + 14
        height = max(height, top)
    for depth in columns:
        inside = [frame for frame in frames if frame[4] == depth]
        shift = (height - max(frame[1] + frame[2] for frame in inside) - 14) / 2
        frames = [(a, b + shift * (d == depth), c, t, d) for a, b, c, t, d in frames]
        for box in (box for members in columns[depth].values() for box in members):
            at, above, tall = place[box.key]
            place[box.key] = (at, above + shift, tall)
    width = 28 + max(columns, default=0) * (_WIDE + 2 * _PAD + _GAP) + _WIDE + 2 * _PAD
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" role="img" font-family="system-ui, -apple-system, \'Segoe UI\', \'DejaVu Sans\', '
        f'sans-serif" font-size="13">',
        f"<title>Lineage of {escape(plan.name)}@{escape(plan.scale)}</title>",
        f'<rect width="{width:g}" height="{height:g}" fill="#FFFFFF"/>',
    ]
    parts += [_frame_svg(*frame[:4]) for frame in frames]
    by_key = {box.key: box for box in found}
    for box in found:
        order = sorted(box.links, key=lambda link: _mark_place(by_key[link[0]], link[1], place)[1])
        for number, (parent, step) in enumerate(order):
            end = (number - (len(order) - 1) / 2) * 16
            parts.append(_edge_svg(by_key[parent], step, box, end, place, shades))
    parts += [_box_svg(box, place[box.key], shades, _lines(box, plan)) for box in found]
    return "\n".join([*parts, "</svg>", ""])


def _column(box: Box, found: Iterable[Box]) -> int:
    """Baselines stand among the warmed-up phases of the same kind and data, not at the left edge."""
    if box.kind in ("procedural", "outside"):
        return box.depth
    return max(other.depth for other in found if (other.kind, other.data) == (box.kind, box.data))


def _in_parents_order(members: Sequence[Box], place: dict[str, tuple[float, float, float]]) -> list[Box]:
    """Children in the order of their parents and marks, so that lines cross as little as possible."""

    def height(box: Box) -> float:
        tops = [place[parent][1] + 0.001 * step for parent, step in box.links if parent in place]
        return sum(tops) / len(tops) if tops else -1.0

    return sorted(members, key=height)


def _frame_svg(left: float, top: float, tall: float, data: str) -> str:
    return (
        f'<rect x="{left:g}" y="{top:g}" width="{_WIDE + 2 * _PAD}" height="{tall:g}" rx="8" fill="#F6F6F4" '
        f'stroke="#DDDDDA"/><text x="{left + _PAD:g}" y="{top + 20:g}" fill="#555555" font-size="12">'
        f"{escape(_clip(data, 38))}<title>{escape(data)}</title></text>"
    )


def _mark_place(box: Box, step: int, place: dict[str, tuple[float, float, float]]) -> tuple[float, float]:
    left, top, tall = place[box.key]
    steps = sorted(box.marks)
    first = top + tall / 2 - 9 * (len(steps) - 1)
    return left + _WIDE, first + 18 * steps.index(step)


def _edge_svg(
    parent: Box,
    step: int,
    child: Box,
    end: float,
    place: dict[str, tuple[float, float, float]],
    shades: dict[str, str],
) -> str:
    """A line from a mark to a box, `end` below its middle, with what it carries written where it arrives."""
    x1, y1 = _mark_place(parent, step, place)
    left, top, tall = place[child.key]
    x2, y2 = left, top + tall / 2 + end
    ways = child.links[parent.key, step]
    whole_words = " | ".join(ways)
    words = whole_words if len(ways) == 1 or len(whole_words) <= _LETTERS else f"{len(ways)} ways"
    room = 6.1 * min(len(words), _LETTERS) + 10  # straight under the words
    bend = max(x1 + 64, x2 - _PAD - room)
    middle = (x1 + bend) / 2
    return (
        f'<path d="M{x1 + 6:g} {y1:g} C{middle:g} {y1:g} {middle:g} {y2:g} {bend:g} {y2:g} L{x2:g} {y2:g}" '
        f'fill="none" stroke="{shades.get(child.variant, BLACK)}" stroke-width="1.6" opacity="0.75"/>'
        f'<text x="{x2 - _PAD - 4:g}" y="{y2 - 5:g}" text-anchor="end" font-size="11" fill="#444444" '
        f'stroke="#FFFFFF" stroke-width="2" paint-order="stroke">{escape(_clip(words, _LETTERS))}'
        f"<title>{escape(whole_words)}</title></text>"
    )


def _lines(box: Box, plan: Plan) -> list[str]:
    """What stands in a box below its title."""
    if box.kind == "outside":
        known = plan.outside[box.key].digest
        return [f"sha256 {known[:16]}" if known else _origin(plan.outside[box.key]).removeprefix("outside checkpoint ")]
    lines = [f"{_budgets(box)} · {plural(len(box.seeds), 'seed')}"]
    lines += [f"frozen: {_brief(box.frozen)}"] if box.frozen else []
    return lines + ([] if set(box.states) == {"done"} else [box.state])


def _box_svg(box: Box, where: tuple[float, float, float], shades: dict[str, str], lines: list[str]) -> str:
    left, top, tall = where
    failed = "failed" in box.states
    whole = set(box.states) == {"done"}
    edge = "#D55E00" if failed else "#8A8A86" if whole else "#B9B9B5"
    dash = "" if whole or failed else ' stroke-dasharray="5 3"'
    colour = "#8A8A86" if box.kind in ("procedural", "outside") else shades.get(box.variant, "#8A8A86")
    carried = {component for _, _, components in box.carried for component in components}
    letters = 29 if box.marks else 38
    hover = f"{box.title}; {box.data}; {'+'.join(sorted(carried)) or 'random weights'}; {', '.join(box.phases[:12])}"
    parts = [
        f'<g><title>{escape(hover)}</title><rect x="{left:g}" y="{top:g}" width="{_WIDE}" height="{tall:g}" rx="5" '
        f'fill="#FFFFFF" stroke="{edge}"{dash}/>',
        f'<rect x="{left:g}" y="{top:g}" width="5" height="{tall:g}" rx="2" fill="{colour}"/>',
        f'<text x="{left + 14:g}" y="{top + 18:g}" fill="#222222">{escape(_clip(box.title, 30))}</text>',
        *(
            f'<text x="{left + 14:g}" y="{top + 35 + 16 * index:g}" font-size="11.5" '
            f'fill="{"#B04A00" if index and failed else "#666666"}">{escape(_clip(line, letters))}</text>'
            for index, line in enumerate(lines)
        ),
    ]
    for step in sorted(box.marks):
        x, y = _mark_place(box, step, {box.key: where})
        tokens = "" if box.kind == "outside" else count(box.marks[step])
        parts.append(
            f'<text x="{x - 10:g}" y="{y + 4:g}" text-anchor="end" font-size="11.5" fill="#222222">{tokens}</text>'
            f'<circle cx="{x:g}" cy="{y:g}" r="5" fill="#FFFFFF" stroke="#444444" stroke-width="1.6"/>'
        )
    return "".join([*parts, "</g>"])


def _clip(text: str, letters: int) -> str:
    return text if len(text) <= letters else text[: letters - 1] + "…"
