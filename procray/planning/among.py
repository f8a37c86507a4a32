"""Procedural data among the text of a phase: which, how much of them, and before which of its steps."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from procray.planning.data import Data, Source, parameters, text_warmup
from procray.planning.identity import warmup_role
from procray.planning.inspection import Inspection
from procray.planning.settings import TASK_SEQUENCES
from procray.planning.work import flops_per_step
from procray.spec.cells import Pick, picks
from procray.spec.counts import format_count
from procray.spec.paths import Path
from procray.spec.structure import Link
from procray.training.interleaving import Decay, Interleaving
from procray.training.recipe import PhaseRecipe, has_curriculum

_MEAN = {"none": 1.0, "linear": 0.5, "cosine": 0.5}  # over the span, of what it begins with
_NEAR = 1e-9  # what a division of floats is off


@dataclass(frozen=True)
class Placing:
    """Where the data stand, whatever the length of the phase.

    Attributes:
        at: the share of the text before them.
        share: of procedural tokens among all, where they begin; 1: all of them at once.
        asked: tokens as asked for; None: as many as follow from the share.
        per_update: nominal tokens of one update on them.
        flops: of one update.
        unused: axes of parameters that this task does not have.
    """

    interleaving: Interleaving
    at: float
    share: float
    asked: int | None
    per_update: float
    flops: float
    unused: frozenset[int]

    @property
    def ratio(self) -> float:
        """Procedural tokens for each token of text, on average while they come."""
        return self.share / (1 - self.share) * _MEAN[self.interleaving.decay]

    def among(self, steps: int, tokens_per_step: float) -> Interleaving | str:
        """The data among so many steps of text; or why they have no room there."""
        own = replace(self.interleaving, weight=self.per_update / tokens_per_step)
        start = min(math.floor(self.at * steps + 0.5), steps - 1)
        left = steps - start
        if self.share == 1:
            assert self.asked is not None
            return replace(own, updates=_ceil(self.asked / self.per_update), start=start, span=1)
        if self.asked is None:
            updates = round(self.ratio * left * tokens_per_step / self.per_update)
            if not updates:
                most = format_count(round(left * tokens_per_step))
                return f"of {most} tokens of text such a share is less than one update of {self.per_update:g} tokens"
            return replace(own, updates=updates, start=start, span=left)
        updates = _ceil(self.asked / self.per_update)
        span = _ceil(updates * self.per_update / self.ratio / tokens_per_step)
        least = (updates - 1) * self.per_update / self.ratio / tokens_per_step  # a last update need not be a whole one
        if span > left and least >= left:
            room = format_count(math.floor(left * tokens_per_step * self.ratio))
            return (
                f"{format_count(self.asked)} procedural tokens have no room: at this share {room} fit among the "
                f"{format_count(round(left * tokens_per_step))} tokens of text that follow"
            )
        return replace(own, updates=updates, start=start, span=min(span, left))

    def tokens(self, updates: int) -> int:
        """Nominal tokens of so many updates."""
        return round(updates * self.per_update)


def _ceil(value: float) -> int:
    return max(1, math.ceil(value - _NEAR))


def symbol_rows(inspection: Inspection, data: Data, link: Link) -> int | None:
    """Rows for the symbols of every task that a procedural section of the grid has; None where one of them is wrong.

    All cells of a sweep have the rows of its largest vocabulary, so that one baseline is alike to all of them.
    """
    spec = inspection.spec
    aside = {"at", "mix", "tokens", "batch", "evaluate"}
    axes = frozenset(
        i for i in spec.relevant(link.section) if not aside & {*spec.axes[i].path[len(link.section) :][:1]}
    )
    found = [read_task(inspection, data, link, pick) for pick in picks(spec.axes, spec.selection, axes, "")]
    sizes = [source.vocab for source in found if source is not None]
    return max(sizes) if sizes and len(sizes) == len(found) else None


def read_task(inspection: Inspection, data: Data, link: Link, pick: Pick) -> Source | None:
    """The task in one cell; None where there is none, or none that could stand among text."""
    path = link.section
    section = inspection.spec.section(link, pick)
    if not isinstance(section, dict) or "task" not in section:
        return None
    if text_warmup(section) is not None:
        inspection.report((*path, "task"), pick, "text cannot be placed among text; a mixture of corpora is a corpus")
        return None
    source = data.read(link, section, pick)
    if source is None:
        return None
    if source.rows is not None:
        message = f"{source.label} has rows of cells and no tokens that could stand among text; its form 'tokens' has"
        inspection.report((*path, "form" if "form" in section else "task"), pick, message)
        return None
    if has_curriculum(source.recipe):
        message = "lengths that grow with mastery need a phase of their own; a range {min, max} can stand among text"
        inspection.report((*path, "length"), pick, message)
        return None
    return source


def read(
    inspection: Inspection,
    data: Data,
    link: Link,
    pick: Pick,
    recipe: PhaseRecipe,
    vocab: int,
    rows: int,
    resources: dict[str, Any],
) -> Placing | None:
    """What stands among the text of a phase; None where something is wrong with it.

    Args:
        link: the procedural data.
        recipe: of the text.
        vocab: rows of embedding and head, those of the symbols included.
        rows: those of the symbols.
        resources: of the phase.
    """
    spec, path = inspection.spec, link.section
    source, section = read_task(inspection, data, link, pick), spec.section(link, pick)
    if source is None or source.positions is None or source.mean_tokens is None:
        return None
    batch, asked = section.get("batch"), section.get("tokens")
    mix = section.get("mix") or {}
    share, decay = float(mix.get("share", 1.0)), mix.get("decay", "none")
    if share == 1 and asked is None:
        inspection.report(path, pick, "missing key 'tokens': a share of 1 does not say where the data end")
    if share == 1 and decay != "none":
        inspection.report((*path, "mix", "decay"), pick, "a share of 1 leaves no text among which it could fall")
    if source.positions > recipe.model.context:
        where: Path = (*path, "length") if "length" in parameters(section) else (*path, "task")
        message = f"{source.label} needs {source.positions} positions, more than the context of {recipe.model.context}"
        inspection.report(where, pick, f"{message} of the text among which it stands")
        return None
    if batch is None or (share == 1 and (asked is None or decay != "none")):
        return None
    if batch < resources["workers"]:
        message = f"a batch of {batch} is too small for {resources['workers']} workers"
        inspection.report((*path, "batch"), pick, message)
        return None
    per_update = batch * source.mean_tokens
    if asked is not None and asked < per_update - _NEAR:
        message = f"{format_count(asked)} tokens are less than one update ({batch} sequences x {source.mean_tokens:g}"
        inspection.report((*path, "tokens"), pick, f"{message} tokens = {per_update:.10g})")
        return None
    sequences = section.get("evaluate", {}).get("sequences", TASK_SEQUENCES)
    whole: Decay = decay
    interleaving = Interleaving(
        rows, source.recipe["task"], warmup_role(source.recipe), batch, 1, decay=whole, sequences=sequences
    )
    config = recipe.model.config(vocab, None)
    flops = flops_per_step(source.recipe, config, batch, source.positions, resources)
    return Placing(interleaving, float(section.get("at", 0.0)), share, asked, per_update, flops, source.unused)
