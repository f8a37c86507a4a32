from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
import slow_families as slow
from checks import assert_shifted, distance
from hypothesis import given, settings
from hypothesis import strategies as st

from procray import tasks
from procray.tasks.rnn import Rnn, estimated_radius

TINY = {"length": 4, "alphabet": 3, "networks": 2, "hidden": 3, "spectral_radius": 0.9, "temperature": 0.5}


def every_word(parameters):
    """All words with their chances: over networks and first tokens that are not shown, all as likely."""
    found = {}
    alphabet = parameters["alphabet"]
    networks = [slow.rnn_network(number, **parameters) for number in range(parameters["networks"])]
    for network, first in itertools.product(networks, range(alphabet)):
        for word in itertools.product(range(alphabet), repeat=parameters["length"]):
            state, token, chance = [0.0] * parameters["hidden"], first, 1 / len(networks) / alphabet
            for following in word:
                state, chances = slow.rnn_chances(network, state, token, parameters["temperature"])
                chance *= chances[following]
                token = following
            found[word] = found.get(word, 0) + chance
    return found


@pytest.mark.parametrize(
    "more", [{}, {"shared": 1}, {"radius": "eigenvalue", "family": 3}, {"temperature": 1.0, "spectral_radius": 2.0}]
)
def test_words_have_the_probabilities_of_the_networks(more):
    parameters = TINY | more
    chances = every_word(parameters)
    assert sum(chances.values()) == pytest.approx(1)
    tokens = tasks.get("rnn", **parameters).sample(0, "train", 0, 60_000).tokens_BT
    # Neighbours share a network, so there are fewer independent draws than sequences.
    assert distance(tokens, chances) < 0.5 * np.sqrt(len(chances) / 60_000) + 0.01
    rng = random.Random(0)
    samples = [slow.rnn(rng, **parameters) for _ in range(5000)]
    assert distance(samples, chances) < 0.5 * np.sqrt(len(chances) / 5000) + 0.01


@given(size=st.integers(1, 20), length=st.integers(2, 30), shared=st.integers(1, 9), seed=st.integers(0, 2**64))
@settings(max_examples=25, deadline=None)
def test_neighbours_share_one_of_the_networks(size, length, shared, seed):
    """Where the temperature is next to nothing a network and a first token decide everything."""
    task = tasks.get(
        "rnn", length=length, alphabet=5, networks=3, hidden=4, temperature=1e-9, shared=shared, family=seed % 7
    )
    batch = task.sample(seed, "train", 1, size)
    assert batch.tokens_BT.shape == (size, length)
    assert_shifted(batch, pad=5)
    assert batch.mask_BT[:, :-1].all()
    assert not batch.mask_BT[:, -1].any()
    parameters = {key: value for key, value in task.recipe().items() if key != "name"}
    possible = {}
    for number, first in itertools.product(range(3), range(5)):
        network, state, token, word = slow.rnn_network(number, **parameters), [0.0] * 4, first, []
        for _ in range(length):
            state, chances = slow.rnn_chances(network, state, token, 1e-9)
            token = int(np.argmax(chances))
            word.append(token)
        possible.setdefault(tuple(word), set()).add(number)
    for start in range(0, size, shared):
        group = [possible[tuple(word)] for word in batch.tokens_BT[start : start + shared].tolist()]
        assert set.intersection(*group), "one network could have made them all"


def test_networks_are_drawn_and_scaled_as_said():
    task = tasks.get("rnn", alphabet=300, hidden=80, radius="eigenvalue", spectral_radius=0.7)
    assert isinstance(task, Rnn)
    into_AH, onto_HH, out_HA = task._network(5)
    assert into_AH.std() == pytest.approx(300**-0.5, rel=0.02)
    assert out_HA.std() == pytest.approx(80**-0.5, rel=0.02)
    assert np.abs(np.linalg.eigvals(onto_HH)).max() == pytest.approx(0.7)
    estimated = tasks.get("rnn", alphabet=300, hidden=80, spectral_radius=0.7)._network(5)[1]
    assert estimated_radius(estimated.T) == pytest.approx(0.7)
    assert np.abs(np.linalg.eigvals(estimated)).max() == pytest.approx(0.7, rel=0.3)
    assert np.allclose(estimated / estimated[0, 0], onto_HH / onto_HH[0, 0]), "one matrix, two scales"


def test_the_estimate_is_the_radius_where_one_eigenvalue_leads():
    turned = np.diag([0.5, -2.0, 1.0])
    turned[0, 1] = 3.0
    assert estimated_radius(turned) == pytest.approx(2.0)


def test_all_seeds_and_streams_have_the_same_networks_and_families_differ():
    task = tasks.get("rnn", length=300, alphabet=4, networks=1, hidden=6, temperature=0.2)

    def pairs(of, seed, stream):
        tokens = of.sample(seed, stream, 0, 64).tokens_BT[:, 50:]
        counts = np.zeros((4, 4))
        np.add.at(counts, (tokens[:, :-1], tokens[:, 1:]), 1)
        return counts / counts.sum()

    one = pairs(task, 0, "train")
    assert np.abs(pairs(task, 1, "validation") - one).sum() < 0.1
    other = tasks.get("rnn", length=300, alphabet=4, networks=1, hidden=6, temperature=0.2, family=1)
    assert np.abs(pairs(other, 0, "train") - one).sum() > 0.3
