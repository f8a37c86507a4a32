"""What a sweep file may say about a corpus, and what it becomes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from procray.corpora import describe, names, recipe, title, vocab_size_estimate
from procray.errors import CorpusError


@pytest.mark.parametrize("name", names())
def test_every_name_has_a_recipe_without_network(name):
    made = recipe(name)
    assert json.loads(json.dumps(made)) == made
    assert describe(name)
    assert title(made)
    assert 90 < vocab_size_estimate(made) < 60000


def test_presets_are_the_papers_corpora():
    c4 = recipe("c4")["corpus"]
    assert (c4["name"], c4["config"], c4["documents"]) == ("allenai/c4", "en", 100_000)
    assert c4["validation"] == {
        "name": "allenai/c4",
        "config": "en",
        "revision": "main",
        "split": "validation",
        "documents": 1000,
    }
    code = recipe("codeparrot")
    assert code["corpus"]["field"] == "content"
    assert code["corpus"]["validation"]["name"] == "codeparrot/codeparrot-clean-valid"
    assert vocab_size_estimate(code) == 32768
    assert vocab_size_estimate(recipe("c4")) == 50257
    assert vocab_size_estimate(recipe("deepmind-math")) == 99
    assert recipe("wikitext-2")["corpus"]["articles"]


def test_options_of_a_preset():
    assert recipe({"name": "c4", "documents": "1M"})["corpus"]["documents"] == 1_000_000
    assert recipe({"name": "c4", "documents": None})["corpus"]["documents"] is None
    assert recipe({"name": "c4", "revision": "abc"})["corpus"]["revision"] == "abc"
    assert recipe({"name": "python-stdlib"}) == recipe("python-stdlib")


def test_equal_statements_are_one_recipe():
    assert recipe({"hf": "a/b"}) == recipe({"hf": "a/b", "split": "train", "field": "text", "holdout": 0.05})
    assert recipe({"hf": "a/b", "validation": "test"}) == recipe(
        {"hf": "a/b", "validation": {"hf": "a/b", "split": "test"}}
    )
    assert recipe("python-stdlib", "byte") == recipe("python-stdlib", "byte")


def test_another_validation_dataset_does_not_inherit_the_configuration():
    made = recipe({"hf": "a/b", "config": "en", "validation": {"hf": "c/d"}})["corpus"]["validation"]
    assert (made["name"], made["config"], made["split"]) == ("c/d", None, "validation")


def test_changed_files_are_another_corpus(tmp_path):
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "b.txt").write_text("two")
    given = {"files": f"{tmp_path}/*.txt"}
    first = recipe(given)
    assert recipe(given) == first
    (tmp_path / "a.txt").write_text("one and more")
    assert recipe(given)["corpus"]["content"] != first["corpus"]["content"]


def test_validation_files_are_not_trained_on(tmp_path):
    (tmp_path / "a.txt").write_text("one")
    with pytest.raises(CorpusError, match="nothing is left to train on"):
        recipe({"files": f"{tmp_path}/*.txt", "validation": f"{tmp_path}/a.txt"})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("python-stdlb", "did you mean 'python-stdlib'"),
        ("wikitext103", "did you mean 'wikitext-103'"),
        ("allenai/c4", "a hub dataset is written {hf: allenai/c4}"),
        ("src/*.py", r"files are written {files: \['src/\*.py'\]}"),
        ("qqq", "Corpora: python-stdlib"),
        ({"file": "x"}, "did you mean 'files'"),
        ({"name": "c4", "document": 5}, "unknown key 'document'; did you mean 'documents'"),
        ({"name": "python-package", "package": "no_such"}, "no package 'no_such'"),
        ({"name": "python-package", "package": "../etc"}, "no package"),
        ({"name": "python-stdlib", "field": "x"}, "unknown key 'field'"),
        ({"name": "c4", "documents": 0}, "positive whole number"),
        ({"name": "c4", "documents": "lots"}, "positive whole number"),
        ({"name": "c4", "documents": True}, "positive whole number"),
        ({"hf": "../x"}, "not the name of a hub dataset"),
        ({"hf": "a/b", "feild": "x", "splt": "y"}, "did you mean 'field'.*did you mean 'split'"),
        ({"hf": "a/b", "validation": {"slit": "x"}}, "did you mean 'split'"),
        ({"hf": "a/b", "validation": "test", "holdout": 0.1}, "not both"),
        ({"hf": "a/b", "field": 7}, "'field' must be a text"),
        ({"files": __file__, "validation": __file__, "holdout": 0.1}, "not both"),
        ({"files": []}, "a glob or a list of globs"),
        ({"files": [3]}, "a glob or a list of globs"),
        ({"files": "/nowhere/*.x"}, "matches no file"),
        ({"name": "deepmind-math", "records": -1}, "positive whole number"),
        ({"name": "deepmind-math", "modules": "x"}, "unknown key 'modules'"),
        ({"name": "python-stdlib", "holdout": 1.5}, "between 0 and 1"),
        (["c4"], "a name or a mapping"),
        ({3: "c4"}, "a name or a mapping"),
    ],
)
def test_bad_corpora_are_explained(given, message):
    with pytest.raises(CorpusError, match=message):
        recipe(given)


def test_importing_needs_numpy_only():
    """Planning imports this room; torch or the hub's libraries would cost it seconds."""
    program = (
        "import sys\n"
        "import numpy\n"
        "import procray.corpora as corpora\n"
        "corpora.recipe('python-stdlib'); corpora.recipe('c4')\n"
        "heavy = {'torch', 'tokenizers', 'transformers', 'datasets', 'huggingface_hub', 'pyarrow', 'pydantic'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ})
    assert done.stdout.strip() == "[]", done.stderr
