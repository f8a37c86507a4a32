"""The Tune trainable: one trial trains one segment and returns.

With one worker the actor trains in its own process and goes on to the next segment when it is done
(`reuse_actors`), so that a segment costs a fraction of a second above its training. With several it
drives a worker group.
"""

from __future__ import annotations

import json
from typing import Any

from ray import tune

from procray.execution.segment import die_with, run_segment, stop_flag


class SegmentTrial(tune.Trainable):
    """Its configuration is what `SegmentSearcher.suggest` returns."""

    def setup(self, config: dict[str, Any]) -> None:
        self._job: dict[str, Any] = json.loads(config["job"])
        die_with(self._job.get("driver"))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._job = json.loads(new_config["job"])
        return True

    def step(self) -> dict[str, Any]:
        job = self._job
        if job["executor"] == "train":
            from procray.execution.train import run_group

            outcome = run_group(job, self.trial_id)
        else:
            outcome = run_segment(job, stop_flag(job.get("control")))
        return {"outcome": json.dumps(outcome), "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """The store holds every state; Tune has nothing to keep."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """See save_checkpoint."""
