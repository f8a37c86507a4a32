"""The drawing of a sweep's lineage, as SVG.

Boxes trained on one stream of data stand in one frame; a line leads from the mark whose weights were carried to the
phase that began with them, and says what was carried and what was done to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from procray.palette import BLACK, colours
from procray.report.numbers.lineage import Box, boxes, brief, budgets, origin
from procray.report.numbers.wording import count, plural
from procray.visible import visible

if TYPE_CHECKING:
    from procray.planning.plan import Plan
    from procray.store.store import Store

MOST_BOXES = 30  # beyond that, boxes that differ only in what was carried become one
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
    return visible("\n".join([*parts, "</svg>", ""]))


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
        return [f"sha256 {known[:16]}" if known else origin(plan.outside[box.key]).removeprefix("outside checkpoint ")]
    lines = [f"{budgets(box)} · {plural(len(box.seeds), 'seed')}"]
    lines += [f"frozen: {brief(box.frozen)}"] if box.frozen else []
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
