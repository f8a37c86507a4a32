from __future__ import annotations

import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import psutil
import pytest

from procray.errors import EnvironmentProblem
from procray.store.store import Store
from procray.tracking import backend, sync, ui
from tests.tracking import synthetic

ROOT = Path(__file__).resolve().parents[2]
UNSAFE = {5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 10080}


def test_ports_are_ones_that_browsers_accept() -> None:
    assert not UNSAFE & set(ui.PORTS)
    with socket.socket() as taken:
        taken.bind((ui.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EnvironmentProblem, match=str(port)):
            ui.listening(port)
    with ui.listening() as free:
        assert free.getsockname()[0] == ui.HOST
        assert free.getsockname()[1] in ui.PORTS


def test_nothing_to_show(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="procray sync"), ui.server(Store(tmp_path), f"sqlite:///{tmp_path}/x"):
        pass


def test_a_server_elsewhere_is_opened_not_started(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:hunter2@mlflow.lab:5000")
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    link = ui.serve(store)
    assert opened == [link] == ["http://mlflow.lab:5000/#/experiments"]
    assert "hunter2" not in capsys.readouterr().out


def test_its_own_server_is_asked_without_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Health(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nobody is there
    monkeypatch.setattr(ui, "_START_SECONDS", 10.0)
    (tmp_path / "log").write_text("")
    with http.server.HTTPServer((ui.HOST, 0), Health) as served, subprocess.Popen(["sleep", "600"]) as process:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        try:
            ui._await_health(process, f"http://{ui.HOST}:{served.server_port}", tmp_path / "log", "secret")
        finally:
            served.shutdown()
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["exp#3", "a?b", "50%25"])
def test_the_page_of_a_store_whatever_it_is_called(store: Store, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Store(store.path.rename(store.path.with_name(name)))
    plan = synthetic.build(seeds=(0,), targets=("code",))
    synthetic.finish_all(place, plan)
    sync(plan, place)
    with ui.server(place, backend.tracking_uri(place.path)) as page:
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", page.secret)
        found = backend.connect(page.address).get_experiment_by_name(plan.title)
        assert found is not None
    assert [path.name for path in place.path.parent.iterdir()] == [name]


@pytest.mark.slow
def test_serve_prints_the_link_and_ends_on_interrupt(store: Store) -> None:
    plan = synthetic.build(seeds=(0,), targets=("code",))
    synthetic.finish_all(store, plan)
    sync(plan, store)
    script = (
        "import sys; from procray.store.store import Store; from procray.tracking import serve;"
        "from tests.tracking import synthetic;"
        "serve(Store(sys.argv[1]), synthetic.build(seeds=(0,), targets=('code',)), open_browser=False)"
    )
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", script, str(store.path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    line = next(line for line in process.stdout if "http" in line)
    assert "workflowType=machine_learning" in line
    opened = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    assert b"MLflow" in opened.open(line.split()[-1].split("#")[0], timeout=600).read()
    servers = psutil.Process(process.pid).children(recursive=True)
    assert servers
    process.send_signal(signal.SIGINT)
    assert process.wait(600) == 0
    assert not [server for server in servers if server.is_running() and server.status() != psutil.STATUS_ZOMBIE]
