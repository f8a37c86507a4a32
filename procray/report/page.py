"""The report as one HTML file: opens from disk, asks nothing of a network, can be printed, reads in light and dark."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from procray.palette import colours
from procray.report.canvas import Picture
from procray.report.cells import best_first, final_text, interval_text, level_text, match_text
from procray.report.headline import headline, remarks
from procray.report.published import Comparison
from procray.report.results import Match, Results, Target, Trouble, Variant
from procray.report.wording import count, percent, plural


@dataclass(frozen=True)
class Settings:
    """What was asked for and what it ran on: `(name, value)` rows, and the files to repeat it."""

    rows: tuple[tuple[str, str], ...]
    machine: tuple[tuple[str, str], ...]
    source: str
    resolved: dict[str, Any]
    commands: tuple[str, ...]


def page(
    results: Results,
    pictures: Sequence[Picture],
    lineage: str,
    settings: Settings,
    comparisons: Sequence[Comparison] = (),
) -> str:
    """The whole page. `lineage` is an SVG; every text from outside is escaped."""
    title = f"{results.sweep}@{results.scale}"
    by_target = _by_target(results, pictures)
    sections = [
        _head(results, title),
        *(_target(target, by_target.get(target.name, [])) for target in results.targets),
        _published(comparisons),
        _troubles(results),
        _definitions(results),
        f'<section id="lineage"><h2>Lineage</h2><p>Boxes stand for all seeds and lengths of schedule of one phase; '
        f"dots are kept checkpoints. Rest the pointer on a box for its phases.</p>"
        f'<div class="paper scroll">{_svg(lineage)}</div></section>',
        _settings(settings),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} - procray</title><style>{_CSS}</style></head>\n<body><main>"
        + "\n".join(section for section in sections if section)
        + "\n</main></body></html>\n"
    )


def _by_target(results: Results, pictures: Sequence[Picture]) -> dict[str, list[Picture]]:
    found: dict[str, list[Picture]] = {}
    for target in results.targets:
        found[target.name] = [picture for picture in pictures if picture.target == target.name]
    return found


def _head(results: Results, title: str) -> str:
    state = f"{results.phases_done} of {plural(results.phases, 'phase')} done"
    badges = [f'<span class="badge {"good" if results.complete else "wait"}">{state}</span>']
    if results.failed:
        badges.append(f'<span class="badge bad">{len(results.failed)} failed</span>')
    if results.skipped:
        badges.append(f'<span class="badge bad">{len(results.skipped)} skipped</span>')
    question = f'<p class="question">{escape(results.question)}</p>' if results.question else ""
    answers = "".join(
        f'<div class="answer"><h2><a href="#{_anchor(target)}">{escape(target.title)}</a></h2>'
        f"<p>{escape(headline(target))}</p></div>"
        for target in results.targets
    )
    partial = "" if results.complete else '<p class="note">This sweep is not complete; numbers can still change.</p>'
    return f"<header><p class='kind'>{escape(title)}</p>{question}<p>{' '.join(badges)}</p>{partial}{answers}</header>"


def _anchor(target: Target) -> str:
    return f"target-{''.join(c if c.isalnum() else '-' for c in target.name or 'result')}"


def _target(target: Target, pictures: Sequence[Picture]) -> str:
    notes = "".join(f"<li>{escape(remark)}</li>" for remark in remarks(target))
    figures = "".join(
        f'<figure><div class="paper">{_svg(picture.svg, picture.caption)}</div>'
        f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
        for picture in pictures
    )
    return (
        f'<section id="{_anchor(target)}"><h2>{escape(target.title)}</h2><ul class="remarks">{notes}</ul>'
        f"{_table(target)}{figures}</section>"
    )


def _svg(svg: str, description: str = "") -> str:
    """The drawing without its XML header, named for readers who cannot see it."""
    body = svg[svg.index("<svg") :]
    if description:
        body = body.replace("<svg", f'<svg role="img" aria-label="{escape(description, quote=True)}"', 1)
    return body


# --- the table -------------------------------------------------------------------------------------------------------


def _table(target: Target) -> str:
    level = target.level
    unit = "accuracy" if target.metric == "accuracy" else "loss"
    heads = [
        ("variant", ""),
        ("T1", "procedural tokens before it"),
        ("seeds", "finished of planned"),
        (f"final {unit}", "mean ± standard deviation over seeds"),
        ("perplexity", "exp of the mean final loss") if target.metric == "loss" else ("loss", "mean final loss"),
        ("against baseline", "mean of the differences seed by seed, with its 95 % t-interval"),
    ]
    if level is not None:
        heads.append((f"to {percent(level)}", "tokens until the level, as a fraction of the baseline's"))
    heads += [
        ("read-off", "data fraction and tokens where the full-length curve reaches the baseline's level (k/n seeds)"),
        ("matched", "data fraction and tokens from reruns with a schedule made for it (k/n seeds)"),
        ("total", "procedural and other tokens together, as a fraction of the baseline's: read-off / matched"),
        ("unique", "distinct tokens, as a fraction of the baseline's: read-off / matched"),
        ("FLOPs", "with the warm-up's, as a fraction of the baseline's: read-off / matched"),
    ]
    shades = colours(variant.name for variant in target.variants)
    rows = [*target.baselines, *sorted(target.warmed, key=best_first(target))]
    head = "".join(f'<th title="{escape(hint, quote=True)}">{escape(name)}</th>' for name, hint in heads)
    body = "".join(_row(target, variant, shades[variant.name]) for variant in rows)
    return (
        f'<div class="scroll"><table><caption>Every planned variant of {escape(target.title)}, best first. Bold: the '
        f"95 % interval excludes no difference.</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _row(target: Target, variant: Variant, colour: str) -> str:
    readoff, matched = variant.readoff, variant.matched
    second = f"{variant.perplexity:.2f}" if variant.perplexity is not None else "-"
    if target.metric == "accuracy":
        second = f"{variant.final_loss.mean:.3f}" if variant.final_loss else "-"
    mark = {"better": " class='better'", "worse": " class='worse'"}.get(variant.verdict, "")
    cells = [
        f"<td>{escape(text)}</td>"
        for text in (count(variant.t1), f"{variant.n} of {len(variant.runs)}", final_text(variant, seeds=False), second)
    ]
    cells.append(f"<td{mark}>{escape(interval_text(variant))}</td>")
    if target.level is not None:
        cells.append(f"<td>{escape(level_text(target, variant))}</td>")
    cells += [
        f"<td>{escape(text)}</td>"
        for text in (
            _crossing(readoff),
            _crossing(matched),
            _both(readoff.total_fraction, matched.total_fraction),
            _both(readoff.unique_fraction, matched.unique_fraction),
            _both(readoff.flops_fraction, matched.flops_fraction),
        )
    ]
    # The column of seeds says what is partial.
    state = f' <span class="state">{escape(variant.state)}</span>' if variant.n == 0 else ""
    return (
        f'<tr{" class=base" if variant.is_baseline else ""}><th scope="row"><span class="chip" '
        f'style="background:{colour}"></span>{escape(variant.short)}{state}</th>{"".join(cells)}</tr>'
    )


def _crossing(match: Match) -> str:
    """`53 % · 798k (3/3)`."""
    text = match_text(match)
    if match.tokens is None:
        return text
    share, bracket, seeds = text.partition(" (")
    return f"{share} · {count(match.tokens)}{bracket}{seeds}"


def _both(readoff: float | None, matched: float | None) -> str:
    if readoff == matched:
        return "-" if readoff is None else percent(readoff)
    return " / ".join("-" if share is None else percent(share) for share in (readoff, matched))


# --- the rest --------------------------------------------------------------------------------------------------------


def _published(comparisons: Sequence[Comparison]) -> str:
    if not comparisons:
        return ""
    rows = "".join(
        f"<tr><th scope='row'>{escape(c.quantity)} {escape(c.variant)}</th><td>{c.value:g} ± {c.tolerance:g}</td>"
        f"<td>{'-' if c.ours is None else f'{c.ours:.4g}'}</td><td><b>{escape(c.verdict)}</b>: {escape(c.reason)}</td>"
        f"<td>{escape(c.source)}</td><td>{escape(c.strength)}</td></tr>"
        for c in comparisons
    )
    return (
        '<section id="published"><h2>Published values</h2><div class="scroll"><table class="words"><thead><tr>'
        "<th>quantity</th><th>published, tolerance</th><th>here</th><th>verdict</th><th>source</th>"
        "<th>strength of its evidence</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div></section>"
    )


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
            "interval is taken by itself: of twenty true zeros one excludes zero by chance.",
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
        ("k of n seeds", "how many seeds reach the final level of their own baseline."),
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


_CSS = """
:root{color-scheme:light dark;--ink:#1f2328;--soft:#59636e;--line:#d8dbdf;--back:#fff;--raise:#f6f7f8;
--good:#00694c;--bad:#a84300;--wait:#005a8c;--link:#0b5fa5}
@media (prefers-color-scheme:dark){:root{--ink:#e6e8eb;--soft:#a3abb5;--line:#363c44;--back:#15181c;--raise:#1e2329;
--good:#4cc9a0;--bad:#ff9f5a;--wait:#7cc4f5;--link:#7cc4f5}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",sans-serif}
main{max-width:1240px;margin:0 auto;padding:2rem 1.25rem 4rem}
.kind{font-size:1.75rem;font-weight:700;letter-spacing:-.01em;margin:0}
.question{font-size:1.15rem;color:var(--soft);margin:.35rem 0 1rem;max-width:46rem}
h2{font-size:1.3rem;margin:2.6rem 0 .6rem;letter-spacing:-.01em}h3{font-size:1rem;margin:1.4rem 0 .4rem}
a{color:var(--link)}h2 a{color:inherit;text-decoration:none}h2 a:hover{text-decoration:underline}
.answer{border:1px solid var(--line);border-left:4px solid var(--wait);border-radius:6px;background:var(--raise);
padding:.8rem 1.1rem;margin:.8rem 0}
.answer h2{margin:0 0 .2rem;font-size:1rem;color:var(--soft)}.answer p{margin:0;font-size:1.06rem}
.badge{display:inline-block;font-size:.85rem;padding:.1rem .6rem;border:1px solid currentColor;border-radius:99px}
.good{color:var(--good)}.bad{color:var(--bad)}.wait{color:var(--wait)}
.note,.remarks,figcaption,caption{color:var(--soft)}.remarks{padding-left:1.1rem;margin:.4rem 0 1rem}
figure{margin:1.6rem 0}figcaption{font-size:.9rem;margin-top:.4rem;max-width:60rem}
.paper{background:#fff;border:1px solid var(--line);border-radius:6px;padding:.4rem}
.paper svg{display:block;max-width:100%;height:auto}
.scroll{overflow-x:auto}.scroll svg{max-width:none}
table{border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums;width:100%}
caption{text-align:left;padding:.2rem 0 .5rem}
th,td{padding:.32rem .6rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
thead th{color:var(--soft);font-weight:600;border-bottom:2px solid var(--line);cursor:help}
tbody th{text-align:left;font-weight:500;position:sticky;left:0;background:var(--back)}
thead th:first-child{text-align:left;position:sticky;left:0;background:var(--back)}
.words th,.words td{text-align:left;white-space:normal;vertical-align:top}.words tbody th{white-space:nowrap}
.words thead th{cursor:auto}
tr.base th,tr.base td{background:var(--raise)}
.better{color:var(--good);font-weight:700}.worse{color:var(--bad);font-weight:700}
.chip{display:inline-block;width:.75em;height:.75em;border-radius:2px;margin-right:.5em;outline:1px solid var(--line)}
.state{color:var(--bad);font-style:italic;font-size:.92em}
dt{font-weight:600;margin-top:.6rem}dd{margin:0;max-width:54rem;color:var(--soft)}
pre{background:var(--raise);border:1px solid var(--line);border-radius:6px;padding:.8rem 1rem;overflow-x:auto;
font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
summary{cursor:pointer;margin:.6rem 0;color:var(--link)}
@media print{:root{color-scheme:light;--ink:#000;--soft:#444;--line:#bbb;--back:#fff;--raise:#fff;--good:#00694c;
--bad:#a84300;--wait:#005a8c;--link:#000}
main{max-width:none;padding:0}figure,.answer,tr{break-inside:avoid}h2,h3{break-after:avoid}
.scroll{overflow:visible}.scroll svg{max-width:100%}table{font-size:.62rem}th,td{padding:.2rem .3rem}}
"""
