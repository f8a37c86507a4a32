"""What a phase was made from and what came of it, as MLflow's datasets and models.

MLflow shows on a checkpoint's page the runs that logged a metric for it. So a phase that starts from a
checkpoint logs its opening and its closing numbers with that model's id, besides naming it as an input.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from procray import links
from procray.corpora import identity
from procray.files import digest
from procray.model.families import DEFAULT, family
from procray.planning.titles import task_among
from procray.selection.standing import consumed
from procray.tracking import facts
from procray.tracking.backend import redact

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, LoggedModel

    from procray.model.outside import Outside
    from procray.planning.plan import Plan, PlannedPhase
    from procray.store.phase import PhaseFolder
    from procray.tracking.index import Index

MARK = "procray.mark"  # tag of a model: <phase>/<step>
EXTERNAL = "mlflow.model.isExternal"
HUB = "https://huggingface.co/datasets/"
_READY = "READY"
_TRAINING = "?workflowType=machine_learning"  # without it a link shows MLflow's menus for language-model traces
_UNITS = ((10**9, "B"), (10**6, "M"), (10**3, "k"))


def model_name(planned: PlannedPhase, tokens: int) -> str:
    """The label and the tokens, without the characters that MLflow forbids in a model's name: no `1.5M` but `1500k`."""
    count = int(float(f"{tokens:.3g}"))
    size, unit = next((pair for pair in _UNITS if count % pair[0] == 0 and count), (1, ""))
    return re.sub(r"[/:.%\"']", "-", f"{planned.label} {count // size}{unit}")


def mark_tags(planned: PlannedPhase, folder: PhaseFolder, step: int) -> dict[str, str]:
    """Where a checkpoint stands and what it must contain."""
    weights = folder.manifest(step)["files"]["model.safetensors"]
    path = folder.where(step)
    tokens = consumed(planned, folder, step)
    return {
        "mlflow.note.content": f"{planned.label} after {facts.tokens_text(tokens)} tokens. "
        f"`model.safetensors` stands in `{path}`. The runs in the table below started from it, "
        "but for the one that made it.",
        MARK: f"{planned.id}/{step}",
        EXTERNAL: "true",
        "procray.phase": planned.id,
        "procray.step": str(step),
        "procray.tokens": str(tokens),
        "procray.path": path,
        "procray.sha256": weights["sha256"],
        "procray.bytes": str(weights["bytes"]),
    }


def write_model(
    client: MlflowClient,
    experiment: str,
    run: str,
    plan: Plan,
    phase: str,
    folder: PhaseFolder,
    step: int,
    known: LoggedModel | None,
) -> LoggedModel:
    """The model of a mark: made, or brought up to date when `known`. The weights stay in the store."""

    planned = plan.phases[phase]
    tags = mark_tags(planned, folder, step)
    model = known or client.create_logged_model(
        experiment,
        name=model_name(planned, int(tags["procray.tokens"])),
        source_run_id=run,
        model_type=family(planned.recipe.model.family).title,
        tags=tags,
        params={"data": facts.data_name(planned.recipe.data), "tokens": tags["procray.tokens"]},
    )
    changed = {name: value for name, value in tags.items() if model.tags.get(name) != value}
    if changed and known is not None:
        client.set_logged_model_tags(model.model_id, changed)
    if str(getattr(model.status, "value", model.status)) != _READY:
        place = folder.path / "marks" / str(step)
        for file in sorted(place / name for name in links.names_in(place) if name.endswith(".json")):  # not the weights
            links.refuse(file)
            client.log_model_artifact(model.model_id, str(file))
        model = client.finalize_logged_model(model.model_id, _READY)
    return model


def write_outside(client: MlflowClient, experiment: str, outside: Outside, folder: PhaseFolder) -> LoggedModel:
    """The model of a checkpoint from outside, which no run made; the weights stay in the store."""
    manifest = folder.manifest(0)
    origin, path = outside.origin, folder.where(0)
    where = f"hf:{origin['hf']}@{origin['revision']}" if "hf" in origin else str(origin["path"])
    known = str(manifest["outside"]["digest"])
    tags = {
        "mlflow.note.content": f"Checkpoint from outside the sweep: `{where}`, sha256 `{known}`. A copy stands in "
        f"`{path}`. The runs in the table below started from it.",
        MARK: f"{outside.id}/0",
        EXTERNAL: "true",
        "procray.phase": outside.id,
        "procray.path": path,
        "procray.sha256": known,
        "procray.bytes": str(manifest["files"]["model.safetensors"]["bytes"]),
    }
    name = re.sub(r"[/:.%\"']", "-", f"outside {outside.name}")
    model = client.create_logged_model(
        experiment,
        name=name,
        model_type=_title(manifest["outside"].get("config")),
        tags={key: redact(value) for key, value in tags.items()},
    )
    return client.finalize_logged_model(model.model_id, _READY)


def _title(config: dict[str, Any] | None) -> str:
    """The family of an outside checkpoint, for people."""
    return family((config or {}).get("family", DEFAULT)).title


def datasets(plan: Plan, phase: str, data_digest: str | None) -> list[DatasetInput]:
    """The data that a phase trains and is evaluated on, with digests.

    Args:
        data_digest: of the prepared shards, once they exist; else the digest of the recipe is shown.
    """
    recipe = plan.phases[phase].recipe
    data = json.dumps(recipe.data)
    drawn = (recipe.seed, recipe.role) if "task" in recipe.data else (0, None)
    found = [_dataset(data, "train", *drawn, data_digest), _dataset(data, "validation", 0, None, data_digest)]
    if (among := task_among(recipe)) is not None:
        assert recipe.interleaving is not None
        found.insert(1, _dataset(json.dumps(among), "train", recipe.seed, recipe.interleaving.role, None))
    return found


@lru_cache(maxsize=1024)  # phases share their data
def _dataset(text: str, split: str, seed: int, role: str | None, data_digest: str | None) -> DatasetInput:
    """One split of the data that a recipe names, as JSON."""
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.http_dataset_source import HTTPDatasetSource
    from mlflow.entities import Dataset, DatasetInput, InputTag

    data, shown = json.loads(text), json.loads(redact(text))
    if "task" in data:
        about = {**shown, "seed": seed, "stream": split, **({"role": role} if role else {})}
        print_of_data = digest(about, 16)
    else:
        about = {**shown, "split": split}
        print_of_data = digest([data_digest or digest(identity(data), 16), split], 16)
    hub = _hub_name(data)
    source: Any = HTTPDatasetSource(url=HUB + hub) if hub else CodeDatasetSource(tags=_texts(about))
    dataset = Dataset(
        name=f"{facts.data_name(data)} {split}",
        digest=print_of_data,
        source_type=source._get_source_type(),
        source=source.to_json(),
        profile=json.dumps(about, sort_keys=True)[:16_000],
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", split)])


def _hub_name(data: dict[str, Any]) -> str | None:
    corpus = data.get("corpus", {})
    return corpus["name"] if corpus.get("source") == "hf" else None


def _texts(value: dict[str, Any]) -> dict[str, str]:
    return {name: part if isinstance(part, str) else json.dumps(part, sort_keys=True) for name, part in value.items()}


def transfer_manifest(folder: PhaseFolder, steps: list[int]) -> Path | None:
    """The file that says what the phase copied from where and what it drew anew; it stands with every mark."""
    found = (f"{folder.path}/marks/{step}/transfer.json" for step in steps)
    return next((Path(file) for file in found if os.path.isfile(file)), None)


def note(
    index: Index,
    phase: str,
    experiment: str,
    runs: Mapping[str, str],
    models: Mapping[str, LoggedModel],
    reason: str,
    consumed: facts.Consumed,
) -> str:
    """What stands first on a run's page, in Markdown: where its weights come from, with links."""
    plan, planned = index.plan, index.phases[phase]
    parts = []
    if reason:
        parts.append(f"**{reason}**")
    init = planned.recipe.init
    carried = init.carried()
    for parent, components in carried.items():
        name, step = parent.phase, parent.step
        if name in plan.outside:
            words = f"the outside checkpoint {plan.outside[name].name}"
        else:
            words = f"{plan.phases[name].label} after {facts.tokens_text(consumed(name, step))} tokens"
        if f"{name}/{step}" in models:
            words = f"[{words}](#/experiments/{experiment}/models/{models[f'{name}/{step}'].model_id}{_TRAINING})"
        if name in runs:
            words += f" ([run](#/experiments/{experiment}/runs/{runs[name]}))"
        parts.append(f"**{' + '.join(components)}** from {words}.")
    if init.perturb is not None:
        about = f", {' + '.join(init.perturb.components)} only" if init.perturb.components else ""
        parts.append(f"Done to what was carried: {init.perturb.words}{about}.")
    if init.freeze:
        parts.append(f"Frozen: {' + '.join(init.freeze)}.")
    if planned.recipe.paced_by:
        other = planned.recipe.paced_by
        words = plan.phases[other].label
        words = f"{words} ([run](#/experiments/{experiment}/runs/{runs[other]}))" if other in runs else words
        said = f"Its sequences have, step by step, the lengths that those of {words} had"
        parts.append(f"{said}, and it ends where that one does.")
    keys = f"seed {planned.recipe.seed}" + (f" as {planned.recipe.role}" if planned.recipe.role else "")
    parts.append(f"All {'other ' if carried else ''}weights are drawn from {keys}.")
    if users := index.users.get(phase):
        more = f" and {len(users) - 8} more" if len(users) > 8 else ""
        parts.append(f"Feeds: {', '.join(users[:8])}{more}.")
    parts.append(f"Phase `{phase}` in the store.")
    text = "\n\n".join(parts)
    return text if index.plain and not reason else redact(text)
