"""What nobody needs any more, and deleting it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from procray.corpora.prepared import corpus_folder
from procray.errors import ProcrayError
from procray.store import roots
from procray.store.lease import Lease
from procray.store.phase import PhaseFolder
from procray.store.plans import StoredPlan
from procray.store.roots import Roots
from procray.store.store import Store

RECENT = 3600.0  # seconds; what was touched within them may belong to a sweep that is just starting
Say = Callable[[str], None]


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


def find(
    store: Store, resume_states: bool = False, older_than: float = RECENT, forget: Iterable[StoredPlan] = ()
) -> Garbage:
    """What can be deleted: phases that no sweep of the store names and that nothing which stays was made from.

    Args:
        resume_states: also the resume states of phases that have all that any sweep wants of them.
        older_than: leave alone what was touched within so many seconds.
        forget: plans to take as if the store did not have them.

    Raises:
        StoreError: a plan.json is damaged, so that nobody can say what is needed.
    """
    planned = roots.read(store, forget)
    ids = store.phases()
    store.refresh(ids)
    parents: dict[str, list[str]] = {}
    corpora_of: dict[str, str] = {}
    kept: dict[str, str] = {}
    for phase in ids:
        folder = store.phase(phase)
        try:
            recipe = folder.recipe()
        except ProcrayError as error:
            recipe = None
            if folder.marks():
                kept[phase] = f"its phase.json cannot be read ({error}), so nobody knows what it is"
        if recipe is not None:
            parents[phase] = [parent.phase for parent in recipe.init.parents()]
            if "corpus" in recipe.data:
                corpora_of[phase] = corpus_folder(recipe.data, store.corpora).name
        if phase not in planned.needed and phase not in kept and (why := _in_use(folder, planned, older_than)):
            kept[phase] = why
    stay = _with_parents({phase for phase in ids if phase in planned.needed or phase in kept}, parents)
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
    order = _children_first([phase for phase in ids if phase not in stay], parents)
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
    freed = _remove_phases(store, found.phases, say)
    for phase, names in found.leftovers.items():
        freed += _clear_leftovers(store.phase(phase), names)
    for phase, size in found.resumes.items():
        with _taking(store.phase(phase), say) as held:
            if held is not None:
                store.phase(phase).drop_resumes(held)
                freed += size
    return freed + _remove_corpora(store, found.corpora, say)


def _remove_phases(store: Store, phases: dict[str, int], say: Say) -> int:
    freed = 0
    before, planned = roots.version(store), roots.read(store)
    for phase, size in phases.items():
        with _taking(store.phase(phase), say) as held:
            if held is None:
                continue
            if before != (now := roots.version(store)):
                before, planned = now, roots.read(store)
            if phase in planned.needed:
                say(f"{phase}: a sweep names it now, so it stays")
                continue
            store.phase(phase).remove(held)
            freed += size
    return freed


def _clear_leftovers(folder: PhaseFolder, names: list[str]) -> int:
    sizes = folder.sizes()
    folder.clear(names)
    return sum(sizes.get(name, 0) for name in names)


def _remove_corpora(store: Store, corpora: dict[str, int], say: Say) -> int:
    freed = 0
    needed = roots.read(store).corpora if corpora else set()
    for name, size in corpora.items():
        if name in needed:
            say(f"corpus {name}: a sweep reads it now, so it stays")
            continue
        store.remove_corpus(name)
        freed += size
    return freed


def _in_use(folder: PhaseFolder, planned: Roots, older_than: float) -> str:
    """Why a phase that no sweep names stays for now; empty when it need not."""
    holder = folder.holder()
    if holder is not None and holder.alive():
        return "a runner has it"
    if folder.id not in planned.forgotten and holder is not None and holder.age() < older_than:
        return "in use a short while ago"
    return ""


def _with_parents(phases: set[str], parents: dict[str, list[str]]) -> set[str]:
    """What anything that stays was made from stays too."""
    stay, ahead = set(phases), list(phases)
    while ahead:
        for parent in parents.get(ahead.pop(), ()):
            if parent not in stay:
                stay.add(parent)
                ahead.append(parent)
    return stay


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
