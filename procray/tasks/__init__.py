"""Procedural and diagnostic tasks: vectorised, counter-based generators.

    task = procray.tasks.get("union", length=64, vocab=100)
    batch = task.sample(seed=0, stream="train", index=7, size=64)

A batch is a pure function of (seed, stream, index, size); nothing is stored and nothing advances.
"""

from procray.tasks.lengths import Curriculum, Length, Span
from procray.tasks.mixture import Mixture
from procray.tasks.registry import describe, from_recipe, get, names, samples
from procray.tasks.shuffled import Shuffled
from procray.tasks.task import BaseTask, Task

__all__ = [
    "BaseTask",
    "Curriculum",
    "Length",
    "Mixture",
    "Shuffled",
    "Span",
    "Task",
    "describe",
    "from_recipe",
    "get",
    "names",
    "samples",
]
