"""What Ray costs: forty short phases against a plain loop over the same forty."""

from __future__ import annotations

import time

import pytest
from small_plans import phase, plan

from procray.execution import RunOptions, run
from procray.store.store import Store

pytestmark = pytest.mark.slow


def forty(steps: int):
    return plan(*(phase(f"p{seed}", [steps], seed=seed, decaying=True) for seed in range(40)), name="forty")


def test_forty_short_phases_cost_at_most_twelve_seconds_more_than_a_loop(tmp_path, reference):
    reference(plan(phase("warm-up", [5], seed=99, decaying=True)))  # imports
    before = time.monotonic()
    reference(plan(phase("calibration", [50], seed=98, decaying=True)))
    steps = max(10, round(50 * 0.2 / (time.monotonic() - before)))
    small = forty(steps)
    before = time.monotonic()
    reference(small)
    loop = time.monotonic() - before

    times: dict[str, float] = {}

    def note(event):
        if event["event"] == "ray":
            times[event["state"]] = time.monotonic()

    before = time.monotonic()
    result = run(small, Store(tmp_path / "store"), RunOptions(on_event=note, max_concurrent=2))
    whole = time.monotonic() - before
    ray = times["ready"] - times["starting"] + before + whole - times["stopping"]
    print(f"{steps} steps: loop {loop:.1f} s, sweep {whole:.1f} s, Ray {ray:.1f} s, rest {whole - loop - ray:.1f} s")
    assert len(result.done) == 40
    assert whole - loop - ray <= 12
    before = time.monotonic()
    again = run(small, Store(tmp_path / "store"))
    assert again.trained == 0
    assert time.monotonic() - before < 5
