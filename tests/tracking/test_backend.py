from __future__ import annotations

import contextlib
import errno
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from procray.errors import EnvironmentProblem
from procray.store import nearby
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
    assert backend.sqlite_file("sqlite://") is None


@pytest.mark.parametrize("name", ["store", "exp#3", "a?b", "50%25", "50%", "my store", "a&b=c;d", "e:f@g"])
def test_the_address_of_a_file_is_of_that_file(name: str) -> None:
    from sqlalchemy.engine import make_url

    uri = backend.tracking_uri(Path("/s") / name)
    assert make_url(uri).database == f"/s/{name}/mlflow.db"
    assert backend.sqlite_file(uri) == Path(f"/s/{name}/mlflow.db")


@pytest.mark.parametrize("uri", ["sqlite:////s/exp#3/a.db", "sqlite:////s/a?timeout=3", "sqlite+pysqlite:////s/a%23b"])
def test_an_address_that_somebody_gave_is_read_as_sqlalchemy_reads_it(uri: str) -> None:
    from sqlalchemy.engine import make_url

    assert str(backend.sqlite_file(uri)) == make_url(uri).database


def test_a_server_on_this_machine_is_reached_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.lab:3128")
    monkeypatch.setenv("no_proxy", ".lab")
    monkeypatch.delenv("NO_PROXY", raising=False)
    import requests

    for uri in ("http://127.0.0.1:5001", "http://localhost:5001", "http://127.0.0.9:5001"):
        with monkeypatch.context() as there:
            for name, value in backend.quiet_environment(uri).items():
                there.setenv(name, value)
            assert requests.utils.get_environ_proxies(uri) == {}
            assert "proxy.lab" in requests.utils.get_environ_proxies("http://elsewhere:5001")["http"]
            assert requests.utils.get_environ_proxies("http://mlflow.lab") == {}  # as the user has it
    assert "no_proxy" not in backend.quiet_environment("http://elsewhere:5001")


def test_what_may_heal_by_waiting() -> None:
    from mlflow.exceptions import MlflowException, RestException
    from sqlalchemy.exc import NoSuchModuleError, OperationalError

    def of_ours(cause: Exception | None) -> EnvironmentProblem:
        problem = EnvironmentProblem("MLflow cannot use it")
        problem.__cause__ = cause
        return problem

    refused = MlflowException("API request failed with exception HTTPConnectionPool(...): [Errno 111] refused")
    healing = [
        refused,
        of_ours(refused),
        RestException({"error_code": "TEMPORARILY_UNAVAILABLE", "message": "busy"}),
        OperationalError("select 1", {}, Exception("database is locked")),
        backend.LockTaken("another process"),
        TimeoutError("timed out"),
    ]
    lasting = [
        of_ours(None),
        MlflowException("HTTPConnectionPool(host='mlflow.lbb'): [Errno -2] Name or service not known"),
        RestException({"error_code": "PERMISSION_DENIED", "message": "who are you?"}),
        RestException({"error_code": "INVALID_PARAMETER_VALUE", "message": "no"}),
        of_ours(ModuleNotFoundError("No module named 'psycopg2'")),
        NoSuchModuleError("Can't load plugin: sqlalchemy.dialects:nonsense"),
        OperationalError("connect", {}, Exception('password authentication failed for user "ann"')),
        KeyError("a mistake of ours"),
    ]
    assert [backend.may_heal(error) for error in healing] == [True] * len(healing)
    assert [backend.may_heal(error) for error in lasting] == [False] * len(lasting)


def test_an_address_that_mlflow_does_not_know_does_not_heal() -> None:
    with pytest.raises(EnvironmentProblem) as caught:
        backend.connect("nonsense://host")
    assert not backend.may_heal(caught.value)


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


def test_existing_database_gets_write_ahead_log(
    tmp_path: Path, fresh_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "on_network", lambda path: False)
    file = tmp_path / "mlflow.db"
    file.write_bytes(fresh_database.read_bytes())
    with sqlite3.connect(file) as database:
        database.execute("PRAGMA journal_mode=DELETE")
    backend.ensure_database(file)
    with sqlite3.connect(file) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the system says is on NFS."""
    mounts = tmp_path / "mountinfo"
    folder = tmp_path / "shared"
    folder.mkdir()
    mounts.write_text(
        f"22 1 254:0 / / rw - ext4 /dev/vda rw\n36 22 0:40 / {folder} rw,relatime shared:1 - nfs4 server:/export rw\n"
    )
    real = nearby.on_network
    monkeypatch.setattr(backend, "on_network", lambda path: real(path, str(mounts)))
    return folder


def journal_of(file: Path) -> str:
    with contextlib.closing(sqlite3.connect(file)) as database:
        return str(database.execute("PRAGMA journal_mode").fetchone()[0])


def names(file: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(file)) as database:
        return [name for (name,) in database.execute("SELECT name FROM experiments ORDER BY experiment_id")]


def test_on_a_network_file_system_a_database_has_no_write_ahead_log(shared: Path, fresh_database: Path) -> None:
    file = shared / "mlflow.db"
    file.write_bytes(fresh_database.read_bytes())
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA journal_mode=DELETE")
    backend.ensure_database(file)
    assert journal_of(file) == "delete"
    assert not list(shared.glob("mlflow.db-*"))
    caution = backend.caution(f"sqlite:///{file}")
    assert str(file) in caution
    assert "MLFLOW_TRACKING_URI" in caution
    assert backend.caution(f"sqlite:///{shared.parent}/mlflow.db") == backend.caution("http://host:5000") == ""


def test_a_write_ahead_database_on_a_network_file_system_is_turned_back_whole(
    shared: Path, fresh_database: Path
) -> None:
    """Also with changes that a killed process has left in its log."""
    made = shared.parent / "made.db"
    made.write_bytes(fresh_database.read_bytes())
    with contextlib.closing(sqlite3.connect(made)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA wal_autocheckpoint=0")
        database.execute("INSERT INTO experiments (name, lifecycle_stage) VALUES ('only in the log', 'active')")
        database.commit()
        for end in ("", "-wal"):
            (shared / f"mlflow.db{end}").write_bytes(Path(f"{made}{end}").read_bytes())
    file = shared / "mlflow.db"
    assert (shared / "mlflow.db-wal").stat().st_size > 0
    backend.ensure_database(file)
    assert journal_of(file) == "delete"
    assert "only in the log" in names(file)
    assert not list(shared.glob("mlflow.db-*"))


def test_a_write_ahead_database_that_somebody_has_open_is_left_and_told(shared: Path, fresh_database: Path) -> None:
    file = shared / "mlflow.db"
    file.write_bytes(fresh_database.read_bytes())
    holds_it = (
        "import sqlite3, sys; database = sqlite3.connect(sys.argv[1]); database.execute('PRAGMA journal_mode=WAL');"
        "database.execute('SELECT * FROM experiments').fetchall(); print('open', flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", holds_it, str(file)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(EnvironmentProblem, match=r"network file system.*end `procray ui`"):
            backend.connect(f"sqlite:///{file}")
        before = names(file)
        other.communicate()
    assert before == names(file)
    backend.ensure_database(file)
    assert journal_of(file) == "delete"


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("procray.tracking.backend.fcntl.flock", refuse)
    with pytest.raises(EnvironmentProblem, match="No locks available"), backend.file_lock(tmp_path / "lock"):
        pass


@pytest.mark.slow
def test_many_processes_make_one_database(tmp_path: Path) -> None:
    """Left to themselves, processes that open a fresh database together all fail."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    script = f"from procray.tracking import backend; backend.connect({uri!r}).search_experiments()"
    runs = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(3)]
    assert [run.wait() for run in runs] == [0, 0, 0]
    assert not (tmp_path / "mlflow.db.new").exists()
