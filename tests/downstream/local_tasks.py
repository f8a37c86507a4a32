"""Task files of lm-eval over local data, and an exported model: what its own backend reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import yaml

from procray.corpora.exported_tokenizer import tokenizer_files
from procray.files import write_json
from procray.model import save_weights

WORDS = ("the", "old", "keeper", "of", "a", "garden", "near", "every", "wall", "door", "in", "town", "many", "windows")
KINDS = {
    "own_choice": {
        "output_type": "multiple_choice",
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "label",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    },
    "own_word": {
        "output_type": "loglikelihood",
        "doc_to_text": "{{question}}",
        "doc_to_target": " {{choices[label]}}",
        "metric_list": [{"metric": "perplexity"}, {"metric": "acc"}],
    },
    "own_text": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{question}} {{question}}",
        "metric_list": [{"metric": "byte_perplexity"}, {"metric": "bits_per_byte"}],
    },
    "own_answer": {
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{choices[label]}}",
        "generation_kwargs": {"until": ["e"], "max_gen_toks": 8, "do_sample": False},
        "metric_list": [{"metric": "exact_match"}],
    },
}


def write_tasks(folder: Path, documents: int = 12, kinds: tuple[str, ...] = tuple(KINDS)) -> Path:
    """A folder of task files, and their documents: some contexts fit a short model, some do not."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(documents):
        words = [" ".join(rng.choice(WORDS, count)) for count in (rng.integers(2, 30), *rng.integers(1, 4, 4))]
        rows.append({"question": words[0], "choices": words[1:], "label": int(rng.integers(4))})
    (folder / "documents.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in kinds:
        task = {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {
                "data_files": {"test": str(folder / "documents.jsonl")},
                "cache_dir": str(folder / "cache"),
            },
            "test_split": "test",
            "fewshot_split": "test",
            "num_fewshot": 0,
            **KINDS[name],
        }
        if name == "own_choice":
            del task["num_fewshot"]
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(task))
    return folder


def export(model, tokenizer, special, folder: Path) -> Path:
    """A model and its tokenizer as `procray export` writes them."""
    save_weights(model, folder)
    for name, content in tokenizer_files(tokenizer, special, model.config.context).items():
        write_json(folder / name, content)
    return folder
