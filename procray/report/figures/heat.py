"""Tables coloured by the difference from the baseline: modes of transfer, and pairs of parents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from procray.report.figures.canvas import FAINT, Picture, finish, ink_on, sheet
from procray.report.figures.lines import delta_text, metric_name
from procray.report.numbers.matrix import Matrix
from procray.report.numbers.results import Target, Variant
from procray.report.numbers.wording import percent

# From worse to better; orange and blue are told apart by every common kind of colour vision.
_SHADES = ("#D55E00", "#FBE3CF", "#FFFFFF", "#CFE3F0", "#0072B2")
_HOW = "blue: better, orange: worse · bold: by a test for the whole table"


def modes(target: Target) -> list[str]:
    """The transfer modes when there is more than one to compare, in the plan's order."""
    found = list(dict.fromkeys(variant.carried for variant in target.warmed if variant.carried))
    return found if len(found) > 1 else []


def transfer(target: Target, name: str, where: str) -> Picture:
    """Rows are warm-ups, columns what is carried over; the difference from the baseline stands in the squares."""
    cells = {(variant.setting, variant.carried): variant for variant in target.warmed if variant.carried}
    rows = list(dict.fromkeys(row for row, _ in cells))
    columns = modes(target)
    title = f"{target.title}: which weights carry the effect"
    metric = "accuracy (points)" if target.metric == "accuracy" else "validation loss (nats)"
    longest = max(len(row) for row in rows)
    width = 0.6 + 0.115 * longest + 1.75 * len(columns)
    subtitle = f"{where} · final {metric} minus baseline · {_HOW}"
    with sheet(title, subtitle, width, 1.55 + 0.46 * len(rows)) as (figure, (axes,)):
        _squares(axes, target, rows, columns, cells, values=False)
        caption = (
            f"Final {metric_name(target)} on {target.title} minus the baseline's, by what is carried over from the "
            f"warm-up (columns). Blue is better, orange worse than no warm-up."
        )
        return finish(figure, name, target.name, title, caption)


def composition(matrix: Matrix, name: str, where: str) -> Picture:
    """Rows are parents of one component, columns of the other; the final value and its spread stand in the squares."""
    target = matrix.target
    heading = f" ({matrix.setting})" if matrix.setting else ""
    title = f"{target.title}{heading}: {matrix.down} of one warm-up, {matrix.across} of another"
    base = next((v.final for v in target.baselines if v.final), None)
    none = f"baseline {_value(target, base.mean)}" if base else "no baseline yet"
    width = 1.5 + 0.115 * max(map(len, matrix.rows)) + 2.2 * len(matrix.columns)
    height = 2.1 + 0.74 * len(matrix.rows)
    with sheet(title, f"{where} · final {target.unit} · {none} · {_HOW}", width, height) as (figure, (axes,)):
        _squares(axes, target, matrix.rows, matrix.columns, matrix.cells, values=True)
        axes.set_xlabel(f"{matrix.across} from")
        axes.xaxis.set_label_position("top")
        axes.set_ylabel(f"{matrix.down} from")
        caption = (
            f"Final {metric_name(target)} on {target.title} (mean ± sd over seeds) of models composed of the "
            f"{matrix.down} of one warm-up (rows) and the {matrix.across} of another (columns); on the diagonal both "
            f"come from one. Blue is better, orange worse than no warm-up ({none})."
        )
        return finish(figure, name, target.name, title, caption)


def _squares(
    axes: Any,
    target: Target,
    rows: Sequence[str],
    columns: Sequence[str],
    cells: dict[tuple[str, str], Variant],
    values: bool,
) -> None:
    """Draws the table. In a square: the final value with its spread below, or else the difference."""
    from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm

    sign = -1 if target.mode == "min" else 1
    reach = max((abs(v.difference.mean) for v in cells.values() if v.difference), default=0.0) or 1e-6
    shades = LinearSegmentedColormap.from_list("worse-better", _SHADES)
    norm = TwoSlopeNorm(0, -reach, reach)
    axes.grid(visible=False)
    for y, row in enumerate(rows):
        for x, column in enumerate(columns):
            variant = cells.get((row, column))
            difference = variant.difference if variant else None
            face = shades(norm(sign * difference.mean)) if difference else (0.95, 0.95, 0.95)
            axes.fill_between([x - 0.48, x + 0.48], y - 0.46, y + 0.46, color=face, lw=0)
            ink = ink_on(face) if difference else FAINT
            bold = "bold" if variant and variant.verdict in ("better", "worse") else "normal"
            final = variant.final if variant else None
            if difference is None or variant is None:
                text = variant.state if variant else "not run"
            elif values and final is not None:
                text = _value(target, final.mean)
                if final.sd is not None:
                    spread = f"± {100 * final.sd:.1f}" if target.metric == "accuracy" else f"± {final.sd:.3f}"
                    axes.text(x, y + 0.24, spread, ha="center", va="center_baseline", fontsize=9.5, color=ink)
            else:
                text = delta_text(target, difference.mean)
            raised = y - 0.12 if values and final is not None and final.sd is not None else y
            axes.text(
                x, raised, text, ha="center", va="center_baseline", fontsize=12 if difference else 10, color=ink,
                fontweight=bold,
            )  # fmt: skip
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set_xlim(-0.52, len(columns) - 0.48)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _value(target: Target, value: float) -> str:
    return percent(value, 1) if target.metric == "accuracy" else f"{value:.3f}"
