"""Asks a model the probes: which conditions fit it is known first, then all items are made, then the model is asked."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from procray.downstream.material import Material
from procray.downstream.probe import Made, Probe
from procray.downstream.probes import PROBES
from procray.downstream.score import Scores, score
from procray.errors import CorpusError, ProcrayError, did_you_mean
from procray.model import ModelConfig, Network

ITEMS = 256  # of a condition: accuracy within 3 points, one standard error


@dataclass(frozen=True)
class Condition:
    """A probe under one condition."""

    probe: Probe
    value: float


@dataclass(frozen=True)
class Answer:
    """What a model said under one condition.

    Attributes:
        digest: of the items; answers with equal digests can be compared item by item.
        control: the same without what the answer hangs on; None where the probe has no control.
    """

    probe: str
    value: float
    unit: str
    digest: str
    chance: float
    scores: Scores
    control: Scores | None

    def to_json(self) -> dict[str, Any]:
        """Plain data; `right` and `losses` hold one number an item."""
        found: dict[str, Any] = {
            "probe": self.probe,
            "value": self.value,
            "unit": self.unit,
            "items": len(self.scores.right_N),
            "digest": self.digest,
            "chance": self.chance,
            **_told(self.scores),
        }
        return found if self.control is None else {**found, "control": _told(self.control)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Answer:
        """What `to_json` gave."""
        control = _read(value["control"]) if "control" in value else None
        probe, condition, unit = value["probe"], value["value"], value["unit"]
        return cls(probe, condition, unit, value["digest"], value["chance"], _read(value), control)


def _told(scores: Scores) -> dict[str, Any]:
    return {
        "accuracy": scores.accuracy,
        "loss": scores.loss if math.isfinite(scores.loss) else None,  # of a broken model
        "right": [round(value, 6) for value in scores.right_N.tolist()],
        "losses": [round(value, 6) if math.isfinite(value) else None for value in scores.loss_N.tolist()],
    }


def _read(value: dict[str, Any]) -> Scores:
    losses = [math.nan if loss is None else loss for loss in value["losses"]]
    return Scores(np.array(value["right"], float), np.array(losses, float))


def fitting(probe: Probe, context: int) -> list[float]:
    """The conditions of a probe that a model with so many positions can be asked, whatever its tokenizer.

    Where words decide (`agreement`), a tokenizer of small tokens may need more positions than this promises.
    """
    return [value for value in probe.values if probe.positions(value) <= context]


def choose(names: Sequence[str] | None, config: ModelConfig, tokenizer: bool) -> tuple[list[Condition], list[str]]:
    """The conditions to ask a model of this shape, and in a sentence each what cannot be asked. Reads nothing.

    Args:
        names: of probes; None: all that there are.
        tokenizer: whether the model has one.

    Raises:
        ProcrayError: a probe that was named and does not exist or cannot be asked at all; all of them in one message.
    """
    problems, notes, found = [], [], []
    for name in dict.fromkeys(PROBES if names is None else names):
        if name not in PROBES:
            problems.append(f"no probe is called '{name}'{did_you_mean(name, PROBES)} (probes: {', '.join(PROBES)})")
            continue
        probe = PROBES[name]
        if config.rows is not None:
            why = "the model reads rows of a cellular automaton, not tokens"
        elif probe.text and not tokenizer:
            why = "it is made from held-out text, and the model has no tokenizer"
        elif not fitting(probe, config.context):
            least = min(probe.positions(value) for value in probe.values)
            why = f"it needs {least} positions, and the model has {config.context}"
        else:
            values = fitting(probe, config.context)
            found += [Condition(probe, value) for value in values]
            if len(values) < len(probe.values):
                rest = ", ".join(f"{value:g}" for value in probe.values if value not in values)
                notes.append(f"{name}: {rest} {probe.unit} do not fit into the model's {config.context} positions")
            continue
        (notes if names is None else problems).append(f"{name}: {why}")
    if problems:
        raise ProcrayError("\n".join(problems))
    return found, notes


def make(
    conditions: Iterable[Condition], material: Material, context: int, *, seed: int = 0, count: int = ITEMS
) -> tuple[list[tuple[Condition, Made]], list[str]]:
    """The items of every condition, and in a sentence each what there are none for. Needs no model."""
    found, notes = [], []
    for condition in conditions:
        probe, value = condition.probe, condition.value
        try:
            made = probe.make(material, seed, value, count)
        except CorpusError as error:
            notes.append(f"{probe.name}: {value:g} {probe.unit}: {error}")
            continue
        needed = max(items.positions for items in (made.items, made.control) if items is not None)
        if needed > context:
            notes.append(
                f"{probe.name}: {value:g} {probe.unit} take {needed} positions in this tokenizer, "
                f"and the model has {context}"
            )
        else:
            found.append((condition, made))
    return found, notes


def ask(
    model: Network,
    material: Material,
    names: Sequence[str] | None = None,
    *,
    seed: int = 0,
    count: int = ITEMS,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[list[Answer], list[str]]:
    """Asks a model all conditions that fit it.

    Args:
        names: of probes; None: all that can be asked.
        seed: of the items; models with equal material and seed get the same.
        count: items of a condition, fewer where the text has no more.

    Returns:
        The answers, and in a sentence each what was not asked and why.

    Raises:
        ProcrayError: as `choose`; or a probe that was named has no items at all.
    """
    conditions, notes = choose(names, model.config, material.tokenizer is not None)
    made, more = make(conditions, material, model.config.context, seed=seed, count=count)
    notes += more
    left = {condition.probe.name for condition in conditions} - {condition.probe.name for condition, _ in made}
    if names is not None and left:
        raise ProcrayError("\n".join(note for note in more if note.partition(":")[0] in left))
    answers = []
    for condition, one in made:
        probe, value = condition.probe, condition.value
        say(f"{probe.name}: {value:g} {probe.unit}")
        control = None if one.control is None else score(model, one.control)
        answers.append(
            Answer(probe.name, value, probe.unit, one.items.digest, one.chance, score(model, one.items), control)
        )
    return answers, notes
