"""The run of one phase, with its curve, its data and the checkpoints that went in and came out."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from procray.files import digest
from procray.selection.standing import Standing
from procray.tracking import facts, lineage, missing, views
from procray.tracking.runs import common_tags, latest, names_of, renamed, run_of, send, set_status
from procray.tracking.session import PHASE, ROLE, Known, Session

if TYPE_CHECKING:
    from procray.store.store import PhaseFolder


_SETTLED = {"waiting", "done", "failed", "skipped"}  # of a status that stays until somebody trains the phase


def write_phase(session: Session, standing: Standing, phase: str) -> bool:
    """Brings the run of a phase up to what its folder holds.

    Returns:
        Whether nothing is left to write for as long as the folder, and what the phase starts from, stay as they are.
    """
    plan, index, folder = session.plan, session.index, session.store.phase(phase)
    planned = plan.phases[phase]
    steps = [step for step in planned.marks if folder.exists_mark(step)]
    state, reason = session.states[phase] = standing.of(phase)
    settled = standing.status(phase)["state"] in _SETTLED
    found = session.results.get(phase, {})
    look = digest([session.plan_digest, _journal_sizes(folder), standing.status(phase), state, steps, found], 16)
    if session.seen.get(phase) == look:
        return settled
    rows = facts.wanted_rows(planned, folder.curve())
    if facts.whole(planned, rows):
        state = "done"
    elif state == "done":  # its mark shows sooner than its last evaluation
        state = "waiting"
    if phase not in session.runs and not rows and state not in ("running", "failed"):
        return settled  # nothing has happened yet

    ends = views.extent(rows) if facts.role(index, phase) == "compared" else None
    if ends:
        session.extents[phase] = ends
    names, before = facts.curve_names(index, phase), facts.tokens_before(plan, phase, session.consumed)
    begun = facts.milliseconds(rows[0]) if rows else int(time.time() * 1000)
    named = names_of(names)
    run = run_of(session, phase, planned.label, begun, **named)
    sources = _sources(session, phase)
    judged_on = _write_inputs(session, run, phase, folder, sources)
    kept = _write_marks(session, run, phase, folder, steps)

    again = renamed(session, run, names, named)
    groups = missing.curves(
        run, [(int(row["tokens"]), facts.points(names, row, before, kept.get(row["step"]))) for row in rows], again
    )
    with_loss = [row for row in rows if int(row["tokens"]) in again.get(names["loss"], run.steps)]
    numbers = facts.opening(index, phase, rows)
    if state == "done":
        numbers += facts.closing(index, phase, rows, found)
    groups += missing.news(session.measured, run, numbers, sources, partial(latest, session, run))
    groups += missing.late(session.measured, run, names["loss"], with_loss, kept)
    tags = _tags(session, phase, state, reason if state == "failed" else "")
    send(session, run, facts.parameters(index, phase, before), tags, groups, judged_on)
    send(session, run, {}, named, [])  # after the points: it says that all of them are there
    _write_transfer(session, run, folder, steps)
    set_status(session, run, facts.run_status(state), facts.milliseconds(rows[-1]) if rows else None)
    if len(sources) < len(planned.recipe.init.parents()):
        return False
    session.seen[phase] = look
    return settled


def _tags(session: Session, phase: str, state: str, reason: str) -> dict[str, str]:
    """What may change while the sweep runs or its file grows."""
    plan, index = session.plan, session.index
    tags = {
        **common_tags(session),
        PHASE: phase,
        "procray.kind": plan.phases[phase].kind,
        ROLE: facts.role(index, phase),
        "variant": plan.phases[phase].variant,
        "procray.state": state,
        "mlflow.runName": plan.phases[phase].label,
        "mlflow.note.content": lineage.note(
            index, phase, session.experiment, session.runs, session.models, reason, session.consumed
        ),
    }
    colour = facts.colour(index, phase)
    return {**tags, "mlflow.runColor": colour} if colour else tags


def _journal_sizes(folder: PhaseFolder) -> list[list[Any]]:
    """Changes whenever an evaluation is added."""
    return sorted([file.name, file.stat().st_size] for file in folder.journals())


def _sources(session: Session, phase: str) -> list[str]:
    """The models that a phase starts from, as far as MLflow has them by now."""
    plan, marks = session.plan, []
    for parent in plan.phases[phase].recipe.init.parents():
        marks.append(f"{parent.phase}/{parent.step}")
        folder = session.store.phase(parent.phase)
        if parent.phase in plan.outside and marks[-1] not in session.models and folder.exists_mark(0):
            outside = plan.outside[parent.phase]
            session.models[marks[-1]] = lineage.write_outside(session.client, session.experiment, outside, folder)
            session.new_models += 1
    return [session.models[mark].model_id for mark in marks if mark in session.models]


def _write_inputs(
    session: Session, run: Known, phase: str, folder: PhaseFolder, sources: list[str]
) -> tuple[str, str] | None:
    """The data and the checkpoints that went in. Gives name and digest of the held-out data, once they are known."""
    from mlflow.entities import LoggedModelInput

    # Before a corpus is prepared only the digest of its recipe is known: wait for the lasting one.
    task = "task" in session.plan.phases[phase].recipe.data
    data_digest = None if task else (folder.description() or {}).get("data_digest")
    inputs = lineage.datasets(session.plan, phase, data_digest) if task or data_digest else []
    names = [(item.dataset.name, item.dataset.digest) for item in inputs]
    new = [item for item, name in zip(inputs, names, strict=True) if name not in run.datasets]
    models = [model for model in sources if model not in run.sources]
    if new or models:
        session.client.log_inputs(run.id, datasets=new, models=[LoggedModelInput(model) for model in models])
        run.datasets.update(names)
        run.sources.update(models)
    return names[-1] if names else None


def _write_marks(session: Session, run: Known, phase: str, folder: PhaseFolder, steps: list[int]) -> dict[int, str]:
    """The checkpoints as models and as what the run gave out: `{step: model}`."""
    from mlflow.entities import LoggedModelOutput

    kept: dict[int, str] = {}
    for step in steps:
        session.check_time()
        key = f"{phase}/{step}"
        known = session.models.get(key)
        model = lineage.write_model(
            session.client, session.experiment, run.id, session.plan, phase, folder, step, known
        )
        session.models[key] = model
        session.new_models += known is None
        kept[step] = model.model_id
    new = [
        LoggedModelOutput(model, session.consumed(phase, step))
        for step, model in kept.items()
        if model not in run.results
    ]
    if new:
        session.client.log_outputs(run.id, new)
        run.results.update(output.model_id for output in new)
    return kept


def _write_transfer(session: Session, run: Known, folder: PhaseFolder, steps: list[int]) -> None:
    """What was copied and what drawn anew, as an artifact; a tag says that it is there."""
    if "procray.transfer" in run.tags:
        return
    file = lineage.transfer_manifest(folder, steps)
    if file is not None:
        session.client.log_artifact(run.id, str(file))
        session.client.set_tag(run.id, "procray.transfer", file.name)
        run.tags["procray.transfer"] = file.name
