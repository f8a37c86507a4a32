"""Whoever may only read a store reads all of it, also while somebody on another host trains in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from filling import filled

from procray.store import lease
from procray.store.store import Store

# Commands of a user who may not write, in one process. The first round is of the owner: it loads what is loaded late,
# which the other user may not be able to read. It says `--out`, so that it writes nothing into the store.
SCRIPT = """\
import contextlib, io, json, os, sys
from procray.cli.app import app
file, store, out, user = sys.argv[1:]
words = [["status", file, "--json"], ["plan", file], ["report", file], ["report", file, "--out", out],
         ["lineage", file], ["store", "ls"], ["store", "verify"], ["store", "gc"]]
def run(line):
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        try:
            code = app([*line, "--store", store], standalone_mode=False) or 0
        except Exception as error:
            code = f"{type(error).__name__}: {error}"
    return [code, stdout.getvalue(), stderr.getvalue()]
for line in words:
    if line != ["report", file]:
        run(line)
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(int(user))
    os.setuid(int(user))
print(json.dumps([[" ".join(line), *run(line)] for line in words]))
"""


@pytest.fixture
def place():
    """A folder that other users can enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for path in (folder, *folder.rglob("*")):
        if path.is_dir() and os.access(path, os.R_OK):
            path.chmod(0o755)
    shutil.rmtree(folder)


def answers(place: Path, file: Path, store: Store) -> dict[str, list]:
    """Exit code, stdout and stderr of every command, typed by somebody who may only read."""
    theirs = place / "theirs"
    theirs.mkdir()
    theirs.chmod(0o777)
    for path in (store.path, *store.path.rglob("*")):
        if os.geteuid() != 0:  # else another user reads, whom the owner's own rights keep out
            path.chmod(0o555 if path.is_dir() else 0o444)
    environment = {
        **os.environ, "HOME": str(theirs), "XDG_CACHE_HOME": str(theirs), "MPLCONFIGDIR": str(theirs), "NO_COLOR": "1",
    }  # fmt: skip
    words = [sys.executable, "-c", SCRIPT, str(file), str(store.path), str(theirs / "report"), "65534"]
    done = subprocess.run(words, env=environment, cwd=theirs, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {line: rest for line, *rest in json.loads(done.stdout.splitlines()[-1])}


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_reading_command_answers_and_writes_nothing(place, monkeypatch):
    store = Store(place / "store")
    graph = filled(store, place, "one", "reverse")
    running = store.phase(list(graph.phases)[-1])
    monkeypatch.setattr(lease, "this_process", lambda: {"host": "elsewhere", "pid": 4711, "started": "1"})
    held = running.acquire({"sweep": graph.title})
    running.discard(held, "marks", graph.phases[running.id].end)
    running.set_status("running", attempt=held.attempt)
    (running.path / "marks" / ".tmp-2-99").mkdir()
    (running.path / "marks" / ".tmp-2-99" / "model.safetensors").write_text("half")
    before = everything(store.path)
    said = answers(place, place / "one.yaml", store)
    assert {line: code for line, (code, _, _) in said.items()} == dict.fromkeys(said, 0), said
    assert everything(store.path) == before

    states = {row["id"]: row["state"] for row in json.loads(said[f"status {place / 'one.yaml'} --json"][1])}
    assert states.pop(running.id) == "running", "its claim is fresh, by whatever clock can be read"
    assert set(states.values()) == {"done"}
    assert graph.digest in said["store ls"][1]
    assert "all sound" in said["store verify"][1]
    assert ".tmp-2-99" not in said["store gc"][1]
    _, out, err = said[f"report {place / 'one.yaml'}"]
    assert out.startswith(f"{graph.title}: ")
    assert "report:" not in out
    assert "is not yours to write; `--out FOLDER`" in err
    assert (
        str(place / "theirs/report/report.html") in said[f"report {place / 'one.yaml'} --out {place}/theirs/report"][1]
    )
    assert (place / "theirs/report/report.html").stat().st_size > 1000
    held.release()


def test_a_claim_that_its_writer_let_nobody_read_counts_while_it_is_kept_alive(tmp_path, monkeypatch):
    store = Store(tmp_path)
    folder = store.phase("0123456789abcdef")
    monkeypatch.setattr(lease, "this_process", lambda: {"host": "elsewhere", "pid": 4711, "started": "1"})
    held = folder.acquire()
    path = folder.path / "leases" / "1.json"
    assert path.stat().st_mode & 0o777 == 0o644, "whoever may read the store may see who writes in it"
    real = Path.read_text

    def refused(self, *args, **kwargs):
        if self == path:
            raise PermissionError(13, "Permission denied", str(path))
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", refused)
    assert folder.holder().alive()
    old = path.stat().st_mtime - lease.STALE_AFTER - 1
    os.utime(path, (old, old))
    assert not folder.holder().alive()
    held.release()
