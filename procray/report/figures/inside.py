"""The pictures of what models do inside: heads as heatmaps, spectra, how far weights moved, CKA."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from procray.palette import HUES
from procray.report.figures.canvas import FAINT, INK, Picture, finish, ink_on, sheet
from procray.report.numbers.inside import Inside, Look
from procray.report.numbers.wording import distinct, listing, signed, wrapped

Table = Sequence[Sequence[float | None]]

MOST_CELLS = 40  # of a heatmap with numbers in them
MOST_PANELS = 8


@dataclass(frozen=True)
class Score:
    """How a score of heads is drawn and named."""

    title: str
    says: str


SHOWN = {
    "normalised": Score(
        "Attention entropy",
        "Entropy of each head's attention as a share of the logarithm of the number of visible keys, averaged over "
        "queries: 1 looks everywhere alike, 0 at one place",
    ),
    "previous": Score(
        "Attention to the previous token",
        "Attention that each head gives to the position before, averaged over queries",
    ),
    "induction": Score(
        "Induction",
        "On random sequences that stand twice in a row: attention, in the second half, to the token after the first "
        "occurrence of the current one",
    ),
    "first": Score(
        "Attention to the first position",
        "Attention that each head gives to the first position, where many rest",
    ),
}
_PARTS = {
    "q": "Q",
    "k": "K",
    "v": "V",
    "proj": "attention out",
    "mlp_in": "MLP in",
    "mlp_out": "MLP out",
    "gate": "MLP gate",
    "up": "MLP up",
    "down": "MLP down",
}
_HUES = dict(zip(("attention", "mlp", "layernorm", "embeddings", "positions"), HUES, strict=False))


def pictures(inside: Inside) -> list[Picture]:
    """Every picture of one phase."""
    drawn = []
    looks = [(_role(look, inside), look) for look in inside.looks]
    for name in SHOWN:
        picture = heads(f"heads-{name}", "", name, looks, inside.label, change=inside.look("end") is not None)
        if picture is not None:
            drawn.append(picture)
    drawn.append(_spectra(inside))
    if inside.distances:
        drawn.append(_moved(inside))
    drawn += similarity("cka", inside.label, inside.cka)
    return drawn


def _role(look: Look, inside: Inside) -> str:
    return f"{look.role}: {look.title}" if look.role == "parent" else f"{look.role}, step {look.step}"


# --- heatmaps --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Panel:
    """One table of a picture: what stands above it, and along its columns and rows.

    `change`: values are differences, on a scale of their own. `states`: rows and columns are the embedding and then
    the layers.
    """

    title: str
    table: Table
    columns: str = "head"
    rows: str = "layer"
    change: bool = False
    states: bool = False

    @property
    def values(self) -> Any:
        import numpy as np

        return np.array([[np.nan if value is None else value for value in row] for row in self.table], dtype=float)


def heads(
    name: str, target: str, score: str, looks: Sequence[tuple[str, Look]], where: str, change: bool = False
) -> Picture | None:
    """One score of the heads of several models side by side: a row is a layer, a column a head.

    Args:
        looks: what stands above each, and the model; at most eight are shown.
        change: add the difference of the last two, which must be of one shape.
    """
    about = SHOWN[score]
    tables = [(title, look, table) for title, look in looks if (table := look.score(score)) is not None][:MOST_PANELS]
    if not tables:
        return None
    panels = [Panel(title, table) for title, _, table in tables]
    if change and len(panels) > 1 and panels[-1].values.shape == panels[-2].values.shape:
        difference = (panels[-1].values - panels[-2].values).tolist()
        panels.append(Panel("change from start to end", difference, change=True))
    chance = [value for _, look, _ in tables if (value := look.chance(score)) is not None]
    low, high = f"{min(chance):.2f}", f"{max(chance):.2f}"
    even = (
        ""
        if score == "normalised"
        else f" Looking everywhere alike gives {low if low == high else f'{low} to {high}'}."
    )
    on = [look.repeat_text() if score == "induction" else look.data for _, look, _ in tables]
    caption = f"{about.says}.{even} Taken on {_listed(on)}."
    return _heatmaps(name, target, about.title, where, panels, caption)


def similarity(name: str, where: str, entries: Sequence[dict[str, Any]]) -> list[Picture]:
    """CKA of pairs of models, up to three pairs a picture."""
    drawn = []
    for start in range(0, len(entries), 3):
        part = entries[start : start + 3]
        panels = [Panel("", one["matrix"], columns=one["and"], rows=one["of"], states=True) for one in part]
        caption = (
            "Linear CKA (unbiased) of the residual streams of two models on the same sequences, layer by layer: before "
            "the first block (emb) and after each. 1 means equal up to rotation and scale, 0 unrelated. "
            f"Taken on {_listed([one['on'] for one in part])}."
        )
        suffix = f"-{start // 3 + 1}" if len(entries) > 3 else ""
        drawn.append(_heatmaps(f"{name}{suffix}", "", "Likeness of layers", where, panels, caption))
    return drawn


def _heatmaps(name: str, target: str, title: str, where: str, panels: Sequence[Panel], caption: str) -> Picture:
    """Tables side by side on one scale from 0 to 1; differences on one of their own."""
    widths = [max(2.6, 0.34 * panel.values.shape[1]) for panel in panels]
    tallest = max(max(1.5, 0.34 * panel.values.shape[0]) for panel in panels)
    titles = [_broken(panel.title, width) for panel, width in zip(panels, widths, strict=True)]
    lines = max(text.count("\n") + 1 if text else 0 for text in titles)
    across = 1.5 + sum(widths) + 0.6 * len(panels)
    with sheet(title, where, across, 1.8 + 0.22 * lines + tallest, len(panels), widths) as (figure, axes):
        images = [_heatmap(one, panel, tallest) for one, panel in zip(axes, panels, strict=True)]
        for one, text in zip(axes, titles, strict=True):
            one.set_title(text, fontsize=11)
        plain = [i for i, panel in enumerate(panels) if not panel.change]
        for i in [*plain[-1:], *(i for i, panel in enumerate(panels) if panel.change)]:
            bar = figure.colorbar(images[i], ax=axes[i], fraction=0.06, pad=0.03)
            bar.outline.set_visible(False)
            bar.ax.tick_params(labelsize=9.5, length=0)
            bar.ax.grid(False)
        return finish(figure, name, target, title, caption)


def _heatmap(axes: Any, panel: Panel, tallest: float) -> Any:
    import numpy as np

    values = panel.values
    low, high = 0.0, 1.0
    if panel.change:
        high = max(0.1, float(np.nanmax(np.abs(values), initial=0.0)))
        low = -high
    image = axes.imshow(values, cmap="RdBu_r" if panel.change else "viridis", vmin=low, vmax=high, aspect="auto")
    rows, columns = values.shape
    axes.grid(False)
    axes.set_facecolor("#DDDDDD")  # where there is no number
    for axis, size in ((axes.xaxis, columns), (axes.yaxis, rows)):
        places = range(0, size, 1 if size <= 14 else 2 if size <= 28 else 4)
        axis.set_ticks(places, ["emb" if panel.states and place == 0 else str(place) for place in places])
        axis.set_tick_params(length=0, labelsize=9.5)
    axes.set_xlabel(_broken(panel.columns, 2.6), fontsize=10.5)
    axes.set_ylabel(_broken(panel.rows, tallest), fontsize=10.5)
    if rows * columns <= MOST_CELLS:
        for (y, x), value in np.ndenumerate(values):
            text = "-" if np.isnan(value) else signed(value, 2) if panel.change else f"{value:.2f}"
            ink = INK if np.isnan(value) else ink_on(image.cmap(image.norm(value)))
            axes.text(x, y, text, ha="center", va="center", fontsize=10, color=ink)
    return image


def _broken(text: str, width: float) -> str:
    """Lettering of this many inches at most, broken into lines."""
    return "\n".join(wrapped(text, max(14, round(width / 0.092))))


def _listed(texts: Sequence[str]) -> str:
    return "; ".join(distinct(texts))


# --- weights ---------------------------------------------------------------------------------------------------------


def _spectra(inside: Inside) -> Picture:
    """Singular values of every matrix of the blocks, one line a layer, with those the phase began with in grey."""
    import matplotlib

    last, start = inside.looks[-1], inside.look("start")
    parts = [part for part in _PARTS if any(entry["part"] == part for entry in last.spectra)]
    deep = max(last.layers - 1, 1)
    shades = matplotlib.colormaps["viridis"]
    title = "Spectra of the weights"
    with sheet(title, inside.label, 2.35 * len(parts) + 0.6, 4.3, len(parts)) as (figure, axes):
        for one, part in zip(axes, parts, strict=True):
            top = 0.0
            for look, grey in ((start, True), (last, False)):
                if look is None or (grey and look is last):
                    continue
                for entry in look.spectra:
                    if entry["part"] != part or entry["layer"] is None:
                        continue
                    values = entry["singular_values"]
                    colour = "#BBBBBB" if grey else shades(0.9 * entry["layer"] / deep)
                    one.plot(
                        range(1, len(values) + 1), values, color=colour, lw=1.0 if grey else 1.5, zorder=1 + (not grey)
                    )
                    top = max(top, entry["top"])
            one.set_yscale("log")
            if top > 0:
                one.set_ylim(top * 1e-3, top * 1.6)
            one.set_title(_PARTS[part], fontsize=11)
            one.tick_params(labelsize=9.5)
            one.set_xlabel("index", fontsize=10.5)
        axes[0].set_ylabel("singular value", fontsize=10.5)
        lines = f"layer 0 dark to layer {last.layers - 1} light" if last.layers > 1 else "one layer"
        caption = (
            f"Singular values of the matrices of {last.title}, {lines}"
            f"{'; grey: what the phase began with' if start is not None and start is not last else ''}. "
            "Values below a thousandth of the largest are left out."
        )
        return finish(figure, "spectra", "", title, caption)


def _moved(inside: Inside) -> Picture:
    """How far each component is, layer by layer, from every earlier model."""
    title = "How far the weights have moved"
    with sheet(title, inside.label, 3.6 * len(inside.distances) + 2.4, 4.2, len(inside.distances)) as (figure, axes):
        for one, distance in zip(axes, inside.distances, strict=True):
            look = inside.looks[distance["from"]]
            for component in ("attention", "mlp", "layernorm"):
                points = [
                    (entry["layer"], entry["relative"])
                    for entry in distance["entries"]
                    if entry["component"] == component
                    and isinstance(entry["layer"], int)
                    and entry["relative"] is not None
                ]
                if points:
                    one.plot(*zip(*points, strict=True), color=_HUES[component], marker="o", ms=5, label=component)
            gave = f", which gave {listing(distance['carried'])}" if distance["carried"] else ""
            one.set_title(_broken(f"from the {_role(look, inside)}{gave}", 3.4), fontsize=11)
            one.set_xticks(range(look.layers) if look.layers <= 14 else range(0, look.layers, 4))
            one.set_ylim(0, 1.45 * max([0.0, *(max(line.get_ydata()) for line in one.lines)]) or 1.0)
            one.set_xlabel("layer", fontsize=10.5)
            if one.lines:
                one.legend(fontsize=10, loc="upper left")
            else:
                one.text(0.5, 0.5, "no component of the same shape", transform=one.transAxes, ha="center", color=FAINT)
        axes[0].set_ylabel("relative distance", fontsize=10.5)
        caption = (
            "Frobenius norm of the difference as a share of the earlier weights' norm, all tensors of a component in a "
            "layer together. Weights that have nothing to do with each other and are of one size are 1.41 apart."
        )
        return finish(figure, "moved", "", title, caption)
