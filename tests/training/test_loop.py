import json
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from procray import corpora, tasks
from procray.errors import PhaseFailed, ProcrayError
from procray.model import GPT2, GPT2Config, flops_per_token, load_weights
from procray.training import FolderContext, losses, pace, task_source, text_source, train
from procray.training import loop as loop_module
from procray.training.parts import computed, micro_batches
from procray.training.recipe import Evaluation, ModelShape, Optimizer
from procray.training.runtime import ANY_THREADS

from .phases import CURRICULUM, RANGE, ROWS, SHAPE, Steps, curve, recipe, resume, run, weights

KEYS = {
    *("step", "tokens", "scored_tokens", "positions", "flops", "loss", "accuracy", "exact", "train_loss", "lr"),
    *("grad_norm", "tokens_per_s", "positions_per_s", "mfu", "seconds", "time"),
    *("sequences", "mean_steps"),
}


def tensors(folder, step):
    return load_file(folder / "marks" / str(step) / "model.safetensors")


def test_the_journal_counts_what_was_done(tmp_path):
    phase = recipe(data=RANGE)
    outcome = run(phase, tmp_path, 8)
    rows = FolderContext(tmp_path).rows()
    assert [row["step"] for row in rows] == [0, 4, 8]
    assert all(set(row) == KEYS for row in rows)
    assert outcome.evaluation == rows[-1]

    first = rows[0]
    assert (first["tokens"], first["positions"], first["flops"]) == (0, 0, 0)
    assert all(first[name] is None for name in ("train_loss", "lr", "grad_norm", "tokens_per_s"))
    assert first["loss"] == pytest.approx(np.log(task_source(phase).vocab), rel=0.02)

    source = task_source(phase)
    batches = [source.batch(step, None) for step in range(8)]
    config = GPT2Config(layers=2, heads=2, width=16, vocab=source.vocab, context=32)
    last = rows[-1]
    assert last["tokens"] == outcome.tokens == sum(batch.nominal_tokens for batch in batches)
    assert last["scored_tokens"] == sum(batch.mask_BT.sum() for batch in batches)
    assert last["positions"] == sum(batch.mask_BT.size for batch in batches)
    assert last["flops"] == pytest.approx(
        sum(batch.mask_BT.size * flops_per_token(config, batch.mask_BT.shape[1]) for batch in batches)
    )
    assert last["lr"] == 3e-3
    assert 0 < last["seconds"] < 60
    assert last["tokens_per_s"] > 0


def test_a_hand_written_loop_trains_the_same(tmp_path):
    """The plainest loop with torch's own parts: same losses, same weights."""
    phase = recipe(data=RANGE, optimizer=Optimizer(lr=3e-3, clip=0.5))
    run(phase, tmp_path, 8)
    source = task_source(phase)
    model = GPT2(GPT2Config(layers=2, heads=2, width=16, vocab=source.vocab, context=32), seed=0)
    model.attention = "matmul"
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed}, {"params": others, "weight_decay": 0.0}], lr=3e-3, weight_decay=0.1
    )
    loss_sum = values = norms = 0.0
    for step in range(8):
        if step == 4:
            loss_sum = values = norms = 0.0
        batch = source.batch(step, None)
        mask_BT = torch.from_numpy(batch.mask_BT)
        logits_NV = model(torch.from_numpy(batch.tokens_BT).long())[mask_BT]
        loss = torch.nn.functional.cross_entropy(logits_NV, torch.from_numpy(batch.targets_BT).long()[mask_BT])
        loss.backward()
        norms += torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5).item()
        optimizer.step()
        optimizer.zero_grad()
        loss_sum += loss.item() * len(logits_NV)
        values += len(logits_NV)
    row = curve(tmp_path)[-1]
    assert row["train_loss"] == pytest.approx(loss_sum / values, rel=1e-5)
    assert row["grad_norm"] == pytest.approx(norms / 4, rel=1e-4)
    for name, value in tensors(tmp_path, 8).items():
        assert torch.allclose(value, model.state_dict()[name], rtol=1e-3, atol=1e-5), name


@pytest.mark.parametrize("data", [RANGE, ROWS])
def test_parts_of_a_batch_give_the_gradient_of_the_whole(tmp_path, data):
    phase = recipe(data=data, batch=7)
    run(phase, tmp_path / "whole", 4)
    run(phase, tmp_path / "parts", 4, micro_batch=2)
    one, other = curve(tmp_path / "whole")[-1], curve(tmp_path / "parts")[-1]
    for name in ("loss", "train_loss", "grad_norm"):
        assert other[name] == pytest.approx(one[name], rel=1e-5)
    for name in ("tokens", "scored_tokens"):
        assert other[name] == one[name]
    for name, value in tensors(tmp_path / "parts", 4).items():
        assert torch.allclose(value, tensors(tmp_path / "whole", 4)[name], rtol=1e-3, atol=1e-5), name


def test_trimming_leaves_the_numbers(tmp_path):
    data = {"task": tasks.get("haystack", pairs=12).recipe()}
    phase = recipe(data=data, batch=64)
    run(phase, tmp_path / "whole", 4, trim=0)
    run(phase, tmp_path / "trimmed", 4, trim=300)
    one, other = curve(tmp_path / "whole")[-1], curve(tmp_path / "trimmed")[-1]
    for name in ("loss", "train_loss", "grad_norm"):
        assert other[name] == pytest.approx(one[name], rel=1e-5)
    assert other["tokens"] == one["tokens"]


def test_a_mark_holds_a_model_that_loads_and_what_is_known_about_it(tmp_path):
    phase = recipe()
    run(phase, tmp_path, 6, marks=(4,))
    found, config = load_weights(tmp_path / "marks" / "4")
    assert (config.layers, config.width, config.vocab) == (2, 16, task_source(phase).vocab)
    assert all(torch.isfinite(value).all() for value in found.values())
    manifest = json.loads((tmp_path / "marks" / "4" / "manifest.json").read_text())
    row = {row["step"]: row for row in FolderContext(tmp_path).rows()}[4]
    for name in ("tokens", "scored_tokens", "positions", "loss", "accuracy", "exact"):
        assert manifest[name] == row[name]
    assert (manifest["step"], manifest["recipe"]) == (4, phase.id)
    assert manifest["provenance"]["threads"] in (1, ANY_THREADS)


def test_the_row_form_keeps_its_own_maps_beside_the_blocks(tmp_path):
    run(recipe(data=ROWS), tmp_path, 4)
    names = set(tensors(tmp_path, 4))
    assert {"row_in.weight", "row_in.bias", "row_out.weight", "row_out.bias"} < names
    assert "transformer.wte.weight" not in names


def test_variants_see_the_same_batches_and_start_alike_but_for_their_init(tmp_path):
    run(recipe(seed=1), tmp_path / "one", 4, marks=(0,))
    run(recipe(seed=2), tmp_path / "two", 4, marks=(0,))
    assert weights(tmp_path / "one", 0) != weights(tmp_path / "two", 0)
    run(recipe(seed=1, optimizer=Optimizer(lr=1e-3)), tmp_path / "three", 4, marks=(0,))
    assert weights(tmp_path / "one", 0) == weights(tmp_path / "three", 0)


@pytest.mark.parametrize("pending", [50, 3])
def test_nan_stops_the_phase_and_leaves_the_last_good_state(tmp_path, monkeypatch, pending):
    monkeypatch.setattr(losses, "PENDING", pending)
    # The rate explodes after the first mark.
    good = recipe(evaluation=Evaluation(every=100, sequences=16))
    monkeypatch.setattr(
        loop_module, "lr_at", lambda step, optimizer, steps: optimizer.lr if step < 4 else 1e6 * (step - 3)
    )
    run(good, tmp_path, 4)
    before = resume(tmp_path, 4)
    with pytest.raises(PhaseFailed) as caught:
        run(good, tmp_path, 300, marks=(4, 200))
    found = re.search(
        r"at step (\d+) \(learning rate ([\d.e+]+), training loss (\S+), gradient norm (\S+)\)", str(caught.value)
    )
    assert found, caught.value
    step, lr, loss, norm = int(found[1]), float(found[2]), float(found[3]), float(found[4])
    assert 4 < step < 100
    assert caught.value.step == step
    assert lr == 1e6 * (step - 3)
    assert not np.isfinite([loss, norm]).all()
    assert "the last good state is that of step 4" in str(caught.value)
    assert resume(tmp_path, 4) == before
    assert [row["step"] for row in curve(tmp_path)] == [0, 4]
    assert [path.name for path in (tmp_path / "marks").iterdir()] == ["4"]


def test_a_rate_of_a_million_fails_from_the_start(tmp_path):
    with pytest.raises(PhaseFailed, match=r"learning rate 1e\+06"):
        run(recipe(optimizer=Optimizer(lr=1e6)), tmp_path, 100)
    assert FolderContext(tmp_path).latest_resume() is None


@pytest.mark.parametrize("keep", ["mark", "stop"])
def test_weights_that_broke_in_the_last_update_are_not_saved(tmp_path, monkeypatch, keep):
    """Loss and norm of the last step were fine; only the weights tell."""
    original = loop_module.Run.update

    def breaks(self):
        original(self)
        if self.state.step == 6:
            with torch.no_grad():
                self.model.transformer.wpe.weight[-1, 0] = torch.inf  # beyond every sequence: the loss never sees it

    monkeypatch.setattr(loop_module.Run, "update", breaks)
    options = {"marks": (6,)} if keep == "mark" else {"stop_at": (6,)}
    with pytest.raises(PhaseFailed, match="the weights are not finite at step 5"):
        run(recipe(), tmp_path, 8, **options)
    assert FolderContext(tmp_path).latest_resume() is None
    assert not (tmp_path / "marks" / "6").exists()


def test_a_curriculum_decides_by_its_own_evaluations(tmp_path):
    run(recipe(data=CURRICULUM), tmp_path, 16)
    rows = curve(tmp_path)
    mastery = CURRICULUM["task"]["length"]["mastery"]
    for row, following in pairwise(rows):
        grows = row["step"] > 0 and row["accuracy"] >= mastery
        assert following["length"] == min(6, row["length"] + grows)


def test_text_is_scored_by_token_and_its_epochs_are_counted(tmp_path):
    (tmp_path / "text").mkdir()
    for number in range(30):
        (tmp_path / "text" / f"{number}.txt").write_text(f"{number} times {number} is {number * number}\n" * 12)
    data = corpora.recipe({"files": [str(tmp_path / "text" / "*.txt")]}, "byte")
    prepared = corpora.prepare(data, tmp_path / "corpora", 1000)
    phase = recipe(kind="semantic", data=data, evaluation=Evaluation(every=4, sequences=8))
    for until in (6, 12):
        train(phase, text_source(phase, prepared), FolderContext(tmp_path / "a"), until=until, marks=())
    train(phase, text_source(phase, prepared), FolderContext(tmp_path / "b"), until=12, marks=())
    rows = curve(tmp_path / "b")
    assert [row for row in curve(tmp_path / "a") if row["step"] % 4 == 0] == rows
    assert weights(tmp_path / "a", 12) == weights(tmp_path / "b", 12)
    last = rows[-1]
    assert last["exact"] is None
    assert last["tokens"] == last["scored_tokens"] == 12 * 8 * 32
    assert FolderContext(tmp_path / "b").rows()[-1]["positions"] == 12 * 8 * 32
    assert {name: last[name] for name in ("epoch", "unique_tokens")} == prepared.exposure(12 * 8, 32)
    assert last["loss"] < rows[0]["loss"]


def test_progress_comes_at_most_once_a_second(tmp_path, monkeypatch):
    clock = iter(np.arange(0, 1000, 0.05))
    monkeypatch.setattr(pace.time, "perf_counter", lambda: float(next(clock)))
    shown = []
    monkeypatch.setattr(FolderContext, "progress", lambda self, row: shown.append(row))
    run(recipe(evaluation=Evaluation(every=500, sequences=16)), tmp_path, 60)
    assert 2 <= len(shown) <= 15
    assert all(set(row) == {"step", "tokens", "loss", "tokens_per_s", "mfu"} for row in shown)
    assert all(np.isfinite(list(row.values())).all() for row in shown)


def test_dropout_is_on_in_training_and_off_in_evaluation(tmp_path):
    run(recipe(), tmp_path / "without", 4)
    run(recipe(model=replace(SHAPE, dropout=0.5)), tmp_path / "with", 4)
    assert curve(tmp_path / "without")[0] == curve(tmp_path / "with")[0]
    assert curve(tmp_path / "without")[1]["train_loss"] != curve(tmp_path / "with")[1]["train_loss"]


def test_every_step_of_every_seed_and_role_drops_other_values(tmp_path, monkeypatch):
    keys = []
    monkeypatch.setattr(torch, "manual_seed", keys.append)
    for seed, role in ((0, ""), (1, ""), (0, "target/semantic"), (0, "warmup/set")):
        phase = recipe(seed=seed, role=role, model=replace(SHAPE, dropout=0.5))
        run(phase, tmp_path / f"{seed}{role.replace('/', ' ')}", 4)
    assert len(set(keys)) == len(keys) == 16


def test_large_vocabularies_are_scored_in_pieces(tmp_path, monkeypatch):
    run(recipe(), tmp_path / "whole", 4)
    monkeypatch.setattr(loop_module.rt, "CPU_LOGITS", 100)
    run(recipe(), tmp_path / "pieces", 4)
    assert curve(tmp_path / "pieces")[-1]["loss"] == pytest.approx(curve(tmp_path / "whole")[-1]["loss"], rel=1e-5)


def test_a_batch_that_scores_nothing_is_named(tmp_path):
    phase = recipe()
    source = Steps(task_source(phase))
    silent = source.batch(0, None)
    silent.mask_BT[:] = False
    source.batch = lambda step, length: silent  # type: ignore[method-assign]
    with pytest.raises(PhaseFailed, match="step 0 scores no position"):
        train(phase, source, FolderContext(tmp_path), until=2, marks=())


def test_user_errors_of_the_model_come_through(tmp_path):
    with pytest.raises(ProcrayError, match="width 16 cannot be divided among 3 heads"):
        run(recipe(model=ModelShape(1, 3, 16, 32)), tmp_path, 2)


def test_flops_and_positions_are_those_that_were_computed(tmp_path):
    data = {"task": tasks.get("haystack", pairs=30).recipe()}
    shape = ModelShape(layers=1, heads=2, width=16, context=64)
    phase = recipe(kind="diagnostic", data=data, model=shape, batch=64, evaluation=Evaluation(4, 32))
    run(phase, tmp_path / "whole", until=4, trim=0)
    run(phase, tmp_path / "trimmed", until=4, trim=512)
    whole, trimmed = (FolderContext(tmp_path / name).rows()[-1] for name in ("whole", "trimmed"))
    source = task_source(phase)
    config = GPT2Config(1, 2, 16, source.vocab, 64)
    parts = [part.mask_BT.shape for step in range(4) for part in micro_batches(source.batch(step, None), 0, 1, 64, 512)]
    assert trimmed["positions"] == sum(rows * length for rows, length in parts) < 0.75 * whole["positions"]
    assert trimmed["flops"] == pytest.approx(sum(rows * T * flops_per_token(config, T) for rows, T in parts))
    assert trimmed["tokens"] == whole["tokens"] == 4 * 64 * 63


def test_several_workers_count_what_all_of_them_compute():
    mask_BT = tasks.get("haystack", pairs=30).sample(0, "train", 0, 9).mask_BT
    both = computed(mask_BT, 2, 8, 64)
    assert both == computed(mask_BT[0::2], 1, 8, 64) + computed(mask_BT[1::2], 1, 8, 64)
    assert sum(sequences for sequences, _ in both) == len(mask_BT)
