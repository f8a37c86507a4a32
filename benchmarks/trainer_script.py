"""The peer of `whole_sweep.py`: one phase of a chain as a script around `transformers.Trainer`.

    python benchmarks/trainer_script.py SPEC.json --output FOLDER --threads 1

Nothing of procray is in it: a fresh GPT2LMHeadModel that takes some components of a parent's checkpoint, a dataset of
sequences that exist already, and the Trainer. SPEC.json names `model` (keywords of GPT2Config), `data` (an .npz with
`tokens`, `scored` and `lengths` of `train` and `held_out`), `batch`, `steps`, `marks` (steps to keep), `every` (steps
between evaluations), `optimizer`, `seed`, and where there is a parent its checkpoint folder as `parent` and the
`components` to take from it. FOLDER gets `checkpoint-<mark>` and `curve.json`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import (
    EvalPrediction,
    GPT2Config,
    GPT2LMHeadModel,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)

IGNORED = -100
COMPONENTS = {
    "attention": (".attn.",),
    "mlp": (".mlp.",),
    "layernorm": (".ln_1.", ".ln_2.", ".ln_f."),
    "embeddings": (".wte.",),
    "positions": (".wpe.",),
}


class Sequences(Dataset[dict[str, np.ndarray]]):
    """Token sequences from an .npz file; labels stand where a token is to be predicted."""

    def __init__(self, path: Path, split: str):
        with np.load(path) as arrays:
            self.tokens = arrays[f"{split}_tokens"].astype(np.int64)
            self.labels = np.where(arrays[f"{split}_scored"], self.tokens, IGNORED)
            self.lengths = arrays[f"{split}_lengths"].tolist()

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        length = self.lengths[index]
        return {"input_ids": self.tokens[index, :length], "labels": self.labels[index, :length]}


def collate(items: list[dict[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    """Pads to the longest sequence.

    There is no attention mask: behind a causal mask padding on the right changes nothing that is scored.
    """
    shape = len(items), max(len(item["labels"]) for item in items)
    batch = {"input_ids": np.zeros(shape, np.int64), "labels": np.full(shape, IGNORED)}
    for name, array in batch.items():
        for row, item in zip(array, items, strict=True):
            row[: len(item[name])] = item[name]
    return {name: torch.from_numpy(array) for name, array in batch.items()}


class AtMarks(TrainerCallback):
    """Evaluates and saves at given steps."""

    def __init__(self, marks: list[int]):
        self.marks = set(marks)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.global_step in self.marks:
            control.should_evaluate = control.should_save = True


def best(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The most probable tokens, so that no logits are kept."""
    return logits.argmax(-1)


def accuracy(prediction: EvalPrediction) -> dict[str, float]:
    predicted, labels = prediction.predictions[:, :-1], prediction.label_ids[:, 1:]
    scored = labels != IGNORED
    return {"accuracy": float((predicted[scored] == labels[scored]).mean())}


def build_model(spec: dict[str, Any]) -> GPT2LMHeadModel:
    """A fresh model with the parent's weights where the components say so."""
    model = GPT2LMHeadModel(GPT2Config(**spec["model"]))
    if spec.get("parent"):
        parent = GPT2LMHeadModel.from_pretrained(spec["parent"]).state_dict()
        wanted = tuple(part for name in spec["components"] for part in COMPONENTS[name])
        carried = {name: value for name, value in parent.items() if any(part in name for part in wanted)}
        model.load_state_dict(carried, strict=False)
    return model


def schedule(optimizer: dict[str, Any]) -> dict[str, Any]:
    """The Trainer's names for the learning-rate schedules."""
    floor = optimizer["min_lr"]
    match optimizer["schedule"]:
        case "constant":
            return {"lr_scheduler_type": "constant_with_warmup"}
        case "cosine":
            return {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": floor}}
        case "linear" if floor == 0:
            return {"lr_scheduler_type": "linear"}
    raise SystemExit(f"no schedule of the Trainer is {optimizer['schedule']} with a floor of {floor:g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spec", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    spec = json.loads(given.spec.read_text(encoding="utf-8"))
    torch.set_num_threads(given.threads)
    set_seed(spec["seed"])
    held_out = Sequences(Path(spec["data"]), "held_out")
    optimizer = spec["optimizer"]
    trainer = Trainer(
        model=build_model(spec),
        args=TrainingArguments(
            output_dir=str(given.output),
            max_steps=spec["steps"],
            per_device_train_batch_size=spec["batch"],
            per_device_eval_batch_size=len(held_out),
            train_sampling_strategy="sequential",  # the sequences stand in the order in which they are to be seen
            learning_rate=optimizer["lr"],
            warmup_steps=optimizer["warmup_steps"],
            **schedule(optimizer),
            optim="adamw_torch_fused",
            adam_beta1=optimizer["beta1"],
            adam_beta2=optimizer["beta2"],
            adam_epsilon=optimizer["eps"],
            weight_decay=optimizer["weight_decay"],
            max_grad_norm=optimizer["clip"],
            eval_strategy="steps",
            eval_steps=spec["every"],
            eval_on_start=True,
            logging_steps=spec["every"],
            save_strategy="no",
            save_only_model=True,
            dataloader_num_workers=0,
            use_cpu=True,
            report_to="none",
            disable_tqdm=True,
            seed=spec["seed"],
        ),
        train_dataset=Sequences(Path(spec["data"]), "train"),
        eval_dataset=held_out,
        data_collator=collate,
        compute_metrics=accuracy,
        preprocess_logits_for_metrics=best,
        callbacks=[AtMarks(spec["marks"])],
    )
    trainer.train()
    rows = [
        {"step": row["step"], "loss": row["eval_loss"], "accuracy": row["eval_accuracy"]}
        for row in trainer.state.log_history
        if "eval_loss" in row
    ]
    (given.output / "curve.json").write_text(json.dumps(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
