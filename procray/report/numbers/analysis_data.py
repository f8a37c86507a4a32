"""The sequences on which models are looked into: their own data, a task that was named, or a random period repeated."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from procray.errors import StoreError, TaskError, did_you_mean
from procray.planning.titles import title_of

if TYPE_CHECKING:
    from torch import Tensor

    from procray.report.numbers.analysis_models import Opened
    from procray.store.store import Store

    Batches = list[tuple[Tensor, Tensor | None]]

SEQUENCES = 64
POSITIONS = 8192  # at most, where nobody asks for more sequences
PERIOD = 16  # of repeated random sequences, wherever there is room: one number for all models, to be compared
REPEAT = "repeat"


def period_for(opened: Sequence[Opened]) -> int:
    """The period of repeated sequences that all these models can read, below 2 where there is no room.

    No symbol stands twice within it, where there are enough to speak of.
    """
    room = min(one.model.config.context // 2 for one in opened)
    symbols = min(PERIOD if one.model.config.rows is not None else max(8, one.symbols) for one in opened)
    return min(PERIOD, room, symbols)


def repeated_batches(one: Opened, period: int, symbols: int, sequences: int | None) -> Batches:
    from procray.model.analysis.heads import repeated_random

    return [(repeated_random(one.model.config, symbols, sequences or SEQUENCES, period), None)]


def batches_for(one: Opened, store: Store, on: str | None, sequences: int | None) -> tuple[str, Batches]:
    """Sequences for a model, and what they are called."""
    return of_task(one, on, sequences) if on is not None else validation(one, store, sequences)


def of_task(one: Opened, on: str, sequences: int | None) -> tuple[str, Batches]:
    import yaml

    from procray import tasks
    from procray.tasks.strata import strata

    name, *words = shlex.split(on)
    if name not in tasks.names():
        raise TaskError(f"--on {name}: no such task{did_you_mean(name, [*tasks.names(), REPEAT])}")
    given = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise TaskError(f"--on '{on}': '{word}' is not KEY=VALUE")
        given[key] = yaml.safe_load(value)
    task = tasks.get(name, **given)
    config = one.model.config
    if task.rows != config.rows:
        form = "tokens" if config.rows is None else f"rows of {config.rows} cells"
        raise TaskError(f"--on {name}: {one.title} reads {form}, which this task does not make")
    if task.rows is None and task.vocab_size > config.vocab:
        raise TaskError(
            f"--on {name}: it makes {task.vocab_size} symbols, and {one.title} knows {config.vocab};"
            f" choose the parameters, as in --on '{name} vocab=8' (`procray tasks {name}` lists them)"
        )
    if task.positions > config.context:
        raise TaskError(
            f"--on {name}: sequences of up to {task.positions} positions, and {one.title} has {config.context};"
            f" choose the parameters, as in --on '{name} length=4' (`procray tasks {name}` lists them)"
        )
    kinds = strata(task, sequences or SEQUENCES)
    cuts = [(kind, min(32, kind.count - first)) for kind in kinds for first in range(0, kind.count, 32)]
    samples = (kind.sample(0, "analysis", index, size) for index, (kind, size) in enumerate(cuts))
    return on, [_tensors(sample) for sample in samples]


def validation(one: Opened, store: Store, sequences: int | None) -> tuple[str, Batches]:
    """The beginning of a phase's own validation data."""
    from procray import corpora
    from procray.training.source import task_source, text_source

    recipe = one.recipe
    if recipe is None:
        raise StoreError(f"{one.title} comes from outside, so it has no data of its own; name some with --on")
    if "task" in recipe.data:
        source: Any = task_source(recipe)
    else:
        source = text_source(recipe, corpora.load(recipe.data, store.bring_corpus(recipe.data)))
    length = None
    if source.curriculum is not None:  # at the length that it had reached
        rows = [row for row in store.phase(one.phase).curve() if row["step"] <= one.step and row.get("length")]
        length = rows[-1]["length"] if rows else source.curriculum.start
    found: Batches = []
    left, positions = sequences or SEQUENCES, POSITIONS if sequences is None else 2**62
    for batch in source.validation(length):
        most = min(left, max(1, positions // batch.mask_BT.shape[1]), len(batch.mask_BT))
        found.append(_tensors(batch.rows(slice(most))))
        left -= most
        positions -= most * batch.mask_BT.shape[1]
        if left <= 0 or positions <= 0:
            break
    return f"{title_of(recipe.data)}, validation data", found


def _tensors(batch: Any) -> tuple[Tensor, Tensor | None]:
    """A batch as `head_scores` takes it: what stands behind the last scored position is padding."""
    import numpy as np
    import torch

    inputs = batch.rows_BTW if hasattr(batch, "rows_BTW") else batch.tokens_BT
    valid_BT = np.flip(np.logical_or.accumulate(np.flip(batch.mask_BT, 1), 1), 1).copy()
    return torch.from_numpy(np.asarray(inputs).astype(np.int64)), torch.from_numpy(valid_BT)
