import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from procray import corpora, tasks
from procray.errors import CorpusError, TaskError
from procray.training import task_source, text_source
from procray.training.noise import Noise
from procray.training.recipe import Evaluation, ModelShape
from procray.training.source import VALIDATION_BATCH

from .phases import CURRICULUM, RANGE, ROWS, SET, curve, recipe, run


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    rng = np.random.default_rng(0)
    for number in range(40):
        words = rng.choice(["sum", "of", "all", "parts", "is", "less"], 60)
        (folder / f"{number}.txt").write_text(" ".join(words))
    data = corpora.recipe({"files": [str(folder / "*.txt")]}, "byte")
    return data, corpora.prepare(data, folder / "corpora", 1000)


def test_a_task_trains_on_the_recipes_seed_and_validates_on_one_set_for_all_seeds():
    one, two = task_source(recipe(seed=1)), task_source(recipe(seed=2))
    task = tasks.from_recipe(SET["task"])
    assert np.array_equal(one.batch(7, None).tokens_BT, task.sample(1, "train", 7, 8).tokens_BT)
    assert not np.array_equal(one.batch(7, None).tokens_BT, two.batch(7, None).tokens_BT)
    for left, right in zip(one.validation(None), two.validation(None), strict=True):
        assert np.array_equal(left.tokens_BT, right.tokens_BT)
    assert one.exposure(5) == {}


@pytest.mark.parametrize("kind", ["set", "curriculum", "mixture", "shuffled", "rows", "diagnostic", "text"])
def test_no_two_roles_see_one_batch_and_all_are_validated_on_one_set(text, kind):
    set_task = tasks.get("set", length=6, vocab=12)
    parts = [(set_task, 1.0), (tasks.get("union", length=6, vocab=12), 1.0)]
    data = {
        "set": SET,
        "curriculum": CURRICULUM,
        "mixture": {"task": tasks.get("mixture", parts=parts).recipe()},
        "shuffled": {"task": {"shuffled": set_task.recipe()}},
        "rows": ROWS,
        "diagnostic": {"task": tasks.get("haystack", pairs=4).recipe()},
        "text": text[0],
    }[kind]

    def source(role):
        phase = recipe(data=data, role=role, kind="diagnostic" if kind == "diagnostic" else "procedural")
        return text_source(phase, text[1]) if kind == "text" else task_source(phase)

    def rows(batches):
        """Every sequence whole, as bytes."""
        arrays = [batch.rows_BTW if kind == "rows" else batch.tokens_BT for batch in batches]
        return [row.tobytes() for array in arrays for row in array]

    length = 6 if kind == "curriculum" else None
    roles = ("target/diagnostic", "warmup/set", "warmup/set#1")
    streams = [[rows([source(role).batch(step, length)]) for step in range(3)] for role in roles]
    for one, other in itertools.combinations(streams, 2):
        assert all(mine != theirs for mine, theirs in zip(one, other, strict=True))
    assert streams[1] == [rows([source(roles[1]).batch(step, length)]) for step in range(3)]
    held = [rows(source(role).validation(length)) for role in roles]
    assert held[0] == held[1] == held[2]
    if kind in ("text", "diagnostic"):  # of the small tasks single sequences may be alike by chance
        assert not set(held[0]) & {row for stream in streams for batch in stream for row in batch}


def test_the_validation_set_has_the_size_that_the_recipe_says():
    sequences = 2 * VALIDATION_BATCH + 5
    source = task_source(recipe(data=RANGE, evaluation=Evaluation(4, sequences)))
    batches = list(source.validation(None))
    assert sum(len(batch.tokens_BT) for batch in batches) == sequences
    sizes = Counter[float]()
    for batch in batches:
        sizes[batch.nominal_tokens / len(batch.tokens_BT)] += len(batch.tokens_BT)
    assert len(sizes) == 9, "a range shows all of its lengths"
    assert max(sizes.values()) - min(sizes.values()) == 1, "and each as often as the others"


def test_what_a_model_needs_follows_from_the_task():
    assert (task_source(recipe()).vocab, task_source(recipe()).rows) == (
        tasks.from_recipe(SET["task"]).vocab_size,
        None,
    )
    assert task_source(recipe(data=ROWS)).rows == 12
    assert task_source(recipe(data=CURRICULUM)).curriculum.start == 1


def test_a_task_that_is_longer_than_the_context_is_refused():
    with pytest.raises(TaskError, match=r"sequences of up to \d+ positions, but the model has a context of 4"):
        task_source(recipe(model=ModelShape(1, 1, 8, context=4)))


def test_text_blocks_are_as_long_as_the_context(text):
    data, prepared = text
    source = text_source(recipe(data=data, evaluation=Evaluation(4, 3)), prepared)
    batch = source.batch(2, None)
    assert batch.tokens_BT.shape == (8, 32)
    assert np.array_equal(batch.tokens_BT, prepared.batch(0, 2, 8, 32).tokens_BT)
    assert sum(len(part.tokens_BT) for part in source.validation(None)) == 3
    assert source.exposure(10) == prepared.exposure(80, 32)
    assert set(source.exposure(10)) == {"epoch", "unique_tokens"}
    assert not source.whole_answers


def test_a_task_recipe_is_no_text(text):
    with pytest.raises(CorpusError, match="a corpus was expected in the recipe's data, which has task"):
        text_source(recipe(), text[1])


def test_settings_are_chosen_on_held_out_data_of_their_own(text):
    data, prepared = text
    tuning = Evaluation(4, 12, split="tuning")
    for one, other in (
        (task_source(recipe(evaluation=Evaluation(4, 12))), task_source(recipe(evaluation=tuning))),
        (text_source(recipe(data=data, evaluation=Evaluation(4, 12)), prepared), None),
    ):
        other = other or text_source(recipe(data=data, evaluation=tuning), prepared)
        seen = {row.tobytes() for part in one.validation(None) for row in part.tokens_BT}
        held = [row.tobytes() for part in other.validation(None) for row in part.tokens_BT]
        assert held
        assert not seen & set(held)
        assert np.array_equal(one.batch(3, None).tokens_BT, other.batch(3, None).tokens_BT)


def test_a_text_too_small_for_both_sets_says_so(text):
    data, prepared = text
    blocks = prepared.blocks(32, "validation")
    source = text_source(recipe(data=data, evaluation=Evaluation(4, blocks, split="tuning")), prepared)
    with pytest.raises(CorpusError, match=rf"has {blocks} blocks .* none is left to choose settings on"):
        source.validation(None)


def test_a_recipe_without_tuning_keeps_its_id():
    assert "split" not in recipe().to_json()["evaluation"]
    tuned = recipe(evaluation=Evaluation(4, 3, split="tuning"))
    assert type(tuned).from_json(tuned.to_json()) == tuned
    assert tuned.id != recipe(evaluation=Evaluation(4, 3)).id


def test_tokens_of_a_mixture_are_counted_by_task():
    parts = [(tasks.get("set", length=3, vocab=12), 1.0), (tasks.get("union", length=6, vocab=12), 2.0)]
    mixture = tasks.get("mixture", parts=parts)
    source = task_source(recipe(data={"task": mixture.recipe()}))
    counted = [source.exposure(step)["tokens_by_task"] for step in (0, 3, 3, 20, 7)]  # also back, as after a resume
    assert counted[0] == {"set": 0, "union": 0}
    for step, tokens in zip((3, 3, 20, 7), counted[1:], strict=True):
        assert sum(tokens.values()) == sum(source.batch(index, None).nominal_tokens for index in range(step))
    assert min(counted[3].values()) > 0


def test_a_mixtures_rows_hold_the_tokens_of_each_task(tmp_path):
    mixture = tasks.get("mixture", parts=[(tasks.get("set", length=3), 1), (tasks.get("sort", length=4), 1)])
    phase = recipe(data={"task": mixture.recipe()})
    run(phase, tmp_path / "whole", 12)
    for until in (5, 12):
        run(phase, tmp_path / "halves", until)
    rows = curve(tmp_path / "whole")
    assert [row for row in curve(tmp_path / "halves") if row["step"] != 5] == rows
    assert all(sum(row["tokens_by_task"].values()) == row["tokens"] for row in rows)


def test_noise_is_in_the_training_blocks_and_not_in_the_held_out_ones(text):
    data, prepared = text
    phase = recipe(data=data, evaluation=Evaluation(4, 6))
    clean, noisy = text_source(phase, prepared), text_source(replace(phase, noise=Noise(0.5)), prepared)
    for step in range(3):
        changed = noisy.batch(step, None).tokens_BT != clean.batch(step, None).tokens_BT
        assert 0.3 < changed.mean() < 0.7
    assert noisy.batch(1, None).tokens_BT.max() < noisy.vocab
    for one, other in zip(noisy.validation(None), clean.validation(None), strict=True):
        assert np.array_equal(one.tokens_BT, other.tokens_BT)


def test_sequences_made_elsewhere_count_their_epochs(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(400).reshape(40, 10) % 30)
    task = tasks.get("sequences_from", path=str(tmp_path / "a.npy"))
    source = task_source(recipe(data={"task": task.recipe()}, batch=19))
    assert source.exposure(4) == {"epoch": 2.0, "unique_tokens": 380}
    assert source.vocab == 31
    assert sum(len(batch.tokens_BT) for batch in source.validation(None)) == source.held_out
