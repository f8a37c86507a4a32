"""`procray tasks`: the procedural and diagnostic tasks, and samples of them to read."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from procray.cli.options import Json
from procray.cli.terminal import answer, answer_json


def tasks(
    name: Annotated[str | None, typer.Argument(help="A task; without one, all are listed.")] = None,
    parameters: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Parameters, such as length=16.")
    ] = None,
    count: Annotated[int, typer.Option("--count", min=1, help="How many samples to show.")] = 4,
    json: Json = False,
) -> None:
    """List the procedural and diagnostic tasks, or show readable samples of one."""
    import yaml

    from procray import tasks as room
    from procray.errors import TaskError

    if name is None:
        known = {task: room.describe(task) for task in room.names()}
        if json:
            answer_json({task: {"summary": about[0], "diagnostic": about[2]} for task, about in known.items()})
            return
        for task, about in known.items():
            answer(f"{task:17} {about[0]}")
        return
    chosen: dict[str, Any] = {}
    for parameter in parameters or []:
        key, equals, value = parameter.partition("=")
        if not equals:
            raise TaskError(f"'{parameter}' is not KEY=VALUE")
        chosen[key] = yaml.safe_load(value)
    chosen_task = room.get(name, **chosen)
    samples = room.samples(chosen_task, count)
    summary, known_parameters, _ = room.describe(name)
    if json:
        answer_json(
            {
                "task": chosen_task.recipe(),
                "vocab": chosen_task.vocab_size,
                "positions": chosen_task.positions,
                "samples": samples,
            }
        )
        return
    answer(f"{name}: {summary}\n")
    width = max(10, *map(len, known_parameters))
    for key, (default, meaning) in known_parameters.items():
        answer(f"  {key:{width}} {meaning} (default {default})")
    answer(f"\n{chosen_task.vocab_size} symbols, up to {chosen_task.positions} positions")
    answer(f"{chosen_task.mean_tokens:g} tokens a sequence\n")
    for sample in samples:
        answer(sample)
