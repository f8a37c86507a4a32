"""Tokenizers: round trips, separators, and tokenizers that must not fail silently."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from procray.corpora import identity
from procray.corpora import tokenizer as module
from procray.corpora.tokenizer import SEPARATOR, build_tokenizer, load_tokenizer, tokenizer_recipe
from procray.errors import CorpusError, EnvironmentProblem

TEXTS = ["def f(x):\n    return x\n\n\n", "Ünïcode — 漢字 🎉 tabs\tand  spaces ", f"spelt out {SEPARATOR} in text", "a"]


def no_text():
    raise AssertionError("this tokenizer does not learn from text")


def gpt2_like(folder, merges=("h e", "l l", "he ll", "hell o"), separator=SEPARATOR):
    """GPT-2's files with a handful of merges: 256 bytes, the merges, a separator."""
    from tokenizers import pre_tokenizers

    entries = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(merge.replace(" ", "") for merge in merges)]
    if separator:
        entries.append(separator)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({entry: number for number, entry in enumerate(entries)}))
    (folder / "merges.txt").write_text("".join(f"{line}\n" for line in ("#version: 0.2", *merges)))
    return folder


@pytest.fixture(scope="module")
def every_tokenizer(tmp_path_factory):
    folder = gpt2_like(tmp_path_factory.mktemp("t") / "small")
    given = {"byte": "byte", "char": "char", "bpe": {"bpe": 300}, "folder": str(folder)}
    return {name: build_tokenizer(tokenizer_recipe(one), lambda: TEXTS * 3) for name, one in given.items()}


@pytest.mark.parametrize("name", ["byte", "char", "bpe", "folder"])
def test_round_trip(every_tokenizer, name):
    tokenizer = every_tokenizer[name]
    tokens, lengths = tokenizer.encode(TEXTS)
    assert lengths.sum() == len(tokens)
    assert tokens.max() < tokenizer.vocab_size
    assert 0 <= tokenizer.separator < tokenizer.vocab_size
    bounds = np.cumsum([0, *lengths])
    for number, text in enumerate(TEXTS):
        assert tokenizer.decode(tokens[bounds[number] : bounds[number + 1]]) == text


@pytest.mark.parametrize("name", ["byte", "char", "bpe", "folder"])
def test_text_never_gives_the_separator(every_tokenizer, name):
    """A document that spells the separator must not end there."""
    tokens, _ = every_tokenizer[name].encode(TEXTS)
    assert every_tokenizer[name].separator not in tokens


@pytest.mark.parametrize("name", ["byte", "char", "bpe", "folder"])
def test_saved_and_loaded_is_the_same(every_tokenizer, name):
    tokenizer = every_tokenizer[name]
    again = load_tokenizer(tokenizer.kind, tokenizer.content)
    assert (again.vocab_size, again.separator, again.sha256) == (
        tokenizer.vocab_size,
        tokenizer.separator,
        tokenizer.sha256,
    )
    assert (again.encode(TEXTS)[0] == tokenizer.encode(TEXTS)[0]).all()


@pytest.mark.parametrize("name", ["byte", "char", "bpe", "folder"])
def test_no_text_and_empty_texts(every_tokenizer, name):
    assert len(every_tokenizer[name].encode([])[0]) == 0
    tokens, lengths = every_tokenizer[name].encode(["", "a", ""])
    assert lengths.tolist() == [0, len(tokens), 0]


def test_sizes(every_tokenizer):
    assert every_tokenizer["byte"].vocab_size == 257
    assert every_tokenizer["char"].vocab_size == len(set("".join(TEXTS))) + 2
    assert every_tokenizer["bpe"].vocab_size == 300
    assert every_tokenizer["folder"].vocab_size == 261


def test_ascii_is_the_papers_alphabet():
    tokenizer = build_tokenizer(tokenizer_recipe({"char": "ascii"}), no_text)
    assert tokenizer.vocab_size == 97  # 95 and UNK, BOS; questions add SEP and PAD: 99
    tokens, _ = tokenizer.encode([" ~é\n😀"])
    assert tokens.tolist() == [0, 94, 95, 95, 95]
    assert tokenizer.decode(tokens) == " ~���"


def test_trained_encoding_is_the_same_for_any_number_of_threads():
    program = (
        "import atexit, sys, time\n"
        "slept, time.sleep = [], lambda seconds: slept.append(seconds)\n"
        "atexit.register(lambda: print(sum(slept), file=sys.stderr))\n"
        "from procray.corpora.tokenizer import build_tokenizer, tokenizer_recipe\n"
        "from procray.corpora.local import stdlib_folder\n"
        "text = (stdlib_folder() / 'argparse.py').read_text()\n"
        "print(build_tokenizer(tokenizer_recipe({'bpe': 400}), lambda: [text]).sha256)"
    )
    digests = set()
    for threads in ("1", "2", "5"):
        environment = {**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": threads}
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        digests.add(done.stdout)
    assert len(digests) == 1


def test_long_texts_give_the_tokens_of_the_whole(every_tokenizer, monkeypatch):
    """Pieces are an affair of speed; where they are cut the tokens do not change."""
    kinds = ("line {} of\n\n    text  \n", "\nhello{}", "x = {}\ny\n")
    text = "".join(kinds[n % 3].format(n) for n in range(600))
    whole, lengths = every_tokenizer["bpe"].encode([text, "other"])
    monkeypatch.setattr(module, "_PIECE_CHARACTERS", 100)
    assert len(module._pieces(text)) > 20
    cut, cut_lengths = every_tokenizer["bpe"].encode([text, "other"])
    assert (cut == whole).all()
    assert (cut_lengths == lengths).all()


def test_tokenizer_json_is_read_as_vocab_and_merges(tmp_path):
    folder = gpt2_like(tmp_path / "plain")
    other = tmp_path / "json"
    other.mkdir()
    tokenizer = build_tokenizer(tokenizer_recipe(str(folder)), no_text)
    (other / "tokenizer.json").write_text(json.loads(tokenizer.content)["library"])
    again = build_tokenizer(tokenizer_recipe({"folder": str(other), "entries": 261}), no_text)
    assert again.sha256 == tokenizer.sha256


def test_separator_is_named_by_the_folder_or_added(tmp_path):
    named = gpt2_like(tmp_path / "named", separator="</doc>")
    (named / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "</doc>"}}))
    assert build_tokenizer(tokenizer_recipe(str(named)), no_text).separator == 260
    without = build_tokenizer(tokenizer_recipe(str(gpt2_like(tmp_path / "without", separator=""))), no_text)
    assert (without.separator, without.vocab_size) == (260, 261)


class TestDamagedFolders:
    """transformers would give some of these an empty tokenizer that encodes everything to nothing."""

    def test_gpt2_with_missing_entries(self, tmp_path):
        with pytest.raises(CorpusError, match=r"has 261 entries, expected 50,257.*damaged"):
            tokenizer_recipe(str(gpt2_like(tmp_path / "gpt2")))

    def test_stated_entries(self, tmp_path):
        with pytest.raises(CorpusError, match="has 261 entries, expected 262"):
            tokenizer_recipe({"folder": str(gpt2_like(tmp_path / "x")), "entries": 262})

    def test_cut_off_file(self, tmp_path):
        folder = gpt2_like(tmp_path / "x")
        vocab = (folder / "vocab.json").read_text()
        (folder / "vocab.json").write_text(vocab[: len(vocab) // 2])
        with pytest.raises(CorpusError, match="damaged"):
            tokenizer_recipe(str(folder))

    def test_merge_of_an_entry_that_is_gone(self, tmp_path):
        folder = gpt2_like(tmp_path / "x")
        vocab = json.loads((folder / "vocab.json").read_text())
        del vocab["hell"]
        (folder / "vocab.json").write_text(json.dumps(vocab))
        with pytest.raises(CorpusError, match="damaged"):
            build_tokenizer(tokenizer_recipe(str(folder)), no_text)

    def test_hole_in_the_ids(self, tmp_path):
        folder = gpt2_like(tmp_path / "x", merges=())
        vocab = json.loads((folder / "vocab.json").read_text())
        del vocab["A"]
        (folder / "vocab.json").write_text(json.dumps(vocab))
        with pytest.raises(CorpusError, match="lacks 1 of its ids"):
            build_tokenizer(tokenizer_recipe(str(folder)), no_text)
        meant = build_tokenizer(tokenizer_recipe({"folder": str(folder), "entries": 256}), no_text)
        assert meant.vocab_size == 257  # a row for every id up to the largest

    def test_empty_vocabulary(self, tmp_path):
        folder = gpt2_like(tmp_path / "x", merges=())
        (folder / "vocab.json").write_text(json.dumps({SEPARATOR: 0}))
        with pytest.raises(CorpusError, match="encodes text to nothing"):
            build_tokenizer(tokenizer_recipe(str(folder)), no_text)

    def test_changed_since_it_was_planned(self, tmp_path):
        folder = gpt2_like(tmp_path / "x")
        recipe = tokenizer_recipe(str(folder))
        gpt2_like(folder, merges=("h e", "l l", "he ll", "hell p"))
        with pytest.raises(CorpusError, match="changed since"):
            build_tokenizer(recipe, no_text)

    @pytest.mark.parametrize("present", [[], ["vocab.json"]])
    def test_missing_files_are_named(self, tmp_path, present):
        for name in present:
            (tmp_path / name).write_text("{}")
        with pytest.raises(CorpusError, match=r"needs tokenizer\.json, or vocab\.json and merges\.txt"):
            tokenizer_recipe({"folder": str(tmp_path)})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("gtp2", "did you mean 'gpt2'"),
        ("bytes", "did you mean 'byte'"),
        ("nonsense", "Tokenizers: byte, char"),
        ({"bep": 512}, "did you mean 'bpe'"),
        ({"bpe": 100}, "at least 257"),
        ({"bpe": "many"}, "at least 257"),
        ({"bpe": True}, "at least 257"),
        ({"bpe": 512, "revision": "x"}, "unknown key 'revision'"),
        ({"hub": "a/b", "entires": 5}, "did you mean 'entries'"),
        ({"hub": "a/b", "entries": -5}, "positive"),
        ({"hub": "../../etc"}, "not a hub name"),
        ({"char": "latin"}, "'corpus' or 'ascii'"),
        ({}, "unknown form"),
        (7, "a name or a mapping"),
    ],
)
def test_bad_tokenizers_are_explained(given, message):
    with pytest.raises(CorpusError, match=message):
        tokenizer_recipe(given)


def test_forms_of_one_tokenizer():
    assert tokenizer_recipe("bpe:512") == tokenizer_recipe({"bpe": 512}) == module.bpe_recipe(512)
    assert tokenizer_recipe("gpt2") == tokenizer_recipe({"hub": "gpt2"})
    assert tokenizer_recipe("gpt2")["entries"] == 50257


@pytest.mark.parametrize(
    ("change", "cause"),
    [({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"), ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "refused")],
)
def test_hub_tokenizer_without_network(tmp_path, change, cause):
    """In a process of its own, because the hub's client reads its settings once."""
    program = (
        "import atexit, sys, time\n"
        "slept, time.sleep = [], lambda seconds: slept.append(seconds)\n"
        "atexit.register(lambda: print(sum(slept), file=sys.stderr))\n"
        "from procray.corpora.tokenizer import build_tokenizer, tokenizer_recipe\n"
        "from procray.errors import EnvironmentProblem\n"
        "try: build_tokenizer(tokenizer_recipe('gpt2'), None)\n"
        "except EnvironmentProblem as error: print(error)"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= {"HF_HOME": str(tmp_path), "NO_PROXY": "127.0.0.1", **change}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert float(done.stderr.splitlines()[-1]) < 20, "seconds slept between tries"
    assert done.stdout.startswith("tokenizer 'gpt2' needs the network, and the hub cannot be reached: "), done
    assert cause in done.stdout
    assert "byte, char, {bpe: N}" in done.stdout
    assert done.stdout.count("\n") == 1


def test_hub_tokenizer_from_the_cache(tmp_path, monkeypatch):
    """What was downloaded once is used without asking anybody."""
    folder = gpt2_like(tmp_path / "plain")
    content = json.loads(build_tokenizer(tokenizer_recipe(str(folder)), no_text).content)["library"]
    (folder / "tokenizer.json").write_text(content)
    monkeypatch.setattr(module, "fetch_file", lambda name, file, revision, local: folder / file if local else 1 / 0)
    tokenizer = build_tokenizer(tokenizer_recipe("some/tokenizer"), no_text)
    assert tokenizer.vocab_size == 261
    with pytest.raises(CorpusError, match="expected 50,257"):
        build_tokenizer(tokenizer_recipe("gpt2"), no_text)


def test_hub_that_lacks_the_files(monkeypatch):
    monkeypatch.setattr(module, "fetch_file", lambda name, file, revision, local: None)
    monkeypatch.setattr(module, "resolve_revision", lambda *facts: "commit")
    with pytest.raises(CorpusError, match=r"has no tokenizer\.json"):
        build_tokenizer(tokenizer_recipe("some/tokenizer"), no_text)


def test_missing_library_is_an_environment_problem(monkeypatch):
    content = build_tokenizer(tokenizer_recipe({"bpe": 300}), lambda: TEXTS).content
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(EnvironmentProblem, match="pip install tokenizers"):
        load_tokenizer("bpe", content)


def test_no_piece_is_longer_in_training_than_its_bound():
    """Training costs the square of a piece without a space; what is bounded has the text's characters, cut."""
    text = "ab cd " + "x" * 25 + "\n" + " " * 25 + "end"
    pieces = module._bounded(text, 10)
    assert "".join(pieces) == text
    assert max(len(run) for piece in pieces for run in re.findall(r"\S+|\s+", piece)) <= 10
    assert module._bounded("words of usual length " * 50, 10) == ["words of usual length " * 50]


def test_a_long_run_is_learned_as_its_parts():
    plain = {"kind": "bpe", "entries": 300}
    run = "abcdefgh" * 6
    whole = build_tokenizer({**plain, "longest_piece": 1000}, lambda: [run] * 3)
    parts = build_tokenizer({**plain, "longest_piece": 8}, lambda: [run] * 3)
    assert len(whole.encode([run])[0]) == 1
    assert len(parts.encode([run])[0]) == 6  # no merge across a cut


def test_a_relative_folder_starts_at_the_base(tmp_path, monkeypatch, every_tokenizer):
    library = json.loads(every_tokenizer["bpe"].content)
    for place in ("one/tok", "other/tok"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "tokenizer.json").write_text(json.dumps(library))
    found = [tokenizer_recipe({"folder": "tok"}, tmp_path / place) for place in ("one", "other")]
    found.append(tokenizer_recipe(str(tmp_path / "one/tok")))
    found.append(tokenizer_recipe("./tok", tmp_path / "one"))
    assert len({json.dumps(identity({"tokenizer": one}), sort_keys=True) for one in found}) == 1
    assert build_tokenizer(found[0], list).sha256 == build_tokenizer(found[1], list).sha256
    monkeypatch.chdir(tmp_path / "one")
    with pytest.raises(CorpusError, match=r"one below the working directory .*write '\.\./one/tok'"):
        tokenizer_recipe({"folder": "tok"}, tmp_path / "empty")
