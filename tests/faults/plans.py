"""Plans that run for long enough to be disturbed."""

from __future__ import annotations

from typing import Any

from small_plans import SmallPlan, phase, plan

from procray.planning.plan import PlannedPhase

SHAPE: dict[str, Any] = {"width": 32, "layers": 2, "batch": 16}


def pair(steps: int = 1200) -> SmallPlan:
    """Two phases side by side and one behind the first, each with a mark early on."""
    one = phase("one", [50, steps], **SHAPE)
    two = phase("two", [50, steps], task="reverse", decaying=True, **SHAPE)
    behind = phase("behind", [50], parent=(one, steps), task="reverse", decaying=True, **SHAPE)
    return plan(one, two, behind, name="pair")


def alone(steps: int = 900) -> SmallPlan:
    """One phase, with a mark early on."""
    return plan(phase("one", [50, steps], decaying=True, **SHAPE), name="alone")


def group(steps: int = 600, warm: int = 0) -> SmallPlan:
    """One phase of two workers, each of which needs a processor."""
    more = {"workers": 2, "executor": "train-warm" if warm else "train", "every": 50, **SHAPE}
    return plan(phase("group", [50, steps], decaying=True, **more), name="group")


def elastic(steps: int = 3000) -> SmallPlan:
    """A phase of two workers, or of one where there is no room for more."""
    more = {"workers": 2, "min_workers": 1, "every": 50, **SHAPE}
    return plan(phase("elastic", [50, steps], decaying=True, **more), name="elastic")


def wide() -> SmallPlan:
    """A phase whose one worker needs two processors."""
    return plan(phase("wide", [50], decaying=True, cpu=2, **SHAPE), name="wide")


def wide_group(warm: int = 0) -> SmallPlan:
    """A phase of two workers, each of which needs two processors."""
    more = {"workers": 2, "executor": "train-warm" if warm else "train", **SHAPE}
    return plan(phase("wide", [50], decaying=True, cpu=2, **more), name="wide-group")


def many(chains: int = 6, steps: int = 400, seed: int = 0) -> SmallPlan:
    """Chains of two phases, as a laptop-scale sweep has them, with as many tries as it takes."""
    phases: list[PlannedPhase] = []
    marks = [*range(100, steps, 100), steps]  # close together: what is killed every few seconds must get on in between
    for number in range(seed * chains, (seed + 1) * chains):
        first = phase(f"warm-{number}", marks, seed=number, **SHAPE)
        tail = phase(f"tail-{number}", marks, parent=(first, steps), seed=number, decaying=True, **SHAPE)
        phases += [first, tail]
    return plan(*phases, name=f"many-{seed}", retries=1000)


def find(text: str) -> Any:
    """A plan of this file as `name:1:2`, or the laptop scale of a sweep file."""
    if text.endswith(".yaml"):
        from procray.planning import load_sweep
        from procray.planning import plan as planned

        return planned(load_sweep(text))
    name, *numbers = text.split(":")
    return globals()[name](*map(int, numbers))
