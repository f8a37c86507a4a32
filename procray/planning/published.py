"""The variants that entries of `published:` are about: a name that means none is told before anything trains.

An entry stands for every scale that has it, and may be about one that only some of them plan: it is wrong where none
of them has its variant. Of a file in which other things are wrong too nothing can be planned: an entry is then wrong
where no variant could bear its name, whatever the rest will say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from procray.errors import Problem, did_you_mean
from procray.planning.planner import plan
from procray.planning.possible_names import Named, possible_names
from procray.planning.sweep import Sweep
from procray.planning.titles import title_of
from procray.spec.paths import locate
from procray.spec.quantities import fits

_MOST = 8  # names in a message


def check_published(
    sweeps: Sequence[Sweep], as_written: Callable[[], tuple[Sequence[Sweep], bool]] | None, sound: bool
) -> list[Problem]:
    """Entries whose target or variant no scale of the file has.

    Args:
        sweeps: every scale of the file.
        as_written: the same without `--set`, which may take away what an entry is about, and whether that is sound;
            None where nothing is set.
        sound: nothing is wrong with the sweeps, so that they can be planned.
    """
    missing = _missing(sweeps, sound)
    if missing and as_written is not None:
        written, alright = as_written()
        known = {_place(sweep, i) for sweep in written for i in range(len(sweep.published))}
        wrong = _missing(written, alright)
        missing = {place: found for place, found in missing.items() if place in wrong or place not in known}
    return [problem for found in missing.values() for problem in found]


def _place(sweep: Sweep, i: int) -> tuple[str, int, int]:
    place = locate(sweep.root, ("published", i), {})
    return place.file, place.line, place.column


def _missing(sweeps: Iterable[Sweep], sound: bool) -> dict[tuple[str, int, int], list[Problem]]:
    """By the place of an entry, what is wrong with its names, where that is so in every scale that has it."""
    found: dict[tuple[str, int, int], list[Problem]] = {}
    fine = set()
    for sweep in sweeps:
        if not any(entry.get("target") or entry.get("variant") for entry in sweep.published):
            continue
        names = _names(sweep) if sound else possible_names(sweep)
        for i, entry in enumerate(sweep.published):
            target, wanted = entry.get("target"), entry.get("variant")
            problem = None
            if names is not None and (sound or ((target or wanted) and "~" not in (wanted or ""))):
                problem = _problem(sweep, i, target, wanted, names)
            if problem is None:
                fine.add(_place(sweep, i))
            else:
                found.setdefault(_place(sweep, i), []).append(problem)
    # A nearest name of one scale says more than a list of another's.
    return {
        place: sorted(problems, key=lambda problem: "did you mean" not in problem.message)[:1]
        for place, problems in found.items()
        if place not in fine
    }


def _problem(sweep: Sweep, i: int, target: str | None, wanted: str | None, names: list[Named]) -> Problem | None:
    there = [one for one in names if target in (None, one.target, one.title)]
    if not there and any(not one.title for one in names):
        return None  # it may be the title of one of these
    if not there:
        known = list(dict.fromkeys(one.target or one.title for one in names))
        near = did_you_mean(str(target), {one.target for one in names if one.target} | {one.title for one in names})
        message = f"no target '{target}'{near} (targets: {_listed(known)})"
        return sweep.problem(("published", i, "target"), _anywhere(sweep), message)
    if any(fits(wanted, one.name, one.short, one.is_baseline, one.control) for one in there):
        return None
    if not wanted:
        return sweep.problem(("published", i), _anywhere(sweep), "there is no warmed-up variant to compare with")
    near = did_you_mean(wanted, [name for one in there for name in (one.name, one.short)])
    what = "no variant fits" if "*" in wanted else "no variant"
    message = f"{what} '{wanted}'{near} (variants: {_listed(list(dict.fromkeys(one.short for one in there)))})"
    return sweep.problem(("published", i, "variant"), _anywhere(sweep), message)


def _anywhere(sweep: Sweep) -> tuple[int, ...]:
    return tuple(-1 for _ in sweep.axes)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_MOST]) + (f" and {len(names) - _MOST} more" if len(names) > _MOST else "")


def _names(sweep: Sweep) -> list[Named]:
    """Every variant that a sweep plans, in its order; names do not depend on seeds, so one is enough."""
    graph = plan(replace(sweep, seeds=sweep.seeds[:1], donors=sweep.donors[:1], matched=[]))
    if graph.then is not None:  # whatever is chosen
        graph = graph.then({trial.variant: trial.setting for trial in graph.trials})
    found: dict[str, Named] = {}
    for cell in graph.cells:
        if cell.variant not in found:
            data = graph.phases[cell.compared].recipe.data  # empty where this scale's files were left alone
            title = title_of(data) if data else ""
            short = cell.variant.removeprefix(f"{cell.target}/" if cell.target else "")
            found[cell.variant] = Named(cell.variant, short, cell.target, title, cell.is_baseline, cell.control)
    return list(found.values())
