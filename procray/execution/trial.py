"""The Tune trainable: one trial trains one segment and returns.

With one worker the actor trains in its own process and goes on to the next segment when it is done
(`reuse_actors`), so that a segment costs a fraction of a second above its training. With several it
drives a worker group, its own for each long segment (`train`) or one for many short ones (`train-warm`).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import ray
from ray import tune

from procray.execution.leaving import NodeLeaving, leaving_now, node_leaving
from procray.execution.segment import any_of, die_with, run_segment
from procray.execution.word import told_to_stop

if TYPE_CHECKING:
    from procray.execution.warm import WarmGroup


class SegmentTrial(tune.Trainable):
    """Its configuration is what `SegmentSearcher.suggest` returns."""

    def setup(self, config: dict[str, Any]) -> None:
        self._job: dict[str, Any] = json.loads(config["job"])
        self._group: WarmGroup | None = None
        die_with(self._job.get("driver"))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._job = json.loads(new_config["job"])
        return True

    def step(self) -> dict[str, Any]:
        """Raises NodeLeaving when the segment saved because a node goes away, its own or one of its group's."""
        job = self._job
        stop = told_to_stop(job.get("control"))
        if leaving_now():  # Tune keeps idle processes
            raise NodeLeaving("its node is going away; nothing was started")
        if job["executor"] == "train-warm":
            outcome = self._warm(job).run(job)
        elif job["executor"] == "train":
            from procray.execution.train import run_group

            self.cleanup()  # an idle group would hold what this one waits for
            outcome = run_group(job, self.trial_id)
        else:
            outcome = run_segment(job, any_of(stop, node_leaving()))
        if outcome["state"] == "paused" and not stop():
            raise NodeLeaving(f"a node is going away; saved at step {outcome['step']}")
        return {"outcome": json.dumps(outcome), "done": True}

    def cleanup(self) -> None:
        if self._group is not None:
            self._group.end()
            self._group = None

    def _warm(self, job: dict[str, Any]) -> WarmGroup:
        """The group of this actor, formed anew where it died or has other resources."""
        from procray.execution.warm import WarmGroup

        if self._group is not None and not self._group.suits(job):
            self.cleanup()
        if self._group is None:
            self._group = WarmGroup(job, ray.get_runtime_context().get_actor_id())
        return self._group

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """The store holds every state; Tune has nothing to keep."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """See save_checkpoint."""
