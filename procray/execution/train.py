"""Several workers for one segment: a `TorchTrainer` inside the trial forms the gloo or nccl group."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from typing import Any

import ray
import ray.train
from ray.train.torch import TorchConfig, TorchTrainer, get_device
from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError

from procray.execution.disk import disk_full, full_text
from procray.execution.leaving import node_leaving
from procray.execution.memory import is_memory_kill
from procray.execution.reaper import Report
from procray.execution.segment import any_of, describe, die_with, is_hopeless, record_failure, run_segment
from procray.execution.word import told_to_stop
from procray.store.store import Store

# Until then Ray counts on a node that is gone; a group that can do with fewer workers need not wait for it any longer.
_NODE_DEAD_WITHIN = "15"
_NEVER = 1e9  # seconds


class _Trainer(TorchTrainer):
    """Without two actors of each group that nobody needs: a shop for Ray datasets, and a cleaner beside our reaper.

    Every one of them is a process of 120 MB, and starting it takes seconds of the group's own start.
    """

    def _create_default_callbacks(self) -> list[Any]:
        spared = (DatasetsCallback, PlacementGroupCleanerCallback)
        return [callback for callback in super()._create_default_callbacks() if not isinstance(callback, spared)]


def run_group(job: dict[str, Any], trial: str) -> dict[str, Any]:
    """Trains one segment with `job["resources"]["workers"]` processes; the result is rank 0's.

    Raises:
        RuntimeError: a worker died or failed in a way that another try may cure.
    """
    try:
        result = trainer(_worker, {"job": job}, job, trial).fit()
    except TrainingFailedError as error:
        return broken_group(job, error)
    return dict(result.return_value or {"state": "crashed", "reason": "the worker group ended without a result"})


def trainer(
    worker: Callable[[dict[str, Any]], Any], config: dict[str, Any], job: dict[str, Any], owner: str
) -> TorchTrainer:
    """The trainer of a group with the resources of `job`, each of whose processes runs `worker(config)`.

    The trial itself asks for no processor: the group has a placement group of its own, and a trial
    that held a processor would starve the workers that it waits for.

    Args:
        owner: under which the reaper finds the placement group.
    """
    resources = job["resources"]
    each = {"CPU": resources["cpu"]}
    if resources["gpu"]:
        each["GPU"] = resources["gpu"]
    most, least = int(resources["workers"]), int(resources.get("least", resources["workers"]))
    if least < most:
        os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", _NODE_DEAD_WITHIN)
    register = job.get("register")
    return _Trainer(
        worker,
        train_loop_config=config,
        torch_config=TorchConfig(backend="nccl" if resources["gpu"] else "gloo"),
        scaling_config=ray.train.ScalingConfig(
            num_workers=(least, most) if least < most else most,
            use_gpu=bool(resources["gpu"]),
            resources_per_worker=each,
            # To grow Ray would kill the workers. The next segment, or the next try, is as large as it can be.
            elastic_resize_monitor_interval_s=_NEVER,
        ),
        run_config=ray.train.RunConfig(
            name=f"{job['phase']}-{job['until']}-{uuid.uuid4().hex[:8]}",
            storage_path=job["scratch"],
            # One place counts the tries: the agenda of the sweep.
            failure_config=ray.train.FailureConfig(max_failures=0, controller_failure_limit=3),
            callbacks=[Report(register, owner, job.get("control"))] if register else [],
        ),
    )


def broken_group(job: dict[str, Any], error: BaseException) -> dict[str, Any]:
    """What the end of its group means for the segment that it trained.

    Raises:
        RuntimeError: another try may cure it.
    """
    failures = sorted(error.worker_failures.items()) if isinstance(error, WorkerGroupError) else []
    causes = [_cause(failure) for _, failure in failures]
    if any(disk_full(cause) for cause in causes):
        return {"state": "full", "reason": full_text(Store(job["store"]).path)}
    hopeless = [cause for cause in causes if is_hopeless(cause)]
    if not hopeless:
        raise RuntimeError(describe(_telling(causes) or error)) from None
    folder = Store(job["store"]).phase(job["phase"])
    if folder.status()["state"] != "failed":  # another rank than the one that writes found it
        record_failure(folder, hopeless[0])
    return {"state": "failed", "reason": describe(hopeless[0])}


def _worker(config: dict[str, Any]) -> dict[str, Any]:
    job = config["job"]
    die_with(job.get("driver"))
    context = ray.train.get_context()
    job = {**job, "device": str(get_device())}
    return run_segment(
        job,
        any_of(told_to_stop(job.get("control")), node_leaving()),
        context.get_world_rank(),
        context.get_world_size(),
    )


def _telling(causes: list[BaseException]) -> BaseException | None:
    """The first, unless the memory monitor of a node killed one: then the others only lost their connection to it."""
    killed = (cause for cause in causes if is_memory_kill(str(cause)))
    return next(killed, causes[0] if causes else None)


def _cause(failure: BaseException) -> BaseException:
    """What the worker raised, out of the wrappers of Ray."""
    while True:
        inner = getattr(failure, "cause", None) or failure.__cause__
        if not isinstance(inner, BaseException):
            return failure
        failure = inner
