import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from procray import tasks
from procray.batch import Batch
from procray.model import GPT2, GPT2Config
from procray.training.objective import Objective, scored_values, to_device

CPU = torch.device("cpu")


def small(vocab=13, seed=0, **more):
    return GPT2(GPT2Config(layers=2, heads=2, width=16, vocab=vocab, context=12, **more), seed=seed)


def random_batch(scored: float) -> Batch:
    rng = np.random.default_rng(0)
    tokens_BT = rng.integers(0, 13, (4, 12))
    return Batch(tokens_BT, np.roll(tokens_BT, -1, 1), rng.random((4, 12)) < scored, 48)


def gradients(model, objective, batch):
    model.zero_grad()
    data = to_device(batch, CPU)
    loss = objective(data.inputs, data.targets, data.index_N, 1.0)
    loss.backward()
    return loss.item(), {name: value.grad.clone() for name, value in model.named_parameters()}


def dense_reference(model, batch):
    """Logits everywhere, the unscored ones multiplied by nothing."""
    model.zero_grad()
    logits_BTV = model(torch.from_numpy(batch.tokens_BT))
    loss_N = F.cross_entropy(logits_BTV.flatten(0, 1), torch.from_numpy(batch.targets_BT).flatten(), reduction="none")
    loss = (loss_N * torch.from_numpy(batch.mask_BT).flatten()).sum()
    loss.backward()
    return loss.item(), {name: value.grad.clone() for name, value in model.named_parameters()}


@pytest.mark.parametrize("scored", [0.2, 1.1])
def test_logits_at_scored_positions_give_the_dense_loss_and_gradients(scored):
    model, batch = small(), random_batch(scored)
    data = to_device(batch, CPU)
    assert (data.index_N is None) == (scored > 1)
    assert data.values == scored_values(batch) == batch.mask_BT.sum()
    loss, ours = gradients(model, Objective(model, 1 << 20, False), batch)
    expected, theirs = dense_reference(model, batch)
    assert loss == pytest.approx(expected, rel=1e-6)
    for name in ours:
        assert torch.allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-6), name


def test_logits_in_pieces_give_the_same_gradients():
    model, batch = small(), random_batch(0.6)
    whole = gradients(model, Objective(model, 1 << 20, False), batch)
    objective = Objective(model, 13 * 5, False)
    data = to_device(batch, CPU)
    pieces = objective.pieces(objective.states(data.inputs, data.index_N), data.targets)
    assert [len(x_nD) for x_nD, _ in pieces[:-1]] == [5] * (len(pieces) - 1)
    assert len(pieces) > 3
    cut = gradients(model, objective, batch)
    assert cut[0] == pytest.approx(whole[0], rel=1e-6)
    for name, value in whole[1].items():
        assert torch.allclose(cut[1][name], value, rtol=1e-4, atol=1e-6), name


def test_logits_in_pieces_are_computed_once():
    """As many operations as for the whole, forward and backward."""
    counts = []
    for bound in (1 << 20, 13 * 5):
        model = small()
        with FlopCounterMode(display=False) as counter:
            gradients(model, Objective(model, bound, False), random_batch(0.6))
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1]


@pytest.mark.parametrize("bound", [1 << 20, 13 * 5])
def test_a_padded_vocabulary_gives_the_loss_and_gradients_of_the_plain_one(bound):
    plain, padded = small(), small(pad_vocab=8)
    one, two = (gradients(model, Objective(model, bound, False), random_batch(0.6)) for model in (plain, padded))
    assert two[0] == pytest.approx(one[0], rel=1e-6)
    for name, value in one[1].items():
        assert torch.allclose(two[1][name], value, rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize("part", ["transformer.wte", "transformer.h"])
def test_pieces_leave_what_is_frozen_without_a_gradient(part):
    found = []
    for bound in (1 << 20, 13 * 5):
        model, data = small(), to_device(random_batch(0.6), CPU)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(not name.startswith(part))
        Objective(model, bound, False)(data.inputs, data.targets, data.index_N, 1.0).backward()
        found.append({name: value.grad for name, value in model.named_parameters()})
    for name, value in found[0].items():
        assert (found[1][name] is None) == (value is None) == name.startswith(part)
        assert value is None or torch.allclose(found[1][name], value, rtol=1e-4, atol=1e-6), name


def test_what_is_not_scored_is_not_learned():
    """Padding and prompt carry no loss: other targets there change nothing."""
    model, batch = small(), random_batch(0.4)
    other = Batch(batch.tokens_BT, np.where(batch.mask_BT, batch.targets_BT, 0), batch.mask_BT, 48)
    objective = Objective(model, 1 << 20, False)
    one, two = gradients(model, objective, batch), gradients(model, objective, other)
    assert one[0] == two[0]
    assert all(torch.equal(one[1][name], two[1][name]) for name in one[1])


def test_a_part_without_scored_positions_has_zero_gradients():
    model = small()
    batch = random_batch(0.0)
    loss, found = gradients(model, Objective(model, 1 << 20, False), batch)
    assert loss == 0
    assert all(not value.any() for value in found.values())


def test_rows_are_scored_cell_by_cell():
    task = tasks.get("eca_rows", width=12, length=8)
    batch = task.sample(0, "train", 0, 4)
    model = small(rows=12)
    loss, _ = gradients(model, Objective(model, 1 << 20, False), batch)
    p_BTW = torch.sigmoid(model(torch.from_numpy(batch.rows_BTW))).detach().numpy().astype(np.float64)
    right = np.where(batch.targets_BTW > 0, p_BTW, 1 - p_BTW)[batch.mask_BT]
    assert scored_values(batch) == right.size == batch.mask_BT.sum() * 12
    assert loss == pytest.approx(-np.log(right).sum(), rel=1e-5)


def test_bfloat16_is_close_to_float32_and_not_equal():
    model, batch = small(), random_batch(0.5)
    exact, _ = gradients(model, Objective(model, 1 << 20, False), batch)
    rounded, _ = gradients(model, Objective(model, 1 << 20, True), batch)
    assert exact != rounded
    assert rounded == pytest.approx(exact, rel=2e-2)
