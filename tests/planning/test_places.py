"""A plan does not depend on where the files of its corpora lie."""

from __future__ import annotations

import pytest

from procray.planning import plan
from procray.planning.load import load_text

FILE = """\
name: places
seeds: [0]
model: {{layers: 1, heads: 2, width: 16, context: 32}}
semantic:
  corpus: {{files: "{files}"}}
  tokenizer: byte
  tokens: 2Ki
  batch: 8
  optimizer: {{lr: 1e-3}}
"""


@pytest.mark.parametrize("files", ["./texts/*.txt", "{place}/texts/*.txt", "texts/**/*.txt"])
def test_equal_files_give_equal_phases(tmp_path, monkeypatch, files):
    for place in ("here", "there"):
        (tmp_path / place / "texts").mkdir(parents=True)
        for name in "ab":
            (tmp_path / place / f"texts/{name}.txt").write_text(f"{name} and other words\n" * 30)
    monkeypatch.chdir(tmp_path / "here")
    first = plan(load_text(FILE.format(files="texts/*.txt"), "f.yaml"))
    monkeypatch.chdir(tmp_path / "there")
    second = plan(load_text(FILE.format(files=files.format(place=tmp_path / "there")), "f.yaml"))
    assert list(second.phases) == list(first.phases)
    assert all(phase.recipe.id == id for id, phase in second.phases.items())
