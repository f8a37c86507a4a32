"""What nobody needs any more, and deleting it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from procray.corpora.prepared import corpus_folder
from procray.errors import ProcrayError, StoreError
from procray.store import roots
from procray.store.lease import Lease
from procray.store.names import is_id
from procray.store.phase import PhaseFolder
from procray.store.plans import StoredPlan
from procray.store.roots import Roots
from procray.store.runs import running
from procray.store.store import Store

RECENT = 3600.0  # seconds; what was touched within them may belong to a sweep that is just starting
Say = Callable[[str], None]


@dataclass(frozen=True)
class Garbage:
    """What nobody refers to, in an order in which it can be deleted; bytes by id or name.

    Attributes:
        leftovers: unfinished files of phases that stay, by phase.
        strays: unfinished files outside of phases, by path.
        resumes: resume states of phases that have all that any plan wants of them.
        kept: why a phase stays that no plan names.
        kept_corpora: why a corpus stays that no phase reads.
        older_than: seconds; what was touched within them was left alone.
    """

    phases: dict[str, int]
    leftovers: dict[str, list[str]]
    leftover_bytes: int
    resumes: dict[str, int]
    corpora: dict[str, int]
    kept: dict[str, str] = field(default_factory=dict)
    kept_corpora: dict[str, str] = field(default_factory=dict)
    strays: dict[str, int] = field(default_factory=dict)
    older_than: float = RECENT

    @property
    def bytes(self) -> int:
        parts = (self.phases, self.resumes, self.corpora, self.strays)
        return sum(sum(part.values()) for part in parts) + self.leftover_bytes


def find(
    store: Store, resume_states: bool = False, older_than: float = RECENT, forget: Iterable[StoredPlan] = ()
) -> Garbage:
    """What can be deleted: phases that no sweep of the store names and that nothing which stays was made from.

    Args:
        resume_states: also the resume states of phases that have all that any sweep wants of them.
        older_than: leave alone what was touched within so many seconds, by the clock of the store.
        forget: plans to take as if the store did not have them.

    Raises:
        StoreError: a plan.json is damaged, so that nobody can say what is needed; or a plan to forget is being run.
    """
    forget = tuple(forget)
    planned = roots.read(store, forget)
    ids = store.phases()
    store.refresh(ids)
    _refuse_what_runs(store, forget, planned.forgotten.intersection(ids), older_than)
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
            parents[phase] = [parent.phase for parent in recipe.needs(0)]
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
        holder = folder.holder()
        if holder is not None and holder.alive():
            continue
        sizes = folder.sizes()
        names = folder.leftovers(older_than)
        if names:
            leftovers[phase] = names
            leftover_bytes += sum(sizes.get(name, 0) for name in names)
        last = planned.last.get(phase)
        if resume_states and folder.resumes() and last is not None and folder.exists_mark(last):
            resumes[phase] = sum(size for name, size in sizes.items() if name.startswith("resume/"))
    used = planned.corpora | {corpora_of[phase] for phase in stay if phase in corpora_of}
    strange = {phase: "its name is none that procray gives" for phase in ids if phase not in stay and not is_id(phase)}
    order = _children_first([phase for phase in ids if phase not in stay and phase not in strange], parents)
    unread = {name: size for name, size in store.corpora_sizes().items() if name not in used and is_id(name)}
    kept_corpora = {name: why for name in unread if (why := _corpus_in_use(store, name, older_than))}
    return Garbage(
        phases={phase: sum(store.phase(phase).sizes().values()) for phase in order},
        leftovers=leftovers,
        leftover_bytes=leftover_bytes,
        resumes=resumes,
        corpora={name: size for name, size in unread.items() if name not in kept_corpora},
        kept={**kept, **strange},
        kept_corpora=kept_corpora,
        strays=store.strays(older_than),
        older_than=older_than,
    )


def collect(store: Store, found: Garbage, say: Say = lambda line: None) -> int:
    """Deletes garbage, each phase under its lease, each corpus under its lock; returns the bytes that are free now.

    What a sweep that was started meanwhile has come to need is left alone.
    """
    freed = _remove_phases(store, found.phases, say)
    for phase, names in found.leftovers.items():
        freed += _clear_leftovers(store.phase(phase), names, found.older_than, say)
    for phase, size in found.resumes.items():
        with _taking(store.phase(phase), say) as held:
            if held is not None:
                store.phase(phase).drop_resumes(held)
                freed += size
    for name, size in found.strays.items():
        store.remove_stray(name)
        freed += size
    return freed + _remove_corpora(store, found.corpora, found.older_than, say)


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


def _clear_leftovers(folder: PhaseFolder, names: list[str], older_than: float, say: Say) -> int:
    before = folder.sizes()
    with _taking(folder, say) as held:  # which sweeps up after dead attempts itself
        if held is None:
            return 0
        folder.clear(held, set(names) & set(folder.leftovers(older_than)))
    after = folder.sizes()
    return sum(before.get(name, 0) for name in names if name not in after)


def _remove_corpora(store: Store, corpora: dict[str, int], older_than: float, say: Say) -> int:
    freed = 0
    needed = roots.read(store).corpora if corpora else set()
    for name, size in corpora.items():
        if name in needed:
            say(f"corpus {name}: a sweep reads it now, so it stays")
        elif why := _corpus_in_use(store, name, older_than):
            say(f"corpus {name}: {why}, so it stays")
        elif store.remove_corpus(name):
            freed += size
        else:
            say(f"corpus {name}: it is being prepared now, so it stays")
    return freed


def _corpus_in_use(store: Store, name: str, older_than: float) -> str:
    """Why a corpus that no phase reads stays for now; empty when it need not."""
    return "prepared a short while ago, or being prepared" if store.corpus_age(name) < older_than else ""


def _refuse_what_runs(store: Store, forget: Iterable[StoredPlan], phases: Iterable[str], older_than: float) -> None:
    """Raises StoreError where a plan that is to be forgotten is being run, or a runner has one of its phases.

    A command holds no phase while it prepares corpora or starts Ray, but keeps its word beside the plan. Of a
    command on another host nobody knows whether it was killed: what is older was, or holds a phase.
    """
    for plan in forget:
        for name, age in store.runs(plan).items():
            pid = running(name)
            if pid or (pid is None and age < older_than):
                who = f"process {pid}" if pid else "a process on another host"
                raise StoreError(f"{plan.title} is being run (by {who}); stop it before it is forgotten")
    titles = {plan.title for plan in forget}
    for phase in phases:
        holder = store.phase(phase).holder()
        if holder is not None and holder.about.get("sweep") in titles and holder.alive():
            who = f"process {holder.process['pid']} on {holder.process['host'].partition('/')[0]}"
            raise StoreError(f"{holder.about['sweep']} is being run ({phase} by {who}); stop it before it is forgotten")


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
