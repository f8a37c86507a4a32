"""RNN: words of random linear recurrent networks, after the code of arXiv 2605.10129.

The released code (guox18/formal-language-prepretraining) makes 100 sequences with each of 1,000 networks, once, over
the vocabulary of Pythia's tokenizer, and shuffles them. Here a network is drawn from as many, every batch anew.

Shape suffixes: B sequences, G networks of a batch, T positions, H width of the hidden state, A alphabet.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from procray.batch import Batch
from procray.tasks.dyck import all_but_last
from procray.tasks.lengths import Length
from procray.tasks.parameters import above_zero, choice, length_of, whole
from procray.tasks.rng import generator
from procray.tasks.task import BaseTask

ITERATIONS = 50  # of the released code's estimate of a spectral radius
CACHED = 128 * 2**20  # bytes of networks that are kept


@dataclass(frozen=True)
class Rnn(BaseTask):
    """`x1..xL`, drawn token by token; every position but the last is scored.

    A network has matrices A (H x alphabet), W (H x H) and C (alphabet x H) of independent normal numbers with standard
    deviations 1/sqrt(alphabet), 1/sqrt(H), 1/sqrt(H); W is then scaled to `spectral_radius`. From a zero state and a
    uniform token x0, which is not shown: h = W h + A[:, x], and the next x is drawn from softmax(C h / temperature).

    `radius` says how W is measured. `estimated` does as the released code: the norm of W v after 50 steps of power
    iteration from one fixed v. As W is not symmetric, that is close to the radius but not the radius, which
    `eigenvalue` takes. `networks` are a fixed set for all seeds, streams and evaluations, told apart by `family`: what
    a model learns of them helps in every sequence. `shared` neighbours in a batch have the same network, drawn
    uniformly for each such group; more of them make larger matrix products of the same data.

    Lengths that grow with mastery are refused: no accuracy says that a word of drawn tokens is mastered.

    Numbers are of double precision, so that another order of summation changes no token in practice.
    """

    name: ClassVar[str] = "rnn"
    summary: ClassVar[str] = "words of random linear recurrent networks; every token is predicted"
    never_mastered: ClassVar[str] = "the next token is drawn at random, and nobody can say it beforehand"
    shortest: ClassVar[int] = 2
    longest: ClassVar[int] = 32_768
    length: Length = field(default=2048, metadata=length_of("L: tokens of the whole sequence"))
    alphabet: int = field(default=256, metadata=whole("tokens; the paper's are those of a tokenizer", 2, 65_536))
    networks: int = field(default=1000, metadata=whole("different networks", 1, 10**9))
    hidden: int = field(default=64, metadata=whole("H: width of the hidden state", 1, 1024))
    spectral_radius: float = field(default=0.9, metadata=above_zero("that W is scaled to", 100))
    temperature: float = field(default=1.0, metadata=above_zero("of the softmax", 1e6))
    radius: str = field(default="estimated", metadata=choice("how it is measured", ("estimated", "eigenvalue")))
    shared: int = field(default=8, metadata=whole("sequences of a batch with the same network", 1, 65_536))
    family: int = field(default=0, metadata=whole("which set of networks", 0, 10**9))

    @property
    def symbols(self) -> int:
        return self.alphabet

    @property
    def separator(self) -> None:
        return None

    @property
    def pad(self) -> int:
        return self.alphabet

    def nominal(self, length: int) -> int:
        return length

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        groups = -(-size // self.shared)
        rows = min(size, self.shared)  # of a group; the last one may be drawn for nothing in part
        chosen_G = rng.integers(0, self.networks, groups)
        networks = [self._network(int(number)) for number in chosen_G]
        into_GAH, onto_GHH, out_GHA = (np.stack(matrices) for matrices in zip(*networks, strict=True))
        flat = into_GAH.reshape(-1, self.hidden)
        offset_GR = np.arange(0, groups * self.alphabet, self.alphabet)[:, None]
        token_GR = rng.integers(0, self.alphabet, (groups, rows))
        chance_TGR = rng.random((length, groups, rows, 1))
        state_GRH = np.zeros((groups, rows, self.hidden))
        tokens_TGR = np.empty((length, groups, rows), np.int32)
        for chance_GR, made_GR in zip(chance_TGR, tokens_TGR, strict=True):
            state_GRH = state_GRH @ onto_GHH
            state_GRH += flat[token_GR + offset_GR]
            weight_GRA = state_GRH @ out_GHA
            weight_GRA -= weight_GRA.max(axis=2, keepdims=True)
            np.exp(weight_GRA, out=weight_GRA)
            np.cumsum(weight_GRA, axis=2, out=weight_GRA)
            # The first token up to which the weights pass the share that was drawn.
            token_GR = (weight_GRA[:, :, :-1] <= chance_GR * weight_GRA[:, :, -1:]).sum(axis=2)
            made_GR[:] = token_GR
        tokens_BT = np.ascontiguousarray(tokens_TGR.reshape(length, -1)[:, :size].T)
        return all_but_last(tokens_BT, self.pad, self.nominal(length))

    def _network(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A (transposed), W (transposed) and C (transposed, over the temperature) of one network."""
        into_AH, onto_HH, out_HA = _drawn(
            self.family, number, self.alphabet, self.hidden, self.spectral_radius, self.radius
        )
        return into_AH, onto_HH, out_HA if self.temperature == 1 else out_HA / self.temperature


def _drawn(
    family: int, number: int, alphabet: int, hidden: int, radius: float, measure: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    keep = CACHED // (8 * hidden * (2 * alphabet + hidden))
    if keep < 1:
        return _network(family, number, alphabet, hidden, radius, measure)
    return _cache(keep)(family, number, alphabet, hidden, radius, measure)


@functools.lru_cache(maxsize=2)
def _cache(keep: int):  # type: ignore[no-untyped-def]
    return functools.lru_cache(maxsize=keep)(_network)


def _network(
    family: int, number: int, alphabet: int, hidden: int, radius: float, measure: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = generator(family, "networks", "rnn", number)
    into_AH = rng.normal(0, alphabet**-0.5, (alphabet, hidden))
    onto_HH = rng.normal(0, hidden**-0.5, (hidden, hidden))
    out_HA = rng.normal(0, hidden**-0.5, (hidden, alphabet))
    found = estimated_radius(onto_HH.T) if measure == "estimated" else float(np.abs(np.linalg.eigvals(onto_HH)).max())
    onto_HH *= radius / found
    return into_AH, onto_HH, out_HA


def estimated_radius(matrix_HH: np.ndarray) -> float:
    """The norm of the matrix times a unit vector that it has turned 50 times before."""
    vector_H = np.random.default_rng(0).normal(size=len(matrix_HH))
    for _ in range(ITERATIONS + 1):
        vector_H = vector_H / np.linalg.norm(vector_H)
        vector_H = matrix_HH @ vector_H
    return float(np.linalg.norm(vector_H))
