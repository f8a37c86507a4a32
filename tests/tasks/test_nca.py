from __future__ import annotations

import gzip
import random

import numpy as np
import pytest
import slow_families as slow
from checks import assert_shifted
from hypothesis import given, settings
from hypothesis import strategies as st

from procray import tasks
from procray.errors import TaskError
from procray.tasks.nca import Nca, complexity
from procray.tasks.nca_rule import drawn_rules, first_states, simulated

ANY = {"simplest": 0.0, "most_complex": 2.0}


def frames_of(tokens, task):
    """`(F, side, side)` cells of the whole frames of one sequence; what is wrong in its layout fails."""
    found = []
    for start in range(0, len(tokens), task.frame):
        part = tokens[start : start + task.frame]
        assert part[0] == task.patches
        assert all(token < task.patches for token in part[1 : task.frame - 1])
        if len(part) < task.frame:
            break
        assert part[-1] == task.patches + 1
        cells = np.empty((task.side, task.side), int)
        places = [(r, c) for r in range(0, task.side, task.patch) for c in range(0, task.side, task.patch)]
        for token, (r, c) in zip(part[1:-1], places, strict=True):
            for place in range(task.patch**2):
                token, cells[r + place // task.patch, c + place % task.patch] = divmod(token, task.states)
        found.append(cells)
    return np.array(found)


@given(
    size=st.integers(1, 40),
    shape=st.sampled_from([(4, 1), (4, 2), (6, 3), (9, 3), (12, 2)]),
    states=st.integers(2, 3),
    more=st.integers(1, 90),
    every=st.integers(1, 3),
    burn_in=st.integers(0, 4),
    seed=st.integers(0, 2**64),
)
@settings(max_examples=25, deadline=None)
def test_what_follows_a_neighbourhood_is_one_state_within_a_sequence(size, shape, states, more, every, burn_in, seed):
    grid, patch = shape
    length = (grid // patch) ** 2 + 2 + more
    task = tasks.get(
        "nca", length=length, side=grid, states=states, patch=patch, every=every, burn_in=burn_in, temperature=0, **ANY
    )
    assert isinstance(task, Nca)
    batch = task.sample(seed, "train", 1, size)
    assert batch.tokens_BT.shape == (size, length)
    assert batch.nominal_tokens == size * length
    assert_shifted(batch, task.pad)
    expected = [task.frame - 1 <= place < length - 1 for place in range(length)]
    assert (batch.mask_BT == expected).all()
    for tokens in batch.tokens_BT.tolist():
        frames = frames_of(tokens, task)
        if every > 1:
            continue
        around = np.stack(
            [np.roll(frames, (down, right), axis=(1, 2)) for down in (-1, 0, 1) for right in (-1, 0, 1)], axis=-1
        )
        rule = {}
        for before, after in zip(around[:-1].reshape(-1, 9).tolist(), frames[1:].reshape(-1).tolist(), strict=True):
            assert rule.setdefault(tuple(before), after) == after


@pytest.mark.parametrize(("states", "bias", "burn_in", "every"), [(2, 0.0, 0, 1), (5, 0.4, 2, 2), (10, -0.3, 3, 1)])
def test_updates_are_those_of_the_slow_rule(states, bias, burn_in, every):
    rng = np.random.default_rng(0)
    rules = drawn_rules(rng, 3, states)
    first_BC = first_states(rng, 3, 36, states)
    states_BFC = simulated(rng, rules, first_BC, 6, 3, burn_in, every, 0.0, bias)
    for number in range(3):
        weights = (rules.seen_BPSK[number].tolist(), rules.hidden_BHK[number].tolist(), rules.next_BSH[number].tolist())
        cells, made = first_BC[number].reshape(6, 6).tolist(), []
        for update in range(burn_in + 2 * every + 1):
            if update:
                cells = slow.nca_update(random.Random(0), cells, weights, 0.0, bias)
            made.append(np.ravel(cells).tolist())
        assert states_BFC[number].tolist() == made[burn_in::every]


def test_states_are_drawn_by_the_temperature():
    rng = np.random.default_rng(1)
    one = drawn_rules(rng, 1, 4)
    rules = one.part(np.zeros(3000, int))
    first_BC = np.repeat(first_states(rng, 1, 9, 4), 3000, axis=0)
    drawn_BC = simulated(rng, rules, first_BC, 3, 2, 0, 1, 0.5, 0.2)[:, 1]
    weights = (one.seen_BPSK[0].tolist(), one.hidden_BHK[0].tolist(), one.next_BSH[0].tolist())
    for cell in range(9):
        numbers = slow.nca_numbers(first_BC[0].reshape(3, 3).tolist(), cell // 3, cell % 3, weights, 0.2)
        chances = np.exp(np.array(numbers) / 0.5)
        assert np.bincount(drawn_BC[:, cell], minlength=4) / 3000 == pytest.approx(chances / chances.sum(), abs=0.04)


def test_a_small_temperature_decides_only_between_states_that_are_close():
    """The same start and rules with and without chance: few cells differ after one update."""
    rng = np.random.default_rng(2)
    rules, first_BC = drawn_rules(rng, 200, 10), first_states(rng, 200, 144, 10)
    cold = simulated(rng, rules, first_BC, 12, 2, 0, 1, 0.0, 0.0)[:, 1]
    warm = simulated(rng, rules, first_BC, 12, 2, 0, 1, 1e-4, 0.0)[:, 1]
    assert 0 < (cold != warm).mean() < 0.05


def test_weights_and_first_grids():
    rng = np.random.default_rng(0)
    rules = drawn_rules(rng, 3000, 10)
    for weights, inputs in ((rules.seen_BPSK, 90), (rules.hidden_BHK, 4), (rules.next_BSH, 16)):
        assert weights.std() == pytest.approx(inputs**-0.5, rel=0.02)
        assert np.abs(weights).max() <= 2.0001 / 0.87962566 * inputs**-0.5
    first_BC = first_states(rng, 4000, 144, 5)
    shares_BS = np.stack([(first_BC == state).mean(axis=1) for state in range(5)], axis=1)
    assert shares_BS.mean(axis=0) == pytest.approx(np.full(5, 0.2), abs=0.01)
    weights = np.exp(np.random.default_rng(1).normal(size=(100_000, 5)))
    expected = (weights / weights.sum(axis=1, keepdims=True)).std()
    assert shares_BS.std() == pytest.approx(np.sqrt(expected**2 + 0.13 / 144), abs=0.01)


def test_complexity_is_that_of_gzip():
    numbers = np.random.default_rng(0).integers(0, 10_000, (10, 36), dtype=np.int32)
    plain = numbers.astype("<i4").tobytes()
    assert complexity(numbers) == len(gzip.compress(plain, 9)) / len(plain)


def test_a_band_chooses_rules():
    """The band is that of a simulation of the rule's own; what is seen of the rule has nearly the same complexity."""
    found = {}
    for band in ((0.0, 0.2), (0.3, 0.45), (0.5, 1.0)):
        task = tasks.get("nca", length=380, simplest=band[0], most_complex=band[1])
        tokens = task.sample(0, "train", 0, 24).tokens_BT.reshape(24, 10, 38)[:, :, 1:-1]
        found[band] = np.array([complexity(one) for one in tokens])
        inside = (found[band] > band[0] - 0.1) & (found[band] < band[1] + 0.1)
        assert inside.mean() > 0.75
    assert found[0.0, 0.2].mean() < found[0.3, 0.45].mean() < found[0.5, 1.0].mean()


def test_an_empty_band_is_named(monkeypatch):
    monkeypatch.setattr("procray.tasks.nca.MOST_RULES", 20)
    words = "simplest is 1.5 and most_complex 1.6; of .* rules only 0 have .*, so widen the band"
    with pytest.raises(TaskError, match=words):
        tasks.get("nca", side=4, length=20, simplest=1.5, most_complex=1.6).sample(0, "train", 0, 4)


def test_ends_may_be_left_out_of_the_loss():
    task = tasks.get("nca", length=31, side=4, states=2, ends="unscored", **ANY)
    assert isinstance(task, Nca)
    batch = task.sample(0, "train", 0, 2)
    assert batch.mask_BT[0].tolist() == [
        task.frame <= place + 1 < 31 and batch.targets_BT[0, place] < task.patches for place in range(31)
    ]


def test_text():
    task = tasks.get("nca", length=12, side=4, states=3, **ANY)
    assert task.text(np.array([81, 5, 0, 80, 27, 82, 83])) == "< 2100 0000 2222 0001 >"
    assert tasks.get("nca", states=12, **ANY).text(np.array([11])) == "11.0.0.0"


def test_the_slow_sampler_makes_the_same_sequences():
    """The benchmark compares with it. Few states, because it is slow."""
    task = tasks.get("nca", length=40, side=4, states=3, burn_in=2, temperature=0.05, simplest=0.2, most_complex=0.6)
    parameters = {key: value for key, value in task.recipe().items() if key != "name"}
    rng = random.Random(0)
    slowly = np.array([slow.nca(rng, **parameters) for _ in range(60)])
    quickly = task.sample(0, "train", 0, 2000).tokens_BT
    assert slowly.shape == (60, 40)

    def about(tokens):
        frames = tokens[:, :36].reshape(-1, 6, 6)[:, :, 1:-1].reshape(len(tokens), 6, 4)
        same = (frames[:, 1:] == frames[:, :-1]).mean(axis=(1, 2))
        distinct = np.array([len(np.unique(row)) for row in frames.reshape(len(frames), -1)])
        return np.stack([same, distinct, (frames % 3 == 0).mean(axis=(1, 2))], axis=1)

    one, other = about(slowly), about(quickly)
    error = np.sqrt(one.var(axis=0) / len(one) + other.var(axis=0) / len(other))
    assert (np.abs(one.mean(axis=0) - other.mean(axis=0)) < 4.5 * error).all()
