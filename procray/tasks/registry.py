"""Finds tasks by name, checks their parameters, and reads recipes.

A new task is one new file and one line in `TASKS`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from procray.batch import Batch
from procray.errors import TaskError, did_you_mean
from procray.tasks import mixture as _mixture
from procray.tasks import sequences_from as _outside
from procray.tasks import shuffled as _shuffled
from procray.tasks.arithmetic import Addition, Multiplication, ReversedAddition
from procray.tasks.automaton import Automaton
from procray.tasks.delete import Delete
from procray.tasks.dyck import Dyck
from procray.tasks.dyck_shuffle import DyckShuffle
from procray.tasks.eca import EcaRows, EcaTokens
from procray.tasks.haystack import Haystack
from procray.tasks.hops import Hops
from procray.tasks.identity import Identity
from procray.tasks.k_shuffle_dyck import KShuffleDyck
from procray.tasks.lengths import read_length
from procray.tasks.lime import LimeAbduct, LimeDeduct, LimeInduct
from procray.tasks.mixture import Mixture
from procray.tasks.mp_struct import MpStruct
from procray.tasks.mp_struct_core import MpStructCore
from procray.tasks.nca import Nca
from procray.tasks.parameters import Parameter
from procray.tasks.queue import Queue
from procray.tasks.reverse import Reverse
from procray.tasks.rnn import Rnn
from procray.tasks.set import Set
from procray.tasks.shuffled import Shuffled
from procray.tasks.sort import Sort
from procray.tasks.sorting import Sorting
from procray.tasks.stack import Stack
from procray.tasks.task import BaseTask, Task
from procray.tasks.union import Union

TASKS: dict[str, type[BaseTask]] = {
    task.name: task
    for task in (
        Identity, Reverse, Sort, Set, Union, Delete, Stack, Dyck, DyckShuffle, EcaRows, EcaTokens,
        Queue, LimeDeduct, LimeAbduct, LimeInduct, Hops, Automaton, KShuffleDyck, Rnn, Nca,
        MpStruct, MpStructCore,
        Haystack, Addition, ReversedAddition, Multiplication, Sorting,
    )
}  # fmt: skip

ECA_FORMS = {"rows": "eca_rows", "tokens": "eca_tokens"}
COMBINATORS: dict[str, tuple[str, dict[str, tuple[Any, str]]]] = {
    "shuffled": (_shuffled.SUMMARY, {"task": (None, "the task whose sequences are shuffled")}),
    "mixture": (
        _mixture.SUMMARY,
        {
            "parts": (None, "the tasks and their weights (shares of the batches)"),
            "prefix": (False, "begin every sequence with a token that names its part (true or false)"),
        },
    ),
}


def names() -> list[str]:
    """The single tasks, the papers' in their order, then others' and our own, diagnostics last; no combinators."""
    return list(TASKS)


def describe(name: str) -> tuple[str, dict[str, tuple[Any, str]], bool]:
    """What a task or combinator is.

    Returns:
        A one-line summary, `{parameter: (default, meaning)}`, and whether it is a diagnostic.

    Raises:
        TaskError: for an unknown name.
    """
    if name in COMBINATORS:
        summary, parameters = COMBINATORS[name]
        return summary, dict(parameters), False
    if name == _outside.NAME:
        return _outside.SUMMARY, dict(_outside.PARAMETERS), False
    task = _find(name)
    return task.summary, {f.name: (f.default, _parameter(f).meaning) for f in fields(task)}, task.diagnostic  # type: ignore[arg-type]


def get(name: str, /, **params: Any) -> Task:
    """A task by its name.

    Args:
        name: one of `names()`; `eca` with `form="rows"` or `form="tokens"`; `shuffled` with
            `task=`; `mixture` with `parts=[(task, weight), ...]`, perhaps `prefix=True`, whose inner tasks may be
            given as recipes; `sequences_from` with `path=`.
        **params: see `describe`. `length` is a number, `{"min", "max"}` (drawn for every batch), or
            `{"start", "step", "mastery", "max"}` (grown by the training loop).

    Raises:
        TaskError: names every unknown name, wrong type and value out of range at once.
    """
    if name in COMBINATORS:
        return _combined(name, params)
    if name == _outside.NAME:
        return _outside.sequences_from(**params)
    if name == "eca":
        name = _eca_form(params.pop("form", None))
    task = _find(name)
    values, problems = _checked(task, params)
    made = None if problems else task(**values)
    if made is not None:
        problems = made.problems()
    if made is None or problems:
        raise TaskError("\n".join(f"{name}: {problem}" for problem in problems))
    return made


def from_recipe(recipe: dict[str, Any]) -> Task:
    """The task that `Task.recipe()` describes; parameters may be left out where defaults serve.

    Raises:
        TaskError: as `get`.
    """
    if not isinstance(recipe, dict):
        raise TaskError(f"a task is written as a mapping, not {recipe!r}")
    for name in COMBINATORS:
        if name in recipe:
            beside = sorted(set(recipe) - {name} - ({"prefix"} if name == "mixture" else set()))
            if beside:
                raise TaskError(f"'{name}' stands alone, but was given with {', '.join(beside)}")
            if name == "shuffled":
                return get(name, task=recipe[name])
            if not isinstance(recipe[name], list):
                raise TaskError(f"mixture: a list of {{task, weight}} was expected, not {recipe[name]!r}")
            prefix = {"prefix": recipe["prefix"]} if "prefix" in recipe else {}
            return get(name, parts=[_part(entry) for entry in recipe[name]], **prefix)
    if not isinstance(recipe.get("name"), str):
        raise TaskError(f"a task needs a name, or one of {', '.join(COMBINATORS)}; was given {recipe!r}")
    unsafe = [str(key) for key in recipe if not isinstance(key, str)]
    if unsafe:
        raise TaskError(f"{recipe['name']}: parameters have names; was given {', '.join(unsafe)}")
    params = {key: value for key, value in recipe.items() if key != "name"}
    return get(recipe["name"], **params)


def samples(task: Task, n: int, length: int | None = None) -> list[str]:
    """`n` readable sequences, one string each; `length` shortens them for display.

    Each comes from a batch of its own, so a range of lengths and a mixture show their variety.
    """
    texts = []
    for index in range(n):
        batch = task.sample(0, "samples", index, 1, length)
        texts.append(task.text(batch.tokens_BT[0] if isinstance(batch, Batch) else batch.rows_BTW[0]))
    return texts


def _eca_form(form: Any) -> str:
    if not isinstance(form, str) or form not in ECA_FORMS:
        given = "" if form is None else f", not {form!r}{did_you_mean(form, ECA_FORMS)}"
        raise TaskError(
            f"eca needs form: rows (one position a row of cells) or form: tokens (one token a cell){given}; "
            "the papers' own format is not known"
        )
    return ECA_FORMS[form]


def _find(name: str) -> type[BaseTask]:
    if name == "eca":
        return TASKS[_eca_form(None)]
    if name not in TASKS:
        known = [*TASKS, "eca", *COMBINATORS, _outside.NAME]
        raise TaskError(f"there is no task '{name}'{did_you_mean(name, known)} (tasks: {', '.join(known)})")
    return TASKS[name]


def _parameter(field: Any) -> Parameter:
    parameter = field.metadata["parameter"]
    assert isinstance(parameter, Parameter)
    return parameter


def _checked(task: type[BaseTask], params: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The values to build `task` with, and what is wrong with `params`."""
    known = {f.name: _parameter(f) for f in fields(task)}  # type: ignore[arg-type]
    values, problems = {}, []
    for name, value in params.items():
        if name not in known:
            problems.append(
                f"there is no parameter '{name}'{did_you_mean(name, known)} (parameters: {', '.join(known)})"
            )
            continue
        read = known[name].read
        try:
            if read is None:
                values[name] = read_length(value, task.shortest, task.longest, task.multiple)
            else:
                values[name] = read(value)
        except ValueError as error:
            problems.append(str(error) if read is None else f"{name} {error}")
    return values, problems


def _combined(name: str, params: dict[str, Any]) -> Task:
    known = COMBINATORS[name][1]
    wanted = next(iter(known))
    problems = [
        f"{name}: there is no parameter '{key}'{did_you_mean(key, known)} (parameters: {', '.join(known)})"
        for key in params
        if key not in known
    ]
    if wanted not in params:
        problems.append(f"{name}: needs {wanted}")
    if not isinstance(params.get("prefix", False), bool):
        problems.append(f"{name}: prefix is {params['prefix']!r}; expected true or false")
    if problems:
        raise TaskError("\n".join(problems))
    if name == "shuffled":
        return Shuffled(_inner(params["task"], name))
    return _mixed(params["parts"], params.get("prefix", False))


def _inner(task: Any, outer: str) -> Task:
    """A task given as such or as a recipe, if a combinator can take it."""
    made: Task = from_recipe(task) if isinstance(task, dict) else task
    if not isinstance(made, BaseTask | Shuffled | Mixture):
        raise TaskError(f"{outer}: expected a task, not {task!r}")
    if made.diagnostic:
        raise TaskError(f"{outer}: {made.name} is a diagnostic; only warm-up tasks can be {outer}")
    return made


def _part(entry: Any) -> tuple[Any, Any]:
    if not isinstance(entry, dict) or set(entry) != {"task", "weight"}:
        raise TaskError(f"mixture: a part is written as {{task, weight}}, not {entry!r}")
    return entry["task"], entry["weight"]


def _mixed(parts: Iterable[tuple[Any, Any]], prefix: bool) -> Mixture:
    tasks: list[Task] = []
    weights: list[float] = []
    problems: list[str] = []
    for task, weight in parts:
        try:
            made = _inner(task, "mixture")
        except TaskError as error:
            problems.append(str(error))
            continue
        if made.rows is not None:
            problems.append(f"mixture: {made.name} makes rows, not tokens, and cannot be mixed")
        if isinstance(made, Mixture) and made.prefix:
            problems.append("mixture: a part cannot itself be a mixture with prefix")
        if made.curriculum is not None:
            problems.append(f"mixture: {made.name} has a curriculum; give it one length or a range")
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not number or not math.isfinite(weight) or weight <= 0:
            problems.append(f"mixture: the weight of {made.name} is {weight!r}; expected a number above 0")
            continue
        tasks.append(made)
        weights.append(float(weight))
    if problems:
        raise TaskError("\n".join(problems))
    if not tasks:
        raise TaskError("mixture: needs at least one part")
    total = math.fsum(weights)
    # 3 to 2 and 0.6 to 0.4 are one mixture with one identity.
    shares = weights if math.isclose(total, 1, abs_tol=1e-9) else [round(weight / total, 12) for weight in weights]
    return Mixture(tuple(zip(tasks, shares, strict=True)), prefix)
