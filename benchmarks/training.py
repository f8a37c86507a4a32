"""How fast is one training step on a CPU, beside Hugging Face's models of the family and nanoGPT's?

    python benchmarks/training.py                       # all shapes, about 5 minutes
    python benchmarks/training.py --shapes small tiny --rounds 9
    python benchmarks/training.py --nanogpt CHECKOUT    # nanoGPT's model too

A step is everything that a sweep pays for: the batch, forward, loss, backward, clipping to norm 1, AdamW. Ours is the
training loop's own step with the settings that it resolves by itself. A peer is the loop that its users write around
the same model, with dropout off as ours has it:

* HF as shipped: `GPT2LMHeadModel` with eager attention, `model(ids, labels=ids)`, `torch.optim.AdamW`;
* HF tuned: tanh-GELU as one kernel, `use_cache=False`, fused AdamW, the quicker of its attentions on a CPU; of GPT-NeoX
  and Llama, whose activations are one kernel as they come, the rest of it;
* nanoGPT: its `GPT` and its `configure_optimizers`, from the checkout.

All sides are in one process with one thread and the same allocator settings, and take turns; times are CPU seconds. HF
as its users start it, with glibc's own allocator settings, is a second process that takes its turn when asked to.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import noise
import numpy as np
from harness import Row, in_own_environment, publish, quartiles, ratio, take_turns
from noise import Precision

from procray.training.recipe import ModelShape

Step = Callable[[], None]


@dataclass(frozen=True)
class Shape:
    layers: int
    heads: int
    width: int
    positions: int
    batch: int
    vocab: int
    family: str = "gpt2"
    kv_heads: int | None = None

    @property
    def model(self) -> ModelShape:
        plain = {"layers": self.layers, "heads": self.heads, "width": self.width, "context": self.positions}
        own = {"kv_heads": self.kv_heads} if self.kv_heads else {}
        own |= {"rotary_pct": 0.5} if self.family == "neox" and self.width // self.heads < 8 else {}
        return ModelShape.from_json({**plain, "family": self.family, **own})

    def __str__(self) -> str:
        own = "" if self.family == "gpt2" else f"{self.family} "
        return f"{own}{self.layers}x{self.heads}x{self.width}, T {self.positions}, B {self.batch}, V {self.vocab:,}"

    @property
    def tokens(self) -> int:
        return self.batch * self.positions


SHAPES = {
    "gpt2": Shape(12, 12, 768, 256, 4, 50257),
    "small": Shape(4, 4, 256, 256, 32, 8192),
    "tiny": Shape(2, 4, 16, 64, 1000, 256),
    "neox": Shape(12, 12, 768, 256, 4, 50304, "neox"),
    "neox small": Shape(4, 4, 256, 256, 32, 8192, "neox"),
    "neox tiny": Shape(2, 4, 16, 64, 1000, 256, "neox"),
    "llama": Shape(12, 12, 768, 256, 4, 49152, "llama", 4),
    "llama small": Shape(4, 4, 256, 256, 32, 8192, "llama", 2),
    "llama tiny": Shape(2, 4, 16, 64, 1000, 256, "llama", 2),
}
# (shape, precision): the ratio asked for against HF as shipped in fp32, and the share of the measured peak.
FLOORS: dict[tuple[str, Precision], tuple[float, float | None]] = {
    ("gpt2", "fp32"): (1.9, 65.0),
    ("small", "fp32"): (1.9, None),
    ("tiny", "fp32"): (1.5, None),
    ("gpt2", "bf16"): (3.3, 58.0),
    ("small", "bf16"): (3.1, None),
}
SHIPPED_ALLOCATOR = 3.2  # the tiny shape against HF with glibc's own settings
# Of the other families: the ratio asked for against HF tuned in fp32.
TUNED = {"": 1.03, "small": 1.12, "tiny": 1.41}
ROUNDS = {"": 3, "small": 5, "tiny": 9}
REPEATS = {"tiny": 4}  # steps in one turn, else 1
GLIBC = ("MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "OMP_WAIT_POLICY")


def tokens(shape: Shape) -> np.ndarray:
    """tokens_BT with one more position for the targets."""
    return np.random.default_rng(0).integers(0, shape.vocab, (shape.batch, shape.positions + 1))


def ours(shape: Shape, precision: Precision) -> Step:
    """The loop's own step, batches of random tokens included."""
    import torch

    from procray.training import runtime

    run = noise.ours(shape.model, shape.vocab, shape.batch, torch.device("cpu"), precision)

    def step() -> None:
        runtime.set_process(run.runtime)  # the peers set other things
        noise.steps(run, 1)

    return step


def hugging_face(shape: Shape, precision: Precision, tuned: bool) -> Step:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    how: dict[str, Any] = {"attn_implementation": "eager"}
    if tuned:
        # On a CPU fused attention is the quicker one in float32 only.
        attention = "sdpa" if precision == "fp32" else "eager"
        how = {"attn_implementation": attention, "activation_function": "gelu_pytorch_tanh", "use_cache": False}
    config = GPT2Config(
        n_layer=shape.layers,
        n_head=shape.heads,
        n_embd=shape.width,
        n_positions=shape.positions,
        vocab_size=shape.vocab,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
        **how,
    )
    model = GPT2LMHeadModel(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.1, fused=True if tuned else None)
    ids_BT = torch.from_numpy(tokens(shape)[:, :-1].copy())
    return plain_loop(model, optimizer, precision, lambda: model(input_ids=ids_BT, labels=ids_BT).loss)


def other_family(shape: Shape) -> Step:
    """transformers' model of the same shape, tuned, in float32; made from the folder that we would export."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from procray.model.layout import to_transformers

    torch.manual_seed(0)
    value = to_transformers(shape.model.config(shape.vocab, None))
    kind = value.pop("model_type")
    value = {name: one for name, one in value.items() if name not in ("architectures", "tokenizer_class", "dtype")}
    config = AutoConfig.for_model(kind, **value, use_cache=False)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.1, fused=True)
    ids_BT = torch.from_numpy(tokens(shape)[:, :-1].copy())
    return plain_loop(model, optimizer, "fp32", lambda: model(input_ids=ids_BT, labels=ids_BT).loss)


def nano_gpt(shape: Shape, precision: Precision, checkout: Path) -> Step:
    import torch

    spec = importlib.util.spec_from_file_location("nanogpt_model", checkout / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["nanogpt_model"] = module
    with contextlib.redirect_stdout(sys.stderr):
        spec.loader.exec_module(module)
        torch.manual_seed(0)
        config = module.GPTConfig(
            block_size=shape.positions,
            vocab_size=shape.vocab,
            n_layer=shape.layers,
            n_head=shape.heads,
            n_embd=shape.width,
            dropout=0.0,
        )
        model = module.GPT(config).train()
        optimizer = model.configure_optimizers(0.1, 1e-4, (0.9, 0.999), "cpu")
    both_BT = torch.from_numpy(tokens(shape))
    inputs, targets = both_BT[:, :-1].contiguous(), both_BT[:, 1:].contiguous()
    return plain_loop(model, optimizer, precision, lambda: model(inputs, targets)[1])


def plain_loop(model: Any, optimizer: Any, precision: Precision, loss: Callable[[], Any]) -> Step:
    import torch

    def step() -> None:
        torch.set_float32_matmul_precision("highest")  # torch's default; ours sets its own
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            value = loss()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


class Elsewhere:
    """HF as shipped in a process of its own, with the allocator as glibc ships it; trains when it is asked to."""

    def __init__(self, name: str):
        environment = {key: value for key, value in os.environ.items() if key not in GLIBC}
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve", name],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.seconds = [self._ask() for _ in range(2)][2:]

    def __call__(self) -> None:
        self.seconds.append(self._ask())

    def _ask(self) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("step\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate(timeout=60)


def serve(name: str) -> None:
    """Trains one turn for each line of standard input and answers with its CPU seconds."""
    import torch

    torch.set_num_threads(1)
    step = hugging_face(SHAPES[name], "fp32", tuned=False)
    for _ in sys.stdin:
        started = time.process_time()
        for _ in range(REPEATS.get(name, 1)):
            step()
        print(time.process_time() - started, flush=True)


def matmul_peak(precision: Precision) -> float:
    """The best FLOP/s that this process reaches in a large product, whichever library computes it."""
    import torch

    from procray.training.runtime import float32_through_onednn

    found = 0.0
    for name in ("highest", "medium") if precision == "fp32" and float32_through_onednn() else ("highest",):
        torch.set_float32_matmul_precision(name)  # elsewhere "medium" means bfloat16
        for m, k, n in ((2048, 2048, 2048), (1024, 768, 2304)):
            a, b = (
                torch.randn(*size, dtype=torch.bfloat16 if precision == "bf16" else None) for size in ((m, k), (k, n))
            )
            a @ b
            for _ in range(10):
                started = time.process_time()
                a @ b
                found = max(found, 2 * m * k * n / (time.process_time() - started))
    return found


def measure(name: str, rounds: int, nanogpt: Path | None) -> list[Row]:
    import torch

    from procray.model import GPT2Config, flops_per_token

    torch.set_num_threads(1)
    shape, repeats = SHAPES[name], REPEATS.get(name, 1)
    precisions: list[Precision] = [precision for key, precision in FLOORS if key == name]
    sides: dict[str, Step] = {}
    for precision in precisions:
        sides[f"ours {precision}"] = ours(shape, precision)
        sides[f"HF tuned {precision}"] = hugging_face(shape, precision, tuned=True)
        if nanogpt is not None:
            sides[f"nanoGPT {precision}"] = nano_gpt(shape, precision, nanogpt)
    shipped = "HF as shipped fp32"
    sides[shipped] = hugging_face(shape, "fp32", tuned=False)
    turns = {label: _repeated(step, repeats) for label, step in sides.items()}
    apart = Elsewhere(name) if name == "tiny" else None
    if apart is not None:
        turns["apart"] = apart
    times = take_turns(turns, rounds=rounds)
    if apart is not None:
        apart.close()
        times["apart"] = apart.seconds[-rounds:]
    config = GPT2Config(shape.layers, shape.heads, shape.width, shape.vocab, shape.positions)
    flops = repeats * shape.tokens * flops_per_token(config, shape.positions)
    peaks = {precision: matmul_peak(precision) for precision in {*precisions, "fp32"}}
    rows = []
    for precision in precisions:
        mine, peak = f"ours {precision}", peaks[precision]
        want, share = FLOORS[name, precision]
        peers = [(shipped, "HF eager as shipped, fp32", want)]
        peers.append((f"HF tuned {precision}", f"HF tuned, {precision}", None))
        if nanogpt is not None:
            peers.append((f"nanoGPT {precision}", f"nanoGPT, {precision}", None))
        if apart is not None:
            peers.append(("apart", "HF eager as shipped, fp32, glibc's own allocator settings", SHIPPED_ALLOCATOR))
        for label, title, floor in peers:
            middle, low, high = ratio(times, mine, label)
            speeds = [f"{shape.tokens * repeats / quartiles(times[side])[1]:,.0f} tokens/s" for side in (mine, label)]
            most = quartiles(times[label])[1] * peak / flops
            note = f"a step at 100 % of this processor's matmul peak would be {most:.2g}x" if floor else ""
            if label == "apart":
                slower = ratio(times, shipped, "apart")[0]
                note += f"; glibc's settings cost HF a factor of {slower:.2g} here, 2.3 on the processor of the floor"
            rows.append(Row(f"{shape}, {precision}", *speeds, title, middle, low, high, floor=floor, note=note))
        low, middle, high = quartiles([100 * flops / seconds / peak for seconds in times[mine]])
        done = f"{flops / quartiles(times[mine])[1] / 1e9:.0f} GFLOP/s"
        best = f"{peak / 1e9:.0f} GFLOP/s"
        title = f"matmul peak of one thread, {precision}"
        rows.append(Row(f"{shape}, {precision}", done, best, title, middle, low, high, "%", share))
    return rows


def measure_family(name: str, rounds: int) -> list[Row]:
    """A model of another family beside the tuned one of transformers."""
    import torch

    torch.set_num_threads(1)
    shape, size = SHAPES[name], name.partition(" ")[2]
    repeats = REPEATS.get(size, 1)
    sides = {"ours": _repeated(ours(shape, "fp32"), repeats), "HF": _repeated(other_family(shape), repeats)}
    times = take_turns(sides, rounds=rounds)
    middle, low, high = ratio(times, "ours", "HF")
    speeds = [f"{shape.tokens * repeats / quartiles(times[side])[1]:,.0f} tokens/s" for side in ("ours", "HF")]
    return [Row(f"{shape}, fp32", *speeds, "HF tuned, fp32", middle, low, high, floor=TUNED[size])]


def _repeated(step: Step, times: int) -> Step:
    def several() -> None:
        for _ in range(times):
            step()

    return several


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--rounds", type=int, help="3 to 9 by shape without it")
    parser.add_argument("--nanogpt", type=Path, metavar="CHECKOUT", help="folder of nanoGPT")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve)
        return
    in_own_environment()
    rows = []
    for name in given.shapes:
        own, size = SHAPES[name].family != "gpt2", name.removeprefix("gpt2").rpartition(" ")[2]
        rounds = given.rounds or ROUNDS["" if size in ("neox", "llama") else size]
        rows += measure_family(name, rounds) if own else measure(name, rounds, given.nanogpt)
    publish("training", "How fast is a training step on one CPU thread?", rows)


if __name__ == "__main__":
    main()
