from __future__ import annotations

import functools
import logging
import os
import signal
import uuid

import pytest

# What takes longest comes first, so that two processors are busy until the end. The files and folders of one line go to
# one process, because they share what is made or imported once a process: a Ray, a finished sweep, an interpreter that
# commands are forks of, a database of MLflow, transformers. All others go file by file to whoever has nothing to do.
LINES = (
    (
        "execution/test_kills.py",
        "execution/test_warm.py",
        "execution/test_word.py",
    ),
    (
        "execution/test_run.py",
        "execution/test_searching.py",
        "execution/test_memory.py",
        "faults/test_bucket.py",
    ),
    (
        "cli/test_sweep.py",
        "cli/test_reading_results.py",
        "cli/test_export.py",
        "cli/test_commands.py",
        "cli/test_cluster.py",
        "cli/test_import.py",
        "cli/test_hostile_text.py",
        "corpora/test_exported_tokenizer.py",
        "model/test_checkpoint.py",
        "model/test_gpt2.py",
        "model/test_official.py",
        "model/test_transfer.py",
        "store/test_exporting.py",
    ),
    ("tracking/",),
    ("faults/test_nodes.py", "faults/test_disk.py"),
    ("faults/test_signals.py",),
    ("report/",),
    ("training/test_ranks.py",),
    ("store/test_store_in_bucket.py",),
    ("store/test_upkeep.py",),
    ("store/test_plans.py",),
    ("test_gpu_benchmark.py",),
    ("faults/test_stores.py",),
    ("training/test_pack.py",),
    ("security/test_fuzz.py",),
)


@functools.cache
def _line(file: str) -> int:
    """The number of the line that a file of tests is in."""
    name = file.removeprefix("tests/")
    return next((number for number, line in enumerate(LINES) if name.startswith(line)), len(LINES))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _line(item.nodeid.partition("::")[0]))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """`--dist loadfile` where a line of files is handed out as one, in the order above."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class LoadLines(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            number = _line(file)
            return f"line {number}" if number < len(LINES) else file

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
def local_ray(tmp_path_factory, s3_service):
    """One Ray for all tests of a process that need one, started as `run` starts its own; `run` uses what it finds.

    Its workers reach the buckets of `bucket`.
    """
    from procray.execution.cluster import cluster
    from procray.training.environment import worker_environment

    logs, cache = (tmp_path_factory.mktemp(name) for name in ("ray", "cache of Ray's workers"))
    with cluster(None, logs, {**worker_environment(1), **s3_service, "PROCRAY_CACHE": str(cache)}) as resources:
        yield resources


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
