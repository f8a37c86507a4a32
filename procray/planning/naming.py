"""The names of variants and phases: every axis that matters, in the file's order.

A name follows from the values that it is about, so that another value of a grid renames nothing.
"""

from __future__ import annotations

from procray.planning.data import parameters
from procray.planning.dependence import Chain
from procray.planning.facts import Facts
from procray.planning.plan import BASELINE
from procray.planning.relevance import restrict, text_paths
from procray.spec.cells import Pick
from procray.spec.counts import format_count
from procray.spec.names import label
from procray.spec.paths import Path, starts_with
from procray.spec.structure import Link, SweepSpec, Tail

TUNING = "tuning"


def variant_name(spec: SweepSpec, tail: Tail, pick: Pick, *, baseline: bool) -> str:
    """`union/L64/2M/mlp`; `pick` has the values that matter only."""
    parts = axis_labels(spec, pick)
    if baseline:
        parts.insert(0, BASELINE)
    elif not parts:
        parts = _written(spec, tail, pick)
    return "/".join([tail.name, *parts] if tail.name else parts)


def axis_labels(spec: SweepSpec, pick: Pick) -> list[str]:
    """The labels of a pick's values. A grid of one value is named too: its label stays when another value joins it."""
    return [axis.labels[i] for axis, i in zip(spec.axes, pick, strict=True) if i >= 0]


def _written(spec: SweepSpec, tail: Tail, pick: Pick) -> list[str]:
    """What a variant is where nothing varies: the warm-up's task, and what of it is carried and how."""

    def said(path: Path | None) -> bool:
        return path is not None and all(pick[i] >= 0 for i in spec.relevant(path))

    parts = []
    warm = next((link for link in tail.links if link.kind == "procedural"), None)
    among = next((link.among for link in tail.links if link.among is not None), None)
    mode = next((link.transfer for link in tail.links[bool(warm) :] if link.transfer), None)
    value = spec.value(mode, pick) if mode else None
    if warm is not None and said(task := (*warm.section, "task")):
        parts.append(label("task", spec.value(task, pick)))
    if among is not None:
        for key in ("task", "at", "mix"):
            if (given := spec.value((*among.section, key), pick)) is not None and said((*among.section, key)):
                parts.append(label(key, given))
    elif (warm is not None or value is not None) and (mode is None or said(mode)):
        parts.append(label("transfer", value or "full"))
    for key in ("perturb", "freeze") if value != "none" else ("freeze",):
        where = next((path for link in tail.links if (path := getattr(link, key))), None)
        done = spec.value(where, pick) if where and said(where) else None
        parts += [label(key, done)] if done else []
    return parts or [tail.links[tail.compared].name]


def phase_name(
    spec: SweepSpec, chain: Chain, at: int, facts: Facts, used: frozenset[int], pick: Pick, fraction: float | None
) -> str:
    """Of the phase `chain.kept[at]`, for every seed of the sweep; phases of other chains may be the same.

    Args:
        used: the axes that the phase and all that it begins with depend on.
        fraction: of a matched rerun.
    """
    link = chain.tail.links[chain.kept[at]]
    if not facts.decaying and facts.placing is None:  # with a constant schedule budgets are marks of one phase
        used -= {i for i, axis in enumerate(spec.axes) if axis.path == (*link.section, "tokens")}
    if link.kind == "procedural":
        return "/".join(_warmup(spec, chain, at, facts, used, pick))
    text = variant_name(spec, chain.tail, restrict(pick, used), baseline=chain.bare)
    if chain.tail.control and chain.bare:
        more = sum(other.control.more for other in chain.tail.links if other.control)
        target = f"{chain.tail.name}/" if chain.tail.name else ""
        rest = text.removeprefix(f"{target}{BASELINE}")
        text = f"{target}{chain.tail.control}-{format_count(more)}{rest}"
    elif chain.tail.control:
        text = f"{text}/{chain.tail.control}"
    text += _stage(chain, at)
    return text if fraction is None else f"{text}@{fraction:g}"


def tuning_name(spec: SweepSpec, chain: Chain, at: int, name: str, tried: Pick) -> str:
    """Of a phase that is not procedural, at a tuning seed.

    Args:
        name: at the seeds of the sweep.
        tried: the values of the searched axes.
    """
    stage = _stage(chain, at)
    return f"{'/'.join([TUNING, name.removesuffix(stage), *axis_labels(spec, tried)])}{stage}"


def _stage(chain: Chain, at: int) -> str:
    """What tells the phases of one variant apart: `/semantic`, but for the compared one."""
    links = chain.tail.links
    cold = [j for j in chain.kept if links[j].kind != "procedural"]
    if chain.kept[at] == chain.tail.compared or len(cold) < 2:
        return ""
    return f"/{_name([links[j] for j in cold], links[chain.kept[at]])}"


def _name(links: list[Link], link: Link) -> str:
    """The name of a link, with its number where an earlier one bears the same."""
    earlier = [other.name for other in links[: links.index(link)]].count(link.name)
    return f"{link.name}{earlier + 1 if earlier else ''}"


def _warmup(spec: SweepSpec, chain: Chain, at: int, facts: Facts, used: frozenset[int], pick: Pick) -> list[str]:
    """The task, its length, where there are several warm-ups which it is, and what else varies."""
    links = [link for link in chain.tail.links if link.kind == "procedural"]
    link = chain.tail.links[chain.kept[at]]
    section = spec.value(link.section, pick)
    parts = [_task_label(spec, link, facts.label, pick)]
    told: list[Path] = [(*link.section, "task"), (*link.section, "length")]
    task = facts.recipe.data.get("task", {})
    if "length" in section and task and "content" not in task.get("shuffled", task):  # whose sequences are as they are
        parts.append(_label(spec, (*link.section, "length"), label("length", section["length"]), pick))
    if link.control is not None and "task" not in facts.recipe.data:  # the tasks that it stands for differ in a step
        parts.append(f"{facts.recipe.batch}x{facts.recipe.model.context}")
        told += text_paths(link)
        if facts.paced:  # it follows that very task
            parts.append(f"as-{_label(spec, told[0], label('task', section['task']), pick)}")
            if "length" in section:
                parts.append(_label(spec, told[1], label("length", section["length"]), pick))
        else:
            told += [(*link.section, key) for key in parameters(section)]
    if link is not links[0]:
        parts.append(_name(links, link))
    earlier = {i for other in links[: links.index(link)] for i in spec.relevant(other.section)}
    earlier -= spec.relevant(link.section)
    if facts.recipe.evaluation.solved is None:  # how often it is looked at is no part of what it is
        told.append((*link.section, "evaluate"))
    for i in sorted(used):
        axis = spec.axes[i]
        if axis.path not in told and not any(starts_with(axis.path, path) for path in told if path[-1] == "evaluate"):
            parts.append(f"after-{axis.labels[pick[i]]}" if i in earlier else axis.labels[pick[i]])
    return parts


def _task_label(spec: SweepSpec, link: Link, text: str, pick: Pick) -> str:
    """What a warm-up trains on, which a control may have put in the place of the file's task."""
    path = (*link.section, "task")
    if link.control is None or link.control.kind not in ("shuffled", "text"):
        return _label(spec, path, text, pick)
    own = label("task", spec.value(path, pick))
    named = _label(spec, path, own, pick)
    return text if named == own or link.control.kind == "text" else f"{link.control.kind}-{named}"


def _label(spec: SweepSpec, path: Path, text: str, pick: Pick) -> str:
    """The label of a value, or what its axis calls it where the label alone would mean several of its values."""
    for axis, i in zip(spec.axes, pick, strict=True):
        if axis.path == path and i >= 0 and not axis.labels[i].endswith(text):
            return axis.labels[i]
    return text
