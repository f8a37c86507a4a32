"""k-SHUFFLE DYCK, as the code of arXiv 2502.19249 (michahu/pre-pretraining) makes it.

Of its follow-ups, the code of arXiv 2605.10129 has the same settings, that of arXiv 2609.39827 p_open 0.5. Token by
token the law is that of `dyck_shuffle`, which follows the code of arXiv 2601.21725; only the settings differ: there
p_open is 0.5 and the depth 16, here 0.51 and 8. What the paper itself states of them was not compared.

Shape suffixes: B sequences, T positions, S = T + 1 moments, C pieces of sequences, N steps of a piece.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from procray.batch import Batch
from procray.tasks.dyck import all_but_last
from procray.tasks.dyck_shuffle import DyckShuffle
from procray.tasks.parameters import fraction, whole
from procray.tasks.rng import below, words
from procray.tasks.walks import bounced

DEEPEST = 10  # a table of counts has 2 to the power of the depth rows
PIECE = 256  # tokens, about; many short pieces go on side by side


@dataclass(frozen=True)
class KShuffleDyck(DyckShuffle):
    """Interleaved bracket words, cut off at exactly L tokens, so brackets may stay open at the end.

    Ids 0..k-1 open, k..2k-1 close. The first `min_depth` tokens open; from there on: with nothing open, open; with
    `max_depth` brackets open, close; else open with probability `p_open`, and close otherwise. An opening's type is
    uniform over the k types; a closing's is uniform over the types that are open, whatever their counts.

    The released code writes these numbers as text and lets Pythia's tokenizer read them, so does that of arXiv
    2609.39827 with another tokenizer (two tokens a bracket); that of arXiv 2605.10129 takes them for ids, as here.
    """

    name: ClassVar[str] = "k_shuffle_dyck"
    summary: ClassVar[str] = "brackets of k types, each balanced for itself, with the settings of arXiv 2502.19249"
    p_open: float = field(default=0.51, metadata=fraction("chance to open where closing is possible too"))
    max_depth: int = field(default=8, metadata=whole("most brackets open at once", 1, 16_384))
    min_depth: int = field(default=1, metadata=whole("openings that a sequence begins with", 1, 16_384))

    def problems(self) -> list[str]:
        if self.min_depth > self.max_depth:
            return [f"min_depth is {self.min_depth}; expected at most {self.max_depth}, the max_depth"]
        return []

    def _coins(self, rng: np.random.Generator, size: int, length: int) -> np.ndarray:
        ups_TB = words(rng, length, size) < round(self.p_open * 2**32)
        ups_TB[: self.min_depth] = True
        return ups_TB

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        """Where few can be open, which of them are is followed in short pieces of the sequences, all side by side.

        The types stand in an order of their own, those that are open in front. An opening picks any place: that of an
        open type, or another, whose type then changes places with the first that is not open. A closing picks the
        place of an open type; one that is closed for good changes places with the last open one. How many are open at
        each place, and so which places are picked, is the same whatever the types are called. With one bracket open
        there is only one such state, so pieces begin there, each with names of its own: they are turned by the name of
        the type that was open when the piece began.
        """
        if self.max_depth > DEEPEST:
            return super().draw(rng, size, length)
        depths_SB = bounced(self._coins(rng, size, length), self.max_depth)
        opens_BT = np.ascontiguousarray((depths_SB[1:] > depths_SB[:-1]).T)
        starts_BP, lengths_BP = _pieces(depths_SB)
        order_C = np.argsort(-lengths_BP.reshape(-1), kind="stable")  # as they end, only the first ones go on
        lengths_C = lengths_BP.reshape(-1)[order_C]
        steps, pieces = int(lengths_C[0]), len(lengths_C)
        counts = _counts(self.max_depth)
        # Of every token, the place that an opening picks, or k plus the share of a closing; as long pieces as any.
        drawn = np.zeros(size * length + steps, np.int16)
        spare = np.uint32(max(self.k, counts.shares).bit_length())
        words_BT = words(rng, size, length) >> spare
        bounds_BT = opens_BT.astype(np.uint32)
        bounds_BT *= np.uint32((self.k - counts.shares) % 2**32)
        bounds_BT += np.uint32(counts.shares)
        words_BT *= bounds_BT
        words_BT >>= np.uint32(32) - spare
        words_BT += ~opens_BT * np.uint32(self.k)
        counts.places(self.k).take(words_BT, out=drawn[: size * length].reshape(size, length), mode="clip")
        starts_C = (starts_BP + np.arange(0, size * length, length)[:, None]).reshape(-1)
        drawn_NC = sliding_window_view(drawn, steps)[starts_C[order_C]].T.astype(np.intp, order="C")
        going_N = np.searchsorted(-lengths_C, -np.arange(steps))
        types_NC = np.empty((steps, pieces), np.int16)
        types = np.tile(np.arange(self.k, dtype=np.int16), pieces)
        first_C = np.arange(0, len(types), self.k)
        state_C, inputs = np.full(pieces, counts.start), counts.inputs(self.k)
        for going, drawn_C, type_C in zip(going_N.tolist(), drawn_NC, types_NC, strict=True):
            drawn_C, base_C = drawn_C[:going], first_C[:going]
            place_C = inputs[drawn_C]
            place_C += state_C[:going]
            state_C = counts.follows[place_C]
            border_C = counts.border[place_C]
            border_C += base_C
            picked_C = np.minimum(counts.picked[place_C], drawn_C)
            picked_C += base_C
            type_C[:going] = found_C = types[picked_C]
            types[picked_C] = types[border_C]
            types[border_C] = found_C
        # The type that is open where the next piece begins turns its names.
        left_C = np.empty(pieces, np.int16)
        left_C[order_C] = types[first_C]
        left_BP = left_C.reshape(size, -1)
        turns_BP = np.empty((size, pieces // size), np.int16)
        turns_BP[:, 0] = below(words(rng, size), self.k)
        for piece in range(1, pieces // size):
            turns_BP[:, piece] = (turns_BP[:, piece - 1] + left_BP[:, piece - 1]) % self.k
        types_CN = types_NC.T + turns_BP.reshape(-1)[order_C, None]
        types_CN -= (types_CN >= self.k) * np.int16(self.k)
        tokens_BT = np.empty((size, length), np.int32)
        tokens_BT[:, 0] = turns_BP[:, 0]
        flat = tokens_BT.reshape(-1)
        for start, tokens, type_N in zip(starts_C[order_C].tolist(), lengths_C.tolist(), types_CN, strict=True):
            flat[start : start + tokens] = type_N[:tokens]
        tokens_BT += ~opens_BT * np.int32(self.k)
        return all_but_last(tokens_BT, self.pad, self.nominal(length))


def _pieces(depths_SB: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`starts_BP, lengths_BP`: at which token each piece starts, and its tokens.

    All start with one bracket open; the first at token 1. A sequence that rarely has one open has empty pieces.
    """
    length, size = len(depths_SB) - 1, depths_SB.shape[1]
    pieces = -(-(length - 1) // PIECE)
    single = np.zeros((pieces * PIECE, size), bool)
    np.equal(depths_SB[1:length], 1, out=single[: length - 1])
    single_PNB = single.reshape(pieces, PIECE, size)
    starts_PB = single_PNB.argmax(axis=1)
    none_PB = ~np.take_along_axis(single_PNB, starts_PB[:, None], axis=1)[:, 0]
    starts_PB += np.arange(1, length, PIECE)[:, None]
    starts_PB[none_PB] = length
    starts_BP = np.minimum.accumulate(starts_PB[::-1], axis=0)[::-1].T
    return starts_BP, np.diff(starts_BP, axis=1, append=length)


@dataclass(frozen=True)
class _Counts:
    """Which counts of open brackets, of one type after the other, follow which.

    `follows`, `picked` and `border` are looked up at a state plus an input. An input is the place that an opening
    picks, up to the depth less one, which stands for all further ones; or which share of the unit interval a closing
    falls into, between neighbouring fractions of denominators up to the depth.

    Attributes:
        start: the state with one bracket open.
        shares: a common multiple of the denominators; `below_shares` is the number of the fraction below each share.
        follows: the next state.
        picked: the place that a closing picks; a large number for an opening.
        border: the place that the picked one is exchanged with.
    """

    deepest: int
    start: int
    shares: int
    fractions: int
    below_shares: np.ndarray
    follows: np.ndarray
    picked: np.ndarray
    border: np.ndarray

    def inputs(self, k: int) -> np.ndarray:
        """Of every place that an opening picks, and of k plus the number of the fraction below a closing's share."""
        return np.concatenate([np.minimum(np.arange(k), self.deepest - 1), self.deepest + np.arange(self.fractions)])

    def places(self, k: int) -> np.ndarray:
        """What `inputs` is looked up at, of every place that an opening picks and of k plus a closing's share."""
        return np.concatenate([np.arange(k), k + self.below_shares]).astype(np.int16)


@functools.lru_cache(maxsize=DEEPEST)
def _counts(deepest: int) -> _Counts:
    fractions = sorted({Fraction(part, whole) for whole in range(1, deepest + 1) for part in range(whole)})
    shares = math.lcm(*range(1, deepest + 1))
    states: list[tuple[int, ...]] = [()]
    for state in states:
        if sum(state) < deepest:
            states += [(*state, 1), *([(*state[:-1], state[-1] + 1)] if state else [])]
    number = {state: place for place, state in enumerate(states)}
    inputs = deepest + len(fractions)
    follows, picked, border = np.zeros((3, len(states), inputs), np.intp)
    picked[:, :deepest] = 2**20
    for state, place in number.items():
        for choice in range(deepest if sum(state) < deepest else 0):
            old = choice < len(state)
            after = [*state] if old else [*state, 0]
            border[place, choice] = choice if old else len(state)
            after[border[place, choice]] += 1
            follows[place, choice] = number[tuple(after)] * inputs
        for share, lowest in enumerate(fractions if state else [], deepest):
            chosen = math.floor(lowest * len(state))
            after = [*state]
            after[chosen] -= 1
            picked[place, share] = border[place, share] = chosen
            if not after[chosen]:
                border[place, share] = len(state) - 1
                after[chosen] = after[-1]
                after.pop()
            follows[place, share] = number[tuple(after)] * inputs
    return _Counts(
        deepest=deepest,
        start=number[1,] * inputs,
        shares=shares,
        fractions=len(fractions),
        below_shares=np.searchsorted([float(one * shares) for one in fractions], np.arange(shares), side="right") - 1,
        follows=follows.reshape(-1),
        picked=picked.reshape(-1),
        border=border.reshape(-1),
    )
