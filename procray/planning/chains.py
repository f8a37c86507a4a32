"""What the phases of a chain are: data, budgets in steps, what they inherit; and every check of it.

Facts depend on the axes, never on the seed, and are computed once for each combination of values
that a phase depends on.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

from procray import corpora, tasks
from procray.errors import CorpusError, Problem, TaskError, did_you_mean
from procray.files import canonical_json
from procray.model.outside import Outside
from procray.planning import costs as estimate
from procray.planning import text_warmup
from procray.planning import transfer as inheritance
from procray.spec.axes import Path, Pick, starts_with
from procray.spec.counts import format_count
from procray.spec.names import label
from procray.spec.structure import Link, SweepSpec, Tail
from procray.training.recipe import Evaluation, ModelShape, Optimizer, PhaseRecipe, Solved

EVERY_STEPS = 100  # between evaluations where the file is silent
TASK_SEQUENCES = 256  # size of the fixed evaluation set where the file is silent
TEXT_SEQUENCES = 64

_TRAINING = ("batch", "batch_tokens", "tokens", "optimizer", "evaluate")  # what decides how a phase is trained only
_PHASE_KEYS = ("task", "batch", "tokens", "optimizer", "evaluate", "model", "resources")


@dataclass(frozen=True)
class Facts:
    """One phase without its seed and its parents.

    Attributes:
        recipe: complete but for seed, init and, where the schedule decays, steps.
        budget: tokens as asked for.
        tokens_per_step: nominal tokens of one step (expected, where lengths are drawn).
        vocab: rows of the token embedding.
        rows: cells of an automaton's row, else None.
        symbols: what the vocabulary means: equal for phases whose embeddings can be copied.
        unused: axes of parameters that this task does not have.
        label: the task or corpus, for people.
    """

    link: Link
    recipe: PhaseRecipe
    template: tuple[str, str, str, str]  # the canonical JSON around init, seed and steps
    budget: int
    tokens_per_step: float
    vocab: int
    rows: int | None
    symbols: str
    resources: dict[str, Any]
    unused: frozenset[int]
    label: str
    flops_per_step: float

    @property
    def decaying(self) -> bool:
        return self.recipe.optimizer.schedule != "constant"

    def steps(self, fraction: float | None = None) -> int:
        """Whole steps for the budget, or for a fraction of it."""
        asked = self.budget if fraction is None else round(self.budget * fraction)
        return max(1, whole_steps(asked, self.tokens_per_step))

    def nominal(self, step: int) -> int:
        return round(step * self.tokens_per_step)


def whole_steps(tokens: int, tokens_per_step: float) -> int:
    """The smallest number of steps that reaches a budget."""
    return math.ceil(tokens / tokens_per_step - 1e-9)


class Chains:
    """Facts and inheritance of a sweep's phases; `problems` collects what is wrong.

    Args:
        spec: the settings.
        light: leave the file system alone (for scales that are checked but not used).
    """

    def __init__(self, spec: SweepSpec, light: bool = False):
        self.spec = spec
        self.light = light
        self.problems: dict[tuple[str, int, int], Problem] = {}
        self._facts: dict[tuple[Link, Any], Facts | None] = {}
        self._tuned: dict[tuple[str, str, str, str], Facts] = {}
        self._shapes: dict[tuple[Link, Any], dict[str, Any] | None] = {}
        self.outside: dict[str, Outside] = {}  # by id, the checkpoints that the file names
        self.looked_up: dict[str, Outside | str] = {}  # by how the file names them; a text is a problem
        self._inherited: dict[tuple[Any, ...], inheritance.Inheritance | None] = {}
        self._tasks: dict[str, tuple[tasks.Task | None, frozenset[str], list[tuple[str, str]]]] = {}
        self._recipes: dict[str, dict[str, Any] | str] = {}
        self._used: dict[Path, set[str]] = {}
        self._given: dict[Path, dict[str, Pick]] = {}
        self._own: dict[Link, frozenset[int]] = {}
        self._transfer: dict[Link, frozenset[int]] = {}
        self._axes: dict[tuple[tuple[Link, ...], bool], frozenset[int]] = {}
        self._bearing: dict[tuple[int, int], frozenset[int]] = {}
        self._getters: dict[frozenset[int], Callable[[Pick], Any]] = {}

    def report(self, path: Path, pick: Pick, message: str) -> None:
        """Notes a problem; of the many cells that find fault with one value, the first speaks."""
        problem = self.spec.problem(path, pick, message)
        self.problems.setdefault((problem.file, problem.line, problem.column), problem)

    def own_axes(self, link: Link) -> frozenset[int]:
        """The axes that a phase itself depends on, its parents aside."""
        if link not in self._own:
            paths: list[Path] = [link.section, *link.models, ("precision",)]
            found = frozenset().union(*(self.spec.relevant(path) for path in paths))
            if link.kind == "finetune":  # what it begins with stands in its section
                found -= {i for i in found for path in _starts(link) if starts_with(self.spec.axes[i].path, path)}
            self._own[link] = found
        return self._own[link]

    def transfer_axes(self, link: Link) -> frozenset[int]:
        """The axes that decide what a phase begins with: what it inherits, what is done to that, what is frozen."""
        if link not in self._transfer:
            found = [self.spec.relevant(path) for path in _starts(link)]
            self._transfer[link] = frozenset[int]().union(*found)
        return self._transfer[link]

    def axes_of(self, links: tuple[Link, ...], bare: bool = False) -> frozenset[int]:
        """Every axis that a chain depends on.

        Args:
            bare: it is a baseline, whose first phase begins with random weights, all of them trained.
        """
        key = (links, bare)
        if key not in self._axes:
            found: frozenset[int] = frozenset()
            for i, link in enumerate(links):
                found |= self.own_axes(link) | (frozenset() if bare and i == 0 else self.transfer_axes(link))
            self._axes[key] = found
        return self._axes[key]

    def bearing_axes(self, tail: Tail, i: int) -> frozenset[int]:
        """The axes that decide what link `i` inherits and on which axes its chain depends.

        How the link itself is trained decides neither, so that a grid over learning rates is read once.
        """
        key = (id(tail), i)
        if key not in self._bearing:
            link = tail.links[i]
            training = {
                axis
                for axis in self.own_axes(link)
                for part in _TRAINING
                if starts_with(self.spec.axes[axis].path, (*link.section, part))
            }
            earlier = self.axes_of(tail.links[:i]) if i else frozenset[int]()
            self._bearing[key] = (self.own_axes(link) - training) | self.transfer_axes(link) | earlier
        return self._bearing[key]

    def restrict(self, pick: Pick, axes: frozenset[int]) -> Pick:
        return tuple([value if i in axes else -1 for i, value in enumerate(pick)])

    def values(self, pick: Pick, axes: frozenset[int]) -> Any:
        """What `restrict` keeps, as a key: equal where that is equal, and many times quicker."""
        if axes not in self._getters:
            self._getters[axes] = itemgetter(*sorted(axes)) if axes else lambda pick: ()
        return self._getters[axes](pick)

    # Facts

    def facts(self, link: Link, pick: Pick) -> Facts | None:
        """What a phase is in one cell; None where something is wrong with it."""
        axes = self.own_axes(link)
        key = (link, self.values(pick, axes))
        if key not in self._facts:
            before = len(self.problems)
            found = self._read(link, self.restrict(pick, axes))
            self._facts[key] = found if len(self.problems) == before else None
        return self._facts[key]

    def on_tuning_split(self, facts: Facts) -> Facts:
        """The same phase, evaluated on the held-out data that settings are chosen on."""
        if facts.template not in self._tuned:
            evaluation = replace(facts.recipe.evaluation, split="tuning")
            recipe = replace(facts.recipe, evaluation=evaluation)
            self._tuned[facts.template] = replace(facts, recipe=recipe, template=_template(recipe))
        return self._tuned[facts.template]

    def _read(self, link: Link, pick: Pick) -> Facts | None:
        spec, path = self.spec, link.section
        section = spec.value(path, pick)
        if not isinstance(section, dict):
            return None
        resources = {**spec.resources, **section.get("resources", {})}
        resources["workers"] = int(resources["workers"])
        shape = self.shape(link, pick)
        warm_text = text_warmup.of(section)
        if _is_task(link):
            source = self._task_data(link, section, pick)
        else:
            source = self.text_data(section, pick, path)
        context = None if source is None else (warm_text or {}).get("context") or self._context(link, pick, source)
        if warm_text is None or context is None:
            batch = self._batch(link, section, pick, context)
        else:
            batch = text_warmup.batch(self, link, section, pick, context)
        if batch is not None and batch < resources["workers"]:
            self.report((*path, "batch"), pick, f"a batch of {batch} is too small for {resources['workers']} workers")
        budget = section.get("tokens")
        if resources.get("executor") == "inprocess" and resources["workers"] > 1:
            own = path if "executor" in section.get("resources", {}) else ()
            text = f"'inprocess' trains in one process, but this phase has {resources['workers']} workers"
            self.report((*own, "resources", "executor"), pick, text)
        least = resources.get("min_workers")
        if least is not None:
            own = (*path, "resources") if "min_workers" in section.get("resources", {}) else ("resources",)
            if least > resources["workers"]:
                text = f"at least {least} workers are more than the {resources['workers']} of `workers`"
                self.report((*own, "min_workers"), pick, text)
            if resources.get("executor", "auto") not in ("auto", "train"):
                text = f"only the executor 'train' can do with fewer workers, not '{resources['executor']}'"
                self.report((*own, "min_workers"), pick, text)
        if source is None or context is None or batch is None or budget is None:
            return None
        length = source.mean_tokens or context
        tokens_per_step = float(batch * length)
        if budget < tokens_per_step - 1e-9:
            self.report(
                (*path, "tokens"),
                pick,
                f"{format_count(budget)} tokens are less than one step"
                f" ({batch} sequences x {length:g} tokens = {tokens_per_step:.10g})",
            )
        steps = max(1, whole_steps(budget, tokens_per_step))
        optimizer = self._optimizer(link, section.get("optimizer", {}), pick, tokens_per_step, steps)
        evaluation = self._evaluation(link, section, pick, tokens_per_step, budget)
        if optimizer is None or shape is None:
            return None
        precision = spec.value(("precision",), pick)
        if precision not in ("fp32", "bf16"):
            precision = "bf16" if resources["gpu"] > 0 else "fp32"
        recipe = PhaseRecipe(
            kind=link.kind,
            model=ModelShape(**{**shape, "context": context}),
            data=source.recipe,
            batch=batch,
            optimizer=optimizer,
            evaluation=evaluation,
            seed=0,
            steps=None if optimizer.schedule == "constant" else steps,
            precision=precision,
        )
        config = estimate.config(recipe.model, source.vocab, source.rows)
        positions = batch * context if source.rows is not None else tokens_per_step
        return Facts(
            link=link,
            recipe=recipe,
            template=_template(recipe),
            budget=budget,
            tokens_per_step=tokens_per_step,
            vocab=source.vocab,
            rows=source.rows,
            symbols=source.symbols,
            resources=resources,
            unused=source.unused,
            label=source.label,
            flops_per_step=positions * estimate.flops_per_token(config, context),
        )

    def shape(self, link: Link, pick: Pick) -> dict[str, Any] | None:
        """Layers, heads, width and the rest of a phase's model; None where they are impossible or missing."""
        axes = self.own_axes(link)
        key = (link, self.values(pick, axes))
        if key not in self._shapes:
            self._shapes[key] = self._model(link, self.restrict(pick, axes))
        return self._shapes[key]

    def _written_model(self, link: Link, pick: Pick) -> tuple[dict[str, Any], dict[str, Path]]:
        """The model's settings, overrides applied, and where each of them stands."""
        merged: dict[str, Any] = {}
        where: dict[str, Path] = {}
        for path in link.models:
            for key, value in (self.spec.value(path, pick) or {}).items():
                merged[key] = value
                where[key] = (*path, key)
        return merged, where

    def _model(self, link: Link, pick: Pick) -> dict[str, Any] | None:
        merged, where = self._written_model(link, pick)
        missing = [key for key in ("layers", "heads", "width") if key not in merged]
        for key in missing:
            self._missing_of_model(link, pick, key)
        if missing:
            return None
        if merged["width"] % merged["heads"]:
            self.report(
                where["width"], pick, f"a width of {merged['width']} cannot be divided among {merged['heads']} heads"
            )
            return None
        return {"tied": True, "dropout": 0.0, **merged}

    def _missing_of_model(self, link: Link, pick: Pick, key: str) -> None:
        if not any(self.spec.written((*path, key), pick) for path in link.models):
            there = "model" in self.spec.root.value
            path: Path = ("model",) if there else ()
            name = "" if there else "model."
            why = f", which {'.'.join(map(str, link.section))} needs" if key == "context" else ""
            self.report(path, pick, f"missing key '{name}{key}'{why}")

    def _context(self, link: Link, pick: Pick, source: Source) -> int | None:
        """The positions of the model: a task's own, or what the file asks for."""
        merged, where = self._written_model(link, pick)
        asked = merged.get("context")
        if source.positions is None:
            if asked is None:
                self._missing_of_model(link, pick, "context")
            return asked
        own = where.get("context") != ("model", "context")  # the sweep's own context belongs to its text, if it has any
        text = any(not _is_task(other) for tail in self.spec.tails for other in tail.links)
        if asked is None or (not own and (text or link.kind == "procedural")):
            return source.positions
        if asked < source.positions:
            self.report(
                where["context"],
                pick,
                f"a context of {asked} is smaller than the {source.positions} positions that {source.label} needs",
            )
        return asked if own else source.positions

    def _batch(self, link: Link, section: dict[str, Any], pick: Pick, context: int | None) -> int | None:
        path = link.section
        if "batch_tokens" in section and "batch" in section:
            self.report((*path, "batch_tokens"), pick, "give batch (sequences) or batch_tokens, not both")
        elif "batch" in section:
            return section["batch"]
        elif "batch_tokens" not in section:
            if not _is_task(link) and not any(self.spec.written((*path, k), pick) for k in ("batch", "batch_tokens")):
                self.report(path, pick, "missing key 'batch' (sequences) or 'batch_tokens'")
        elif context is not None:
            batch, rest = divmod(section["batch_tokens"], context)
            if not rest:
                return batch
            near = [format_count(n * context) for n in (batch, batch + 1) if n]
            self.report(
                (*path, "batch_tokens"),
                pick,
                f"{format_count(section['batch_tokens'])} is no whole number of sequences of {context} tokens"
                f" (near: {' or '.join(near)})",
            )
        return None

    def _optimizer(
        self, link: Link, given: dict[str, Any], pick: Pick, tokens_per_step: float, steps: int
    ) -> Optimizer | None:
        path = (*link.section, "optimizer")
        values = {key: value for key, value in given.items() if key != "warmup"}
        key = "warmup" if "warmup" in given else "warmup_steps"
        if "warmup" in given and "warmup_steps" in given:
            self.report((*path, "warmup_steps"), pick, "give warmup (tokens) or warmup_steps, not both")
        elif "warmup" in given:
            values["warmup_steps"] = round(given["warmup"] / tokens_per_step)
        if values.get("warmup_steps", 0) >= steps:
            self.report((*path, key), pick, f"a warm-up as long as the whole budget ({steps} steps)")
        # What a schedule does not use is no part of the phase's identity.
        if values.get("schedule", "constant") == "constant":
            values.pop("min_lr", None)
        if values.get("schedule") != "wsd":
            values.pop("decay", None)
        return Optimizer(**values) if "lr" in values else None

    def _evaluation(
        self, link: Link, section: dict[str, Any], pick: Pick, tokens_per_step: float, budget: int
    ) -> Evaluation:
        given = section.get("evaluate", {})
        every = EVERY_STEPS
        if "every" in given:
            every = max(1, round(given["every"] / tokens_per_step))
            if given["every"] > budget >= tokens_per_step:
                self.report(
                    (*link.section, "evaluate", "every"),
                    pick,
                    f"every {format_count(given['every'])} tokens is rarer than the budget of {format_count(budget)}",
                )
        is_text = "task" not in section or text_warmup.of(section) is not None
        sequences = given.get("sequences", TEXT_SEQUENCES if is_text else TASK_SEQUENCES)
        rule = given.get("solved") or {}
        return Evaluation(
            every,
            sequences,
            solved=Solved(**{**rule, "accuracy": float(rule["accuracy"])}) if rule.get("accuracy") else None,
        )

    # Tasks

    def _task_data(self, link: Link, section: dict[str, Any], pick: Pick) -> Source | None:
        path = link.section
        params = self.parameters(section)
        if "task" not in section:
            return None
        given = self._given.setdefault(path, {})
        for key in params:
            given.setdefault(key, pick)
        if text_warmup.of(section) is not None:
            self._used.setdefault(path, set())
            return text_warmup.data(self, link, section, pick)
        task, used, problems = self._task(section["task"], params)
        self._used.setdefault(path, set()).update(used)
        for key, message in problems:
            self.report((*path, key), pick, message)
        if task is None:
            self._used[path].update(params)  # nobody knows what it would have used
            return None
        unused = frozenset(
            i
            for i, axis in enumerate(self.spec.axes)
            if axis.path[:-1] == path and axis.path[-1] in params.keys() - used
        )
        recipe = task.recipe()
        return Source(
            recipe={"task": recipe},
            positions=task.positions,
            mean_tokens=task.mean_tokens,
            vocab=task.vocab_size,
            rows=task.rows,
            symbols=canonical_json(_meaning(recipe)),
            unused=unused,
            label=label("task", section["task"]),
        )

    def parameters(self, section: dict[str, Any]) -> dict[str, Any]:
        """What a section of a task says beyond what every phase has: the parameters of tasks."""
        return {key: value for key, value in section.items() if key not in _PHASE_KEYS}

    def mean_tokens(self, section: dict[str, Any]) -> float | None:
        """Tokens of one sequence of a section's task; None where the task is wrong."""
        task, _, _ = self._task(section["task"], self.parameters(section))
        return None if task is None else task.mean_tokens

    def _task(
        self, value: Any, params: dict[str, Any]
    ) -> tuple[tasks.Task | None, frozenset[str], list[tuple[str, str]]]:
        """A task, the parameters that it took, and its problems by key."""
        key = json.dumps([value, params], sort_keys=True)
        if key not in self._tasks:
            used: set[str] = set()
            problems: list[tuple[str, str]] = []
            task = _build_task(value, params, used, problems)
            self._tasks[key] = (None if problems else task), frozenset(used), problems
        return self._tasks[key]

    def unused_parameters(self) -> None:
        """Reports the parameters of tasks that no task of their section has."""
        for path, given in self._given.items():
            for key, pick in given.items():
                if key not in self._used[path]:
                    name = self.spec.value((*path, "task"), pick)
                    known = _parameters_of(name)
                    self.report(
                        (*path, key),
                        pick,
                        f"{label('task', name)} has no parameter '{key}'{did_you_mean(key, known)}"
                        f" (parameters: {', '.join(known)})",
                    )

    # Text

    def text_data(
        self, section: dict[str, Any], pick: Pick, path: Path, key_of_corpus: str | None = "corpus"
    ) -> Source | None:
        """The text that a mapping at `path` describes; `key_of_corpus` is None where the corpus stands there itself."""
        corpus, tokenizer = section.get("corpus"), section.get("tokenizer")
        if corpus is None:
            return None
        name = label("corpus", corpus)
        if self.light and (
            (isinstance(corpus, dict) and "files" in corpus)
            or (isinstance(tokenizer, str) and ("/" in tokenizer or "." in tokenizer))
        ):
            return Source({}, None, None, 1, None, _symbols(corpus, tokenizer), frozenset(), name)
        key = json.dumps([corpus, tokenizer], sort_keys=True)
        if key not in self._recipes:
            try:
                self._recipes[key] = corpora.recipe(corpus, tokenizer)
            except CorpusError as error:
                self._recipes[key] = str(error)
        recipe = self._recipes[key]
        if isinstance(recipe, str):
            where = "tokenizer" if tokenizer is not None and _about_tokenizer(recipe, corpus) else "corpus"
            self.report((*path, where) if where == "tokenizer" or key_of_corpus else path, pick, recipe)
            return Source({}, None, None, 1, None, _symbols(corpus, tokenizer), frozenset(), name)
        vocab = corpora.vocab_size_estimate(recipe)
        symbols = f"{vocab} {_symbols(**corpora.identity(recipe))}"
        return Source(recipe, None, None, vocab, None, symbols, frozenset(), name)

    # Transfer

    def inherit(self, tail: Tail, i: int, before: int | None, pick: Pick) -> inheritance.Inheritance | None:
        """What link `i` begins with: from link `before`, from the phases that its mode names, from outside."""
        known = self.facts(tail.links[i], pick) is not None  # where something is wrong with it, nothing fits
        key = (id(tail), i, before, known, self.values(pick, self.bearing_axes(tail, i)))
        if key not in self._inherited:
            count = len(self.problems)
            found = inheritance.read(self, tail, i, before, self.restrict(pick, self.axes_of(tail.links[: i + 1])))
            self._inherited[key] = found if len(self.problems) == count else None
        return self._inherited[key]


@dataclass(frozen=True)
class Source:
    """What a task or a text gives to the phase that trains on it."""

    recipe: dict[str, Any]
    positions: int | None  # None for text: the file says it
    mean_tokens: float | None  # of one sequence; None for text: the whole context
    vocab: int
    rows: int | None
    symbols: str
    unused: frozenset[int]
    label: str


def _starts(link: Link) -> list[Path]:
    """Where the file says what a phase begins with."""
    return [path for path in (link.transfer, link.freeze, link.perturb) if path]


def _is_task(link: Link) -> bool:
    return link.kind in ("procedural", "diagnostic")


def _parameters_of(value: Any) -> list[str]:
    """The parameters that a task, or any part of a combination, accepts."""
    if isinstance(value, dict):
        if "text" in value:
            return []
        inner = [value["shuffled"]] if "shuffled" in value else list(value["mixture"])
        return list(dict.fromkeys(name for part in inner for name in _parameters_of(part)))
    if value == "eca":
        return ["form", *dict.fromkeys([*_parameters_of("eca_rows"), *_parameters_of("eca_tokens")])]
    try:
        return list(tasks.describe(value)[1])
    except TaskError:
        return []


def _build_task(
    value: Any, params: dict[str, Any], used: set[str], problems: list[tuple[str, str]]
) -> tasks.Task | None:
    """A task with those of the parameters that it accepts."""
    if isinstance(value, dict):
        if "text" in value:
            problems.append(("task", "text stands by itself, not inside of shuffled or mixture"))
            return None
        inner = [value["shuffled"]] if "shuffled" in value else list(value["mixture"])
        parts = [_build_task(part, params, used, problems) for part in inner]
        if problems or any(part is None for part in parts):
            return None
        try:
            if "shuffled" in value:
                return tasks.get("shuffled", task=parts[0])
            weighted = list(zip(parts, value["mixture"].values(), strict=True))
            return tasks.get("mixture", parts=weighted, prefix=value.get("prefix", False))
        except TaskError as error:
            problems.append(("task", str(error).replace("\n", "; ")))
            return None
    if value == "eca" and params.get("form") in ("rows", "tokens"):
        used.add("form")
        return _build_task(f"eca_{params['form']}", params, used, problems)
    accepted = {key: params[key] for key in _parameters_of(value) if key in params}
    used.update(accepted)
    try:
        return tasks.get(value, **accepted)
    except TaskError as error:
        for line in str(error).split("\n"):
            text = line.removeprefix(f"{value}: ")
            named = re.match(r"\W*(\w+)", text)
            about = named[1] if named and named[1] in accepted else None
            if about is None:
                about = next((key for key in accepted if re.search(rf"\b{key}\b", text)), "task")
            problems.append((about, line))
        return None


def _meaning(recipe: dict[str, Any]) -> Any:
    """Equal for tasks whose token ids mean the same: the same V symbols, or the same k brackets."""
    if "shuffled" in recipe:
        return _meaning(recipe["shuffled"])
    if "mixture" in recipe:
        parts = [_meaning(part["task"]) for part in recipe["mixture"]]
        alike = all(part == parts[0] for part in parts) and not recipe.get("prefix")
        return parts[0] if alike else ["mixture", *parts, recipe.get("prefix", False)]
    for key in ("vocab", "k"):
        if key in recipe:
            return [key, recipe[key]]
    return [recipe["name"], *(recipe[key] for key in ("width", "values") if key in recipe)]


def _symbols(corpus: Any, tokenizer: Any) -> str:
    """Equal where token ids mean the same; a tokenizer made from the corpus belongs to it."""
    kind = tokenizer.get("kind") if isinstance(tokenizer, dict) else tokenizer
    return json.dumps([tokenizer, None if kind in ("byte", "hub", "folder") else corpus], sort_keys=True)


def _about_tokenizer(message: str, corpus: Any) -> bool:
    return "tokenizer" in message and not (isinstance(corpus, str) and f"'{corpus}'" in message)


def _template(recipe: PhaseRecipe) -> tuple[str, str, str, str]:
    """The canonical JSON of a recipe, cut at init, seed and steps, so that ids come quickly."""
    marks = {"init": "\x00init", "seed": "\x00seed", "steps": "\x00steps"}
    text = canonical_json({**recipe.meaning(), **marks})
    cut = re.compile(r'"\\u0000(init|seed|steps)"')
    assert cut.findall(text) == ["init", "seed", "steps"]
    pieces = re.split(r'"\\u0000\w+"', text)
    return pieces[0], pieces[1], pieces[2], pieces[3]
