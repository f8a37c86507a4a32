"""One way to name a phase: label, id or the beginning of one, with tokens or a step."""

from __future__ import annotations

import pytest

from procray.errors import StoreError
from procray.planning import Plan, plan
from procray.planning.load import load_text
from procray.selection.naming import find, find_in, label_of, short_ids
from procray.store.store import Store

FILE = """\
name: NAME
model: {layers: 1, heads: 2, width: 16, context: 32}
procedural: {task: union, length: 8, batch: 4, tokens: {grid: [2k, 4k]}, optimizer: {lr: 1e-3}}
transfer: {grid: [attention, mlp]}
diagnostic: {task: haystack, pairs: 3, batch: 4, tokens: 8k, optimizer: {lr: 1e-3}}
"""
WARM = "union L8 s0"


def build(*settings: str, name: str = "small") -> Plan:
    """The plan of the file as if `settings` stood in it."""
    graph = plan(load_text(FILE.replace("NAME", name), "f.yaml", set=list(settings)))
    graph.settings = ""
    return graph


def ids(graph: Plan) -> dict[str, str]:
    return {phase.label: phase.id for phase in graph.phases.values()}


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


def begin(store: Store, *phases: str) -> None:
    for phase in phases:
        (store.path / "phases" / phase).mkdir(parents=True)


def test_label_id_and_the_beginning_of_an_id_mean_the_same(store):
    graph = build()
    store.write_plan(graph)
    for label, id in ids(graph).items():
        for text in (label, id, id[:10]):
            named = find(text, store)
            assert (named.phase, named.label, named.step) == (id, label, None)
            assert named.plan.digest == graph.digest
            assert find_in(graph, text) == id
        assert label_of(store, id) == label


def test_a_mark_is_named_by_its_tokens_as_asked_for_or_as_shown_or_by_its_step(store):
    graph = build()
    store.write_plan(graph)
    warm = graph.phases[ids(graph)[WARM]]
    first, last = warm.marks
    assert warm.nominal[first] != 2000, "budgets are rounded up to whole steps"
    for text, step in (("2k", first), ("4k", last), ("4_000k", None), (str(last), last), ("7", 7)):
        if step is not None:
            assert find(f"{WARM}@{text}", store).step == step
            assert find(f"{warm.id[:8]}@{text}", store).step == step
    assert find(f"{WARM}@{warm.nominal[first] / 1000:g}k", store).step == first
    with pytest.raises(StoreError, match=rf"no mark at 3k tokens; its marks: .*\(step {first}\), .*\(step {last}\)"):
        find(f"{WARM}@3k", store)
    with pytest.raises(StoreError, match="by its tokens"):
        find(f"{WARM}@2.5", store)


def test_the_name_of_a_matched_rerun_is_no_mark(store):
    graph = build("matched=[0.5]", "diagnostic.optimizer.schedule=cosine")
    store.write_plan(graph)
    (label,) = (label for label in ids(graph) if label.startswith("2k/mlp@0.5"))
    assert (find(label, store).phase, find(label, store).step) == (ids(graph)[label], None)


def test_the_newest_plan_says_what_a_label_means(store):
    former, now = build(), build("procedural.optimizer.lr=3e-3")
    for graph in (former, now):
        store.write_plan(graph)
    assert ids(former)[WARM] != ids(now)[WARM]
    assert find(WARM, store).phase == ids(now)[WARM]
    store.write_plan(former)
    assert find(WARM, store).phase == ids(former)[WARM]


def test_labels_of_former_plans_still_resolve(store):
    former, now = build(), build("procedural.length={grid: [16, 32]}")
    for graph in (former, now):
        store.write_plan(graph)
    assert WARM not in ids(now)
    named = find(f"{WARM}@2k", store)
    assert (named.phase, named.step) == (ids(former)[WARM], former.phases[ids(former)[WARM]].marks[0])
    assert named.plan.digest == former.digest


def test_a_label_of_several_sweeps_is_an_error_that_lists_them_with_ids(store):
    one, other, same = build(), build("procedural.vocab=50", name="other"), build(name="same")
    store.write_plan(one)
    store.write_plan(same)
    assert find(WARM, store).phase == ids(one)[WARM], "two sweeps with one phase"
    store.write_plan(other)
    with pytest.raises(StoreError) as error:
        find(WARM, store)
    for graph in (one, other):
        assert f"{ids(graph)[WARM]} ({WARM})" in str(error.value)


def test_what_no_plan_has_is_known_by_its_id(store):
    begin(store, "f0f0a00000000000", "f0f0b00000000000")
    named = find("f0f0a", store)
    assert (named.phase, named.label, named.plan) == ("f0f0a00000000000", "f0f0a00000000000", None)
    with pytest.raises(StoreError, match=r"means 2 phases of .*: f0f0a00000000000, f0f0b00000000000; give more"):
        find("f0f0", store)


def test_a_name_that_nothing_has_is_answered_with_the_nearest(store):
    graph = build()
    store.write_plan(graph)
    for look in (lambda text: find(text, store), lambda text: find_in(graph, text)):
        with pytest.raises(StoreError, match=rf"has no phase 'unoin L8 s0'; did you mean '{WARM}'\?"):
            look("unoin L8 s0")
        with pytest.raises(StoreError, match=f"means {len(graph.phases)} phases"):
            look("")


def test_shown_beginnings_tell_ids_apart():
    assert short_ids(["0123456789abcdef", "fedcba9876543210"]) == {
        "0123456789abcdef": "01234567",
        "fedcba9876543210": "fedcba98",
    }
    assert set(short_ids(["0123456789abcdef", "0123456789ffffff"]).values()) == {"0123456789a", "0123456789f"}
