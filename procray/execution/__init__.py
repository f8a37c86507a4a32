"""Running a plan on Ray: which segment starts when, on what, and what happens when something breaks."""

from procray.execution.preparation import corpora_of, prepare_corpora
from procray.execution.runner import run
from procray.execution.segment import run_segment
from procray.execution.terms import RunOptions, RunResult

__all__ = ["RunOptions", "RunResult", "corpora_of", "prepare_corpora", "run", "run_segment"]
