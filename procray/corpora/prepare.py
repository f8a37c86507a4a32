"""Preparation: text is tokenised once, into shards.

It may be killed at any moment and started again, also by two processes at once. The manifest names
only shards that are complete; after each it holds the cursor from which the next one begins.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from procray.corpora import background, documents, formats, hub, local, mathematics, shards
from procray.corpora.account import left_out
from procray.corpora.documents import Documents
from procray.corpora.lock import alone
from procray.corpora.prepared import Prepared, corpus_folder, load, read_manifest, saved_tokenizer
from procray.corpora.questions import encode_records, records_of, special_tokens
from procray.corpora.recipe import check_unchanged, file_digests, identity, is_local, local_files, title
from procray.corpora.split import Share, share_of, survey
from procray.corpora.tokenizer import Tokenizer, build_tokenizer, save_tokenizer
from procray.errors import CorpusError, EnvironmentProblem
from procray.files import write_json

Say = Callable[[str], None]
_SAY_SECONDS = 1.0
_AHEAD = 2  # batches that are encoded while one is packed


def prepare(recipe: dict[str, Any], root: Path, min_tokens: int, progress: Say | None = None) -> Prepared:
    """The prepared corpus of `recipe` below `root`, preparing what is missing.

    Local corpora are always prepared whole. A hub corpus is streamed until it can serve `min_tokens`
    training tokens without repeating one, or until it ends; a later call extends it.

    Args:
        recipe: from `procray.corpora.recipe`.
        root: the folder of all prepared corpora.
        min_tokens: training tokens that the phases will consume.
        progress: called with one line about once a second.

    Raises:
        CorpusError: nothing usable in the corpus, changed or damaged files.
        EnvironmentProblem: a network or an optional package that is missing; no room on the disk.
    """
    say = progress or (lambda line: None)
    folder = corpus_folder(recipe, Path(root))
    if _satisfied(read_manifest(folder), min_tokens):
        return load(recipe, root)
    try:
        with alone(folder, lambda: say(f"{title(recipe)}: another process is preparing it; waiting")):
            manifest = read_manifest(folder)
            if not _satisfied(manifest, min_tokens):
                _prepare(recipe, folder, manifest, min_tokens, say)
    except OSError as error:
        raise EnvironmentProblem(f"cannot prepare {title(recipe)} in {folder}: {error.strerror or error}") from error
    return load(recipe, root)


def _satisfied(manifest: dict[str, Any] | None, min_tokens: int) -> bool:
    if manifest is None or "digest" not in manifest:
        return False
    train = manifest["splits"]["train"]
    return train["complete"] or len(train["shards"]) >= _shards_for(min_tokens, manifest["shard_tokens"])


def _shards_for(min_tokens: int, shard_tokens: int) -> int:
    """Shards whose whole windows of blocks hold `min_tokens`, for contexts up to a sixteenth of a shard."""
    return max(1, -(-min_tokens * 16 // (shard_tokens * 15)))


def _prepare(recipe: dict[str, Any], folder: Path, manifest: dict[str, Any] | None, min_tokens: int, say: Say) -> None:
    corpus, name = recipe["corpus"], title(recipe)
    manifest = manifest or {
        "format": 1,
        "recipe": identity(recipe),  # the first of many places would say little
        "streamed": corpus["source"] == "hf",
        "shard_tokens": shards.SHARD_TOKENS,
        "splits": {},
    }
    read = _reader(corpus, folder, manifest, lambda line: say(f"{name}: {line}"))
    tokenizer = _tokenizer(recipe, folder, manifest, read, say)
    encode: Encode
    if corpus["source"] == "deepmind-math":
        encode = lambda texts: encode_records(tokenizer, texts)  # noqa: E731
    else:
        encode = lambda texts: (_separated(tokenizer, texts), None)  # noqa: E731
    wanted = _shards_for(min_tokens, manifest["shard_tokens"]) if manifest["streamed"] else None
    for split, enough in (("validation", None), ("train", wanted)):
        _pack(folder, manifest, split, read, encode, enough, lambda line: say(f"{name}: {line}"))
        if manifest["splits"][split]["tokens"] < 2:
            raise CorpusError(_nothing(manifest, name, split))
    if is_local(recipe):
        manifest["files"] = file_digests(recipe)
    manifest["digest"] = shards.content_digest(manifest)
    write_json(folder / "manifest.json", manifest)


def _nothing(manifest: dict[str, Any], name: str, split: str) -> str:
    other = ", a larger `holdout:` or `validation:` of its own" if split == "validation" else ""
    lost = left_out(manifest)
    return f"corpus {name}: nothing for its {split} split; it needs more documents{other}" + (
        f"; {lost}" if lost else ""
    )


Read = Callable[[str, Any], Iterator[Documents]]
Encode = Callable[[list[str]], tuple[np.ndarray, np.ndarray | None]]


def _reader(corpus: dict[str, Any], folder: Path, manifest: dict[str, Any], say: Say) -> Read:
    """A function that gives the documents of a split from a position on."""
    if corpus["source"] == "hf":
        commits = hub.revisions(corpus, manifest.get("revisions", {}))
        manifest["revisions"] = commits
        return lambda split, position: hub.read(corpus, commits, split, position)
    records = corpus["source"] == "deepmind-math"
    field = corpus.get("field")
    read: documents.Reader = records_of if records else lambda file: formats.documents_of(file, field)
    share: Share | None = None
    kept: list[local.LocalFile] | None
    if records and corpus["files"] is None:
        made = {
            split: mathematics.generate(folder / "generated", split, corpus[key], say)
            for split, key in (("train", "records"), ("validation", "validation_records"))
        }
        files, kept = _generated(made["train"]), _generated(made["validation"])
    else:
        check_unchanged(corpus)
        files, kept = local_files(corpus)
        if "text" not in manifest or (kept is None and "held_out" not in manifest["text"]):
            found = survey([*files, *(kept or [])], field, read, records, say)
            manifest["text"] = found.to_json()
            if not found.documents:
                raise CorpusError(f"corpus {title({'corpus': corpus})}: no text in its files; {left_out(manifest)}")
            if kept is None:
                chosen, holds = share_of(found, corpus["holdout"], records)
                manifest["text"]["held_out"] = {**holds, **chosen.to_json()}
        if kept is None:
            share = Share.from_json(manifest["text"]["held_out"])
    return lambda split, position: documents.batches(
        documents.read_documents(files, kept, read, share, split), position
    )


def _generated(paths: list[Path]) -> list[local.LocalFile]:
    return [local.LocalFile(path.name, path) for path in paths]


def _tokenizer(recipe: dict[str, Any], folder: Path, manifest: dict[str, Any], read: Read, say: Say) -> Tokenizer:
    """The tokenizer of an earlier attempt, or a new one, saved and named in the manifest."""
    facts = manifest.get("tokenizer")
    if facts is not None:
        return saved_tokenizer(folder, facts)
    name = title(recipe)
    if recipe["tokenizer"]["kind"] == "bpe":
        say(f"{name}: training a byte-pair encoding of {recipe['tokenizer']['entries']:,} entries")

    def texts() -> Iterable[str]:
        return (text for batch in read("train", None) for text in batch.texts)

    tokenizer = build_tokenizer(recipe["tokenizer"], texts, lambda line: say(f"{name}: {line}"))
    save_tokenizer(tokenizer, folder)
    special = {"separator": tokenizer.separator}
    if recipe["corpus"]["source"] == "deepmind-math":
        special = special_tokens(tokenizer)
    rows = max(tokenizer.vocab_size, *(token + 1 for token in special.values()))
    manifest["tokenizer"] = {
        "kind": tokenizer.kind,
        "sha256": tokenizer.sha256,
        "entries": tokenizer.vocab_size,
        "vocab_size": rows,
        "special": special,
    }
    manifest["dtype"] = shards.dtype_for(rows)
    write_json(folder / "manifest.json", manifest)
    return tokenizer


def _separated(tokenizer: Tokenizer, texts: list[str]) -> np.ndarray:
    """The texts' tokens with the separator after each."""
    tokens, lengths = tokenizer.encode(texts)
    return np.insert(tokens, np.cumsum(lengths), tokenizer.separator)


def _pack(
    folder: Path,
    manifest: dict[str, Any],
    split: str,
    read: Read,
    encode: Encode,
    enough: int | None,
    say: Say,
) -> None:
    """Writes the shards of one split, from its cursor to its end or until there are `enough`.

    The cursor is the position of a batch of documents, the number of its tokens that the shards
    already hold, and the counts before it: the batch is encoded again and that many tokens dropped.
    """
    entry = manifest["splits"].setdefault(
        split, {"tokens": 0, "shards": [], "complete": False, "counts": {"documents": 0}, "cursor": None}
    )
    size = manifest["shard_tokens"]
    if entry["complete"] or (enough is not None and len(entry["shards"]) >= enough):
        return
    cursor = entry["cursor"] or {"position": None, "skip": 0, "counts": {"documents": 0}}
    skip, counts = cursor["skip"], dict(cursor["counts"])
    held: list[tuple[np.ndarray, np.ndarray | None]] = []
    waiting = 0

    def write(tokens: np.ndarray, mask: np.ndarray | None) -> None:
        entry["shards"].append(shards.write_shard(folder, split, len(entry["shards"]), tokens, mask, manifest["dtype"]))
        entry["tokens"] += len(tokens)

    said = time.monotonic()

    def tell() -> None:
        nonlocal said
        if time.monotonic() - said > _SAY_SECONDS:
            said = time.monotonic()
            say(f"{split} {(entry['tokens'] + waiting) / 1e6:.1f}M tokens, {counts['documents']:,} documents")

    for batch, found in _encoded(read(split, cursor["position"]), encode, tell):
        before = dict(counts)
        counts["documents"] += len(batch.texts)
        for name, count in batch.counts.items():
            counts[name] = counts.get(name, 0) + count
        if found is None:
            continue
        tokens, mask = found
        used, skip = skip, 0
        held.append((tokens[used:], None if mask is None else mask[used:]))
        waiting += len(tokens) - used
        while waiting >= size:
            whole, flags = _joined(held)
            write(whole[:size], None if flags is None else flags[:size])
            held = [(whole[size:], None if flags is None else flags[size:])]
            waiting -= size
            entry["counts"] = dict(counts)
            entry["cursor"] = {"position": batch.position, "skip": len(tokens) - waiting, "counts": before}
            write_json(folder / "manifest.json", manifest)
            if enough is not None and len(entry["shards"]) >= enough:
                return
        tell()
    if waiting:
        write(*_joined(held))
    entry.update(complete=True, counts=counts, cursor=None)
    write_json(folder / "manifest.json", manifest)


def _encoded(
    batches: Iterator[Documents], encode: Encode, tick: Callable[[], None]
) -> Iterator[tuple[Documents, tuple[np.ndarray, np.ndarray | None] | None]]:
    """Each batch with its tokens and mask, None where it has no text.

    Two more are encoded while one is packed and written: what of that runs on one core, another batch fills the
    others. What ends the reading early is raised once all before it has been given.
    """
    ahead: deque[tuple[Documents, Future[tuple[np.ndarray, np.ndarray | None]] | None]] = deque()
    trouble: Exception | None = None
    while True:
        try:
            batch = next(batches, None)
        except Exception as error:
            trouble, batch = error, None
        if batch is None:
            break
        ahead.append((batch, background.start(partial(encode, batch.texts)) if batch.texts else None))
        if len(ahead) > _AHEAD:
            first, tokens = ahead.popleft()
            yield first, None if tokens is None else background.wait(tokens, tick)
    for first, tokens in ahead:
        yield first, None if tokens is None else background.wait(tokens, tick)
    if trouble is not None:
        raise trouble


def _joined(parts: list[tuple[np.ndarray, np.ndarray | None]]) -> tuple[np.ndarray, np.ndarray | None]:
    tokens = np.concatenate([tokens for tokens, _ in parts])
    masks = [mask for _, mask in parts if mask is not None]
    return tokens, np.concatenate(masks) if masks else None
