"""The rules of NCA, and many simulations at once.

Numbers are of double precision, so that another order of summation changes no cell in practice.

Shape suffixes: B simulations, F frames, C cells, S states, P places of the neighbourhood, K numbers seen, H hidden
numbers, N single cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

SEEN, HIDDEN = 4, 16  # numbers that a neighbourhood is reduced to, and that they are mapped to
_SEEN = np.dtype((np.void, 8 * SEEN))
CERTAIN = 40  # times the temperature: what lies so far behind has a chance of e**-40


@dataclass(frozen=True)
class Rules:
    """Weights of a number of rules."""

    seen_BPSK: np.ndarray  # K = SEEN; places row by row
    hidden_BHK: np.ndarray
    next_BSH: np.ndarray

    def __len__(self) -> int:
        return len(self.next_BSH)

    def part(self, chosen: slice | np.ndarray) -> Rules:
        return Rules(self.seen_BPSK[chosen], self.hidden_BHK[chosen], self.next_BSH[chosen])

    @staticmethod
    def joined(parts: list[Rules]) -> Rules:
        return Rules(
            np.concatenate([part.seen_BPSK for part in parts]),
            np.concatenate([part.hidden_BHK for part in parts]),
            np.concatenate([part.next_BSH for part in parts]),
        )


def drawn_rules(rng: np.random.Generator, count: int, states: int) -> Rules:
    """Weights with variance 1 over the number of inputs, from a normal distribution cut off at two deviations."""
    seen, hidden, following = 9 * states * SEEN, HIDDEN * SEEN, states * HIDDEN
    single = rng.standard_normal((count, seen + hidden + following), np.float32)
    while len(outside := np.flatnonzero(np.abs(single) > 2)):
        single.reshape(-1)[outside] = rng.standard_normal(len(outside), np.float32)
    drawn = single.astype(np.float64)
    drawn /= 0.87962566103423978  # the deviation of what is left
    drawn[:, :seen] /= np.sqrt(9 * states)
    drawn[:, seen : seen + hidden] /= np.sqrt(SEEN)
    drawn[:, seen + hidden :] /= np.sqrt(HIDDEN)
    return Rules(
        drawn[:, :seen].reshape(count, 9, states, SEEN),
        drawn[:, seen : seen + hidden].reshape(count, HIDDEN, SEEN),
        drawn[:, seen + hidden :].reshape(count, states, HIDDEN),
    )


def first_states(rng: np.random.Generator, count: int, cells: int, states: int) -> np.ndarray:
    """`states_BC`: independent cells; how likely each state is differs from grid to grid."""
    weights_BS = np.exp(rng.standard_normal((count, states)))
    below_BS = np.cumsum(weights_BS, axis=1)
    drawn_BC = rng.random((count, cells)) * below_BS[:, -1:]
    states_BC = np.zeros((count, cells), np.uint8)
    for state in range(states - 1):
        states_BC += drawn_BC >= below_BS[:, state, None]
    return states_BC.astype(np.intp)


def simulated(
    rng: np.random.Generator,
    rules: Rules,
    first_BC: np.ndarray,
    grid: int,
    frames: int,
    burn_in: int,
    every: int,
    temperature: float,
    identity_bias: float,
) -> np.ndarray:
    """`states_BFC`, uint8: a frame after `burn_in` updates, the others `every` updates apart."""
    update = _Update(rules, grid, temperature, identity_bias)
    states_BC = first_BC
    states_BFC = np.empty((len(rules), frames, grid * grid), np.uint8)
    for step in range(burn_in + (frames - 1) * every + 1):
        frame, between = divmod(step - burn_in, every)
        if frame >= 0 and not between:
            states_BFC[:, frame] = states_BC
        if frame < frames - 1 or between:
            states_BC = update(rng, states_BC)
    return states_BFC


@lru_cache(maxsize=8)
def _neighbours(grid: int) -> np.ndarray:
    """`(P, C)`: which cell stands at each place of a cell's neighbourhood."""
    cells = np.arange(grid * grid).reshape(grid, grid)
    places = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    return np.stack([np.roll(cells, (-down, -right), axis=(0, 1)).reshape(-1) for down, right in places])


class _Update:
    """One update of all cells of all simulations. Its arrays are made once, because fresh memory is slow."""

    def __init__(self, rules: Rules, grid: int, temperature: float, identity_bias: float):
        count, _, states, _ = rules.seen_BPSK.shape
        cells = grid * grid
        places = _neighbours(grid)
        self._rules, self._temperature, self._bias, self._right = rules, temperature, identity_bias, places[5]
        # Of a row of three cells the first two are looked up together, and the numbers found are moved as one.
        seen = rules.seen_BPSK.reshape(count, 3, 3, states, SEEN)
        pair = seen[:, :, 0, :, None] + seen[:, :, 1, None, :]
        self._tables = [
            (
                (np.ascontiguousarray(pair[:, row]).view(_SEEN).reshape(-1), places[3 * row]),
                (np.ascontiguousarray(seen[:, row, 2]).view(_SEEN).reshape(-1), places[3 * row + 2]),
            )
            for row in range(3)
        ]
        self._offset_B1 = np.arange(count)[:, None] * states
        self._index_3BC = np.empty((3, count, cells), np.intp)
        self._found_BC, self._seen_BCK = np.empty((count, cells), _SEEN), np.empty((count, cells, SEEN))
        self._hidden_BHC, self._next_BSC = np.empty((count, HIDDEN, cells)), np.empty((count, states, cells))
        self._best_BC, self._near_BSC = np.empty((count, cells)), np.empty((count, states, cells), bool)

    def __call__(self, rng: np.random.Generator, states_BC: np.ndarray) -> np.ndarray:
        third_BC, pair_BC, index_BC = self._index_3BC
        next_BSC, best_BC, near_BSC = self._next_BSC, self._best_BC, self._near_BSC
        states = next_BSC.shape[1]
        np.add(states_BC, self._offset_B1, out=third_BC)
        states_BC.take(self._right, axis=1, out=index_BC, mode="clip")
        np.multiply(third_BC, states, out=pair_BC)
        pair_BC += index_BC
        self._seen_BCK[:] = 0
        found_BCK = self._found_BC.view(np.float64).reshape(self._seen_BCK.shape)
        for first, third in self._tables:
            for (table, place_C), of_BC in ((first, pair_BC), (third, third_BC)):
                of_BC.take(place_C, axis=1, out=index_BC, mode="clip")
                table.take(index_BC, out=self._found_BC, mode="clip")
                self._seen_BCK += found_BCK
        np.matmul(self._rules.hidden_BHK, self._seen_BCK.swapaxes(1, 2), out=self._hidden_BHC)
        np.maximum(self._hidden_BHC, 0, out=self._hidden_BHC)
        np.matmul(self._rules.next_BSH, self._hidden_BHC, out=next_BSC)
        if self._bias:
            own_BSC = states_BC[:, None]
            np.put_along_axis(next_BSC, own_BSC, np.take_along_axis(next_BSC, own_BSC, axis=1) + self._bias, axis=1)
        if not self._temperature:
            return next_BSC.argmax(axis=1)
        next_BSC.max(axis=1, out=best_BC)
        best_BC -= CERTAIN * self._temperature
        np.greater_equal(next_BSC, best_BC[:, None], out=near_BSC)
        # Where only one state has a chance, its number is the sum over all that have.
        near = near_BSC.view(np.uint8)
        chosen, many = near[:, 1].copy(), near[:, 0] + near[:, 1]
        for state in range(2, states):
            chosen += near[:, state] * np.uint8(state)
            many += near[:, state]
        chosen_BC = chosen.astype(np.intp)
        which_B, which_C = np.nonzero(many > 1)
        if len(which_B):
            weight_NS = next_BSC[which_B, :, which_C]
            weight_NS -= weight_NS.max(axis=1, keepdims=True)
            weight_NS /= self._temperature
            np.exp(weight_NS, out=weight_NS)
            np.cumsum(weight_NS, axis=1, out=weight_NS)
            share_N1 = rng.random((len(which_B), 1)) * weight_NS[:, -1:]
            chosen_BC[which_B, which_C] = (weight_NS[:, :-1] <= share_N1).sum(axis=1)
        return chosen_BC
