"""What a published value may be about, by the names that a sweep file uses. Shares lie between 0 and 1."""

from __future__ import annotations

from fnmatch import fnmatchcase

QUANTITIES = {
    "data_fraction": "tokens to match the baseline, by the full-length curve, over the baseline's",
    "data_fraction_matched": "the same, by reruns with a schedule of their own",
    "final_loss": "validation loss at the end, nats",
    "perplexity": "exp of the final loss",
    "delta": "final loss minus the baseline's, nats",
    "accuracy": "final accuracy, as the phase scores it",
    "official_accuracy": "final accuracy under the official mask",
    "corrected_accuracy": "final accuracy under the corrected mask",
    "exact_match": "sequences with every scored token right",
    "accuracy_delta": "final accuracy minus the baseline's",
    "last_loss": "validation loss at the end of the chain's last phase, nats",
    "last_perplexity": "exp of it",
    "last_delta": "it minus the baseline's, nats",
}
SHARES = frozenset(name for name in QUANTITIES if "accuracy" in name or "fraction" in name or name == "exact_match")


def published_effect(quantity: str, value: float, base: float | None) -> float | None:
    """What the published value says was gained or lost; None where the published baseline is not known."""
    if quantity.startswith("data_fraction"):
        return value - 1
    if quantity.endswith("delta"):
        return value
    return None if base is None else value - base


def fits(wanted: str | None, name: str, short: str, is_baseline: bool, control: str) -> bool:
    """Whether a variant's name, or its name within the target, is the wanted one; `*` stands for anything.

    A pattern means baselines and added controls only where it says so, and without one any other variant may be meant.
    """
    if not wanted:
        return not is_baseline and not control
    if wanted in (name, short):
        return True
    if (is_baseline and "baseline" not in wanted) or control not in wanted:
        return False
    return any(fnmatchcase(one, wanted) for one in (name, short))
