"""`procray store`: what it lists, what it finds damaged, and that it never deletes what is needed."""

from __future__ import annotations

import json
import os
import time

import boto3
import pytest
from filling import filled, run

from procray.cli.store_view import collect, listing, verify
from procray.corpora.lock import alone
from procray.errors import StoreError
from procray.store import garbage, roots, verification
from procray.store.contents import contents
from procray.store.runs import name_of_run
from procray.store.store import Store


@pytest.fixture(params=["folder", "bucket"])
def store(request, tmp_path):
    return Store(tmp_path / "store" if request.param == "folder" else request.getfixturevalue("bucket"))


def spoil(store: Store, phase: str, name: str, content: bytes | None) -> None:
    """Changes or removes a file where the store itself is, behind its back."""
    if store.address == str(store.path):
        path = store.path / "phases" / phase / name
        path.unlink() if content is None else path.write_bytes(content)
        return
    place, _, prefix = store.address.removeprefix("s3://").partition("/")
    kind, step, file = name.split("/")
    key = f"{prefix}/phases/{phase}/{kind}/{step}/1/{file}"
    objects = boto3.client("s3")
    objects.delete_object(Bucket=place, Key=key) if content is None else objects.put_object(
        Bucket=place, Key=key, Body=content
    )


def test_nothing_that_a_sweep_or_a_lineage_refers_to_is_ever_garbage(store, tmp_path):
    one = filled(store, tmp_path, "one", "reverse")
    two = filled(store, tmp_path, "two", "sort")
    both = {*one.phases, *two.phases}
    assert {kept.phase for kept in contents(store).phases} == both
    found = garbage.find(store, older_than=-1.0)
    assert (found.phases, found.corpora, found.leftovers) == ({}, {}, {})

    alone = set(two.phases) - set(one.phases)
    assert set(two.phases) & set(one.phases), "the baseline is shared"
    found = garbage.find(store, older_than=-1.0, forget=store.plans("two@default"))
    assert set(found.phases) == alone
    child = next(phase.id for phase in two.phases.values() if phase.parents)
    parent = two.phases[child].parents[0].phase
    order = list(found.phases)
    assert order.index(child) < order.index(parent), "interrupted, no child is left without its parent"
    assert set(garbage.find(store, forget=store.plans("two@default")).phases) == alone, (
        "a forgotten sweep is not protected"
    )

    # A third sweep that names only the child: its parent is needed for the lineage, though no plan names it.
    value = json.loads(store.newest("two@default").path.read_text())
    entry = next(phase for phase in value["phases"] if phase["id"] == child)
    third = store.path / "sweeps/third@default/plan.json"
    third.parent.mkdir(parents=True)
    third.write_text(json.dumps({**value, "sweep": "third", "phases": [{**entry, "needs": [], "parents": []}]}))
    store.publish(third)
    found = garbage.find(store, older_than=-1.0, forget=store.plans("two@default"))
    assert not {child, parent} & set(found.phases)
    assert collect(store, delete=True, forget=("two@default",), resume_states=False, json=False) == 0
    assert set(store.phases()) == {*one.phases, child, parent}
    assert {plan.title for plan in store.plans()} == {"one@default", "third@default"}
    for phase in (*one.phases, child, parent):
        at = store.phase(phase)
        assert all(at.mark(step) for step in at.marks())


def test_what_a_runner_has_and_what_was_just_made_stays(store, tmp_path, monkeypatch):
    graph = filled(store, tmp_path, "one", "reverse")
    held = store.phase(next(iter(graph.phases))).acquire()
    store.forget("one@default")
    corpus = store.corpora / "feedfeedfeedfeed" / "manifest.json"
    corpus.parent.mkdir(parents=True)
    corpus.write_text("{}")
    store.publish(corpus)
    found = garbage.find(store)
    assert found.phases == {}
    assert found.corpora == {}
    assert list(found.kept_corpora) == ["feedfeedfeedfeed"], "`data prepare` made it a moment ago"
    assert set(found.kept) == set(graph.phases)
    found = garbage.find(store, older_than=-1.0)
    assert list(found.corpora) == ["feedfeedfeedfeed"]
    assert held.held()
    parents = {parent.phase for phase in graph.phases.values() for parent in phase.parents}
    stays = {next(iter(graph.phases))} | (parents if graph.phases[next(iter(graph.phases))].parents else set())
    assert set(found.phases) == set(graph.phases) - stays
    monkeypatch.setattr(roots, "read", lambda store, real=roots.read: _all_needed(real(store), graph))
    assert garbage.collect(store, found) == 0, "a sweep that was started meanwhile names them"
    assert set(store.phases()) == set(graph.phases)
    assert list(store.corpora_sizes()) == ["feedfeedfeedfeed"]
    held.release()


def _all_needed(planned, graph):
    planned.needed.update(graph.phases)
    planned.corpora.add("feedfeedfeedfeed")
    return planned


def test_an_unreadable_plan_stops_everything(store, tmp_path):
    filled(store, tmp_path, "one", "reverse")
    path = store.path / "sweeps/bad@default/plan.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"phases": 3}')
    store.publish(path)
    with pytest.raises(StoreError, match=r"bad@default/plan\.json is damaged.*nobody can say"):
        garbage.find(store)


def test_unknown_sweeps_are_named(store, tmp_path):
    filled(store, tmp_path, "one", "reverse")
    with pytest.raises(StoreError, match=r"no sweep or plan 'ome@default'; did you mean 'one@default'\?"):
        collect(store, delete=True, forget=("ome@default",), resume_states=False, json=False)
    assert store.plans()


def test_damage_is_found_and_discarded_so_that_it_is_trained_again(store, tmp_path, capsys):
    graph = filled(store, tmp_path, "one", "reverse")
    assert verify(store, discard=False, json=False) == 0
    assert "all sound" in capsys.readouterr().out
    warm = next(phase for phase in graph.phases.values() if not phase.parents and len(phase.marks) == 2)
    other = next(phase for phase in graph.phases.values() if phase.parents)
    early, late = warm.marks
    spoil(store, warm.id, f"marks/{early}/model.safetensors", b"r" * len(warm.label))
    spoil(store, warm.id, f"resume/{late}/state", b"short")
    spoil(store, other.id, f"marks/{other.marks[0]}/model.safetensors", None)
    damaged, _ = verification.verify(store)
    assert {(one.phase, one.kind, one.step) for one in damaged} == {
        (warm.id, "marks", early),
        (warm.id, "resume", late),
        (other.id, "marks", other.marks[0]),
    }
    assert verify(store, discard=False, json=False) == 1
    assert "--discard" in capsys.readouterr().out
    assert verify(store, discard=True, json=False) == 0
    fresh = Store(store.address)
    assert fresh.phase(warm.id).marks() == [late]
    assert fresh.phase(warm.id).resumes() == [early]
    assert fresh.phase(other.id).marks() == []
    assert fresh.phase(other.id).status()["state"] == "waiting"
    assert verify(fresh, discard=False, json=False) == 0


def test_resume_states_of_finished_phases_can_be_given_up(store, tmp_path):
    graph = filled(store, tmp_path, "one", "reverse")
    assert garbage.find(store).resumes == {}
    found = garbage.find(store, resume_states=True)
    assert set(found.resumes) == set(graph.phases)
    assert garbage.collect(store, found) == found.bytes > 0
    assert all(store.phase(phase).resumes() == [] and store.phase(phase).marks() for phase in graph.phases)


def test_what_killed_attempts_left_is_cleared(store, tmp_path):
    graph = filled(store, tmp_path, "one", "reverse")
    phase = next(iter(graph.phases))
    if store.address == str(store.path):
        left = store.path / "phases" / phase / "marks/.tmp-7-30"
        left.mkdir()
        (left / "model.safetensors").write_text("half")
    else:
        place, _, prefix = store.address.removeprefix("s3://").partition("/")
        key = f"{prefix}/phases/{phase}/marks/30/7/model.safetensors"
        boto3.client("s3").put_object(Bucket=place, Key=key, Body=b"half")
    assert garbage.find(store).leftovers == {}, "somebody may be writing it"
    found = garbage.find(store, older_than=-5.0)
    assert list(found.leftovers) == [phase]
    assert garbage.collect(store, found) == 4
    assert garbage.find(store, older_than=-5.0).leftovers == {}
    assert verification.verify(store)[0] == []


def test_the_listing_names_sweeps_and_phases(store, tmp_path):
    graph = filled(store, tmp_path, "one", "reverse")
    text = listing(contents(store), str(store), phases=True)
    assert f"{len(graph.phases)} of {len(graph.phases)} phases" in text
    assert all(phase in text for phase in graph.phases)


def test_what_is_being_run_is_not_forgotten_though_it_holds_no_phase_yet(store, tmp_path):
    """A command that prepares corpora or starts Ray has no phase, and would lose its plan and all its results."""
    run(store, tmp_path, "one", "reverse")
    plans = store.plans("one@default")
    word = store.note(plans[0].path.parent / name_of_run())
    word.write("go")
    with pytest.raises(StoreError, match=rf"one@default is being run \(by process {os.getpid()}\); stop it before"):
        collect(store, delete=True, forget=("one@default",), resume_states=False, json=False)
    assert store.plans() == plans
    word.remove()

    left = store.note(plans[0].path.parent / ".run-00000000-1-abcdef")  # of another host, which may have died
    left.write("go")
    with pytest.raises(StoreError, match="one@default is being run \\(by a process on another host\\)"):
        garbage.find(store, forget=plans)
    garbage.find(store, older_than=-1.0, forget=plans)
    left.remove()
    collect(store, delete=True, forget=("one@default",), resume_states=False, json=False)
    assert store.plans() == []


def test_an_outside_checkpoint_that_a_sweep_names_stays(tmp_path, monkeypatch):
    store = Store(tmp_path / "store")
    os.makedirs(store.path / "sweeps/x@default")
    folder = store.phase("00000000000000aa")
    held = folder.acquire()
    folder.write_mark(held, 0, lambda path: (path / "model.safetensors").write_text("w") and {}, {"outside": {}})
    folder.describe_outside({"digest": "d"})
    held.release()
    plans = {"phases": [], "outside": [{"id": folder.id}]}
    (store.path / "sweeps/x@default/plan.json").write_text(json.dumps(plans))
    assert garbage.find(store, older_than=-1.0).phases == {}
    assert set(garbage.find(store, older_than=-1.0, forget=store.plans("x@default")).phases) == {folder.id}


def test_a_clock_that_is_hours_ahead_takes_nothing_from_a_runner(tmp_path, monkeypatch):
    store = Store(tmp_path / "store")
    graph = filled(store, tmp_path, "one", "reverse")
    at = store.phase(next(iter(graph.phases)))
    held = at.acquire()

    def write(folder) -> dict:
        (folder / "model.safetensors").write_text("half")
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda real=time.time: real() + 7200)
            found = garbage.find(store)
            assert (found.leftovers, found.strays) == ({}, {})
            long_ago = folder.stat().st_mtime - 7200  # it takes its time, but it lives
            os.utime(folder / "model.safetensors", (long_ago, long_ago))
            assert garbage.find(store).leftovers == {}
            offered = garbage.Garbage({}, {at.id: [f"marks/{folder.name}/model.safetensors"]}, 4, {}, {})
            assert garbage.collect(store, offered) == 0, "the lease is asked for"
        return {}

    at.write_mark(held, 77, write, {})
    assert at.exists_mark(77)
    held.release()


def test_a_corpus_that_is_being_prepared_is_not_removed(tmp_path):
    store = Store(tmp_path / "store")
    folder = store.corpora / "feedfeedfeedfeed"
    with alone(folder):
        (folder / "shard").write_text("tokens")
        found = garbage.find(store, older_than=-1.0)
        assert garbage.collect(store, found) == 0
        assert (folder / "shard").exists()
        assert garbage.find(store, older_than=0.1).corpora == {}
    assert garbage.collect(store, garbage.find(store, older_than=-1.0)) == 6
    assert not folder.exists()
    with alone(folder):  # whoever waited for the lock finds a folder of its own
        assert folder.is_dir()


def test_what_kills_left_outside_of_phases_is_cleared(tmp_path):
    store = Store(tmp_path / "store")
    graph = filled(store, tmp_path, "one", "reverse")
    folder = store.plan_folder(graph.title, graph.digest)
    left = [
        folder / ".plan.json.ab12_xyz",
        store.path / ".machine.json.ab12cd34",
        store.path / "phases/.gone-0123456789abcdef-1/x",
    ]
    stays = [folder / ".run-12-34-56", store.path / ".gitignore", folder / "report" / "report.html"]
    for path in (*left, *stays):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    assert garbage.find(store).strays == {}, "somebody may be writing it"
    found = garbage.find(store, older_than=-1.0)
    assert garbage.collect(store, found) == 12
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in stays)
