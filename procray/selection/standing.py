"""How far the phases of a plan are, as far as the plan wants them.

The store records one state for a whole phase, whoever trained it last and however far. A plan wants some of its marks:
a phase that failed after them, or that is done for a shorter budget, is neither failed nor done for this plan, and a
phase is skipped only while a mark that it starts from cannot be made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from procray.store.failure import state_until

if TYPE_CHECKING:
    from procray.planning.plan import Plan, PlannedPhase
    from procray.store.phase import PhaseFolder
    from procray.store.store import Store

State = tuple[str, str]  # waiting, running, paused, done, failed or skipped; and the reason, where there is one


class Standing:
    """The states of a plan's phases; every status is read once.

    Args:
        done: whether a phase is trained as far as a step; by default whether its mark there exists.
        status: of a phase; by default what the store says.
    """

    def __init__(
        self,
        plan: Plan,
        store: Store,
        done: Callable[[str, int], bool] | None = None,
        status: Callable[[str], dict[str, Any]] | None = None,
    ):
        self._plan, self._store = plan, store
        self._done = done or (lambda phase, step: store.phase(phase).exists_mark(step))
        self._status = status or (lambda phase: store.phase(phase).status())
        self._statuses: dict[str, dict[str, Any]] = {}
        self._states: dict[tuple[str, int], State] = {}

    def status(self, phase: str) -> dict[str, Any]:
        """What the store records of a phase."""
        if phase not in self._statuses:
            self._statuses[phase] = self._status(phase)
        return self._statuses[phase]

    def of(self, phase: str, step: int | None = None) -> State:
        """State and reason of a phase as far as `step` of it is wanted, by default the plan's last mark."""
        step = self._plan.phases[phase].end if step is None else step
        if (phase, step) not in self._states:
            self._states[phase, step] = self._look(phase, step)
        return self._states[phase, step]

    def _look(self, phase: str, step: int) -> State:
        if self._done(phase, step):
            return "done", ""
        status = self.status(phase)
        state, reason = state_until(status, step)
        if state in ("failed", "running"):
            return state, reason
        recipe = self._plan.phases[phase].recipe if phase in self._plan.phases else None
        for parent in recipe.needs(step) if recipe else ():
            if parent.phase in self._plan.phases and self.of(parent.phase, parent.step)[0] in ("failed", "skipped"):
                what = "the phase that it follows," if recipe and parent.phase == recipe.paced_by else "its parent"
                return "skipped", reason if state == "skipped" else self._because(what, parent.phase, parent.step)
        return ("waiting", "") if state == "skipped" else (state, reason)

    def _because(self, what: str, phase: str, step: int) -> str:
        above = self.of(phase, step)[0]
        return f"{what} {self._plan.phases[phase].label} {'failed' if above == 'failed' else 'was skipped'}"


def kept(planned: PlannedPhase, folder: PhaseFolder) -> tuple[int, int]:
    """Step and tokens from which the training of a phase goes on: its newest mark or resume state.

    What lies behind a mark that is wanted and missing does not count.
    """
    missing = next((step for step in planned.marks if not folder.exists_mark(step)), planned.end)
    step = max((step for step in (*folder.marks(), *folder.resumes()) if step <= missing), default=0)
    return step, consumed(planned, folder, step)


def reached(planned: PlannedPhase, folder: PhaseFolder) -> tuple[int, int, dict[str, Any]]:
    """Step and tokens that a running phase has come to, and the live numbers of the attempt that trains it.

    Right after it has begun there are none yet: those of an attempt before it tell nothing about this one.
    """
    step, tokens = kept(planned, folder)
    live, holder = folder.progress() or {}, folder.holder()
    if holder is None or live.get("attempt") != holder.attempt:
        return step, tokens, {}
    there = live.get("step") or 0
    return (there, live.get("tokens") or nominal(planned, there), live) if there > step else (step, tokens, live)


def consumed(planned: PlannedPhase, folder: PhaseFolder, step: int) -> int:
    """Tokens that a phase consumed up to a step.

    Where evaluations decide how many those are it is what the evaluations say, the last one before a step that has
    none; as planned, which is the most, where there are none yet.
    """
    if not planned.recipe.follows_evaluations or not step:
        return nominal(planned, step)
    if folder.exists_mark(step):
        return int(folder.manifest(step)["tokens"])
    return next((int(row["tokens"]) for row in reversed(folder.curve()) if row["step"] <= step), nominal(planned, step))


def nominal(planned: PlannedPhase, step: int) -> int:
    """Nominal tokens of a phase at a step."""
    return int(planned.nominal[step]) if step in planned.nominal else round(step * planned.tokens_per_step)
