"""The plans that were run in a store: each stands under its digest, and stays until it is forgotten.

sweeps/<title>/newest.json           the digest of the plan that was run last
              /report.html           leads to its report
              /<digest>/plan.json    report/, selection.json, logs/ of this plan beside it
              /plan.json, report/    one more plan, as former versions kept the only one; never written any more
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from procray import links
from procray.errors import StoreError, did_you_mean
from procray.files import read_json
from procray.planning.plan_parts import plan_parts
from procray.records import check

if TYPE_CHECKING:
    from procray.planning.plan import Plan

PLAN, NEWEST, REPORT_PAGE = "plan.json", "newest.json", "report.html"
_DIGEST = re.compile(r"[0-9a-f]{12}")
_SHORTEST = 4  # digits with which a digest may be named
_POINTER = {"plan": lambda value: "" if isinstance(value, str) and _DIGEST.fullmatch(value) else "no digest of a plan"}


@dataclass(frozen=True)
class StoredPlan:
    """A plan that was run.

    Attributes:
        title: of its sweep: `name@scale`, and what `--set` changed.
        digest: twelve hex digits over what it trains and reads.
        path: its plan.json; in a bucket this machine's copy.
        newest: whether it was run last of all plans with this title.
        written: when it was run first, in seconds since 1970 by the clock of the store.
    """

    title: str
    digest: str
    path: Path
    newest: bool
    written: float

    @property
    def former(self) -> bool:
        """Whether it stands where former versions kept a sweep's only plan."""
        return self.path.parent.name == self.title

    @property
    def report(self) -> Path:
        """Where its report stands, if one was written."""
        return self.path.parent / "report" / REPORT_PAGE


def title_of(path: Path) -> str | None:
    """The sweep that a path `<title>/plan.json` or `<title>/<digest>/plan.json` belongs to; None for any other."""
    if path.name != PLAN or len(path.parts) not in (2, 3):
        return None
    return path.parts[0] if len(path.parts) == 2 or _DIGEST.fullmatch(path.parts[1]) else None


def stored(sweeps: Path, written: dict[Path, float]) -> list[StoredPlan]:
    """The plans in a folder of sweeps, by title, and the longest known first.

    Args:
        written: every plan.json, relative to `sweeps`, and when it was written.
    """
    by_title: dict[str, dict[str, tuple[Path, float]]] = {}
    # The form of before comes last: a plan that stands in both is listed once, where it is kept now.
    for path in sorted(written, key=lambda path: -len(path.parts)):
        title = title_of(path)
        assert title is not None, f"{path} is no plan of a sweep"
        known = by_title.setdefault(title, {})
        digest = path.parts[1] if len(path.parts) == 3 else _digest_of(sweeps / path, written[path])
        known.setdefault(digest, (sweeps / path, written[path]))
    found = []
    for title, known in sorted(by_title.items()):
        last = _pointed(sweeps / title) or ""
        if last not in known:  # lost, or forgotten
            last = max(known, key=lambda digest: (known[digest][1], digest))
        found += [
            StoredPlan(title, digest, path, digest == last, when)
            for digest, (path, when) in sorted(known.items(), key=lambda item: (item[1][1], item[0]))
        ]
    return found


def named(plans: Iterable[StoredPlan], word: str, store: str) -> list[StoredPlan]:
    """The plans that a user means: by a title all of it, by a digest or its beginning one; TITLE/DIGEST if need be.

    Raises:
        StoreError: nothing is meant, or more than one plan by a digest.
    """
    plans = list(plans)
    if whole := [plan for plan in plans if plan.title == word]:
        return whole
    title, _, digits = word.rpartition("/")
    fits = [plan for plan in plans if plan.digest.startswith(digits) and title in ("", plan.title)]
    if len(fits) == 1 and len(digits) >= _SHORTEST:
        return fits
    if fits and len(digits) >= _SHORTEST:
        listed = ", ".join(f"{plan.title}/{plan.digest}" for plan in fits)
        raise StoreError(f"'{word}' means {len(fits)} plans of {store}: {listed}; name one of them so")
    known = list(dict.fromkeys(name for plan in plans for name in (plan.title, plan.digest)))
    raise StoreError(f"{store} has no sweep or plan '{word}'{did_you_mean(word, known)}")


def namesake(plan: Plan, newest: StoredPlan | None) -> str:
    """A line for the user where the sweep was last run from another file, with another meaning; empty else.

    Args:
        newest: `Store.newest(plan.title)`.
    """
    if newest is None or newest.digest == plan.digest or not plan.file:
        return ""
    try:
        other = next((part.value for part in plan_parts(newest.path, ("file",))), "")
    except (OSError, ValueError):
        return ""
    if not isinstance(other, str) or other in ("", plan.file):
        return ""
    return (
        f"{plan.title} was last run from {other}, which is not {plan.file}, and trained something else: results of "
        f"both stay ({newest.digest}, {plan.digest}), but {plan.title} names the one that was run last; "
        "give one of the files another `name:` to tell them apart"
    )


def leading_page(title: str, digest: str) -> str:
    """A page that leads to the report of one plan."""
    place = f"{digest}/report/{REPORT_PAGE}"
    return (
        f'<!doctype html>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'<meta http-equiv="refresh" content="0; url={place}">\n'
        f'<p>The report of {escape(title)} stands in <a href="{place}">{place}</a>.</p>\n'
    )


def _pointed(folder: Path) -> str | None:
    """What newest.json says; None where it says nothing of use."""
    try:
        return str(check(read_json(folder / NEWEST, 1 << 16), _POINTER, NEWEST)["plan"])
    except (OSError, ValueError, StoreError):
        return None


@lru_cache(maxsize=256)  # such a plan does not change, and can be large
def _digest_of(path: Path, written: float) -> str:
    """The digest of a plan that does not stand under it; of the file, where it cannot be read as a plan."""
    from procray.planning.plan_json import read_plan

    try:
        return read_plan(path).digest
    except StoreError:
        try:
            with open(path, "rb", opener=links.open_file) as file:
                return hashlib.file_digest(file, "sha256").hexdigest()[:12]
        except (OSError, StoreError):
            return hashlib.sha256(str(path).encode()).hexdigest()[:12]
