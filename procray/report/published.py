"""Comparison with published values: reproduced, not reproduced, or not comparable, always with the reason.

*Reproduced* needs both: our mean lies within the stated tolerance of the published value, and the 95 % interval of the
effect excludes no effect.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from procray.report.results import Results, Target, Variant
from procray.report.statistics import spread, t_quantile

QUANTITIES = (
    "data_fraction",
    "data_fraction_matched",
    "delta",
    "accuracy_delta",
    "final_loss",
    "accuracy",
    "perplexity",
)


@dataclass(frozen=True)
class Comparison:
    """One published value beside ours. `strength` is how good the evidence for the published value is."""

    quantity: str
    variant: str
    value: float
    tolerance: float
    source: str
    strength: str
    ours: float | None
    verdict: Literal["reproduced", "not reproduced", "not comparable"]
    reason: str


def compare(results: Results, published: list[dict[str, Any]]) -> list[Comparison]:
    """One comparison for every published value of the plan."""
    return [_compare(results, entry) for entry in published]


def _compare(results: Results, entry: dict[str, Any]) -> Comparison:
    quantity = entry.get("quantity") or "data_fraction"
    found = _variant(results, entry)
    if isinstance(found, str):
        ours, verdict, reason = None, "not comparable", found
        name = str(entry.get("variant") or "")
    else:
        target, variant = found
        name = variant.name
        ours, verdict, reason = _judge(target, variant, quantity, float(entry["value"]), float(entry["tolerance"]))
    return Comparison(
        quantity, name, float(entry["value"]), float(entry["tolerance"]), str(entry["source"]), str(entry["strength"]),
        ours, verdict, reason,  # type: ignore[arg-type]
    )  # fmt: skip


def _variant(results: Results, entry: dict[str, Any]) -> tuple[Target, Variant] | str:
    """The variant that an entry means, or why there is none."""
    targets = [t for t in results.targets if entry.get("target") in (None, t.name)]
    if not targets:
        return f"this scale has no target '{entry.get('target')}'"
    wanted = entry.get("variant")
    fits = [
        (target, variant)
        for target in targets
        for variant in target.variants
        if (wanted in (variant.name, variant.short) if wanted else not variant.is_baseline)
    ]
    if not fits:
        return f"this scale has no variant '{wanted}'" if wanted else "this scale has no warmed-up variant"
    if len(fits) > 1:
        return f"{len(fits)} variants could be meant"
    return fits[0]


def _judge(
    target: Target, variant: Variant, quantity: str, value: float, tolerance: float
) -> tuple[float | None, str, str]:
    if quantity not in QUANTITIES:
        return None, "not comparable", f"unknown quantity '{quantity}'"
    ours = _ours(variant, quantity)
    if ours is None:
        match = variant.matched if quantity == "data_fraction_matched" else variant.readoff
        if quantity.startswith("data_fraction") and match.state == "not reached":
            return None, "not reproduced", "the baseline's final level is not reached"
        return None, "not comparable", "no finished result"
    if abs(ours - value) > tolerance:
        return ours, "not reproduced", f"{ours:.3g} is further than {tolerance:g} from {value:g}"
    if variant.is_baseline:
        return ours, "reproduced", "within the tolerance; a baseline has no effect to exclude"
    if quantity.startswith("data_fraction"):
        excludes = _fraction_excludes_one(target, variant, quantity)
    else:
        difference = variant.accuracy_delta if quantity in ("accuracy", "accuracy_delta") else variant.delta
        excludes = difference.excludes_zero if difference else None
    if excludes is None:
        return ours, "not reproduced", "within the tolerance, but one seed gives no interval"
    if not excludes:
        return ours, "not reproduced", "within the tolerance, but the 95 % interval includes no effect"
    return ours, "reproduced", "within the tolerance, and the 95 % interval excludes no effect"


def _ours(variant: Variant, quantity: str) -> float | None:
    if quantity == "data_fraction":
        return variant.readoff.fraction
    if quantity == "data_fraction_matched":
        return variant.matched.fraction
    if quantity == "perplexity":
        return variant.perplexity
    found = {
        "delta": variant.delta,
        "accuracy_delta": variant.accuracy_delta,
        "final_loss": variant.final_loss,
        "accuracy": variant.final_accuracy,
    }[quantity]
    return found.mean if found else None


def _fraction_excludes_one(target: Target, variant: Variant, quantity: str) -> bool | None:
    """Whether the t-interval over the seeds' own fractions lies below 1; a seed that did not reach it forbids that."""
    base = target.baseline_of(variant)
    match = variant.matched if quantity == "data_fraction_matched" else variant.readoff
    fractions = [tokens / base.t2 for tokens in match.per_seed.values() if tokens is not None] if base else []
    found = spread(fractions)
    if found is None or found.sd is None:
        return None
    if len(fractions) < len(match.per_seed):
        return False
    return found.mean + t_quantile(found.n - 1) * found.sd / found.n**0.5 < 1
