"""From what a file says of a task to the task, with those of the parameters beside it that it accepts."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from procray import tasks
from procray.errors import TaskError

Keys = tuple[str, ...]


def parameters_of(value: Any) -> list[str]:
    """The parameters that a task, or any part of a combination, accepts."""
    if isinstance(value, dict):
        if "text" in value or "sequences_from" in value:
            return []
        inner = [value["shuffled"]] if "shuffled" in value else list(value["mixture"])
        return list(dict.fromkeys(name for part in inner for name in parameters_of(part)))
    if value == "eca":
        return ["form", *dict.fromkeys([*parameters_of("eca_rows"), *parameters_of("eca_tokens")])]
    try:
        return list(tasks.describe(value)[1])
    except TaskError:
        return []


def build_task(
    value: Any,
    params: dict[str, Any],
    used: set[str],
    problems: list[tuple[Keys, str]],
    base: Path | None = None,
) -> tasks.Task | None:
    """A task, or None where something is wrong with it.

    Args:
        value: as under `task:`, a name or a combination.
        params: what stands beside it, meant for this task or for others of the grid.
        used: gains the names of the parameters that the task took.
        problems: gains what is wrong, with the keys from the section on that it concerns.
        base: the folder where relative paths start, such as the sweep file's; None is the working directory.
    """
    if isinstance(value, dict):
        if "text" in value:
            problems.append((("task",), "text stands by itself, not inside of shuffled or mixture"))
            return None
        if "sequences_from" in value:
            try:
                return tasks.get("sequences_from", **value["sequences_from"], base=base)
            except TaskError as error:
                for line in str(error).split("\n"):
                    problems.append((_key_of_files(line, value["sequences_from"]), line))
                return None
        inner = [value["shuffled"]] if "shuffled" in value else list(value["mixture"])
        inside: list[tuple[Keys, str]] = []
        parts = [build_task(part, params, used, inside, base) for part in inner]
        about = ("task", "shuffled") if "shuffled" in value else ("task",)
        problems += [((*about, *keys[1:]) if keys[0] == "task" else keys, message) for keys, message in inside]
        if problems or any(part is None for part in parts):
            return None
        try:
            if "shuffled" in value:
                return tasks.get("shuffled", task=parts[0])
            weighted = list(zip(parts, value["mixture"].values(), strict=True))
            return tasks.get("mixture", parts=weighted, prefix=value.get("prefix", False))
        except TaskError as error:
            problems.append((("task",), str(error).replace("\n", "; ")))
            return None
    if value == "eca" and params.get("form") in ("rows", "tokens"):
        used.add("form")
        return build_task(f"eca_{params['form']}", params, used, problems)
    accepted = {key: params[key] for key in parameters_of(value) if key in params}
    used.update(accepted)
    try:
        return tasks.get(value, **accepted)
    except TaskError as error:
        for line in str(error).split("\n"):
            problems.append(((key_of_problem(line, accepted),), line))
        return None


def _key_of_files(line: str, given: dict[str, Any]) -> Keys:
    """The key below `task` that a problem with sequences made elsewhere concerns."""
    text = line.removeprefix("sequences_from: ")
    named = next((key for key in given if text.startswith(f"{key} ")), None)
    if named is None and f"'{given.get('field')}'" in text:
        named = "field"
    return ("task", "sequences_from", named or "path")


def key_of_problem(line: str, given: Collection[str]) -> str:
    """The key that a task's problem concerns: that of the parameters which stand there, or `task`."""
    text = re.sub(r"^\w+: ", "", line)
    named = re.match(r"\W*(\w+)", text)
    if named and named[1] in given:
        return named[1]
    return next((key for key in given if re.search(rf"\b{key}\b", text)), "task")
