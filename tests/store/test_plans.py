"""Plans that were run: each under its digest, none replaced by another, the form of before still read."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
from filling import filled, run

from procray.cli.store_view import collect, listing
from procray.errors import StoreError
from procray.report import write_report
from procray.store import garbage
from procray.store.contents import contents
from procray.store.plans import named, namesake
from procray.store.store import Store


@pytest.fixture(params=["folder", "bucket"])
def store(request, tmp_path):
    return Store(tmp_path / "store" if request.param == "folder" else request.getfixturevalue("bucket"))


def test_a_plan_of_other_settings_or_another_meaning_replaces_nothing(store, tmp_path):
    first = filled(store, tmp_path, "one", "reverse")
    store.lead_to_report(first)
    second = run(store, tmp_path, "one", "sort")
    other = replace(first, settings="seeds=0")
    store.write_plan(other)
    store.lead_to_report(second)
    fresh = Store(store.address)
    assert {(plan.title, plan.digest, plan.newest) for plan in fresh.plans()} == {
        ("one@default", first.digest, False),
        ("one@default", second.digest, True),
        ("one@default+seeds=0", first.digest, True),
    }
    assert garbage.find(fresh, older_than=-1.0).phases == {}

    # What was run last is the newest, whenever it was run first; its report is the one that the sweep's page leads to.
    leading = store.title_folder("one@default") / "report.html"
    assert f'href="{second.digest}/report/report.html"' in leading.read_text()
    fresh.write_plan(first)
    assert Store(store.address).newest("one@default").digest == first.digest
    store.lead_to_report(first)
    assert f'href="{first.digest}/report/report.html"' in leading.read_text()
    store.lead_to_report(second)
    assert f'href="{first.digest}/report/report.html"' in leading.read_text()


def test_looking_at_a_plan_makes_it_no_root_and_overwrites_no_report(tmp_path):
    store = Store(tmp_path / "store")
    known = run(store, tmp_path, "one", "reverse")
    page = write_report(known, store).page
    before = page.read_bytes()
    looked_at = run(Store(tmp_path / "elsewhere"), tmp_path, "one", "sort")
    assert write_report(looked_at, store).page != page
    assert page.read_bytes() == before
    assert [(plan.digest, plan.newest) for plan in Store(store.address).plans()] == [(known.digest, True)]
    assert known.digest in (store.title_folder("one@default") / "report.html").read_text()


def test_one_plan_is_forgotten_or_all_of_a_title(store, tmp_path, capsys):
    first, second = filled(store, tmp_path, "one", "reverse"), filled(store, tmp_path, "one", "sort")
    third = run(store, tmp_path, "two", "sort")
    assert third.digest == second.digest
    store.lead_to_report(second)
    with pytest.raises(StoreError, match=f"means 2 plans.*one@default/{second.digest}, two@default/{second.digest}"):
        collect(store, delete=True, forget=(second.digest,), resume_states=False, json=False)
    assert len(store.plans()) == 3
    words = (f"one@default/{second.digest[:6]}",)
    assert collect(store, delete=True, forget=words, resume_states=False, json=False) == 0
    fresh = Store(store.address)
    assert {(plan.title, plan.digest) for plan in fresh.plans()} == {
        ("one@default", first.digest),
        ("two@default", second.digest),
    }
    assert fresh.newest("one@default").digest == first.digest
    assert not (store.title_folder("one@default") / "report.html").exists()
    assert set(fresh.phases()) == {*first.phases, *second.phases}, "the other sweep names them too"
    assert collect(fresh, delete=True, forget=("two@default",), resume_states=False, json=False) == 0
    assert set(Store(store.address).phases()) == set(first.phases)
    assert f"two@default/{second.digest}" in capsys.readouterr().out


def test_a_sweep_that_is_being_run_is_not_forgotten(store, tmp_path):
    graph = filled(store, tmp_path, "one", "reverse")
    held = store.phase(next(iter(graph.phases))).acquire({"sweep": graph.title})
    with pytest.raises(StoreError, match="one@default is being run"):
        collect(store, delete=True, forget=("one@default",), resume_states=False, json=False)
    assert store.plans()
    held.release()


def test_the_listing_names_plans_with_what_was_run_last(store, tmp_path):
    first, second = run(store, tmp_path, "one", "reverse"), run(store, tmp_path, "one", "sort")
    lines = listing(contents(store), str(store), phases=False).splitlines()
    assert sum("run last" in line for line in lines) == 1
    assert next(line for line in lines if "run last" in line).split()[1] == second.digest
    assert any(first.digest in line and f"{len(first.phases)} phases" in line for line in lines)
    assert {plan.digest: plan.newest for plan in contents(store).plans} == {first.digest: False, second.digest: True}


def former(store: Store, graph) -> None:
    """The only plan of a sweep, where and as it was written before plans had digests."""
    value = {key: part for key, part in graph.to_json().items() if key not in ("settings", "file")}
    folder = store.title_folder(graph.title)
    store.forget(graph.title)
    (folder / "report").mkdir(parents=True)
    (folder / "report" / "report.html").write_text("<p>the report of before</p>")
    (folder / "plan.json").write_text(json.dumps(value))
    store.publish(folder)


def test_a_store_of_before_still_opens_and_keeps_what_it_has(store, tmp_path):
    old = filled(store, tmp_path, "one", "reverse")
    former(store, old)
    fresh = Store(store.address)
    (plan,) = fresh.plans()
    assert (plan.title, plan.digest, plan.newest, plan.former) == ("one@default", old.digest, True, True)
    assert garbage.find(fresh, older_than=-1.0).phases == {}

    new = filled(fresh, tmp_path, "one", "sort")  # the sweep is run again, and means something else now
    assert garbage.find(fresh, older_than=-1.0).phases == {}
    assert {plan.digest: plan.newest for plan in fresh.plans()} == {old.digest: False, new.digest: True}
    fresh.lead_to_report(new)
    assert (fresh.title_folder("one@default") / "report" / "report.html").read_text().endswith("of before</p>")

    assert collect(fresh, delete=True, forget=(old.digest,), resume_states=False, json=False) == 0
    again = Store(store.address)
    assert [plan.digest for plan in again.plans()] == [new.digest]
    assert set(again.phases()) == set(new.phases)
    assert again.newest("one@default").digest == new.digest


def test_a_plan_that_stands_in_both_forms_is_one(store, tmp_path):
    graph = run(store, tmp_path, "one", "reverse")
    former(store, graph)
    store.write_plan(graph)
    (plan,) = Store(store.address).plans()
    assert not plan.former


def test_a_damaged_plan_of_before_stops_upkeep_until_it_is_forgotten(store, tmp_path):
    graph = run(store, tmp_path, "one", "reverse")
    path = store.title_folder("bad@default") / "plan.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"phases": 3')
    store.publish(path)
    with pytest.raises(StoreError, match=r"--forget bad@default/"):
        garbage.find(store)
    assert collect(store, delete=True, forget=("bad@default",), resume_states=False, json=False) == 0
    assert [plan.title for plan in store.plans()] == [graph.title]


def test_what_is_meant_by_a_word(tmp_path):
    store = Store(tmp_path / "store")
    graph = filled(store, tmp_path, "one", "reverse")
    plans = store.plans()
    assert named(plans, "one@default", "s") == named(plans, graph.digest[:4], "s") == plans
    for word in ("ome@default", graph.digest[:3], "", "/", f"two@default/{graph.digest}"):
        with pytest.raises(StoreError, match="s has no sweep or plan"):
            named(plans, word, "s")
    with pytest.raises(StoreError, match="did you mean 'one@default'"):
        named(plans, "ome@default", "s")


def test_two_files_of_one_name_are_told_of_each_other(tmp_path):
    store = Store(tmp_path / "store")
    first = replace(filled(store, tmp_path, "one", "reverse"), file="/a/one.yaml")
    store.write_plan(first)
    second = replace(filled(Store(tmp_path / "other"), tmp_path, "one", "sort"), file="/b/one.yaml")
    newest = store.newest("one@default")
    said = namesake(second, newest)
    assert all(word in said for word in ("/a/one.yaml", "/b/one.yaml", first.digest, second.digest, "`name:`"))
    assert namesake(replace(first, file="/b/one.yaml"), newest) == "", "the same sweep, moved"
    assert namesake(replace(second, file="/a/one.yaml"), newest) == "", "the same file, edited"
    assert namesake(second, None) == ""


def test_a_pointer_that_leads_nowhere_is_not_followed(tmp_path):
    store = Store(tmp_path / "store")
    graph = filled(store, tmp_path, "one", "reverse")
    pointer = store.title_folder(graph.title) / "newest.json"
    for content in ('{"plan": "../../x"}', '{"plan": "000000000000"}', "{", "[]", '{"plan": 3}'):
        pointer.write_text(content)
        assert store.newest(graph.title).digest == graph.digest
    shutil.rmtree(store.plan_folder(graph.title, graph.digest))
    assert store.newest(graph.title) is None
