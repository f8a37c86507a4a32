"""What does it cost to keep MLflow up to date?

The processor time of one process that brings MLflow up to what a store holds: the first sync of a sweep whose phases
are all trained, and a look at it when nothing has happened since. MLflow is played by a client in this process that
answers at once and keeps what later answers need, so that what is measured is ours.

    python benchmarks/tracking.py                           prints both
    python benchmarks/tracking.py --against CHECKOUT        and those of another version, side by side

Phases are those of `tests/tracking/synthetic.py`, whose curves are formulas; each version writes a store of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

FOLDER = Path(__file__).parent
PER_SEED = 9  # phases of that sweep, for one seed
PHASES = (800, 4_000, 12_000)  # about
IDLE = 5  # looks of which the median counts
SETTLED = 3.0  # seconds
SHARED = Path("/dev/shm")  # in memory: the disk is not what is measured


class Answers(list):  # type: ignore[type-arg]
    """A page of a search, the last one."""

    token = None


class Client:
    """An MLflow that forgets nothing that is asked for later."""

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}
        self.experiment: Any = None
        self.runs: dict[str, Any] = {}
        self.steps: dict[tuple[str, str], list[Any]] = {}
        self.models: dict[str, Any] = {}

    def get_experiment_by_name(self, name: str) -> Any:
        return self.experiment if self.experiment is not None and self.experiment.name == name else None

    def get_experiment(self, number: str) -> Any:
        return self.experiment

    def create_experiment(self, name: str, artifact_location: str | None = None, tags: Any = None) -> str:
        self.experiment = SimpleNamespace(
            name=name, experiment_id="1", lifecycle_stage="active", tags=dict(tags or {}), artifact_location=""
        )
        return "1"

    def search_runs(self, experiments: list[str], **_: Any) -> Answers:
        return Answers(self.runs.values())

    def search_logged_models(self, experiments: list[str], **_: Any) -> Answers:
        return Answers(self.models.values())

    def create_run(self, experiment: str, start_time: int, run_name: str, tags: dict[str, str]) -> Any:
        self._count("create_run")
        info = SimpleNamespace(
            run_id=f"{len(self.runs):032x}", status="RUNNING", run_name=run_name, start_time=start_time, end_time=None,
            lifecycle_stage="active", experiment_id=experiment,
        )  # fmt: skip
        data = SimpleNamespace(tags=dict(tags), params={}, metrics={})
        self.runs[info.run_id] = SimpleNamespace(info=info, data=data, inputs=None, outputs=None)
        return self.runs[info.run_id]

    def get_run(self, run: str) -> Any:
        return self.runs[run]

    def get_metric_history(self, run: str, name: str) -> list[Any]:
        return self.steps.get((run, name), [])

    def log_batch(self, run: str, metrics: list[Any], params: list[Any], tags: list[Any]) -> None:
        self._count("log_batch")
        data = self.runs[run].data
        data.metrics.update({metric.key: metric.value for metric in metrics})
        data.params.update({param.key: param.value for param in params})
        data.tags.update({tag.key: tag.value for tag in tags})
        for metric in metrics:
            self.steps.setdefault((run, metric.key), []).append(metric)

    def create_logged_model(self, experiment: str, **about: Any) -> Any:
        self._count("create_logged_model")
        number = f"m-{len(self.models):032x}"
        self.models[number] = SimpleNamespace(
            model_id=number, tags=about["tags"], metrics=[], status="PENDING", source_run_id=about.get("source_run_id")
        )
        return self.models[number]

    def finalize_logged_model(self, model: str, status: str) -> Any:
        self.models[model].status = status
        return self.models[model]

    def set_terminated(self, run: str, status: str, end_time: int | None = None) -> None:
        self._count("set_terminated")
        self.runs[run].info.status, self.runs[run].info.end_time = status, end_time

    def set_experiment_tag(self, experiment: str, name: str, value: str) -> None:
        self._count("set_experiment_tag")
        self.experiment.tags[name] = value

    def _count(self, name: str) -> None:
        self.calls[name] = self.calls.get(name, 0) + 1

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        def called(*_: Any, **__: Any) -> None:
            self._count(name)

        return called


def measure(folder: Path, phases: int) -> dict[str, Any]:
    """Seconds of processor time of the first sync of about so many phases, and of a look at them afterwards."""
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    import mlflow.entities
    from mlflow import MlflowClient  # imported before the clock starts

    from procray.tracking import backend

    try:
        from procray.store.store import Store
        from procray.tracking.connect import open_session
        from procray.tracking.sync import write
    except ImportError:  # an earlier version
        from procray.sweep.store import Store  # type: ignore[import-not-found, no-redef]

        from procray.tracking.sync import open_session, write  # type: ignore[no-redef, attr-defined]
    from tests.tracking import synthetic

    store, plan = Store(folder), synthetic.build(seeds=tuple(range(round(phases / PER_SEED))))
    synthetic.finish_all(store, plan)
    client = Client()
    backend.connect = lambda uri: client  # type: ignore[assignment, return-value]
    start = time.process_time()
    session = open_session(plan, store, "http://nowhere")
    result = write(session)
    first = time.process_time() - start
    assert result.complete, result.problem
    for _ in range(2):  # a look soon after a change is not believed to be the last word
        time.sleep(SETTLED)
        write(session)
    idle, before = [], dict(client.calls)
    for _ in range(IDLE):
        start = time.process_time()
        write(session)
        idle.append(time.process_time() - start)
    assert client.calls == before, "a look at what had not changed has written something"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "phases": len(plan.phases), "first": first, "idle": statistics.median(idle), "points": result.points,
        "requests": sum(before.values()), "peak": peak, "mlflow": f"{MlflowClient.__module__} {mlflow.__version__}",
    }  # fmt: skip


def measured(checkout: Path, phases: int) -> dict[str, Any]:
    """`measure` in a fresh process with the code of a checkout."""
    with tempfile.TemporaryDirectory(dir=SHARED if SHARED.is_dir() else None) as folder:
        start = (
            "import importlib.util, json, pathlib, sys\n"
            "about = importlib.util.spec_from_file_location('measuring', sys.argv[1])\n"
            "measuring = importlib.util.module_from_spec(about)\n"
            "about.loader.exec_module(measuring)\n"
            "print(json.dumps(measuring.measure(pathlib.Path(sys.argv[2]) / 'store', int(sys.argv[3]))))"
        )
        words = [sys.executable, "-c", start, str(Path(__file__).resolve()), folder, str(phases)]
        environment = {**os.environ, "PYTHONPATH": str(checkout)}
        done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, env=environment, cwd=folder)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def show(name: str, found: dict[str, Any]) -> None:
    print(
        f"{name:6} {found['phases']:7,} phases: first sync {found['first']:8.2f} s, idle look "
        f"{1e3 * found['idle']:8.1f} ms  ({found['requests']:,} requests, {found['points']:,} points, "
        f"{found['peak']:.2f} GB)",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phases", type=int, nargs="+", default=PHASES, help="of each sweep, about")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="compare with this one, in turns")
    given = parser.parse_args()
    for phases in given.phases:
        there = measured(given.against.resolve(), phases) if given.against else None
        if there is not None:
            show("there", there)
        here = measured(FOLDER.parent, phases)
        show("here", here)
        if there is not None:
            ratios = [there[part] / here[part] for part in ("first", "idle")]
            print(f"       here takes 1/{ratios[0]:.1f} for the first sync and 1/{ratios[1]:.1f} for an idle look")


if __name__ == "__main__":
    main()
