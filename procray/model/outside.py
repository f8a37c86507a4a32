"""Checkpoints from outside a sweep, as parents of its phases: a folder, a file, a commit on the Hugging Face hub.

Looking one up needs no torch, but for the pickles of the papers' code and of nanoGPT, whose shape stands in the
pickle only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from procray.errors import CheckpointNotHere, EnvironmentProblem, ProcrayError, StoreError, TransferError
from procray.files import digest, sha256_file, write_json
from procray.model.families import DEFAULT, from_json, to_json
from procray.model.family import ModelConfig
from procray.model.layout import CONFIG, WEIGHTS, from_transformers, read_config, settled, shards, untied
from procray.records import Exactly, check, of, plain, sha256

if TYPE_CHECKING:
    from torch import Tensor

OUTSIDE = "outside.json"  # beside the weights of a brought-in checkpoint: where they came from
HUB = "hf:"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PICKLES = (".pth", ".pt")


@dataclass(frozen=True)
class Outside:
    """A checkpoint that no phase of the sweep made.

    Attributes:
        id: of the folder in the store that stands for it, as if it were a phase with one mark at step 0.
        name: short, for people.
        origin: `{"path": ...}`, with `heads` where the file does not tell them, or `{"hf": ..., "revision": ...}`.
        digest: SHA-256 of the weight file; of several files that of their names and digests. None for the hub
            until it was brought in: there the commit says what is meant.
        config: its shape; None for the hub until it was brought in.
        notes: how it is read where its files leave that open, in words.
    """

    id: str
    name: str
    origin: dict[str, Any]
    digest: str | None
    config: ModelConfig | None
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        value = {**vars(self), "config": None if self.config is None else to_json(self.config)}
        return value if self.notes else {name: value[name] for name in value if name != "notes"}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Outside:
        """What `to_json` gave.

        Raises:
            StoreError: something else.
        """
        check(value, OUTSIDE_FORM, "an outside checkpoint")
        try:
            return Outside(**{**value, "config": from_json(value["config"]) if value["config"] else None})
        except ProcrayError as error:
            raise StoreError(f"an outside checkpoint is damaged: {error}") from error


OUTSIDE_FORM = of(
    Outside,
    id=plain,
    origin=(Exactly({"path": str, "heads?": (int, type(None))}), Exactly({"hf": str, "revision": str})),
    digest=(sha256, type(None)),
    config=(dict, type(None)),
)


def look_up(origin: str | Mapping[str, Any]) -> Outside:
    """What a sweep file means by `hf:NAME@COMMIT` or `{path: FOLDER_OR_FILE}`.

    A path is a folder with `model.safetensors` (or the shards of one) and `config.json`, such a file in its folder,
    a `.pth` of the papers' code, with `heads` where its width does not tell them, or nanoGPT's `ckpt.pt`. The weights
    are hashed. The hub is not asked: a commit's hash is identity enough, and a branch or tag, which can move, is none.

    Raises:
        StoreError: a missing or damaged file.
        TransferError: no checkpoint of a model as we build it, or no full commit hash.
    """
    if isinstance(origin, str):
        name, at, revision = origin.removeprefix(HUB).partition("@")
        if not origin.startswith(HUB) or not name or not at or not _COMMIT.fullmatch(revision):
            raise TransferError(
                f"'{origin}': a checkpoint of the hub is named hf:NAME@COMMIT with the full commit hash of 40 hex"
                " digits, because a branch or tag can move (the hub lists it under 'Files and versions', 'History')"
            )
        where = {"hf": name, "revision": revision}
        return Outside(digest({"outside": where}, 16), name.rpartition("/")[2], where, None, None)
    path, heads = Path(os.path.expanduser(str(origin["path"]))), origin.get("heads")
    place, files = _files(path)
    if path.suffix in _PICKLES:
        _, config, notes = _load_pickle(path, heads)
    else:
        stated = from_transformers(read_config(place / CONFIG), place / CONFIG)
        config = settled(stated, place)
        notes = [] if config == stated else [untied(config)]
        if heads is not None and heads != config.heads:
            raise TransferError(f"{place / CONFIG} has {config.heads} heads, not {heads}")
    found = _digest(files)
    id = digest({"outside": found, **_untold(config)}, 16)
    name = path.stem if path.suffix in _PICKLES else place.resolve().name
    return Outside(id, name, dict(origin), found, config, notes)


def _untold(config: ModelConfig) -> dict[str, Any]:
    """What leaves no trace in the weights, but makes another network."""
    return {"heads": config.heads} if config.family == DEFAULT else {"config": to_json(config)}


def bring_in(outside: Outside, folder: Path) -> dict[str, Any]:
    """Writes a checkpoint into an empty folder in our own format, with `outside.json` beside it.

    Returns:
        Facts for a manifest: `outside` (as in `outside.json`) beside what `save_weights` returns.

    Raises:
        StoreError: its files are gone, damaged, or no longer those that were looked up.
        TransferError: no model as we build it.
        EnvironmentProblem: the hub cannot be reached, or its client is not installed.
    """
    from procray.model.checkpoint import read_weights, write_weights

    origin = outside.origin
    place = (
        _from_hub(origin["hf"], origin["revision"]) if "hf" in origin else Path(os.path.expanduser(str(origin["path"])))
    )
    place, files = _files(place)
    found = _digest(files)
    if outside.digest is not None and found != outside.digest:
        raise StoreError(
            f"{place} has weights with digest {found[:16]}, but {outside.digest[:16]} when the sweep was planned:"
            " it has changed meanwhile. Run the sweep again to plan with what is there now"
        )
    if files[0].suffix in _PICKLES:
        weights, config, notes = _load_pickle(files[0], origin.get("heads"))
    else:
        weights, config, notes = read_weights(place)
    known = Outside(outside.id, outside.name, origin, found, config, notes).to_json()
    facts = write_weights(weights, config, folder)
    write_json(folder / OUTSIDE, known)
    return {**facts, "outside": known}


def _load_pickle(path: Path, heads: int | None) -> tuple[dict[str, Tensor], ModelConfig, list[str]]:
    from procray.model.gpt2.nanogpt import is_nanogpt, nanogpt_weights
    from procray.model.gpt2.official import official_weights
    from procray.model.pickles import read_pickle

    content = read_pickle(path)
    if is_nanogpt(content):
        return nanogpt_weights(content, path, heads)
    return (*official_weights(content, path, heads), [])


def _files(path: Path) -> tuple[Path, list[Path]]:
    """The folder of a checkpoint and its weight files."""
    if path.suffix in _PICKLES:
        if not os.path.isfile(path):
            raise CheckpointNotHere(f"{path} is missing")
        return path.parent, [path]
    if path.name == WEIGHTS:
        path = path.parent
    if not os.path.exists(path):
        raise CheckpointNotHere(f"{path} is missing")
    if not os.path.isdir(path):
        raise TransferError(
            f"{path} is neither a folder with {WEIGHTS} and {CONFIG} nor a .pth of the papers' code,"
            " nor nanoGPT's ckpt.pt"
        )
    return path, shards(path)


def weights_digest(folder: Path) -> str:
    """SHA-256 of a folder's weight file; of several files that of their names and digests.

    Raises:
        StoreError: there is none.
    """
    return _digest(_files(folder)[1])


_hashed: dict[tuple[str, int, int, int], str] = {}


def _digest(files: list[Path]) -> str:
    """Of one file, or of the names and digests of several; a file that did not change is read once a process."""
    found = {}
    for path in files:
        stat = path.stat()
        key = (str(path.resolve()), stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if key not in _hashed:
            _hashed[key] = sha256_file(path)
        found[path.name] = _hashed[key]
    return next(iter(found.values())) if len(found) == 1 else digest(found)


def _from_hub(name: str, revision: str) -> Path:
    """The folder with a commit's configuration and safetensors, from the cache where they are in it."""
    where = f"the checkpoint {HUB}{name}@{revision}"
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError
    except ImportError as error:
        raise EnvironmentProblem(f"{where} needs the package 'huggingface_hub'") from error
    wanted: dict[str, Any] = {
        "revision": revision,
        "allow_patterns": [CONFIG, "*.safetensors", "*.safetensors.index.json"],
    }
    try:
        folder = Path(snapshot_download(name, **wanted, local_files_only=True))
        _files(folder)
        return folder
    except (LocalEntryNotFoundError, ProcrayError):
        pass  # not in the cache, or not all of it
    try:
        return Path(snapshot_download(name, **wanted))
    except Exception as error:  # any transport, proxy, TLS or server failure, a missing repository or commit
        text = " ".join(str(error).split())[:300]
        raise EnvironmentProblem(f"{where} cannot be fetched: {type(error).__name__}: {text}") from error
