"""A task among the text of one phase."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from procray import corpora, tasks
from procray.errors import EnvironmentProblem, ProcrayError, StoreError, TaskError
from procray.training import FolderContext, keep, text_source, train
from procray.training import loop as loop_module
from procray.training.interleaving import Interleaving
from procray.training.pack import train_pack
from procray.training.recipe import Evaluation, Optimizer, PhaseRecipe
from procray.training.schedule import lr_at

from .phases import SET, SHAPE, curve, recipe, resume, weights

N = 12
TASK = SET["task"]
ROWS = tasks.from_recipe(TASK).vocab_size
INSERTED = Interleaving(ROWS, TASK, "warmup/set", batch=6, updates=7, start=5, sequences=16)
MIXED = replace(INSERTED, start=2, span=10, decay="linear")
UNUSED = Interleaving(ROWS)
PLACES = {"inserted": INSERTED, "first": replace(INSERTED, start=0), "mixed": MIXED}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    rng = np.random.default_rng(0)
    for number in range(60):
        (folder / f"{number}.txt").write_text(" ".join(rng.choice(["sum", "of", "all", "parts", "is", "less"], 80)))
    data = corpora.recipe({"files": [str(folder / "*.txt")]}, "byte")
    return data, corpora.prepare(data, folder / "corpora", 2000)


def phase(text, interleaving=INSERTED, **changes):
    return recipe(
        kind="semantic", data=text[0], batch=4, role="target/semantic", interleaving=interleaving,
        evaluation=Evaluation(4, 6), **changes,
    )  # fmt: skip


def trained(phase, text, folder, until=N, marks=(), stop=None, **cuts):
    context = FolderContext(folder, should_stop=stop or (lambda: False))
    return train(phase, text_source(phase, text[1]), context, until=until, marks=marks, **cuts)


@pytest.fixture(scope="module")
def whole(text, tmp_path_factory):
    """Each phase in one go, when it is first asked for."""
    torch.set_num_threads(1)
    done = {}

    def folder(name):
        if name not in done:
            done[name] = tmp_path_factory.mktemp(name)
            trained(phase(text, PLACES.get(name, UNUSED if name == "unused" else None)), text, done[name])
        return done[name]

    return folder


# Where updates stand


@given(
    updates=st.integers(1, 500),
    start=st.integers(0, 50),
    span=st.integers(1, 400),
    decay=st.sampled_from(["none", "linear", "cosine"]),
)
@settings(max_examples=200, deadline=None)
def test_all_updates_are_made_in_their_span_and_none_before_it(updates, start, span, decay):
    where = Interleaving(9, TASK, "", 1, updates, start, span, decay, 1)
    due = [where.due(step) for step in range(start + span + 3)]
    assert due == sorted(due)
    assert due[:start] == [0] * start
    assert due[start + span - 1 :] == [updates] * 4
    each = np.diff([0, *due])[start : start + span]
    if decay == "none":
        assert each.max() - each.min() <= 1
    else:  # a straight line, or half a cosine, down to none
        done = np.arange(1, span + 1) / span
        shape = 1 - (1 - done) ** 2 if decay == "linear" else done + np.sin(np.pi * done) / np.pi
        assert np.abs(np.cumsum(each) - updates * shape).max() <= 1 + 1e-6


def test_they_go_through_json_and_damage_is_told():
    for one in (INSERTED, MIXED, UNUSED):
        assert Interleaving.from_json(json.loads(json.dumps(one.to_json()))) == one
    assert UNUSED.to_json() == {"rows": ROWS}
    for wrong in (
        {},
        {"rows": 0},
        {**MIXED.to_json(), "decay": "wsd"},
        {**MIXED.to_json(), "span": 0},
        {**MIXED.to_json(), "weight": 0.0},
        {"rows": 9, "x": 1},
    ):
        with pytest.raises(StoreError, match="no interleaving"):
            Interleaving.from_json(wrong)


def test_they_are_part_of_the_identity(text):
    plain = phase(text, None)
    assert "interleaving" not in plain.to_json()
    found = [phase(text, one) for one in (None, UNUSED, INSERTED, MIXED, replace(MIXED, start=3))]
    assert len({one.id for one in found}) == len(found)
    for one in found:
        assert PhaseRecipe.from_json(json.loads(json.dumps(one.to_json()))) == one


# What is trained


def test_text_comes_as_in_the_baseline_and_tokens_are_counted_apart(text, whole):
    base = curve(whole("unused"))
    for name, where in PLACES.items():
        rows = FolderContext(whole(name)).rows()
        for row, other in zip(rows, base, strict=True):
            alike = ("step", "tokens", "scored_tokens", "unique_tokens", "epoch")
            assert [row[key] for key in alike] == [other[key] for key in alike]
            made = where.due(row["step"] - 1) if row["step"] else 0
            assert row["procedural_updates"] == made
            assert row["procedural_tokens"] == made * 6 * tasks.from_recipe(TASK).mean_tokens
        assert rows[0]["procedural_train_loss"] is None
        assert not any(key.startswith("procedural") for key in base[0])


def test_baseline_and_variant_begin_alike_and_part_with_the_first_inserted_update(whole):
    base, late, first = (curve(whole(name)) for name in ("unused", "inserted", "first"))
    assert [row["loss"] for row in late[:2]] == [row["loss"] for row in base[:2]]
    assert late[2]["loss"] != base[2]["loss"]
    assert first[0]["loss"] == base[0]["loss"]
    assert first[1]["loss"] != base[1]["loss"]
    assert base[0]["loss"] == pytest.approx(np.log(257), abs=0.01), "the softmax is over the tokenizer's rows"
    assert first[0]["procedural_loss"] == pytest.approx(np.log(ROWS), abs=0.01), "or over those of the symbols"


def test_the_task_is_learned_and_its_losses_are_not_those_of_text(text, tmp_path):
    many = replace(INSERTED, updates=200, batch=16)
    trained(phase(text, many), text, tmp_path)
    rows = FolderContext(tmp_path).rows()
    assert rows[0]["procedural_loss"] == pytest.approx(np.log(ROWS), abs=0.1)
    assert rows[2]["procedural_train_loss"] < 0.95 * rows[0]["procedural_loss"]
    assert rows[2]["procedural_learned_accuracy"] > rows[0]["procedural_accuracy"] + 0.1
    assert rows[3]["procedural_train_loss"] is None
    trained(phase(text, UNUSED), text, tmp_path / "base")
    base = FolderContext(tmp_path / "base").rows()
    assert rows[1]["train_loss"] == base[1]["train_loss"]
    assert rows[2]["train_loss"] == pytest.approx(base[2]["train_loss"], abs=1.0)


def test_one_schedule_lies_over_the_tokens_of_both_kinds(text, tmp_path):
    optimizer = Optimizer(lr=1e-3, schedule="cosine", warmup_steps=2)
    one = phase(text, replace(MIXED, weight=0.25), optimizer=optimizer, steps=N)
    assert one.length == N + 7 / 4
    trained(one, text, tmp_path)
    for row in FolderContext(tmp_path).rows()[1:]:
        before = row["step"] - 1 + MIXED.due(row["step"] - 1) / 4
        assert row["lr"] == lr_at(before, optimizer, N + 7 / 4)


def test_unused_rows_leave_everything_else_as_it_was_drawn(text, tmp_path):
    from safetensors.numpy import load

    trained(phase(text, UNUSED), text, tmp_path / "rows", until=1, marks=(0,))
    trained(phase(text, INSERTED), text, tmp_path / "task", until=1, marks=(0,))
    assert weights(tmp_path / "rows", 0) == weights(tmp_path / "task", 0)
    assert load(weights(tmp_path / "rows", 0))["transformer.wte.weight"].shape[0] == text[1].vocab_size + ROWS


def test_neither_kind_of_data_pushes_the_rows_of_the_other_away(text, tmp_path):
    from safetensors.numpy import load

    plain = {"model": replace(SHAPE, tied=False), "optimizer": Optimizer(lr=1e-2, weight_decay=0.0)}
    symbols, tokens = slice(257, None), slice(257)
    trained(phase(text, UNUSED, **plain), text, tmp_path / "rows", until=2, marks=(0,))
    before, after = (load(weights(tmp_path / "rows", step))["lm_head.weight"] for step in (0, 2))
    assert np.array_equal(before[symbols], after[symbols])
    assert not np.array_equal(before[tokens], after[tokens])
    one = replace(INSERTED, start=0)
    few = replace(one, updates=1)
    trained(phase(text, few, **plain), text, tmp_path / "task", until=1, marks=(0,))
    trained(phase(text, UNUSED, **plain), text, tmp_path / "none", until=1)
    before, task, none = (
        load(weights(tmp_path / name, step))["lm_head.weight"] for name, step in (("task", 0), ("task", 1), ("none", 1))
    )
    moved = np.abs(task[symbols] - before[symbols]).max(1)
    assert (moved > 0).all()
    assert np.abs(task[tokens] - before[tokens]).max() <= np.abs(none[tokens] - before[tokens]).max() * 1.01


def test_inserted_batches_are_those_of_a_phase_of_its_own(text):
    from procray.training import task_source
    from procray.training.interleaved import interleaved
    from procray.training.runtime import resolve

    one = phase(text)
    source = text_source(one, text[1])
    found = interleaved(one, source, resolve(one, torch.device("cpu"), vocab=source.vocab))
    alone = task_source(recipe(data=SET, batch=6, role="warmup/set", evaluation=Evaluation(4, 16)))
    for update in (0, 6):
        batch, own = found.batch(update), alone.batch(update, None)
        assert np.array_equal(batch.tokens_BT, own.tokens_BT + 257)
        assert np.array_equal(batch.targets_BT, own.targets_BT + 257)
        assert np.array_equal(batch.mask_BT, own.mask_BT)
    for batch, own in zip(found.validation(), alone.validation(None), strict=True):
        assert np.array_equal(batch.tokens_BT, own.tokens_BT + 257)


# Interrupted or not


@pytest.mark.parametrize("name", PLACES)
def test_stops_between_any_two_updates_leave_no_trace(text, tmp_path, whole, name):
    runs, status = 0, ""
    while status != "done":
        asked = itertools.count()
        one = phase(text, PLACES[name])
        status = trained(one, text, tmp_path, marks=(4, 5), stop=lambda asked=asked: next(asked) == 2).status
        runs += 1
    assert runs >= (N + 7) // 2, "one or two updates a run"
    assert weights(tmp_path, N) == weights(whole(name), N)
    assert resume(tmp_path, N) == resume(whole(name), N)
    steps = {row["step"] for row in curve(whole(name))}
    assert [row for row in curve(tmp_path) if row["step"] in steps] == curve(whole(name))


def test_states_are_saved_among_many_updates_and_the_end_replaces_them(text, tmp_path, whole, monkeypatch):
    monkeypatch.setattr(keep, "SAVE_ANYWHERE_SECONDS", 0.0)
    monkeypatch.setattr("procray.training.losses.PENDING", 2)
    saved = []

    class Told(FolderContext):
        def save_resume(self, step, write):
            saved.append(step)
            super().save_resume(step, write)

    one = phase(text)
    train(one, text_source(one, text[1]), Told(tmp_path), until=N, marks=())
    assert saved.count(6) >= 3, "under the step that they lead to"
    assert weights(tmp_path, N) == weights(whole("inserted"), N)


def test_what_stands_before_a_later_step_is_no_state_of_this_one(text, tmp_path):
    asked = iter(range(100))
    trained(phase(text), text, tmp_path, stop=lambda: next(asked) == 8)
    assert FolderContext(tmp_path).latest_resume().name == "6"
    with pytest.raises(StoreError, match="beyond step 5"):
        trained(phase(text), text, tmp_path, until=5)


def test_parts_make_no_difference_but_rounding(text, tmp_path, whole):
    trained(phase(text, MIXED), text, tmp_path, micro_batch=1)
    assert curve(tmp_path)[-1]["loss"] == pytest.approx(curve(whole("mixed"))[-1]["loss"], abs=1e-4)
    assert curve(tmp_path)[-1]["procedural_tokens"] == curve(whole("mixed"))[-1]["procedural_tokens"]


def test_dropout_of_inserted_updates_is_a_function_of_their_number(text, tmp_path):
    one = phase(text, MIXED, model=replace(SHAPE, dropout=0.3))
    trained(one, text, tmp_path / "whole")
    for until in (3, 7, N):
        trained(one, text, tmp_path / "parts", until=until)
    assert weights(tmp_path / "whole", N) == weights(tmp_path / "parts", N)


# What cannot be


def test_what_cannot_stand_among_text_is_told(text, tmp_path):
    long = tasks.get("set", length=40, vocab=12).recipe()
    with pytest.raises(TaskError, match="context of 32"):
        trained(phase(text, replace(INSERTED, task=long)), text, tmp_path)
    with pytest.raises(TaskError, match="has 3 rows"):
        trained(phase(text, replace(INSERTED, rows=3)), text, tmp_path)
    one = phase(text, replace(INSERTED, batch=1))
    context = FolderContext(tmp_path, world_size=2)
    with pytest.raises(EnvironmentProblem, match="shared by 2 workers"):
        loop_module.interleaved(one, text_source(one, text[1]), replace(_runtime(one), world_size=2))
    assert context is not None


def test_a_pack_takes_none(text, tmp_path):
    one = phase(text)
    with pytest.raises(ProcrayError, match="a task among its text"):
        train_pack([one], [text_source(one, text[1])], [FolderContext(tmp_path)], until=1)


def _runtime(one):
    from procray.training.runtime import resolve

    return resolve(one, torch.device("cpu"), vocab=300)
