"""The results as JSON: what `procray report FILE --json` prints and `results.json` holds.

Fields are added, never renamed. A number that does not exist (not reached, not finished, one seed only) is null;
`match_state` says which of these it is.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from procray.report.numbers.headline import headline, remarks
from procray.report.numbers.pairs import key_of
from procray.report.numbers.published import compare
from procray.report.numbers.results import Answer, Evidence, Fraction, Results, Target, Trouble, Variant
from procray.report.numbers.statistics import Difference, Spread
from procray.report.numbers.warmups import Warmup
from procray.selection.select import to_json


def results_json(results: Results) -> dict[str, Any]:
    """Plain data for `json.dumps`; no NaN or infinity in it."""
    baselines = [v for target in results.targets for v in target.baselines]
    return {
        "sweep": results.sweep,
        "scale": results.scale,
        "settings": results.settings,
        "setting": results.setting,
        "question": results.question,
        "complete": results.complete,
        "phases": {"done": results.phases_done, "planned": results.phases},
        "baseline": baselines[0].name if baselines else None,
        "targets": [_target_json(target) for target in results.targets],
        "variants": [_variant_json(target, variant) for target in results.targets for variant in target.variants],
        "failed": [_trouble_json(trouble) for trouble in results.failed],
        "skipped": [_trouble_json(trouble) for trouble in results.skipped],
        "published": [vars(comparison) for comparison in compare(results)],
        "notes": list(results.notes),
        "selection": to_json(results.search) if results.search else None,
        "warmups": [_warmup_json(warmup) for warmup in results.warmups],
    }


def _spread_json(value: Spread | None) -> dict[str, float | None]:
    return {"mean": value.mean if value else None, "sd": value.sd if value else None}


def _difference_json(value: Difference | None) -> dict[str, Any]:
    if value is None:
        return {"mean": None, "low": None, "high": None, "n": 0}
    result: dict[str, Any] = {"mean": value.mean, "low": value.low, "high": value.high, "n": value.n}
    result["p"] = value.p
    if value.targets is not None:
        spreads = {"donor_sd": value.donor_sd, "target_sd": value.target_sd, "rest_sd": value.rest_sd}
        result["crossed"] = {"donors": value.n, "targets": value.targets, **spreads}
    if value.bootstrap:
        result["bootstrap"] = {"low": value.bootstrap[0], "high": value.bootstrap[1]}
    return result


def _match_json(variant: Variant, field_name: str) -> dict[str, Any]:
    return {form: getattr(getattr(variant, form), field_name) for form in ("readoff", "matched")}


def _mean(values: Collection[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _variant_json(target: Target, variant: Variant) -> dict[str, Any]:
    return {
        "name": variant.name,
        "target": variant.target,
        "short": variant.short,
        "is_baseline": variant.is_baseline,
        "baseline": variant.baseline,
        "axes": variant.axes,
        "labels": variant.labels,
        "parameters": variant.parameters,
        "warmup_shares": variant.shares,
        "metric": variant.metric,
        "state": variant.state,
        "verdict": variant.verdict or None,
        "evidence": _evidence_json(variant.evidence),
        "control": variant.control or None,
        "controls": variant.controls,
        "gate": _gate_json(variant.gate),
        "saves": variant.saves,
        "n": variant.n,
        "planned": len(variant.runs),
        "t1": variant.t1,
        "t2": variant.t2,
        "final_loss": _spread_json(variant.final_loss),
        "perplexity": variant.perplexity,
        "accuracy": _spread_json(variant.final_accuracy),
        "delta": _difference_json(variant.delta),
        "accuracy_delta": _difference_json(variant.accuracy_delta),
        "scores": {
            name: {**_spread_json(score), "delta": _difference_json(variant.score_deltas.get(name))}
            for name, score in variant.scores.items()
        },
        "solved": {"k": len(variant.solved), "n": variant.n, "tokens": _mean(variant.solved.values())},
        "stages": [
            {
                "kind": stage.kind,
                "title": stage.title,
                "metric": stage.metric,
                "n": stage.final.n if stage.final else 0,
                "final": _spread_json(stage.final),
                "delta": _difference_json(stage.difference),
                "verdict": stage.verdict or None,
            }
            for stage in variant.stages
        ],
        "tokens_to_match": _match_json(variant, "tokens"),
        "match_state": _match_json(variant, "state"),
        "match_is_upper_bound": _match_json(variant, "at_most"),
        "data_fraction": _match_json(variant, "fraction"),
        "data_fraction_of": _match_json(variant, "of"),
        "tokens_total": _match_json(variant, "total"),
        "total_fraction": _match_json(variant, "total_fraction"),
        "unique_tokens": _match_json(variant, "unique"),
        "unique_fraction": _match_json(variant, "unique_fraction"),
        "flops": _match_json(variant, "flops"),
        "flops_fraction": _match_json(variant, "flops_fraction"),
        "seeds_reached": {
            form: {"k": getattr(variant, form).seeds_reached, "n": len(getattr(variant, form).per_seed)}
            for form in ("readoff", "matched")
        },
        "levels": {f"{level:g}": tokens for level, tokens in variant.levels.items()},
        "level": target.level,
        "level_fraction": target.level_fraction(variant),
        "settled": variant.settled,
        "matched_points": [
            {
                "fraction": point.fraction,
                "tokens": point.tokens,
                "final": {**_spread_json(point.final), "n": point.final.n if point.final else 0},
                "delta": _difference_json(point.difference),
            }
            for point in variant.points
        ],
        "per_seed": [
            {
                "seed": run.seed,
                "donor": run.donor,
                "phase": run.phase,
                "state": run.state,
                "reason": run.reason or None,
                "step": run.step,
                "final_loss": run.loss,
                "accuracy": run.accuracy,
                "tokens_to_match": variant.readoff.per_seed.get(key_of(run)),
                "solved": run.solved,
                **run.scores,
            }
            for run in variant.runs
        ],
    }


def _target_json(target: Target) -> dict[str, Any]:
    return {
        "name": target.name,
        "title": target.title,
        "kind": target.kind,
        "metric": target.metric,
        "baselines": [variant.name for variant in target.baselines],
        "headline": headline(target),
        "remarks": remarks(target),
        "chance": target.chance,
        "all_or_nothing": target.all_or_nothing,
        "validation": target.validation,
    }


def _fraction_json(value: Fraction | None) -> dict[str, float | None]:
    return {"low": value.low if value else None, "high": value.high if value else None}


def _evidence_json(found: Evidence) -> dict[str, Any]:
    """What may be said, corrected for the table; see docs/claims.md."""
    left, speed = found.left, found.speed
    return {
        "test": found.method or None,
        "family": found.family,
        "p": found.p,
        "p_corrected": found.corrected,
        "level": found.level,
        "saves": found.saves,
        "fraction": _fraction_json(found.fraction),
        "baseline_settles": _fraction_json(found.settled),
        "speed": vars(speed) if speed else None,
        "left_plateau": vars(left) if left else None,
    }


def _gate_json(gate: Sequence[Answer]) -> dict[str, Any] | None:
    """By question: yes, no or not run, in words and with the numbers that it rests on; None of what has no gate."""
    answers = {one.question: {"answer": one.state, "said": one.said, **one.values} for one in gate}
    return answers or None


def _warmup_json(warmup: Warmup) -> dict[str, Any]:
    return {
        "name": warmup.name,
        "title": warmup.title,
        "state": warmup.state,
        "n": len(warmup.finished),
        "planned": len(warmup.runs),
        "marks": [
            {"tokens": mark.tokens, "loss": _spread_json(mark.loss), "accuracy": _spread_json(mark.accuracy)}
            for mark in warmup.marks
        ],
        "chance": warmup.chance,
        "validation": warmup.validation,
        "last_fifth": warmup.last_fifth,
        "still_improving": warmup.still_improving,
        "variants": list(warmup.variants),
        "per_seed": [
            {"seed": run.seed, "phase": run.phase, "state": run.state, "final_loss": run.loss, "accuracy": run.accuracy}
            for run in warmup.runs
        ],
    }


def _trouble_json(trouble: Trouble) -> dict[str, Any]:
    return {
        "phase": trouble.phase,
        "label": trouble.label,
        "variants": list(trouble.variants),
        "reason": trouble.reason,
        "step": trouble.step,
    }
