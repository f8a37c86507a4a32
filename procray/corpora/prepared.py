"""A prepared corpus: batches, the validation set, and how much of it has been seen.

Shape suffixes: B sequences, T positions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from procray.batch import Batch
from procray.corpora.account import account
from procray.corpora.order import permuted
from procray.corpora.questions import row_bounds
from procray.corpora.recipe import identity, title
from procray.corpora.shards import ShardReader, content_digest, shard_path
from procray.corpora.tokenizer import LARGEST_TOKENIZER, SEPARATOR, Tokenizer, load_tokenizer, tokenizer_digest
from procray.errors import CorpusError, ProcrayError, StoreError
from procray.files import digest, read_bytes, read_json
from procray.records import Every, check, count, sha256, wrong

_NAMES = {"separator": SEPARATOR, "bos": "<|question|>", "sep": "<|answer|>", "pad": "<|pad|>"}


_SPLIT = {
    "tokens": count, "shards": [{"tokens": count, "sha256": sha256, "mask_sha256?": sha256}], "complete": bool,
    "counts": Every(count), "cursor?": (dict, type(None)),
}  # fmt: skip


def _special(value: Any) -> str:
    records = {"bos", "sep", "pad"}
    if not isinstance(value, dict) or set(value) - {"separator"} not in (set(), records) or not value:
        return "not the special tokens of a corpus"
    return wrong(value, Every(count))


def _share(value: Any) -> str:
    return "" if isinstance(value, int | float) and 0 <= value <= 1 else "not a share from 0 to 1"


def _hash(value: Any) -> str:
    return "" if isinstance(value, str) and re.fullmatch("[0-9a-f]{16}", value) else "not 16 hex digits"


def _dtype(value: Any) -> str:
    return "" if value in ("uint16", "uint32") else "not a type of tokens"


def _positive(value: Any) -> str:
    return count(value) or ("" if value else "must be above 0")


# What `prepare` found in local files, and what it held out of them.
_TEXT = {
    "files": count, "documents": count, "characters": count, "empty": count, "null": count, "replaced": count,
    "left_out": [{"name": str, "why": str, "bytes": count}],
    "held_out?": {
        "documents": count, "cut": count, "characters": count, "below": _hash, "cut_share": _share, "records": bool,
    },
}  # fmt: skip

# Of a preparation that has begun; all of it is there when it has come to its end.
_FORM = {
    "recipe?": {"corpus": {"source": str}, "tokenizer": dict}, "digest?": sha256, "streamed?": bool,
    "tokenizer?": {"kind": str, "sha256": sha256, "vocab_size": _positive, "special": _special}, "dtype?": _dtype,
    "shard_tokens?": _positive, "splits?": {"train?": _SPLIT, "validation?": _SPLIT},
    "text?": _TEXT, "files?": Every(sha256),
}  # fmt: skip


def corpus_folder(recipe: dict[str, Any], root: Path) -> Path:
    """Where a corpus is prepared below `root`: named by what it is, not by where its files lie."""
    return Path(root) / digest(identity(recipe), 16)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a preparation, complete or not; None where none has begun.

    Raises:
        CorpusError: it cannot be read.
    """
    path = folder / "manifest.json"
    try:
        return check(read_json(path), _FORM, path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, StoreError) as error:
        raise CorpusError(f"{path} is damaged ({error}); delete {folder} to prepare the corpus again") from error


def corpus_files(manifest: Any, place: object) -> dict[str, tuple[int, int]]:
    """By name below a corpus's folder, the bytes that a file of it has at least and at most.

    Args:
        manifest: whole or of a preparation that has begun.
        place: for the message.

    Raises:
        CorpusError: it has not the form of one.
    """
    if message := wrong(manifest, _FORM):
        raise CorpusError(f"{place} is damaged: {message}")
    found = {"tokenizer.json": (0, LARGEST_TOKENIZER)}
    width = np.dtype(manifest.get("dtype", "uint32")).itemsize
    for split, part in manifest.get("splits", {}).items():
        for index, entry in enumerate(part["shards"]):
            found[shard_path(Path(), split, index).as_posix()] = (entry["tokens"] * width,) * 2
            found[shard_path(Path(), split, index, "mask").as_posix()] = (entry["tokens"],) * 2
    return found


def manifest_of(recipe: dict[str, Any], root: Path) -> dict[str, Any] | None:
    """The manifest of a corpus below `root`, complete or not; None where its preparation has not begun.

    Raises:
        CorpusError: it cannot be read.
    """
    return read_manifest(corpus_folder(recipe, Path(root)))


def known_files(recipe: dict[str, Any], root: Path) -> dict[str, str] | None:
    """The SHA-256 of the local files that a preparation below `root` read, by name; None where there is none.

    `file_digests` has those of now, `compare_files` what differs.

    Raises:
        CorpusError: its manifest cannot be read.
    """
    manifest = manifest_of(recipe, root)
    return None if manifest is None else manifest.get("files")


def saved_tokenizer(folder: Path, facts: dict[str, Any]) -> Tokenizer:
    """The tokenizer that a preparation saved in `folder`; `facts` is its entry in the manifest.

    Raises:
        CorpusError: its file is not the one that the manifest names.
    """
    path = folder / "tokenizer.json"
    try:
        content = read_bytes(path, LARGEST_TOKENIZER).decode("utf-8")
        if tokenizer_digest(facts["kind"], content) == facts["sha256"]:
            return load_tokenizer(facts["kind"], content)
        why = "does not have the content that its manifest says"
    except OSError as error:
        why = f"cannot be read ({error.strerror})"
    except ProcrayError:
        raise
    except Exception as error:  # the tokenizers library raises plain Exception
        why = f"cannot be read ({' '.join(str(error).split())[:200]})"
    raise CorpusError(f"tokenizer {path} {why}; delete {folder} to prepare the corpus again")


def load(recipe: dict[str, Any], root: Path) -> Prepared:
    """The corpus that `prepare` left below `root`; reads only the manifest.

    Raises:
        CorpusError: not prepared, or damaged.
    """
    folder = corpus_folder(recipe, Path(root))
    manifest = read_manifest(folder)
    if manifest is None or "digest" not in manifest:
        raise CorpusError(f"corpus {title(recipe)} is not prepared in {root}; run `procray data prepare`")
    return Prepared(folder, manifest, title(recipe))


class Prepared:
    """A corpus as token shards below `folder`. Batches are pure functions of their arguments.

    A block is `context` tokens whose targets are the tokens that follow; blocks do not overlap, so a
    pass predicts every token once. Questions keep their records whole: there a block is a row of as
    many records as fit, padded, scored on the answers.

    Local corpora are permuted as a whole in each epoch. A streamed corpus, of which only a part may be
    there, is read window by window (one shard of tokens each) and permuted within: what a batch holds
    then does not depend on how much has been prepared.

    Attributes:
        digest: of the content that training sees; the store records it.
        vocab_size: rows of the embedding.
        train_tokens, validation_tokens: tokens of each split.
        complete: False where a streamed corpus goes on behind what is prepared.
        manifest: what `prepare` wrote.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any], name: str | None = None):
        self.folder, self.manifest = folder, manifest
        known = [name.removesuffix("?") for name in _FORM if name not in ("text?", "files?")]
        lacking = [name for name in known if name not in manifest]
        lacking += [split for split in ("train", "validation") if split not in manifest.get("splits", {})]
        if lacking or digest(identity(manifest["recipe"]), 16) != folder.name:
            what = f"lacks {', '.join(lacking)}" if lacking else "is of another corpus than its folder's name says"
            raise CorpusError(f"{folder / 'manifest.json'} {what}; delete {folder} to prepare the corpus again")
        self.digest: str = manifest["digest"]
        if content_digest(manifest) != self.digest:
            raise CorpusError(
                f"{folder / 'manifest.json'} does not match its own digest; delete {folder} to prepare the corpus again"
            )
        self.title = name or title(manifest["recipe"])
        self.vocab_size: int = manifest["tokenizer"]["vocab_size"]
        self.complete: bool = manifest["splits"]["train"]["complete"]
        self._splits = {split: ShardReader(folder, split, manifest) for split in ("train", "validation")}
        records = "pad" in manifest["tokenizer"]["special"]
        if any(records != ("mask_sha256" in entry) for reader in self._splits.values() for entry in reader.shards):
            raise CorpusError(
                f"{folder / 'manifest.json'}: loss masks belong to records; delete {folder} to prepare anew"
            )
        self.train_tokens = self._splits["train"].tokens
        self.validation_tokens = self._splits["validation"].tokens
        self._special: dict[str, int] = manifest["tokenizer"]["special"]
        self._rows: dict[tuple[str, int], np.ndarray] = {}
        self._tokenizer: Tokenizer | None = None

    def blocks(self, context: int, split: str = "train") -> int:
        """Blocks of `context` tokens in a split.

        Raises:
            CorpusError: not even one.
        """
        reader = self._splits[split]
        count = len(self._row_bounds(split, context)) if "pad" in self._special else (reader.tokens - 1) // context
        if count < 1:
            cure = "a larger corpus, a larger `holdout:`" if split == "validation" else "a larger corpus"
            raise CorpusError(
                f"corpus {self.title}: its {split} split has {reader.tokens:,} tokens, too few for one block of "
                f"{context:,}; use {cure} or a shorter context"
            )
        return count

    def batch(self, seed: int, index: int, size: int, context: int, role: str = "") -> Batch:
        """Training batch `index` (from 0) of `size` blocks, in the order of `seed` and `role`.

        Returns:
            int64 tokens_BT and targets_BT and bool mask_BT of shape (size, context).

        Raises:
            CorpusError: too few tokens for one block, or a streamed corpus prepared less far than this.
        """
        total = self.blocks(context)
        window = max(1, (self.manifest["shard_tokens"] - 1) // context) if self.manifest["streamed"] else total
        positions = np.arange(index * size, (index + 1) * size, dtype=np.int64)
        if not self.complete and positions[-1] >= total // window * window:
            raise CorpusError(
                f"corpus {self.title} is prepared for {total // window * window * context:,} tokens and more are "
                f"asked for; run `procray data prepare` with a larger number of tokens"
            )
        epochs, places = np.divmod(positions, total)
        windows, insides = np.divmod(places, window)
        blocks_B = np.empty(size, dtype=np.int64)
        for epoch, number in dict.fromkeys(zip(epochs.tolist(), windows.tolist(), strict=True)):
            here = (epochs == epoch) & (windows == number)
            first = number * window
            key = ("train", int(seed), *([role] if role else []), epoch, number)
            blocks_B[here] = first + permuted(key, insides[here], min(window, total - first))
        return self._gather("train", blocks_B, context)

    def validation(self, sequences: int, context: int, size: int, split: str = "validation") -> Iterator[Batch]:
        """The first `sequences` blocks of the held-out split in one fixed shuffled order, `size` at a time.

        Shuffled, because the first documents alone would be a poor sample; a larger set begins with a
        smaller one. Fewer batches where the split is smaller. With `tuning`, the up to `sequences` blocks
        that follow in that order: settings are chosen on text that no reported number is measured on.

        Raises:
            CorpusError: the split is too small for one block, or has none left for `tuning`.
        """
        total = self.blocks(context, "validation")
        first = 0 if split == "validation" else sequences
        if first >= total:
            raise CorpusError(
                f"corpus {self.title}: its validation split has {total:,} blocks of {context:,} tokens, and the "
                f"evaluation takes {sequences:,} of them: none is left to choose settings on; give fewer "
                "`evaluate.sequences` or a larger `holdout:`"
            )
        blocks_B = permuted(("validation",), np.arange(first, min(first + sequences, total)), total)
        return (
            self._gather("validation", blocks_B[start : start + size], context)
            for start in range(0, len(blocks_B), size)
        )

    def exposure(self, blocks_used: int, context: int) -> dict[str, Any]:
        """How often the training split has been read after `blocks_used` blocks.

        Returns:
            `epoch`: passes made, as a fraction; for a streamed corpus 0.0 during the first pass, whose
            length may not be known. `unique_tokens`: distinct positions seen.
        """
        total = self.blocks(context)
        unknown = self.manifest["streamed"] and blocks_used < total
        return {
            "epoch": 0.0 if unknown else blocks_used / total,
            "unique_tokens": min(blocks_used, total) * context,
        }

    def decode(self, tokens: Any) -> str:
        """The text of some tokens; special tokens by name."""
        tokens = np.asarray(tokens).reshape(-1)
        names = {token: _NAMES[name] for name, token in self._special.items()}
        cuts = np.flatnonzero(np.isin(tokens, list(names)))
        pieces, start = [], 0
        for cut in [*cuts.tolist(), len(tokens)]:
            if cut > start:
                pieces.append(self.tokenizer.decode(tokens[start:cut]))
            if cut < len(tokens):
                pieces.append(names[int(tokens[cut])])
            start = cut + 1
        return "".join(pieces)

    def documents(self, tokens: int, split: str = "validation") -> list[str]:
        """The documents in the first `tokens` tokens of a split as text, the last one perhaps cut short.

        Of questions every record is one, with its answer behind a space.
        """
        found = np.asarray(self._splits[split].read(0, tokens))
        ends = np.flatnonzero(np.isin(found, [self._special.get(name, -1) for name in ("separator", "bos", "pad")]))
        answer = self._special.get("sep", -1)
        special = list(self._special.values())
        texts = [
            " ".join(
                self.tokenizer.decode(half[~np.isin(half, special)])
                for half in np.split(part, np.flatnonzero(part == answer))
            )
            for part in np.split(found, ends)
        ]
        return [text for text in texts if text]

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that made the shards.

        Raises:
            CorpusError: its file is not the one that the manifest names.
        """
        if self._tokenizer is None:
            self._tokenizer = saved_tokenizer(self.folder, self.manifest["tokenizer"])
        return self._tokenizer

    def verify(self) -> None:
        """Reads every shard and compares it with its digest.

        Raises:
            CorpusError: a shard that differs, by name.
        """
        for reader in self._splits.values():
            for index, entry in enumerate(reader.shards):
                reader.shard(index)
                if "mask_sha256" in entry:
                    reader.shard(index, "mask")

    def _gather(self, split: str, blocks_B: np.ndarray, context: int) -> Batch:
        reader, size = self._splits[split], len(blocks_B)
        if "pad" not in self._special:
            both = np.empty((size, context + 1), dtype=np.int64)
            for row, block in enumerate(blocks_B.tolist()):
                both[row] = reader.read(block * context, context + 1)
            mask_BT = np.ones((size, context), dtype=bool)
        else:
            both = np.full((size, context + 1), self._special["pad"], dtype=np.int64)
            answers = np.zeros((size, context + 1), dtype=bool)
            for row, (start, stop) in enumerate(self._row_bounds(split, context)[blocks_B].tolist()):
                both[row, : stop - start] = reader.read(start, stop - start)
                answers[row, : stop - start] = reader.read(start, stop - start, "mask")
            mask_BT = answers[:, 1:]
        return Batch(both[:, :-1], both[:, 1:], mask_BT, nominal_tokens=size * context)

    def _row_bounds(self, split: str, context: int) -> np.ndarray:
        """The rows of a split of records, found once: shape (rows, 2)."""
        key = (split, context)
        if key not in self._rows:
            reader, bos = self._splits[split], self._special["bos"]
            starts = [
                np.flatnonzero(reader.shard(index) == bos) + index * reader.shard_tokens
                for index in range(len(reader.shards))
            ]
            self._rows[key] = row_bounds(np.concatenate(starts), reader.tokens, context)
        return self._rows[key]


def summary(prepared: Prepared) -> dict[str, Any]:
    """What `procray data show` prints: sizes, digests and a decoded sample of each split."""
    manifest = prepared.manifest
    first = prepared._splits["train"].shard(0)
    facts: dict[str, Any] = {
        "corpus": prepared.title,
        "folder": str(prepared.folder),
        "digest": prepared.digest,
        "complete": prepared.complete,
        "revisions": manifest.get("revisions", {}),
        "tokenizer": {**manifest["tokenizer"], "recipe": manifest["recipe"]["tokenizer"]},
        "vocab_size": prepared.vocab_size,
        "entries_used": len(np.unique(first)),  # of the vocabulary, in the first training shard
        "unique_tokens": prepared.train_tokens,  # positions that training can see before it repeats one
        "bytes": (prepared.train_tokens + prepared.validation_tokens) * np.dtype(manifest["dtype"]).itemsize,
        "sample": prepared.decode(first[:200]),
    }
    for split, entry in manifest["splits"].items():
        facts[split] = {"tokens": entry["tokens"], "shards": len(entry["shards"]), **entry["counts"]}
    for line in account(manifest):
        what, _, how = line.partition(": ")
        facts[what.replace(" ", "_")] = how
    return facts
