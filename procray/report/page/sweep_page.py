"""The report as one HTML file: opens from disk, asks nothing of a network, can be printed, reads in light and dark."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape

from procray.report.figures.canvas import Picture
from procray.report.numbers.headline import headline, remarks
from procray.report.numbers.published import Comparison, at_a_glance, compare
from procray.report.numbers.results import Results, Target, Trouble
from procray.report.numbers.settings import Settings
from procray.report.numbers.wording import plural
from procray.report.page.gate_table import gate_html
from procray.report.page.html_tables import grid_html, published_html, variants_html, warmups_html
from procray.report.page.markup import document, figure_html, svg_html
from procray.report.page.search_tables import search_grids
from procray.report.page.tables import grids


def page(
    results: Results,
    pictures: Sequence[Picture],
    lineage: str,
    settings: Settings,
    inside: str = "",
) -> str:
    """The whole page. `lineage` is an SVG, `inside` a finished section; every text from outside is escaped."""
    title = results.title
    by_target = _by_target(results, pictures)
    comparisons = compare(results)
    sections = [
        _head(results, title, comparisons),
        _across(results),
        *(_target(target, by_target.get(target.name, [])) for target in results.targets),
        _warmups(results),
        _search(results),
        _published(comparisons),
        inside,
        _troubles(results),
        _definitions(results),
        f'<section id="lineage"><h2>Lineage</h2><p>Boxes stand for all seeds and lengths of schedule of one phase; '
        f"dots are kept checkpoints. Rest the pointer on a box for its phases.</p>"
        f'<div class="paper scroll">{svg_html(lineage)}</div></section>',
        _settings(settings),
    ]
    return document(title, "\n".join(section for section in sections if section) + "\n")


def _by_target(results: Results, pictures: Sequence[Picture]) -> dict[str, list[Picture]]:
    found: dict[str, list[Picture]] = {}
    for target in results.targets:
        found[target.name] = [picture for picture in pictures if picture.target == target.name]
    return found


def _head(results: Results, title: str, comparisons: Sequence[Comparison]) -> str:
    state = f"{results.phases_done} of {plural(results.phases, 'phase')} done"
    badges = [f'<span class="badge {"good" if results.complete else "wait"}">{state}</span>']
    if results.failed:
        badges.append(f'<span class="badge bad">{len(results.failed)} failed</span>')
    if results.skipped:
        badges.append(f'<span class="badge bad">{len(results.skipped)} skipped</span>')
    if comparisons:
        badges.append(f'<a class="badge wait" href="#published">published: {at_a_glance(comparisons)}</a>')
    question = f'<p class="question">{escape(results.question)}</p>' if results.question else ""
    answers = "".join(
        f'<div class="answer"><h2><a href="#{_anchor(target)}">{escape(target.title)}</a></h2>'
        f"<p>{escape(headline(target))}</p></div>"
        for target in results.targets
    )
    partial = ""
    if results.pending:
        partial = '<p class="note">This sweep is not complete; numbers can still change.</p>'
    elif not results.complete:
        partial = (
            '<p class="note">This sweep has ended, and not all of it succeeded; numbers change only if what failed is '
            "tried again (<code>procray sweep --retry-failed</code>).</p>"
        )
    notes = "".join(f'<p class="note">Note: {escape(note)}.</p>' for note in results.notes)
    badge = " ".join(badges)
    return f"<header><p class='kind'>{escape(title)}</p>{question}<p>{badge}</p>{partial}{answers}{notes}</header>"


def _anchor(target: Target) -> str:
    return f"target-{''.join(c if c.isalnum() else '-' for c in target.name or 'result')}"


def _target(target: Target, pictures: Sequence[Picture]) -> str:
    notes = "".join(f"<li>{escape(remark)}</li>" for remark in remarks(target))
    figures = "".join(figure_html(picture) for picture in pictures)
    return (
        f'<section id="{_anchor(target)}"><h2>{escape(target.title)}</h2><ul class="remarks">{notes}</ul>'
        f"{variants_html(target)}{gate_html(target)}{figures}</section>"
    )


def _across(results: Results) -> str:
    """Tables over several targets or warm-ups, where the sweep's axes call for them."""
    tables = "".join(grid_html(grid) for grid in grids(results))
    return f'<section id="tables"><h2>Across the sweep</h2>{tables}</section>' if tables else ""


def _warmups(results: Results) -> str:
    """How the warm-ups ended: whether a sweep's warm-up was learned at all comes before what it is worth."""
    tables = warmups_html(results)
    return f'<section id="warmups"><h2>Warm-ups</h2>{tables}</section>' if tables else ""


def _search(results: Results) -> str:
    tables = "".join(grid_html(grid) for grid in search_grids(results))
    return f'<section id="search"><h2>Settings tried</h2>{tables}</section>' if tables else ""


def _published(comparisons: Sequence[Comparison]) -> str:
    if not comparisons:
        return ""
    return f'<section id="published"><h2>Published against measured</h2>{published_html(comparisons)}</section>'


def _troubles(results: Results) -> str:
    if not results.failed and not results.skipped:
        return ""

    def listed(troubles: Iterable[Trouble], word: str) -> str:
        return "".join(
            f"<tr><th scope='row'>{escape(t.label)}</th><td>{word}"
            f"{f' at step {t.step}' if t.step is not None and word == 'failed' else ''}</td>"
            f"<td>{escape(t.reason or 'no reason recorded')}</td><td><code>{escape(t.phase)}</code></td></tr>"
            for t in troubles
        )

    return (
        '<section id="failures"><h2>Failed and skipped phases</h2><div class="scroll"><table class="words"><thead><tr>'
        "<th>phase</th><th>state</th><th>reason</th><th>id</th></tr></thead><tbody>"
        f"{listed(results.failed, 'failed')}{listed(results.skipped, 'skipped')}</tbody></table></div></section>"
    )


def _definitions(results: Results) -> str:
    diagnostic = any(target.metric == "accuracy" for target in results.targets)
    items = [
        ("T1, T2", "procedural tokens, and tokens of the target; separators and padding count."),
        ("Final loss", "validation loss at the end, in nats per scored token; perplexity is exp of it."),
        (
            "Against baseline",
            "the difference from the baseline of the same seed (same initial weights where nothing was carried over, "
            "same batches in the same order), averaged over seeds, with a 95 % interval from Student's t. Each "
            "interval is taken by itself; “better” and “worse” are tests at 5 % for the whole table, with Holm's "
            "correction for its variants. Where donors are crossed with target seeds, the unit is the donor.",
        ),
        (
            "Read-off",
            "the smallest T2 from which the mean curve of the full-length runs stays at or better than the baseline's "
            "final mean, linear in log-tokens between evaluations. The learning rate is then still that of a longer "
            "schedule. Nothing is extrapolated: a curve that never gets there is “not reached”.",
        ),
        (
            "Matched",
            "the same question asked of reruns whose schedule was made for a fraction of T2: the smallest fraction "
            "that matches, interpolated between those that were run. With a constant schedule both forms are one.",
        ),
        ("k of n", "how many planned runs reach the final level of their own baseline; a failed one has not."),
        (
            "Interval of a fraction",
            "in brackets, the places at which the curve is not told from the baseline's end by the same test as the "
            "final values: before them it is surely worse, after them surely better for good.",
        ),
        (
            "Saves data",
            "is said where a variant is better at the end, and surely as good as the baseline's end before the "
            "baseline itself surely is, or where it surely keeps an accuracy sooner; from three seeds on, with every "
            "planned seed finished.",
        ),
        (
            "Gate",
            "what a reviewer asks of a variant. Its first three questions (was the warm-up learned, is it better than "
            "scratch, than text of equal tokens) must be answered with yes before “saves data” is said; docs/claims.md "
            "defines all of them.",
        ),
        (
            "Total, unique, FLOPs",
            "the same crossing in other currencies, with what the warm-up cost, over the baseline's.",
        ),
    ]
    if diagnostic:
        items.append(
            (
                "Levels",
                "for a diagnostic matching is read on the accuracy curve. A baseline near 100 % makes its own final "
                "value an arbitrary goal, so the tokens until 50, 90 and 99 % (for good) stand beside it.",
            )
        )
        items.append(
            (
                "All or nothing",
                "runs of one variant that end more than half of the way from the best cheap strategy to 100 % apart "
                "either leave a plateau or do not. Then they are counted: those above the middle have left it. Counts "
                "have the interval of Clopper and Pearson and Fisher's exact test; three seeds can show nothing.",
            )
        )
    body = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in items)
    return f'<section id="definitions"><h2>What the words mean</h2><dl>{body}</dl></section>'


def _settings(settings: Settings) -> str:
    def rows(pairs: Iterable[tuple[str, str]]) -> str:
        return "".join(f"<tr><th scope='row'>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in pairs)

    resolved = json.dumps(settings.resolved, indent=1, ensure_ascii=False, default=str)
    commands = "\n".join(settings.commands)
    machine = f"<h3>Ran on</h3><div class='scroll'><table class='words'>{rows(settings.machine)}</table></div>"
    return (
        '<section id="settings"><h2>Settings</h2><div class="scroll"><table class="words">'
        f"{rows(settings.rows)}</table></div>{machine if settings.machine else ''}"
        f"<details><summary>The sweep file</summary><pre>{escape(settings.source)}</pre></details>"
        f"<details><summary>Settings in full, at this scale</summary><pre>{escape(resolved)}</pre></details>"
        f"<h3>Again</h3><pre>{escape(commands)}</pre></section>"
    )
