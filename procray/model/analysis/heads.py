"""Where the heads of a model look: entropy, previous token, first position, induction.

Shape suffixes: B sequences, T positions (queries and keys), H heads, L layers.

The first position of a sequence sees only itself, so it has no choice and is left out of every mean over queries.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from procray.errors import ProcrayError
from procray.model.analysis.inside import layers, pieces
from procray.model.network import Network

SCORES = ("entropy", "normalised", "previous", "first", "prefix", "induction")


def entropy(P_BHTT: Tensor) -> Tensor:
    """The entropy of every query's attention, nats: (B, H, T)."""
    return torch.special.entr(P_BHTT).sum(-1)


def previous_token(P_BHTT: Tensor) -> Tensor:
    """The attention that query t gives to t-1, for t from 1: (B, H, T-1)."""
    return P_BHTT.diagonal(-1, 2, 3)


def induction(P_BHTT: Tensor, period: int) -> Tensor:
    """On a sequence that repeats after `period`: attention to the token after the current one's first occurrence.

    For query t of the second occurrence that is key t - period + 1: the definition of Olsson et al. 2022 ("In-context
    learning and induction heads") for two repeats. (B, H, T - period).
    """
    return P_BHTT.diagonal(1 - period, 2, 3)[..., 1:]


def prefix_keys(inputs: Tensor) -> Tensor:
    """Whether key j stands right after an earlier occurrence of what stands at query t: bool (B, T, T), j < t.

    Attention on these keys is Olsson et al.'s prefix matching; it needs no repeated sequence.
    """
    B, T = inputs.shape[:2]
    flat = inputs.reshape(B, T, -1)
    same_BTT = (flat[:, :, None] == flat[:, None, :]).all(-1) if flat.shape[-1] > 1 else flat == flat.mT
    keys_BTT = torch.zeros_like(same_BTT)
    keys_BTT[:, :, 1:] = same_BTT[:, :, :-1]
    return keys_BTT.tril(-1)


def repeated_random(config: Any, symbols: int, size: int, period: int, seed: int = 0) -> Tensor:
    """Random sequences that stand twice in a row: tokens (size, 2 period), or rows of the row form.

    Within a period no symbol comes twice where there are enough of them, so that what follows the earlier occurrence
    is one key. A pure function of its arguments.

    Args:
        config: the model's shape; decides the form.
        symbols: token ids below this are drawn, evenly.
        period: length of the part that is repeated.
    """
    rng = np.random.default_rng([seed, symbols, size, period])
    if config.rows is not None:
        once = rng.integers(0, 2, (size, period, config.rows))
    elif symbols >= period:
        once = np.stack([rng.choice(symbols, period, replace=False) for _ in range(size)])
    else:
        once = rng.integers(0, symbols, (size, period))
    return torch.from_numpy(np.concatenate([once, once], 1).astype(np.int64))


@dataclass(frozen=True)
class HeadScores:
    """Means over queries, one number a head (L, H).

    Attributes:
        entropy: nats.
        normalised: entropy over the logarithm of the number of visible keys, query by query: 1 is uniform.
        previous: attention to the position before.
        first: attention to the first position, which many heads use as a place to rest.
        prefix: attention to what followed earlier occurrences of the current token, over queries that have one;
            None where no query has.
        induction: on repeated sequences, see `induction`; else None.
        uniform: the same numbers of a head that looks everywhere alike: chance.
        queries: how many each mean is over (`prefix` and `induction` are over fewer).
    """

    entropy: np.ndarray
    normalised: np.ndarray
    previous: np.ndarray
    first: np.ndarray
    prefix: np.ndarray | None
    induction: np.ndarray | None
    uniform: dict[str, float]
    queries: int

    def to_json(self) -> dict[str, Any]:
        """Lists of layers of heads; absent scores are left out."""
        found = {name: value.tolist() for name in SCORES if (value := getattr(self, name)) is not None}
        return {**found, "uniform": self.uniform, "queries": self.queries}


@torch.no_grad()
def head_scores(
    model: Network, batches: Iterable[tuple[Tensor, Tensor | None]], period: int | None = None, prefix: bool = True
) -> HeadScores:
    """Where every head looks, over batches of `(inputs, valid_BT)`.

    Args:
        batches: inputs as `layers` takes them; `valid_BT` is false where a position is padding (None: nowhere).
        period: of repeated sequences; then `induction` is measured.
        prefix: whether to look for earlier occurrences (costs B x T x T comparisons).

    Raises:
        ProcrayError: as `layers`; or no query is left.
    """
    shape = (model.config.layers, model.config.heads)
    sums = {name: np.zeros(shape) for name in SCORES}
    chance, counts = dict.fromkeys(SCORES, 0.0), dict.fromkeys(SCORES, 0)
    for inputs, valid_BT in pieces(model, batches):
        B, T = inputs.shape[:2]
        if T < 2:
            continue
        queries = _queries(inputs, valid_BT, period, prefix)
        for number, layer in enumerate(layers(model, inputs)):
            for name, value in queries.measure(layer.attention_BHTT).items():
                sums[name][number] += value.cpu().numpy()
        even_TT = torch.ones(T, T, dtype=torch.float64, device=inputs.device).tril() / queries.visible_T[:, None]
        for name, value in queries.measure(even_TT.expand(B, 1, T, T)).items():
            chance[name] += float(value)
        for name, count in queries.counts().items():
            counts[name] += count
    if counts["entropy"] == 0:
        raise ProcrayError("no position is left to look at: every sequence is shorter than two")
    means = {name: sums[name] / counts[name] if counts[name] else None for name in SCORES}
    uniform = {name: chance[name] / counts[name] for name in SCORES if counts[name]}
    return HeadScores(**means, uniform=uniform, queries=counts["entropy"])  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Queries:
    """Which queries of a batch each score is over; a query at the first position is none."""

    asked_BT: Tensor
    visible_T: Tensor  # how many keys a query sees
    keys_BTT: Tensor | None  # as `prefix_keys`
    found_BT: Tensor | None  # asked, and has such a key
    second_BT: Tensor | None  # asked, from `period` on
    period: int | None

    def measure(self, P: Tensor) -> dict[str, Tensor]:
        """The sum of every score over its queries, by head."""
        nats = entropy(P).double()
        scores = {
            "entropy": _over(nats, self.asked_BT),
            "normalised": _over(nats[..., 1:] / self.visible_T[1:].log(), self.asked_BT[:, 1:]),
            "previous": _over(previous_token(P), self.asked_BT[:, 1:]),
            "first": _over(P[..., 0], self.asked_BT),
        }
        if self.keys_BTT is not None and self.found_BT is not None:
            scores["prefix"] = _over((P * self.keys_BTT[:, None]).sum(-1), self.found_BT)
        if self.period is not None and self.second_BT is not None:
            scores["induction"] = _over(induction(P, self.period), self.second_BT)
        return scores

    def counts(self) -> dict[str, int]:
        found = {name: int(self.asked_BT.sum()) for name in ("entropy", "normalised", "previous", "first")}
        if self.found_BT is not None:
            found["prefix"] = int(self.found_BT.sum())
        if self.second_BT is not None:
            found["induction"] = int(self.second_BT.sum())
        return found


def _queries(inputs: Tensor, valid_BT: Tensor | None, period: int | None, prefix: bool) -> _Queries:
    B, T = inputs.shape[:2]
    asked_BT = torch.ones(B, T, dtype=torch.bool, device=inputs.device) if valid_BT is None else valid_BT.clone()
    asked_BT[:, 0] = False
    keys_BTT = prefix_keys(inputs) if prefix else None
    return _Queries(
        asked_BT,
        torch.arange(1, T + 1, device=inputs.device, dtype=torch.float64),
        keys_BTT,
        None if keys_BTT is None else asked_BT & keys_BTT.any(-1),
        None if period is None else asked_BT[:, period:],
        period,
    )


def _over(values_BHT: Tensor, asked_BT: Tensor) -> Tensor:
    """The sum over the queries that count, by head, in float64."""
    return (values_BHT.double() * asked_BT[:, None]).sum((0, 2))
