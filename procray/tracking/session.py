"""A connection to MLflow with what has been learnt and written over it."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from procray.tracking import backend, views

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

    from procray.planning.plan import Plan
    from procray.store.store import Store

PHASE = "procray.phase"  # tag of a run: the phase's id, or SWEEP
SWEEP = "sweep"
ROLE = "procray.role"
LATER = "Training and results are not affected; run `procray sync FILE` later."


@dataclass(frozen=True)
class SyncResult:
    """What one `sync` did. `complete` is false when time ran out or MLflow refused something."""

    uri: str  # without credentials
    experiment: str  # MLflow's id of it
    runs: int = 0  # new ones
    points: int = 0
    models: int = 0
    complete: bool = True
    problem: str = ""

    def __str__(self) -> str:
        return self.message

    @property
    def message(self) -> str:
        """One line for the user."""
        if self.problem:
            return f"MLflow at {self.uri} is not complete: {self.problem}. {LATER}"
        return f"MLflow at {self.uri} is up to date ({self.points} points, {self.runs} runs, {self.models} models new)"


class OutOfTime(Exception):
    """The time given to a sync is over; what is left stands in the journals."""


@dataclass
class Known:
    """What MLflow holds of one run."""

    id: str
    status: str = "RUNNING"
    name: str = ""
    steps: set[int] = field(default_factory=set)  # rows, by their tokens
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    datasets: set[tuple[str, str]] = field(default_factory=set)
    sources: set[str] = field(default_factory=set)  # models that went in
    results: set[str] = field(default_factory=set)  # models that came out


@dataclass
class Session:
    """A connection with what has been learnt over it. Dropped after any error and opened afresh."""

    plan: Plan
    store: Store
    uri: str
    client: MlflowClient
    experiment: str
    plan_digest: str
    runs: dict[str, str] = field(default_factory=dict)  # phase (or SWEEP) -> run
    former: dict[str, str] = field(default_factory=dict)  # runs of phases that the sweep's file no longer asks for
    models: dict[str, LoggedModel] = field(default_factory=dict)  # "<phase>/<step>" -> model
    measured: set[tuple[str, str, str, float]] = field(
        default_factory=set
    )  # (model, run, metric, value) that a model's page shows
    known: dict[str, Known] = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict)  # phase -> digest of what was wholly written
    files: dict[str, str] = field(default_factory=dict)  # artifacts of the sweep's run -> digest
    saved: dict[str, Any] = field(default_factory=dict)
    results: dict[str, dict[str, float]] = field(default_factory=dict)  # what the report found, by phase
    new_runs: int = 0
    new_points: int = 0
    new_models: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    extents: dict[str, views.Extent] = field(default_factory=dict)
    end: float | None = None  # time.monotonic() at which to stop
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def folder(self) -> Path:
        """Of the sweep: what belongs to its experiment, whatever plan stands behind it."""
        return self.store.title_folder(self.plan.title)

    @property
    def plan_folder(self) -> Path:
        return self.store.plan_folder(self.plan.title, self.plan.digest)

    def check_time(self) -> None:
        if self.end is not None and time.monotonic() > self.end:
            raise OutOfTime

    def result(self, problem: str = "") -> SyncResult:
        problem = problem or "; ".join(f"{name}: {reason}" for name, reason in self.refused.items())
        uri = backend.redact(self.uri)
        return SyncResult(uri, self.experiment, self.new_runs, self.new_points, self.new_models, not problem, problem)
