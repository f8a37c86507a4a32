"""What `--set` changed, as a short name: equal for equal meanings however they are written, and for no others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from operator import itemgetter
from typing import Any

from procray.files import canonical_json, digest
from procray.spec.counts import format_count
from procray.spec.names import TOKENS, short_number
from procray.spec.paths import Path, get, put
from procray.spec.section import Section
from procray.spec.sections import Sweep, section_of
from procray.spec.structure import SweepSpec
from procray.spec.written import one_spelling

_LONGEST = 60
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9._+-]*")
_AMBIGUOUS = ("true", "false", "none")


def label_of_changes(before: SweepSpec, after: SweepSpec) -> str:
    """The settings in which `after` differs from `before`: `seeds=1`, `seeds=0,semantic.tokens=4k`.

    Values are compared as they were converted, so that spelling, order and defaults written out do not matter. Where
    the text does not tell values exactly, six digits of a digest of them follow.
    """
    changes = sorted(_changes(_meant(before), _meant(after), Sweep, ()), key=itemgetter(0))
    texts = [(name, *_text(name.rpartition(".")[2], value)) for name, value in changes]
    text = ",".join(f"{_safe(name)}={shown}" for name, shown, _ in texts)
    if len(text) <= _LONGEST and all(exact and _safe(name) == name for name, _, exact in texts):
        return text
    return f"{text[: _LONGEST - 7]}-{digest(changes)[:6]}"


def _meant(spec: SweepSpec) -> dict[str, Any]:
    """The converted settings with their grids; a grid of one value is that value."""
    data = spec.base
    for axis in spec.axes:
        if get(data, axis.path) is None:
            continue  # something is wrong with it
        values = axis.values[: axis.size]
        data = put(data, axis.path, values[0] if len(values) == 1 else {"grid": values})
    lists = [key for key in ("seeds", "donors", "controls") if isinstance(data.get(key), list)]
    return {**data, **{key: sorted(data[key], key=_rank) for key in lists}}


def _rank(value: Any) -> Any:
    return value if isinstance(value, int) else canonical_json(value)


def _changes(before: Any, after: Any, section: type[Section] | None, path: Path) -> Iterator[tuple[str, Any]]:
    """Dotted names of the settings that differ, and what they are afterwards; None where they are gone."""
    if section is not None and _is_section(before) and _is_section(after):
        before, after = before or {}, after or {}
        for key in dict.fromkeys([*before, *after]):
            apart = section.inherits and len(path) > 1  # what is not there is as above
            one, other = (each.get(key, None if apart else section.silent(each).get(key)) for each in (before, after))
            instead = any(key in rivals and rivals & after.keys() for rivals in section.rivals)
            if not (key in before and key not in after and instead):  # what stands in its place says so
                yield from _changes(one, other, section_of(section, key), (*path, key))
    elif section is not None and isinstance(before, list) and isinstance(after, list) and _alike(before, after):
        for i, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _changes(one, other, section, (*path, other.get("name", i)))
    elif canonical_json(one_spelling(before)) != canonical_json(one_spelling(after)):
        yield ".".join(map(str, path)), one_spelling(after)


def _is_section(value: Any) -> bool:
    return value is None or (isinstance(value, dict) and "grid" not in value)


def _alike(before: list[Any], after: list[Any]) -> bool:
    """Whether two lists of sections have the same entries, by their names."""
    names = [[one.get("name") if isinstance(one, dict) else one for one in entries] for entries in (before, after)]
    return (
        len(before) == len(after) and all(isinstance(one, dict) for one in [*before, *after]) and names[0] == names[1]
    )


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", text).strip("-")


def _text(key: str, value: Any) -> tuple[str, bool]:
    """A value as it stands in a label, and whether it says everything."""
    if value is None:
        return "", True
    if isinstance(value, bool):
        return str(value).lower(), True
    if isinstance(value, int) and key in (*TOKENS, "batch"):
        return format_count(value), True
    if isinstance(value, int | float):
        return short_number(value), True
    if isinstance(value, str):
        return _safe(value), bool(_WORD.fullmatch(value)) and value not in _AMBIGUOUS
    if isinstance(value, list):
        texts = [_text(key, one) for one in value]
        numbers = all(isinstance(one, int) for one in value)
        return "+".join(text for text, _ in texts), numbers
    if value.keys() == {"grid"}:
        return "..".join(_text(key, one)[0] for one in value["grid"]), False
    return _safe(canonical_json(value)), False
