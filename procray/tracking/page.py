"""`python -P -m procray.tracking.page`: MLflow's server behind a door, started by `procray ui`, of no use by hand.

It is what `mlflow server` starts, in one process, with three differences: the door (`gate.py`), no artifacts but those
of its store, and a socket that was opened by whoever started it, so that nobody else can take the port meanwhile.
What it is to do comes over its standard input: neither the secret nor a password of the database is in a command line
or in an environment.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

from procray.tracking.gate import door
from procray.tracking.locations import TRACE_PLACES, inside, served


def main() -> None:
    orders = json.loads(sys.stdin.readline())
    import uvicorn

    app = application(orders["database"], orders["artifacts"], orders["roots"])
    own = socket.socket(fileno=int(orders["socket"]))
    # No log of requests: the link with the secret would be in it.
    config = uvicorn.Config(
        door(app, orders["secret"], cookie(own.getsockname()[1])), access_log=False, log_level="info", ws="none"
    )
    uvicorn.Server(config).run(sockets=[own])


def cookie(port: int) -> str:
    return f"procray-{port}"


def application(database: str, artifacts: str, roots: list[str]) -> Any:
    """MLflow's own application, which opens no place outside of `roots`.

    Args:
        database: the address of MLflow's data.
        artifacts: the URI below which new experiments keep their files.
        roots: URIs.
    """
    from mlflow.server import constants, handlers

    os.environ.update(
        {
            constants.BACKEND_STORE_URI_ENV_VAR: database,
            constants.REGISTRY_STORE_URI_ENV_VAR: database,
            constants.ARTIFACT_ROOT_ENV_VAR: artifacts,
            constants.ARTIFACTS_DESTINATION_ENV_VAR: artifacts,
            constants.SERVE_ARTIFACTS_ENV_VAR: "true",
            "_MLFLOW_SGI_NAME": "uvicorn",
            "_MLFLOW_IN_JOB_EXECUTOR": "false",
        }
    )
    handlers.initialize_backend_stores(database, database, artifacts)
    from mlflow.server.fastapi_app import app

    keep_within(roots)
    return app


def keep_within(roots: list[str]) -> None:
    """Has MLflow in this process refuse every place outside of `roots`: when it is to be kept, and when it is used."""
    from mlflow.server import handlers
    from mlflow.store.artifact import artifact_repository_registry

    # Every way to a file leads through one of these, whatever a database, a tag or a request says.
    known = artifact_repository_registry.get_registered_artifact_repositories()
    for scheme, make in list(known.items()):
        known[scheme] = _looked_at(make, roots)
    tracking, registry = handlers._get_tracking_store(), handlers._get_model_registry_store()

    def experiment(name: str, artifact_location: str | None = None, *rest: Any, **more: Any) -> list[str | None]:
        return [artifact_location]

    def version(name: str, source: str, *rest: Any, **more: Any) -> list[str | None]:
        return [] if source in handlers._PROMPT_SOURCE_PLACEHOLDERS else [source]

    def trace(trace_info: Any) -> list[str | None]:
        return [trace_info.tags.get(key) for key in TRACE_PLACES]

    def older_trace(
        experiment_id: str, timestamp_ms: int, request_metadata: dict[str, str], tags: dict[str, str]
    ) -> list[str | None]:
        return [tags.get(key) for key in TRACE_PLACES]

    def trace_tag(trace_id: str, key: str, value: str) -> list[str | None]:
        return [value] if key in TRACE_PLACES else []

    for store, method, places in (
        (tracking, "create_experiment", experiment),
        (tracking, "start_trace", trace),
        (tracking, "deprecated_start_trace_v2", older_trace),
        (tracking, "set_trace_tag", trace_tag),
        (registry, "create_model_version", version),
    ):
        setattr(store, method, _checked(getattr(store, method), places, roots))


def _looked_at(make: Callable[..., Any], roots: list[str]) -> Callable[..., Any]:
    def repository(artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> Any:
        _require(artifact_uri, roots)
        return make(artifact_uri, tracking_uri=tracking_uri, registry_uri=registry_uri)

    return repository


def _checked(
    method: Callable[..., Any], places: Callable[..., list[str | None]], roots: list[str]
) -> Callable[..., Any]:
    def checked(*words: Any, **more: Any) -> Any:
        for place in places(*words, **more):
            if place:
                _require(place, roots)
        return method(*words, **more)

    return checked


def _require(location: str, roots: list[str]) -> None:
    """Raises MLflow's own error, which becomes an answer 403, for a place outside of `roots`."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import PERMISSION_DENIED

    if served(location) or inside(location, roots):
        return
    raise MlflowException(
        f"'{location}' lies outside of this store's artifacts, which are all that this server opens",
        error_code=PERMISSION_DENIED,
    )


if __name__ == "__main__":
    main()
