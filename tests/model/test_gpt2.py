from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from procray.errors import ProcrayError
from procray.model import GPT2, GPT2Config, initialise


def hf_twin(hf, model: GPT2):
    """transformers' model with the same weights."""
    c = model.config
    config = hf.GPT2Config(
        vocab_size=c.vocab,
        n_positions=c.context,
        n_embd=c.width,
        n_layer=c.layers,
        n_head=c.heads,
        tie_word_embeddings=c.tied,
        bos_token_id=None,
        eos_token_id=None,
    )
    twin = hf.GPT2LMHeadModel(config)
    missing, unexpected = twin.load_state_dict(model.state_dict(), strict=False)
    assert not unexpected
    assert set(missing) <= ({"lm_head.weight"} if c.tied else set())
    twin.tie_weights()
    return twin.eval()


def tokens(model: GPT2, B: int = 3, T: int = 17) -> torch.Tensor:
    return torch.randint(0, model.config.vocab, (B, T), generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("attention", ["sdpa", "matmul"])
@pytest.mark.parametrize("pad_vocab", [1, 64])
def test_logits_and_gradients_are_those_of_transformers(hf, build, tied, attention, pad_vocab):
    model = build(tied=tied, pad_vocab=pad_vocab)
    model.attention = attention
    twin = hf_twin(hf, model)
    x_BT = tokens(model)
    ours, theirs = model(x_BT), twin(x_BT).logits
    assert ours.shape == (3, 17, 53)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)

    for logits in (ours, theirs):
        F.cross_entropy(logits[:, :-1].reshape(-1, 53), x_BT[:, 1:].reshape(-1)).backward()
    gradients = {name: parameter.grad for name, parameter in twin.named_parameters()}
    assert set(gradients) == set(dict(model.named_parameters()))
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("attention", ["sdpa", "matmul"])
def test_no_position_sees_what_comes_after_it(build, attention):
    model = build()
    model.attention = attention
    x_BT = tokens(model)
    changed_BT = x_BT.clone()
    changed_BT[:, 9:] = (changed_BT[:, 9:] + 1) % 53
    before, after = model(x_BT), model(changed_BT)
    torch.testing.assert_close(before[:, :9], after[:, :9], atol=1e-6, rtol=0)
    assert (before[:, 9:] - after[:, 9:]).abs().max() > 1e-3


def test_logits_at_scored_positions_only(build):
    model = build(pad_vocab=8)
    x_BT = tokens(model)
    scored_N = torch.tensor([0, 5, 17, 50])  # flat: b * T + t
    torch.testing.assert_close(model(x_BT, scored_N), model(x_BT).flatten(0, 1)[scored_N], atol=1e-6, rtol=0)


@pytest.mark.parametrize("scored", [[3, 16, 17, 18, 20, 40], [16, 33, 50], [5]], ids=["unequal", "one each", "alone"])
def test_the_last_block_at_scored_positions_gives_the_same_gradients(build, scored):
    """Also where a sequence has no scored position, or several."""
    model = build()
    model.attention = "matmul"
    x_BT, scored_N = tokens(model), torch.tensor(scored)
    found = []
    for logits in (model(x_BT, scored_N), model(x_BT).flatten(0, 1)[scored_N]):
        model.zero_grad()
        F.cross_entropy(logits, torch.arange(len(scored))).backward()
        found.append({"logits": logits.detach(), **{name: p.grad.clone() for name, p in model.named_parameters()}})
    for name, value in found[1].items():
        torch.testing.assert_close(found[0][name], value, atol=2e-6, rtol=1e-4, msg=name)


def test_hidden_and_unembed_make_forward_for_any_leading_shape(build):
    model = build(tied=False)
    x_BT = tokens(model)
    x_BTD = model.hidden(x_BT)
    assert x_BTD.shape == (3, 17, 32)
    torch.testing.assert_close(model.unembed(x_BTD), model(x_BT), atol=0, rtol=0)
    assert model.unembed(x_BTD[0, 0]).shape == (53,)


def test_the_padded_vocabulary_is_seen_nowhere(build):
    plain, padded = build(), build(pad_vocab=64)
    x_BT = tokens(plain)
    assert plain.state_dict().keys() == padded.state_dict().keys()
    assert all(torch.equal(padded.state_dict()[name], tensor) for name, tensor in plain.state_dict().items())
    a, b = plain(x_BT), padded(x_BT)
    torch.testing.assert_close(a, b, atol=1e-6, rtol=0)
    for logits in (a, b):
        F.cross_entropy(logits.view(-1, 53), x_BT.view(-1)).backward()
    torch.testing.assert_close(plain.transformer.wte.weight.grad, padded.transformer.wte.weight.grad)


def test_the_mask_made_in_an_evaluation_serves_training(build):
    model = build(context=23)  # a length that no other test uses: the mask is cached per length
    model.attention = "matmul"
    x_BT = tokens(model, T=23)
    with torch.inference_mode():
        expected = model(x_BT)
    logits = model(x_BT)
    logits.sum().backward()
    torch.testing.assert_close(logits.detach(), expected.clone(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("attention", ["sdpa", "matmul"])
def test_dropout_acts_in_training_only_and_everywhere_that_gpt2_has_it(hf, build, attention, monkeypatch):
    model = build(dropout=0.5)
    model.attention = attention
    x_BT = tokens(model)
    model.eval()
    torch.testing.assert_close(model(x_BT), hf_twin(hf, model)(x_BT).logits, atol=1e-5, rtol=0)
    model.train()
    assert not torch.equal(model(x_BT), model(x_BT))

    # On the embeddings, and per block on the attention weights and the two residual branches.
    rates: list[float] = []
    dropout, sdpa = F.dropout, F.scaled_dot_product_attention

    def count_dropout(x, p=0.5, training=True, inplace=False):
        rates.append(p if training else 0.0)
        return dropout(x, p, training, inplace)

    def count_sdpa(*args, dropout_p, **kwargs):
        rates.append(dropout_p)
        return sdpa(*args, dropout_p=dropout_p, **kwargs)

    monkeypatch.setattr(F, "dropout", count_dropout)
    monkeypatch.setattr(F, "scaled_dot_product_attention", count_sdpa)
    model(x_BT)
    assert rates == [0.5] * (1 + 3 * model.config.layers)


def test_too_many_positions_is_a_clear_error(build):
    with pytest.raises(ProcrayError, match="25 positions given to a model that has 24"):
        build()(torch.zeros(1, 25, dtype=torch.long))


@pytest.mark.parametrize("attention", ["sdpa", "matmul"])
def test_row_form_learns_the_next_row(attention):
    config = GPT2Config(layers=1, heads=2, width=16, vocab=2, context=12, rows=10)
    model = GPT2(config, seed=0)
    model.attention = attention
    generator = torch.Generator().manual_seed(0)
    rows_BTW = [torch.randint(0, 2, (8, 1, 10), generator=generator, dtype=torch.uint8)]
    for _ in range(12):
        rows_BTW.append(rows_BTW[-1].roll(1, dims=2))
    rows_BTW = torch.cat(rows_BTW, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        logits_BTW = model(rows_BTW[:, :-1])
        assert logits_BTW.shape == (8, 12, 10)
        loss = F.binary_cross_entropy_with_logits(logits_BTW, rows_BTW[:, 1:].float())
        optimizer.zero_grad()
        loss.backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(math.log(2), abs=0.05)
    assert losses[-1] < 0.5 * losses[0]


def test_row_form_has_no_token_embedding_and_gives_rows_at_scored_positions():
    model = GPT2(GPT2Config(layers=1, heads=2, width=16, vocab=2, context=12, rows=10), seed=0)
    names = dict(model.named_parameters())
    assert {name for name in names if name.startswith("row_")} == {
        "row_in.weight",
        "row_in.bias",
        "row_out.weight",
        "row_out.bias",
    }
    assert not {"transformer.wte.weight", "lm_head.weight"} & set(names)
    assert model(torch.zeros(2, 5, 10), torch.tensor([1, 7, 9])).shape == (3, 10)


def test_initialise_is_gpt2s():
    model = GPT2(GPT2Config(layers=8, heads=4, width=128, vocab=500, context=64, tied=False), seed=3)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert torch.equal(parameter, torch.zeros_like(parameter)), name
        elif ".ln_" in name:
            assert torch.equal(parameter, torch.ones_like(parameter)), name
        else:
            std = 0.02 / 4 if name.endswith("c_proj.weight") else 0.02  # sqrt(2 x 8) = 4
            assert parameter.std().item() == pytest.approx(std, rel=0.04), name
            assert abs(parameter.mean().item()) < std * 5 / math.sqrt(parameter.numel()), name


def test_initialise_is_keyed_by_name_and_seed():
    base = GPT2Config(layers=2, heads=4, width=32, vocab=53, context=24)
    one = dict(GPT2(base, seed=7).named_parameters())
    again = dict(GPT2(base, seed=7).named_parameters())
    assert all(torch.equal(one[name], again[name]) for name in one)

    other_shape = GPT2Config(layers=2, heads=4, width=32, vocab=1000, context=99, tied=False)
    other = dict(GPT2(other_shape, seed=7).named_parameters())
    blocks = [name for name in one if ".h." in name or "ln_f" in name]
    assert len(blocks) == 26
    assert all(torch.equal(one[name], other[name]) for name in blocks)

    reseeded = dict(GPT2(base, seed=8).named_parameters())
    drawn = [name for name in one if name.endswith("weight") and ".ln_" not in name]
    assert not any(torch.equal(one[name], reseeded[name]) for name in drawn)
    assert not torch.equal(one["transformer.h.0.attn.c_attn.weight"], one["transformer.h.1.attn.c_attn.weight"])


def test_initialise_replaces_whatever_was_there_and_leaves_torchs_generator_alone(build):
    model = build(seed=1)
    state = torch.get_rng_state()
    initialise(model, 7)
    assert torch.equal(torch.get_rng_state(), state)
    fresh = GPT2(model.config, seed=7)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), fresh.parameters(), strict=True))


def test_without_a_seed_the_weights_follow_torchs_generator():
    config = GPT2Config(layers=1, heads=1, width=8, vocab=5, context=4)
    torch.manual_seed(0)
    a, b = GPT2(config), GPT2(config)
    torch.manual_seed(0)
    c = GPT2(config)
    wte = lambda model: model.transformer.wte.weight
    assert not torch.equal(wte(a), wte(b))
    assert torch.equal(wte(a), wte(c))


def test_models_of_two_roles_share_no_draw():
    donor, target = GPT2Config(2, 4, 64, 102, 49, tied=False), GPT2Config(2, 4, 64, 256, 23, tied=False)

    def shared(one, other):
        """Of the drawn parameters, those that begin alike."""
        a, b = (dict(model.named_parameters()) for model in (one, other))
        drawn = [name for name in a if name.endswith("weight") and ".ln_" not in name]
        return [name for name in drawn if bool((a[name][: len(b[name])] == b[name][: len(a[name])]).any())]

    assert len(shared(GPT2(donor, seed=0), GPT2(target, seed=0))) == 11  # nothing tells them apart
    roles = ("target/diagnostic", "target/diagnostic#1", "warmup/identity", "warmup/identity#1", "warmup/set")
    for one, other in itertools.combinations(roles, 2):
        assert shared(GPT2(donor, seed=0, role=one), GPT2(target, seed=0, role=other)) == []
    for role in roles:
        assert len(shared(GPT2(donor, seed=0, role=role), GPT2(target, seed=0, role=role))) == 11
        assert shared(GPT2(donor, seed=0, role=role), GPT2(donor, seed=1, role=role)) == []
        assert shared(GPT2(donor, seed=0, role=role), GPT2(donor, seed=0)) == []
