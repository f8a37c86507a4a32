"""When two phases are one: ids, and what the symbols of a vocabulary mean."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from procray.files import canonical_json
from procray.training.recipe import PhaseRecipe

Template = tuple[str, str, str, str, str]  # the canonical JSON of a recipe around init, role, seed and steps


# Stands for the id of the phase that another one follows until that one is planned.
PACED = "\x00paced"
_PACED = canonical_json(PACED)


def template(recipe: PhaseRecipe) -> Template:
    """The canonical JSON of a recipe's `meaning`, cut at init, role, seed and steps, so that ids come quickly."""
    marks = {"init": "\x00init", "role": "\x00role", "seed": "\x00seed", "steps": "\x00steps"}
    text = canonical_json({**recipe.meaning(), **marks})
    cut = re.compile(r'"\\u0000(?:init|role|seed|steps)"')
    assert cut.findall(text) == [canonical_json(mark) for mark in marks.values()]
    pieces = cut.split(text)
    return pieces[0], pieces[1], pieces[2], pieces[3], pieces[4]


def phase_id(template: Template, init: str, role: str, seed: int, steps: int | None, paced_by: str = "") -> str:
    """`PhaseRecipe.id` of a recipe with these parents (canonical JSON), role, seed and steps, without building it.

    Args:
        paced_by: takes the place of PACED in the recipe.
    """
    head, one, two, three, end = template
    if paced_by:
        one = one.replace(_PACED, f'"{paced_by}"')
    text = f'{head}{init}{one}"{role}"{two}{seed}{three}{"null" if steps is None else steps}{end}'
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def task_symbols(recipe: dict[str, Any]) -> str:
    """Equal for tasks whose token ids mean the same: the same V symbols, or the same k brackets."""
    return canonical_json(_meaning(recipe))


def text_symbols(corpus: Any, tokenizer: Any) -> str:
    """Equal where token ids mean the same; a tokenizer made from the corpus belongs to it."""
    kind = tokenizer.get("kind") if isinstance(tokenizer, dict) else tokenizer
    return json.dumps([tokenizer, None if kind in ("byte", "hub", "folder") else corpus], sort_keys=True)


def _meaning(recipe: dict[str, Any]) -> Any:
    if "shuffled" in recipe:
        return _meaning(recipe["shuffled"])
    if "mixture" in recipe:
        parts = [_meaning(part["task"]) for part in recipe["mixture"]]
        alike = all(part == parts[0] for part in parts) and not recipe.get("prefix")
        return parts[0] if alike else ["mixture", *parts, recipe.get("prefix", False)]
    for key in ("vocab", "k"):
        if key in recipe:
            return [key, recipe[key]]
    return [recipe["name"], *(recipe[key] for key in ("width", "values") if key in recipe)]
