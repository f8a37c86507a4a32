"""Several workers for one segment: a `TorchTrainer` inside the trial forms the gloo or nccl group."""

from __future__ import annotations

import uuid
from typing import Any

import ray
import ray.train
from ray.train.torch import TorchConfig, TorchTrainer, get_device
from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError

from procray.execution.reaper import Report
from procray.execution.segment import describe, die_with, is_hopeless, record_failure, run_segment, stop_flag
from procray.sweep.store import Store


def run_group(job: dict[str, Any], trial: str) -> dict[str, Any]:
    """Trains one segment with `job["resources"]["workers"]` processes; the result is rank 0's.

    The trial itself asks for no processor: the group has a placement group of its own, and a trial
    that held a processor would starve the workers that it waits for.

    Raises:
        RuntimeError: a worker died or failed in a way that another try may cure.
    """
    resources = job["resources"]
    each = {"CPU": resources["cpu"]}
    if resources["gpu"]:
        each["GPU"] = resources["gpu"]
    register = ray.get_actor(job["register"]) if job.get("register") else None
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"job": job},
        torch_config=TorchConfig(backend="nccl" if resources["gpu"] else "gloo"),
        scaling_config=ray.train.ScalingConfig(
            num_workers=int(resources["workers"]), use_gpu=bool(resources["gpu"]), resources_per_worker=each
        ),
        run_config=ray.train.RunConfig(
            name=f"{job['phase']}-{job['until']}-{uuid.uuid4().hex[:8]}",
            storage_path=job["scratch"],
            # One place counts the tries: the agenda of the sweep.
            failure_config=ray.train.FailureConfig(max_failures=0, controller_failure_limit=3),
            callbacks=[Report(register, trial)] if register is not None else [],
        ),
    )
    try:
        result = trainer.fit()
    except WorkerGroupError as error:
        hopeless = [failure for _, failure in sorted(error.worker_failures.items()) if is_hopeless(_cause(failure))]
        if not hopeless:
            first = min(error.worker_failures.items(), default=(0, error))[1]
            raise RuntimeError(describe(_cause(first))) from None
        cause = _cause(hopeless[0])
        folder = Store(job["store"]).phase(job["phase"])
        if folder.status()["state"] != "failed":  # another rank than the one that writes found it
            record_failure(folder, cause)
        return {"state": "failed", "reason": describe(cause)}
    except TrainingFailedError as error:
        raise RuntimeError(describe(error)) from None
    return dict(result.return_value or {"state": "crashed", "reason": "the worker group ended without a result"})


def _worker(config: dict[str, Any]) -> dict[str, Any]:
    job = config["job"]
    die_with(job.get("driver"))
    context = ray.train.get_context()
    job = {**job, "device": str(get_device())}
    return run_segment(job, stop_flag(job.get("control")), context.get_world_rank(), context.get_world_size())


def _cause(failure: BaseException) -> BaseException:
    """What the worker raised, out of the wrappers of Ray."""
    while True:
        inner = getattr(failure, "cause", None) or failure.__cause__
        if not isinstance(inner, BaseException):
            return failure
        failure = inner
