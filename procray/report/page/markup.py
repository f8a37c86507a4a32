"""The HTML that all pages share: the document, drawings with captions, plain tables. Every text is escaped."""

from __future__ import annotations

import re
from html import escape

from procray.files import digest
from procray.report.figures.canvas import Picture
from procray.report.page.analysis_tables import Table
from procray.report.page.style import CSS
from procray.visible import visible


def document(title: str, body: str) -> str:
    """A whole file that opens from disk and asks nothing of a network; `body` is finished HTML."""
    return visible(
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} - procray</title><style>{CSS}</style></head>\n"
        f"<body><main>{body}</main></body></html>\n"
    )


def svg_html(svg: str, description: str = "") -> str:
    """The drawing without its XML header, named for readers who cannot see it."""
    body = svg[svg.index("<svg") :]
    if description:
        body = body.replace("<svg", f'<svg role="img" aria-label="{escape(description, quote=True)}"', 1)
    return body


def figure_html(picture: Picture, unique: str = "", *, scroll: bool = False) -> str:
    """A drawing with its caption.

    Args:
        unique: keeps the ids of drawings of one name apart in a page.
        scroll: a wide drawing keeps its size, and the reader moves it.
    """
    svg = picture.svg
    if unique:
        mark = "g" + digest(unique, 6) + "-"
        svg = re.sub(r'(\bid="|href="#|url\(#)', lambda match: match[1] + mark, svg)
    paper = "paper scroll" if scroll else "paper"
    return (
        f'<figure><div class="{paper}">{svg_html(svg, picture.caption)}</div>'
        f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
    )


def table_html(table: Table) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in table.columns)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row[1:])}</tr>'
        for row in table.rows
    )
    return (
        f'<div class="scroll"><table><caption>{escape(table.caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
