"""Text for semantic training: sources, tokenizers, packed shards and the order in which they are read.

`recipe` describes a corpus, `prepare` makes its shards, `load` opens them, `Prepared` gives batches.
"""

from procray.corpora.account import account
from procray.corpora.fits import check_fits, refuse_too_little
from procray.corpora.local import compare_files
from procray.corpora.prepare import prepare
from procray.corpora.prepared import Prepared, known_files, load, manifest_of, summary
from procray.corpora.recipe import describe, file_digests, identity, names, recipe, title, vocab_size_estimate
from procray.corpora.tokenizer import tokenizer_recipe

__all__ = [
    "Prepared",
    "account",
    "check_fits",
    "compare_files",
    "describe",
    "file_digests",
    "identity",
    "known_files",
    "load",
    "manifest_of",
    "names",
    "prepare",
    "recipe",
    "refuse_too_little",
    "summary",
    "title",
    "tokenizer_recipe",
    "vocab_size_estimate",
]
