"""AUTOMATON: the states that a drawn finite automaton runs through.

The definition is ours. Words of drawn automata in context are studied in arXiv 2401.12973, states of fixed ones in
arXiv 2210.10749.

Shape suffixes: B sequences, L letters, N entries of the table.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from procray.batch import Batch
from procray.tasks.lengths import Length
from procray.tasks.parameters import choice, length_of, whole
from procray.tasks.rng import below, words
from procray.tasks.sequences import shifted, shuffles
from procray.tasks.task import BaseTask


@dataclass(frozen=True)
class Automaton(BaseTask):
    """`table | q0 a1..aL | q1..qL`: the word is read from state q0 on, and q_i is the state after a_i.

    Every sequence has an automaton of its own: for each of `states` x `letters` the following state is uniform. With
    `table: shown` its entries `state letter state` come first, in random order, so every state can be worked out; with
    `table: hidden` they and their separator are left out, and the automaton has to be found out from the states so
    far. States are the ids 0..states-1, letters follow; word and start are uniform.
    """

    name: ClassVar[str] = "automaton"
    summary: ClassVar[str] = "run a drawn finite automaton:  state letter state .. | start letters | states"
    longest: ClassVar[int] = 4096
    length: Length = field(default=32, metadata=length_of("L: letters of the word"))
    states: int = field(default=6, metadata=whole("states of the automaton", 2, 256))
    letters: int = field(default=4, metadata=whole("letters of its alphabet", 1, 64))
    table: str = field(default="shown", metadata=choice("whether its transitions stand in front", ("shown", "hidden")))

    @property
    def symbols(self) -> int:
        return self.states + self.letters

    def nominal(self, length: int) -> int:
        return 2 * length + 2 + (3 * self.states * self.letters + 1) * (self.table == "shown")

    def word(self, token: int) -> str:
        return f"q{token}" if token < self.states else _letter(token - self.states)

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        entries = self.states * self.letters
        drawn = below(words(rng, entries + 1 + length, size), _bounds(self.states, self.letters, length))
        # One flat table of all sequences' following states, in which the present state counts last.
        table, state_B, word_LB = drawn[:entries].reshape(-1), drawn[entries], drawn[entries + 1 :]
        tokens_BT = np.empty((size, self.nominal(length)), np.int32)
        word = tokens_BT.shape[1] - 2 * length - 2
        tokens_BT[:, word] = state_B
        tokens_BT[:, word + 1 : -length - 1] = (word_LB + self.states).T
        tokens_BT[:, -length - 1] = self.symbols
        column_B = np.arange(0, size * self.states, self.states)
        word_LB *= size * self.states
        word_LB += column_B
        found = [state_B := table[letter_B + state_B] for letter_B in word_LB]
        tokens_BT[:, -length:] = np.concatenate(found).reshape(length, size).T
        if self.table == "shown":
            entry_BN = shuffles(rng, size, entries)
            state_N, letter_N, place_N = _entries(self.states, self.letters, size)
            tokens_BT[:, 0 : word - 1 : 3] = state_N.take(entry_BN)
            tokens_BT[:, 1 : word - 1 : 3] = letter_N.take(entry_BN)
            place_BN = place_N.take(entry_BN)
            place_BN += column_B[:, None]
            tokens_BT[:, 2 : word - 1 : 3] = table.take(place_BN)
            tokens_BT[:, word - 1] = self.symbols
        mask_BT = np.zeros(tokens_BT.shape, bool)
        mask_BT[:, -length - 1 : -1] = True
        return Batch(tokens_BT, shifted(tokens_BT, self.pad), mask_BT, tokens_BT.size)


@functools.lru_cache(maxsize=4)
def _bounds(states: int, letters: int, length: int) -> np.ndarray:
    """Of the table's entries, the first state and the letters."""
    return np.repeat([states, letters], [states * letters + 1, length])[:, None]


@functools.lru_cache(maxsize=4)
def _entries(states: int, letters: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every entry of a table its two tokens, and where the first sequence's stands in the flat table."""
    letter_N, state_N = np.divmod(np.arange(states * letters), states)
    return state_N.astype(np.int32), (letter_N + states).astype(np.int32), letter_N * (size * states) + state_N


def _letter(number: int) -> str:
    """a, b, .., z, a1, b1, .."""
    return chr(ord("a") + number % 26) + (str(number // 26) if number >= 26 else "")
