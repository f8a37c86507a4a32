"""The run of the sweep with its file, plan and report, and the text and saved views of the experiment's page."""

from __future__ import annotations

import time
from pathlib import Path

from procray.files import digest
from procray.store.plans import PLAN
from procray.tracking import facts, overview
from procray.tracking.runs import common_tags, run_of, send, set_status
from procray.tracking.session import PHASE, ROLE, SWEEP, Session


def write_sweep(session: Session) -> None:
    """The run of the sweep with its file, plan and report, the page's text and the saved views."""
    while session.former:  # kept, but no longer among what the views show
        phase, former = session.former.popitem()
        session.client.set_tag(former, ROLE, "former")
        session.known.pop(phase, None)
    plan = session.plan
    found = overview.states(plan, session.store)
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
    for path, content in overview.artifacts(plan, session.plan_folder):
        stat = None if isinstance(content, str) else content.stat()
        print_of_file = digest([stat.st_size, stat.st_mtime_ns] if stat else content, 16)
        if session.files.get(path) == print_of_file:
            continue
        session.check_time()
        if isinstance(content, str):
            session.client.log_text(run.id, content, path)
        else:
            session.client.log_artifact(run.id, str(content), str(Path(path).parent))
        session.files[path] = print_of_file
    _write_page(session)
    set_status(session, run, facts.run_status(state), int(time.time() * 1000))


def _write_page(session: Session) -> None:
    """The experiment's text and saved views, where they changed."""
    plan_file = session.plan_folder / PLAN
    created = int(plan_file.stat().st_mtime * 1000) if plan_file.exists() else 0
    wanted = overview.experiment_tags(session.plan, session.extents, created)
    now = digest(wanted, 16)
    if session.files.get("(page)") == now:
        return
    for name, value in wanted.items():
        session.client.set_experiment_tag(session.experiment, name, value)
    session.files["(page)"] = now
