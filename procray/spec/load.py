"""Reading a sweep file: YAML, overlays, `--set`, schema, and every problem at once.

Order: the file, then the scale's overlay, then `--set`. Scales that are not asked for are read
too, so that a mistake in them does not wait for the day when they are used.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from procray.errors import Problem, SpecError, did_you_mean
from procray.spec.among import check_among
from procray.spec.arrangement import check_arrangement
from procray.spec.axes import find_axes
from procray.spec.changed import label_of_changes
from procray.spec.names import name_values
from procray.spec.overlays import merge, read_overlays, without_nulls
from procray.spec.paths import locate
from procray.spec.sections import GRIDS, Resources, Sweep
from procray.spec.settings import apply_settings
from procray.spec.shaping import read_selection
from procray.spec.structure import SweepSpec
from procray.spec.tails import add_controls, compare, read_tails
from procray.spec.tree import Node, plain, read
from procray.spec.validate import validate

_DEFAULT_SCALE = "default"  # the name of a file's only scale, where it has no overlays
_LARGEST = 1 << 19  # bytes of a sweep file


@dataclass(frozen=True)
class Draft:
    """What a file says at one scale: without what is wrong, so that the rest can be checked further."""

    spec: SweepSpec
    broken: Collection[str]  # names of grids that cannot be used; they have been reported


def read_text(path: str | Path) -> str:
    """The text of a sweep file.

    Raises:
        SpecError: it cannot be read, is too large, or is no UTF-8.
    """
    file = str(path)
    try:
        with open(path, "rb") as opened:
            data = opened.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise SpecError([Problem(0, 0, f"more than {_LARGEST:,} bytes, so it is no sweep file", "", file)])
        return data.decode("utf-8")
    except (OSError, ValueError) as error:
        if isinstance(error, UnicodeDecodeError):
            raise SpecError([Problem(0, 0, f"not UTF-8 text (byte {error.start})", "", file)]) from None
        reason = getattr(error, "strerror", None) or error  # ValueError: a NUL in the name
        raise SpecError([Problem(0, 0, f"cannot be read: {reason}", "", file)]) from None


def load_scales(
    text: str, file: str, scale: str | None, settings: Any, path: str | Path | None = None
) -> tuple[list[Draft], list[Problem]]:
    """The draft of the scale asked for, then those of all others; and what is wrong in any of them.

    Args:
        text: the file's.
        file: its name, for messages.
        scale: the name of an overlay; None for the first.
        settings: `--set`, in any form that `setting_texts` takes; for the scale asked for only.
        path: where the file lies; None where nobody knows, and its relative paths start at the working directory.

    Raises:
        SpecError: the text is no YAML, or no mapping: nothing can be checked further.
    """
    root, problems = read(text.removeprefix("\ufeff"), file)
    if root is None:
        raise SpecError(problems)
    if not root.is_mapping:
        raise SpecError([*problems, root.place.problem("a sweep file is a mapping of keys such as name and semantic")])
    overlays = read_overlays(root, problems)
    base = Node({k: v for k, v in root.value.items() if k != "scales"}, root.place, root.keys)
    chosen = scale if scale is not None else next(iter(overlays), _DEFAULT_SCALE)
    if chosen not in overlays and (overlays or chosen != _DEFAULT_SCALE):
        listed = f" (scales: {', '.join(overlays)})" if overlays else " (the file has no scales)"
        problems.append(Problem(0, 0, f"no scale '{chosen}'{did_you_mean(chosen, overlays)}{listed}", "", file))
    trees = {name: merge(base, overlay) for name, overlay in overlays.items()}
    without = trees.pop(chosen, base)
    asked = apply_settings(without, settings, problems)
    about = _About(list(overlays) or [_DEFAULT_SCALE], text, "" if path is None else os.path.abspath(path))
    drafts: list[Draft] = []
    for name, tree in [(chosen, asked), *trees.items()]:
        draft, wrong = _draft(tree, name, about)
        drafts.append(draft)
        problems += wrong
    if asked is not without:
        drafts[0].spec.settings = label_of_changes(_draft(without, chosen, about)[0].spec, drafts[0].spec)
    return drafts, problems


@dataclass(frozen=True)
class _About:
    """What all scales of a file share."""

    scales: list[str]
    text: str
    path: str  # absolute; empty where nobody knows

    @property
    def folder(self) -> Path:
        return Path(self.path).parent if self.path else Path.cwd()


def _draft(root: Node, scale: str, about: _About) -> tuple[Draft, list[Problem]]:
    problems: list[Problem] = []
    root = without_nulls(root)
    if root.is_grid:
        problems.append(root.keys["grid"].problem("a grid cannot stand here"))
        root = Node({key: child for key, child in root.value.items() if key != "grid"}, root.place, root.keys)
    axes, broken, wrong = find_axes(root, GRIDS)
    problems += wrong
    selection, wrong = read_selection(root, axes, broken)
    problems += wrong
    base, wrong = validate(root, axes, broken.values())
    problems += wrong
    problems += check_arrangement(root)
    problems += check_among(root)
    name_values(axes)
    tails = read_tails(base)
    if "compare" in base:
        tails, message = compare(tails, base["compare"])
        if message is not None:
            problems.append(locate(root, ("compare",), {}).problem(f"compare: {message}"))
    tails = add_controls(tails, base.get("controls", []))
    spec = SweepSpec(
        name=base.get("name", ""),
        scale=scale,
        scales=about.scales,
        setting=base.get("setting", Sweep.defaults["setting"]),
        question=base.get("question", ""),
        seeds=base.get("seeds", Sweep.defaults["seeds"]),
        donors=base.get("donors", []),
        controls=base.get("controls", []),
        matched=sorted(base.get("matched", [])),
        resources={**{key: Resources.defaults[key] for key in ("workers", "gpu", "cpu")}, **base.get("resources", {})},
        retries=base.get("retries", Sweep.defaults["retries"]),
        published=base.get("published", []),
        tails=tails,
        axes=axes,
        selection=selection,
        base=base,
        resolved=_written(plain(root)),
        source=about.text,
        file=about.path,
        folder=about.folder,
        root=root,
    )
    return Draft(spec, broken), problems


def _written(data: Any) -> Any:
    """Plain data without nulls, which mean that nothing is written."""
    if isinstance(data, dict):
        return {key: _written(child) for key, child in data.items() if child is not None}
    return [_written(child) for child in data] if isinstance(data, list) else data
