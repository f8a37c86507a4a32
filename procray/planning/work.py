"""The positions that a step really computes: of a task, after its batches and their parts were trimmed."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from procray import tasks
from procray.files import canonical_json
from procray.model.family import ModelConfig
from procray.model.shape import flops_per_token
from procray.tasks.lengths import longest_of
from procray.tasks.strata import strata
from procray.training.parts import CPU_TRIM, computed

_KINDS = 8  # lengths and parts that stand for all
_BATCHES = 2  # of each
_POSITIONS = 1 << 22  # of a batch: the sequences of a larger one end like these


def flops_per_step(
    data: dict[str, Any], config: ModelConfig, batch: int, context: int, resources: dict[str, Any]
) -> float:
    """Expected operations of one step of a whole batch, by the formula of `flops_per_token`.

    Batches of tasks are sampled, for how far sequences can be trimmed is up to what they hold; a curriculum counts at
    its longest. Text has no padding.
    """
    if "task" not in data:
        return batch * context * flops_per_token(config, context)
    size = max(1, min(batch, _POSITIONS // context))
    parts = _parts(canonical_json(data["task"]), size, int(resources["workers"]), resources["gpu"] > 0)
    sampled = sum(share * sequences * length * flops_per_token(config, length) for share, sequences, length in parts)
    return sampled * batch / size


@lru_cache(maxsize=4096)
def _parts(recipe: str, size: int, workers: int, gpu: bool) -> list[tuple[float, int, int]]:
    """What share of the steps, of a batch of this size, has a part of so many sequences and positions."""
    task = tasks.from_recipe(json.loads(recipe))
    longest = None if task.curriculum is None else longest_of(task.curriculum)
    found: list[tuple[float, int, int]] = []
    for number, kind in enumerate(strata(task, _KINDS)):
        for index in range(min(_BATCHES, kind.count)):
            sample = kind.sample(0, "planning", number * _BATCHES + index, size, longest)
            share = kind.count / _KINDS / min(_BATCHES, kind.count)
            trim = 0 if gpu else CPU_TRIM
            found += [(share, *part) for part in computed(sample.mask_BT, min(workers, size), size, trim)]
    return found
