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


# Parameters that say how many symbols a task has, where neither `vocab` nor `k` does.
_SYMBOLS = ("width", "values", "alphabet", "hops", "states", "letters", "patch")


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
    if "content" in recipe:  # sequences made elsewhere
        return [recipe["name"], recipe["content"]]
    for key in ("vocab", "k"):
        if key in recipe:
            return [key, recipe[key]]
    name = "lime" if recipe["name"].startswith("lime_") else recipe["name"]  # one vocabulary, three questions
    return [name, *(recipe[key] for key in _SYMBOLS if key in recipe)]


def warmup_role(data: dict[str, Any]) -> str:
    """The role of a warm-up, numbers aside: the task without its parameters, so that several lengths are paired."""
    return f"warmup/{_task(data['task']) if 'task' in data else 'text'}"


def _task(recipe: dict[str, Any]) -> str:
    if "shuffled" in recipe:
        return f"shuffled-{_task(recipe['shuffled'])}"
    if "mixture" in recipe:
        return "+".join(dict.fromkeys(_task(part["task"]) for part in recipe["mixture"]))
    return str(recipe["name"])
