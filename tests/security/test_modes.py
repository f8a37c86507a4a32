"""A store is as private as the umask of whoever makes it."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import fuzzing

from procray.files import write_atomic
from procray.planning import plan
from procray.planning.load import load_text


@pytest.fixture(params=[0o077, 0o027, 0o022, 0o007])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_a_file_has_the_mode_that_the_umask_gives(tmp_path, umask):
    write_atomic(tmp_path / "folder" / "file", b"x")
    assert stat.S_IMODE((tmp_path / "folder" / "file").stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o777 & ~umask


def test_nothing_of_a_store_is_open_to_more(tmp_path, umask):
    store, _ = fuzzing.small_phase(tmp_path / "store")
    store.write_plan(plan(load_text(fuzzing.SWEEPS[2], "chains.yaml")))
    made = [path for path in (tmp_path / "store").rglob("*") if not path.is_symlink()]
    assert {"plan.json", "status.json", "1.json"} <= {path.name for path in made}
    wider = [str(path) for path in made if stat.S_IMODE(path.stat().st_mode) & umask]
    assert wider == []
