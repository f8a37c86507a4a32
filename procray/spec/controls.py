"""The controls that `controls:` adds to every warmed-up variant, and what each changes of the settings of a phase.

- shuffled: the warm-ups train on their tasks with the order of tokens destroyed, as `{shuffled: task}` does.
- text: the warm-ups train on text in place of their tasks, as `{text: corpus}` does, with the same tokens in as many
  steps.
- random: what the warm-ups give is replaced by random weights of the same norms, as `{random: norm_matched}` does.
- random_heads: of a transfer that names attention heads, as many others of the same layers are carried in their place,
  as with `random_heads:` in the place of `heads:`. Variants whose transfer names none have no such control.
- more_semantic: no warm-up; the tokens of the warm-ups are added to those of the phase after them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

CONTROLS = ("shuffled", "text", "random", "random_heads", "more_semantic")
SAME_WARMUPS = ("random", "random_heads")  # which change what is done with the warm-ups of a variant, not these

L = TypeVar("L")  # a link; `structure`, which says what that is, knows of controls


@dataclass(frozen=True, eq=False)
class Control(Generic[L]):
    """What a control changes of one phase.

    Attributes:
        kind: one of CONTROLS; or `unshuffled`, which is the reverse: a shuffled task as it is.
        of: the phase whose place it takes.
        text: of the kind text, what stands behind `text:`; None where the target says it.
        target: of the kind text, the text phase after the warm-ups: its context is meant, and where the file names no
            other its corpus and tokenizer; None where a diagnostic comes after them.
        more: tokens that are added to the phase's own.
    """

    kind: str
    of: L
    text: dict[str, Any] | None = None
    target: L | None = None
    more: int = 0

    def rewrite(self, section: dict[str, Any], warmup: bool, target: Callable[[L], Any]) -> dict[str, Any]:
        """A phase's settings under the control.

        Args:
            target: the settings of a phase.
        """
        if self.more and "tokens" in section:
            return {**section, "tokens": section["tokens"] + self.more}
        if not warmup or "task" not in section:
            return section
        if self.kind == "shuffled":
            return {**section, "task": {"shuffled": section["task"]}}
        if self.kind == "unshuffled":
            task = section["task"]
            while isinstance(task, dict) and "shuffled" in task:
                task = task["shuffled"]
            return {**section, "task": task}
        if self.kind == "text":
            return {**section, "task": {"text": self._text(target)}}
        return section

    def _text(self, target: Callable[[L], Any]) -> dict[str, Any]:
        if self.text is not None or self.target is None:
            return self.text or {}
        section = target(self.target)
        return {key: section[key] for key in ("corpus", "tokenizer") if key in section}


def kind_of(entry: str | dict[str, Any]) -> str:
    """The control that an entry of `controls:` names."""
    return entry if isinstance(entry, str) else next(iter(entry))
