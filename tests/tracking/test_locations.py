"""A database that came with a store leads nowhere outside it; one that was moved with its store goes on."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from procray.errors import EnvironmentProblem, StoreError
from procray.store.store import Store
from procray.tracking import backend, locations, owner, sync, ui
from tests.tracking import mirror, synthetic

# What MLflow would read and write, as a location.
OUT = [
    "file:///etc",
    "/etc",
    "file://other.host/{artifacts}/x",
    "file:{artifacts}/../../x",
    "file://{artifacts}/%2e%2e/%2e%2e/x",
    "{artifacts}/%2e%2e/%2e%2e/x",
    "{artifacts}-not",
    "relative/folder",
    "",
    "s3://bucket/x",
    "ftp://host/x",
    "http://host/x",
    "mlflow-artifacts://host/x",
    "mlflow-artifacts:/../x",
    "mlflow-artifacts:/%2e%2e/x",
    "dbfs:/x",
]


def change(store: Store, statement: str, *values: Any) -> None:
    with contextlib.closing(sqlite3.connect(store.path / backend.DATABASE)) as database, database:
        database.execute(statement, values)


def read(store: Store, statement: str) -> list[Any]:
    with contextlib.closing(sqlite3.connect(store.path / backend.DATABASE)) as database:
        return [row[0] for row in database.execute(statement)]


@pytest.fixture
def filled(store: Store) -> tuple[Store, Any]:
    plan = synthetic.build(seeds=(0,), targets=("code",))
    synthetic.finish_all(store, plan)
    assert sync(plan, store).complete
    return store, plan


@pytest.mark.parametrize("out", OUT)
def test_whatever_leads_out_is_refused_by_name(store: Store, out: str) -> None:
    location = out.format(artifacts=store.path / backend.ARTIFACTS)
    owner.store_id(store)
    change(store, "UPDATE experiments SET name = 'of a stranger', artifact_location = ?", location)
    before = (store.path / backend.DATABASE).read_bytes()
    with pytest.raises(StoreError, match="experiment 'of a stranger'") as refused:
        locations.check(store)
    assert refused.value.exit_code == 2
    assert (store.path / backend.DATABASE).read_bytes() == before


SAY = {
    "run": ("UPDATE runs SET artifact_uri = 'file:///etc'", "run '"),
    "model": ("UPDATE logged_models SET artifact_location = '/etc/x'", "logged model '"),
    "trace": (
        "INSERT INTO trace_tags (request_id, key, value) VALUES ('tr-1', 'mlflow.artifactLocation', 'file:///etc')",
        "trace tag of 'tr-1'",
    ),
    "view": ("CREATE VIEW shown AS SELECT * FROM runs", "view shown"),
    "trigger": (
        "CREATE TRIGGER later AFTER INSERT ON runs BEGIN UPDATE runs SET artifact_uri = 'file:///etc'; END",
        "trigger later",
    ),
}


@pytest.mark.parametrize("what", SAY)
def test_runs_models_traces_and_what_would_change_them_later_too(filled: tuple[Store, Any], what: str) -> None:
    store, plan = filled
    locations.check(store)
    statement, named = SAY[what]
    change(store, statement)
    for look in (locations.check, lambda store: locations.check(store, mend=False), lambda store: sync(plan, store)):
        with pytest.raises(StoreError, match=named):
            look(store)
    with pytest.raises(StoreError, match=named), ui.server(store, backend.tracking_uri(store.path)):
        pass


def test_a_registered_model_from_elsewhere(store: Store) -> None:
    change(store, "INSERT INTO registered_models (name) VALUES ('m')")
    for version, source in enumerate(("models:/m-1", f"{store.path}/mlartifacts/x", "prompt-template")):
        change(store, "INSERT INTO model_versions (name, version, source) VALUES ('m', ?, ?)", version, source)
    locations.check(store)
    change(store, "INSERT INTO model_versions (name, version, source) VALUES ('m', 9, 'file:///home/ann')")
    with pytest.raises(StoreError, match="file:///home/ann"):
        locations.check(store)


def test_names_are_shown_on_one_line_each(store: Store) -> None:
    change(store, "UPDATE experiments SET name = ?, artifact_location = '/etc'", "a\nprocray: all is well\x1b[2J")
    with pytest.raises(StoreError, match=r"'a\\nprocray: all is well\\x1b\[2J': /etc"):
        locations.check(store)


@pytest.mark.parametrize("link", ["mlflow.db", "mlflow.db-wal", "mlartifacts", "mlartifacts/x"])
def test_links_are_refused(store: Store, tmp_path: Path, link: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    path = store.path / link
    path.parent.mkdir(exist_ok=True)
    if path.exists():
        os.replace(path, tmp_path / "elsewhere" / path.name)
    path.symlink_to(tmp_path / "elsewhere" / path.name)
    with pytest.raises(StoreError, match="link"):
        locations.check(store)


@pytest.mark.parametrize("name", ["with a blank", "50%25#ü"])
def test_a_store_that_is_moved_takes_its_data_along(filled: tuple[Store, Any], name: str) -> None:
    store, plan = filled
    old, new = store.path, store.path.with_name("deeper") / name
    new.parent.mkdir()
    old.rename(new)
    moved = Store(new)
    from mlflow.tracking._tracking_service import utils

    utils._artifact_repos_cache.clear()  # of this process, by the ids of runs; the command that comes next is another
    locations.check(moved, mend=False)  # a look finds nothing wrong and changes nothing
    assert any(str(old) in one for one in read(moved, "SELECT artifact_uri FROM runs"))
    synthetic.write_report(moved, plan)
    assert sync(plan, moved).complete
    assert not old.exists()
    mlflow = mirror.client(moved)
    run = mirror.runs(mlflow, plan)["sweep"].info.run_id
    report = moved.plan_folder(plan.title, plan.digest) / "report" / "report.html"
    assert Path(mlflow.download_artifacts(run, "report/report.html")).read_text() == report.read_text()
    for column in (
        "artifact_location FROM experiments",
        "artifact_uri FROM runs",
        "artifact_location FROM logged_models",
    ):
        assert all(one.startswith((new / backend.ARTIFACTS).as_uri()) for one in read(moved, f"SELECT {column}"))


def test_what_says_to_be_another_stores_is_not_taken_for_moved(store: Store) -> None:
    owner.store_id(store)
    change(store, "UPDATE experiments SET artifact_location = 'file:///data/theirs/mlartifacts/0'")
    locations.check(store)
    change(store, "UPDATE experiments SET artifact_location = 'file:///data/theirs/mlartifacts/0'")
    change(store, "INSERT INTO experiment_tags (key, value, experiment_id) VALUES (?, ?, 0)", owner.STORE, "0" * 12)
    with pytest.raises(StoreError, match="theirs"):
        locations.check(store)


def test_what_leads_out_stays_out_when_the_rest_was_moved(filled: tuple[Store, Any]) -> None:
    """All of it or nothing: a run of a stranger among runs that were moved."""
    store, _ = filled
    change(store, "UPDATE runs SET artifact_uri = 'file:///root' WHERE rowid = (SELECT max(rowid) FROM runs)")
    moved = Store(store.path.rename(store.path.with_name("moved")))
    before = read(moved, "SELECT artifact_uri FROM runs")
    with pytest.raises(StoreError, match="file:///root"):
        locations.check(moved)
    assert read(moved, "SELECT artifact_uri FROM runs") == before


def test_a_look_leaves_no_file_behind(store: Store) -> None:
    before = sorted(path.name for path in store.path.iterdir())
    locations.check(store, mend=False)
    assert sorted(path.name for path in store.path.iterdir()) == before


def test_what_cannot_be_looked_at_is_not_opened(store: Store) -> None:
    (store.path / backend.DATABASE).write_bytes(b"no database at all" * 100)
    with pytest.raises(EnvironmentProblem, match="not a database"):
        locations.check(store)
    locations.check(store, mend=False)  # who does not open it is not stopped by it


def test_a_database_elsewhere_is_the_users_own(store: Store, tmp_path: Path) -> None:
    elsewhere = Store(tmp_path / "elsewhere")
    assert locations.is_own(store, backend.tracking_uri(store.path))
    assert locations.is_own(store, f"sqlite:///{store.path}/../{store.path.name}/mlflow.db")
    assert not locations.is_own(elsewhere, backend.tracking_uri(store.path))
    change(store, "UPDATE experiments SET artifact_location = '/srv/mine/0'")
    assert ui._chosen(elsewhere, backend.tracking_uri(store.path)) == ["/srv/mine/0"]
    assert ui._chosen(store, backend.tracking_uri(store.path)) == []


@pytest.mark.parametrize(
    ("location", "root", "found"),
    [
        ("file:///a/b", "file:///a", True),
        ("/a/b", "file:///a", True),
        ("file:///a", "file:///a", True),
        ("file:///ab", "file:///a", False),
        ("s3://bucket/x/y", "s3://bucket/x", True),
        ("s3://bucket/xy", "s3://bucket/x", False),
        ("s3://bucket/x/../y", "s3://bucket/x", False),
        ("s3://bucket/x/%2e%2e/y", "s3://bucket/x", False),
        ("file:///a", "s3://bucket/x", False),
    ],
)
def test_inside(location: str, root: str, found: bool) -> None:
    assert locations.inside(location, [root]) is found


def test_a_link_on_the_way_out_is_followed_before_it_is_judged(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "out").symlink_to("/etc")
    (tmp_path / "alias").symlink_to(tmp_path / "root")
    root = [(tmp_path / "root").as_uri()]
    assert not locations.inside(str(tmp_path / "root" / "out" / "x"), root)
    assert locations.inside(str(tmp_path / "alias" / "x"), root)
