"""Opens the models of a phase: its parents' marks, the model it began with, and a mark of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from procray.errors import ProcrayError, StoreError
from procray.selection.naming import label_of

if TYPE_CHECKING:
    from procray.model import Network
    from procray.store.store import Store
    from procray.training.recipe import PhaseRecipe


@dataclass(frozen=True)
class Opened:
    """A model with what is known of it."""

    model: Network
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


def open_models(store: Store, phase: str, step: int | None, notes: list[str]) -> list[Opened]:
    """The parents' marks, the start, and the mark itself unless it is the start."""
    from procray.model import load_model

    folder = store.phase(phase)
    marks = folder.marks()
    if not marks:
        raise StoreError(f"the store {store} holds no checkpoint of phase '{phase}'")
    if step is None:
        step = marks[-1]
    recipe = _recipe(store, phase)
    name = label_of(store, phase)
    opened = []
    for parent in recipe.init.parents() if recipe else ():
        if not store.phase(parent.phase).exists_mark(parent.step):
            notes.append(f"the parent {parent.phase}@{parent.step} is not in the store")
            continue
        model = load_model(store.phase(parent.phase).mark(parent.step))
        title = f"{label_of(store, parent.phase)}@{parent.step}"
        opened.append(Opened(model, _recipe(store, parent.phase), "parent", title, parent.phase, parent.step))
    last = load_model(folder.mark(step if step else marks[-1]))
    if 0 in marks:
        model = load_model(folder.mark(0))
        opened.append(Opened(model, recipe, "start", f"{name}@0", phase, 0))
    elif recipe is not None:
        try:
            model = _begun(last, recipe, store)
            opened.append(Opened(model, recipe, "start", f"{name}@0", phase, 0, rebuilt=True))
        except ProcrayError as error:
            if step == 0:
                raise
            notes.append(f"the model that the phase began with cannot be made again: {error}")
    if step != 0:
        opened.append(Opened(last, recipe, "end", f"{name}@{step}", phase, step))
    return opened


def _begun(like: Network, recipe: PhaseRecipe, store: Store) -> Network:
    """The model before the first step: drawn as the recipe says, with what it takes over from its parents."""
    import torch

    from procray.model import build
    from procray.store.context import StoreContext
    from procray.training.parents import carry_in

    model: Network = build(like.config, seed=recipe.seed, role=recipe.role)
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
