from __future__ import annotations

import json
from pathlib import Path

import pytest

from procray.corpora import hub, prepare, recipe, shards
from procray.corpora.local import stdlib_folder


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """A test that forgets to stand in for the hub fails at once."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def code_recipe():
    """A few packages of the standard library with a small byte-pair encoding."""
    folder = stdlib_folder()
    return recipe({"files": [f"{folder}/{name}/*.py" for name in ("json", "http", "logging")]}, {"bpe": 512})


@pytest.fixture(scope="session")
def code(code_recipe, tmp_path_factory):
    return prepare(code_recipe, tmp_path_factory.mktemp("corpora"), 1)


@pytest.fixture
def small_shards(monkeypatch):
    """Shards of 2,000 tokens, so that little text makes many."""
    monkeypatch.setattr(shards, "SHARD_TOKENS", 2000)
    return 2000


@pytest.fixture
def texts(tmp_path):
    """A folder of 40 text files of some 500 bytes each; returns its glob."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(40):
        words = " ".join(f"word{(number * 37 + i * i) % 211}" for i in range(60 + number))
        (folder / f"{number:02d}.txt").write_text(f"Document {number}.\n{words}\n")
    return str(folder / "*.txt")


@pytest.fixture
def fake_hub(monkeypatch, tmp_path):
    """`fake_hub(name, split, texts)` puts a dataset of JSON files on a hub that streams from disk.

    Returns the list of the opened streams as (name, config, split, commit).
    """
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets-cache")
    files: dict[tuple[str, str], list[str]] = {}
    opened: list[tuple[str, str | None, str, str]] = []

    def add(name: str, split: str, documents: list[str], field: str = "text", parts: int = 3):
        folder = tmp_path / "hub" / name.replace("/", "--") / split
        folder.mkdir(parents=True)
        share = -(-len(documents) // parts)
        paths = []
        for part in range(parts):
            path = Path(folder, f"{part}.jsonl")
            path.write_text("".join(json.dumps({field: t, "n": 1}) + "\n" for t in documents[part * share :][:share]))
            paths.append(str(path))
        files[name, split] = paths
        return opened

    def open_stream(name, config, split, commit):
        opened.append((name, config, split, commit))
        if (name, split) not in files:
            raise ValueError(f"Bad split: {split}. Available splits: {[s for n, s in files if n == name]}")
        return datasets.load_dataset("json", data_files=files[name, split], split="train", streaming=True)

    monkeypatch.setattr(hub, "open_stream", open_stream)
    monkeypatch.setattr(hub, "resolve_revision", lambda kind, name, revision, where: f"commit-of-{revision}")
    monkeypatch.setattr(hub, "ROWS", 7)
    return add
