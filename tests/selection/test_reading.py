"""Which plan is shown: results need no corpus, and a changed text is told as the new result that it would be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from procray import corpora
from procray.errors import SpecError, StoreError
from procray.planning import Plan, load_sweep
from procray.selection.reading import read
from procray.selection.select import foreseen, staged
from procray.store.store import Store

FILE = """\
name: small
model: {layers: 1, heads: 2, width: 16, context: 32}
procedural: {task: union, length: 8, batch: 4, tokens: {grid: [2k, 4k]}, optimizer: {lr: 1e-3}}
transfer: {grid: [attention, mlp]}
semantic:
  corpus: {files: "TEXTS/*.txt"}
  tokenizer: byte
  tokens: 8Ki
  batch: 4
  optimizer: {lr: 1e-3}
"""


class Desk:
    """A sweep file with its texts, and a store."""

    def __init__(self, folder: Path):
        self.folder, self.file, self.store = folder, folder / "small.yaml", Store(folder / "store")
        self.texts = folder / "texts"
        self.texts.mkdir()
        for name in "abc":
            (self.texts / f"{name}.txt").write_text(f"the quick brown {name}\n" * 200)
        self.write(FILE)

    def write(self, text: str) -> None:
        self.file.write_text(text.replace("TEXTS", str(self.texts)))

    def plan(self, *settings: str) -> Plan:
        return staged(load_sweep(self.file, set=list(settings)), self.store)

    def run(self, *settings: str) -> Plan:
        """What a run leaves of its plan: the plan itself, and the prepared corpus."""
        graph = self.plan(*settings)
        self.store.write_plan(graph)
        for phase in graph.phases.values():
            if "corpus" in phase.recipe.data:
                corpora.prepare(phase.recipe.data, self.store.corpora, 1000)
        return graph

    def read(self, *settings: str, what: str | None = None):
        return read(what or str(self.file), None, list(settings), self.store)

    def append(self, name: str = "a") -> None:
        with (self.texts / f"{name}.txt").open("a") as file:
            file.write("and one line more\n")

    def remove_texts(self) -> None:
        self.texts.rename(self.folder / "elsewhere")


@pytest.fixture
def desk(tmp_path) -> Desk:
    return Desk(tmp_path)


def test_a_plan_that_was_run_is_shown_without_a_word(desk):
    graph = desk.run()
    found = desk.read()
    assert (found.plan.digest, found.note, found.file) == (graph.digest, "", str(desk.file))
    desk.write("# Another comment.\n" + FILE.replace("batch: 4\n  opt", "batch: 4\n  resources: {cpu: 2}\n  opt"))
    assert desk.read().note == "", "what is trained is the same"


def test_what_was_never_run_is_planned_from_the_file(desk):
    found = desk.read()
    assert (found.plan.digest, found.note) == (desk.plan().digest, "")


def test_a_line_in_a_text_shows_the_results_that_there_are_and_says_what_changed(desk):
    graph = desk.run()
    desk.append("a")
    desk.append("b")
    (desk.texts / "d.txt").write_text("new\n")
    assert desk.plan().digest != graph.digest
    found = desk.read()
    assert found.plan.digest == graph.digest
    assert set(found.plan.phases) == set(graph.phases)
    assert "its texts changed: 2 files changed (a.txt, b.txt), 1 file new (d.txt)" in found.note
    assert graph.digest in found.note
    assert "would be a new result" in found.note


def test_the_new_result_is_shown_once_it_was_run(desk):
    desk.run()
    desk.append()
    now = desk.run()
    assert (desk.read().plan.digest, desk.read().note) == (now.digest, "")


def test_a_former_plan_that_differs_in_its_texts_only_is_found_behind_the_newest(desk):
    graph = desk.run()
    desk.write(FILE.replace("tokens: 8Ki", "tokens: 16Ki"))
    desk.run()
    desk.write(FILE)
    desk.append()
    assert (desk.read().plan.digest, "1 file changed (a.txt)" in desk.read().note) == (graph.digest, True)


def test_a_file_that_says_something_else_is_shown_as_it_is_and_the_former_plan_is_named(desk):
    graph = desk.run()
    desk.write(FILE.replace("tokens: 8Ki", "tokens: 16Ki"))
    desk.append()
    found = desk.read()
    assert found.plan.digest == desk.plan().digest
    assert "this plan was never run" in found.note
    assert graph.digest in found.note


def test_results_are_read_without_the_texts(desk):
    graph = desk.run()
    desk.remove_texts()
    found = desk.read()
    assert (found.plan.digest, set(found.plan.phases)) == (graph.digest, set(graph.phases))
    assert found.note.startswith("the files that this sweep names are not here; showing the results of plan")
    desk.write(FILE.replace("tokens: 8Ki", "tokens: 16Ki"))
    assert "and the file has changed since" in desk.read().note


def test_of_several_plans_without_texts_the_one_that_the_file_describes_is_shown(desk):
    first = desk.run()
    desk.write(FILE.replace("tokens: 8Ki", "tokens: 16Ki"))
    second = desk.run()
    desk.remove_texts()
    assert desk.read().plan.digest == second.digest
    desk.write(FILE)
    assert (desk.read().plan.digest, "changed" in desk.read().note) == (first.digest, False)


def test_settings_have_results_of_their_own(desk):
    desk.run()
    other = desk.run("semantic.tokens=16Ki")
    desk.remove_texts()
    assert desk.read("semantic.tokens=16Ki").plan.digest == other.digest
    with pytest.raises(SpecError, match="matches no file"):
        desk.read("semantic.tokens=32Ki")


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("tokens: 8Ki", "tokns: 8Ki", "tokns"),
        ('{files: "TEXTS/*.txt"}', '{files: "TEXTS/*.txt", hodlout: 0.1}', "hodlout"),
        ('{files: "TEXTS/*.txt"}', "c5", "c5"),
        ("task: union", "task: unoin", "unoin"),
        ("tokenizer: byte", "tokenizer: bite", "bite"),
    ],
)
def test_other_mistakes_stay_mistakes(desk, before, after, says):
    desk.run()
    desk.remove_texts()
    desk.write(FILE.replace(before, after))
    with pytest.raises(SpecError, match=says):
        desk.read()


def test_texts_that_are_not_here_stay_an_error_where_nothing_was_run(desk):
    desk.remove_texts()
    with pytest.raises(SpecError, match="matches no file"):
        desk.read()


def test_a_tokenizer_and_a_checkpoint_that_are_gone_are_not_needed_either(desk):
    from procray.model import GPT2, GPT2Config, save_weights

    folder = desk.folder / "tokens"
    folder.mkdir()
    vocab = {chr(code): code - 32 for code in range(32, 127)}
    content = {"model": {"type": "BPE", "vocab": vocab, "merges": []}, "added_tokens": []}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    save_weights(GPT2(GPT2Config(1, 2, 16, 200, 32), seed=0), desk.folder / "theirs")
    desk.write(
        FILE.replace("tokenizer: byte", f"tokenizer: {{folder: {folder}}}").replace(
            "transfer: {grid: [attention, mlp]}", f"transfer: {{attention: {{path: {desk.folder / 'theirs'}}}}}"
        )
    )
    graph = desk.plan()
    desk.store.write_plan(graph)
    folder.rename(desk.folder / "other")
    assert desk.read().plan.digest == graph.digest
    (desk.folder / "other").rename(folder)
    (desk.folder / "theirs").rename(desk.folder / "other")
    assert desk.read().plan.digest == graph.digest


def test_a_finished_search_is_shown_although_its_texts_changed(desk):
    """The file alone plans the search anew; what was found with the texts of before is read from its plan."""
    search = "select: {axes: [lr], seeds: [100]}\n"
    desk.write(FILE.replace("{lr: 1e-3}\n", "{lr: {grid: [1e-3, 1e-2]}}\n").replace("semantic:", f"{search}semantic:"))
    graph = desk.plan()
    assert graph.then is not None
    whole = foreseen(graph)
    desk.store.write_plan(graph)
    desk.store.write_plan(whole)
    desk.append()
    found = desk.read()
    assert found.plan.digest == whole.digest
    assert "1 file" in found.note or "holds something else" in found.note


def test_a_plan_is_named_by_digest_or_title_without_any_file(desk):
    first = desk.run()
    desk.append()
    second = desk.run()
    desk.remove_texts()
    desk.file.unlink()
    for text, graph in ((first.digest, first), (second.digest[:6], second), ("small@default", second)):
        found = desk.read(what=text)
        assert (found.plan.digest, found.note) == (graph.digest, "")
        assert found.file == graph.file
    with pytest.raises(StoreError, match=r"--set are of files"):
        desk.read("seeds=[1]", what=first.digest)
    with pytest.raises(
        StoreError, match=r"no file 'smal@default', and .* no sweep or plan .*did you mean 'small@default'"
    ):
        desk.read(what="smal@default")
    with pytest.raises(SpecError, match="cannot be read"):
        desk.read(what="small2.yaml")


def test_a_plan_in_the_place_of_former_versions_is_read_like_any_other(desk):
    graph = desk.plan()
    path = desk.store.title_folder(graph.title) / "plan.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(graph.to_json()))
    assert (desk.read().plan.digest, desk.read().note) == (graph.digest, "")
    desk.append()
    assert desk.read().plan.digest == graph.digest
    assert desk.read(what="small@default").plan.digest == graph.digest


def test_the_same_plan_under_the_ids_of_another_version_is_shown_and_told(desk):
    graph = desk.plan()
    value = json.dumps(graph.to_json())
    for number, id in enumerate(graph.phases):
        value = value.replace(id, f"{number:016x}")
    path = desk.store.title_folder(graph.title) / "plan.json"
    path.parent.mkdir(parents=True)
    path.write_text(value)
    found = desk.read()
    assert set(found.plan.phases) == {f"{number:016x}" for number in range(len(graph.phases))}
    assert found.note.startswith("this version of procray names its phases otherwise; showing the results of plan")
