"""A mark outside of the store: a folder for transformers, with the tokenizer of its text and a model card."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from procray import links
from procray.corpora.exported_tokenizer import ANSWER, tokenizer_files
from procray.corpora.prepared import corpus_folder, read_manifest, saved_tokenizer
from procray.corpora.recipe import title
from procray.errors import StoreError
from procray.files import write_atomic, write_json
from procray.model.families import family_of
from procray.model.family import Family
from procray.model.layout import CONFIG, NO_TOKENIZER, ROWS_TYPE, from_transformers, read_config
from procray.store.phase import PhaseFolder
from procray.store.store import Store
from procray.training.recipe import PhaseRecipe

CARD = "README.md"


def export_mark(store: Store, phase: PhaseFolder, step: int, folder: Path) -> str:
    """Copies a mark into a new folder, which transformers and, for text, `AutoTokenizer` load.

    Where there is no tokenizer, AutoTokenizer fails on the folder: transformers 5 would make one of a single entry,
    and say nothing. The folder appears whole or not at all.

    Returns:
        What the folder has for a tokenizer, as a sentence.

    Raises:
        StoreError: the mark is missing or damaged, or the folder exists.
        CorpusError: the corpus's tokenizer is damaged.
    """
    if os.path.lexists(folder):
        raise StoreError(f"{folder} exists already; name a new folder")
    place, manifest = phase.mark(step), phase.manifest(step)
    links.refuse(place)
    recipe = phase.recipe()
    files, about = _tokenizer(store, recipe)
    stated = read_config(place / CONFIG)
    own, rows = family_of(from_transformers(stated, place / CONFIG)), stated.get("model_type") == ROWS_TYPE
    folder.parent.mkdir(parents=True, exist_ok=True)
    filling = folder.parent / f".{folder.name}.tmp-{os.getpid()}"
    filling.mkdir()
    try:
        for name in manifest["files"]:  # what the manifest vouches for, and nothing that lies beside it
            shutil.copyfile(place / name, filling / name, follow_symlinks=False)
        write_json(filling / "manifest.json", manifest)
        for name, content in files.items():
            write_json(filling / name, content)
        write_atomic(filling / CARD, _card(phase.id, step, manifest, recipe, about, own, rows))
        os.rename(filling, folder)
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error}") from error
    finally:
        shutil.rmtree(filling, ignore_errors=True)
    return about


def _tokenizer(store: Store, recipe: PhaseRecipe | None) -> tuple[dict[str, dict[str, Any]], str]:
    """The files of a phase's tokenizer, or what makes AutoTokenizer fail; and what that is, in words."""
    if recipe is None:
        return _none("its text is not known to the store, which only took its weights in from outside")
    if "corpus" not in recipe.data:
        return _none(f"this phase was trained on symbols of {_task(recipe)}, not on text")
    # The card may be published, and the places of local files are nobody's business.
    name = "local files" if recipe.data["corpus"]["source"] == "files" else title(recipe.data)
    corpus = corpus_folder(recipe.data, store.corpora)
    if read_manifest(corpus) is None:  # of a bucket, or gone
        corpus = store.bring_corpus(recipe.data) / corpus.name
    manifest = read_manifest(corpus)
    if manifest is None or "tokenizer" not in manifest:
        return _none(
            f"the corpus {name}, which holds it, is no longer in the store"
            " (`procray data prepare` prepares it again; then export again)"
        )
    facts = manifest["tokenizer"]
    files = tokenizer_files(saved_tokenizer(corpus, facts), facts["special"], recipe.model.context)
    about = f"tokenizer of {name}, {facts['vocab_size']:,} entries"
    if recipe.interleaving is not None:
        about += f"; behind them {recipe.interleaving.rows:,} rows for symbols that are no text"
    if "sep" in facts["special"]:
        bos = files["tokenizer_config.json"]["bos_token"]
        about += f"; a prompt is {bos}QUESTION{ANSWER}"
    return files, about


def _none(why: str) -> tuple[dict[str, dict[str, Any]], str]:
    return {"tokenizer_config.json": {"tokenizer_class": NO_TOKENIZER}}, f"no tokenizer: {why}; AutoTokenizer fails"


def _task(recipe: PhaseRecipe) -> str:
    task = recipe.data.get("task")
    name = task.get("name") if isinstance(task, dict) else None
    return f"the task {name}" if name else "a task"


def _card(
    phase: str,
    step: int,
    manifest: dict[str, Any],
    recipe: PhaseRecipe | None,
    about: str,
    own: Family,
    rows: bool,
) -> str:
    """The model card."""
    kind = "a checkpoint from outside" if recipe is None else f"a {recipe.kind} phase"
    tokens = f", {manifest['tokens']:,} tokens" if manifest.get("tokens") else ""
    tags = f"tags: [{own.model_type}, procray]"
    lines = ["---", tags if rows else f"library_name: transformers\n{tags}", "---"]
    lines += [f"# {phase}, step {step}", "", f"The {own.title} of {kind}, by procray: step {step}{tokens}.", ""]
    if rows:
        lines += [
            "It reads rows of a cellular automaton, so `procray.model.load_model` loads it, not transformers.",
            "",
        ]
    return "\n".join([*lines, f"{about[:1].upper()}{about[1:]}.", ""])
