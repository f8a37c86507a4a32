from __future__ import annotations

import logging
import os
import signal
import uuid

import pytest

# What takes longest comes first, so that two processes end together: files that share what is made once a process
# (a Ray, a finished sweep) in one line, then single files by how long they take, then all others.
LINES = (
    (
        "execution/test_kills.py",
        "execution/test_run.py",
        "execution/test_searching.py",
        "execution/test_warm.py",
        "execution/test_word.py",
        "execution/test_memory.py",
    ),
    ("cli/test_sweep.py", "cli/test_reading_results.py", "cli/test_export.py"),
    ("faults/test_nodes.py", "faults/test_disk.py"),
    ("faults/test_signals.py",),
    ("faults/test_bucket.py",),
    ("faults/test_stores.py",),
    ("store/test_store_in_bucket.py",),
    ("tracking/test_sync.py",),
    ("store/test_upkeep.py",),
    ("training/test_ranks.py",),
    ("store/test_plans.py",),
    ("test_gpu_benchmark.py",),
)
_LINE = {f"tests/{file}": number for number, line in enumerate(LINES) for file in line}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _LINE.get(item.nodeid.partition("::")[0], len(LINES)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """`--dist loadfile` where a line of files is handed out as one, in the order above."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class LoadLines(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return f"line {_LINE[file]}" if file in _LINE else file

    config.option.loadscopereorder = False
    return LoadLines(config, log)


@pytest.fixture(autouse=True, scope="session")
def _signals_that_may_come():
    """What a shell in the background or `nohup` lets its programs ignore reaches those that the tests start."""
    before = {}
    for number, heard in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, lambda *_: None)):
        if signal.getsignal(number) is signal.SIG_IGN:
            before[number] = signal.signal(number, heard)
    yield
    for number, ignored in before.items():
        signal.signal(number, ignored)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    """The peak of this processor is measured once for all tests and the processes that they start, not at home."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


@pytest.fixture(scope="session")
def s3_service():
    """An S3 service on 127.0.0.1, and the environment with which AWS programs find it."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    server.stop()


@pytest.fixture
def bucket(s3_service, monkeypatch, tmp_path):
    """The address of an empty bucket, which this process and those that it starts can reach."""
    import boto3

    for name, value in s3_service.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PROCRAY_CACHE", str(tmp_path / "cache"))
    name = f"procray-{uuid.uuid4().hex[:12]}"
    boto3.client("s3").create_bucket(Bucket=name)
    return f"s3://{name}/store"


@pytest.fixture
def faulty(bucket, monkeypatch):
    """The service of `bucket` behind a proxy that can be told to fail."""
    from faulty_s3 import FaultyS3

    proxy = FaultyS3(os.environ["AWS_ENDPOINT_URL"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    yield proxy
    proxy.close()
