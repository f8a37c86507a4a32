"""The page of `procray ui` belongs to who started it, and opens nothing but the artifacts of its store."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from procray.store.store import Store
from procray.tracking import backend, ui

pytestmark = pytest.mark.slow
SOMEBODY = 65534  # the user `nobody`, who owns nothing


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, ui.Page]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        store = Store(tmp_path_factory.mktemp("page") / "store")
        store.path.mkdir()
        uri = backend.tracking_uri(store.path)
        backend.ensure_database(store.path / backend.DATABASE)
        with ui.server(store, uri) as page:
            yield store, page


def asked(
    page: ui.Page, path: str, content: Any = None, method: str | None = None, **headers: str
) -> tuple[int, bytes]:
    """Status and text of an answer to who has the secret."""
    data = None if content is None else content if isinstance(content, bytes) else json.dumps(content).encode()
    sent = {"Authorization": f"Bearer {page.secret}", "Content-Type": "application/json", **headers}
    request = urllib.request.Request(page.address + path, data=data, headers=sent, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def as_somebody_else(work: Callable[[], Any]) -> Any:
    """What `work` gives in a process of another user."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to be somebody else")
    came, went = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(SOMEBODY)
            os.setuid(SOMEBODY)
            said = work()
        except BaseException as error:
            said = f"failed: {error!r}"
        os.write(went, json.dumps(said).encode())
        os._exit(0)
    os.close(went)
    with open(came, "rb") as pipe:
        said = json.loads(pipe.read())
    os.waitpid(child, 0)
    return said


def test_another_user_of_the_machine_reads_and_writes_nothing(served: tuple[Store, ui.Page]) -> None:
    _, page = served
    ui_html = asked(page, "/")[1]
    port = int(page.address.rsplit(":", 1)[1])
    process = page_process(port)

    def attack() -> list[Any]:
        found: list[Any] = []
        create = json.dumps({"name": "theirs", "artifact_location": "file:///root"})
        for method, path, body in (
            ("GET", "/", None),
            ("GET", "/health", None),
            ("GET", "/version", None),
            ("GET", "/open/" + "x" * 43, None),
            ("GET", "/ajax-api/3.0/mlflow/server-info", None),
            ("OPTIONS", "/api/2.0/mlflow/experiments/create", None),
            ("POST", "/api/2.0/mlflow/experiments/create", create),
            ("POST", "/graphql", "{}"),
        ):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            found.append([answer.status, answer.read().decode("latin-1")])
        for path in (page.folder, page.folder / "open.html", f"/proc/{process.pid}/environ", f"/proc/{process.pid}/fd"):
            try:
                os.listdir(path) if os.path.isdir(path) else open(path, "rb").read()  # noqa: SIM115
                found.append([200, str(path)])
            except PermissionError:
                found.append([401, ""])
        found.append(Path(f"/proc/{process.pid}/cmdline").read_text())
        return found

    (page.folder / "open.html").write_text(page.link(page.address))
    *answers, words = as_somebody_else(attack)
    assert [status for status, _ in answers] == [401] * len(answers)
    assert not any(text in ui_html.decode("latin-1") or page.secret in text for _, text in answers if text)
    assert "procray.tracking.page" in words
    assert page.secret not in words
    names = json.loads(asked(page, "/api/2.0/mlflow/experiments/search?max_results=100")[1])["experiments"]
    assert "theirs" not in [one["name"] for one in names]


def page_process(port: int) -> psutil.Process:
    found = [
        child
        for child in psutil.Process().children(recursive=True)
        if any(one.laddr.port == port and one.status == psutil.CONN_LISTEN for one in child.net_connections("tcp"))
    ]
    assert len(found) == 1
    return found[0]


def test_the_server_stands_alone_behind_its_door(served: tuple[Store, ui.Page]) -> None:
    """One process, listening here only, in a folder of its own, with no secret in what others or logs can see."""
    store, page = served
    process = page_process(int(page.address.rsplit(":", 1)[1]))
    listening = [one for one in process.net_connections("all") if one.status == psutil.CONN_LISTEN]
    assert [one.laddr.ip for one in listening] == ["127.0.0.1"]
    assert Path(process.cwd()) == page.folder.resolve()
    assert page.folder.stat().st_mode & 0o777 == 0o700
    assert not page.folder.is_relative_to(store.path)
    assert page.secret not in "".join(process.environ().values()) + " ".join(process.cmdline())
    opened = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    assert opened.open(page.link(page.address), timeout=60).status == 200
    for file in (store.path / ui.LOG, *store.path.rglob("*")):
        if file.is_file():
            assert page.secret.encode() not in file.read_bytes()


def test_hosts_and_other_pages_are_still_refused(served: tuple[Store, ui.Page]) -> None:
    _, page = served
    assert asked(page, "/health")[0] == 200
    assert asked(page, "/", Host="evil.example.com")[0] == 403
    assert asked(page, "/", Origin="http://127.0.0.1:9")[0] == 403
    assert asked(page, "/api/2.0/mlflow/experiments/create", {"name": "x"}, Origin="https://evil.example.com")[0] == 403


def test_artifacts_elsewhere_are_refused(served: tuple[Store, ui.Page], tmp_path: Path) -> None:
    store, page = served
    (tmp_path / "secret.txt").write_text("of the reader")
    artifacts = store.path / backend.ARTIFACTS
    api = "/api/2.0/mlflow"

    def create(name: str, location: str) -> int:
        return asked(page, f"{api}/experiments/create", {"name": name, "artifact_location": location})[0]

    outside = [tmp_path.as_uri(), str(tmp_path), f"{artifacts}/../..", "s3://bucket/x", "relative", "dbfs:/x"]
    for number, location in enumerate([*outside, "http://127.0.0.1:9/x", "mlflow-artifacts:/../x"]):
        assert create(f"out {number}", location) in (400, 403), location
    (artifacts / "linked").symlink_to(tmp_path)
    assert create("linked", (artifacts / "linked").as_uri()) == 403
    (artifacts / "linked").unlink()
    assert create("in", (artifacts / "in").as_uri()) == 200

    asked(page, f"{api}/registered-models/create", {"name": "model"})
    for source in (*outside, "file:///etc"):
        assert asked(page, f"{api}/model-versions/create", {"name": "model", "source": source})[0] in (400, 403), source
    trace = {"trace": {"trace_info": {"trace_id": "tr-1", "trace_location": {
        "type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}},
        "request_time": "2026-01-01T00:00:00Z", "state": "OK"}}}  # fmt: skip
    assert asked(page, "/api/3.0/mlflow/traces", trace)[0] == 200
    tag = {"key": "mlflow.artifactLocation", "value": tmp_path.as_uri()}
    assert asked(page, f"{api}/traces/tr-1/tags", tag, "PATCH")[0] == 403
    trace["trace"]["trace_info"] |= {"trace_id": "tr-2", "tags": {tag["key"]: tag["value"]}}
    status, _ = asked(page, "/api/3.0/mlflow/traces", trace)
    assert status == 403
    assert asked(page, "/api/2.0/mlflow-artifacts/artifacts/..%2f..%2fmlflow.db")[0] in (400, 403, 404)
    assert asked(page, "/api/2.0/mlflow-artifacts/artifacts/%2e%2e/x", b"x", "PUT")[0] in (400, 403, 404)


def test_a_run_that_the_database_leads_out_with_is_not_read(served: tuple[Store, ui.Page], tmp_path: Path) -> None:
    """Somebody with the right to write to the store changes it while the page is open."""
    import sqlite3

    store, page = served
    (tmp_path / "secret.txt").write_text("of the reader")
    run = json.loads(asked(page, "/api/2.0/mlflow/runs/create", {"experiment_id": "0"})[1])["run"]["info"]
    text = f"/get-artifact?run_uuid={run['run_id']}&path=secret.txt"
    kept = Path(urllib.request.url2pathname(run["artifact_uri"].removeprefix("file://")))
    assert kept.is_relative_to(store.path / backend.ARTIFACTS)
    kept.mkdir(parents=True)
    (kept / "secret.txt").write_text("of the run")
    assert asked(page, text) == (200, b"of the run")
    with contextlib.closing(sqlite3.connect(store.path / backend.DATABASE)) as database, database:
        database.execute("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", (tmp_path.as_uri(), run["run_id"]))
    status, said = asked(page, text)
    assert status == 403
    assert b"of the reader" not in said
    assert asked(page, f"/api/2.0/mlflow/artifacts/list?run_id={run['run_id']}")[0] == 403
    upload = f"/ajax-api/2.0/mlflow/upload-artifact?run_uuid={run['run_id']}&path=new.txt"
    assert asked(page, upload, b"written")[0] == 403
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret.txt"]


def test_the_port_is_held_from_the_beginning() -> None:
    """Nobody can take it between the moment when it was found free and the start of the server."""
    with ui.listening() as own, socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind(own.getsockname())
