"""What `procray store` says."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from procray.cli.terminal import answer, answer_json, say, short_bytes
from procray.errors import StoreError
from procray.store import garbage, verification
from procray.store.contents import Contents
from procray.store.plans import StoredPlan, named
from procray.store.store import Store


def listing(found: Contents, store: str, phases: bool) -> str:
    """Sweeps, then phases if they are asked for, corpora and the sum."""
    sizes = {kept.phase: kept.bytes for kept in found.phases}
    lines = []
    for name, members in sorted(found.sweeps.items()):
        have = [phase for phase in members if phase in sizes]
        lines.append(
            f"sweep   {name:32} {len(have)} of {len(members)} phases, {short_bytes(sum(sizes[one] for one in have))}"
        )
        for plan in (plan for plan in found.plans if plan.title == name):
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(plan.written))
            mark = "  run last" if plan.newest else ""
            lines.append(f"  plan  {plan.digest}  {when}  {plan.phases} phases{mark}")
    alone = [kept for kept in found.phases if not kept.sweeps]
    if alone:
        lines.append(f"{'phases that no sweep names':40} {len(alone)}, {short_bytes(sum(k.bytes for k in alone))}")
    for kept in found.phases if phases else ():
        marks = ", ".join(map(str, kept.marks)) or "none"
        label = kept.labels[0] if kept.labels else "(no sweep)"
        lines.append(f"phase   {kept.phase}  {kept.state:8} {short_bytes(kept.bytes):>8}  marks {marks}  {label}")
    for name, size in sorted(found.corpora.items()):
        lines.append(f"corpus  {name:32} {short_bytes(size)}")
    total = sum(sizes.values()) + sum(found.corpora.values())
    lines.append(f"{store}: {len(found.phases)} phases, {len(found.corpora)} corpora, {short_bytes(total)} in all")
    return "\n".join(lines)


def listing_json(found: Contents) -> dict[str, Any]:
    return dataclasses.asdict(found)


def verify(store: Store, *, discard: bool, json: bool) -> int:
    """Reads everything and says what is damaged; the exit code is 1 when something is and stays."""
    damaged, files = verification.verify(store, say if not json else lambda line: None)
    stays = verification.discard(store, damaged) if discard else [str(one) for one in damaged]
    if json:
        answer_json({"files": files, "damaged": [dataclasses.asdict(one) for one in damaged], "stays": stays})
        return 1 if stays else 0
    for one in damaged:
        answer(str(one))
    removed = len(damaged) - len(stays)
    if not damaged:
        answer(f"{store}: {files} files read, all sound")
    elif not discard:
        answer(f"{store}: {files} files read, {len(damaged)} damaged; `--discard` removes them to be trained again")
    else:
        answer(f"{store}: {removed} removed; the next sweep that needs them trains them again")
        for line in stays:
            answer(f"stays: {line}")
    return 1 if stays else 0


def collect(store: Store, *, delete: bool, forget: tuple[str, ...], resume_states: bool, json: bool) -> int:
    """Lists, and with `delete` deletes, what nobody refers to."""
    given_up = _meant(store, forget)
    found = garbage.find(store, resume_states, forget=given_up)
    freed = None
    if delete:
        for plan in given_up:
            store.forget(plan.title, plan.digest)
        freed = garbage.collect(store, found, say)
    if json:
        answer_json({**dataclasses.asdict(found), "bytes": found.bytes, "freed": freed, "forget": list(forget)})
        return 0
    for plan in given_up:
        answer(f"plan     {plan.title}/{plan.digest}: the plan, its report and logs")
    for phase, size in found.phases.items():
        answer(f"phase    {phase}: {short_bytes(size)}, named by no sweep")
    for phase, names in found.leftovers.items():
        answer(f"phase    {phase}: {len(names)} files that a killed attempt left")
    for phase, size in found.resumes.items():
        answer(f"phase    {phase}: {short_bytes(size)} of resume states")
    for name, size in found.corpora.items():
        answer(f"corpus   {name}: {short_bytes(size)}, read by no phase that stays")
    for name, size in found.strays.items():
        answer(f"file     {name}: {short_bytes(size)}, left unfinished by a kill")
    for what, kept in (("phases", found.kept), ("corpora", found.kept_corpora)):
        for reason, names in _by_reason(kept).items():
            which = names[0] if len(names) == 1 else f"{len(names)} {what} ({names[0]}, ...)"
            answer(f"stays    {which}: {reason}")
    if freed is not None:
        answer(f"{store}: {short_bytes(freed)} freed")
    elif found.bytes or forget:
        answer(f"{store}: {short_bytes(found.bytes)} could be freed; `--delete` deletes it")
    else:
        answer(f"{store}: nothing to delete")
    return 0


def _meant(store: Store, words: tuple[str, ...]) -> list[StoredPlan]:
    """The plans to forget, each once. Raises StoreError with every word that means none."""
    known = store.plans()
    found: dict[str, StoredPlan] = {}
    wrong = []
    for word in words:
        try:
            found.update((str(plan.path), plan) for plan in named(known, word, str(store)))
        except StoreError as error:
            wrong.append(str(error))
    if wrong:
        raise StoreError("\n".join(wrong) + "; `procray store ls` lists them")
    return list(found.values())


def _by_reason(kept: dict[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for phase, reason in kept.items():
        found.setdefault(reason, []).append(phase)
    return found
