"""SEQUENCES FROM files: token sequences that were made elsewhere, as a warm-up.

Shape suffixes: B sequences of a batch, N sequences of the files, T positions.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from procray.batch import Batch
from procray.errors import TaskError, did_you_mean
from procray.tasks.rng import generator
from procray.tasks.sequence_files import USUAL, Sequences, content_of, found_files, read_sequences, relative
from procray.tasks.sequences import shifted
from procray.tasks.task import BaseTask

NAME = "sequences_from"
SUMMARY = "token sequences made elsewhere, from npy, safetensors, parquet or JSON lines; every token is predicted"
PARAMETERS: dict[str, tuple[Any, str]] = {
    "path": (None, "a file or a folder: .npy or .safetensors (sequences x tokens), .parquet or .jsonl (lists of ids)"),
    "field": (USUAL, "the column, the tensor or the key of a record that holds the tokens"),
    "cut": (None, "sequences are cut off after so many tokens; default: none is"),
}
HELD_OUT = 0.05  # of the sequences, at least two
TUNING = "tuning"  # the stream that settings are chosen on


@dataclass(frozen=True)
class SequencesFrom(BaseTask):
    """The sequences of some files; every position but the last of each is scored, shorter ones are padded.

    Their identity is the content of the files, in the order of their names, and where they are cut; where they lie does
    not matter. One in twenty, at least two, are held out: training streams never show them, all others show nothing
    else, half of them for the choice of settings alone. Which ones depends on the content alone. A training stream
    goes through the rest in an order of its own, epoch after epoch, each in another order. Ids are used as they are;
    the padding is the next one.
    """

    name: ClassVar[str] = NAME
    summary: ClassVar[str] = SUMMARY
    content: str
    sequences: int
    tokens: int  # of all sequences
    longest_sequence: int
    ids: int
    cut: int | None
    field: str
    base: str = dataclasses.field(compare=False)
    files: tuple[str, ...] = dataclasses.field(compare=False)
    origin: dict[str, Any] | None = dataclasses.field(default=None, compare=False)  # the hub dataset that they are

    @property
    def length(self) -> int:
        return self.longest_sequence

    @property
    def symbols(self) -> int:
        return self.ids

    @property
    def separator(self) -> None:
        return None

    @property
    def pad(self) -> int:
        return self.ids

    @property
    def mean_tokens(self) -> float:
        return self.tokens / self.sequences

    def nominal(self, length: int) -> int:
        return length

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        raise AssertionError("sequences are not drawn")

    def sample(
        self, seed: int, stream: str, index: int, size: int, length: int | None = None, attempt: int = 0
    ) -> Batch:
        self._no_length(length)
        chosen_B = self._chosen(seed, stream, index, size)
        held = _loaded(self)
        starts_B, lengths_B = held.starts_N1[chosen_B], self._lengths(chosen_B)
        place_T = np.arange(int(lengths_B.max()))
        inside_BT = place_T < lengths_B[:, None]
        tokens_BT = np.full(inside_BT.shape, self.pad, np.int32)
        tokens_BT[inside_BT] = held.tokens_T[(starts_B[:, None] + place_T)[inside_BT]]
        return Batch(tokens_BT, shifted(tokens_BT, self.pad), place_T < lengths_B[:, None] - 1, int(lengths_B.sum()))

    def nominal_tokens(self, seed: int, stream: str, index: int, size: int, length: int | None = None) -> int:
        self._no_length(length)
        return int(self._lengths(self._chosen(seed, stream, index, size)).sum())

    def exposure(self, used: int) -> dict[str, Any]:
        """After so many training sequences: passes made, and about how many different tokens were seen."""
        count = len(_split(self)[0])
        return {"epoch": used / count, "unique_tokens": round(min(used, count) * self.mean_tokens)}

    def recipe(self) -> dict[str, Any]:
        found = {**super().recipe(), "files": list(self.files)}
        if self.origin is None:
            del found["origin"]
        return found

    def _lengths(self, chosen_B: np.ndarray) -> np.ndarray:
        lengths_B = _loaded(self).lengths_N[chosen_B]
        return lengths_B if self.cut is None else np.minimum(lengths_B, self.cut)

    def _chosen(self, seed: int, stream: str, index: int, size: int) -> np.ndarray:
        training_N, validation_N, tuning_N = _split(self)
        trains = stream == "train" or stream.startswith("train/")
        of_N = training_N if trains else tuning_N if stream == TUNING else validation_N
        epochs, places = np.divmod(np.arange(index * size, (index + 1) * size), len(of_N))
        chosen_B = np.empty(size, np.int64)
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            chosen_B[here] = of_N[_order(seed, stream, self.content, epoch, len(of_N))[places[here]]]
        return chosen_B

    def _no_length(self, length: int | None) -> None:
        if length is not None:
            raise TaskError(f"{self.name}: length {length} was asked for, but the sequences are what they are")


@functools.lru_cache(maxsize=8)
def _order(seed: int, stream: str, content: str, epoch: int, count: int) -> np.ndarray:
    return generator(seed, stream, f"{NAME} {content}", epoch).permutation(count)


@functools.lru_cache(maxsize=8)
def _split(task: SequencesFrom) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The sequences that are trained on, those of validation, and those of tuning."""
    order_N = generator(0, "held out", f"{NAME} {task.content}", 0).permutation(task.sequences)
    held_out = max(2, round(HELD_OUT * task.sequences))
    return np.sort(order_N[held_out:]), np.sort(order_N[:held_out:2]), np.sort(order_N[1:held_out:2])


@functools.lru_cache(maxsize=4)
def _loaded(task: SequencesFrom) -> Sequences:
    """The files, whose content is what it was when the task was described.

    Raises:
        TaskError: a file is not there, or another one.
    """
    files = [Path(task.base) / name for name in task.files]
    try:
        content = content_of(files)
    except OSError as error:
        raise TaskError(
            f"{NAME}: {error.filename} cannot be read ({error.strerror}); every machine that trains needs the files"
        ) from None
    if content != task.content:
        raise TaskError(
            f"{NAME}: {', '.join(str(file) for file in files[:3])} changed since the sweep was planned; with the new"
            " content it is another task: plan again"
        )
    return read_sequences(files, task.field)


def sequences_from(**params: Any) -> SequencesFrom:
    """From `path`, `field` and `cut`, read anew; or from a whole recipe, without touching the files.

    Args:
        params: `base` is the folder where a relative path starts; the working directory by default. `origin` says of
            which hub dataset the file is.

    Raises:
        TaskError: with all problems at once.
    """
    if "content" in params:
        return SequencesFrom(**{**params, "files": tuple(params["files"])})
    known = {*PARAMETERS, "base", "origin"}
    problems = [f"there is no parameter '{key}'{did_you_mean(key, PARAMETERS)}" for key in params if key not in known]
    name, cut = params.get("field", USUAL), params.get("cut")
    if not isinstance(name, str) or not name:
        problems.append(f"field is {name!r}; expected a name")
    if cut is not None and (isinstance(cut, bool) or not isinstance(cut, int) or not 2 <= cut <= 2**20):
        problems.append(f"cut is {cut!r}; expected a whole number from 2 to {2**20}")
    if "path" not in params:
        problems.append("needs path, a file or a folder")
    if problems:
        raise TaskError("\n".join(f"{NAME}: {problem}" for problem in problems))
    base = Path(params.get("base") or Path.cwd()).absolute()
    files = found_files(params["path"], base)
    found = _described(
        tuple(files), tuple((file.stat().st_size, file.stat().st_mtime_ns) for file in files), name, cut, base
    )
    return dataclasses.replace(found, origin=params.get("origin"))


@functools.lru_cache(maxsize=16)
def _described(
    files: tuple[Path, ...], state: tuple[tuple[int, int], ...], name: str, cut: int | None, base: Path
) -> SequencesFrom:
    held = read_sequences(list(files), name)
    if len(held) < 3:
        raise TaskError(f"{NAME}: {files[0]} holds {len(held)} sequences; expected at least 3, two of them held out")
    lengths_N = held.lengths_N if cut is None else np.minimum(held.lengths_N, cut)
    return SequencesFrom(
        content=content_of(files),
        sequences=len(held),
        tokens=int(lengths_N.sum()),
        longest_sequence=int(lengths_N.max()),
        ids=int(held.tokens_T.max()) + 1,
        cut=None if cut is None or cut >= int(held.lengths_N.max()) else cut,  # one that cuts nothing is none
        field=name,
        base=str(base),
        files=tuple(relative(list(files), base)),
    )
