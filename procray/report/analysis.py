"""Looks into the models of a phase: its parents' marks, the model it began with, and a mark of its own.

The numbers are those of `procray.model.analysis`; this file decides which models are looked at, on which sequences.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from procray.errors import ProcrayError, StoreError, TaskError, did_you_mean
from procray.files import read_json, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from procray.model import GPT2
    from procray.store.store import Store
    from procray.training.recipe import PhaseRecipe

    Batches = list[tuple[Tensor, Tensor | None]]

VERSION = 1  # raised when the same model gives other numbers than before
SEQUENCES = 64
POSITIONS = 8192  # at most, where nobody asks for more sequences
PERIOD = 16  # of repeated random sequences, wherever there is room: one number for all models, to be compared
REPEAT = "repeat"


@dataclass(frozen=True)
class Look:
    """One model looked into.

    Attributes:
        role: `parent`, `start` (what the phase began with) or `end` (the mark that was asked for).
        title: for people: whose model it is, and when.
        rebuilt: not a kept mark, but made again from the recipe's seed and the parents' marks.
        data: on what `scores` were taken.
        scores: as `HeadScores.to_json` gives them, on `data`.
        repeat: the same on repeated random sequences, with `induction`; None for a context too short for that.
        period, symbols: of these sequences.
        norms, spectra: as `component_norms` and `weight_spectra` give them.
    """

    role: str
    title: str
    phase: str
    step: int
    rebuilt: bool
    layers: int
    heads: int
    width: int
    rows: int | None
    parameters: int
    data: str
    scores: dict[str, Any]
    repeat: dict[str, Any] | None
    period: int
    symbols: int
    norms: list[dict[str, Any]]
    spectra: list[dict[str, Any]]

    def score(self, name: str) -> list[list[float]] | None:
        """A score of every head, layer by layer: `induction` on repeated sequences, every other one on the data."""
        source = self.repeat if name == "induction" else self.scores
        return None if source is None else source.get(name)

    def repeat_text(self) -> str:
        """What the repeated sequences are."""
        return _repeat_text(self.rows, self.period, self.symbols)

    def chance(self, name: str) -> float | None:
        """The same score of a head that looks everywhere alike."""
        source = self.repeat if name == "induction" else self.scores
        return None if source is None else source["uniform"].get(name)


@dataclass(frozen=True)
class Inside:
    """A phase looked into, up to one mark.

    Attributes:
        label: for people.
        looks: parents first, then start and end.
        distances: from the first to the second of two looks (indices `from`, `to`), with `entries` as
            `analysis.distances` gives them and, of a parent, in words what was `carried` over from it.
        cka: of two looks (`of`, `and`: titles), `on` which sequences, `matrix` layers x layers; None where undefined.
        notes: what could not be looked at, and why.
    """

    phase: str
    label: str
    kind: str
    step: int
    looks: tuple[Look, ...]
    distances: list[dict[str, Any]]
    cka: list[dict[str, Any]]
    notes: list[str]

    def look(self, role: str) -> Look | None:
        return next((look for look in self.looks if look.role == role), None)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(value: dict[str, Any]) -> Inside:
        return Inside(**{**value, "looks": tuple(Look(**look) for look in value["looks"])})


# --- which phase -----------------------------------------------------------------------------------------------------


def resolve(text: str, store: Store) -> tuple[str, int | None]:
    """The phase and step that a user means: an id or the beginning of one, or a label; `@STEP` may follow.

    Raises:
        StoreError: nothing or several things of that name in the store.
    """
    name, at, step = text.rpartition("@")
    if not at or not step.isdigit():
        name, step = text, ""
    known = store.phases()
    found = [phase for phase in known if phase == name] or [phase for phase in known if phase.startswith(name)]
    labels = labels_of(store)
    if not found or not name:
        found = [phase for phase in known if name in labels.get(phase, ())]
    if len(found) == 1:
        return found[0], int(step) if step else None
    if found:
        listed = ", ".join(f"{phase} ({labels[phase][0]})" if phase in labels else phase for phase in found[:6])
        raise StoreError(f"'{name}' means {len(found)} phases of the store {store}: {listed}")
    names = [label for phase in known for label in labels.get(phase, ())]
    raise StoreError(
        f"the store {store} has no phase '{name}'{did_you_mean(name, [*known, *names])}"
        " (a phase is named by its id, the beginning of it, or its label; `procray status FILE` lists them)"
    )


def labels_of(store: Store) -> dict[str, tuple[str, ...]]:
    """The labels of every phase in any sweep of the store."""
    found: dict[str, dict[str, None]] = {}
    for path in store.plans():
        for phase, label in _labels_in(path, path.stat().st_mtime_ns):
            found.setdefault(phase, {})[label] = None
    return {phase: tuple(labels) for phase, labels in found.items()}


@lru_cache(maxsize=64)  # a plan can be large, and every look asks for a name
def _labels_in(path: Path, changed: int) -> tuple[tuple[str, str], ...]:
    return tuple((phase["id"], phase["label"]) for phase in read_json(path)["phases"])


# --- looking ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Opened:
    """A model with what is known of it."""

    model: GPT2
    recipe: PhaseRecipe | None  # None for a checkpoint from outside, whose data nobody knows
    role: str
    title: str
    phase: str
    step: int
    rebuilt: bool = False

    @property
    def symbols(self) -> int:
        """Token ids below this one are data."""
        from procray import tasks

        if self.model.config.rows is not None:
            return 2
        if self.recipe is not None and "task" in self.recipe.data:
            return tasks.from_recipe(self.recipe.data["task"]).symbols
        return self.model.config.vocab


def inspect(
    store: Store,
    phase: str,
    step: int | None = None,
    *,
    on: str | None = None,
    sequences: int | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Inside:
    """Looks into the models of a phase. Reads marks (safetensors, digests checked) and writes nothing.

    Args:
        phase: the id of a phase that the store holds.
        step: a mark, or 0 for what the phase began with; the last mark without it.
        on: a task (`identity length=8 vocab=20`) or `repeat`, random sequences that stand twice in a row; None: the
            validation data of each model's own phase.
        sequences: how many; None: 64, at most 8k positions.

    Raises:
        StoreError: no such mark, or a damaged one.
        TaskError: a task that does not exist or that the model cannot read.
        CorpusError: the text is not prepared in this store.
    """
    from procray.model.analysis import norms
    from procray.training.recipe import Parent

    notes: list[str] = []
    opened = _open(store, phase, step, notes)
    looks = []
    for one in opened:
        say(f"{one.title}: heads and weights")
        looks.append(_look(one, _period(opened), store, on, sequences))
    end = len(opened) - 1
    own = opened[end]
    given = own.recipe.init.carried() if own.recipe else {}
    distances, alike = [], []
    for number, one in enumerate(opened[:end]):
        entries = norms.distances(opened[end].model.state_dict(), one.model.state_dict())
        carried = given.get(Parent(one.phase, one.step), []) if one.role == "parent" else []
        distances.append({"from": number, "to": end, "carried": carried, "entries": entries})
        say(f"{one.title} against {opened[end].title}: CKA")
        try:
            alike.append(_similarity(one, opened[end], store, on, sequences))
        except ProcrayError as error:
            notes.append(f"no CKA of {one.title} and {opened[end].title}: {error}")
    kind = own.recipe.kind if own.recipe else "outside"
    return Inside(phase, _label(store, phase), kind, own.step, tuple(looks), distances, alike, notes)


def compare(
    store: Store,
    insides: Sequence[Inside],
    *,
    on: str | None = None,
    sequences: int | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[list[dict[str, Any]], list[str]]:
    """CKA of the last looks of every two phases, as in `Inside.cka`, and why a pair has none."""
    notes: list[str] = []
    opened = [_open(store, inside.phase, inside.step, [])[-1] for inside in insides]
    found = []
    for i, one in enumerate(opened):
        for other in opened[i + 1 :]:
            say(f"{one.title} against {other.title}: CKA")
            try:
                found.append(_similarity(one, other, store, on, sequences))
            except ProcrayError as error:
                notes.append(f"no CKA of {one.title} and {other.title}: {error}")
    return found, notes


def cached(store: Store, phase: str, step: int, write: bool = False) -> Inside | None:
    """What `inspect` says without options, from the store if it has been asked before.

    Args:
        write: look now where nobody has, and keep the answer; else None is returned.
    """
    path = _cache(store, phase, step)
    digest = store.phase(phase).manifest(step).get("sha256")
    try:
        value = read_json(path)
        if value["version"] == VERSION and value["sha256"] == digest:
            return Inside.from_json(value["inside"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    if not write:
        return None
    inside = inspect(store, phase, step)
    keep(store, inside)
    return inside


def has_numbers(store: Store, phase: str, step: int) -> bool:
    """Whether somebody has looked before, as far as can be told without reading the answer."""
    return _cache(store, phase, step).is_file()


def keep(store: Store, inside: Inside) -> None:
    """Writes what `inspect` said without options, for `cached`."""
    folder = store.phase(inside.phase)
    if not folder.exists_mark(inside.step):
        return
    facts = {"version": VERSION, "sha256": folder.manifest(inside.step).get("sha256"), "inside": inside.to_json()}
    write_json(_cache(store, inside.phase, inside.step), facts)


def _cache(store: Store, phase: str, step: int) -> Path:
    return store.path / "analysis" / "numbers" / f"{phase}@{step}-{VERSION}.json"


def _open(store: Store, phase: str, step: int | None, notes: list[str]) -> list[_Opened]:
    """The parents' marks, the start, and the mark itself unless it is the start."""
    from procray.model import load_model

    folder = store.phase(phase)
    marks = folder.marks()
    if not marks:
        raise StoreError(f"the store {store} holds no checkpoint of phase '{phase}'")
    if step is None:
        step = marks[-1]
    recipe = _recipe(store, phase)
    name = _label(store, phase)
    opened = []
    for parent in recipe.init.parents() if recipe else ():
        if not store.phase(parent.phase).exists_mark(parent.step):
            notes.append(f"the parent {parent.phase}@{parent.step} is not in the store")
            continue
        model = load_model(store.phase(parent.phase).mark(parent.step))
        title = f"{_label(store, parent.phase)}@{parent.step}"
        opened.append(_Opened(model, _recipe(store, parent.phase), "parent", title, parent.phase, parent.step))
    last = load_model(folder.mark(step if step else marks[-1]))
    if 0 in marks:
        model = load_model(folder.mark(0))
        opened.append(_Opened(model, recipe, "start", f"{name}@0", phase, 0))
    elif recipe is not None:
        try:
            model = _begun(last, recipe, store)
            opened.append(_Opened(model, recipe, "start", f"{name}@0", phase, 0, rebuilt=True))
        except ProcrayError as error:
            if step == 0:
                raise
            notes.append(f"the model that the phase began with cannot be made again: {error}")
    if step != 0:
        opened.append(_Opened(last, recipe, "end", f"{name}@{step}", phase, step))
    return opened


def _begun(like: GPT2, recipe: PhaseRecipe, store: Store) -> GPT2:
    """The model before the first step: drawn from the recipe's seed, with what it takes over from its parents."""
    import torch

    from procray.model import GPT2
    from procray.store.context import StoreContext
    from procray.training.parents import carry_in

    model = GPT2(like.config, seed=recipe.seed)
    # A rank that does not write may read parents, and nothing else is asked of it here.
    reader = StoreContext(store.phase(recipe.id), None, store, 1, 2, torch.device("cpu"), lambda: False)
    carry_in(model, recipe, reader)
    return model


def _recipe(store: Store, phase: str) -> PhaseRecipe | None:
    from procray.training.recipe import PhaseRecipe

    about = store.phase(phase).description()
    if about is None:
        raise StoreError(f"{store.phase(phase).path / 'phase.json'} is missing, so nobody knows what the phase is")
    return PhaseRecipe.from_json(about["recipe"]) if "recipe" in about else None


def _label(store: Store, phase: str) -> str:
    labels = labels_of(store).get(phase, ())
    return labels[0] if labels else phase


# --- on what ---------------------------------------------------------------------------------------------------------


def _look(one: _Opened, period: int, store: Store, on: str | None, sequences: int | None) -> Look:
    from procray.model import parameters
    from procray.model.analysis.heads import head_scores
    from procray.model.analysis.norms import component_norms
    from procray.model.analysis.spectra import weight_spectra

    config, weights = one.model.config, one.model.state_dict()
    symbols = one.symbols
    repeat = None
    if period >= 2:
        repeated = _repeated(one, period, symbols, sequences)
        repeat = head_scores(one.model, repeated, period=period).to_json()
    elif on == REPEAT:
        raise StoreError(f"{one.title} has {config.context} positions, too few to repeat anything")
    if (on == REPEAT or (on is None and one.recipe is None)) and repeat is not None:
        data, scores = _repeat_text(one.model.config.rows, period, symbols), repeat
    else:
        data, batches = _batches(one, store, on, sequences)
        scores = head_scores(one.model, batches).to_json()
    return Look(
        role=one.role,
        title=one.title,
        phase=one.phase,
        step=one.step,
        rebuilt=one.rebuilt,
        layers=config.layers,
        heads=config.heads,
        width=config.width,
        rows=config.rows,
        parameters=parameters(config),
        data=data,
        scores=scores,
        repeat=repeat,
        period=period,
        symbols=symbols,
        norms=component_norms(weights),
        spectra=weight_spectra(weights),
    )


def _period(opened: Sequence[_Opened]) -> int:
    """The period of repeated sequences that all these models can read, below 2 where there is no room.

    No symbol stands twice within it, where there are enough to speak of.
    """
    room = min(one.model.config.context // 2 for one in opened)
    symbols = min(PERIOD if one.model.config.rows is not None else max(8, one.symbols) for one in opened)
    return min(PERIOD, room, symbols)


def _repeated(one: _Opened, period: int, symbols: int, sequences: int | None) -> Batches:
    from procray.model.analysis.heads import repeated_random

    return [(repeated_random(one.model.config, symbols, sequences or SEQUENCES, period), None)]


def _repeat_text(rows: int | None, period: int, symbols: int) -> str:
    what = f"random symbols out of {symbols}" if rows is None else "random rows"
    return f"{period} {what}, twice in a row"


def _batches(one: _Opened, store: Store, on: str | None, sequences: int | None) -> tuple[str, Batches]:
    """Sequences for a model, and what they are called."""
    return _of_task(one, on, sequences) if on is not None else _validation(one, store, sequences)


def _of_task(one: _Opened, on: str, sequences: int | None) -> tuple[str, Batches]:
    import yaml

    from procray import tasks

    name, *words = shlex.split(on)
    if name not in tasks.names():
        raise TaskError(f"--on {name}: no such task{did_you_mean(name, [*tasks.names(), REPEAT])}")
    given = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise TaskError(f"--on '{on}': '{word}' is not KEY=VALUE")
        given[key] = yaml.safe_load(value)
    task = tasks.get(name, **given)
    config = one.model.config
    if task.rows != config.rows:
        form = "tokens" if config.rows is None else f"rows of {config.rows} cells"
        raise TaskError(f"--on {name}: {one.title} reads {form}, which this task does not make")
    if task.rows is None and task.vocab_size > config.vocab:
        raise TaskError(
            f"--on {name}: it makes {task.vocab_size} symbols, and {one.title} knows {config.vocab};"
            f" choose the parameters, as in --on '{name} vocab=8' (`procray tasks {name}` lists them)"
        )
    if task.positions > config.context:
        raise TaskError(
            f"--on {name}: sequences of up to {task.positions} positions, and {one.title} has {config.context};"
            f" choose the parameters, as in --on '{name} length=4' (`procray tasks {name}` lists them)"
        )
    size = sequences or SEQUENCES
    samples = (
        task.sample(0, "analysis", index, min(32, size - first)) for index, first in enumerate(range(0, size, 32))
    )
    return on, [_tensors(sample) for sample in samples]


def _validation(one: _Opened, store: Store, sequences: int | None) -> tuple[str, Batches]:
    """The beginning of a phase's own validation data."""
    from procray import corpora
    from procray.report.results import title_of
    from procray.training.source import task_source, text_source

    recipe = one.recipe
    if recipe is None:
        raise StoreError(f"{one.title} comes from outside, so it has no data of its own; name some with --on")
    if "task" in recipe.data:
        source: Any = task_source(recipe)
    else:
        source = text_source(recipe, corpora.load(recipe.data, store.bring_corpus(recipe.data)))
    length = None
    if source.curriculum is not None:  # at the length that it had reached
        rows = [row for row in store.phase(one.phase).curve() if row["step"] <= one.step and row.get("length")]
        length = rows[-1]["length"] if rows else source.curriculum.start
    found: Batches = []
    left, positions = sequences or SEQUENCES, POSITIONS if sequences is None else 2**62
    for batch in source.validation(length):
        most = min(left, max(1, positions // batch.mask_BT.shape[1]), len(batch.mask_BT))
        found.append(_tensors(batch.rows(slice(most))))
        left -= most
        positions -= most * batch.mask_BT.shape[1]
        if left <= 0 or positions <= 0:
            break
    return f"{title_of(recipe.data)}, validation data", found


def _tensors(batch: Any) -> tuple[Tensor, Tensor | None]:
    """A batch as `head_scores` takes it: what stands behind the last scored position is padding."""
    import numpy as np
    import torch

    inputs = batch.rows_BTW if hasattr(batch, "rows_BTW") else batch.tokens_BT
    valid_BT = np.flip(np.logical_or.accumulate(np.flip(batch.mask_BT, 1), 1), 1).copy()
    return torch.from_numpy(np.asarray(inputs).astype(np.int64)), torch.from_numpy(valid_BT)


def _similarity(one: _Opened, other: _Opened, store: Store, on: str | None, sequences: int | None) -> dict[str, Any]:
    """CKA of two models on the same sequences: the data of both where they share it, repeated random ones otherwise."""
    import numpy as np

    from procray.model.analysis.similarity import cka_matrix, hidden_states

    rows = [m.model.config.rows for m in (one, other)]
    if rows[0] != rows[1]:
        forms = ["tokens" if width is None else f"rows of {width} cells" for width in rows]
        raise StoreError(f"one reads {forms[0]} and the other {forms[1]}, so they cannot read one batch")
    if on not in (None, REPEAT):
        data, batches = _of_task(other, on, sequences)
        _of_task(one, on, 1)  # refuses what it cannot read
    elif on is None and _same_data(one, other):
        data, batches = _validation(other, store, sequences)
    else:
        period, symbols = _period([one, other]), min(one.symbols, other.symbols)
        if period < 2:
            raise StoreError("they have too few positions in common")
        data = _repeat_text(one.model.config.rows, period, symbols)
        batches = _repeated(other, period, symbols, sequences)
    matrix = cka_matrix(hidden_states(one.model, batches), hidden_states(other.model, batches))
    values = [[None if np.isnan(value) else float(value) for value in row] for row in matrix]
    return {"of": one.title, "and": other.title, "on": data, "matrix": values}


def _same_data(one: _Opened, other: _Opened) -> bool:
    if one.recipe is None or other.recipe is None:
        return False
    shapes = (one.recipe.model.context, other.recipe.model.context)
    return one.recipe.data == other.recipe.data and shapes[0] == shapes[1]
