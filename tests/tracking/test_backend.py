from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from procray.errors import EnvironmentProblem
from procray.tracking import backend


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("postgresql://ann:s3cret@db:5432/mlflow", "postgresql://***@db:5432/mlflow"),
        ("https://token@host/path", "https://***@host/path"),
        ("https://host/data?user=a&token=abc123&x=1", "https://host/data?user=a&token=***&x=1"),
        ("https://host/f?X-Amz-Signature=ff00&X-Amz-Date=1", "https://host/f?X-Amz-Signature=***&X-Amz-Date=1"),
        ("two http://a:b@h and http://c:d@i", "two http://***@h and http://***@i"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("sqlite:////home/ann@lab/mlflow.db", "sqlite:////home/ann@lab/mlflow.db"),
    ],
)
def test_redact(given: str, wanted: str) -> None:
    assert backend.redact(given) == wanted


def test_tracking_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert backend.tracking_uri(Path("/s")) == "sqlite:////s/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    assert backend.tracking_uri(Path("/s")) == "http://host:5000"
    assert backend.tracking_uri(Path("/s"), "http://other") == "http://other"
    assert backend.sqlite_file("sqlite:////s/my%20store/mlflow.db") == Path("/s/my store/mlflow.db")
    assert backend.sqlite_file("postgresql://db/mlflow") is None


def test_unusable_address() -> None:
    with pytest.raises(EnvironmentProblem, match="nonsense"):
        backend.connect("nonsense://ann:hunter2@host")


def test_lock_is_waited_for_and_given_up(tmp_path: Path) -> None:
    with (
        backend.file_lock(tmp_path / "lock"),
        pytest.raises(EnvironmentProblem, match="another process"),
        backend.file_lock(tmp_path / "lock", 0.1),
    ):
        pass
    with backend.file_lock(tmp_path / "lock", 0.1):
        pass


def test_existing_database_gets_write_ahead_log(tmp_path: Path, fresh_database: Path) -> None:
    file = tmp_path / "mlflow.db"
    file.write_bytes(fresh_database.read_bytes())
    with sqlite3.connect(file) as database:
        database.execute("PRAGMA journal_mode=DELETE")
    backend.ensure_database(file)
    with sqlite3.connect(file) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.slow
def test_many_processes_make_one_database(tmp_path: Path) -> None:
    """Left to themselves, processes that open a fresh database together all fail."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    script = f"from procray.tracking import backend; backend.connect({uri!r}).search_experiments()"
    runs = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(3)]
    assert [run.wait() for run in runs] == [0, 0, 0]
    assert not (tmp_path / "mlflow.db.new").exists()
