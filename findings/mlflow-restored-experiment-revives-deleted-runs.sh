#!/bin/sh
# mlflow 3.17.2: restoring a deleted experiment brings back runs that had been deleted before it.
#
# Deleting an experiment marks all of its runs as deleted, and restoring it marks all of them as active: which ones a
# person had deleted by hand before is not kept. A run that was thrown out because it was wrong is again in every mean
# that the page shows, without a word.
#
# Seen (2026-11-27, Python 3.11, SQLite backend):
#   before: ['right'] active, ['wrong'] deleted
#   after delete_experiment and restore_experiment: ['right', 'wrong'] active
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'mlflow==3.17.2'
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import logging

from mlflow import MlflowClient
from mlflow.entities import ViewType

logging.disable(logging.INFO)
client = MlflowClient(tracking_uri="sqlite:///mlflow.db")
experiment = client.create_experiment("losses")


def names(view: int) -> list[str]:
    return sorted(run.info.run_name for run in client.search_runs([experiment], run_view_type=view))


runs = {name: client.create_run(experiment, run_name=name).info.run_id for name in ("right", "wrong")}
for run in runs.values():
    client.set_terminated(run)
client.delete_run(runs["wrong"])
active, deleted = names(ViewType.ACTIVE_ONLY), names(ViewType.DELETED_ONLY)
print(f"before: {active} active, {deleted} deleted")
assert (active, deleted) == (["right"], ["wrong"])
client.delete_experiment(experiment)
client.restore_experiment(experiment)
active = names(ViewType.ACTIVE_ONLY)
print(f"after delete_experiment and restore_experiment: {active} active")
assert active == ["right", "wrong"], "the behaviour has changed"
PY
