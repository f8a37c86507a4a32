import json

from procray.cli import live
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
    row = live.row(phase, store)
    assert (row.state, row.solved, row.tokens, row.seconds_left) == ("done", True, 120_000, None)
    assert row.budget == phase.nominal[phase.end]
    assert live.line(row).startswith(f"done      {phase.label}  120k of ")
    assert "solved" in live.line(row)
    assert not live.row(next(p for p in plan.phases.values() if p.kind == "procedural"), store).solved
