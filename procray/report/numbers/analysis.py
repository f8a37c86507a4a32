"""Looks into the models of a phase: its parents' marks, the model it began with, and a mark of its own.

The numbers are those of `procray.model.analysis`; this file decides which models are measured, and against which.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from procray.errors import ProcrayError, StoreError
from procray.report.numbers.analysis_data import REPEAT, batches_for, of_task, period_for, repeated_batches, validation
from procray.report.numbers.analysis_models import Opened, open_models
from procray.report.numbers.inside import Inside, Look, repeat_text
from procray.selection.naming import label_of

if TYPE_CHECKING:
    from procray.store.store import Store


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
    opened = open_models(store, phase, step, notes)
    looks = []
    for one in opened:
        say(f"{one.title}: heads and weights")
        looks.append(_look(one, period_for(opened), store, on, sequences))
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
    return Inside(phase, label_of(store, phase), kind, own.step, tuple(looks), distances, alike, notes)


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
    opened = [open_models(store, inside.phase, inside.step, [])[-1] for inside in insides]
    found = []
    for i, one in enumerate(opened):
        for other in opened[i + 1 :]:
            say(f"{one.title} against {other.title}: CKA")
            try:
                found.append(_similarity(one, other, store, on, sequences))
            except ProcrayError as error:
                notes.append(f"no CKA of {one.title} and {other.title}: {error}")
    return found, notes


def _look(one: Opened, period: int, store: Store, on: str | None, sequences: int | None) -> Look:
    from procray.model import parameters
    from procray.model.analysis.heads import head_scores
    from procray.model.analysis.norms import component_norms
    from procray.model.analysis.spectra import weight_spectra

    config, weights = one.model.config, one.model.state_dict()
    symbols = one.symbols
    repeat = None
    if period >= 2:
        again = repeated_batches(one, period, symbols, sequences)
        repeat = head_scores(one.model, again, period=period).to_json()
    elif on == REPEAT:
        raise StoreError(f"{one.title} has {config.context} positions, too few to repeat anything")
    if (on == REPEAT or (on is None and one.recipe is None)) and repeat is not None:
        data, scores = repeat_text(one.model.config.rows, period, symbols), repeat
    else:
        data, batches = batches_for(one, store, on, sequences)
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
        spectra=weight_spectra(weights, config),
    )


def _similarity(one: Opened, other: Opened, store: Store, on: str | None, sequences: int | None) -> dict[str, Any]:
    """CKA of two models on the same sequences: the data of both where they share it, repeated random ones otherwise."""
    import numpy as np

    from procray.model.analysis.similarity import cka_matrix, hidden_states

    rows = [m.model.config.rows for m in (one, other)]
    if rows[0] != rows[1]:
        forms = ["tokens" if width is None else f"rows of {width} cells" for width in rows]
        raise StoreError(f"one reads {forms[0]} and the other {forms[1]}, so they cannot read one batch")
    if on not in (None, REPEAT):
        data, batches = of_task(other, on, sequences)
        of_task(one, on, 1)  # refuses what it cannot read
    elif on is None and _same_data(one, other):
        data, batches = validation(other, store, sequences)
    else:
        period, symbols = period_for([one, other]), min(one.symbols, other.symbols)
        if period < 2:
            raise StoreError("they have too few positions in common")
        data = repeat_text(one.model.config.rows, period, symbols)
        batches = repeated_batches(other, period, symbols, sequences)
    matrix = cka_matrix(hidden_states(one.model, batches), hidden_states(other.model, batches))
    values = [[None if np.isnan(value) else float(value) for value in row] for row in matrix]
    return {"of": one.title, "and": other.title, "on": data, "matrix": values}


def _same_data(one: Opened, other: Opened) -> bool:
    if one.recipe is None or other.recipe is None:
        return False
    shapes = (one.recipe.model.context, other.recipe.model.context)
    return one.recipe.data == other.recipe.data and shapes[0] == shapes[1]
