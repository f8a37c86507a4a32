"""Whether what a store holds is sound; what is not can be discarded, so that it is made again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from procray import links
from procray.errors import ProcrayError, StoreError
from procray.store import journal
from procray.store.phase import PhaseFolder
from procray.store.store import Store


@dataclass(frozen=True)
class Damage:
    """Something in the store that is not what it should be."""

    phase: str  # or the name of a corpus
    kind: str  # marks, resume, journal, document or corpus
    step: int | None
    text: str

    def __str__(self) -> str:
        what = {"marks": "the mark", "resume": "the resume state"}.get(self.kind)
        place = f", {what} at step {self.step}" if what else ""
        return f"{'corpus' if self.kind == 'corpus' else 'phase'} {self.phase}{place}: {self.text}"


def verify(store: Store, say: Callable[[str], None] = lambda line: None) -> tuple[list[Damage], int]:
    """Reads every mark, resume state, journal and corpus and compares it with its digest.

    Returns:
        What is damaged, and how many files were read.
    """
    found: list[Damage] = []
    read = 0
    ids = store.phases()
    for number, phase in enumerate(ids):
        say(f"{number + 1} of {len(ids)}: {phase}")
        damaged, files = _verify_phase(store.phase(phase))
        found += damaged
        read += files
    for name in store.corpora_sizes():
        read += 1
        found += _verify_corpus(store, name)
    return found, read


def discard(store: Store, damaged: Iterable[Damage]) -> list[str]:
    """Removes damaged marks, resume states and corpora, so that the next sweep makes them again.

    Returns:
        A line for whatever stays: because a runner has it, or because only a person can decide.
    """
    stays = []
    for one in damaged:
        if one.kind == "corpus":
            if not store.remove_corpus(one.phase):
                stays.append(f"{one}; it is being prepared at the moment")
            continue
        if one.kind not in ("marks", "resume") or one.step is None:
            stays.append(f"{one}; remove the phase by hand if it can be trained again")
            continue
        folder = store.phase(one.phase)
        held = folder.acquire({"upkeep": "verify"})
        if held is None:
            stays.append(f"{one}; a runner has the phase at the moment")
            continue
        try:
            folder.discard(held, one.kind, one.step)
            if one.kind == "marks" and folder.status()["state"] == "done":
                folder.set_status("waiting", reason=f"its mark at step {one.step} was damaged and removed")
        finally:
            held.release()
    return stays


def _verify_phase(folder: PhaseFolder) -> tuple[list[Damage], int]:
    found: list[Damage] = []
    read = 0

    def note(kind: str, step: int | None, text: str) -> None:
        if text:
            found.append(Damage(folder.id, kind, step, text))

    try:
        about = folder.description()
        recipe = folder.recipe()
        if recipe is not None and not recipe.has_id(folder.id):
            note("document", None, f"phase.json describes phase {recipe.id}")
        if about is None and folder.marks():
            note("document", None, "phase.json is missing")
        folder.status()
    except ProcrayError as error:
        note("document", None, str(error))
    for step in _try(folder.marks, note, "document", None) or ():
        manifest = _try(partial(folder.manifest, step), note, "marks", step)
        if manifest is not None:
            read += len(_files(manifest))
            note("marks", step, _examined(folder, "marks", step, manifest))
    for step, entry in (_try(folder.resume_states, note, "document", None) or {}).items():
        read += len(_files(entry))
        note("resume", step, _examined(folder, "resume", step, entry))
    for path in _try(folder.journals, note, "document", None) or ():
        read += 1
        rows = _try(partial(_rows, path), note, "journal", None)
        if rows is None:
            continue
        with open(path, "rb", opener=links.open_file) as file:
            lines = sum(line.endswith(b"\n") for line in file)
        if rows < lines:
            note("journal", None, f"{lines - rows} of {lines} lines of {path.name} cannot be read")
    return found, read


def _rows(path: Path) -> int:
    return len(journal.read_rows(path))


def _try(ask: Callable[[], Any], note: Callable[[str, int | None, str], None], kind: str, step: int | None) -> Any:
    try:
        return ask()
    except (ProcrayError, ValueError, KeyError, TypeError, AttributeError) as error:
        note(kind, step, str(error) if isinstance(error, ProcrayError) else f"{type(error).__name__}: {error}")
        return None


def _examined(folder: PhaseFolder, kind: str, step: int, about: dict[str, Any]) -> str:
    try:
        return folder.examine(kind, step, about)
    except (StoreError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"its manifest is damaged: {type(error).__name__}: {error}"


def _files(about: Any) -> dict[str, Any]:
    files = about.get("files") if isinstance(about, dict) else None
    return files if isinstance(files, dict) else {}


def _verify_corpus(store: Store, name: str) -> list[Damage]:
    try:
        wrong = store.examine_corpus(name)
        return [Damage(name, "corpus", None, wrong)] if wrong else []
    except ProcrayError as error:
        return [Damage(name, "corpus", None, str(error))]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return [Damage(name, "corpus", None, f"its manifest is damaged: {type(error).__name__}: {error}")]
