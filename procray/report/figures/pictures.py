"""The pictures of a sweep: curves, differences, what the warm-up replaces, and which weights carry it.

Every picture says how many seeds stand behind it. Colours are those of `procray.palette`, black is the baseline.
"""

from __future__ import annotations

from procray.palette import colours
from procray.report.figures import along, curves, differences, heat, substitutive
from procray.report.figures.canvas import Picture
from procray.report.figures.lines import shown_runs
from procray.report.numbers.matrix import matrices
from procray.report.numbers.results import Results


def pictures(results: Results) -> list[Picture]:
    """All pictures that the results allow: targets without a finished or running baseline give none."""
    drawn: list[Picture] = []
    palette = colours(variant.name for variant in results.variants)
    where = results.title
    for target in results.targets:
        if not any(shown_runs(variant) for variant in target.baselines):
            continue
        suffix = f"-{target.name}" if target.name else ""
        for total in (False, True):
            draw = curves.accuracy if target.metric == "accuracy" else curves.loss
            drawn.append(draw(target, palette, f"{target.metric}{'-total' * total}{suffix}", where, total))
        if any(variant.difference for variant in target.warmed):
            gap = curves.gap(target, palette, f"gap{suffix}", where)
            drawn += [gap] if gap is not None else []
            drawn.append(differences.final(target, palette, f"difference{suffix}", where))
            if heat.modes(target):
                drawn.append(heat.transfer(target, f"transfer{suffix}", where))
            for matrix in matrices(target):
                setting = f"-{matrix.setting.replace('/', '-')}" if matrix.setting else ""
                drawn.append(heat.composition(matrix, f"composition{suffix}{setting}", where))
            if along.mixed_tasks(target):
                drawn.append(along.mixture(target, palette, f"mixture{suffix}", where))
            if along.sizes(target):
                drawn.append(along.scale(target, f"scale{suffix}", where))
        if any(variant.readoff.state in ("reached", "not reached") for variant in target.warmed):
            drawn.append(substitutive.needed(target, palette, f"substitutive{suffix}", where))
    return drawn
