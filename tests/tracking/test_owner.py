"""Several stores with a sweep of one name on one server."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from procray.errors import StoreError
from procray.planning.plan import Plan
from procray.store.store import Store
from procray.tracking import backend, owner, sync, ui
from procray.tracking.connect import WATERMARK
from tests.tracking import mirror, synthetic


@pytest.fixture
def server(tmp_path: Path, fresh_database: Path) -> str:
    """The address of a database that belongs to no store."""
    file = tmp_path / "server.db"
    file.write_bytes(fresh_database.read_bytes())
    return backend.sqlite_address(file)


@pytest.fixture
def stores(tmp_path: Path) -> tuple[Store, Store]:
    return Store(tmp_path / "one"), Store(tmp_path / "two")


def plans() -> tuple[Plan, Plan]:
    """Of one name, with other seeds: what the one trains is strange to the other."""
    return tuple(synthetic.build(seeds=(seed,), targets=("code",)) for seed in (0, 1))  # type: ignore[return-value]


def roles(server: str, experiment: str) -> dict[str, str]:
    runs = backend.connect(server).search_runs([experiment])
    return {run.data.tags["procray.phase"]: run.data.tags["procray.role"] for run in runs}


def test_each_store_has_an_experiment_of_its_own(stores: tuple[Store, Store], server: str) -> None:
    found = []
    for store, plan in zip(stores, plans(), strict=True):
        synthetic.finish_all(store, plan)
        found.append(sync(plan, store, server))
    assert found[0].repaired == ""
    assert owner.store_id(stores[1]) in found[1].message
    for store, plan, result in zip(stores, plans(), found, strict=True):
        again = sync(plan, store, server)
        assert (again.runs, again.points, again.models, again.repaired) == (0, 0, 0, "")
        assert again.experiment == result.experiment
        there = roles(server, result.experiment)
        assert set(there) == {*plan.phases, "sweep"}
        assert "former" not in there.values()
        assert f"/experiments/{result.experiment}/" in ui.page("http://host", server, store, plan)
    names = [backend.connect(server).get_experiment(result.experiment).name for result in found]
    assert names == ["synthetic@laptop", f"synthetic@laptop (store {owner.store_id(stores[1])})"]


def test_runs_of_another_store_that_earlier_versions_mixed_in_leave_the_views(
    stores: tuple[Store, Store], server: str
) -> None:
    mine, other = plans()
    synthetic.finish_all(stores[0], mine)
    synthetic.finish_all(stores[1], other)
    experiment = sync(mine, stores[0], server).experiment
    file = backend.sqlite_file(server)
    assert file is not None
    with sqlite3.connect(file) as database:  # as it was before stores were told apart
        database.execute("delete from experiment_tags where key = ?", [owner.STORE])
        database.execute("delete from tags where key = ?", [owner.STORE])
    (stores[0].title_folder(mine.title) / WATERMARK).unlink()
    client = backend.connect(server)
    for phase in other.phases:
        client.create_run(experiment, tags={"procray.phase": phase, "procray.role": "compared"})
    late = client.create_run(  # of a store that took the experiment for its own at the same moment
        experiment, tags={"procray.phase": next(iter(mine.phases)), "procray.role": "compared", owner.STORE: "0" * 12}
    )
    assert sync(mine, stores[0], server).experiment == experiment
    assert sync(other, stores[1], server).experiment != experiment
    shown = client.search_runs([experiment], filter_string="tags.`procray.role` != 'former'")
    assert {run.data.tags["procray.phase"] for run in shown} == {*mine.phases, "sweep"}
    assert client.get_run(late.info.run_id).data.tags["procray.role"] == "former"
    assert {run.data.tags[owner.STORE] for run in shown} == {owner.store_id(stores[0])}


def test_the_id_of_a_store_moves_with_it(tmp_path: Path) -> None:
    assert owner.store_id(Store(tmp_path / "a"), make=False) == ""  # a look writes nothing
    assert not (tmp_path / "a").exists()
    first = owner.store_id(Store(tmp_path / "a"))
    assert owner.store_id(Store(tmp_path / "a"), make=False) == first
    assert owner.store_id(Store(tmp_path / "a")) == first != owner.store_id(Store(tmp_path / "b"))
    (tmp_path / "a").rename(tmp_path / "c")
    assert owner.store_id(Store(tmp_path / "c")) == first
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / owner.FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="link"):
        owner.store_id(Store(tmp_path / "d"))
    assert not (tmp_path / "elsewhere").exists()
    (tmp_path / "c" / owner.FILE).write_text("something else")
    with pytest.raises(StoreError, match=owner.FILE):
        owner.store_id(Store(tmp_path / "c"))


@pytest.mark.parametrize("name", ["exp#3", "a?b", "50%25"])
def test_a_store_of_any_name_keeps_everything_within(store: Store, name: str) -> None:
    place = Store(store.path.rename(store.path.with_name(name)))
    plan = synthetic.build(seeds=(0,), targets=("code",))
    synthetic.finish_all(place, plan)
    report = synthetic.write_report(place, plan) / "report.html"
    assert sync(plan, place).complete
    mlflow = mirror.client(place)
    mirror.assert_complete(mlflow, plan)
    run = mirror.runs(mlflow, plan)["sweep"].info.run_id
    assert Path(mlflow.download_artifacts(run, "report/report.html")).read_text() == report.read_text()
    assert mirror.points(place.path / backend.DATABASE) > 0
    assert [path.name for path in place.path.parent.iterdir()] == [name]
    assert (place.path / backend.ARTIFACTS).is_dir()
