"""Where does the time of one training step go?

    python benchmarks/step_profile.py                 # the three shapes of training.py, about a minute
    python benchmarks/step_profile.py --shapes tiny

torch's profiler over a few of the training loop's own steps on one CPU thread; self time of each operator, summed up by
what it is for. The profiler slows small operators down, so shares are about right and times are not.
"""

from __future__ import annotations

import argparse
import re
from typing import Any

from harness import Row, in_own_environment, publish
from training import FLOORS, SHAPES, ours

# The first pattern that an operator's name fits.
GROUPS = {
    "products with weights": r"aten::(mm|addmm|addmm_|linear)$",
    "attention's products": r"aten::(bmm|baddbmm)$",
    "softmax, loss": r"aten::_?(log_)?softmax|nll_loss|aten::(amax|log|gather|scatter_add_)$|cross_entropy",
    "GELU": r"aten::gelu",
    "normalisation": r"layer_norm",
    "copies and casts": r"aten::(copy_|_to_copy|clone|cat|contiguous|pin_memory)$",
    "AdamW and clipping": r"adamw|foreach|linalg_vector_norm",
    "embeddings": r"embedding|index_select",
    "sums, products and masks element by element": r"aten::(add|add_|sub|mul|mul_|neg|neg_|sum|div|div_|fill_|zero_)$",
    "calls": r".*",
}
STEPS = {"gpt2": 1, "small": 2, "tiny": 10}


def shares(name: str, precision: str) -> dict[str, float]:
    """By group, its share of the step's time in per cent, the largest first."""
    from torch.profiler import ProfilerActivity, profile

    step = ours(SHAPES[name], precision)
    for _ in range(3):
        step()
    with profile(activities=[ProfilerActivity.CPU]) as trace:
        for _ in range(STEPS[name]):
            step()
    sums: dict[str, float] = dict.fromkeys(GROUPS, 0.0)
    for event in trace.key_averages():
        group = next(group for group, pattern in GROUPS.items() if re.search(pattern, event.key))
        sums[group] += float(event.self_cpu_time_total)
    whole = sum(sums.values())
    return {group: 100 * part / whole for group, part in sorted(sums.items(), key=lambda item: -item[1])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    given = parser.parse_args()
    in_own_environment()
    import torch

    torch.set_num_threads(1)
    found: dict[str, dict[str, float]] = {}
    rows: list[Row] = []
    for name, precision in FLOORS:
        if name not in given.shapes:
            continue
        parts = found[f"{SHAPES[name]}, {precision}"] = shares(name, precision)
        first = next(iter(parts))
        rows.append(Row(f"{SHAPES[name]}, {precision}", first, "", "-", parts[first], parts[first], parts[first], "%"))
    publish("step_profile", "Where does the time of a step on a CPU go?", rows, shares=found, tables=[table(found)])


def table(found: dict[str, dict[str, Any]]) -> str:
    """Groups in rows, shapes in columns."""
    lines = ["| % of a step | " + " | ".join(found) + " |", "|---|" + "---:|" * len(found)]
    for group in GROUPS:
        lines.append(f"| {group} | " + " | ".join(f"{parts[group]:.1f}" for parts in found.values()) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
