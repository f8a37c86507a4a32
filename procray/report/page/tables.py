"""Tables across a sweep, the same in the terminal and on the page: which there are follows from the plan's axes.

- tasks x modes, where the mode of transfer is an axis among others, or among several targets;
- pairs of parents, where two components have several each (`transfer: {attention: {grid: ...}, mlp: {grid: ...}}`);
- the ways to score a diagnostic, side by side;
- the phases after the warm-up, where a chain has several: does the gain last?
- the warm-ups: were they learned?
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from procray.report.numbers.matrix import Matrix, matrices
from procray.report.numbers.published import Comparison, effect_text, measured_text, published_text
from procray.report.numbers.results import Results, Stage, Variant
from procray.report.numbers.statistics import Difference, Spread
from procray.report.numbers.warmups import Warmup, chance_text, still_text
from procray.report.numbers.wording import count, distinct, percent, plural
from procray.report.page.cells import difference_interval, ends_text, interval_text, mean_text, solved_text
from procray.report.page.grid import Entry, Grid, Row, legend

_SCORE_NAMES = {
    "official_accuracy": "official",
    "corrected_accuracy": "corrected",
    "first_accuracy": "first token",
    "stop_accuracy": "stop token",
    "exact_match": "exact match",
}


def grids(results: Results) -> list[Grid]:
    """All tables that the results call for."""
    found = [_modes(results)]
    found += [_matrix(matrix, len(results.targets)) for target in results.targets for matrix in matrices(target)]
    found += [_scores(results), _stages(results)]
    return [grid for grid in found if grid is not None]


# --- tasks x modes ---------------------------------------------------------------------------------------------------


def _modes(results: Results) -> Grid | None:
    carried = {
        target.name: [variant for variant in target.warmed if variant.carried not in ("", "none")]
        for target in results.targets
    }
    targets = [target for target in results.targets if carried[target.name]]
    modes = list(dict.fromkeys(variant.carried for target in targets for variant in carried[target.name]))
    pairs = [(target, setting) for target in targets for setting in distinct(v.setting for v in carried[target.name])]
    if len(modes) < 2 or len(pairs) < 2:
        return None
    units = distinct(target.unit for target in targets)
    settings = distinct(setting for _, setting in pairs)
    rows = []
    for target, setting in pairs:
        own = {variant.carried: variant for variant in carried[target.name] if variant.setting == setting}
        base = target.baseline_of(next(iter(own.values())))
        name = target.title if len(units) == 1 else f"{target.title}, {'%' if target.metric == 'accuracy' else 'nats'}"
        labels = {"target": name} if len(results.targets) > 1 else {}
        if len(settings) > 1:
            labels["setting"] = setting
        entries = [variant_entry(variant) if variant else None for variant in (base, *map(own.get, modes))]
        rows.append(Row(tuple(labels.values()), tuple(entries)))
    shown = [v for target in targets for v in (*target.baselines, *carried[target.name])]
    what = f"Final {units[0]}" if len(units) == 1 else "Final accuracy (%) or validation loss (nats)"
    return Grid(
        "modes",
        f"{what}, by what is carried over ({_seeds(shown)})",
        (*labels, "none", *modes),
        tuple(rows),
        (legend(rows),) if legend(rows) else (),
    )


def _seeds(variants: Iterable[Variant]) -> str:
    """What the numbers are of; cells of other numbers of seeds have theirs in brackets (`_value`)."""
    variants = list(variants)
    planned = max((len(variant.runs) for variant in variants), default=0)
    fewer = any(variant.n not in (0, len(variant.runs)) for variant in variants)
    brackets = ", in brackets: of fewer" if fewer else ""
    what = min((variant.one for variant in variants), default="seed")
    return f"mean ± sd of {plural(planned, what)}{brackets}" if planned > 1 else "one seed"


def variant_entry(variant: Variant) -> Entry:
    """The final value, the verdict, and for the page the interval of the difference, seeds and early stops."""
    if variant.final is None:
        return Entry(variant.state)
    details = [interval_text(variant)] if variant.difference else []
    if variant.evidence.left is not None:
        details.append(f"by seed: {ends_text(variant)}")
    if variant.solved:
        details.append(f"solved: {solved_text(variant)}")
    return Entry(_value(variant.metric, variant.final, len(variant.runs)), variant.verdict, tuple(details))


def _value(metric: str, final: Spread, planned: int) -> str:
    return mean_text(metric, final) + (f" ({final.n})" if final.n != planned else "")


# --- pairs of parents ------------------------------------------------------------------------------------------------


def _matrix(matrix: Matrix, targets: int) -> Grid:
    target = matrix.target
    rows = [
        Row((row,), tuple(variant_entry(v) if (v := matrix.cells.get((row, c))) else None for c in matrix.columns))
        for row in matrix.rows
    ]
    where = f"{target.title}: " if targets > 1 else ""
    setting = f", {matrix.setting}" if matrix.setting else ""
    base = next((v for v in target.baselines if v.final), None)
    notes = [legend(rows)] if legend(rows) else []
    if base and base.final:
        notes.append(f"Without a warm-up: {_value(target.metric, base.final, len(base.runs))}.")
    return Grid(
        f"composition-{target.name}-{matrix.setting}",
        f"{where}Final {target.unit}: {matrix.down} from (rows) with {matrix.across} from (columns){setting} "
        f"({_seeds(matrix.cells.values())})",
        (f"{matrix.down} \\ {matrix.across}", *matrix.columns),
        tuple(rows),
        tuple(notes),
    )


# --- ways to score ---------------------------------------------------------------------------------------------------


def _scores(results: Results) -> Grid | None:
    """Official and corrected accuracies side by side, of targets where they are two numbers."""

    def differ(variant: Variant) -> bool:
        official, corrected = (variant.scores.get(f"{name}_accuracy") for name in ("official", "corrected"))
        return (official is None) != (corrected is None) or (
            official is not None and corrected is not None and abs(official.mean - corrected.mean) > 1e-9
        )

    scored = [
        (target, variant)
        for target in results.targets
        if any(map(differ, target.variants))
        for variant in target.variants
        if variant.scores
    ]
    if not scored:
        return None
    names = [name for name in _SCORE_NAMES if any(name in variant.scores for _, variant in scored)]
    several = len(results.targets) > 1
    rows = [
        Row(
            (target.title, variant.short) if several else (variant.short,),
            tuple(_score_entry(variant, name) for name in names),
        )
        for target, variant in scored
    ]
    notes = [legend(rows)] if legend(rows) else []
    notes.append(
        "Official: as the released code scores, without the first token of an answer and with its end. Corrected: "
        "every token of the answer. Exact match: the whole answer and its end."
    )
    return Grid(
        "scores",
        f"Accuracy, %, by how it is scored ({_seeds(variant for _, variant in scored)})",
        (*(("target", "variant") if several else ("variant",)), *(_SCORE_NAMES[name] for name in names)),
        tuple(rows),
        tuple(notes),
        brief=14,
    )


def _score_entry(variant: Variant, name: str) -> Entry | None:
    final, difference = variant.scores.get(name), variant.score_deltas.get(name)
    if final is None:
        return None
    details = (difference_interval("accuracy", difference),) if difference else ()
    return Entry(_value("accuracy", final, len(variant.runs)), variant.score_verdicts.get(name, ""), details)


# --- phases after the warm-up ----------------------------------------------------------------------------------------


def _stages(results: Results) -> Grid | None:
    """Every variant at the end of each phase after its warm-up, with its difference from the baseline there."""
    staged = [(target, v) for target in results.targets for v in target.variants if v.stages]
    if not any(not variant.is_baseline for _, variant in staged):
        return None
    several = len(results.targets) > 1
    titles = [stage.title for stage in staged[0][1].stages]
    kinds = [stage.kind for stage in staged[0][1].stages]
    if any([stage.kind for stage in variant.stages] != kinds for _, variant in staged):
        return None  # chains of different shapes share no columns
    rows = []
    for target, variant in staged:
        entries = [entry for stage in variant.stages for entry in _stage_entries(variant, stage)]
        rows.append(Row((target.title, variant.short) if several else (variant.short,), tuple(entries)))
    heads = ("target", "variant") if several else ("variant",)
    columns = []
    for number, (kind, title) in enumerate(zip(kinds, titles, strict=True), 1):
        columns += [f"{number}. {kind}" if several else f"{number}. {kind}: {title}", "against baseline (95 %)"]
    notes = [legend(rows)] if legend(rows) else []
    return Grid(
        "stages",
        f"Does the gain last? The end of every phase after the warm-up ({_seeds(v for _, v in staged)})",
        (*heads, *columns),
        tuple(rows),
        tuple(notes),
    )


def _stage_entries(variant: Variant, stage: Stage) -> tuple[Entry, Entry]:
    if stage.final is None:
        states = {run.state for run in stage.runs}
        waiting = next((s for s in ("failed", "skipped", "running", "paused") if s in states), "waiting")
        return Entry(waiting), Entry("-")
    value = Entry(_value(stage.metric, stage.final, len(stage.runs)))
    difference: Difference | None = stage.difference
    if difference is None:
        return value, Entry("-")
    return value, Entry(difference_interval(stage.metric, difference), stage.verdict)


# --- warm-ups --------------------------------------------------------------------------------------------------------


def warmups_grid(results: Results) -> Grid | None:
    """How every warm-up ended, at each of its marks, beside what cheap strategies score."""
    if not results.warmups:
        return None
    rows, notes = [], []
    for one in results.warmups:
        for mark in one.marks:
            end = mark is one.marks[-1]
            entries = [
                Entry(f"{count(mark.tokens)}"),
                _spread_entry(one, "loss", mark.loss),
                _spread_entry(one, "accuracy", mark.accuracy) if one.chance else Entry("-"),
                _chance_entry(one),
            ]
            rows.append(
                Row((one.name if mark is one.marks[0] else "",), (*entries, _improving(one) if end else Entry("")))
            )
    for validation in distinct(one.validation for one in results.warmups):
        notes.append(f"Judged on {validation}.")
    if any(one.chance for one in results.warmups):
        notes.append(
            "Chance, the best of three cheap strategies: always one answer, the most frequent; any among the shown "
            "symbols; the last shown token (or row) again."
        )
    planned = max(len(one.runs) for one in results.warmups)
    return Grid(
        "warmups",
        f"Warm-ups: were they learned? ({f'mean ± sd of {planned} seeds' if planned > 1 else 'one seed'})",
        ("warm-up", "tokens", "loss", "accuracy, %", "chance", "last fifth"),
        tuple(rows),
        tuple(notes),
        brief=14,
    )


def _spread_entry(one: Warmup, metric: str, value: Spread | None) -> Entry:
    return Entry(one.state) if value is None else Entry(_value(metric, value, len(one.runs)))


def _chance_entry(one: Warmup) -> Entry:
    """The best cheap strategy; all of them for the page."""
    if not one.chance:
        return Entry("-")
    best = max(one.chance, key=lambda name: one.chance[name])
    return Entry(f"{percent(one.chance[best], 1)}, {best}", "", (chance_text(one.chance),))


def _improving(one: Warmup) -> Entry:
    """The share of the whole improvement that the last fifth of the tokens brought."""
    if one.last_fifth is None:
        return Entry("-")
    said = still_text(one.last_fifth)
    return Entry(
        f"+{percent(one.last_fifth)}" if one.last_fifth > 0 else percent(one.last_fifth), "", (said,) if said else ()
    )


# --- published values ------------------------------------------------------------------------------------------------


def published_grid(comparisons: Sequence[Comparison]) -> Grid:
    """Numbered rows; the notes give reason, source and strength of evidence of each."""
    rows = []
    notes = []
    quantities = {c.quantity for c in comparisons}
    for index, c in enumerate(comparisons, 1):
        what = f"{index}. {c.variant or c.target or 'any variant'}"
        if len(quantities) > 1:
            what += f", {c.quantity.replace('_', ' ')}"
        texts = (c.verdict, published_text(c), measured_text(c), effect_text(c))
        rows.append(Row((what,), tuple(Entry(text) for text in texts)))
        note = f" {c.note}." if c.note else ""
        end = "" if c.reason.endswith("?") else "."
        notes.append(f"{index}. {c.reason}{end} Published: {c.source} ({c.strength}).{note}")
    first = "value" if len(quantities) > 1 else next(iter(quantities)).replace("_", " ")
    heads = (first, "verdict", "published", "here (seeds)", "effect (95 %)")
    return Grid("published", "", heads, tuple(rows), tuple(notes))
