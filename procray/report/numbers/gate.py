"""The gate: what a reviewer asks of a variant before believing it, and what this sweep answers.

Definitions and their sources are in docs/claims.md. The sentences are calibrated without the gate; it only restricts
them further.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from procray.report.numbers.answers import (
    about_passes,
    about_size,
    about_tuning,
    compared,
    hosts,
    lasting,
    learned,
)
from procray.report.numbers.controls import CONTROLS, controls_of
from procray.report.numbers.evidence import speeds_against, test_of_ends, verdict_of
from procray.report.numbers.pairs import difference, partners
from procray.report.numbers.power import powers
from procray.report.numbers.results import Answer, Evidence, Target, Variant
from procray.report.numbers.statistics import holm
from procray.report.numbers.wording import alternatives, listing

if TYPE_CHECKING:
    from procray.planning.plan import Cell
    from procray.report.numbers.runs import Reader
    from procray.selection.select import Searched

# By question, the head of its column and what is missing where it was not run. The first DECISIVE decide.
QUESTIONS = {
    "learned": ("warm-up learned?", "whether the warm-up was learned"),
    "scratch": ("better than scratch?", "scratch"),
    "text": ("than text of equal tokens?", "text of equal tokens"),
    "shuffled": ("than shuffled data?", "shuffled data"),
    "random": ("than random weights of the same norm?", "random weights of the same norm"),
    "random_heads": ("than as many other heads of the same layers?", "as many other heads of the same layers"),
    "more_semantic": ("than as many more tokens of the target?", "as many more tokens of the target"),
    "tuned": ("baseline tuned as hard?", "a search of settings"),
    "passes": ("at most one pass over the data?", "passes over the data"),
    "size": (
        "larger than the smallest effect that these seeds can show?",
        "the smallest effect that these seeds can show",
    ),
    "lasts": ("lasts to the end?", "whether it lasts to the end"),
}


_OTHERS = ("scratch", *CONTROLS)  # what a variant is compared with
_NO = {
    "learned": "the warm-up was not learned",
    "tuned": "the baseline was not tuned as hard",
    "lasts": "it does not last to the end",
}


def with_gates(targets: Sequence[Target], reader: Reader, searched: Searched | None) -> tuple[Target, ...]:
    """The targets with the gate of every variant that is no baseline and no control."""
    plan = reader.plan
    controls = controls_of(plan)
    by_variant: dict[str, list[Cell]] = {}
    for cell in plan.cells:
        if cell.fraction is None:
            by_variant.setdefault(cell.variant, []).append(cell)
    can_show = {one.target: one for one in powers(reader, searched)}
    found = []
    for target in targets:
        known = {variant.name for variant in target.variants}
        own = {
            variant.name: {kind: name for kind, name in controls.get(variant.name, {}).items() if name in known}
            for variant in target.variants
        }
        among = {variant.name for variant in target.variants if hosts(by_variant.get(variant.name, ()), reader)}
        for name in among & {name for name, kinds in own.items() if "more_semantic" in kinds}:
            own[name].setdefault("text", own[name]["more_semantic"])  # in one phase they are one control
        target = replace(target, variants=tuple(replace(v, controls=own[v.name]) for v in target.variants))
        beside = {kind: _against(target, kind) for kind in CONTROLS}
        filled = []
        for variant in target.variants:
            if variant.is_baseline or variant.name in target.in_control:
                filled.append(variant)
                continue
            answers = {
                "learned": learned(by_variant[variant.name], reader),
                "scratch": compared(
                    "scratch", variant, target.baseline_of(variant), variant.difference, variant.evidence
                ),
                **{kind: beside[kind].get(variant.name, Answer(kind, "not run")) for kind in CONTROLS},
                "tuned": about_tuning(variant, searched),
                "passes": about_passes(variant, reader),
                "size": about_size(target, variant, can_show.get(target.name)),
                "lasts": lasting(target, variant),
            }
            for kind in ("random_heads", "more_semantic"):  # questions of their own, which nobody need ask
                if kind not in variant.controls:
                    del answers[kind]
            if variant.name in among:  # nothing is carried
                del answers["random"]
            filled.append(replace(variant, gate=tuple(answers[name] for name in QUESTIONS if name in answers)))
        found.append(replace(target, variants=tuple(filled)))
    return tuple(found)


def without_gate(target: Target) -> Target:
    """The same target as its numbers alone show it: what the calibration tests."""
    return replace(target, variants=tuple(replace(variant, gate=()) for variant in target.variants))


def questions(target: Target) -> list[str]:
    """The columns of a target's table."""
    asked = {answer.question for variant in target.variants for answer in variant.gate}
    return [name for name in QUESTIONS if name in asked]


def reservations(variant: Variant) -> str:
    """What a headline adds to something good that it says of a variant: what the gate says no to, and what was not run.

    Empty without a gate.
    """
    no = [answer.question for answer in variant.gate if answer.state == "no"]
    # Where a level is kept sooner and the baseline keeps it too, nothing need be left at the end.
    against = [_NO[name] for name in no if name in _NO and (name != "lasts" or variant.verdict == "better")]
    others = [QUESTIONS[name][1] for name in no if name in _OTHERS]
    if others:
        against.append(f"it is not shown to be better than {alternatives(others)}")
    missing = [QUESTIONS[answer.question][1] for answer in variant.gate if answer.state == "not run"]
    return (f"; but {listing(against)}" if against else "") + (f"; not run: {listing(missing)}" if missing else "")


def _against(target: Target, kind: str) -> dict[str, Answer]:
    """Every variant that has a control of this kind against it, corrected for the number of these."""
    by_name = {variant.name: variant for variant in target.variants}
    others = {
        variant.name: by_name[variant.controls[kind]]
        for variant in target.variants
        if kind in variant.controls and variant.name not in target.in_control
    }
    pairs = {name: partners(by_name[name].runs, other.runs) for name, other in others.items()}
    differences = {name: difference(own, target.metric) for name, own in pairs.items()}
    tests = {name: test_of_ends(target, differences[name], pairs[name])[1] for name in others}
    corrected = dict(zip(tests, holm([*tests.values()], len(others)), strict=True))
    speeds = speeds_against(target, {name: (other, partners) for name, other in others.items()}, len(others))
    answers = {}
    for name, other in others.items():
        one = by_name[name]
        evidence = Evidence(
            family=len(others), p=tests[name], corrected=corrected[name].p, level=corrected[name].level,
            verdict=verdict_of(one, differences[name], corrected[name], target.mode), speed=speeds.get(name),
        )  # fmt: skip
        answers[name] = compared(kind, one, other, differences[name], evidence)
    return answers
