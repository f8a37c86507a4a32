"""What a model does inside: where its heads look, how its weights are spread, how alike two models see a batch.

Pure functions of models, weights and tokens; nothing here reads a store.

Shape suffixes: B sequences, T positions (queries and keys), D width, H heads, L layers, E width of one head,
W cells of a row, N positions of many sequences.

The first position of a sequence sees only itself, so it has no choice and is left out of every mean over queries.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from procray.errors import ProcrayError
from procray.model.components import COMPONENTS, component_of
from procray.model.gpt2 import GPT2, Attention, Block

VALUES_AT_ONCE = 2**25  # attention probabilities held at once, 128 MB

# --- attention -------------------------------------------------------------------------------------------------------


def attention_probabilities(attention: Attention, x_BTD: Tensor) -> tuple[Tensor, Tensor]:
    """The probabilities P_BHTT (query, key) with which a layer looks, and its values V_BHTE.

    `x_BTD` is what the layer reads: the residual stream after `ln_1`. `c_proj` of the heads' P V side by side is the
    layer's output without dropout.
    """
    B, T, D = x_BTD.shape
    q, k, v = (x.view(B, T, attention.heads, -1).transpose(1, 2) for x in attention.c_attn(x_BTD).split(D, dim=2))
    scores_BHTT = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
    hidden_TT = torch.ones(T, T, dtype=torch.bool, device=x_BTD.device).triu(1)
    return scores_BHTT.masked_fill(hidden_TT, -math.inf).softmax(-1), v


@dataclass(frozen=True)
class Layer:
    """One block at work: the residual stream before and after it, and its attention probabilities."""

    before_BTD: Tensor
    attention_BHTT: Tensor
    after_BTD: Tensor


@torch.no_grad()
def layers(model: GPT2, inputs: Tensor) -> Iterator[Layer]:
    """The blocks of a model, one after the other, over tokens_BT (or rows_BTW of the row form); no dropout.

    Raises:
        ProcrayError: inputs of the other form, unknown tokens, or more positions than the model has.
    """
    x = _embed(model, inputs)
    was_training = model.training
    model.eval()
    try:
        for block in model.transformer.h:
            assert isinstance(block, Block)
            before = x
            P, v = attention_probabilities(block.attn, block.ln_1(x))
            x = x + block.attn.c_proj((P @ v).transpose(1, 2).flatten(2))
            x = x + block.mlp(block.ln_2(x))
            yield Layer(before, P, x)
    finally:
        model.train(was_training)


def _embed(model: GPT2, inputs: Tensor) -> Tensor:
    config = model.config
    form, wanted = ("rows", 3) if config.rows is not None else ("tokens", 2)
    if inputs.ndim != wanted:
        other = "tokens" if form == "rows" else "rows of a cellular automaton"
        raise ProcrayError(f"this model reads {form}, and was given {other}")
    if inputs.shape[1] > config.context:
        raise ProcrayError(f"{inputs.shape[1]} positions given to a model that has {config.context}")
    if config.rows is not None:
        if inputs.shape[2] != config.rows:
            raise ProcrayError(f"rows of {inputs.shape[2]} cells given to a model for rows of {config.rows}")
        x = model.row_in(inputs.to(model.row_in.weight.dtype))
    else:
        if inputs.numel() and int(inputs.max()) >= config.vocab:
            raise ProcrayError(f"token {int(inputs.max())} given to a model that knows {config.vocab}")
        x = model.transformer.wte(inputs)
    return x + model.transformer.wpe.weight[: inputs.shape[1]]


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


SCORES = ("entropy", "normalised", "previous", "first", "prefix", "induction")


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
    model: GPT2, batches: Iterable[tuple[Tensor, Tensor | None]], period: int | None = None, prefix: bool = True
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
    for inputs, valid_BT in _pieces(model, batches):
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


def _pieces(model: GPT2, batches: Iterable[tuple[Tensor, Tensor | None]]) -> Iterator[tuple[Tensor, Tensor | None]]:
    """The batches, cut so that one layer's probabilities stay small."""
    for inputs, valid_BT in batches:
        most = max(1, VALUES_AT_ONCE // (model.config.heads * inputs.shape[1] ** 2))
        for start in range(0, len(inputs), most):
            part = slice(start, start + most)
            yield inputs[part], None if valid_BT is None else valid_BT[part]


# --- weights ---------------------------------------------------------------------------------------------------------

_PARTS = {
    "attn.c_attn": "qkv",
    "attn.c_proj": "proj",
    "mlp.c_fc": "mlp_in",
    "mlp.c_proj": "mlp_out",
    "ln_1": "ln_1",
    "ln_2": "ln_2",
    "ln_f": "ln_f",
    "wte": "wte",
    "wpe": "wpe",
    "lm_head": "head",
    "row_in": "row_in",
    "row_out": "row_out",
}
_NAME = re.compile(r"(?:transformer\.)?(?:h\.(\d+)\.)?(.+)\.(weight|bias)")


@dataclass(frozen=True)
class Spectrum:
    """The singular values of a matrix, descending, and what they say.

    Attributes:
        frobenius: sqrt of the sum of their squares.
        top: the largest, the spectral norm.
        stable_rank: frobenius^2 / top^2: between 1 and the rank.
        effective_rank: exp of the entropy of the values divided by their sum (Roy and Vetterli 2007).
    """

    values: np.ndarray
    frobenius: float
    top: float
    stable_rank: float
    effective_rank: float


def spectrum(matrix: Tensor) -> Spectrum:
    """The spectrum of a matrix, in float64.

    Through the eigenvalues of the smaller Gram matrix: exact to about 1e-8 of the largest value, which is what
    float32 weights hold, and many times faster than a decomposition where one side is long.
    """
    W = matrix.detach().double()
    W = W if W.shape[0] >= W.shape[1] else W.T
    values = torch.linalg.eigvalsh(W.T @ W).clamp_min(0).sqrt().flip(0).cpu().numpy()
    squares, top, total = float((values**2).sum()), float(values[0]), float(values.sum())
    if top == 0:
        return Spectrum(values, 0.0, 0.0, 0.0, 0.0)
    share = values[values > 0] / total
    return Spectrum(values, math.sqrt(squares), top, squares / top**2, math.exp(-float((share * np.log(share)).sum())))


@dataclass(frozen=True)
class Place:
    """Which component a tensor belongs to, its layer (None outside the blocks) and its part: `qkv`, `mlp_in`."""

    component: str
    layer: int | None
    part: str
    bias: bool


def place_of(parameter: str) -> Place:
    """Where a parameter of a GPT-2 stands.

    Raises:
        TransferError: no GPT-2 of ours has a parameter of this name.
    """
    component = component_of(parameter)
    match = _NAME.fullmatch(parameter)
    assert match is not None, "component_of knows the name"
    layer, part, kind = match.groups()
    bias = kind == "bias" and component != "layernorm"
    return Place(component, int(layer) if layer else None, _PARTS[part], bias)


def matrices(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The matrices of a model by name; the three that GPT-2 stores side by side in `c_attn` apart: `.q`, `.k`, `.v`."""
    found: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if tensor.ndim != 2:
            continue
        if name.endswith("attn.c_attn.weight"):
            for part, matrix in zip("qkv", tensor.chunk(3, 1), strict=True):
                found[name.replace("c_attn.weight", part)] = matrix
        else:
            found[name] = tensor
    return found


def weight_spectra(weights: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """One entry a matrix: name, component, layer, part (`q`, `k`, `v`, `proj`, `mlp_in`, ...), shape and spectrum."""
    entries = []
    for name, matrix in matrices(weights).items():
        last = name.rsplit(".", 1)[-1]
        place = place_of(name.removesuffix(last) + "c_attn.weight" if last in ("q", "k", "v") else name)
        s = spectrum(matrix)
        entries.append(
            {
                "tensor": name,
                "component": place.component,
                "layer": place.layer,
                "part": last if place.part == "qkv" else place.part,
                "shape": list(matrix.shape),
                "frobenius": s.frobenius,
                "top": s.top,
                "stable_rank": s.stable_rank,
                "effective_rank": s.effective_rank,
                "singular_values": s.values.tolist(),
            }
        )
    return entries


def component_norms(weights: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """The Frobenius norm of every component in every layer, all its tensors together.

    Entries have `component`, `layer` (None outside the blocks), `values` (how many), `frobenius` and `rms`, in the
    order of the components.
    """
    return [
        {
            "component": component,
            "layer": layer,
            "values": int(sum(t.numel() for t in tensors.values())),
            "frobenius": (norm := math.sqrt(sum(float(t.double().square().sum()) for t in tensors.values()))),
            "rms": norm / math.sqrt(sum(t.numel() for t in tensors.values())),
        }
        for (component, layer), tensors in _groups(weights).items()
    ]


def distances(weights: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """How far weights are from others of the same shape, by component and layer and by whole component.

    Entries have `component`, `layer` (None outside the blocks; `"all"` for the whole component), `relative`
    (Frobenius norm of the difference over that of the reference) and `cosine`; both None where a norm is 0.
    Components in which a tensor is missing or has another shape are left out.
    """
    entries: list[dict[str, Any]] = []
    whole: dict[str, list[float]] = {}
    skipped: set[str] = set()
    for (component, layer), tensors in _groups(weights).items():
        if any(name not in reference or reference[name].shape != t.shape for name, t in tensors.items()):
            skipped.add(component)
            continue
        sums = [0.0, 0.0, 0.0, 0.0]  # |w - r|^2, |r|^2, |w|^2, w.r
        for name, tensor in tensors.items():
            w, r = tensor.detach().double(), reference[name].detach().double()
            parts = ((w - r).square(), r.square(), w.square(), w * r)
            sums = [total + float(part.sum()) for total, part in zip(sums, parts, strict=True)]
        entries.append({"component": component, "layer": layer, **_distance(sums)})
        before = whole.get(component, [0.0] * 4)
        whole[component] = [a + b for a, b in zip(before, sums, strict=True)]
    for component, sums in whole.items():
        if component not in skipped:
            entries.append({"component": component, "layer": "all", **_distance(sums)})
    return [entry for entry in entries if entry["component"] not in skipped]


def _distance(sums: Sequence[float]) -> dict[str, float | None]:
    apart, there, here, product = sums
    return {
        "relative": math.sqrt(apart / there) if there else None,
        "cosine": product / math.sqrt(here * there) if here and there else None,
    }


def _groups(weights: Mapping[str, Tensor]) -> dict[tuple[str, int | None], dict[str, Tensor]]:
    groups: dict[tuple[str, int | None], dict[str, Tensor]] = {}
    for name, tensor in weights.items():
        place = place_of(name)
        groups.setdefault((place.component, place.layer), {})[name] = tensor
    order = {component: index for index, component in enumerate(COMPONENTS)}
    # ln_f, which stands in no layer, comes after those that do.
    return dict(
        sorted(groups.items(), key=lambda item: (order[item[0][0]], math.inf if item[0][1] is None else item[0][1]))
    )


# --- how alike two models see a batch ---------------------------------------------------------------------------------


@torch.no_grad()
def hidden_states(model: GPT2, batches: Iterable[tuple[Tensor, Tensor | None]], most: int = 1024) -> list[Tensor]:
    """The residual stream at embedding and after every block, over valid positions: L + 1 tensors (N, D), float32.

    At most `most` positions, evenly spread over all valid ones; the same batches give the same positions for every
    model. The last normalisation is left out.

    Raises:
        ProcrayError: as `layers`.
    """
    batches = list(batches)
    valid = sum(int(v.sum()) if v is not None else inputs.shape[0] * inputs.shape[1] for inputs, v in batches)
    chosen = (
        torch.linspace(0, valid - 1, min(most, valid)).round().long() if valid else torch.zeros(0, dtype=torch.long)
    )
    states: list[list[Tensor]] = [[] for _ in range(model.config.layers + 1)]
    start = 0
    for inputs, valid_BT in _pieces(model, batches):
        keep = torch.ones(inputs.shape[:2], dtype=torch.bool) if valid_BT is None else valid_BT.cpu()
        count = int(keep.sum())
        here = chosen[(chosen >= start) & (chosen < start + count)] - start
        start += count
        if not len(here):
            continue
        index = keep.flatten().nonzero()[:, 0][here].to(inputs.device)
        for number, layer in enumerate(layers(model, inputs)):
            if number == 0:
                states[0].append(layer.before_BTD.flatten(0, 1)[index].float().cpu())
            states[number + 1].append(layer.after_BTD.flatten(0, 1)[index].float().cpu())
    return [torch.cat(parts) for parts in states]


def cka(X_ND: Tensor, Y_NE: Tensor) -> float:
    """Linear centred kernel alignment of two sets of features of the same N things; the widths may differ.

    With the unbiased estimator of HSIC (Song et al. 2012, as used by Nguyen et al. 2021): 1 for features that differ
    by a rotation and a scale, about 0 for independent ones also when N is not much larger than the widths (then
    the plain form of Kornblith et al. 2019 is far above 0). Can be slightly negative; NaN where features are constant.

    Raises:
        ProcrayError: different N, or fewer than 4.
    """
    return float(_alignment([_centred_kernel(X_ND)], [_centred_kernel(Y_NE)])[0, 0])


def cka_matrix(states: Sequence[Tensor], others: Sequence[Tensor]) -> np.ndarray:
    """`cka` of every pair: (len(states), len(others))."""
    return _alignment([_centred_kernel(x) for x in states], [_centred_kernel(y) for y in others])


def _centred_kernel(X_ND: Tensor) -> Tensor:
    """X X^T with an empty diagonal, centred so that HSIC is the plain inner product of two of them."""
    n = len(X_ND)
    if n < 4:
        raise ProcrayError(f"comparing hidden states needs at least 4 positions, and there are {n}")
    X = X_ND.double()
    X = X - X.mean(0)  # changes nothing in theory, keeps the sums small
    K = X @ X.T
    K.fill_diagonal_(0)
    # The U-centring of Szekely and Rizzo 2014, whose inner product is the unbiased HSIC.
    rows = K.sum(0) / (n - 2)
    K -= rows[:, None]
    K -= rows[None, :]
    K += K.sum() / 0 if False else rows.sum() / (n - 1)
    K.fill_diagonal_(0)
    return K


def _alignment(kernels: Sequence[Tensor], others: Sequence[Tensor]) -> np.ndarray:
    if kernels[0].shape != others[0].shape:
        raise ProcrayError(f"{len(kernels[0])} positions cannot be compared with {len(others[0])}")
    own = [math.sqrt(float((K * K).sum())) for K in kernels]
    their = [math.sqrt(float((K * K).sum())) for K in others]
    table = np.full((len(kernels), len(others)), np.nan)
    for i, K in enumerate(kernels):
        for j, other in enumerate(others):
            if own[i] > 0 and their[j] > 0:
                table[i, j] = float((K * other).sum()) / (own[i] * their[j])
    return table
