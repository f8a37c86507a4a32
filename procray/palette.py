"""One colour a variant, the same in every picture, in the page and for the runs in MLflow.

The hues are those of Okabe and Ito, told apart by every common kind of colour vision. Baselines are
black. Variants that differ only in a token count share a hue and go from light to dark as the count
grows, so that a grid of budgets reads as families. What stands before `baseline` in a baseline's
name is the target; the same warm-up has the same colour on every target.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

BLACK = "#000000"
# Yellow (#F0E442) comes last: as a line on white paper it is the hardest to see.
HUES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")

_COUNT = re.compile(r"(\d+(?:\.\d+)?)(k|K|M|G|B|T|Ki|Mi|Gi)?")
_UNIT = {None: 1, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def is_baseline(variant: str) -> bool:
    """Whether a variant's name says that no warm-up stands before it (`baseline`, `lr=1e-3/baseline`)."""
    return "baseline" in re.split(r"[/ ]", variant)


def colours(variants: Iterable[str]) -> dict[str, str]:
    """A colour `#RRGGBB` for every variant name, decided by the names and their order alone.

    The first baseline of a target is black and further ones grey. More than seven families repeat the hues in
    darker shades; pictures with so many curves should not rely on colour alone.
    """
    names = list(dict.fromkeys(variants))
    targets = [name.partition("baseline")[0] for name in names if is_baseline(name)]
    short = {name: _without_target(name, targets) for name in names}
    baselines = list(dict.fromkeys(short[name] for name in names if is_baseline(name)))
    families: dict[str, dict[str, float]] = {}
    for text in short.values():
        if text not in baselines:
            family, count = _family(text)
            families.setdefault(family, {})[text] = count
    table = {text: _mix(BLACK, "#FFFFFF", min(0.6, 0.3 * index)) for index, text in enumerate(baselines)}
    for index, members in enumerate(families.values()):
        hue = HUES[index % len(HUES)]
        hue = _mix(hue, BLACK, min(0.6, 0.3 * (index // len(HUES))))
        for rank, text in enumerate(sorted(members, key=lambda text: (members[text], text))):
            table[text] = _shade(hue, rank, len(members))
    return {name: table[short[name]] for name in names}


def _without_target(name: str, targets: Iterable[str]) -> str:
    return next((name.removeprefix(target) for target in targets if target and name.startswith(target)), name)


def _family(name: str) -> tuple[str, float]:
    """The name without its first token count, and that count (0 when there is none)."""
    parts = name.split("/")
    for index, part in enumerate(parts):
        match = _COUNT.fullmatch(part)
        if match:
            return "/".join(parts[:index] + parts[index + 1 :]), float(match[1]) * _UNIT[match[2]]
    return name, 0.0


def _shade(hue: str, rank: int, count: int) -> str:
    """The hue itself for a lone member; otherwise from half way to white down to a darkened hue."""
    if count == 1:
        return hue
    place = rank / (count - 1)  # 0 light .. 1 dark
    return _mix(hue, "#FFFFFF", 0.5 - place) if place < 0.5 else _mix(hue, BLACK, 0.6 * (place - 0.5))


def _mix(colour: str, other: str, share: float) -> str:
    """`colour` with a share (0..1) of `other`."""
    pairs = zip(_rgb(colour), _rgb(other), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02X}" for a, b in pairs)


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
