"""What `procray probe` does: asks the models of phases what they can do beside their loss, and prints the answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from procray.cli.terminal import answer, answer_json, say
from procray.visible import on_one_line, visible

if TYPE_CHECKING:
    from procray.report.numbers.probing import Told, Wanted
    from procray.store.store import Store


def run_probe(store: Store, phases: list[str], wanted: Wanted, *, step: int | None, json: bool) -> None:
    """Asks phases of a store.

    Args:
        phases: as users name them, each with its own mark or none.
        step: of those that have none of their own.
    """
    from procray.report.numbers import probing
    from procray.selection.naming import find

    found = [find(text, store) for text in phases]
    named = dict.fromkeys((one.phase, step if one.step is None else one.step) for one in found)
    subjects = [probing.open_subject(store, phase, at) for phase, at in named]
    tasks = probing.check(subjects, wanted)
    told = [probing.tell(store, subject, wanted, tasks, say) for subject in subjects]
    apart = [probing.differences(told[0], one) for one in told[1:]]
    if json:
        phases_ = [one.to_json() for one in told]
        answer_json({"version": probing.VERSION, "phases": phases_, "differences": _finite(apart)})
        return
    for number, one in enumerate(told, 1):
        answer(f"{f'{number}: ' if len(told) > 1 else ''}{on_one_line(one.label)}, step {one.step} ({one.phase})")
    for title, columns, rows in _tables(told, apart):
        if rows:
            answer("")
            answer(title)
            _print(columns, rows)
    for note in _notes(told, apart):
        answer(note)


def _notes(told: Sequence[Told], apart: Sequence[dict[str, Any]]) -> list[str]:
    """Each sentence once, with the numbers of the phases that it is about unless it is about all."""
    about: dict[str, list[str]] = {}
    for number, one in enumerate(told, 1):
        for note in one.notes:
            about.setdefault(note, []).append(str(number))
    for number, (one, pair) in enumerate(zip(told[1:], apart, strict=True), 2):
        if told[0].probes and one.probes and not pair["probes"]:
            note = (
                "asked other items than 1, which are made of its own tokenizer and held-out text: nothing is compared"
            )
            about.setdefault(note, []).append(str(number))
    return [note if len(who) == len(told) else f"{', '.join(who)}: {note}" for note, who in about.items()]


def _tables(told: Sequence[Told], apart: Sequence[dict[str, Any]]) -> list[tuple[str, list[str], list[list[str]]]]:
    numbers = [str(number) for number in range(1, len(told) + 1)] if len(told) > 1 else [""]
    less = [f"{number} less 1 (95 %)" for number in numbers[1:]]
    probes: dict[tuple[str, float], list[str]] = {}
    for one in told:
        for found in one.probes:
            key = (found.probe, found.value)
            chance = f"{100 * found.chance:.1f}"
            probes.setdefault(
                key, [found.probe, f"{found.value:g} {found.unit}", str(len(found.scores.right_N)), chance]
            )
    for (name, value), row in probes.items():
        here = [next((f for f in one.probes if (f.probe, f.value) == (name, value)), None) for one in told]
        row += ["" if f is None else _with_control(f) for f in here]
        row += ["" if f is None else f"{f.scores.loss:.3f}" for f in here]
        for pair in apart:
            both = next((d for d in pair["probes"] if (d["probe"], d["value"]) == (name, value)), None)
            row.append("" if both is None else _interval(both["accuracy"], 100, 1))
    texts: dict[str, list[str]] = {}
    for one in told:
        for text in one.texts:
            texts.setdefault(text.domain, [text.domain, f"{int(text.bytes_P.sum()):,}"])
    for name, row in texts.items():
        here_ = [next((t for t in one.texts if t.domain == name), None) for one in told]
        row += ["" if t is None else f"{t.bits_per_byte:.4f}" for t in here_]
        for pair in apart:
            text_ = next((d for d in pair["texts"] if d["domain"] == name), None)
            row.append("" if text_ is None else _interval(text_["bits_per_byte"], 1, 4))
    tasks: dict[tuple[str, str], list[str]] = {}
    for one in told:
        for task in one.tasks:
            for metric in task.metrics:
                tasks.setdefault((task.task, metric), [task.task, metric.removesuffix(",none")])
    for (name, metric), row in tasks.items():
        for one in told:
            task_ = next((t for t in one.tasks if t.task == name and metric in t.metrics), None)
            row.append("" if task_ is None else _with_error(task_.metrics[metric], task_.errors.get(metric)))
    right, loss = ([f"{what} {number}".strip() for number in numbers] for what in ("right, %", "loss"))
    return [
        (
            "Probes. In brackets: what is right without the part of the context that has the answer.",
            ["probe", "condition", "items", "chance, %", *right, *loss, *less],
            list(probes.values()),
        ),
        (
            "Bits per byte of held-out text; lower is better, and all tokenizers share the unit.",
            ["text", "bytes", *(f"bits {number}".strip() for number in numbers), *less],
            list(texts.values()),
        ),
        (
            "Tasks of lm-eval, with the harness's standard errors.",
            ["task", "metric", *(f"value {number}".strip() for number in numbers)],
            list(tasks.values()),
        ),
    ]


def _with_control(found: Any) -> str:
    without = "" if found.control is None else f" ({100 * found.control.accuracy:.1f})"
    return f"{100 * found.scores.accuracy:.1f}{without}"


def _with_error(value: float, error: float | None) -> str:
    return f"{value:.4f}" + ("" if error is None or not math.isfinite(error) else f" ± {error:.4f}")


def _interval(value: dict[str, float], scale: float, decimals: int) -> str:
    mean, low, high = (scale * value[name] for name in ("mean", "low", "high"))
    return f"{mean:+.{decimals}f} [{low:+.{decimals}f}, {high:+.{decimals}f}]"


def _finite(value: Any) -> Any:
    """The same with None for what is no number, which JSON has no word for."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print(columns: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)
    grid = Table(box=None, pad_edge=False)
    for number, name in enumerate(columns):
        grid.add_column(Text(name), justify="left" if number < 2 else "right")
    for row in rows:
        grid.add_row(*(Text(visible(cell)) for cell in row))
    console.print(grid)
