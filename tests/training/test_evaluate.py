import math

import numpy as np
import pytest
import torch

from procray import tasks
from procray.batch import Batch
from procray.model import GPT2, GPT2Config
from procray.training.evaluate import evaluate
from procray.training.objective import Objective, to_device

CPU = torch.device("cpu")


def small(vocab=3, rows=None):
    """A model with an opinion: the usual small initial weights would tie almost everywhere."""
    model = GPT2(GPT2Config(layers=1, heads=2, width=8, vocab=vocab, context=10, rows=rows), seed=3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8)
    return model


def random_batches():
    rng = np.random.default_rng(1)
    for size in (9, 5, 7):
        tokens_BT = rng.integers(0, 3, (size, 10))
        mask_BT = rng.random((size, 10)) < 0.12
        mask_BT[0] = False  # a sequence that scores nothing must not count as exact
        yield Batch(tokens_BT, np.roll(tokens_BT, -1, 1), mask_BT, size * 10)


@torch.no_grad()
def brute_force(model, batches):
    """One sequence and one position at a time."""
    loss = hits = values = exact = sequences = 0.0
    for batch in batches:
        for tokens_T, targets_T, mask_T in zip(batch.tokens_BT, batch.targets_BT, batch.mask_BT, strict=True):
            good = []
            for t in np.flatnonzero(mask_T):
                logits_V = model(torch.from_numpy(tokens_T[None, : t + 1]))[0, -1].double()
                loss -= float(torch.log_softmax(logits_V, 0)[targets_T[t]])
                good.append(int(logits_V.argmax()) == targets_T[t])
            values += len(good)
            hits += sum(good)
            sequences += bool(good)
            exact += bool(good) and all(good)
    return loss / values, hits / values, exact / sequences


def test_metrics_against_brute_force():
    model = small()
    found = evaluate(Objective(model, 1 << 20, False), random_batches(), CPU)
    loss, accuracy, exact = brute_force(model, random_batches())
    assert 0 < exact < accuracy < 1
    assert found.loss == pytest.approx(loss, rel=1e-5)
    assert (found.accuracy, found.exact) == pytest.approx((accuracy, exact))


def test_pieces_and_workers_change_nothing():
    model = small()
    whole = evaluate(Objective(model, 1 << 20, False), random_batches(), CPU)
    pieces = evaluate(Objective(model, 3 * 2, False), random_batches(), CPU)
    assert (pieces.accuracy, pieces.exact) == (whole.accuracy, whole.exact)
    assert pieces.loss == pytest.approx(whole.loss, rel=1e-6)

    collected: list[list[float]] = []

    def remember(sums):
        collected.append(sums)
        return sums

    for rank in range(3):
        evaluate(Objective(model, 1 << 20, False), random_batches(), CPU, rank, 3, remember)
    totals = list(map(math.fsum, zip(*collected, strict=True)))
    half = len(totals) // 2
    (loss, hits, exact), (values, _, sequences) = totals[:3], totals[half : half + 3]
    assert (hits / values, exact / sequences) == pytest.approx((whole.accuracy, whole.exact))
    assert loss / values == pytest.approx(whole.loss, rel=1e-6)


def test_rows_against_brute_force():
    task = tasks.get("eca_rows", width=6, length=4)
    model = small(rows=6)
    batches = [task.sample(0, "validation", index, 40) for index in range(2)]
    found = evaluate(Objective(model, 1 << 20, False), batches, CPU)
    loss = hits = cells = exact = 0.0
    for batch in batches:
        with torch.no_grad():
            p_BTW = torch.sigmoid(model(torch.from_numpy(batch.rows_BTW)).double()).numpy()
        right_BTW = (p_BTW > 0.5) == (batch.targets_BTW == 1)
        loss -= np.log(np.where(batch.targets_BTW == 1, p_BTW, 1 - p_BTW))[batch.mask_BT].sum()
        hits += right_BTW[batch.mask_BT].sum()
        cells += batch.mask_BT.sum() * 6
        exact += sum(bool(right_TW[mask_T].all()) for right_TW, mask_T in zip(right_BTW, batch.mask_BT, strict=True))
    assert found.loss == pytest.approx(loss / cells, rel=1e-5)
    assert found.accuracy == pytest.approx(hits / cells)
    assert found.exact == pytest.approx(exact / 80)


def test_evaluation_leaves_the_mode_of_training():
    objective = Objective(small(), 1 << 20, False)
    objective.train()
    evaluate(objective, random_batches(), CPU)
    assert objective.model.training


def half_taught(task):
    """A model that gets some of every part of an answer right."""
    model = GPT2(GPT2Config(layers=1, heads=2, width=8, vocab=31, context=10), seed=3)
    objective = Objective(model, 1 << 20, False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for index in range(60):
        data = to_device(tasks.get(task.name, digits=1).sample(0, "train", index, 32), CPU)
        objective(data.inputs, data.targets, data.index_N, 1e-2).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


@torch.no_grad()
def answers_of(model, task, size):
    """For each sequence: the official hits, those of the digits, and that of the stop; one position at a time."""
    batch = task.sample(0, "validation", 0, size)
    for tokens_T in batch.tokens_BT:
        width = len(tokens_T)
        guess_T = [int(model(torch.from_numpy(tokens_T[None, : t + 1]).long())[0, -1].argmax()) for t in range(width)]
        hit = {t: guess_T[t] == tokens_T[t + 1] for t in range(width - 1)}
        if width < task.positions:  # a batch that is trimmed predicts the padding behind its last token
            hit[width - 1] = guess_T[-1] == task.pad
        start, stop = int(np.flatnonzero(tokens_T == 11)[0]), int(np.flatnonzero(tokens_T == 30)[0])
        official = [hit[t] for t in hit if tokens_T[t] >= 20]
        yield official, [hit[t] for t in range(start, stop - 1)], hit[stop - 1]


@pytest.mark.parametrize("mask", ["official", "corrected"])
@pytest.mark.parametrize("name", ["addition", "multiplication"])
def test_parts_of_an_answer_against_brute_force(name, mask):
    task = tasks.get(name, digits=1, mask=mask)
    model = half_taught(task)
    found = evaluate(Objective(model, 31 * 7, False), [task.sample(0, "validation", 0, 60)], CPU)
    answers = list(answers_of(model, task, 60))
    official = [hit for hits, _, _ in answers for hit in hits]
    digits = [hit for _, hits, _ in answers for hit in hits]
    stops = [hit for _, _, hit in answers]
    assert len(set(official)) == len(set(digits)) == 2
    assert found.parts == pytest.approx(
        {
            "official_accuracy": np.mean(official),
            "corrected_accuracy": np.mean(digits),
            "first_accuracy": np.mean([hits[0] for _, hits, _ in answers]),
            "stop_accuracy": np.mean(stops),
            "exact_match": np.mean([all(hits) and stop for _, hits, stop in answers]),
        }
    )
    assert found.accuracy == pytest.approx(np.mean(official if mask == "official" else digits + stops))
    # Loss and accuracy are those of the trained positions alone.
    plain = Batch(*(getattr(task.sample(0, "validation", 0, 60), n) for n in ("tokens_BT", "targets_BT", "mask_BT")), 0)
    alone = evaluate(Objective(model, 1 << 20, False), [plain], CPU)
    assert (found.accuracy, found.exact) == (alone.accuracy, alone.exact)
    assert found.loss == pytest.approx(alone.loss, rel=1e-5)
    assert alone.parts == {}


def test_one_answer_token_is_all_parts_at_once():
    task = tasks.get("haystack", pairs=3)
    model = GPT2(GPT2Config(layers=1, heads=2, width=8, vocab=256, context=10), seed=3)
    found = evaluate(Objective(model, 1 << 20, False), [task.sample(0, "validation", 0, 200)], CPU)
    parts = ("official_accuracy", "corrected_accuracy", "exact_match")
    assert found.parts == dict.fromkeys(parts, found.accuracy)
