"""What cheap strategies score on a task: what an accuracy has to be held against.

The strategies are played on a fixed sample of the task's own sequences, so every task has them, a new one as well.

- `one answer`: always the same answer, the most frequent one (found on one half of the sample, scored on the other);
- `among the shown`: any of the distinct answers that the sequence has shown so far, each as likely;
- `the last shown`: the token before the answer; for rows of cells, the row before.

Where an answer has ids of its own (digits of a sum, sorted numbers), it is the same as the symbol of the same word.
"""

from __future__ import annotations

import functools
import json
from collections import Counter

import numpy as np

from procray.batch import Batch, RowBatch
from procray.files import canonical_json
from procray.tasks.registry import from_recipe
from procray.tasks.task import Task

ONE, SHOWN, LAST = "one answer", "among the shown", "the last shown"
_SIZE = 16  # small batches, because one with a drawn length has one length only
_FEWEST, _MOST = 4, 512  # batches
_ANSWERS = 4096  # enough for half a point


def chance(task: Task) -> dict[str, float]:
    """The accuracy of every cheap strategy on a task, between 0 and 1; the same at every call."""
    return dict(_chance(canonical_json(task.recipe())))


@functools.lru_cache(maxsize=256)
def _chance(recipe: str) -> tuple[tuple[str, float], ...]:
    task = from_recipe(json.loads(recipe))
    length = task.curriculum.max if task.curriculum else None
    batches: list[Batch | RowBatch] = []
    answers = 0
    while len(batches) < _FEWEST or (answers < _ANSWERS and len(batches) < _MOST):
        batches.append(task.sample(0, "chance", len(batches), _SIZE, length))
        answers += int(batches[-1].mask_BT.sum())
    if task.rows is not None:
        found = _of_rows([batch for batch in batches if isinstance(batch, RowBatch)])
    else:
        found = _of_tokens(task, [batch for batch in batches if isinstance(batch, Batch)])
    return tuple(found.items())


def _of_rows(batches: list[RowBatch]) -> dict[str, float]:
    ones = np.concatenate([batch.targets_BTW[batch.mask_BT].ravel() for batch in batches])
    same = np.concatenate([(batch.targets_BTW == batch.rows_BTW)[batch.mask_BT].ravel() for batch in batches])
    return {ONE: _one_answer(ones.tolist()), LAST: float(same.mean())}


def _of_tokens(task: Task, batches: list[Batch]) -> dict[str, float]:
    word = _words(task)
    answers: list[str] = []
    shown: list[float] = []
    last: list[bool] = []
    possible = {word[token] for batch in batches for token in np.unique(batch.targets_BT[batch.mask_BT]).tolist()}
    for batch in batches:
        for tokens, targets, mask in zip(
            batch.tokens_BT.tolist(), batch.targets_BT.tolist(), batch.mask_BT.tolist(), strict=True
        ):
            seen: set[str] = set()
            for token, target, scored in zip(tokens, targets, mask, strict=True):
                if word[token] in possible:
                    seen.add(word[token])
                if scored:
                    answers.append(word[target])
                    shown.append(1 / len(seen) if word[target] in seen else 0.0)
                    last.append(word[token] == word[target])
    return {ONE: _one_answer(answers), SHOWN: float(np.mean(shown)), LAST: float(np.mean(last))}


def _one_answer(answers: list[str] | list[int]) -> float:
    half = len(answers) // 2
    best = Counter(answers[:half]).most_common(1)[0][0]
    return sum(answer == best for answer in answers[half:]) / (len(answers) - half)


def _words(task: Task) -> list[str]:
    inner = task
    while not hasattr(inner, "word") and hasattr(inner, "task"):
        inner = inner.task
    write = getattr(inner, "word", str)
    special = {task.pad, task.separator}
    return [f"<{token}>" if token in special else write(token) for token in range(task.vocab_size)]
