"""A store with an MLflow database that was set up once for all tests: doing so takes seconds."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from procray.store.store import Store
from procray.tracking import backend


@pytest.fixture(scope="session")
def fresh_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("database") / backend.DATABASE
    backend.connect(f"sqlite:///{file}")
    return file


@pytest.fixture
def store(tmp_path: Path, fresh_database: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "store"
    folder.mkdir()
    shutil.copy(fresh_database, folder / backend.DATABASE)
    return Store(folder)
