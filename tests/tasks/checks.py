"""What the tests of single tasks have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from procray.batch import Batch


def expected_batch(sequences: Sequence[tuple[list[int], list[int]]], pad: int) -> tuple[list, list, list]:
    """Tokens, targets and mask of a batch, from each row's `(tokens, scored tokens at the end)`."""
    width = max(len(prefix) + len(output) for prefix, output in sequences)
    tokens, targets, mask = [], [], []
    for prefix, output in sequences:
        row = prefix + output
        row = row + [pad] * (width - len(row))
        tokens.append(row)
        targets.append([*row[1:], pad])
        scored = range(len(prefix) - 1, len(prefix) - 1 + len(output))
        mask.append([position in scored for position in range(width)])
    return tokens, targets, mask


def assert_batch(batch: Batch, sequences: Sequence[tuple[list[int], list[int]]], pad: int) -> None:
    tokens, targets, mask = expected_batch(sequences, pad)
    assert batch.tokens_BT.tolist() == tokens
    assert batch.targets_BT.tolist() == targets
    assert batch.mask_BT.tolist() == mask
    assert batch.tokens_BT.dtype == batch.targets_BT.dtype == np.int32
    assert batch.mask_BT.dtype == bool


def assert_shifted(batch: Batch, pad: int) -> None:
    assert np.array_equal(batch.targets_BT[:, :-1], batch.tokens_BT[:, 1:])
    assert (batch.targets_BT[:, -1] == pad).all()


def distance(samples: np.ndarray | Iterable[Sequence[int]], chances: dict[tuple[int, ...], float]) -> float:
    """Total variation between observed frequencies and a distribution; fails on an impossible sample."""
    drawn = samples if isinstance(samples, np.ndarray) else np.array(list(samples))
    rows, times = np.unique(drawn, axis=0, return_counts=True)
    counts = Counter(dict(zip(map(tuple, rows.tolist()), times.tolist(), strict=True)))
    assert set(counts) <= set(chances), f"impossible: {sorted(set(counts) - set(chances))[:3]}"
    total = sum(counts.values())
    return sum(abs(counts[sequence] / total - chance) for sequence, chance in chances.items()) / 2
