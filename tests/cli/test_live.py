import io
import json

import pytest
from rich.console import Console

from procray.cli import live
from procray.cli.terminal import short_count
from procray.selection.standing import Standing
from procray.store.store import Store
from tests.report import science
from tests.report.synthetic import make_plan


def test_a_solved_phase_is_done_with_the_tokens_it_really_took(tmp_path):
    plan, store = make_plan(tmp_path, science.COMPOSITION), Store(tmp_path / "store")
    phase = next(phase for phase in plan.phases.values() if phase.kind == "diagnostic")
    mark = store.phase(phase.id).path / "marks" / str(phase.end)
    mark.mkdir(parents=True)
    about = {"step": phase.end, "tokens": 120_000, "loss": 0.25, "solved_at": phase.end // 3, "files": {}}
    (mark / "manifest.json").write_text(json.dumps(about))
    row = live.row(phase, store, Standing(plan, store))
    assert (row.state, row.solved, row.tokens, row.seconds_left) == ("done", True, 120_000, None)
    assert row.budget == phase.nominal[phase.end]
    assert live.line(row).startswith(f"done      {phase.label}  120k of ")
    assert "solved" in live.line(row)
    assert not live.row(
        next(p for p in plan.phases.values() if p.kind == "procedural"), store, Standing(plan, store)
    ).solved


@pytest.fixture
def begun(tmp_path):
    """A plan, its store, and of its first warm-up the folder, a resume state in the middle and its tokens."""
    plan, store = make_plan(tmp_path, science.COMPOSITION), Store(tmp_path / "store")
    phase = next(phase for phase in plan.phases.values() if phase.kind == "procedural" and phase.recipe.steps is None)
    folder = store.phase(phase.id)
    held = folder.acquire()
    middle = phase.marks[0] // 2
    folder.write_resume(held, middle, lambda path: None, keep=False)
    yield plan, store, phase, folder, held, middle, round(middle * phase.tokens_per_step)
    held.release()


def shown(plan, store, phase) -> live.Row:
    return next(row for row in live.Watcher(plan, store).rows() if row.id == phase.id)


def test_a_phase_that_does_not_run_shows_what_it_continues_at(begun):
    """After Ctrl-C: nobody may have written a live number, or one of long before, or one that was not saved."""
    plan, store, phase, folder, held, middle, tokens = begun
    for state in ("paused", "waiting", "failed", "skipped"):
        folder.set_status(state, attempt=held.attempt, reason="asked to stop")
        for live_step in (None, 1, middle + 1):
            if live_step:
                folder.write_progress({"step": live_step, "tokens": live_step, "loss": 2.0, "attempt": held.attempt})
            row = shown(plan, store, phase)
            assert row.tokens == tokens, (state, live_step)
            words = f"{short_count(tokens)} of {short_count(row.budget)} tokens"
            assert words in live.line(row)
            drawn = Console(file=io.StringIO(), width=200)
            drawn.print(live.table([row], 20, 1.0))
            assert f"{short_count(tokens)} / {short_count(row.budget)}" in drawn.file.getvalue()
        (folder.path / "progress.json").unlink()


def test_a_resumed_phase_shows_where_it_began_and_then_where_it_is(begun):
    plan, store, phase, folder, held, middle, tokens = begun
    folder.write_progress({"step": middle + 9, "tokens": 9, "tokens_per_s": 7.0, "loss": 2.0, "attempt": held.attempt})
    held.release()
    again = folder.acquire()
    folder.set_status("running", until=phase.end, attempt=again.attempt)
    row = shown(plan, store, phase)
    assert (row.state, row.tokens, row.tokens_per_s, row.loss) == ("running", tokens, None, None)
    folder.write_progress(
        {"step": middle + 5, "tokens": tokens + 77, "tokens_per_s": 7.0, "loss": 1.5, "attempt": again.attempt}
    )
    row = shown(plan, store, phase)
    assert (row.state, row.tokens, row.tokens_per_s, row.loss) == ("running", tokens + 77, 7.0, 1.5)
    again.release()


def test_a_state_behind_a_mark_that_is_missing_does_not_count(begun):
    plan, store, phase, folder, held, _, tokens = begun
    folder.write_resume(held, phase.marks[0] + 1, lambda path: None, keep=True)
    folder.set_status("paused", attempt=held.attempt)
    assert shown(plan, store, phase).tokens == tokens
    folder.write_mark(held, phase.marks[0], lambda path: {}, {})
    after = phase.end if len(phase.marks) == 1 else phase.marks[0] + 1
    assert shown(plan, store, phase).tokens == pytest.approx(after * phase.tokens_per_step, abs=1)


def test_a_failure_after_the_wanted_marks_is_not_shown(begun):
    plan, store, phase, folder, _, _, tokens = begun
    folder.set_status("failed", reason="NaN", final=True, step=phase.end + 1)
    child = next(other for other in plan.phases.values() if phase.id in {parent.phase for parent in other.parents})
    store.phase(child.id).set_status("skipped", reason=f"{phase.label} failed: NaN")
    row = shown(plan, store, phase)
    assert (row.state, row.reason, row.tokens) == ("waiting", None, tokens)
    assert (shown(plan, store, child).state, shown(plan, store, child).reason) == ("waiting", None)
    folder.set_status("failed", reason="NaN", final=True, step=phase.end)
    row = shown(plan, store, phase)
    assert (row.state, row.reason, row.tokens) == ("failed", "NaN", tokens)
    assert shown(plan, store, child).state == "skipped"
    assert "failed: NaN" in live.line(shown(plan, store, child))
