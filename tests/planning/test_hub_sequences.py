"""Token sequences of a hub dataset as a warm-up: fetched once, kept on this host, the same task on every machine."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from procray import tasks
from procray.corpora import hub, hub_sequences
from procray.errors import CorpusError, EnvironmentProblem, SpecError, TaskError
from procray.planning.load import load_text
from procray.planning.planner import plan
from procray.training.source import task_source

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ROWS = [[number % 7, number % 5, 9, *range(number % 4)] for number in range(40)]
SWEEP = """\
name: outside
seeds: [0]
model: {layers: 1, heads: 1, width: 8, context: 64}
procedural:
  task: TASK
  batch: 4
  tokens: 1k
  optimizer: {lr: 1e-3, schedule: constant}
transfer: attention
diagnostic: {task: haystack, pairs: 4, batch: 8, tokens: 10k, optimizer: {lr: 1e-3, schedule: constant}}
"""
TASK = f"{{sequences_from: {{hf: some/made, split: train, revision: {COMMIT}, rows: 30}}}}"


class Hub:
    """A dataset that streams from memory; `online` says whether it can be reached."""

    def __init__(self):
        self.online, self.opened, self.commits, self.columns = True, [], {"main": COMMIT}, {"input_ids": ROWS}

    def resolve(self, kind, name, revision, where):
        assert kind == "dataset"
        if not self.online:
            raise EnvironmentProblem(f"{where} needs the network, and the hub cannot be reached: no route")
        return self.commits.get(revision, revision)

    def open(self, name, config, split, commit):
        import datasets

        if split != "train":
            raise ValueError(f"Bad split: {split}. Available splits: ['train']")
        self.opened.append((name, config, split, commit))
        return datasets.Dataset.from_dict(self.columns).to_iterable_dataset()


@pytest.fixture
def fake(monkeypatch, tmp_path):
    found = Hub()
    monkeypatch.setenv("PROCRAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "resolve_revision", found.resolve)
    monkeypatch.setattr(hub, "open_stream", found.open)
    monkeypatch.setattr(hub, "ROWS", 7)
    return found


def planned(task=TASK):
    return plan(load_text(SWEEP.replace("TASK", task), "f.yaml"))


def warm(graph):
    return next(phase.recipe for phase in graph.phases.values() if phase.kind == "procedural")


def problem(task, **more):
    with pytest.raises(SpecError) as caught:
        planned(task)
    (found,) = caught.value.problems
    assert found.line == 5
    return found


def test_they_are_the_rows_of_the_dataset_fetched_once(fake):
    recipe = warm(planned())
    assert fake.opened == [("some/made", None, "train", COMMIT)]
    fake.online = False
    again = warm(planned())
    assert len(fake.opened) == 1, "what is kept needs no network"
    assert again.id == recipe.id
    task = tasks.from_recipe(recipe.data["task"])
    assert (task.sequences, task.ids, task.longest_sequence) == (30, 10, 6)
    batch = task.sample(0, "train", 0, 64)
    rows = {tuple(token for token in row if token != task.pad) for row in batch.tokens_BT.tolist()}
    assert rows <= {tuple(row) for row in ROWS[:30]}
    assert recipe.model.context == 6


def test_the_identity_is_what_they_hold_and_not_where_they_come_from(fake, tmp_path):
    whole = warm(planned(TASK.replace(", rows: 30", "")))
    (tmp_path / "made.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    assert whole.id != warm(planned()).id
    fake.columns = {"tokens": ROWS, "n": list(range(40))}
    fields = TASK.replace("rows: 30", "field: tokens")
    assert "field" in whole.data["task"]
    assert warm(planned(fields)).data["task"]["content"] == whole.data["task"]["content"]


def test_a_branch_is_the_commit_that_it_first_was(fake):
    branch = TASK.replace(f", revision: {COMMIT}", "")
    first = warm(planned(branch)).data["task"]["origin"]
    assert first["commit"] == COMMIT
    fake.commits["main"] = "f" * 40
    assert warm(planned(branch)).data["task"]["origin"] == first
    assert len(fake.opened) == 1


def test_another_machine_fetches_them_when_it_trains(fake, tmp_path, monkeypatch):
    recipe = warm(planned())
    expected = task_source(recipe).batch(3, None).tokens_BT
    monkeypatch.setenv("PROCRAY_CACHE", str(tmp_path / "another"))
    assert (task_source(recipe).batch(3, None).tokens_BT == expected).all()
    assert len(fake.opened) == 2
    shutil.rmtree(tmp_path / "another")
    fake.columns = {"input_ids": ROWS[1:]}
    from procray.tasks import sequences_from

    sequences_from._loaded.cache_clear()
    with pytest.raises(TaskError, match="changed since the sweep was planned"):
        task_source(recipe).batch(0, None)


def test_shuffled_they_are_a_control(fake):
    graph = planned(f"{{grid: [{TASK}, {{shuffled: {TASK}}}]}}")
    assert len([phase for phase in graph.phases.values() if phase.kind == "procedural"]) == 2
    assert len(fake.opened) == 1
    shuffled = next(p.recipe for p in graph.phases.values() if "shuffled" in p.recipe.data.get("task", {}))
    assert task_source(shuffled).batch(0, None).tokens_BT.shape[0] == 4
    assert any("sequences-made-" in name for name in graph.variants)


def test_without_a_network_it_is_said_where_it_is_asked_for(fake):
    fake.online = False
    found = problem(TASK)
    assert "sequences_from: 'some/made' needs the network, and the hub cannot be reached" in found.message
    assert found.source[: found.column - 1].endswith("hf: ")
    assert found.not_here, "results in a store can be read all the same"
    with pytest.raises(EnvironmentProblem):
        hub_sequences.bring({"hf": "a/b", "config": None, "split": "train", "commit": COMMIT, "field": "x", "rows": 1})


def test_scales_that_are_not_asked_for_leave_the_network_alone(fake):
    text = (
        SWEEP.replace("TASK", "union\n  length: 8")
        + f"scales:\n  small: {{}}\n  large: {{procedural: {{task: {TASK}}}}}\n"
    )
    fake.online = False
    assert load_text(text, "f.yaml").scale == "small"
    assert fake.opened == []


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        ({"split: train": "split: trian"}, "split", "Bad split: trian"),
        ({"rows: 30": "field: tokens"}, "field", "no field 'tokens' (it has: input_ids); set `field:`"),
        ({"some/made": "'no name'"}, "hf", "'no name' is not the name of a hub dataset"),
        ({"rows: 30": "cut: 1"}, "cut", "cut is 1; expected a whole number from 2"),
        ({"rows: 30": "rows: 2"}, "hf", "holds 2 sequences; expected at least 3"),
        ({"rows: 30": "rows: 0"}, "rows", "must be at least 1"),
        ({"rows: 30": "row: 3"}, "row", "unknown key 'row'; did you mean 'rows'?"),
        ({"hf: some/made": "path: x.npy"}, "split", "'split' belongs to a hub dataset, {hf: NAME}"),
        ({"hf: some/made": "hf: a/b, path: x.npy"}, "hf", "'hf' stands in place of 'path'"),
    ],
)
def test_mistakes_stand_at_their_key(fake, changes, key, message):
    task = TASK
    for old, new in changes.items():
        task = task.replace(old, new)
    found = problem(task)
    assert message in found.message
    before, behind = found.source[: found.column - 1], found.source[found.column - 1 :]
    assert before.endswith(f"{key}: ") or behind.startswith(f"{key}: ")


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ([1, -2], "row 1: field 'input_ids' holds the id -2; expected ids from 0 to"),
        ([1, 2**40], "row 1: field 'input_ids' holds the id 1099511627776"),
    ],
)
def test_what_is_no_list_of_ids_is_refused_with_its_row(fake, cell, message):
    fake.columns = {"input_ids": [ROWS[0], cell, *ROWS[2:]]}
    assert message in problem(TASK).message
    fake.columns = {"input_ids": ["some", "text"] * 20}
    assert "row 0: field 'input_ids' holds some, not a list of whole numbers; set `field:`" in problem(TASK).message


def test_a_kept_file_that_was_cut_off_is_told(fake):
    origin = warm(planned()).data["task"]["origin"]
    path = hub_sequences.kept(origin)
    path.write_bytes(path.read_bytes()[:-8])
    assert "is damaged or cut off" in problem(TASK).message
    path.unlink()
    assert warm(planned()).data["task"]["sequences"] == 30
    assert np.array_equal(task_source(warm(planned())).batch(0, None).mask_BT.shape[0], 4)


def test_a_bad_field_of_ids_is_a_corpus_error(fake):
    with pytest.raises(CorpusError, match="no field 'x'"):
        hub_sequences.bring({"hf": "a/b", "config": None, "split": "train", "commit": COMMIT, "field": "x", "rows": 1})
