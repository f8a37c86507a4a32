"""The settings of a sweep at one scale while they are checked, and what was found wrong with them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from procray.errors import Problem
from procray.spec.cells import Pick
from procray.spec.paths import Path
from procray.spec.structure import SweepSpec


@dataclass(frozen=True)
class Inspection:
    """What every reader of settings is given.

    Attributes:
        light: leave the file system alone (for scales that are checked but not used).
        problems: by place (file, line, column).
    """

    spec: SweepSpec
    light: bool = False
    problems: dict[tuple[str, int, int], Problem] = field(default_factory=dict)

    def report(self, path: Path, pick: Pick, message: str, *, not_here: bool = False) -> None:
        """Notes a problem; of the many cells that find fault with one value, the first speaks.

        Args:
            not_here: the file may be right; what it names is not on this machine.
        """
        problem = replace(self.spec.problem(path, pick, message), not_here=not_here)
        self.problems.setdefault((problem.file, problem.line, problem.column), problem)
