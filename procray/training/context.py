"""All that the training loop sees of the outside, and the simplest thing that can stand there: a folder."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch

from procray.errors import StoreError
from procray.files import read_json, sha256_file, sync_folder, write_json
from procray.training.recipe import Parent
from procray.training.rows import COUNTERS, alike


class Context(Protocol):
    """What an executor hands down to the loop. Methods that write are called on rank 0 only."""

    @property
    def rank(self) -> int: ...
    @property
    def world_size(self) -> int: ...
    @property
    def device(self) -> torch.device: ...

    def should_stop(self) -> bool:
        """Asked before every step, so it must be cheap. True: save and return."""

    def parent(self, parent: Parent) -> Path:
        """The folder of a parent's mark, its digest already checked."""

    def save_mark(self, step: int, write: Callable[[Path], dict[str, Any]], about: dict[str, Any]) -> None:
        """Keeps a checkpoint; does nothing when the mark exists.

        `write` fills an empty temporary folder and returns facts; they and `about` go into the manifest.
        """

    def save_resume(self, step: int, write: Callable[[Path], None]) -> None:
        """Keeps what is needed to go on from `step`. `write` fills an empty temporary folder."""

    def drop_resume(self, step: int) -> None:
        """Forgets the resume state that was kept under a step, before another takes its place."""

    def latest_resume(self) -> Path | None:
        """The newest usable resume state that lies at or before every mark that is still wanted."""

    def journal(self, row: dict[str, Any]) -> None:
        """Records an evaluation. A step that is there already is compared, as far as alike, and not written again."""

    def progress(self, row: dict[str, Any]) -> None:
        """Live numbers, about once a second; may be dropped."""

    def curve(self, phase: str) -> list[dict[str, Any]]:
        """The evaluations of another phase, by ascending step. Every rank may ask."""


class FolderContext:
    """A phase in a plain folder, for a machine with torch alone.

        <folder>/journal.jsonl           evaluations, one line each
                /marks/<step>/           model.safetensors, config.json, transfer.json, manifest.json
                /resume/<step>/          state.safetensors, state.json; resume.json names the newest
                /progress.json           live numbers

    One process group at a time may use the folder. Parents are sought in `parents`, else as sibling
    folders: `<folder>/../<phase>/marks/<step>`. So is the journal of a phase whose lengths are followed.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world_size: int = 1,
        parents: dict[Parent, Path] | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ):
        self.folder = Path(folder)
        self.device = torch.device(device)
        self.rank = rank
        self.world_size = world_size
        self._parents = parents or {}
        self._should_stop = should_stop
        # Kernels on a GPU, and the order of sums over several processes, do not repeat bit for bit.
        self._exact = self.device.type == "cpu" and world_size == 1
        if rank == 0:
            for kind in ("marks", "resume"):
                (self.folder / kind).mkdir(parents=True, exist_ok=True)
                for left in (self.folder / kind).glob(".tmp-*"):  # of a process that was killed
                    shutil.rmtree(left)

    def should_stop(self) -> bool:
        return self._should_stop()

    def parent(self, parent: Parent) -> Path:
        path = self._parents.get(parent, self.folder.parent / parent.phase / "marks" / str(parent.step))
        if not (path / "model.safetensors").is_file():
            raise StoreError(f"the mark of phase {parent.phase} at step {parent.step} was expected in {path}")
        manifest = path / "manifest.json"
        if manifest.is_file() and read_json(manifest)["sha256"] != sha256_file(path / "model.safetensors"):
            raise StoreError(f"{path / 'model.safetensors'} differs from its manifest, so it is damaged")
        return path

    def save_mark(self, step: int, write: Callable[[Path], dict[str, Any]], about: dict[str, Any]) -> None:
        target = self.folder / "marks" / str(step)
        if target.exists():
            return

        def fill(folder: Path) -> None:
            write_json(folder / "manifest.json", {**about, **write(folder)})

        _fill(target, fill)

    def save_resume(self, step: int, write: Callable[[Path], None]) -> None:
        target = self.folder / "resume" / str(step)
        if not target.exists():
            _fill(target, write)
        write_json(self.folder / "resume.json", {"step": step})
        for other in (self.folder / "resume").iterdir():
            if other.name != str(step):
                shutil.rmtree(other)

    def drop_resume(self, step: int) -> None:
        (self.folder / "resume.json").unlink(missing_ok=True)
        shutil.rmtree(self.folder / "resume" / str(step), ignore_errors=True)

    def latest_resume(self) -> Path | None:
        try:
            return self.folder / "resume" / str(read_json(self.folder / "resume.json")["step"])
        except FileNotFoundError:
            return None

    def rows(self) -> list[dict[str, Any]]:
        """The journal; a last line that a kill tore apart is left out."""
        return _rows(self.folder)

    def curve(self, phase: str) -> list[dict[str, Any]]:
        return sorted(_rows(self.folder.parent / phase), key=lambda row: int(row["step"]))

    def journal(self, row: dict[str, Any]) -> None:
        """Appends a row, unless its step is there.

        Raises:
            StoreError: the step is there with other values of what was measured alike.
        """
        known = {old["step"]: old for old in self.rows()}.get(row["step"])
        if known is not None:
            self._compare(known, row)
            return
        path = self.folder / "journal.jsonl"
        with open(path, "r+b" if path.exists() else "x+b") as file:
            content = file.read()
            file.seek(content.rfind(b"\n") + 1)  # over a torn line
            file.truncate()
            file.write(json.dumps(row, allow_nan=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def progress(self, row: dict[str, Any]) -> None:
        temporary = self.folder / ".progress.json"
        temporary.write_text(json.dumps(row), encoding="utf-8")
        os.replace(temporary, self.folder / "progress.json")

    def _compare(self, known: dict[str, Any], row: dict[str, Any]) -> None:
        for name in alike(known, row):
            old, new = known.get(name), row.get(name)
            if old == new:
                continue
            if self._exact or name in COUNTERS or old is None or new is None or abs(old - new) > 0.05 * (1 + abs(old)):
                raise StoreError(
                    f"{self.folder}, step {row['step']}: {name} was {old!r} and is now {new!r} when computed again; "
                    "use the thread count, versions and machine of before, or remove the folder to start afresh"
                )


def _rows(folder: Path) -> list[dict[str, Any]]:
    try:
        lines = (folder / "journal.jsonl").read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines]


def _fill(target: Path, fill: Callable[[Path], None]) -> None:
    """Makes the folder `target` exist with its whole content, or not at all."""
    temporary = target.parent / f".tmp-{target.name}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        fill(temporary)
        for file in temporary.iterdir():
            with open(file, "rb") as handle:
                os.fsync(handle.fileno())
        sync_folder(temporary)
        os.rename(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(target.parent)
