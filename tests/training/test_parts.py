import numpy as np
import pytest

from procray import tasks
from procray.training import task_source
from procray.training.parts import micro_batches

from .phases import recipe


@pytest.mark.parametrize(("world_size", "most"), [(1, 3), (1, 100), (3, 2), (2, 1)])
def test_every_sequence_is_in_exactly_one_part(world_size, most):
    batch = task_source(recipe(batch=11)).batch(0, None)
    parts = [part for rank in range(world_size) for part in micro_batches(batch, rank, world_size, most)]
    assert all(1 <= len(part.tokens_BT) <= most for part in parts)
    rows = sorted(map(tuple, np.concatenate([part.tokens_BT for part in parts])))
    assert rows == sorted(map(tuple, batch.tokens_BT))


@pytest.mark.parametrize("world_size", [1, 2])
def test_trimmed_parts_lose_only_what_comes_after_the_last_scored_position(world_size):
    batch = tasks.get("haystack", pairs=12).sample(0, "train", 0, 101)
    parts = [part for rank in range(world_size) for part in micro_batches(batch, rank, world_size, 1000, trim=200)]
    assert sum(part.mask_BT.size for part in parts) < 0.7 * batch.mask_BT.size

    def questions(one):
        """Every sequence up to its marker, with the target that stands there."""
        markers = one.mask_BT.argmax(1)
        return [(*one.tokens_BT[b, : t + 1], one.targets_BT[b, t]) for b, t in enumerate(markers)]

    assert sorted(question for part in parts for question in questions(part)) == sorted(questions(batch))
