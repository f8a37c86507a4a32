"""The run of the sweep with its file, plan and report, and the text and saved views of the experiment's page."""

from __future__ import annotations

import time
from pathlib import Path

from procray.files import digest
from procray.store.plans import PLAN
from procray.tracking import facts, overview
from procray.tracking.runs import common_tags, run_of, send, set_status
from procray.tracking.session import PHASE, ROLE, SWEEP, Session


def write_sweep(session: Session, wrote: bool) -> None:
    """The run of the sweep with its file, plan and report, the page's text and the saved views.

    Args:
        wrote: whether there were new points in this pass.
    """
    while session.former:  # kept, but no longer among what the views show
        session.client.set_tag(session.former[-1], ROLE, "former")
        session.former.pop()
    plan, found = session.plan, session.states
    state = overview.overall(found)
    name = plan.title
    run = run_of(session, SWEEP, f"sweep {name}", int(time.time() * 1000))
    tags = {
        **common_tags(session),
        PHASE: SWEEP,
        "procray.kind": SWEEP,
        ROLE: SWEEP,
        "procray.state": state,
        "mlflow.note.content": overview.sweep_note(plan, found, session.experiment, session.runs),
    }
    send(session, run, overview.sweep_parameters(plan), tags, [])
    for path, now, content in overview.artifacts(plan, session.plan_digest, session.plan_folder):
        if session.files.get(path) == now:
            continue
        session.check_time()
        if isinstance(content, str):
            text = overview.plan_text(plan) if path == overview.PLAN else content
            session.client.log_text(run.id, text, path)
        else:
            session.client.log_artifact(run.id, str(content), str(Path(path).parent))
        session.files[path] = now
    _write_page(session)
    status = facts.run_status(state)
    set_status(session, run, status, int(time.time() * 1000) if wrote or run.status != status else None)


def _write_page(session: Session) -> None:
    """The experiment's text and saved views, where they changed."""
    plan_file = session.plan_folder / PLAN
    created = int(plan_file.stat().st_mtime * 1000) if plan_file.exists() else 0
    made_from = created, dict(session.extents)
    if session.page == made_from:
        return
    wanted = overview.experiment_tags(session.index, session.extents, created)
    now = digest(wanted, 16)
    if session.files.get("(page)") != now:
        for name, value in wanted.items():
            session.client.set_experiment_tag(session.experiment, name, value)
        session.files["(page)"] = now
    session.page = made_from
