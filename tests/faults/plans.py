"""Plans that run for long enough to be disturbed."""

from __future__ import annotations

from typing import Any

from small_plans import Phase, SmallPlan, phase, plan

SHAPE: dict[str, Any] = {"width": 32, "layers": 2, "batch": 16}


def pair(steps: int = 1200) -> SmallPlan:
    """Two phases side by side and one behind the first, each with a mark early on."""
    one = phase("one", [50, steps], **SHAPE)
    two = phase("two", [50, steps], task="reverse", decaying=True, **SHAPE)
    behind = phase("behind", [50], parent=(one, steps), task="reverse", decaying=True, **SHAPE)
    return plan(one, two, behind, name="pair")


def group(steps: int = 600, warm: int = 0) -> SmallPlan:
    """One phase of two workers, each of which needs a processor."""
    more = {"workers": 2, "executor": "train-warm" if warm else "train", "every": 50, **SHAPE}
    return plan(phase("group", [50, steps], decaying=True, **more), name="group")


def many(chains: int = 6, steps: int = 400) -> SmallPlan:
    """Chains of two phases, as a laptop-scale sweep has them."""
    phases: list[Phase] = []
    for seed in range(chains):
        first = phase(f"warm-{seed}", [50, steps], seed=seed, **SHAPE)
        phases += [first, phase(f"tail-{seed}", [steps], parent=(first, steps), seed=seed, decaying=True, **SHAPE)]
    return plan(*phases, name="many")
