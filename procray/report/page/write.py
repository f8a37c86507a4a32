"""Writes the report of a sweep into its folder in the store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from procray import links
from procray.errors import EnvironmentProblem, StoreError
from procray.files import canonical_json, digest, may_write, read_json, write_atomic, write_json
from procray.records import check, is_plain
from procray.report.figures.lineage import lineage_svg
from procray.report.numbers.analysis_choice import look_inside
from procray.report.numbers.interchange import results_json
from procray.report.numbers.results import Results
from procray.report.numbers.settings import settings_of
from procray.report.numbers.spreadsheets import curves_csv, results_csv
from procray.report.numbers.summary import summarise
from procray.report.page.analysis_section import section
from procray.report.page.sweep_page import page

if TYPE_CHECKING:
    from procray.planning.plan import Plan
    from procray.store.store import Store

LOOK = 3  # raised when the same numbers are drawn or written otherwise than before
_STATE = "made-from.json"


@dataclass(frozen=True)
class ReportPaths:
    """Where the report stands.

    Attributes:
        pictures: the PNG and SVG of every picture.
        fresh: False where nothing had changed, or nothing could be written.
        problem: why nothing was written, or not everywhere; empty where all is well.
    """

    folder: Path
    page: Path
    json: Path
    csv: Path
    curves: Path
    lineage: Path
    pictures: tuple[Path, ...]
    results: Results
    fresh: bool
    problem: str = ""

    def files(self) -> list[Path]:
        """Every file of the report, for copying or uploading."""
        return [self.page, self.json, self.csv, self.curves, self.lineage, *self.pictures]


def write_report(
    plan: Plan,
    store: Store,
    folder: Path | None = None,
    file: str | None = None,
    *,
    analyze: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> ReportPaths:
    """Writes page, pictures and tables; each file is replaced as a whole.

    Works at any time: what is not finished is marked as such. The same store gives the same page, drawings and
    tables byte for byte, and where nothing has changed since the last report nothing is drawn again. In somebody
    else's store, where this user may not write, only `results` are there, and `problem` says so.

    Args:
        folder: in place of `report/` in the plan's folder of the store.
        file: the sweep file as the user named it, for the commands in the page.
        analyze: look inside models that nobody has looked into yet, saying so to `say`.
    """
    own = folder is None
    folder = folder or store.plan_folder(plan.title, plan.digest) / "report"
    results = summarise(plan, store)
    settings = settings_of(plan, store, file or f"sweeps/{plan.name}.yaml")
    numbers = results_json(results)
    curves, lineage = curves_csv(results), lineage_svg(plan, store)
    inner = look_inside(results, plan, store, file or f"sweeps/{plan.name}.yaml", analyze, say)
    made_from = digest([LOOK, _version(), canonical_json(numbers), curves, lineage, repr(settings), *inner.key], 32)
    known = _known(folder)
    if known.get("digest") == made_from and all((folder / name).exists() for name in known.get("files", [])):
        pictures = tuple(folder / name for name in known["files"] if name.startswith("figures/"))
        if own and may_write(folder):
            _show(store, plan)
        return _paths(folder, results, pictures, fresh=False)
    if not may_write(folder):
        problem = f"not written: {folder} is not yours to write; `--out FOLDER` writes it elsewhere"
        return _paths(folder, results, (), fresh=False, problem=problem)

    from procray.report.figures.pictures import pictures as draw  # matplotlib only when there is something to draw

    drawn = draw(results)
    inside, more = section(inner, results, store)
    files: dict[str, bytes | str] = {}
    for picture in (*drawn, *more):
        files[f"figures/{picture.name}.png"] = picture.png
        files[f"figures/{picture.name}.svg"] = picture.svg
    files["lineage.svg"] = lineage
    files["results.csv"] = results_csv(results)
    files["curves.csv"] = curves
    files["report.html"] = page(results, drawn, lineage, settings, inside)
    for name, content in files.items():
        write_atomic(folder / name, content)
    write_json(folder / "results.json", numbers)
    names = [*files, "results.json"]
    write_json(folder / _STATE, {"digest": made_from, "files": names})
    for name in set(known["files"]) - set(names):  # a picture of an earlier report
        links.remove(folder / name)
    pictures = tuple(folder / name for name in names if name.startswith("figures/"))
    problem = _show(store, plan, folder) if own else ""
    return _paths(folder, results, pictures, fresh=True, problem=problem)


def _show(store: Store, plan: Plan, folder: Path | None = None) -> str:
    """Lets others see the report; why they cannot, where this user may only read the bucket."""
    try:
        if folder is not None:
            store.publish(folder)
        store.lead_to_report(plan)
    except EnvironmentProblem as error:
        return f"on this machine only: {error}"
    return ""


def _own(name: Any) -> str:
    """As a form: a file of the report, which may be removed. Nothing else is, whatever the list says."""
    parts = name.split("/") if isinstance(name, str) else []
    return "" if parts and all(map(is_plain, parts)) and len(parts) <= 2 else "no file of a report"


_FORM = {"digest?": str, "files": [_own]}


def _known(folder: Path) -> dict[str, Any]:
    try:
        return dict(check(read_json(folder / _STATE), _FORM, _STATE))
    except (OSError, ValueError, StoreError):
        return {"files": []}


def _paths(folder: Path, results: Results, pictures: tuple[Path, ...], fresh: bool, problem: str = "") -> ReportPaths:
    return ReportPaths(
        folder,
        folder / "report.html",
        folder / "results.json",
        folder / "results.csv",
        folder / "curves.csv",
        folder / "lineage.svg",
        pictures,
        results,
        fresh,
        problem,
    )


def _version() -> str:
    try:
        return version("procray") + version("matplotlib")
    except PackageNotFoundError:
        return ""
