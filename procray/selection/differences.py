"""What two recipes differ in, as the sweep file calls it: dotted keys, counts of tokens, names of tasks and corpora."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from procray import corpora, tasks
from procray.errors import TaskError
from procray.files import canonical_json
from procray.planning.plan import Plan, PlannedPhase
from procray.spec.counts import format_count
from procray.spec.names import short_number
from procray.training.interleaving import Interleaving
from procray.training.recipe import Evaluation, Init, Parent, PhaseRecipe

# What changed in a text's files, as `2 files changed, 1 new`; empty where nothing did, None where nobody knows.
ChangedFiles = Callable[[PhaseRecipe, PhaseRecipe], str | None]

_NOTHING = "-"


@dataclass(frozen=True)
class Difference:
    """One setting: its key in the sweep file, then and now. `note` says it where two values do not."""

    key: str
    before: str
    after: str
    note: str = ""

    def __str__(self) -> str:
        return f"{self.key}: {self.note or f'{self.before} -> {self.after}'}"


@dataclass
class _Told:
    """Differences while they are collected. What follows from another setting is told only where nothing else is."""

    own: list[Difference] = field(default_factory=list)
    follows: list[Difference] = field(default_factory=list)

    def add(self, key: str, before: str, after: str, *, follows: bool = False) -> None:
        known, one = self.follows if follows else self.own, Difference(key, before, after)
        if before != after and one not in known:
            known.append(one)


def compare(
    phase: PlannedPhase,
    plan: Plan,
    before: PlannedPhase,
    former: Plan,
    pairs: dict[str, str],
    changed_files: ChangedFiles,
) -> tuple[list[Difference], tuple[str, ...]]:
    """What a phase says otherwise than a phase of a former plan, and the labels of its parents that differ themselves.

    Args:
        pairs: by id, the phase of the former plan whose place a phase takes.
        changed_files: of two recipes of a text.
    """
    told = _Told()
    now, then = phase.recipe, before.recipe
    section = section_of(phase, plan)
    data_differ = _data(told, section, then, now, changed_files)
    _model(told, section, plan, then, now, data_differ)
    _training(told, section, plan, before, phase)
    parents = _init(told, section, plan, former, phase, before, pairs)
    told.add("precision", then.precision, now.precision)
    shares = (_NOTHING if one.noise is None else f"{one.noise.share:g} of {one.noise.of}" for one in (then, now))
    told.add(f"{section}.noise", *shares)
    _among(told, then.interleaving, now.interleaving)
    told.add("seeds", str(then.seed), str(now.seed))
    told.add("kind of phase", then.kind, now.kind)
    if then.role and now.role:  # before, there was none
        told.add("role in the chain", then.role, now.role, follows=True)
    if then.numerics != now.numerics:
        note = f"version {then.numerics} -> {now.numerics}: the same settings give other numbers since"
        told.own.append(Difference("numerics", str(then.numerics), str(now.numerics), note))
    return told.own or ([] if parents else told.follows), parents


# -- where it stands in the file ------------------------------------------------------------------------------


def section_of(phase: PlannedPhase, plan: Plan) -> str:
    """The dotted key of the section of the sweep file that describes a phase: `semantic`, `targets.text.semantic`."""
    kind, spec = phase.kind, plan.spec
    for group in ("targets", "chain"):
        entries = spec.get(group)
        if kind in spec or not isinstance(entries, list):
            continue
        names = {
            str(entry.get("name", i)): entry
            for i, entry in enumerate(entries)
            if isinstance(entry, dict) and kind in entry
        }
        words = set(phase.variant.split("/"))
        fits = [name for name in names if name in words] or list(names)
        if len(fits) == 1:
            return f"{group}.{fits[0]}.{kind}"
    return kind


def _at(plan: Plan, path: str) -> Any:
    """What the file says at a dotted key; None where it says nothing."""
    value: Any = plan.spec
    for part in path.split("."):
        if isinstance(value, list):
            names = [str(one.get("name", i)) if isinstance(one, dict) else str(i) for i, one in enumerate(value)]
            value = dict(zip(names, value, strict=True))
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _beside(plan: Plan, section: str, key: str) -> str:
    """The key of what stands in a phase's section, in its target or link, or else for the whole sweep."""
    around, _, _ = section.rpartition(".")
    for place in (section, around):
        if place and isinstance(found := _at(plan, place), dict) and key in found:
            return f"{place}.{key}"
    return key


# -- what it says ---------------------------------------------------------------------------------------------


def _text(value: Any) -> str:
    if value is None or value == {} or value == []:
        return _NOTHING
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return short_number(value)
    return (
        value
        if isinstance(value, str)
        else canonical_json(value).replace('"', "").replace(":", ": ").replace(",", ", ")
    )


def _training(told: _Told, section: str, plan: Plan, before: PlannedPhase, phase: PlannedPhase) -> None:
    """Batch, optimiser, evaluation and budget; what the file counts in tokens is told in tokens."""
    then, now = before.recipe, phase.recipe
    per_step = before.tokens_per_step, phase.tokens_per_step
    written = _at(plan, section)
    if isinstance(written, dict) and "batch_tokens" in written:
        told.add(
            f"{section}.batch_tokens",
            format_count(then.batch * then.model.context),
            format_count(now.batch * now.model.context),
        )
    else:
        told.add(f"{section}.batch", str(then.batch), str(now.batch))
    for name, value in vars(now.optimizer).items():
        old, key = getattr(then.optimizer, name), f"{section}.optimizer.{name}"
        if name == "warmup_steps":
            _in_tokens(told, f"{section}.optimizer.warmup", (old, value), per_step)
        else:
            told.add(key, _text(old), _text(value))
    one, other = then.evaluation, now.evaluation
    if _counts(phase, replace(other, every=one.every)):
        _in_tokens(told, f"{section}.evaluate.every", (one.every, other.every), per_step)
    if _counts(phase, replace(other, sequences=one.sequences)):
        told.add(f"{section}.evaluate.sequences", str(one.sequences), str(other.sequences))
    told.add(f"{section}.evaluate.solved", *(_text(vars(e.solved) if e.solved else None) for e in (one, other)))
    told.add("evaluated on", one.split, other.split)
    told.add("version of the metrics", str(one.version), str(other.version))
    if then.steps is not None and now.steps is not None and then.steps != now.steps:
        asked = _asked(before, then.steps), _asked(phase, now.steps)
        told.add(f"{section}.tokens", *map(format_count, asked))
        if asked[0] == asked[1]:  # the same budget in other steps
            told.add(f"{section}.tokens", f"{then.steps} steps", f"{now.steps} steps", follows=True)


def _among(told: _Told, then: Interleaving | None, now: Interleaving | None) -> None:
    """Procedural data among the text, which follow from several keys of their section."""
    both = [{} if one is None else dict(vars(one)) for one in (then, now)]
    told.add("rows for procedural symbols", *(_text(one.get("rows")) for one in both))
    if both[0].get("task") and both[1].get("task"):
        _task(told, "procedural", both[0]["task"], both[1]["task"])
    else:
        told.add("procedural", *(_data_title({"task": one["task"]}) if one.get("task") else _NOTHING for one in both))
    if all(one.get("task") for one in both):
        for name, place in _PLACES.items():
            told.add(place, str(both[0][name]), str(both[1][name]))


_PLACES = {
    "batch": "procedural.batch",
    "updates": "updates on procedural data",
    "start": "steps of text before procedural data",
    "span": "steps of text among which they stand",
    "decay": "procedural.mix.decay",
    "sequences": "procedural.evaluate.sequences",
}


def _counts(phase: PlannedPhase, evaluation: Evaluation) -> bool:
    """Whether another evaluation would make it another phase."""
    return replace(phase.recipe, evaluation=evaluation).id != phase.recipe.id


def _asked(phase: PlannedPhase, step: int) -> int:
    """The budget of the file that ends at a step."""
    asked = phase.asked.get(step)
    return asked[0] if asked else round(step * phase.tokens_per_step)


def _in_tokens(told: _Told, key: str, steps: tuple[int, int], per_step: tuple[float, float]) -> None:
    """A number of steps that the file gives in tokens. Where both may be the same tokens, they follow from them."""
    if steps[0] == steps[1]:
        return
    tokens = [step * each for step, each in zip(steps, per_step, strict=True)]
    if per_step[0] != per_step[1] and abs(tokens[0] - tokens[1]) <= max(per_step) / 2:
        told.add(key, f"{steps[0]} steps", f"{steps[1]} steps", follows=True)
    else:
        told.add(key, *(format_count(round(value)) for value in tokens))


def _model(told: _Told, section: str, plan: Plan, then: PhaseRecipe, now: PhaseRecipe, data_differ: bool) -> None:
    own = _at(plan, f"{section}.model")
    # The family last: what only one of them has follows from it.
    before, after = ({**one.model.to_json(), "family": one.model.family} for one in (then, now))
    for name, value in after.items():
        place = f"{section}.model" if isinstance(own, dict) and name in own else "model"
        given_by_task = name == "context" and data_differ and "task" in now.data and "task" in then.data
        told.add(f"{place}.{name}", _text(before.get(name)), _text(value), follows=given_by_task)


def _data(
    told: _Told, section: str, then: PhaseRecipe, now: PhaseRecipe, changed_files: ChangedFiles
) -> bool:  # fmt: skip
    """Tells what differs in the stream of data; whether anything does."""
    before = len(told.own)
    if "task" in then.data and "task" in now.data:
        _task(told, section, then.data["task"], now.data["task"])
    elif "task" in then.data or "task" in now.data:
        key = "task" if "task" in now.data else "corpus"
        told.add(f"{section}.{key}", _data_title(then.data), _data_title(now.data))
    else:
        place = f"{section}.task.text" if now.kind == "procedural" else section
        _corpus(told, f"{place}.corpus", then, now, changed_files)
        old, new = (corpora.identity(recipe.data)["tokenizer"] for recipe in (then, now))
        if old.get("kind") != new.get("kind"):
            told.add(f"{place}.tokenizer", _tokenizer(old), _tokenizer(new))
        else:
            for key in dict.fromkeys([*old, *new]):
                told.add(f"{place}.tokenizer.{key}", _text(old.get(key)), _text(new.get(key)))
    return len(told.own) > before


def _task(told: _Told, section: str, then: dict[str, Any], now: dict[str, Any]) -> None:
    plain = "name" in then and then.get("name") == now.get("name")
    if not plain:
        told.add(f"{section}.task", _task_title(then), _task_title(now))
        return
    for key in dict.fromkeys([*then, *now]):
        old, new = then.get(key), now.get(key)
        default = _default(now["name"], key)
        told.add(f"{section}.{key}", _text(default if old is None else old), _text(default if new is None else new))


def _default(task: str, key: str) -> Any:
    try:
        return tasks.describe(task)[1].get(key, (None, ""))[0]
    except TaskError:
        return None


def _task_title(task: dict[str, Any]) -> str:
    """The task with its parameters: `set (length 8, vocab 100)`."""
    if "name" not in task:
        return _text(task)
    rest = [f"{key} {_text(value)}" for key, value in task.items() if key != "name"]
    return f"{task['name']} ({', '.join(rest)})" if rest else str(task["name"])


def _data_title(data: dict[str, Any]) -> str:
    return _task_title(data["task"]) if "task" in data else corpora.title(data)


def _tokenizer(recipe: dict[str, Any]) -> str:
    return " ".join(str(recipe[key]) for key in ("kind", "name", "entries", "alphabet") if recipe.get(key))


def _corpus(told: _Told, key: str, then: PhaseRecipe, now: PhaseRecipe, changed_files: ChangedFiles) -> None:
    old, new = (corpora.identity(recipe.data)["corpus"] for recipe in (then, now))
    names = [[corpus.get(part) for part in ("source", "name", "config", "package")] for corpus in (old, new)]
    if names[0] != names[1]:
        told.add(key, corpora.title(then.data), corpora.title(now.data))
        return
    if old.get("content") != new.get("content"):
        changed = changed_files(then, now)
        if changed is None and ("base" in then.data["corpus"]) != ("base" in now.data["corpus"]):
            changed = "another digest of the files, which older versions made otherwise"
        if changed != "":
            told.own.append(Difference(key, _short(old), _short(new), changed or "the files hold something else"))
    for part in dict.fromkeys([*old, *new]):
        if part == "preparation":
            told.add("version of the corpus' preparation", _text(old.get(part)), _text(new.get(part)))
        elif part not in ("content", *(("files", "base", "validation") if "content" in new else ())):  # where they lie
            told.add(f"{key}.{part}", _text(old.get(part)), _text(new.get(part)))


def _short(corpus: dict[str, Any]) -> str:
    return str(corpus.get("content"))[:12]


# -- what it begins with --------------------------------------------------------------------------------------


def _init(
    told: _Told,
    section: str,
    plan: Plan,
    former: Plan,
    phase: PlannedPhase,
    before: PlannedPhase,
    pairs: dict[str, str],
) -> tuple[str, ...]:
    """Tells what else is carried over, or done to it; returns the labels of parents that differ themselves."""
    now, then = phase.recipe.init, before.recipe.init
    transfer = _beside(plan, section, "transfer")
    old, new = _givers(then), _givers(now)
    parents: dict[str, None] = {}
    same_parts = old.keys() == new.keys()
    if not same_parts:
        told.add(transfer, _bundle(list(old)), _bundle(list(new)))
    for part in [part for part in new if part in old]:
        one, other = old[part], new[part]
        if one.phase != other.phase and _takes_its_place(one.phase, other.phase, plan, former, pairs):
            parents[plan.phases[other.phase].label] = None
        elif one.phase != other.phase and same_parts:
            told.add(transfer, f"{part} from {_label(one, former)}", f"{part} from {_label(other, plan)}")
            continue
        if one.step != other.step and other.phase in plan.phases and one.phase in former.phases:
            budgets = _asked(former.phases[one.phase], one.step), _asked(plan.phases[other.phase], other.step)
            place = f"{section_of(plan.phases[other.phase], plan)}.tokens"
            told.add(place, *map(format_count, budgets))
    told.add(transfer, *(f"embeddings {init.embeddings}" for init in (then, now)))
    told.add(
        _beside(plan, section, "perturb"),
        *(_text(init.perturb.to_json() if init.perturb else None) for init in (then, now)),
    )
    told.add(_beside(plan, section, "freeze"), *("+".join(init.freeze) or _NOTHING for init in (then, now)))
    return tuple(parents)


def _givers(init: Init) -> dict[str, Parent]:
    """By what is carried, in words, the mark that gives it."""
    return {word: parent for parent, words in init.carried().items() for word in words}


def _takes_its_place(then: str, now: str, plan: Plan, former: Plan, pairs: dict[str, str]) -> bool:
    if now not in plan.phases or then not in former.phases:
        return False
    return pairs.get(now) == then or plan.phases[now].label == former.phases[then].label


def _label(parent: Parent, plan: Plan) -> str:
    if parent.phase in plan.outside:
        return plan.outside[parent.phase].name
    return plan.phases[parent.phase].label if parent.phase in plan.phases else parent.phase


def _bundle(parts: list[str]) -> str:
    """As the file would write it: `full`, `attention`, a `+`-list of others."""
    full = ("attention", "mlp", "layernorm")
    rest = [part for part in parts if part not in full]
    names = ["full", *rest] if set(full) <= set(parts) else sorted(parts)
    return "+".join(names) or "none"
