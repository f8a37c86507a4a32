"""A phase with a task among its text, stopped between updates on the task, goes on from the store."""

from __future__ import annotations

import itertools

import pytest
import torch

from procray import corpora, tasks
from procray.store.context import StoreContext
from procray.store.store import Store
from procray.training import text_source, train
from procray.training.interleaving import Interleaving
from procray.training.recipe import Evaluation, ModelShape, Optimizer, PhaseRecipe

TASK = tasks.get("set", length=6, vocab=12).recipe()
END = 6


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    (folder / "a.txt").write_text("some words, and others of that kind; " * 600)
    data = corpora.recipe({"files": [str(folder / "a.txt")]}, "byte")
    return data, corpora.prepare(data, folder / "corpora", 2000)


def trained(text, store: Store, stop=None, until: int = END):
    among = Interleaving(14, TASK, "warmup/set", batch=4, updates=8, start=3, sequences=8)
    recipe = PhaseRecipe(
        "semantic", ModelShape(1, 2, 16, 32), text[0], 4, Optimizer(1e-3), Evaluation(2, 4), 0, interleaving=among
    )
    torch.set_num_threads(1)
    folder = store.phase(recipe.id)
    with_lease = folder.acquire({})
    wanted = [step for step in (3, until) if not folder.exists_mark(step)]
    context = StoreContext(
        folder, with_lease, store, 0, 1, torch.device("cpu"), stop or (lambda: False),
        resume_at_most=min(wanted, default=None),
    )  # fmt: skip
    try:
        return folder, train(recipe, text_source(recipe, text[1]), context, until=until, marks=[3])
    finally:
        context.close()
        with_lease.release()


def test_states_between_updates_on_the_task_are_kept_under_the_step_that_they_lead_to(text, tmp_path):
    whole, _ = trained(text, Store(tmp_path / "whole"))
    store, seen = Store(tmp_path / "parts"), []
    for _ in range(20):
        asked = itertools.count()
        folder, outcome = trained(text, store, stop=lambda asked=asked: next(asked) == 3)
        seen.append(folder.resumes())
        if outcome.status == "done":
            break
    assert seen[0] == [3]
    assert seen[1] == [3, 4], "between two updates, and the one before it"
    assert seen[2] == [3, 4], "a later one in its place"
    assert outcome.status == "done"
    one, other = ((path.mark(END) / "model.safetensors").read_bytes() for path in (folder, whole))
    assert one == other
    assert folder.curve()[-1]["procedural_learned_loss"] == whole.curve()[-1]["procedural_learned_loss"]


def test_a_mark_that_lies_before_such_a_state_is_trained_without_it(text, tmp_path):
    whole, _ = trained(text, Store(tmp_path / "whole"), until=3)
    store, asked = Store(tmp_path / "store"), itertools.count()
    folder, outcome = trained(text, store, stop=lambda: next(asked) == 6)
    assert (outcome.status, folder.resumes()) == ("paused", [3, 4])
    held = folder.acquire({})
    folder.discard(held, "marks", 3)
    folder.discard(held, "resume", 3)
    held.release()
    trained(text, store, until=3)
    assert (folder.mark(3) / "model.safetensors").read_bytes() == (whole.mark(3) / "model.safetensors").read_bytes()
