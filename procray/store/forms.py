"""The forms of the store's JSON files. Whoever gave you the store may have written anything into them."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from procray.records import Every, check, count, digits, plain, quick, sha256

_NUMBER = (float, None.__class__)
_TEXT = (str, None.__class__)
_COUNT = (count, None.__class__)
_FILES = Every({"sha256": sha256, "bytes": count}, plain)

_STATES = ("waiting", "running", "paused", "done", "failed", "skipped")


def _state(value: Any) -> str:
    return "" if value in _STATES else "no known state of a phase"


_FAILURE = {"reason?": _TEXT, "step?": _COUNT, "final?": bool}
_STATUS = {"state": _state, **_FAILURE, "until?": _COUNT, "attempt?": _COUNT, "failure?": _FAILURE}
_PROGRESS = dict.fromkeys(
    ("step?", "tokens?", "loss?", "tokens_per_s?", "mfu?", "attempt?", "lr?", "grad_norm?"), _NUMBER
)
_MANIFEST = {
    "files": _FILES, "step": count, "attempt?": count, "tokens?": _NUMBER, "loss?": _NUMBER, "solved_at?": _NUMBER,
    "sha256?": _TEXT, "bytes?": count, "created?": float, "kind?": str, "outside?": dict,
    "transfer?": (dict, None.__class__),
}  # fmt: skip
_RESUME = {"attempt?": count, "states": Every({"files": _FILES, "attempt": count, "keep?": bool}, digits)}
_DESCRIPTION = {
    "id?": plain, "recipe?": dict, "data_digest?": _TEXT, "attempts?": Every(dict, digits), "kind?": str,
    "outside?": dict,
}  # fmt: skip
FORMS = {
    "status.json": _STATUS,
    "progress.json": _PROGRESS,
    "manifest.json": _MANIFEST,
    "resume.json": _RESUME,
    "phase.json": _DESCRIPTION,
}

# A claim on a phase.
CLAIM = {"host": str, "pid": count, "started": _TEXT, "released?": bool, "about?": dict}

# What readers compute with; the rest of a row is shown at most.
ROW = {
    "step": count,
    **{
        f"{name}?": _NUMBER
        for name in ("tokens", "scored_tokens", "positions", "epoch", "unique_tokens", "loss", "accuracy", "exact",
                     "train_loss", "lr", "grad_norm", "seconds", "tokens_per_s", "mfu", "sequences", "mean_steps",
                     "procedural_tokens", "procedural_loss", "procedural_accuracy", "procedural_train_loss",
                     "procedural_learned_loss", "procedural_learned_accuracy")
    },
    "tokens_by_task?": (Every(float), None.__class__),
}  # fmt: skip
fits_row = quick(ROW)
_FITS = {name: quick(form) for name, form in FORMS.items()}


def checked(path: PurePath | str, value: Any) -> Any:
    """The content of one of a phase's files, if it has the form that the file's name promises.

    Raises:
        StoreError: it has not.
    """
    name = str(path).rpartition("/")[2]
    return value if name not in FORMS or _FITS[name](value) else check(value, FORMS[name], path)
