"""A sweep file as a `Sweep`: read by `procray.spec`, its chains checked here, and every problem at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from procray.errors import Problem, SpecError
from procray.planning.chains import Chains
from procray.planning.checks import check
from procray.planning.published import check_published
from procray.planning.sweep import Sweep
from procray.spec.load import load_scales, read_text


def load_sweep(path: str | Path, scale: str | None = None, set: dict[str, Any] | list[str] | None = None) -> Sweep:
    """A sweep file at one scale.

    Args:
        path: the YAML file.
        scale: the name of an overlay; the first by default.
        set: `key=value` texts, or a mapping of dotted keys to values, laid upon everything else.

    Raises:
        SpecError: every problem of the file, of all its scales and of `set` at once.
    """
    return load_text(read_text(path), str(path), scale, set, path)


def load_text(
    text: str,
    file: str,
    scale: str | None = None,
    set: dict[str, Any] | list[str] | None = None,
    path: str | Path | None = None,
) -> Sweep:
    """As `load_sweep`, for the text of a file.

    Args:
        file: its name, in messages.
        path: where it lies; None: relative paths in it start at the working directory.
    """
    sweeps, problems = _sweeps(text, file, scale, set, path)

    def as_written() -> tuple[list[Sweep], bool]:
        # A file that cannot do without `--set` says nothing by itself.
        written, wrong = _sweeps(text, file, None, None, path)
        return ([] if wrong and not problems else written), not wrong

    problems += check_published(sweeps, as_written if set else None, sound=not problems)
    if problems:
        raise SpecError(dict.fromkeys(problems))
    return sweeps[0]


def _sweeps(
    text: str, file: str, scale: str | None, set: dict[str, Any] | list[str] | None, path: str | Path | None
) -> tuple[list[Sweep], list[Problem]]:
    """The scale asked for, then all others, with what is wrong in any of them."""
    drafts, problems = load_scales(text, file, scale, set, path)
    sweeps = []
    for i, draft in enumerate(drafts):
        chains = Chains(draft.spec, light=i > 0)
        problems += check(draft.spec, chains, draft.broken)
        sweeps.append(Sweep(**vars(draft.spec), chains=chains))
    return sweeps, problems
