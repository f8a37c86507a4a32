from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from procray.store.store import Store
from procray.tracking import Follower, backend, follow, sync, ui
from tests.tracking import mirror, synthetic

ROOT = Path(__file__).resolve().parents[2]
STORE_AND_PLAN = """
import sys
from tests.tracking import synthetic
from procray.store.store import Store
from procray.tracking import Follower
follower = Follower(synthetic.build(seeds=(0,), targets=("code",)), Store(sys.argv[1]), interval=0.1).start()
print(follower.pid, flush=True)
"""


def until(condition: Callable[[], bool], seconds: float = 600.0) -> None:
    """Waits for something that will come, and fails when it does not."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_follows_a_running_sweep_to_its_end(store: Store) -> None:
    plan = synthetic.build(seeds=(0,), targets=("code",))
    file = store.path / backend.DATABASE
    with Follower(plan, store, interval=0.1) as follower:
        warm, *others = plan.phases
        synthetic.write_rows(store, plan, warm, 50)
        until(lambda: mirror.points(file) > 0)  # while the sweep runs
        assert follower.problem == ""
        for phase in (warm, *others):
            if not store.phase(phase).exists_mark(plan.phases[phase].end):
                synthetic.write_rows(store, plan, phase, plan.phases[phase].end, first=60 if phase == warm else 0)
                synthetic.finish(store, plan, phase)
        pid = follower.pid
        assert pid is not None
        result = follower.stop()
        assert result.complete, result.problem
        until(lambda: gone(pid))
    mirror.assert_complete(mirror.client(store), plan)
    assert mirror.double_points(file) == []


@pytest.mark.slow
def test_killed_follower_is_replaced_for_the_last_sync(store: Store) -> None:
    plan = synthetic.build(seeds=(0,), targets=("code",))
    synthetic.finish_all(store, plan)
    follower = Follower(plan, store, interval=0.1).start()
    file = store.path / backend.DATABASE
    until(lambda: mirror.points(file) > 0)
    assert follower.pid is not None
    os.kill(follower.pid, signal.SIGKILL)
    result = follower.stop()
    assert result.complete, result.problem
    mirror.assert_complete(mirror.client(store), plan)
    assert mirror.double_points(file) == []


def test_dies_with_its_parent(store: Store) -> None:
    synthetic.finish_all(store, synthetic.build(seeds=(0,), targets=("code",)))
    script = STORE_AND_PLAN + "import time; time.sleep(600)"
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(store.path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert not gone(child)
    parent.kill()
    parent.wait()
    until(lambda: gone(child), 15)


def test_credentials_are_not_in_the_command_line(store: Store) -> None:
    plan = synthetic.build(seeds=(0,), targets=("code",))
    follower = Follower(plan, store, "http://ann:hunter2@127.0.0.1:9", interval=0.1).start()
    try:
        assert follower.pid is not None
        assert "hunter2" not in " ".join(psutil.Process(follower.pid).cmdline())
    finally:
        result = follower.stop(limit=1.0)
    assert not result.complete
    assert "hunter2" not in result.message
    assert "procray sync" in result.message
    log = store.title_folder(plan.title) / "tracking.log"
    assert "hunter2" not in log.read_text()


class Told:
    """The order to sync once more, which may be given again only where that can help."""

    def __init__(self) -> None:
        self.again = 0

    def wait(self, seconds: float) -> float:
        return 60.0

    def repeat(self, limit: float) -> None:
        self.again += 1
        raise InterruptedError


def test_what_cannot_heal_is_told_at_once(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    plan = synthetic.build(seeds=(0,), targets=("code",))
    uri = backend.tracking_uri(store.path)
    sync(plan, store)
    mlflow = mirror.client(store)
    mlflow.delete_experiment(mirror.experiment(mlflow, plan))
    orders = Told()
    follow.follow(plan, store, uri, 0.1, orders)  # type: ignore[arg-type]
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["final"]
    assert "mlflow experiments restore" in last["problem"]
    with pytest.raises(InterruptedError):  # a server that is away may come back
        follow.follow(plan, store, "http://127.0.0.1:9", 0.1, orders)  # type: ignore[arg-type]
    assert orders.again == 1


@pytest.mark.slow
def test_outage_costs_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server goes away in mid-sweep and comes back: afterwards MLflow has everything, once."""
    plan = synthetic.build(seeds=(0,), targets=("code",))
    database = f"sqlite:///{store.path / backend.DATABASE}"
    file = store.path / backend.DATABASE
    with ui.listening() as free:
        port = free.getsockname()[1]
    monkeypatch.setattr(secrets, "token_urlsafe", lambda size: "the same at both starts")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "the same at both starts")
    phases = list(plan.phases)
    with ui.server(store, database, port) as page:
        follower = Follower(plan, store, page.address, interval=0.1).start()
        synthetic.write_rows(store, plan, phases[0], 50)
        until(lambda: mirror.points(file) > 0)
    synthetic.write_rows(store, plan, phases[0], 100, first=60)  # during the outage
    for phase in phases:
        synthetic.finish(store, plan, phase)
    until(lambda: follower.problem != "")
    with ui.server(store, database, port):
        result = follower.stop(limit=60)
        assert result.complete, result.problem
    mirror.assert_complete(mirror.client(store), plan)
    assert mirror.double_points(file) == []
