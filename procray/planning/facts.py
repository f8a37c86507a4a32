"""What is known of a phase before its seed and its parents are."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from procray.planning.among import Placing
from procray.planning.identity import Template, template
from procray.spec.structure import Link
from procray.training.recipe import PhaseRecipe


@dataclass(frozen=True)
class Facts:
    """One phase without its seed and its parents.

    Attributes:
        recipe: complete but for role, seed, init and, where the schedule decays, steps.
        template: the canonical JSON of the recipe's meaning around these.
        budget: tokens as asked for.
        tokens_per_step: nominal tokens of one step (expected, where lengths are drawn).
        vocab: rows of the token embedding.
        rows: cells of an automaton's row, else None.
        symbols: what the vocabulary means: equal for phases whose embeddings can be copied.
        unused: axes of parameters that this task, or this schedule, does not have.
        label: the task or corpus, for people.
        placing: procedural data among its text.
        paced: whether it follows the lengths of another phase, whose id then takes the place of PACED in the recipe.
    """

    link: Link
    recipe: PhaseRecipe
    template: Template
    budget: int
    tokens_per_step: float
    vocab: int
    rows: int | None
    symbols: str
    resources: dict[str, Any]
    unused: frozenset[int]
    label: str
    flops_per_step: float
    paced: bool = False
    placing: Placing | None = None

    @property
    def decaying(self) -> bool:
        return self.recipe.optimizer.schedule != "constant"

    @cached_property
    def on_tuning_split(self) -> Facts:
        """The same phase, evaluated on the held-out data that settings are chosen on."""
        recipe = replace(self.recipe, evaluation=replace(self.recipe.evaluation, split="tuning"))
        return replace(self, recipe=recipe, template=template(recipe))

    def shortened(self, fraction: float | None) -> Facts:
        """The same phase for a fraction of its budget: what stands among its text keeps its place in the whole."""
        if fraction is None or self.placing is None:
            return self
        found = self.placing.among(self.steps(fraction), self.tokens_per_step)
        assert not isinstance(found, str), "checked when the file was loaded"
        recipe = replace(self.recipe, interleaving=found)
        return replace(self, recipe=recipe, template=template(recipe))

    def inserted(self, step: int) -> int:
        """Updates on procedural data among the text that are made up to a step."""
        found = self.recipe.interleaving
        return 0 if found is None or not step else found.due(step - 1)

    def tokens_among(self, step: int) -> int:
        """Nominal procedural tokens among the text up to a step."""
        return 0 if self.placing is None else self.placing.tokens(self.inserted(step))

    def steps(self, fraction: float | None = None) -> int:
        """Whole steps for the budget, or for a fraction of it."""
        asked = self.budget if fraction is None else round(self.budget * fraction)
        return max(1, whole_steps(asked, self.tokens_per_step))

    def nominal(self, step: int) -> int:
        return round(step * self.tokens_per_step)


def whole_steps(tokens: int, tokens_per_step: float) -> int:
    """The smallest number of steps that reaches a budget."""
    return math.ceil(tokens / tokens_per_step - 1e-9)
