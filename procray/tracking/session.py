"""A connection to MLflow with what has been learnt and written over it."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from procray.selection.standing import consumed
from procray.tracking import backend, views
from procray.tracking.glance import Rest
from procray.tracking.index import Index

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
    repaired: str = ""  # what stood there that should not, and what was done about it

    def __str__(self) -> str:
        return self.message

    @property
    def message(self) -> str:
        """One line for the user."""
        more = f"; {self.repaired}" if self.repaired else ""
        if self.problem:
            return f"MLflow at {self.uri} is not complete: {self.problem}{more}. {LATER}"
        new = f"{self.points} points, {self.runs} runs, {self.models} models new"
        return f"MLflow at {self.uri} is up to date ({new}{more})"


class OutOfTime(Exception):
    """The time given to a sync is over; what is left stands in the journals."""


@dataclass
class Known:
    """What MLflow holds of one run."""

    id: str
    status: str = "RUNNING"
    name: str = ""
    end: int | None = None  # milliseconds since 1970
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
    owner: str  # the store's id
    runs: dict[str, str] = field(default_factory=dict)  # phase (or SWEEP) -> run
    former: list[str] = field(default_factory=list)  # runs that the sweep's file no longer asks for
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
    repaired: list[str] = field(default_factory=list)
    index: Index = field(init=False)
    rest: Rest = field(default_factory=Rest)
    states: dict[str, tuple[str, str]] = field(default_factory=dict)  # of every phase, as `Standing` gives them
    reported: tuple[Any, ...] = ()  # the date of what the report found
    stale: bool = False  # whether MLflow may hold something else than is remembered
    places: dict[str, str] = field(default_factory=dict)  # the folders of phases
    page: Any = None  # what the experiment's text and views were last made from
    extents: dict[str, views.Extent] = field(default_factory=dict)
    end: float | None = None  # time.monotonic() at which to stop
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        self.index = Index(self.plan)

    @property
    def folder(self) -> Path:
        """Of the sweep: what belongs to its experiment, whatever plan stands behind it."""
        return self.store.title_folder(self.plan.title)

    @property
    def plan_folder(self) -> Path:
        return self.store.plan_folder(self.plan.title, self.plan.digest)

    def place(self, phase: str) -> str:
        """The folder of a phase, on this machine."""
        if phase not in self.places:
            self.places[phase] = str(self.store.phase(phase).path)
        return self.places[phase]

    def consumed(self, phase: str, step: int) -> int:
        """Tokens that a phase consumed up to a step."""
        return consumed(self.plan.phases[phase], self.store.phase(phase), step)

    def check_time(self) -> None:
        if self.end is not None and time.monotonic() > self.end:
            raise OutOfTime

    def result(self, problem: str = "") -> SyncResult:
        problem = problem or "; ".join(f"{name}: {reason}" for name, reason in self.refused.items())
        uri = backend.redact(self.uri)
        new = self.new_runs, self.new_points, self.new_models
        return SyncResult(uri, self.experiment, *new, not problem, problem, "; ".join(self.repaired))
