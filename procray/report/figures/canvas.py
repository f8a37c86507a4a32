"""Paper, axes and lettering that all pictures share. matplotlib is imported when the first picture is drawn."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from procray.files import digest
from procray.report.numbers.wording import count, percent, signed
from procray.visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

INK, FAINT, GRID = "#222222", "#666666", "#E4E4E4"

_STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture on every machine
    "font.size": 12,
    "axes.titlesize": 13,
    "axes.titlelocation": "left",
    "axes.labelsize": 12,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": "#888888",
    "ytick.color": "#888888",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 2.0,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "path",
    "text.parse_math": False,  # a name with two dollar signs is no formula
    "axes.unicode_minus": True,
}


@dataclass(frozen=True)
class Picture:
    """A finished drawing. `caption` is one or two plain sentences; they are also its text for screen readers."""

    name: str
    target: str
    title: str
    caption: str
    png: bytes
    svg: str


@contextmanager
def sheet(
    title: str,
    subtitle: str,
    width: float = 11.0,
    height: float = 5.6,
    panels: int = 1,
    ratios: Sequence[float] | None = None,
    margin: float = 0.0,
) -> Iterator[Any]:
    """A figure of `width` x `height` inches with axes in one row: yields `(figure, list of axes)`.

    Title and subtitle stand at the left edge above the axes; `margin` inches at the right are kept for labels. The
    sheet grows to the right where the lettering at the top needs it.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    needed = 0.35 + max(0.148 * len(title), 0.096 * len(subtitle))
    margin += max(0.0, needed - width)
    width = max(width, needed)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        head = 0.78 / height
        engine: Any = figure.get_layout_engine()
        engine.set(rect=(0.006, 0.006, 1 - 0.012 - margin / width, 1 - head - 0.01), w_pad=0.06, h_pad=0.04)
        figure.text(0.014, 1 - 0.14 / height, title, ha="left", va="top", fontsize=16, fontweight="bold", color=INK)
        figure.text(0.014, 1 - 0.46 / height, subtitle, ha="left", va="top", fontsize=11.5, color=FAINT)
        axes = figure.subplots(1, panels, squeeze=False, width_ratios=ratios)
        yield figure, list(axes[0])


def settle(figure: Any) -> None:
    """Fixes the places of the axes, once. What is added afterwards, such as labels in the margin, moves nothing."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine(None)


def finish(figure: Any, name: str, target: str, title: str, caption: str) -> Picture:
    """The figure as PNG (200 dots an inch) and SVG; equal figures give the same SVG byte for byte."""
    import matplotlib

    png, svg = io.BytesIO(), io.StringIO()
    settle(figure)
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure.savefig(png, format="png", dpi=200, metadata={"Software": None}, pil_kwargs={"compress_level": 2})
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    return Picture(name, target, title, caption, png.getvalue(), _own_ids(visible(svg.getvalue()), name))


def _own_ids(svg: str, name: str) -> str:
    """Ids numbered in the order they appear, with a prefix of the drawing's own.

    So that several drawings can stand in one page, and because matplotlib hashes addresses of objects into some ids.
    """
    prefix = "f" + digest(name, 6) + "-"
    numbers = {own: f"{prefix}{index}" for index, own in enumerate(re.findall(r'\bid="([^"]+)"', svg))}
    pattern = re.compile(r'(\bid="|href="#|url\(#)([^")]+)')
    return pattern.sub(lambda match: match[1] + numbers.get(match[2], match[2]), svg)


def token_axis(axis: Any) -> None:
    """Ticks as 0.5M and 2M."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: "0" if value == 0 else count(value)))


def log_token_axis(axes: Any) -> None:
    """A logarithmic x axis with ticks at 1, 2 and 5 of every decade."""
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
    axes.xaxis.set_minor_locator(NullLocator())
    token_axis(axes.xaxis)


def percent_axis(axis: Any) -> None:
    """Ticks as 50 %."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))


def points_axis(axis: Any) -> None:
    """Ticks as +20 pp, for differences of accuracies."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{signed(100 * value, 0)} pp"))


def end_labels(axes: Any, items: Sequence[tuple[float, str, str]], size: float = 11) -> None:
    """Names curves at the right edge: `(y in data, text, colour)`, moved apart where they would overlap.

    A thin line leads from the end of the curve to its label. The axes must be settled.
    """
    if not items:
        return
    low, high = axes.get_ylim()
    box = axes.get_window_extent()
    pixels = max(box.height, 1.0)
    gap = size * 1.4 * axes.figure.dpi / 72 / pixels  # in fractions of the axes' height
    ordered = sorted(items, key=lambda item: item[0])
    wanted = [min(max((y - low) / (high - low), 0.0), 1.0) for y, _, _ in ordered]
    right = 1 + 0.28 * axes.figure.dpi / box.width
    for place, y, (_, text, colour) in zip(spread_out(wanted, gap), wanted, ordered, strict=True):
        axes.annotate(
            text, (1.0, y), xycoords="axes fraction", xytext=(right, place), textcoords="axes fraction",
            va="center", ha="left", fontsize=size, color=readable(colour), annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.9, "shrinkA": 2, "shrinkB": 1, "relpos": (0, 0.5)},
        )  # fmt: skip


def spread_out(wanted: Sequence[float], gap: float) -> list[float]:
    """Places at least `gap` apart, in the order of the ascending `wanted` ones and as near to them as can be.

    They stay within 0 and 1 where there is room for that.
    """
    # Groups of labels that touch are moved as one, centred on the mean of what their members wanted.
    groups: list[list[float]] = []
    for place in wanted:
        groups.append([place])
        while len(groups) > 1 and _top(groups[-2], gap) + gap > _bottom(groups[-1], gap):
            last = groups.pop()
            groups[-1] += last
    places = [_bottom(group, gap) + gap * index for group in groups for index in range(len(group))]
    for index in reversed(range(len(places))):
        places[index] = min(places[index], 1.0 - gap * (len(places) - 1 - index))
    for index in range(len(places)):
        places[index] = max(places[index], gap * index)
    return places


def _bottom(group: Sequence[float], gap: float) -> float:
    return sum(group) / len(group) - gap * (len(group) - 1) / 2


def _top(group: Sequence[float], gap: float) -> float:
    return _bottom(group, gap) + gap * (len(group) - 1)


def ink_on(colour: Sequence[float]) -> str:
    """Black or white, whichever is easier to read on a colour given as red, green, blue in 0..1."""
    return INK if _luminance(*colour[:3]) > 0.2 else "white"


def readable(colour: str) -> str:
    """The colour darkened until letters in it can be read on white (contrast 4.5)."""
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    while 1.05 / (_luminance(red, green, blue) + 0.05) < 4.5:
        red, green, blue = red * 0.93, green * 0.93, blue * 0.93
    return f"#{round(red * 255):02X}{round(green * 255):02X}{round(blue * 255):02X}"


def _luminance(*channels: float) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
