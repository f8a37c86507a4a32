"""Tokenizers: bytes, characters, byte-pair encodings trained on the corpus, and those of the hub.

Every tokenizer has a separator, the token that stands after each document.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from procray.corpora import background
from procray.corpora.network import fetch_file, resolve_revision
from procray.errors import CorpusError, CorpusNotHere, EnvironmentProblem, did_you_mean
from procray.files import parse_json, read_json, sha256_file, write_atomic

SEPARATOR = "<|endoftext|>"
UNKNOWN = "\ufffd"

# Hub names without a namespace that may be written bare; everything else is `namespace/name`, so
# that a misspelt `byte` is found before a run and not after a download.
BARE_HUB_NAMES = ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "distilgpt2", "bert-base-cased", "bert-base-uncased")
# Entries that a tokenizer of this name must have.
KNOWN_ENTRIES = {
    "gpt2": 50257,
    "gpt2-medium": 50257,
    "gpt2-large": 50257,
    "gpt2-xl": 50257,
    "distilgpt2": 50257,
    "openai-community/gpt2": 50257,
    "codeparrot/codeparrot": 32768,
}
_SEPARATORS = (SEPARATOR, "<|end_of_text|>", "</s>", "<eos>", "[SEP]")
_FOLDER_FILES = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json")
_SAY_SECONDS = 1.0
_PROBE = "def f(x): return 1\n"

# Training text of a byte-pair encoding or an alphabet: more changes the merges little and costs minutes.
SAMPLE_CHARACTERS = 32_000_000
# Training takes time that grows with the square of a piece without a space (a blob of base64, minified code, a ruler
# of dashes): seconds at 40,000 characters, days at some millions. Longer ones are cut before training sees them.
LONGEST_PIECE = 1000
LARGEST_TOKENIZER = 48 << 20  # bytes of a file
# A longer text is cut at a line end before encoding: the pieces use every core and bounded memory.
_PIECE_CHARACTERS = 500_000
_LINE_END = re.compile(r"(?<=\S\n)(?=\S)")


@dataclass(frozen=True)
class Tokenizer:
    """`encode` maps texts to their tokens, concatenated, and the number of tokens of each."""

    kind: str
    vocab_size: int
    separator: int
    sha256: str
    encode: Callable[[list[str]], tuple[np.ndarray, np.ndarray]]
    decode: Callable[[np.ndarray], str]
    content: str  # what `save_tokenizer` writes


def tokenizer_recipe(given: str | dict[str, Any], base: Path | None = None) -> dict[str, Any]:
    """The canonical recipe of a tokenizer; reads a local folder, never the network. Relative paths start from `base`.

    Accepts `byte`, `char`, `{char: ascii}`, `{bpe: N}` (or `bpe:N`), a hub name, `{hub: name, revision:, entries:}`,
    a folder as a path or `{folder: path, entries:}`.

    Raises:
        CorpusError: none of these, with the nearest one.
    """
    base = Path(base or Path.cwd()).absolute()
    if isinstance(given, str):
        return _from_text(given.strip(), base)
    if not isinstance(given, dict):
        raise CorpusError(f"tokenizer: expected a name or a mapping, got {given!r}")
    forms: dict[str, set[str]] = {"bpe": set(), "char": set(), "hub": {"revision", "entries"}, "folder": {"entries"}}
    form = next((name for name in forms if name in given), None)
    if form is None:
        hint = did_you_mean(str(next(iter(given), "")), forms) or "."
        raise CorpusError(f"tokenizer: unknown form {given!r}{hint} Tokenizers: {_FORMS}")
    for key in given:
        if key != form and key not in forms[form]:
            raise CorpusError(f"tokenizer: unknown key '{key}' beside '{form}'{did_you_mean(str(key), forms[form])}")
    value, entries = given[form], given.get("entries")
    if entries is not None and (isinstance(entries, bool) or not isinstance(entries, int) or entries < 1):
        raise CorpusError(f"tokenizer: 'entries' must be a positive whole number, got {entries!r}")
    if form == "bpe":
        if isinstance(value, bool) or not isinstance(value, int) or not 257 <= value <= 1_000_000:
            raise CorpusError(f"tokenizer: bpe needs at least 257 entries (256 bytes and a separator), got {value!r}")
        return bpe_recipe(value)
    if form == "char":
        if value not in ("ascii", "corpus"):
            raise CorpusError(f"tokenizer: char is 'corpus' or 'ascii', got {value!r}")
        return {"kind": "char", "alphabet": value}
    if not isinstance(value, str) or not value:
        raise CorpusError(f"tokenizer: {form} needs a name, got {value!r}")
    if form == "folder":
        return _folder_recipe(value, entries, base)
    return hub_recipe(value, str(given.get("revision", "main")), entries)


_FORMS = "byte, char, {char: ascii}, {bpe: N}, a hub name such as gpt2 or namespace/name, {hub: name}, {folder: path}"


def _from_text(name: str, base: Path) -> dict[str, Any]:
    if name == "byte":
        return {"kind": "byte"}
    if name == "char":
        return {"kind": "char", "alphabet": "corpus"}
    if match := re.fullmatch(r"bpe[:\- ]?(\d+)", name):
        return tokenizer_recipe({"bpe": int(match[1])})
    if name in BARE_HUB_NAMES:
        return hub_recipe(name)
    if os.path.isdir(base / os.path.expanduser(name)) or name.startswith((".", "~", "/")):
        return _folder_recipe(name, None, base)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        return hub_recipe(name)
    hint = did_you_mean(name, ("byte", "char", "bpe", *BARE_HUB_NAMES)) or "."
    raise CorpusError(f"unknown tokenizer '{name}'{hint} Tokenizers: {_FORMS}")


def bpe_recipe(entries: int) -> dict[str, Any]:
    """The recipe of a byte-pair encoding trained on the corpus."""
    return {"kind": "bpe", "entries": entries, "longest_piece": LONGEST_PIECE}


def hub_recipe(name: str, revision: str = "main", entries: int | None = None) -> dict[str, Any]:
    """The recipe of a hub tokenizer; `entries` is checked once it is there."""
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or ".." in name:
        raise CorpusError(f"tokenizer: '{name}' is not a hub name; expected namespace/name")
    return {"kind": "hub", "name": name, "revision": revision, "entries": entries or KNOWN_ENTRIES.get(name)}


def _folder_recipe(path: str, entries: int | None, base: Path) -> dict[str, Any]:
    folder = base / os.path.expanduser(path)
    files = {name: folder / name for name in _FOLDER_FILES if os.path.isfile(folder / name)}
    if "tokenizer.json" not in files and not {"vocab.json", "merges.txt"} <= set(files):
        there = os.path.isdir(folder)
        have = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) if there else f"no folder {folder}"
        here = Path.cwd()
        if not there and base != here and os.path.isdir(here / path):
            have += f"; there is one below the working directory {here}: write '{os.path.relpath(here / path, base)}'"
        kind = CorpusError if there else CorpusNotHere
        raise kind(f"tokenizer: '{path}' needs tokenizer.json, or vocab.json and merges.txt (found: {have})")
    expected = entries or KNOWN_ENTRIES.get(folder.resolve().name)
    shas = {name: _sha256(str(file), file.stat().st_size, file.stat().st_mtime_ns) for name, file in files.items()}
    size = _entries_of(folder, json.dumps(shas, sort_keys=True))
    if expected and size != expected:
        raise CorpusError(f"tokenizer: '{path}' has {size:,} entries, expected {expected:,}: its files are damaged")
    stated = expected is not None
    return {"kind": "folder", "path": path, "base": str(base), "files": shas, "entries": size, "stated": stated}


@lru_cache(maxsize=64)
def _sha256(path: str, size: int, modified: int) -> str:
    return sha256_file(path)


@lru_cache(maxsize=8)
def _entries_of(folder: Path, shas: str) -> int:
    """Entries that a folder's files name, read without the tokenizers library. `shas` only keys the cache."""
    source = folder / "tokenizer.json"
    try:
        if not os.path.isfile(source):
            return len(read_json(folder / "vocab.json", LARGEST_TOKENIZER))
        content = read_json(source, LARGEST_TOKENIZER)
        vocab = content["model"]["vocab"]
        names = set(vocab) if isinstance(vocab, dict) else {entry[0] for entry in vocab}
        return len(names | {token["content"] for token in content.get("added_tokens", [])})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorpusError(f"tokenizer: the files in '{folder}' are damaged: {error}") from error


def vocab_estimate(recipe: dict[str, Any]) -> int:
    """Rows of the embedding, as far as the recipe tells (a corpus' alphabet and an unknown hub name are guesses)."""
    kind = recipe["kind"]
    if kind == "byte":
        return 257
    if kind == "char":
        return 97 if recipe["alphabet"] == "ascii" else 256
    return recipe["entries"] or 50257


def build_tokenizer(
    recipe: dict[str, Any], texts: Callable[[], Iterable[str]], say: Callable[[str], None] = lambda line: None
) -> Tokenizer:
    """The tokenizer of a recipe; `texts` gives the training split's documents where it learns from them.

    `say` is called with one line about once a second.

    Raises:
        CorpusError: damaged or unexpected files; a corpus without text.
        EnvironmentProblem: a hub tokenizer that is not on this machine, and no network.
    """
    kind = recipe["kind"]
    if kind == "byte":
        return load_tokenizer("byte", "")
    if kind == "char":
        if recipe["alphabet"] == "ascii":
            return load_tokenizer("char", json.dumps([chr(code) for code in range(32, 127)]))
        characters: set[str] = set()
        for text in _sample(texts(), say):
            characters.update(text)
        if not characters:
            raise CorpusError("tokenizer: the corpus has no text to take an alphabet from")
        return load_tokenizer("char", json.dumps(sorted(characters)))
    if kind == "bpe":
        return load_tokenizer("bpe", _train_bpe(recipe, texts, say))
    if kind == "folder":
        base = Path(recipe.get("base") or Path.cwd())
        folder = base / os.path.expanduser(recipe["path"])
        if _folder_recipe(recipe["path"], None, base)["files"] != recipe["files"]:
            raise CorpusError(f"tokenizer: the files in '{recipe['path']}' have changed since the sweep was planned")
        return _from_folder(folder, f"tokenizer '{recipe['path']}'", recipe["entries"] if recipe["stated"] else None)
    where = f"tokenizer '{recipe['name']}'"
    return _from_folder(_hub_folder(recipe["name"], recipe["revision"], where), where, recipe["entries"])


def _sample(texts: Iterable[str], say: Callable[[str], None]) -> Iterator[str]:
    left, said = SAMPLE_CHARACTERS, time.monotonic()
    for text in texts:
        yield text[:left]
        left -= len(text)
        if left <= 0:
            return
        if time.monotonic() - said > _SAY_SECONDS:
            said = time.monotonic()
            say(f"reading for the tokenizer, {(SAMPLE_CHARACTERS - left) / 1e6:.1f}M characters")


def _bounded(text: str, longest: int) -> list[str]:
    """The text, cut inside runs without a space, and runs of spaces, of more than `longest` characters."""
    cuts = [
        at
        for run in re.finditer(rf"\S{{{longest + 1},}}|\s{{{longest + 1},}}", text)
        for at in range(run.start() + longest, run.end(), longest)
    ]
    return [text[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def _train_bpe(
    recipe: dict[str, Any], texts: Callable[[], Iterable[str]], say: Callable[[str], None] = lambda line: None
) -> str:
    """A byte-level byte-pair encoding. Counts are summed and ties broken by id: any number of threads gives it."""
    from tokenizers import Tokenizer as Library
    from tokenizers import decoders, models, pre_tokenizers, trainers

    entries, longest = recipe["entries"], recipe.get("longest_piece", LONGEST_PIECE)
    library = Library(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=entries, special_tokens=[SEPARATOR], initial_alphabet=alphabet, show_progress=False
    )
    sample = [piece for text in _sample(texts(), say) for piece in _bounded(text, longest)]
    began = said = time.monotonic()

    def tick() -> None:
        nonlocal said
        if time.monotonic() - said > _SAY_SECONDS:
            said = time.monotonic()
            say(f"training a byte-pair encoding of {entries:,} entries, {said - began:.0f} s")

    background.wait(background.start(lambda: library.train_from_iterator(sample, trainer)), tick)
    return library.to_str()


def _hub_folder(name: str, revision: str, where: str) -> Path:
    """The folder of the hub's cache that holds the tokenizer's files, downloaded where they are missing."""
    wanted = ("tokenizer.json", "tokenizer_config.json")
    cached = fetch_file(name, "tokenizer.json", revision, local=True)
    if cached is not None:
        return cached.parent
    commit = resolve_revision("model", name, revision, where)
    found = [fetch_file(name, file, commit, local=False) for file in wanted]
    if found[0] is None:
        found = [fetch_file(name, file, commit, local=False) for file in ("vocab.json", "merges.txt")]
        if None in found:
            raise CorpusError(f"{where} has no tokenizer.json, nor vocab.json and merges.txt, on the hub")
    assert found[0] is not None
    return found[0].parent


def _from_folder(folder: Path, where: str, expected: int | None) -> Tokenizer:
    """Reads tokenizer.json, or GPT-2's vocab.json and merges.txt, and checks what came out.

    transformers 5 gives an empty tokenizer for some file names that it does not know, and encodes
    everything to nothing; hence the tokenizers library, and the checks.
    """
    from tokenizers import AddedToken, decoders, models, pre_tokenizers
    from tokenizers import Tokenizer as Library

    try:
        if (folder / "tokenizer.json").is_file():
            library = Library.from_file(str(folder / "tokenizer.json"))
        else:
            library = Library(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
            library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
            library.decoder = decoders.ByteLevel()
            if library.token_to_id(SEPARATOR) is not None:
                library.add_special_tokens([AddedToken(SEPARATOR, special=True, normalized=False)])
    except Exception as error:  # the library raises plain Exception
        raise CorpusError(f"{where}: its files are damaged: {_first_line(error)}") from error
    ids = set(library.get_vocab(with_added_tokens=True).values())
    if expected and len(ids) != expected:
        raise CorpusError(f"{where} has {len(ids):,} entries, expected {expected:,}: its files are damaged")
    if not library.encode(_PROBE, add_special_tokens=False).ids:
        raise CorpusError(f"{where} encodes text to nothing: its files are damaged")
    if expected is None and len(ids) != max(ids) + 1:
        missing = max(ids) + 1 - len(ids)
        raise CorpusError(f"{where} lacks {missing:,} of its ids; if that is meant, say `entries: {len(ids)}`")
    if _separator_of(library, folder) is None:
        library.add_special_tokens([AddedToken(SEPARATOR, special=True, normalized=False)])
    separator = _separator_of(library, folder)
    return load_tokenizer("library", json.dumps({"separator": separator, "library": library.to_str()}))


def _separator_of(library: Any, folder: Path) -> str | None:
    """The token that ends a document: the one the folder names, or a usual one that the vocabulary has."""
    named: Any = None
    config = folder / "tokenizer_config.json"
    if config.is_file():
        named = read_json(config)
        named = named.get("eos_token") if isinstance(named, dict) else None
        named = named.get("content") if isinstance(named, dict) else named
    candidates = ([named] if named else []) + list(_SEPARATORS)
    return next((token for token in candidates if library.token_to_id(token) is not None), None)


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Writes what `load_tokenizer` needs (for bytes, an empty file)."""
    write_atomic(folder / "tokenizer.json", tokenizer.content)


def load_tokenizer(kind: str, content: str) -> Tokenizer:
    """The tokenizer that `save_tokenizer` wrote. `kind` is "byte", "char", "bpe" or "library"."""
    sha = tokenizer_digest(kind, content)
    if kind == "byte":
        return Tokenizer(kind, 257, 256, sha, _encode_bytes, _decode_bytes, content)
    if kind == "char":
        alphabet: list[str] = parse_json(content)
        encode, decode = _character_codec(alphabet)
        return Tokenizer(kind, len(alphabet) + 2, len(alphabet) + 1, sha, encode, decode, content)
    if kind == "library":
        saved = parse_json(content)
        return _library_tokenizer(kind, sha, saved["library"], saved["separator"], content)
    return _library_tokenizer(kind, sha, content, SEPARATOR, content)


def tokenizer_digest(kind: str, content: str) -> str:
    """The SHA-256 of what `save_tokenizer` writes."""
    return hashlib.sha256(f"{kind}\n{content}".encode()).hexdigest()


def _library_tokenizer(kind: str, sha: str, library_text: str, separator: str, content: str) -> Tokenizer:
    try:
        from tokenizers import Tokenizer as Library
    except ImportError as error:
        raise EnvironmentProblem("this tokenizer needs the package 'tokenizers': pip install tokenizers") from error
    library = Library.from_str(library_text)
    library.no_padding()
    library.no_truncation()
    # A document that spells a special token is still only text.
    library.encode_special_tokens = True
    vocabulary = library.get_vocab(with_added_tokens=True)

    def encode(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        pieces = [_pieces(text) for text in texts]
        encoded = library.encode_batch_fast([piece for group in pieces for piece in group], add_special_tokens=False)
        parts = [np.array(one.ids, dtype=np.uint32) for one in encoded]
        bounds = np.cumsum([0, *(len(group) for group in pieces)])
        sizes = np.cumsum([0, *(len(part) for part in parts)])
        return np.concatenate([np.empty(0, np.uint32), *parts]), np.diff(sizes[bounds])

    def decode(tokens: np.ndarray) -> str:
        return library.decode([int(token) for token in tokens], skip_special_tokens=False)

    return Tokenizer(kind, max(vocabulary.values()) + 1, vocabulary[separator], sha, encode, decode, content)


def _pieces(text: str) -> list[str]:
    """The text, cut after line ends where it is long. A line end between two letters is one token on both sides."""
    pieces = []
    start = 0
    while len(text) - start > _PIECE_CHARACTERS:
        cut = _LINE_END.search(text, start + _PIECE_CHARACTERS)
        if cut is None:
            break
        pieces.append(text[start : cut.start()])
        start = cut.start()
    return [*pieces, text[start:]]


def _encode_bytes(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    encoded = [text.encode("utf-8", "replace") for text in texts]
    lengths = np.array([len(part) for part in encoded], dtype=np.int64)
    return np.frombuffer(b"".join(encoded), dtype=np.uint8).astype(np.uint32), lengths


def _decode_bytes(tokens: np.ndarray) -> str:
    return np.asarray(tokens).astype(np.uint8).tobytes().decode("utf-8", "replace")


def _character_codec(alphabet: list[str]) -> tuple[Callable[..., Any], Callable[..., str]]:
    codes = np.array([ord(character) for character in alphabet], dtype=np.uint32)
    unknown = len(alphabet)
    table = np.full(int(codes.max()) + 2, unknown, dtype=np.uint32)  # the last entry catches all above
    table[codes] = np.arange(unknown, dtype=np.uint32)

    def encode(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        points = np.frombuffer("".join(texts).encode("utf-32-le", "replace"), dtype="<u4")
        return table[np.minimum(points, len(table) - 1)], np.array([len(text) for text in texts], dtype=np.int64)

    def decode(tokens: np.ndarray) -> str:
        return "".join(alphabet[token] if token < unknown else UNKNOWN for token in np.asarray(tokens).tolist())

    return encode, decode


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
