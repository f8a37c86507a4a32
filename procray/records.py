"""The form of what is read: JSON that somebody else wrote is checked before it is used.

A form is one of

- a type: `bool` is no `int`, `float` takes whole numbers too and must be finite;
- a tuple of forms, of which one must fit;
- `[form]` for a list;
- a mapping of names to forms: a name that ends in `?` may be missing, other names are let through;
- `Exactly` for one without other names, `Every` for a mapping with any names;
- a function that returns what is wrong, or the empty string.
"""

from __future__ import annotations

import math
import re
import types
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from procray.errors import StoreError

_PLAIN = re.compile(r"[A-Za-z0-9_+=,@-][A-Za-z0-9._+=,@ -]{0,199}")
_LARGEST = 2**63  # of whole numbers: steps, tokens, bytes
_WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "a mapping",
    list: "a list",
}


@dataclass(frozen=True)
class Every:
    """A mapping whose names all satisfy `names` and whose values all have one form."""

    form: Any
    names: Callable[[Any], str] = lambda name: ""


@dataclass(frozen=True)
class Exactly:
    """A mapping of names to forms that has no other names."""

    form: dict[str, Any]


def of(cls: type, **forms: Any) -> Exactly:
    """The form of the JSON of a dataclass, whose fields may be given other forms."""
    hints = get_type_hints(cls)
    found = {}
    for field in fields(cls):
        optional = field.default is not MISSING or field.default_factory is not MISSING
        found[field.name + "?" * optional] = forms[field.name] if field.name in forms else _of(hints[field.name])
    return Exactly(found)


def _of(hint: Any) -> Any:
    """The form of a type as it is annotated."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return anything
    if origin is Literal:
        return _one_of(inner)
    if origin in (Union, types.UnionType):
        return tuple(_of(one) for one in inner)
    if origin in (list, tuple):
        return [_of(inner[0])]
    if origin is dict:
        return Every(_of(inner[1]))
    return of(hint) if isinstance(hint, type) and is_dataclass(hint) else hint


def _one_of(known: tuple[Any, ...]) -> Callable[[Any], str]:
    def look(value: Any) -> str:
        return "" if any(value is one or value == one for one in known) else f"{_shown(value)} is none of {known}"

    return look


def anything(value: Any) -> str:
    """As a form: whatever it is."""
    return ""


def is_plain(name: Any) -> bool:
    """Whether a name can stand for a file or folder: it leads nowhere else, is not hidden and not too long."""
    return isinstance(name, str) and _PLAIN.fullmatch(name) is not None


def plain(name: Any) -> str:
    """As a form: a plain name."""
    return "" if is_plain(name) else f"{_shown(name)} is no plain name, so it might lead out of its folder"


def digits(name: Any) -> str:
    """As a form: a whole number written as text, of at most 18 digits."""
    fits = isinstance(name, str) and 0 < len(name) <= 18 and name.isascii() and name.isdecimal()
    return "" if fits else f"{_shown(name)} is no number"


def sha256(value: Any) -> str:
    """As a form: a SHA-256 in hex."""
    return "" if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) else f"{_shown(value)} is no SHA-256"


def count(value: Any) -> str:
    """As a form: a whole number from 0."""
    fits = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST
    return "" if fits else f"{_shown(value)} is no whole number from 0"


def wrong(value: Any, form: Any, place: str = "") -> str:
    """What does not have its form, with its place, or the empty string."""
    if isinstance(form, type):  # first, and without words until there is something to say: most values are right
        return "" if _is(value, form) else f"{_where(place)}expected {_WORDS.get(form, 'nothing')}, not {_shown(value)}"
    if isinstance(form, tuple):
        message = ""
        for one in form:
            found = wrong(value, one, place)
            if not found:
                return ""
            message = message or found
        return message
    where = _where(place)
    if isinstance(form, Every):
        if not isinstance(value, dict):
            return f"{where}expected a mapping, not {_shown(value)}"
        for name, child in value.items():
            message = form.names(name)
            if message:
                return f"{where}{message}"
            message = wrong(child, form.form, f"{place}.{_shown(name)}".lstrip("."))
            if message:
                return message
        return ""
    if isinstance(form, Exactly):
        message = wrong(value, form.form, place)
        strange = [] if message else [name for name in value if name not in form.form and f"{name}?" not in form.form]
        return message or (f"{where}unknown name {_shown(strange[0])}" if strange else "")
    if isinstance(form, dict):
        if not isinstance(value, dict):
            return f"{where}expected a mapping, not {_shown(value)}"
        for name, child in form.items():
            key = name.removesuffix("?")
            if key not in value:
                if key == name:
                    return f"{where}'{key}' is missing"
                continue
            message = wrong(value[key], child, f"{place}.{key}" if place else key)
            if message:
                return message
        return ""
    if isinstance(form, list):
        if not isinstance(value, list):
            return f"{where}expected a list, not {_shown(value)}"
        for number, child in enumerate(value):
            message = wrong(child, form[0], f"{place}[{number}]")
            if message:
                return message
        return ""
    message = form(value)
    return f"{where}{message}" if message else ""


def quick(form: Any) -> Callable[[Any], bool]:
    """A look at values of JSON that is made once for a form: true where `wrong` finds nothing.

    It has no words for what is wrong and need not look them up on the way, which for many small records is most of
    the time that reading them takes.
    """
    if isinstance(form, type):
        return {float: _is_number, int: _is_whole}.get(form, lambda value: isinstance(value, form))
    if isinstance(form, tuple):
        several = [quick(one) for one in form]
        return lambda value: any(fits(value) for fits in several)
    if isinstance(form, Every):
        names, inner = form.names, quick(form.form)
        return lambda value: isinstance(value, dict) and all(not names(n) and inner(one) for n, one in value.items())
    if isinstance(form, Exactly):
        known, whole = {name.removesuffix("?") for name in form.form} | form.form.keys(), quick(form.form)
        return lambda value: whole(value) and known.issuperset(value)
    if isinstance(form, list):
        entry = quick(form[0])
        return lambda value: isinstance(value, list) and all(map(entry, value))
    if isinstance(form, dict):
        return _quick_mapping(form)
    return lambda value: not form(value)


def _quick_mapping(form: dict[str, Any]) -> Callable[[Any], bool]:
    # Most of a row of a journal: a number, or null, or missing.
    numbers = [name[:-1] for name, child in form.items() if name.endswith("?") and child == (float, None.__class__)]
    rest = {name: child for name, child in form.items() if name[:-1] not in numbers}
    looks = [(name.removesuffix("?"), name.endswith("?"), quick(child)) for name, child in rest.items()]
    finite = math.isfinite

    def fits(value: Any) -> bool:
        if not isinstance(value, dict):
            return False
        for name in numbers:
            one = value.get(name)
            if one is not None and not (type(one) is float and finite(one)) and not _is_number(one):
                return False
        for name, optional, look in looks:
            if name in value:
                if not look(value[name]):
                    return False
            elif not optional:
                return False
        return True

    return fits


def _is_number(value: Any) -> bool:
    kind = type(value)
    return (kind is float and math.isfinite(value)) or (kind is int and -_LARGEST < value < _LARGEST)


def _is_whole(value: Any) -> bool:
    return type(value) is int and -_LARGEST < value < _LARGEST


def _where(place: str) -> str:
    return f"{place}: " if place else ""


def check(value: Any, form: Any, place: object) -> Any:
    """The value, if it has the form.

    Raises:
        StoreError: names the place and what is wrong there.
    """
    message = wrong(value, form)
    if message:
        raise StoreError(f"{place} is damaged: {message}")
    return value


def _is(value: Any, form: type) -> bool:
    if form is float:
        return math.isfinite(value) if isinstance(value, float) else _is(value, int)
    if form is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST
    return isinstance(value, form)


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str | int | float | bool) or value is None else type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."
