"""What a phase's status says of some of its marks: a recorded failure concerns those at or after its step, no others.

A phase that diverged at step 900 can still be trained until step 118. Its failure stays on record meanwhile, so that
nobody trains into it again without being asked to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from procray.visible import on_one_line


@dataclass(frozen=True)
class Failure:
    """Why a phase does not go on.

    Attributes:
        step: after how many updates, or fewer; None where that is not known.
        final: trying again cannot cure it.
    """

    reason: str
    step: int | None
    final: bool

    def concerns(self, step: int) -> bool:
        """Whether the mark at `step` cannot be made because of it."""
        return self.step is None or step >= self.step


def failed_before(status: dict[str, Any], step: int) -> Failure | None:
    """The failure on record because of which the mark at `step` cannot be made; a final one first."""
    return next((found for found in _recorded(status) if found.concerns(step)), None)


def still_on_record(before: dict[str, Any] | None, state: str, facts: dict[str, Any]) -> dict[str, Any]:
    """What a new status keeps of the one `before`: a final failure, until the phase is trained again past its step.

    Args:
        state, facts: of the new status.
    """
    found = next((one for one in _recorded(before or {}) if one.final), None)
    if found is None or (state == "failed" and facts.get("final")):
        return {}
    reached = facts.get("until", facts.get("step"))
    if state in ("running", "done", "waiting") and reached is not None and found.concerns(int(reached)):
        return {}
    return {"failure": {"reason": found.reason, "step": found.step, "final": True}}


def _recorded(status: dict[str, Any]) -> list[Failure]:
    """The phase's state, or one that a training for an earlier mark has left standing; a final one first."""
    told = [status] if status.get("state") == "failed" else []
    told += [status["failure"]] if status.get("failure") else []
    found = [Failure(_said(one) or "failed", one.get("step"), bool(one.get("final"))) for one in told]
    return sorted(found, key=lambda one: not one.final)


def state_until(status: dict[str, Any], step: int) -> tuple[str, str]:
    """State and reason of a phase as far as its mark at `step` is wanted, which does not exist."""
    found = failed_before(status, step)
    if found is not None:
        return "failed", found.reason
    state = str(status["state"])
    if state in ("failed", "done"):  # after it, or up to an earlier mark only
        return "waiting", ""
    return state, _said(status)


def _said(status: dict[str, Any]) -> str:
    """The reason, as whoever writes to a store left it; what a terminal would obey is written out."""
    return on_one_line(str(status.get("reason") or ""))
