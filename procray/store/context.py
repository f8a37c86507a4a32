"""What the training loop sees of the outside, backed by the store."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from procray.store.lease import Lease
from procray.store.phase import PhaseFolder
from procray.store.store import Store
from procray.training.recipe import Parent
from procray.training.rows import SEQUENCES

if TYPE_CHECKING:
    import torch

_MEASURED = ("loss", "accuracy", "exact")  # of a mark


class StoreContext:
    """Implements `training.Context` for one attempt at one segment of a phase.

    Only rank 0 holds the lease and writes; on other ranks the writing methods do nothing. A writer
    whose lease is gone gets LeaseLost, and nothing of what it held becomes visible.
    """

    def __init__(
        self,
        folder: PhaseFolder,
        held: Lease | None,
        store: Store,
        rank: int,
        world_size: int,
        device: torch.device,
        should_stop: Callable[[], bool],
        *,
        provenance: dict[int, dict[str, Any]] | None = None,
        keep_resumes: Iterable[int] = (),
        resume_at_most: int | None = None,
    ):
        """
        Args:
            held: the lease; None on ranks other than 0.
            provenance: what this and earlier attempts run on, as `write_description` returns it.
            keep_resumes: steps whose resume state is kept for good, so that a constant schedule can be
                extended from there.
            resume_at_most: resume from this step or an earlier one. Set when a mark is wanted that
                lies before the newest resume state.
        """
        assert (held is not None) == (rank == 0), "rank 0 holds the lease, nobody else"
        self.rank = rank
        self.world_size = world_size
        self.device = device
        self._folder = folder
        self._held = held
        self._store = store
        self._should_stop = should_stop
        self._keep = frozenset(keep_resumes)
        self._at_most = resume_at_most
        self._journal = folder.journal(held, provenance or {}) if held else None

    def should_stop(self) -> bool:
        """Whether to save and return. A lost lease is found out by the next write, or here."""
        if self._held is not None and self._held.lost():
            self._held.check()
        return self._should_stop()

    def parent(self, parent: Parent) -> Path:
        return self._store.phase(parent.phase).mark(parent.step)

    def latest_resume(self) -> Path | None:
        return self._folder.resume(self._at_most)

    def save_mark(self, step: int, write: Callable[[Path], dict[str, Any]], about: dict[str, Any]) -> None:
        if self._held is not None and self._journal is not None:
            self._journal.sync()
            row = self._journal.row(step) or {}  # an earlier attempt may have measured otherwise: one curve for all
            told = {name: row[name] for name in (SEQUENCES, *_MEASURED) if name in row}
            self._folder.write_mark(self._held, step, write, {**about, **told})

    def save_resume(self, step: int, write: Callable[[Path], None]) -> None:
        if self._held is not None and self._journal is not None:
            self._journal.sync()  # a curve must not have a gap before the state that continues it
            self._folder.write_resume(self._held, step, write, keep=step in self._keep)

    def drop_resume(self, step: int) -> None:
        if self._held is not None:
            self._folder.discard(self._held, "resume", step)

    def journal(self, row: dict[str, Any]) -> None:
        if self._held is not None and self._journal is not None:
            self._folder.fence(self._held)
            self._journal.add(row)

    def progress(self, row: dict[str, Any]) -> None:
        if self._held is not None and not self._held.lost():
            with contextlib.suppress(OSError):
                self._folder.write_progress({**row, "attempt": self._held.attempt})

    def curve(self, phase: str) -> list[dict[str, Any]]:
        return self._store.phase(phase).curve()

    def close(self) -> None:
        """Ends the attempt's journal."""
        if self._journal is not None:
            with contextlib.suppress(OSError):
                self._journal.sync()
            self._journal.close()
