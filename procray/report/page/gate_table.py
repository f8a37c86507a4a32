"""The gate as a table: a row a variant, a column a question, on the page and in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from procray.report.numbers.gate import QUESTIONS, questions
from procray.report.numbers.results import Answer, Target, Variant
from procray.report.numbers.wording import plural, wrapped
from procray.report.page.plain import columns

_ROWS = 8  # in the terminal; the report has all
_CLASS = {"yes": "better", "no": "worse", "not run": "wait"}
_BEFORE = "“Saves data” is said only where the first three are yes."
_SHORT = {  # in a terminal, where nine columns stand beside each other
    "learned": "learned",
    "scratch": "scratch",
    "text": "text",
    "shuffled": "shuffled",
    "random": "random",
    "random_heads": "heads",
    "more_semantic": "more T2",
    "tuned": "tuned",
    "passes": "passes",
    "size": "size",
    "lasts": "lasts",
}
_LEGEND = (
    "The gate, what a reviewer asks: was the warm-up learned (accuracy/chance)? Is it better than scratch, text of "
    "equal tokens, shuffled data, random weights of the same norm? Was the baseline tuned as hard (settings tried)? "
    "At most one pass over the data? Larger than the smallest that these seeds can show? How much of the best gain "
    "lasts to the end?"
)


_MORE = {  # of questions that are asked only where they were run
    "random_heads": "As many other heads of the same layers?",
    "more_semantic": "As many more tokens of the target?",
}


def _shown(target: Target) -> list[Variant]:
    return [variant for variant in target.ranked if variant.gate]


def gate_html(target: Target) -> str:
    """Every answer with its number, and in words what it rests on; empty where no variant has a gate."""
    rows = _shown(target)
    if not rows:
        return ""
    asked = questions(target)
    head = "".join(f"<th>{escape(QUESTIONS[name][0])}</th>" for name in asked)
    body = []
    for variant in rows:
        answers = {answer.question: answer for answer in variant.gate}
        cells = "".join(_cell(answers.get(name)) for name in asked)
        body.append(f'<tr><th scope="row">{escape(variant.short)}</th>{cells}</tr>')
    return (
        f'<div class="scroll"><table class="grid gate"><caption><b>The gate: what a reviewer asks of '
        f"{escape(target.title)}.</b> {escape(_BEFORE)}</caption><thead><tr><th class=label>variant</th>{head}</tr>"
        f"</thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _cell(answer: Answer | None) -> str:
    if answer is None:
        return "<td></td>"
    number = f" ({escape(answer.number)})" if answer.number else ""
    said = f"<small>{escape(answer.said)}</small>" if answer.said else ""
    return f'<td class="{_CLASS[answer.state]}"><span>{escape(answer.state)}{number}</span>{said}</td>'


def gate_text(target: Target, width: int) -> list[str]:
    """The same without the words; lines for a terminal."""
    rows = _shown(target)
    if not rows:
        return []
    asked = questions(target)
    table = [["the gate", *(_SHORT[name] for name in asked)]]
    for variant in rows[:_ROWS]:
        answers = {answer.question: answer for answer in variant.gate}
        table.append([variant.short, *(_text(answers.get(name)) for name in asked)])
    lines = ["", *columns(table, width)]
    if len(rows) > _ROWS:
        lines.append(f"  ... and {plural(len(rows) - _ROWS, 'more variant')} in the report")
    return lines


def gate_legend(targets: Sequence[Target], width: int) -> list[str]:
    """What its columns ask, once for all targets."""
    if not any(variant.gate for target in targets for variant in target.variants):
        return []
    asked = {name for target in targets for name in questions(target)}
    said = " ".join([_LEGEND, *(text for name, text in _MORE.items() if name in asked), _BEFORE])
    return ["", *wrapped(said, width, "  ", "  ")]


def _text(answer: Answer | None) -> str:
    if answer is None:
        return ""
    return answer.state + (f" {answer.number}" if answer.number else "")
