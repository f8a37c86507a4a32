"""From what a file says of a task to the task, with those of the parameters beside it that it accepts."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from procray import tasks
from procray.corpora import hub_sequences
from procray.errors import CorpusError, EnvironmentProblem, TaskError


class Wrong(NamedTuple):
    """A problem with a task, and the keys from the section on that it concerns; see `Problem.not_here`."""

    keys: tuple[str, ...]
    message: str
    not_here: bool = False


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
    problems: list[Wrong],
    base: Path | None = None,
    fetch: bool = True,
) -> tasks.Task | None:
    """A task, or None where something is wrong with it.

    Args:
        value: as under `task:`, a name or a combination.
        params: what stands beside it, meant for this task or for others of the grid.
        used: gains the names of the parameters that the task took.
        problems: gains what is wrong, with the keys from the section on that it concerns.
        fetch: bring sequences of the hub to this host; else a task on what is not here is None, and no problem.
        base: the folder where relative paths start, such as the sweep file's; None is the working directory.
    """
    if isinstance(value, dict):
        if "text" in value:
            problems.append(Wrong(("task",), "text stands by itself, not inside of shuffled or mixture"))
            return None
        if "sequences_from" in value:
            given = value["sequences_from"]
            try:
                if "hf" in given:
                    return _of_hub(given, problems, fetch)
                return tasks.get("sequences_from", **given, base=base)
            except TaskError as error:
                for line in str(error).split("\n"):
                    problems.append(Wrong(_key_of_files(line, given), line))
                return None
        inner = [value["shuffled"]] if "shuffled" in value else list(value["mixture"])
        inside: list[Wrong] = []
        parts = [build_task(part, params, used, inside, base, fetch) for part in inner]
        about = ("task", "shuffled") if "shuffled" in value else ("task",)
        problems += [one._replace(keys=(*about, *one.keys[1:])) if one.keys[0] == "task" else one for one in inside]
        if problems or any(part is None for part in parts):
            return None
        try:
            if "shuffled" in value:
                return tasks.get("shuffled", task=parts[0])
            weighted = list(zip(parts, value["mixture"].values(), strict=True))
            return tasks.get("mixture", parts=weighted, prefix=value.get("prefix", False))
        except TaskError as error:
            problems.append(Wrong(("task",), str(error).replace("\n", "; ")))
            return None
    if value == "eca" and params.get("form") in ("rows", "tokens"):
        used.add("form")
        return build_task(f"eca_{params['form']}", params, used, problems)
    accepted = {key: params[key] for key in parameters_of(value) if key in params}
    used.update(accepted)
    try:
        made = tasks.get(value, **accepted)
        if made.curriculum is not None and (why := getattr(made, "never_mastered", "")):
            raise TaskError(f"{value}: length cannot grow with mastery: {why}; give one length, or {{min, max}}")
        return made
    except TaskError as error:
        for line in str(error).split("\n"):
            problems.append(Wrong((key_of_problem(line, accepted),), line))
        return None


def _of_hub(given: dict[str, Any], problems: list[Wrong], fetch: bool) -> tasks.Task | None:
    """The sequences of a hub dataset.

    Raises:
        TaskError: they are none that could be trained on.
    """
    try:
        origin = hub_sequences.origin_of(given, ask=fetch)
        if origin is None or not (fetch or hub_sequences.kept(origin).exists()):
            return None
        path = hub_sequences.bring(origin)
    except EnvironmentProblem as error:
        problems.append(Wrong(("task", "sequences_from", "hf"), str(error), not_here=True))
        return None
    except CorpusError as error:
        key = next((key for key in ("field", "rows", "split", "config", "revision") if f"{key}:" in str(error)), "hf")
        problems.append(Wrong(("task", "sequences_from", key if key in given else "hf"), str(error)))
        return None
    cut = {"cut": given["cut"]} if "cut" in given else {}
    return tasks.get("sequences_from", path=str(path), field=origin["field"], origin=origin, **cut)


def _key_of_files(line: str, given: dict[str, Any]) -> tuple[str, ...]:
    """The key below `task` that a problem with sequences made elsewhere concerns."""
    text = line.removeprefix("sequences_from: ")
    named = next((key for key in given if text.startswith(f"{key} ")), None)
    if named is None and f"'{given.get('field')}'" in text:
        named = "field"
    return ("task", "sequences_from", named or ("hf" if "hf" in given else "path"))


def key_of_problem(line: str, given: Collection[str]) -> str:
    """The key that a task's problem concerns: that of the parameters which stand there, or `task`."""
    text = re.sub(r"^\w+: ", "", line)
    named = re.match(r"\W*(\w+)", text)
    if named and named[1] in given:
        return named[1]
    return next((key for key in given if re.search(rf"\b{key}\b", text)), "task")
