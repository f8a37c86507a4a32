"""What people call the data of a phase, in a few words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from procray.training.recipe import PhaseRecipe


def task_among(recipe: PhaseRecipe) -> dict[str, Any] | None:
    """The procedural data among the text of a phase, as a stream of data; None where there are none."""
    found = recipe.interleaving
    return None if found is None or found.task is None else {"task": found.task}


def title_of(data: dict[str, Any]) -> str:
    """A short name for a stream of data: the task, or the corpus."""
    if "task" in data:
        return task_title(data["task"])
    from procray import corpora  # numpy and more, which readers of results do not need

    return corpora.title(data)


def task_title(task: dict[str, Any]) -> str:
    """The name of a task, with the tasks that it shuffles or mixes."""
    for combinator in ("shuffled", "mixture"):
        if combinator in task:
            inner = task[combinator]
            parts = [part["task"] for part in inner] if isinstance(inner, list) else [inner]
            return f"{combinator} " + "+".join(task_title(part) for part in parts)
    name = str(task.get("name", "task"))
    return f"{name} (definition ours; the paper's is unpublished)" if name == "sorting" else name
