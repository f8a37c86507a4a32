"""Several workers for many short segments: one long-lived `TorchTrainer` that is fed with them.

Forming a group costs 10 to 20 seconds, a segment may train for one. So the group is formed once for each slot of
Tune, and its workers take one segment after the other out of a mailbox. What belongs to a segment ends with it: every
rank builds its model anew, and what goes wrong beyond a failure that all ranks share ends the group.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from typing import Any

import ray
import ray.train
from ray.train.torch import get_device

from procray.execution.leaving import node_leaving
from procray.execution.reaper import beside_me, reap
from procray.execution.segment import any_of, describe, die_with, is_hopeless, run_segment
from procray.execution.train import broken_group, trainer
from procray.execution.word import told_to_stop

_SHAPE = ("workers", "cpu", "gpu")
_LOOK_EVERY = 0.2  # seconds between two looks at whether the group still lives
_END_WITHIN = 15.0


class Mailbox:
    """An actor between a trial and the workers of its group: segments go one way, outcomes the other.

    Its methods wait for each other, so all of them are coroutines.
    """

    # Ranks end a segment, or find the same error, within a moment of each other: the last thing they do is a
    # collective operation. Whoever is later than this waits for a rank that will not come.
    patience = 5.0

    def __init__(self, workers: int, driver: dict[str, Any] | None):
        die_with(driver)
        self._workers = workers
        self._number = -1
        self._job: dict[str, Any] | None = None
        self._outcomes: dict[int, dict[str, Any]] = {}
        self._changed = asyncio.Condition()

    async def give(self, job: dict[str, Any] | None) -> None:
        """The next segment; None ends the group."""
        async with self._changed:
            self._number, self._job, self._outcomes = self._number + 1, job, {}
            self._changed.notify_all()

    async def job(self, number: int) -> dict[str, Any] | None:
        """The segment with this number, as soon as it is there."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._number >= number)
            return self._job

    async def put(self, rank: int, outcome: dict[str, Any]) -> None:
        """What became of the segment, as a rank sees it."""
        async with self._changed:
            self._outcomes[rank] = outcome
            self._changed.notify_all()

    async def all_ended(self, number: int) -> bool:
        """Whether every rank is through with the segment, or is so in a moment."""

        def ended() -> bool:
            return self._number > number or len(self._outcomes) == self._workers

        async with self._changed:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait_for(ended), self.patience)
            return ended()

    async def outcome(self) -> tuple[dict[str, Any], bool]:
        """What rank 0 says of the segment, and whether the group may go on."""
        async with self._changed:
            await self._changed.wait_for(lambda: 0 in self._outcomes)
            outcome = self._outcomes[0]
        return outcome, await self.all_ended(self._number)


class WarmGroup:
    """A group of workers that lives on between segments. Belongs to one trial at a time."""

    def __init__(self, job: dict[str, Any], owner: str):
        """Begins to form a group with the resources of `job`; `owner` as in `train.trainer`."""
        self._shape = _shape(job)
        self._owner = owner
        self._register = job.get("register")
        mailbox = ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=beside_me())
        self._mailbox = mailbox.remote(self._shape[0], job.get("driver"))
        self._error: BaseException | None = None
        config = {"mailbox": self._mailbox, "driver": job.get("driver")}
        fit = trainer(_worker, config, job, owner).fit
        self._thread = threading.Thread(target=self._run, args=(fit,), name="worker-group", daemon=True)
        self._thread.start()

    def suits(self, job: dict[str, Any]) -> bool:
        """Whether it lives and has the resources that the segment asks for."""
        return self._thread.is_alive() and self._shape == _shape(job)

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        """Trains one segment; the result is rank 0's. Check `suits` before the next one.

        Raises:
            RuntimeError: a worker died or failed in a way that another try may cure.
        """
        ray.get(self._mailbox.give.remote(job))
        answer = self._mailbox.outcome.remote()
        while not ray.wait([answer], timeout=_LOOK_EVERY)[0]:
            if not self._thread.is_alive() and not ray.wait([answer], timeout=0)[0]:
                return broken_group(job, self._error or RuntimeError("the worker group ended without a result"))
        outcome, whole = ray.get(answer)
        if not whole:
            self.kill()
        return dict(outcome)

    def end(self) -> None:
        """Lets the workers return, and frees what they held."""
        with contextlib.suppress(ray.exceptions.RayError):
            ray.get(self._mailbox.give.remote(None))
        self._thread.join(_END_WITHIN)
        self.kill()

    def kill(self) -> None:
        """Ends the group whatever its workers do: without their mailbox they fail, and Train ends the others."""
        ray.kill(self._mailbox)
        self._thread.join(_END_WITHIN)
        if self._register is not None:
            with contextlib.suppress(ValueError, ray.exceptions.RayError):  # the sweep itself is over
                reap(ray.get_actor(self._register), self._owner)

    def _run(self, fit: Any) -> None:
        try:
            fit()
        except BaseException as error:
            self._error = error


def _shape(job: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(job["resources"][name] for name in _SHAPE)


def _worker(config: dict[str, Any]) -> None:
    """What every rank does until the mailbox says that it is over."""
    die_with(config["driver"])
    context, mailbox = ray.train.get_context(), config["mailbox"]
    rank, world_size, device = context.get_world_rank(), context.get_world_size(), get_device()
    number = 0
    while (job := ray.get(mailbox.job.remote(number))) is not None:
        try:
            job = {**job, "device": str(device)}
            outcome = run_segment(job, any_of(told_to_stop(job.get("control")), node_leaving()), rank, world_size)
            ray.get(mailbox.put.remote(rank, outcome))
        except Exception as error:
            # All ranks find a NaN at the same step: then none of them waits for another, and the group is sound.
            if not is_hopeless(error):
                raise
            ray.get(mailbox.put.remote(rank, {"state": "failed", "reason": describe(error)}))
            if not ray.get(mailbox.all_ended.remote(number)):
                raise
        _forget(device)
        if number == 0:
            gc.freeze()  # what stays are modules; to look through them after every segment takes 0.2 s
        number += 1


def _forget(device: Any) -> None:
    """Gives back what a segment leaves behind; settings of the process are set anew by every segment."""
    gc.collect()
    if device.type == "cuda":
        import torch

        torch.cuda.empty_cache()
