"""What data a phase trains on: a procedural task, a text, or a text in the place of a procedural task."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from procray import corpora, tasks
from procray.errors import CorpusError, NotHere, did_you_mean
from procray.planning.build_task import Wrong, build_task, parameters_of
from procray.planning.identity import task_symbols, text_symbols
from procray.planning.inspection import Inspection
from procray.spec.cells import Pick
from procray.spec.names import label
from procray.spec.paths import Path, starts_with
from procray.spec.structure import Link
from procray.training.noise import Noise

_PHASE_KEYS = ("task", "batch", "tokens", "optimizer", "evaluate", "model", "resources", "at", "mix")


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


def names_task(link: Link) -> bool:
    """Whether a section has `task:` where others have `corpus:`."""
    return link.kind in ("procedural", "diagnostic")


def text_warmup(section: dict[str, Any]) -> dict[str, Any] | None:
    """What `task: {text: ...}` of a section says; None where a task stands there, or none.

    Text in the place of a procedural task is the control that asks whether any warm-up would have done. It stays a
    procedural phase and its tokens count as T1. For a fair comparison it takes the same budget in steps of nearly the
    same number of tokens as the tasks that stand beside it in the grid (`Data.text_warmup_batch`).
    """
    task = section.get("task")
    return task["text"] if isinstance(task, dict) and "text" in task else None


class Data:
    """Reads sections for their data. Each task is built once, and each text described once."""

    def __init__(self, inspection: Inspection):
        self._inspection, self._spec = inspection, inspection.spec
        self._tasks: dict[str, tuple[tasks.Task | None, frozenset[str], list[Wrong]]] = {}
        self._texts: dict[str, dict[str, Any] | CorpusError] = {}  # recipes
        self._too_little: dict[str, str] = {}  # by text and context, why it cannot serve; empty where it may
        self._used: dict[Path, set[str]] = {}  # by section, the parameters that some task of it has
        self._given: dict[Path, dict[str, Pick]] = {}  # by section, those that stand there

    def read(self, link: Link, section: dict[str, Any], pick: Pick) -> Source | None:
        """The data of a phase in one cell; None where the file says none, or something impossible."""
        if not names_task(link):
            return self._text(section, pick, link.section)
        path = link.section
        params = parameters(section)
        if "task" not in section:
            return None
        given = self._given.setdefault(path, {})
        for key in params:
            given.setdefault(key, pick)
        if text_warmup(section) is not None:
            self._used.setdefault(path, set())
            return self._text_warmup(link, section, pick)
        task, used, problems = self._task(section["task"], params)
        self._used.setdefault(path, set()).update(used)
        for one in problems:
            self._inspection.report((*path, *one.keys), pick, one.message, not_here=one.not_here)
        if task is None:
            self._used[path].update(params)  # nobody knows what it would have used
            return None
        unused = frozenset(
            i
            for i, axis in enumerate(self._spec.axes)
            if axis.path[:-1] == path and axis.path[-1] in params.keys() - used
        )
        recipe = task.recipe()
        return Source(
            recipe={"task": recipe},
            positions=task.positions,
            mean_tokens=task.mean_tokens,
            vocab=task.vocab_size,
            rows=task.rows,
            symbols=task_symbols(recipe),
            unused=unused,
            label=label("task", section["task"]),
        )

    def report_unused_parameters(self) -> None:
        """Reports the parameters of tasks that no task of their section has, once every section was read."""
        for path, given in self._given.items():
            for key, pick in given.items():
                if key not in self._used[path]:
                    name = self._spec.value((*path, "task"), pick)
                    known = parameters_of(name)
                    self._inspection.report(
                        (*path, key),
                        pick,
                        f"{label('task', name)} has no parameter '{key}'{did_you_mean(key, known)}"
                        + (f" (parameters: {', '.join(known)})" if known else ", nor any other"),
                    )

    def _task(self, value: Any, params: dict[str, Any]) -> tuple[tasks.Task | None, frozenset[str], list[Wrong]]:
        """A task, the parameters that it took, and its problems by their keys."""
        key = json.dumps([value, params], sort_keys=True)
        if key not in self._tasks:
            used: set[str] = set()
            problems: list[Wrong] = []
            task = build_task(value, params, used, problems, self._spec.folder, not self._inspection.light)
            self._tasks[key] = (None if problems else task), frozenset(used), problems
        return self._tasks[key]

    # Text

    def _text(
        self, section: dict[str, Any], pick: Pick, path: Path, key_of_corpus: str | None = "corpus"
    ) -> Source | None:
        """The text that a mapping at `path` describes; `key_of_corpus` is None where the corpus stands there itself."""
        corpus, tokenizer = section.get("corpus"), section.get("tokenizer")
        if corpus is None:
            return None
        name = label("corpus", corpus)
        if self._inspection.light and (
            (isinstance(corpus, dict) and "files" in corpus)
            or (isinstance(tokenizer, str) and ("/" in tokenizer or "." in tokenizer))
        ):
            return Source({}, None, None, 1, None, text_symbols(corpus, tokenizer), frozenset(), name)
        key = json.dumps([corpus, tokenizer], sort_keys=True)
        if key not in self._texts:
            try:
                self._texts[key] = corpora.recipe(corpus, tokenizer, self._spec.folder)
            except CorpusError as error:
                self._texts[key] = error
        recipe = self._texts[key]
        if isinstance(recipe, CorpusError):
            about = tokenizer is not None and _about_tokenizer(str(recipe), corpus)
            place = (*path, "tokenizer" if about else "corpus") if about or key_of_corpus else path
            self._inspection.report(place, pick, str(recipe), not_here=isinstance(recipe, NotHere))
            if tokenizer is not None and not about:
                self._tokenizer(tokenizer, (*path, "tokenizer"), pick)
            return Source({}, None, None, 1, None, text_symbols(corpus, tokenizer), frozenset(), name)
        vocab = corpora.vocab_size_estimate(recipe)
        symbols = f"{vocab} {text_symbols(**corpora.identity(recipe))}"
        return Source(recipe, None, None, vocab, None, symbols, frozenset(), name)

    def report_too_little(self, link: Link, source: Source, context: int, pick: Pick) -> None:
        """Reports a text that has not one block of so many tokens, where that is certain before it is prepared."""
        if "corpus" not in source.recipe or self._inspection.light:
            return
        key = json.dumps([source.recipe, context], sort_keys=True)
        if key not in self._too_little:
            self._too_little[key] = ""
            try:
                corpora.refuse_too_little(source.recipe, context)
            except CorpusError as error:
                self._too_little[key] = str(error)
        if message := self._too_little[key]:
            where: Path = (*link.section, "task", "text") if names_task(link) else (*link.section, "corpus")
            self._inspection.report(where, pick, message)

    def _tokenizer(self, tokenizer: Any, path: Path, pick: Pick) -> None:
        """Reports what is wrong with a tokenizer beside a corpus that is wrong too."""
        try:
            corpora.tokenizer_recipe(tokenizer, self._spec.folder)
        except CorpusError as error:
            self._inspection.report(path, pick, str(error), not_here=isinstance(error, NotHere))

    def noise(self, link: Link, section: dict[str, Any], pick: Pick, source: Source) -> Noise | None:
        """What `noise:` says of a text; a share of 0 is none."""
        warm_text = text_warmup(section)
        given = (section if warm_text is None else warm_text).get("noise")
        if not given:
            return None
        if source.recipe.get("corpus", {}).get("source") == "deepmind-math":
            where = (*link.section, "noise") if warm_text is None else (*link.section, "task", "text")
            self._inspection.report(where, pick, "noise is for running text; this corpus is questions and answers")
        return Noise(given["blocks"], "blocks") if isinstance(given, dict) else Noise(given)

    # Text in the place of a task

    def _text_warmup(self, link: Link, section: dict[str, Any], pick: Pick) -> Source | None:
        """The text as a source of data. Parameters of tasks do not concern it."""
        where: Path = (*link.section, "task")
        given = text_warmup(section)
        assert given is not None
        if link.kind != "procedural":
            message = "text stands in place of a procedural task; as a target it is a semantic phase"
            self._inspection.report(where, pick, message)
            return None
        inside = "corpus" if self._spec.written((*where, "text", "corpus"), pick) else None
        source = self._text(given, pick, (*where, "text"), inside)
        if source is None:
            return None
        unused = frozenset(
            i
            for i, axis in enumerate(self._spec.axes)
            if starts_with(axis.path, link.section) and axis.path[len(link.section)] in parameters(section)
        )
        return replace(source, unused=unused, label=label("task", section["task"]))

    def text_warmup_batch(self, link: Link, section: dict[str, Any], pick: Pick, context: int) -> int | None:
        """Blocks in one step: as the file says, else as many tokens as a step of the first task beside it has.

        A block of text is as long as the sweep's context, so fewer of them make a step.
        """
        given = text_warmup(section)
        assert given is not None
        if "batch" in given or "batch" not in section:
            return given.get("batch")
        length = self._length_beside(link, pick)
        return section["batch"] if length is None else max(1, round(section["batch"] * length / context))

    def task_beside(self, link: Link, pick: Pick) -> Pick | None:
        """The cell in which a text of a grid makes room for the one task that the grid has beside it.

        None where it is no text, and where it stands beside several warm-ups: on other tasks, or on one task at several
        of the settings that a text does not have. A task and the same shuffled are one.
        """
        path, spec = (*link.section, "task"), self._spec
        section = spec.value(link.section, pick)
        i = next((i for i, axis in enumerate(spec.axes) if axis.path == path), None)
        if i is None or pick[i] < 0 or not isinstance(section, dict) or text_warmup(section) is None:
            return None
        settings = [(*link.section, key) for key in parameters(section)]
        ignored = {j for j, axis in enumerate(spec.axes) if any(starts_with(axis.path, path) for path in settings)}
        group = next(group for group in spec.selection.groups if i in group)
        if set(group) - ignored - {i} or any(spec.axes[j].size > 1 for j in ignored - set(group)):
            return None
        cells: dict[str, Pick] = {}  # by task, shuffled or not
        bare: list[Pick] = []
        for value in range(spec.axes[i].size):
            cell = tuple(value if j in group and at >= 0 else at for j, at in enumerate(pick))
            task = spec.value(path, cell)
            if isinstance(task, dict) and "text" in task:
                continue
            inside = task
            while isinstance(inside, dict) and "shuffled" in inside:
                inside = inside["shuffled"]
            cells[json.dumps(inside, sort_keys=True)] = cell
            if inside is task:
                bare.append(cell)
        return bare[0] if len(cells) == 1 and len(bare) == 1 else None

    def _length_beside(self, link: Link, pick: Pick) -> float | None:
        """Mean tokens of a sequence of the first task of the same grid, its parameters at their first values."""
        path = (*link.section, "task")
        axes = self._spec.axes
        deciding = next((i for i, axis in enumerate(axes) if starts_with(path, axis.path)), None)
        for index in range(len(axes[deciding].values) if deciding is not None else 0):
            other = tuple(
                index if i == deciding else 0 if value >= 0 and starts_with(axis.path, link.section) else value
                for i, (axis, value) in enumerate(zip(axes, pick, strict=True))
            )
            section = self._spec.value(link.section, other)
            if isinstance(section, dict) and "task" in section and text_warmup(section) is None:
                task, _, _ = self._task(section["task"], parameters(section))
                if task is not None and task.mean_tokens is not None:
                    return task.mean_tokens
        return None


def parameters(section: dict[str, Any]) -> dict[str, Any]:
    """What a section of a task says beyond what every phase has: the parameters of tasks."""
    return {key: value for key, value in section.items() if key not in _PHASE_KEYS}


def _about_tokenizer(message: str, corpus: Any) -> bool:
    return "tokenizer" in message and not (isinstance(corpus, str) and f"'{corpus}'" in message)
