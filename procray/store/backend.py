"""What a store asks of the place that it is in: a folder (`folder.py`) or a bucket (`bucket.py`)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from procray.store.phase import PhaseFolder


class Backend(Protocol):
    """The place of one store. Names that it is given cannot lead out of it: `Store` has looked at them.

    Attributes:
        address: as a user or another process names the place.
        path: its folder on this machine; of a bucket a copy of what was read from it.
        in_bucket: whether `path` holds copies only.
    """

    address: str
    path: Path
    in_bucket: bool

    def be_patient(self, seconds: float) -> None:
        """From here on, goes on trying for so long while the place does not answer."""

    def check(self) -> None:
        """Raises StoreError or EnvironmentProblem where the place cannot be reached or cannot be a store."""

    def place(self, path: Path) -> str:
        """How other machines name what stands at a path below `path`."""

    def publish(self, path: Path) -> None:
        """Shows others a file, or the files of a folder, that was written below `path`."""

    def phase(self, phase_id: str) -> PhaseFolder:
        """What the place holds of a phase."""

    def phases(self) -> list[str]:
        """The ids of all phases that have a folder, in order."""

    def refresh(self, phases: Iterable[str], all: bool) -> None:
        """Brings what is known here of some phases up to date; without `all` not what was looked at just now."""

    def plans(self, title: str | None = None) -> dict[Path, float]:
        """Every plan.json of one sweep or of all, relative to `path`/sweeps, and when it was written.

        They and newest.json can be read below `path` then.
        """

    def runs(self, place: str) -> dict[str, float]:
        """The words that commands keep beside a plan while they run it, and seconds since they were written.

        Args:
            place: of the plan's folder, below the folder of sweeps.
        """

    def forget(self, place: str) -> None:
        """Removes what stands in a place below the folder of sweeps, a plan first."""

    def bring_corpus(self, name: str) -> Path:
        """The folder below which corpus `name` can be read from a disk of this machine."""

    def publish_corpus(self, name: str) -> None:
        """Shows others a corpus that was prepared below `path`."""

    def corpora_sizes(self) -> dict[str, int]:
        """Bytes of every prepared corpus, by the name of its folder."""

    def examine_corpus(self, name: str) -> str:
        """What is wrong with a corpus, every shard read anew; empty when nothing is."""

    def corpus_age(self, name: str) -> float:
        """Seconds since anything of a corpus was written or it was asked for; 0 while it is being prepared."""

    def remove_corpus(self, name: str) -> bool:
        """Deletes a corpus, its manifest first; False where a process is preparing it."""

    # -- whatever else -------------------------------------------------------------------------------

    def strays(self, older_than: float) -> dict[str, int]:
        """Bytes of unfinished files outside of phases, untouched for so many seconds, by their paths below `path`."""

    def remove_stray(self, name: str) -> None:
        """Deletes what `strays` named."""
