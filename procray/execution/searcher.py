"""Gives Tune what it lacks, dependencies between trials: a Searcher that suggests only what may start.

Tune asks `suggest` whenever a slot is free. It gets a segment, None while something still runs or
another sweep holds what is needed, and FINISHED at the end.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from ray.tune.search import Searcher

from procray.execution.agenda import Agenda, Item
from procray.execution.room import Room


@dataclass(frozen=True)
class Death:
    """Why a trial ended without a result.

    Attributes:
        kind: `leaving`: its node goes away, and it has saved. `node`: its node was lost, or there is none.
            `gone`: anything else; whether its node is gone with it is not known yet.
        reason: one line.
    """

    kind: Literal["leaving", "node", "gone"]
    reason: str


class SegmentSearcher(Searcher):
    """Offers the segments of an agenda to Tune and hands their results back."""

    def __init__(self, agenda: Agenda, why: Callable[[str], Death], room: Room, check: Callable[[], None]):
        """
        Args:
            why: says why a trial died.
            room: on the cluster. A worker group asks for its own, behind Tune's back, and gives up after some
                minutes; so no segment is offered before there is room for it.
            check: raises when Ray is gone; called from Tune's loop whatever it does.
        """
        super().__init__()  # no metric: with one, Tune demands it in every result
        self._agenda = agenda
        self._why = why
        self._room = room
        self._check = check
        self._running: dict[str, Item] = {}  # by trial

    def set_search_properties(self, metric: Any, mode: Any, config: Any, **spec: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> Any:
        self._check()
        self._agenda.settle(self._room.lost)
        if self._agenda.finished():
            return Searcher.FINISHED
        item = self._agenda.next(self._room.asker(list(self._running.values())))
        if item is None:
            self._agenda.no_room()
            return Searcher.FINISHED if self._agenda.finished() else None
        self._running[trial_id] = item
        # Text, because Tune copies and flattens whatever it finds in a configuration.
        return {"key": item.key, "resources": item.resources, "job": json.dumps({**item.job, **self._agenda.facts})}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        pass

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        item = self._running.pop(trial_id, None)
        if item is None:
            return
        if error or result is None:
            death = self._why(trial_id)
            if death.kind == "leaving":
                self._agenda.report(item.key, {"state": "paused", "reason": death.reason})
            else:
                self._agenda.crash(item.key, death.reason, node=self._node(death))
        else:
            self._agenda.report(item.key, json.loads(result["outcome"]))

    def _node(self, death: Death) -> bool | None:
        """Whether a node was lost; None where the next seconds will tell."""
        if death.kind == "gone" and self._room.many:
            return None
        return death.kind == "node"

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its searcher to restore a run, which is never done here; the agenda cannot be."""
        return {}

    def __deepcopy__(self, memo: Any) -> SegmentSearcher:
        return self

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the store knows everything."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a sweep is continued by running it again")
