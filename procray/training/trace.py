"""A trace of some steps of a phase, for chrome://tracing or Perfetto."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from procray import links
from procray.errors import ProcrayError

_ROWS, _BY = 20, "self_cpu_time_total"


@dataclass
class Trace:
    """Records the steps `first` to `last` (from 0, the last one not included) of one call of `train`.

    Attributes:
        path: the file to write, `....json.gz`.
        table: after recording, the operators that took most of the time.
    """

    first: int
    last: int
    path: Path
    table: str = ""
    _profiler: Any = field(default=None, repr=False)

    def before(self, step: int) -> None:
        """To be called before each update."""
        if step >= self.last:
            self.end()
        elif step >= self.first and self._profiler is None and not self.table:
            from torch.profiler import profile

            self._profiler = profile()  # of the CPU, and of the GPU where there is one
            self._profiler.__enter__()

    def end(self) -> None:
        """Writes what was recorded, if anything was: the phase may end before `last`, or begin after it."""
        if self._profiler is None:
            return
        profiler, self._profiler = self._profiler, None
        profiler.__exit__(None, None, None)
        links.make_folder(self.path.parent)
        temporary = self.path.with_name(f".{os.getpid()}-{self.path.name}")
        links.remove(temporary)
        profiler.export_chrome_trace(str(temporary))
        links.rename(temporary, self.path)
        self.table = profiler.key_averages().table(sort_by=_BY, row_limit=_ROWS, max_name_column_width=40)


def read_range(text: str) -> tuple[int, int]:
    """`"10:20"` as (10, 20).

    Raises:
        ProcrayError: anything else.
    """
    first, colon, last = text.partition(":")
    if not (colon and first.isdecimal() and last.isdecimal() and int(first) < int(last)):
        raise ProcrayError(f"profile: expected two steps as A:B with A below B, such as 10:20, got '{text}'")
    return int(first), int(last)


def trace_name(first: int, last: int) -> str:
    return f"{first}-{last}.json.gz"
