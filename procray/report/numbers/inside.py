"""What was found inside the models of a phase: the form of the answer, and of the file that keeps it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from procray.visible import on_one_line


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
        return repeat_text(self.rows, self.period, self.symbols)

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
        value = _shown(value)  # of a file in a store
        return Inside(**{**value, "looks": tuple(Look(**look) for look in value["looks"])})


def _shown(value: Any) -> Any:
    """Plain data whose every text may be shown."""
    if isinstance(value, dict):
        return {name: _shown(one) for name, one in value.items()}
    if isinstance(value, list) and value and not isinstance(value[0], float):
        return [_shown(one) for one in value]
    return on_one_line(value) if isinstance(value, str) else value


def repeat_text(rows: int | None, period: int, symbols: int) -> str:
    """What sequences are that repeat a random period."""
    what = f"random symbols out of {symbols}" if rows is None else "random rows"
    return f"{period} {what}, twice in a row"
