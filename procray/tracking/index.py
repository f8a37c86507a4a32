"""What is asked of a plan for every phase, looked up once: without it each answer would read the whole plan."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from procray.palette import colours
from procray.redaction import redact

if TYPE_CHECKING:
    from procray.planning.plan import Cell, Plan, Trial


class Index:
    """A plan with its phases' cells, trials and users at hand. A plan that changes needs another one."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self.phases = plan.phases

    @cached_property
    def cells(self) -> dict[str, list[Cell]]:
        """By phase, the cells whose compared phase it is; those of full length first."""
        found: dict[str, list[Cell]] = {}
        for cell in self.plan.cells:
            found.setdefault(cell.compared, []).append(cell)
        for cells in found.values():
            cells.sort(key=lambda cell: cell.fraction is not None)
        return found

    @cached_property
    def trials(self) -> dict[str, Trial]:
        """By phase, what it tries for `select:`."""
        found: dict[str, Trial] = {}
        for trial in self.plan.trials:
            found.setdefault(trial.compared, trial)
        return found

    @cached_property
    def targets(self) -> list[str]:
        return self.plan.targets

    @cached_property
    def colours(self) -> dict[str, str]:
        """By variant, the colour that it has in the report too."""
        return colours(self.plan.variants)

    @cached_property
    def plain(self) -> bool:
        """Whether no name in the plan holds anything that looks like a credential."""
        names = {planned.variant for planned in self.phases.values()}
        names |= {outside.name for outside in self.plan.outside.values()}
        text = "\n".join(sorted(names))
        return redact(text) == text

    @cached_property
    def users(self) -> dict[str, list[str]]:
        """By phase, the labels of those that start from it, in order."""
        found: dict[str, set[str]] = {}
        for planned in self.phases.values():
            for parent in planned.parents:
                found.setdefault(parent.phase, set()).add(planned.label)
        return {phase: sorted(labels) for phase, labels in found.items()}
