"""AUTOMATON: the states that a drawn finite automaton runs through.

The definition is ours. Words of drawn automata in context are studied in arXiv 2401.12973, states of fixed ones in
arXiv 2210.10749.

Shape suffixes: B sequences, L letters, N entries of the table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from procray.batch import Batch
from procray.tasks.lengths import Length
from procray.tasks.parameters import choice, length_of, whole
from procray.tasks.sequences import answered, orders
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
        table_BN = rng.integers(0, self.states, (size, entries), dtype=np.int32)  # N = state x letters + letter
        word_BL = rng.integers(0, self.letters, (size, length), dtype=np.int32)
        start_B = rng.integers(0, self.states, size, dtype=np.int32)
        states_LB = np.empty((length, size), np.int32)
        flat, state_B = table_BN.reshape(-1), start_B
        read_LB = word_BL.T + np.arange(0, size * entries, entries)
        for read_B, now_B in zip(read_LB, states_LB, strict=True):
            flat.take(state_B * self.letters + read_B, out=now_B, mode="clip")
            state_B = now_B
        prefix: list[np.ndarray | int] = [start_B[:, None], self.states + word_BL, self.symbols]
        if self.table == "shown":
            entry_BN = orders(rng, size, entries)
            shown_BN3 = np.empty((size, entries, 3), np.int32)
            np.floor_divide(entry_BN, self.letters, out=shown_BN3[:, :, 0], casting="unsafe")
            np.add(entry_BN % self.letters, self.states, out=shown_BN3[:, :, 1], casting="unsafe")
            shown_BN3[:, :, 2] = np.take_along_axis(table_BN, entry_BN, axis=1)
            prefix = [shown_BN3.reshape(size, -1), self.symbols, *prefix]
        return answered(prefix, np.ascontiguousarray(states_LB.T), self.pad, self.nominal(length))


def _letter(number: int) -> str:
    """a, b, .., z, a1, b1, .."""
    return chr(ord("a") + number % 26) + (str(number // 26) if number >= 26 else "")
