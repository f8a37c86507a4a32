"""What a store holds, whether it is sound, and what nobody needs any more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from procray.corpora.prepared import corpus_folder
from procray.errors import ProcrayError, StoreError
from procray.files import read_json
from procray.store import journal
from procray.store.lease import Lease
from procray.store.phase import PhaseFolder
from procray.store.store import Store
from procray.training.recipe import PhaseRecipe

RECENT = 3600.0  # seconds; what was touched within them may belong to a sweep that is just starting
Say = Callable[[str], None]


@dataclass(frozen=True)
class Kept:
    """One phase of a store, in short."""

    phase: str
    labels: tuple[str, ...]  # in the sweeps that name it
    sweeps: tuple[str, ...]
    state: str
    marks: tuple[int, ...]
    bytes: int


@dataclass(frozen=True)
class Contents:
    """What a store holds. `sweeps` maps a sweep to the ids of its phases, `corpora` a corpus to its bytes."""

    phases: tuple[Kept, ...]
    sweeps: dict[str, tuple[str, ...]]
    corpora: dict[str, int]


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


@dataclass(frozen=True)
class Garbage:
    """What nobody refers to, in an order in which it can be deleted; bytes by id or name.

    `kept` says why something stays that no sweep names.
    """

    phases: dict[str, int]
    leftovers: dict[str, list[str]]
    leftover_bytes: int
    resumes: dict[str, int]
    corpora: dict[str, int]
    kept: dict[str, str] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return sum(sum(part.values()) for part in (self.phases, self.resumes, self.corpora)) + self.leftover_bytes


@dataclass(frozen=True)
class _Planned:
    """What every plan.json together names."""

    labels: dict[str, dict[str, None]]
    sweeps: dict[str, tuple[str, ...]]
    needed: set[str]
    corpora: set[str]
    last: dict[str, int]  # the last step that any sweep wants of a phase
    forgotten: set[str]  # phases of sweeps that are to be forgotten


def contents(store: Store) -> Contents:
    """Lists a store.

    Raises:
        StoreError: a plan.json or a manifest is damaged.
    """
    planned = _planned(store)
    ids = store.phases()
    store.refresh(ids)
    phases = []
    for phase in ids:
        folder = store.phase(phase)
        named = tuple(sweep for sweep, members in planned.sweeps.items() if phase in members)
        labels = tuple(planned.labels.get(phase, ()))
        size = sum(folder.sizes().values())
        phases.append(Kept(phase, labels, named, folder.status()["state"], tuple(folder.marks()), size))
    return Contents(tuple(phases), planned.sweeps, store.corpora_sizes())


def verify(store: Store, say: Say = lambda line: None) -> tuple[list[Damage], int]:
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
            store.remove_corpus(one.phase)
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


def garbage(
    store: Store, resume_states: bool = False, older_than: float = RECENT, forget: Iterable[str] = ()
) -> Garbage:
    """What can be deleted: phases that no sweep of the store names and that nothing which stays was made from.

    Args:
        resume_states: also the resume states of phases that have all that any sweep wants of them.
        older_than: leave alone what was touched within so many seconds.
        forget: sweeps to take as if the store did not have them.

    Raises:
        StoreError: a plan.json is damaged, so that nobody can say what is needed.
    """
    planned = _planned(store, forget)
    ids = store.phases()
    store.refresh(ids)
    parents: dict[str, list[str]] = {}
    corpora_of: dict[str, str] = {}
    kept: dict[str, str] = {}
    for phase in ids:
        folder = store.phase(phase)
        try:
            recipe = _recipe(folder)
        except ProcrayError as error:
            recipe = None
            if folder.marks():
                kept[phase] = f"its phase.json cannot be read ({error}), so nobody knows what it is"
        if recipe is not None:
            parents[phase] = [parent.phase for parent in recipe.init.parents()]
            if "corpus" in recipe.data:
                corpora_of[phase] = corpus_folder(recipe.data, store.corpora).name
        holder = folder.holder()
        if phase in planned.needed or phase in kept:
            continue
        if holder is not None and holder.alive():
            kept[phase] = "a runner has it"
        elif phase not in planned.forgotten and holder is not None and holder.age() < older_than:
            kept[phase] = "in use a short while ago"
    stay = {phase for phase in ids if phase in planned.needed or phase in kept}
    ahead = list(stay)
    while ahead:  # what anything that stays was made from stays too
        for parent in parents.get(ahead.pop(), ()):
            if parent not in stay:
                stay.add(parent)
                ahead.append(parent)
    gone = [phase for phase in ids if phase not in stay]
    order = _children_first(gone, parents)
    leftovers, resumes, leftover_bytes = {}, {}, 0
    for phase in ids:
        if phase not in stay or phase in kept:
            continue
        folder = store.phase(phase)
        sizes = folder.sizes()
        names = folder.leftovers(older_than)
        if names:
            leftovers[phase] = names
            leftover_bytes += sum(sizes.get(name, 0) for name in names)
        last = planned.last.get(phase)
        if resume_states and folder.resumes() and last is not None and folder.exists_mark(last):
            resumes[phase] = sum(size for name, size in sizes.items() if name.startswith("resume/"))
    used = planned.corpora | {corpora_of[phase] for phase in stay if phase in corpora_of}
    return Garbage(
        phases={phase: sum(store.phase(phase).sizes().values()) for phase in order},
        leftovers=leftovers,
        leftover_bytes=leftover_bytes,
        resumes=resumes,
        corpora={name: size for name, size in store.corpora_sizes().items() if name not in used},
        kept=kept,
    )


def collect(store: Store, found: Garbage, say: Say = lambda line: None) -> int:
    """Deletes garbage, each phase under its lease; returns the bytes that are free now.

    What a sweep that was started meanwhile has come to need is left alone.
    """
    freed = 0
    before, planned = _version(store), _planned(store)

    def named(phase: str) -> bool:
        nonlocal before, planned
        if before != (now := _version(store)):
            before, planned = now, _planned(store)
        return phase in planned.needed

    for phase, size in found.phases.items():
        with _taking(store.phase(phase), say) as held:
            if held is None:
                continue
            if named(phase):
                say(f"{phase}: a sweep names it now, so it stays")
                continue
            store.phase(phase).remove(held)
            freed += size
    for phase, names in found.leftovers.items():
        folder = store.phase(phase)
        sizes = folder.sizes()
        folder.clear(names)
        freed += sum(sizes.get(name, 0) for name in names)
    for phase, size in found.resumes.items():
        with _taking(store.phase(phase), say) as held:
            if held is not None:
                store.phase(phase).drop_resumes(held)
                freed += size
    needed = _planned(store).corpora if found.corpora else set()
    for name, size in found.corpora.items():
        if name in needed:
            say(f"corpus {name}: a sweep reads it now, so it stays")
            continue
        store.remove_corpus(name)
        freed += size
    return freed


@contextmanager
def _taking(folder: PhaseFolder, say: Say) -> Iterator[Lease | None]:
    """The lease on a phase for as long as the block lasts; None, and a word, where a runner has it."""
    held = folder.acquire({"upkeep": "gc"})
    if held is None:
        say(f"{folder.id}: a runner has it now, so it stays")
    try:
        yield held
    finally:
        if held is not None:
            held.release()


def _version(store: Store) -> list[tuple[str, int, int]]:
    """Changes when a sweep is started."""
    return [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in store.plans()]


def _planned(store: Store, forget: Iterable[str] = ()) -> _Planned:
    labels: dict[str, dict[str, None]] = {}
    sweeps: dict[str, tuple[str, ...]] = {}
    needed: set[str] = set()
    corpora: set[str] = set()
    last: dict[str, int] = {}
    forgotten: set[str] = set()
    for path in store.plans():
        name = path.parent.name
        try:
            value = read_json(path)
            if name in forget:
                forgotten |= {phase["id"] for phase in value["phases"]}
                continue
            sweeps[name] = tuple(phase["id"] for phase in value["phases"])
            for phase in value["phases"]:
                labels.setdefault(phase["id"], {})[phase["label"]] = None
                needed |= {phase["id"], *(need["phase"] for need in phase["needs"]), *phase["parents"]}
                last[phase["id"]] = max(last.get(phase["id"], 0), *phase["marks"])
                if "corpus" in phase["recipe"]["data"]:
                    corpora.add(corpus_folder(phase["recipe"]["data"], store.corpora).name)
            needed |= {one["id"] for one in value.get("outside", ())}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(
                f"{path} is damaged ({type(error).__name__}: {error}), so nobody can say what that sweep needs; "
                "run the sweep again, which writes it anew, or remove its folder"
            ) from None
    return _Planned(labels, sweeps, needed, corpora, last, forgotten)


def _recipe(folder: PhaseFolder) -> PhaseRecipe | None:
    """What a phase is; None for a checkpoint from outside and a phase that never began."""
    about = folder.description()
    if about is None or about.get("kind") == "outside":
        return None
    try:
        return PhaseRecipe.from_json(about["recipe"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{type(error).__name__}: {error}") from None


def _children_first(phases: list[str], parents: dict[str, list[str]]) -> list[str]:
    """Interrupted at any place, what is left never lacks what it was made from."""
    left, done = dict.fromkeys(phases), []
    while left:
        needed = {parent for phase in left for parent in parents.get(phase, ())}
        free = [phase for phase in left if phase not in needed] or list(left)  # damaged records may form a circle
        for phase in free:
            del left[phase]
        done += free
    return done


def _verify_phase(folder: PhaseFolder) -> tuple[list[Damage], int]:
    found: list[Damage] = []
    read = 0

    def note(kind: str, step: int | None, text: str) -> None:
        if text:
            found.append(Damage(folder.id, kind, step, text))

    try:
        about = folder.description()
        recipe = _recipe(folder)
        if recipe is not None and recipe.id != folder.id:
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
        whole = path.read_bytes()
        lines = whole[: whole.rfind(b"\n") + 1].splitlines()
        rows = len(journal.read_rows(path))
        if rows < len(lines):
            note("journal", None, f"{len(lines) - rows} of {len(lines)} lines of {path.name} cannot be read")
    return found, read


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
