"""Messages a user can act on. Everything that a user can cause is one of these."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


class ProcrayError(Exception):
    """Bad input or a state that the user can mend. The command prints it without a traceback.

    `exit_code` follows the command line: 2 bad input, 3 environment.
    """

    exit_code = 2


class TaskError(ProcrayError):
    """An unknown task or a parameter that it does not accept."""


class CorpusError(ProcrayError):
    """A corpus or tokenizer that cannot be found, read or prepared."""


class NotHere(ProcrayError):
    """Files that a sweep file names and this machine does not have. Results in a store can be read without them."""


class CorpusNotHere(NotHere, CorpusError):
    """Texts or the files of a tokenizer."""


class TransferError(ProcrayError):
    """Weights that cannot be carried from one model into another."""


class StoreError(ProcrayError):
    """A store whose content is damaged, mismatched or held by somebody else."""


class CheckpointNotHere(NotHere, StoreError):
    """A checkpoint from outside."""


class EnvironmentProblem(ProcrayError):
    """Something that this machine lacks: a GPU, a network, a free port, enough processors."""

    exit_code = 3


class Stopped(EnvironmentProblem):
    """What a sweep needs is gone: Ray, or room on the disk. Nothing is lost, and the same command continues."""


class PhaseFailed(ProcrayError):
    """A phase that failed for a reason that trying again cannot cure (NaN, impossible data).

    Attributes:
        step: updates after which it failed: a mark before it can be made all the same. None where that is not known.
    """

    exit_code = 1

    def __init__(self, message: str, step: int | None = None):
        super().__init__(message)
        self.step = step


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake in a sweep file. `line` and `column` count from 1; 0 where there is no place."""

    line: int
    column: int
    message: str
    source: str = ""  # the text of the line
    file: str = ""
    not_here: bool = False  # the file may be right; what it names is not on this machine

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: " if self.line else f"{self.file}: "
        text = place + self.message
        if self.source:
            text += f"\n    {self.source}\n    {' ' * (self.column - 1)}^"
        return text


class SpecError(ProcrayError):
    """Every problem of a sweep file at once."""

    def __init__(self, problems: Iterable[Problem]):
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(str(p) for p in self.problems))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest of `known`, however it is capitalised, or the empty string."""
    alike = {one.lower(): one for one in sorted(known, reverse=True)}
    near = difflib.get_close_matches(str(name).lower(), sorted(alike), n=1, cutoff=0.5)
    return f"; did you mean '{alike[near[0]]}'?" if near else ""


def did_you_mean_size(name: str, known: Iterable[str]) -> str:
    """The same for names such as `gpt2-xl`: of one stem no size is near because others are farther."""
    stem, _, size = name.lower().replace("_", "-").partition("-")
    sizes: dict[str, dict[str, str]] = {}  # by stem
    for one in sorted(known):
        its, _, own = one.lower().partition("-")
        sizes.setdefault(its, {})[own] = one
    stems = difflib.get_close_matches(stem, sorted(sizes), n=1, cutoff=0.6)
    if not stems:
        return ""
    there = sizes[stems[0]]
    near = difflib.get_close_matches(size, sorted(there), n=1, cutoff=0.6) or [own for own in ("",) if own in there]
    return f"; did you mean '{there[near[0]]}'?" if near else ""
