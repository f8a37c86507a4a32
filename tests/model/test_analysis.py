"""Known answers: heads built by hand, spectra and similarities that can be said beforehand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from procray.errors import ProcrayError
from procray.model import GPT2, GPT2Config
from procray.model import analysis as a
from procray.model.attention import ATTENTION
from procray.model.components import COMPONENTS


@pytest.fixture
def circuit() -> GPT2:
    """Layer 0 looks at the previous token and writes it down; layer 1 looks where its own token was written down."""
    V, T = 16, 24
    D = V + T + V
    token, position, before = torch.eye(D)[:V], torch.eye(D)[V : V + T], torch.eye(D)[V + T :]
    model = GPT2(GPT2Config(layers=2, heads=1, width=D, vocab=V, context=T), seed=0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not (".ln_" in name and name.endswith("weight")):
                parameter.zero_()
        model.transformer.wte.weight.copy_(token)
        model.transformer.wpe.weight.copy_(position)
        first, second = (block.attn for block in model.transformer.h)
        sharp = 30.0
        first.c_attn.weight[:, :D] = sharp * position.T @ torch.eye(T, D)
        first.c_attn.weight[:, D : 2 * D] = sharp * position[:-1].T @ torch.eye(T, D)[1:]
        first.c_attn.weight[:, 2 * D :] = token.T @ torch.eye(V, D)
        first.c_proj.weight.copy_(torch.eye(D)[:, :V] @ before)
        second.c_attn.weight[:, :D] = sharp * token.T @ torch.eye(V, D)
        second.c_attn.weight[:, D : 2 * D] = sharp * before.T @ torch.eye(V, D)
    return model


def uniform(B: int, H: int, T: int) -> torch.Tensor:
    return (torch.ones(T, T).tril() / torch.arange(1.0, T + 1)[:, None]).expand(B, H, T, T)


def pattern(T: int, key: dict[int, int]) -> torch.Tensor:
    """One head that gives all of query t's attention to `key[t]`, else to itself."""
    P = torch.zeros(1, 1, T, T)
    for t in range(T):
        P[0, 0, t, key.get(t, t)] = 1.0
    return P


# --- attention -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [None, 7])
def test_the_probabilities_are_those_the_model_uses(build, rows):
    model = build(rows=rows, dropout=0.3)
    shape = (3, 17) if rows is None else (3, 17, rows)
    inputs = torch.randint(0, 2, shape)
    found = list(a.layers(model, inputs))
    assert model.training, "left as it was"
    model.eval()
    for block, layer in zip(model.transformer.h, found, strict=True):
        x = block.ln_1(layer.before_BTD)
        P, v = a.attention_probabilities(block.attn, x)
        assert torch.equal(P, layer.attention_BHTT)
        assert torch.allclose(P.sum(-1), torch.ones(3, 4, 17))
        assert P.triu(1).abs().max() == 0
        written = block.attn.c_proj((P @ v).transpose(1, 2).flatten(2))
        for kernel in ATTENTION.values():
            assert torch.allclose(written, block.attn(x, kernel), atol=1e-5)
    with torch.no_grad():
        assert torch.allclose(model.transformer.ln_f(found[-1].after_BTD), model.hidden(inputs), atol=1e-4)


def test_uniform_attention_has_the_entropy_of_its_number_of_keys():
    nats = a.entropy(uniform(1, 1, 40))
    assert torch.allclose(nats[0, 0], torch.arange(1.0, 41).log(), atol=1e-6)
    assert a.entropy(pattern(5, {}))[0, 0].abs().max() == 0


def test_a_model_that_looks_everywhere_alike_has_chance_scores(build):
    model = build()
    with torch.no_grad():
        for block in model.transformer.h:
            block.attn.c_attn.weight.zero_()
            block.attn.c_attn.bias.zero_()
    inputs = a.repeated_random(model.config, 53, 4, 8)
    scores = a.head_scores(model, [(inputs, None)], period=8)
    mean_log = np.mean([math.log(t + 1) for t in range(1, 16)])
    assert scores.entropy == pytest.approx(np.full((2, 4), mean_log), rel=1e-6)
    assert scores.normalised == pytest.approx(np.ones((2, 4)), rel=1e-6)
    assert scores.previous == pytest.approx(np.full((2, 4), np.mean([1 / (t + 1) for t in range(1, 16)])), rel=1e-6)
    assert scores.induction == pytest.approx(np.full((2, 4), np.mean([1 / (t + 1) for t in range(8, 16)])), rel=1e-6)
    assert scores.queries == 4 * 15
    for name, chance in scores.uniform.items():
        assert getattr(scores, name)[0, 0] == pytest.approx(chance, rel=1e-6), name


def test_a_previous_token_head_and_an_induction_head_are_told_apart(circuit):
    inputs = a.repeated_random(circuit.config, 16, 5, 12)
    scores = a.head_scores(circuit, [(inputs, None)], period=12)
    assert scores.previous[0, 0] == pytest.approx(1, abs=1e-3)
    assert scores.entropy[0, 0] == pytest.approx(0, abs=1e-2)
    # The first token has none before it and writes itself down, so the first of the 12 queries finds two places.
    assert scores.induction[1, 0] == pytest.approx(1 - 0.5 / 12, abs=1e-3)
    assert scores.prefix[1, 0] == pytest.approx(1 - 0.5 / 12, abs=1e-3)
    assert scores.previous[1, 0] < 0.2
    assert scores.induction[0, 0] < 0.2


def test_scores_of_single_patterns():
    P = pattern(6, {t: t - 1 for t in range(1, 6)})
    assert torch.equal(a.previous_token(P)[0, 0], torch.ones(5))
    # a b c a b c: the second a is followed by b, which stands after the first a
    P = pattern(6, {3: 1, 4: 2, 5: 3})
    assert torch.equal(a.induction(P, 3)[0, 0], torch.ones(3))
    P = pattern(6, {3: 0, 4: 1, 5: 2})  # looks at the same token instead
    assert torch.equal(a.induction(P, 3)[0, 0], torch.zeros(3))


def test_prefix_keys_follow_every_earlier_occurrence():
    keys = a.prefix_keys(torch.tensor([[5, 7, 5, 8, 5]]))[0]
    found = {t: keys[t].nonzero()[:, 0].tolist() for t in range(5)}
    assert found == {0: [], 1: [], 2: [1], 3: [], 4: [1, 3]}
    rows = torch.tensor([[[0, 1], [1, 1], [0, 1], [1, 0]]])
    assert a.prefix_keys(rows)[0].nonzero().tolist() == [[2, 1]]


def test_padding_and_the_first_position_count_for_nothing(build):
    model = build()
    inputs = torch.randint(0, 53, (4, 12))
    valid = torch.ones(4, 12, dtype=torch.bool)
    valid[:, 9:] = False
    padded = a.head_scores(model, [(inputs, valid)])
    cut = a.head_scores(model, [(inputs[:, :9], None)])
    assert padded.queries == cut.queries == 4 * 8
    for name in ("entropy", "normalised", "previous", "first"):
        assert getattr(padded, name) == pytest.approx(getattr(cut, name), rel=1e-5)
    with pytest.raises(ProcrayError, match="no position"):
        a.head_scores(model, [(inputs[:, :1], None)])


def test_batches_are_cut_without_changing_a_number(build, monkeypatch):
    model = build()
    inputs = torch.randint(0, 53, (6, 12))
    whole, states = a.head_scores(model, [(inputs, None)]), a.hidden_states(model, [(inputs, None)], 20)
    monkeypatch.setattr(a, "VALUES_AT_ONCE", 4 * 144 * 2)
    assert a.head_scores(model, [(inputs, None)]).entropy == pytest.approx(whole.entropy, rel=1e-6)
    for one, other in zip(states, a.hidden_states(model, [(inputs, None)], 20), strict=True):
        assert len(one) == 20
        assert torch.allclose(one, other, atol=1e-5)


def test_repeated_sequences_repeat_distinct_symbols_and_are_the_same_again(build):
    config = build().config
    once = a.repeated_random(config, 53, 3, 10)
    assert once.shape == (3, 20)
    assert torch.equal(once[:, :10], once[:, 10:])
    assert all(len(set(row.tolist())) == 10 for row in once)
    assert torch.equal(once, a.repeated_random(config, 53, 3, 10))
    assert not torch.equal(once, a.repeated_random(config, 53, 3, 10, seed=1))
    assert a.repeated_random(config, 4, 3, 10).max() < 4  # too few to be distinct
    assert a.repeated_random(build(rows=7).config, 2, 3, 10).shape == (3, 20, 7)


@pytest.mark.parametrize(
    ("changes", "inputs", "says"),
    [
        ({}, torch.zeros(1, 5, 7, dtype=torch.long), "reads tokens"),
        ({}, torch.full((1, 5), 53), "knows 53"),
        ({}, torch.zeros(1, 25, dtype=torch.long), "25 positions"),
        ({"rows": 7}, torch.zeros(1, 5, dtype=torch.long), "reads rows"),
        ({"rows": 7}, torch.zeros(1, 5, 6, dtype=torch.long), "rows of 6 cells"),
    ],
)
def test_inputs_of_another_kind_are_refused(build, changes, inputs, says):
    with pytest.raises(ProcrayError, match=says):
        next(a.layers(build(**changes), inputs))


# --- weights ---------------------------------------------------------------------------------------------------------


def test_spectra_are_numpys_and_ranks_those_of_known_matrices():
    for shape in ((30, 12), (12, 30), (20, 20)):
        W = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        s = a.spectrum(W)
        assert s.values == pytest.approx(np.linalg.svd(W.double().numpy(), compute_uv=False), abs=1e-6)
        assert s.frobenius == pytest.approx(float(W.norm()), rel=1e-6)
        assert s.top == pytest.approx(float(torch.linalg.matrix_norm(W, 2)), rel=1e-6)
    identity = a.spectrum(3 * torch.eye(8))
    assert (identity.stable_rank, identity.effective_rank) == (pytest.approx(8), pytest.approx(8))
    one = a.spectrum(torch.outer(torch.arange(1.0, 9), torch.arange(1.0, 6)))
    assert (one.stable_rank, one.effective_rank) == (pytest.approx(1), pytest.approx(1, abs=1e-4))
    assert a.spectrum(torch.zeros(3, 4)).stable_rank == 0


def test_every_weight_is_counted_once_and_queries_keys_and_values_stand_apart(build):
    model = build(tied=False)
    weights = model.state_dict()
    norms = a.component_norms(weights)
    assert sum(entry["values"] for entry in norms) == sum(t.numel() for t in weights.values())
    total = math.sqrt(sum(entry["frobenius"] ** 2 for entry in norms))
    assert total == pytest.approx(math.sqrt(sum(float(t.double().square().sum()) for t in weights.values())))
    assert list(dict.fromkeys(entry["component"] for entry in norms)) == list(COMPONENTS)
    spectra = {entry["tensor"]: entry for entry in a.weight_spectra(weights)}
    key = spectra["transformer.h.1.attn.k"]
    assert (key["component"], key["layer"], key["part"], key["shape"]) == ("attention", 1, "k", [32, 32])
    expected = np.linalg.svd(weights["transformer.h.1.attn.c_attn.weight"][:, 32:64].double().numpy(), compute_uv=False)
    assert key["singular_values"] == pytest.approx(expected, abs=1e-6)
    assert {entry["part"] for entry in spectra.values()} == {*"qkv", "proj", "mlp_in", "mlp_out", "wte", "wpe", "head"}


def test_distances_say_which_component_moved(build):
    before = {name: tensor.clone() for name, tensor in build().state_dict().items()}
    after = {name: tensor * (2 if ".h.1.attn" in name else 1) for name, tensor in before.items()}
    found = {(entry["component"], entry["layer"]): entry for entry in a.distances(after, before)}
    assert found["attention", 1]["relative"] == pytest.approx(1)
    assert found["attention", 1]["cosine"] == pytest.approx(1)
    assert found["attention", 0]["relative"] == 0
    assert found["mlp", "all"]["relative"] == 0
    assert 0 < found["attention", "all"]["relative"] < 1
    opposite = {name: -tensor for name, tensor in before.items()}
    assert all(entry["cosine"] == pytest.approx(-1) for entry in a.distances(opposite, before))
    other = build(vocab=60).state_dict()  # a parent with another vocabulary
    assert {entry["component"] for entry in a.distances(after, other)} == set(COMPONENTS) - {"embeddings"}


# --- how alike two models see a batch ---------------------------------------------------------------------------------


def features(n: int, d: int, seed: int) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_cka_of_the_same_features_is_one_whatever_their_basis_scale_and_order():
    X = features(200, 20, 0) @ torch.diag(torch.linspace(0.1, 3, 20))
    Q = torch.linalg.qr(features(20, 20, 1))[0]
    assert a.cka(X, X) == pytest.approx(1)
    assert a.cka(X, -7 * X @ Q + 5) == pytest.approx(1, abs=1e-6)
    Y = X[:, 11:] + features(200, 9, 2)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(3))
    assert a.cka(X[order], Y[order]) == pytest.approx(a.cka(X, Y))
    assert a.cka(X, Y) == pytest.approx(a.cka(Y, X))
    assert 0.1 < a.cka(X, Y) < 0.95
    assert a.cka(X, Y[order]) < 0.1


def test_cka_of_independent_features_is_about_zero_also_when_they_are_wide():
    assert abs(a.cka(features(2000, 8, 0), features(2000, 12, 1))) < 0.02
    assert abs(a.cka(features(300, 200, 0), features(300, 250, 1))) < 0.05  # the plain form says 0.4


def test_cka_is_the_unbiased_estimator():
    """Song et al. 2012, equation 5, written out."""
    X, Y = features(15, 4, 0), features(15, 6, 1) + 1
    n, ones = 15, torch.ones(15, dtype=torch.float64)

    def hsic(A: torch.Tensor, B: torch.Tensor) -> float:
        K, L = A.double() @ A.double().T, B.double() @ B.double().T
        K.fill_diagonal_(0)
        L.fill_diagonal_(0)
        last = 2 / (n - 2) * (ones @ K @ L @ ones)
        return float((K @ L).trace() + (ones @ K @ ones) * (ones @ L @ ones) / ((n - 1) * (n - 2)) - last)

    assert a.cka(X, Y) == pytest.approx(hsic(X, Y) / math.sqrt(hsic(X, X) * hsic(Y, Y)))


def test_models_of_different_width_and_depth_are_compared_layer_by_layer(build):
    one, other = build(), build(seed=1, layers=3, heads=2, width=48)
    batches = [(torch.randint(0, 53, (20, 16)), None)]
    table = a.cka_matrix(a.hidden_states(one, batches), a.hidden_states(other, batches))
    assert table.shape == (3, 4)
    itself = a.cka_matrix(a.hidden_states(one, batches), a.hidden_states(one, batches))
    assert itself.diagonal() == pytest.approx(np.ones(3))
    assert itself == pytest.approx(itself.T)
    with pytest.raises(ProcrayError, match="at least 4"):
        a.cka(torch.zeros(3, 2), torch.zeros(3, 2))
    with pytest.raises(ProcrayError, match="cannot be compared"):
        a.cka(features(9, 2, 0), features(8, 2, 0))
    assert math.isnan(a.cka(torch.ones(9, 2), features(9, 2, 0)))
