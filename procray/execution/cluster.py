"""Ray itself: a quiet local one that is gone with the command, or the cluster at an address."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import secrets
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from procray import links
from procray.children import code_paths, import_environment
from procray.errors import EnvironmentProblem, Stopped
from procray.execution.room import DRIVER, Node
from procray.execution.segment import describe
from procray.execution.session_folder import prefix, session_folder
from procray.redaction import redact, redacted_log

OBJECT_STORE = 100 * 2**20  # nothing of size goes through it
_SLOTS = 64
_TRIES = 5  # of a start that takes too long
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

# For this process and, through the local cluster, for its workers. What the user has set stays.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # 2 s otherwise, on every start and end of a group
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # an interrupt is ours: running segments save and return
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_STATE_REFRESH_PERIOD": "86400",  # it asks Ray's head from the loop, where nothing may wait for it
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # the store is the state; Tune's own is never read
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "86400",  # checked before the start
}


def local_resources(gpus: bool) -> Node:
    """What this machine offers. GPUs are looked for only when `gpus`: it takes the import of torch."""
    found: Node = {"CPU": float(processors()), DRIVER: float(_SLOTS)}
    if gpus:
        import torch

        found["GPU"] = float(torch.cuda.device_count())
    return found


def processors() -> int:
    """Processors that this process may use: its affinity and the quota of its container."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        count = min(count, max(1, math.floor(int(quota) / int(period))))
    return count


@contextlib.contextmanager
def cluster(
    address: str | None, logs: Path, environment: dict[str, str], meanwhile: Callable[[], Any] = lambda: None
) -> Iterator[dict[str, float]]:
    """Ray for as long as the block lasts; yields the resources of the cluster.

    A Ray that this process is connected to already is used as it is and left alone.

    Args:
        address: of a running cluster; None starts a local one, bound to 127.0.0.1.
        logs: the folder for whatever Ray has to say.
        environment: of the workers.
        meanwhile: is called in a thread while Ray's daemons start.

    Raises:
        EnvironmentProblem: no cluster answers at the address, or Ray does not start.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    local = address is None
    owned = _local_only() if local else {}
    os.environ.update(owned)
    warnings.filterwarnings("ignore", module=r"ray(\.|$)")

    import ray

    ours = session_folder() if local and not ray.is_initialized() else contextlib.nullcontext()
    with _quiet(logs / "ray.log"), ours as temporary:
        if ray.is_initialized():
            yield ray.cluster_resources()
            return
        threading.Thread(target=meanwhile, daemon=True).start()
        try:
            options: dict[str, Any] = {
                "log_to_driver": False,
                "logging_level": logging.WARNING,
                "logging_format": _FORMAT,
            }
            if temporary is not None:
                options |= {
                    "num_cpus": processors(),
                    "resources": {DRIVER: _SLOTS},
                    "include_dashboard": False,  # what Train needs it for does reaper.py
                    "object_store_memory": OBJECT_STORE,
                    "_temp_dir": str(temporary / "r"),  # Ray opens it to everybody, so one below a folder that is not
                }
                # Inherited from the daemons: as a runtime environment it costs each worker another start of Python.
                with _variables(environment | import_environment()), _hang_ups_wait(), few_daemons():
                    _start(address, options)
            else:
                options["runtime_env"] = {"env_vars": {name: os.environ[name] for name in QUIET} | environment}
                _start(address, options)
            try:
                yield ray.cluster_resources()
            except Stopped:
                if local:
                    kill_local_ray()  # what still runs of it waits for what is gone
                raise
            finally:
                below = _local_ray() if local else []
                ray.shutdown()
                _kill(below)
        finally:
            if temporary is not None:
                _keep_logs(temporary, logs)
            for name in owned:
                os.environ.pop(name, None)


@contextlib.contextmanager
def _variables(environment: dict[str, str]) -> Iterator[None]:
    """Environment variables of this process, for as long as the block lasts."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _hang_ups_wait() -> Iterator[None]:
    """Whatever this thread starts meanwhile never sees SIGHUP; for this process it comes afterwards.

    A terminal that is closed sends it to Ray's daemons too, and without them nothing could be saved.
    """
    if not hasattr(signal, "SIGHUP"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def few_daemons() -> Iterator[None]:
    """A Ray that starts meanwhile has no processes that serve nobody here; no option of `ray.init` leaves these out.

    They are a dashboard without pages, which Ray waits for, the monitor of an autoscaler, and what sends logs to a
    driver that wants none: 3 s of a processor at every start, and 250 MB.
    """
    from ray._private.node import Node

    left_out = ("start_api_server", "start_monitor", "start_log_monitor")
    before = {name: getattr(Node, name) for name in left_out if hasattr(Node, name)}  # another Ray may have others
    for name in before:
        setattr(Node, name, lambda self, **options: setattr(self, "_webui_url", ""))
    try:
        yield
    finally:
        for name, method in before.items():
            setattr(Node, name, method)


def _job_config() -> Any:
    """A job whose workers import from where they are installed.

    Ray puts the folders of the driver and of its script in front of the path of every worker, except where the job
    has a working directory of its own; it has no other word for leaving that.
    """
    from ray.job_config import JobConfig

    class OwnFolder(JobConfig):
        def _runtime_env_has_working_dir(self) -> bool:
            return True

    return OwnFolder(_py_driver_sys_path=code_paths())


def _start(address: str | None, options: dict[str, Any]) -> None:
    """`ray.init`; a local one is tried again, because Ray gives its daemons 30 s however busy the machine is.

    Raises:
        EnvironmentProblem: it does not start or answer.
    """
    import ray

    if address is None or not address.startswith("ray://"):  # a client's job is the server's
        options = {**options, "job_config": _job_config()}
    for tried in range(1, _TRIES + 1):
        try:
            ray.init(address=address or "local", **options)
            return
        except Exception as error:  # Ray raises anything here, plain Exception included
            with contextlib.suppress(Exception):
                ray.shutdown()
            if address is not None or tried == _TRIES or (tried == 2 and "timed out" not in str(error)):
                what = f"no Ray cluster at '{address}'" if address else "Ray does not start on this machine"
                raise EnvironmentProblem(f"{what}: {describe(error)}") from None


def _local_only() -> dict[str, str]:
    """Keeps the local cluster to this machine, and to this user by a token.

    Left to itself Ray would listen on every interface, write a token to the home folder and say so.
    """
    found = {}
    global _bound
    if "ray" not in sys.modules or _bound:  # read at import and by the daemons: never one without the other
        _bound = True
        found["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # not what its name says: 127.0.0.1 on every system
    # A program that imported Ray itself has had it read what to do about tokens; another word now would split the two.
    if "RAY_AUTH_MODE" not in os.environ and ("ray" not in sys.modules or _told):
        _told.append(True)
        found |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": _token}
    return found


_bound = False
_told: list[bool] = []  # Ray was given the token before it was imported
_token = secrets.token_hex(32)  # one for the process: Ray reads it once


def kill_local_ray() -> None:
    """Kills the daemons of a local Ray of this process, and whatever runs below them."""
    _kill(_local_ray())


def _local_ray() -> list[psutil.Process]:
    """The daemons of a local Ray, and whatever runs below them."""
    found = []
    for child in psutil.Process().children():
        if _is_daemon(child):
            found.append(child)
            with contextlib.suppress(psutil.Error):
                found += child.children(recursive=True)
    return found


def _kill(processes: list[psutil.Process]) -> None:
    """Kills those that still run; Ray leaves its agents to find out by themselves, which takes minutes."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()


def _is_daemon(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return any(prefix() in word for word in process.cmdline())
    return False


def _keep_logs(temporary: Path, logs: Path) -> None:
    """Copies what workers and daemons wrote to a place beside the sweep."""
    kept = logs / "ray"
    links.remove_tree(kept)
    for source in temporary.glob("r/session_*/logs/*"):
        if source.is_symlink() or not source.is_file() or not source.stat().st_size:
            continue
        if source.name.startswith(("worker-", "raylet.", "gcs_server.")):
            links.make_folder(kept)
            with contextlib.suppress(OSError):
                _copy_redacted(source, kept / source.name)


def _copy_redacted(source: Path, target: Path) -> None:
    """A log without credentials: workers print what libraries say, addresses included."""
    with (
        source.open(encoding="utf-8", errors="replace") as log,
        open(target, "w", encoding="utf-8", opener=links.open_file) as kept,
    ):
        kept.writelines(redacted_log(log))


class _LogFile(logging.FileHandler):
    """A log that is not written through a link."""

    def _open(self) -> Any:
        return open(self.baseFilename, self.mode, encoding=self.encoding, opener=links.open_file)


class _Redacted(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


@contextlib.contextmanager
def _quiet(path: Path) -> Iterator[None]:
    """Sends Ray's loggers, and what its daemons tell the driver, to a file instead of the terminal."""
    from ray._private import worker

    links.make_folder(path.parent)
    handler = _LogFile(path, mode="w", delay=True)
    handler.setFormatter(_Redacted(_FORMAT))
    before = []
    for name in ("ray", "ray.tune", "ray.train", "ray.data", "ray.rllib"):
        logger = logging.getLogger(name)
        before.append((logger, logger.handlers, logger.propagate))
        logger.handlers = [handler] if name == "ray" else []
        logger.propagate = name != "ray"
    printed = worker.print_to_stdstream  # no option of ray.init keeps "a worker died" off stdout
    worker.print_to_stdstream = lambda data, ignore_prefix: logging.getLogger("ray").warning(
        "%s: %s", data.get("pid"), "\n".join(data.get("lines", []))
    )
    try:
        yield
    finally:
        worker.print_to_stdstream = printed
        for logger, handlers, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate
        handler.close()
