"""Ray's own rules for a cluster file: its JSON schema, every mistake at once, and what it checks beyond."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
from pathlib import Path
from typing import Any

from procray.errors import did_you_mean
from procray.execution.cluster_files.findings import Findings, Tree


def ray_schema() -> dict[str, Any]:
    import ray.autoscaler

    found: dict[str, Any] = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    return found


def check_schema(data: dict[str, Any], tree: Tree, findings: Findings) -> bool:
    """Every violation of Ray's JSON schema, by its place. Returns whether there was none."""
    import jsonschema

    schema = ray_schema()
    before = len(findings.problems)
    for error in jsonschema.Draft7Validator(schema).iter_errors(data):
        path = list(error.absolute_path)
        here = ".".join(map(str, path))
        if error.validator == "additionalProperties":
            known = {*error.schema.get("properties", {})}
            if not path and tree.get("provider", "type") == "local":
                known.add("min_workers")  # which Ray takes out before it looks
            for name in sorted(set(map(str, error.instance)) - known):
                findings.add(tree.key(*path, name), _unknown(here, name, known))
        elif error.validator == "required":
            missing = [name for name in error.validator_value if name not in error.instance]
            for name in missing:
                if f"'{name}'" in error.message:
                    findings.add(tree.place(*path), f"{here or 'the file'}: '{name}' is missing")
        else:
            findings.add(tree.place(*path), f"{here}: {error.message}")
    known = set(schema["properties"]["provider"]["properties"])  # the schema lets anything pass here
    for name in data.get("provider") or {} if isinstance(data.get("provider"), dict) else {}:
        if name not in known and (near := did_you_mean(name, known)):
            findings.add(tree.key("provider", name), f"provider: unknown key '{name}'{near}")
    return len(findings.problems) == before


def _unknown(here: str, name: str, known: set[str]) -> str:
    return f"{here + '.' if here else ''}{name}: unknown key '{name}'{did_you_mean(name, known)}"


def check_by_ray(data: dict[str, Any], tree: Tree, findings: Findings) -> None:
    """What Ray itself says to the file, its defaults filled in; one message, without a place."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    logger = logging.getLogger("ray")
    level = logger.level
    said = io.StringIO()
    try:
        logger.setLevel(logging.CRITICAL)
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            validate_config(prepare_config(copy.deepcopy(data)))
    except SystemExit:  # what Ray calls an abort
        findings.add(tree.place("provider"), f"Ray refuses the file: {' '.join(said.getvalue().split())}")
    except Exception as error:  # Ray raises anything here
        text = " ".join(str(getattr(error, "message", error) or type(error).__name__).split())
        findings.add(tree.root.place, f"Ray refuses the file: {text}")
    finally:
        logger.setLevel(level)
