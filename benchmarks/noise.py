"""Training steps on random tokens, by procray and by transformers: what `gpu.py` and `memory.py` compare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch

from procray.training import runtime as rt
from procray.training.calibrate import Drawn, Nowhere
from procray.training.loop import Run
from procray.training.losses import PENDING
from procray.training.recipe import Evaluation, ModelShape, Optimizer, PhaseRecipe

Precision = Literal["fp32", "bf16"]
RATE = 3e-4


def ours(
    shape: ModelShape,
    vocab: int,
    batch: int,
    device: torch.device,
    precision: Precision,
    threads: int = 1,
    **chosen: Any,
) -> Run:
    """A phase about to take its first step, with the choices that `train` would make but for `chosen`."""
    recipe = PhaseRecipe(
        kind="semantic",
        model=shape,
        data={"noise": vocab},
        batch=batch,
        optimizer=Optimizer(lr=RATE),
        evaluation=Evaluation(every=1 << 40, sequences=batch),
        seed=0,
        precision=precision,
    )
    source = Drawn(vocab, shape.context, batch, held_out=batch)
    choices = rt.resolve(recipe, device, vocab=vocab, positions=shape.context, threads=threads)
    return Run(recipe, source, Nowhere(device), replace(choices, **chosen))


def steps(run: Run, count: int) -> None:
    """Takes some steps and waits for the device."""
    assert count <= PENDING
    for _ in range(count):
        run.update()
    run.drain()


def transformers_step(
    shape: ModelShape, vocab: int, batch: int, device: torch.device, precision: Precision, *, tuned: bool
) -> Callable[[int], None]:
    """The same steps with GPT2LMHeadModel; the function takes how many, and waits for the device.

    Tuned: tanh GELU, no cache, fused attention and AdamW, no number read by the host, and on CUDA the vocabulary
    rounded up to 64, TF32 allowed and the whole model compiled. As shipped: the class's own configuration, torch's
    AdamW as it comes, the loss read at every step.
    """
    from transformers import GPT2Config, GPT2LMHeadModel, logging

    logging.set_verbosity_error()
    cuda = device.type == "cuda"
    settings: dict[str, Any] = {"attn_implementation": "sdpa", "activation_function": "gelu_pytorch_tanh"}
    config = GPT2Config(
        vocab_size=-(-vocab // 64) * 64 if tuned and cuda else vocab,
        n_positions=shape.context,
        n_embd=shape.width,
        n_layer=shape.layers,
        n_head=shape.heads,
        **dict.fromkeys(("embd_pdrop", "attn_pdrop", "resid_pdrop"), shape.dropout),
        bos_token_id=0,
        eos_token_id=0,
        **(settings if tuned else {}),
    )
    model = GPT2LMHeadModel(config).to(device)
    model.train()
    if tuned and cuda:
        torch.set_float32_matmul_precision("high")
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, **({"fused": True} if tuned else {}))
    called = torch.compile(model) if tuned and cuda else model
    source = Drawn(vocab, shape.context, batch, held_out=batch)
    done = 0

    def take(count: int) -> None:
        nonlocal done
        for _ in range(count):
            tokens_BT = torch.from_numpy(source.batch(done, None).tokens_BT.astype(np.int64))
            tokens_BT = tokens_BT.pin_memory().to(device, non_blocking=True) if cuda else tokens_BT
            done += 1
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                loss = called(input_ids=tokens_BT, labels=tokens_BT, **({"use_cache": False} if tuned else {})).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if not tuned:
                loss.item()
        if cuda:
            torch.cuda.synchronize(device)

    return take
