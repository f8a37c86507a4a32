"""How a phase is computed: everything that may change bits or speed, and nothing that changes meaning.

What is settled here is provenance, not identity: the same recipe on another device is the same phase.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from procray.errors import EnvironmentProblem
from procray.model import GPT2, GPT2Config, flops_per_token
from procray.training.environment import worker_environment
from procray.training.recipe import PhaseRecipe

__all__ = ["Runtime", "model_config", "provenance", "resolve", "set_model", "set_process", "worker_environment"]

# Plain attention needs B x H x T x T values, so beyond this many positions the fused kernel takes over.
LONGEST_MATMUL_ATTENTION = 512
# A constant, never the free memory: on a CPU how a batch is cut must follow from the recipe alone.
CPU_MEMORY = 1 << 30
CPU_LOGITS = 1 << 20  # elements of one piece of logits, which then stay in the cache ...
FEWEST_ROWS = 512  # ... but no fewer rows than this, which would make slow products
CUDA_LOGITS = 1 << 28
CPU_TRIM = 1 << 14  # positions; much smaller parts cost more than their padding
CUDA_SHARE = 0.5  # of the free memory; several phases may share a GPU
# Compiling a block costs some 20-40 s, and the gain is at most a factor of 2.
COMPILE_FROM_SECONDS = 90.0
ASSUMED_FLOPS = 1.5e14  # a second, uncompiled, on a current data-centre GPU


@dataclass(frozen=True)
class Runtime:
    """The choices for one phase on one device.

    Attributes:
        attention: kernel, "sdpa" or "matmul".
        matmul_precision: torch's name. On CUDA "highest" forbids TF32 and "high" allows it for the
            products that autocast leaves in float32. On a CPU "medium" is chosen only where it means
            another float32 kernel.
        autocast: bfloat16 matrix products.
        compile: compile the blocks.
        pad_vocab: the head's rows are rounded up to a multiple of this.
        logits_bound: elements of one piece of logits.
        micro_batch: sequences that one process takes at once.
        trim: positions in one of the parts into which sequences of unequal length are cut; 0: never cut for it.
    """

    device: torch.device
    threads: int
    world_size: int
    attention: Literal["sdpa", "matmul"]
    matmul_precision: Literal["highest", "high", "medium"]
    autocast: bool
    compile: bool
    pad_vocab: int
    logits_bound: int
    micro_batch: int
    trim: int = 0


def resolve(
    recipe: PhaseRecipe,
    device: torch.device,
    *,
    vocab: int,
    rows: int | None = None,
    positions: int | None = None,
    steps: int | None = None,
    threads: int = 1,
    world_size: int = 1,
) -> Runtime:
    """Chooses how to compute a phase.

    Args:
        vocab, rows, positions: what the data need (`Source.vocab`, `.rows`, `.context`); positions
            default to the model's context.
        steps: how far this process will train, to judge whether compiling pays.
        threads: of each process, on a CPU.
        world_size: processes that share a batch.

    Raises:
        EnvironmentProblem: a CUDA device that is not there, or fewer sequences than workers.
    """
    if device.type == "cuda" and not torch.cuda.is_available():
        raise EnvironmentProblem(f"device '{device}' was asked for, but this process sees no CUDA device")
    if world_size > recipe.batch:
        raise EnvironmentProblem(f"a batch of {recipe.batch} sequences cannot be shared by {world_size} workers")
    positions = positions or recipe.model.context
    cuda = device.type == "cuda"
    attention: Literal["sdpa", "matmul"] = (
        "matmul" if device.type == "cpu" and positions <= LONGEST_MATMUL_ATTENTION else "sdpa"
    )
    precision: Literal["highest", "high", "medium"] = "highest"
    if cuda and recipe.precision == "bf16":
        precision = "high"
    elif device.type == "cpu" and attention == "matmul" and _float32_through_onednn():
        # Under "medium" fused CPU attention would run its many small products one by one, far slower.
        precision = "medium"
    config = model_config(recipe, vocab, rows)
    work = float(steps or 0) * recipe.batch * positions * flops_per_token(config, positions) / world_size
    bound = max(CUDA_LOGITS if cuda else CPU_LOGITS, FEWEST_ROWS * (rows or vocab))
    memory = CPU_MEMORY
    if cuda:
        memory = int(CUDA_SHARE * torch.cuda.mem_get_info(device)[0])
    each = _bytes_per_sequence(config, positions, attention, recipe.precision == "bf16")
    share = -(-recipe.batch // world_size)
    return Runtime(
        device=device,
        threads=threads,
        world_size=world_size,
        attention=attention,
        matmul_precision=precision,
        autocast=recipe.precision == "bf16",
        compile=cuda and work / ASSUMED_FLOPS >= COMPILE_FROM_SECONDS,
        pad_vocab=64 if cuda and rows is None else 1,
        logits_bound=bound,
        micro_batch=max(1, min(share, memory // each)),
        trim=0 if cuda else CPU_TRIM,
    )


def model_config(recipe: PhaseRecipe, vocab: int, rows: int | None, pad_vocab: int = 1) -> GPT2Config:
    """The recipe's model with the vocabulary (or the cells) of its data."""
    shape = recipe.model
    return GPT2Config(
        layers=shape.layers,
        heads=shape.heads,
        width=shape.width,
        vocab=vocab,
        context=shape.context,
        tied=shape.tied,
        dropout=shape.dropout,
        rows=rows,
        pad_vocab=pad_vocab,
    )


def set_process(runtime: Runtime) -> None:
    """Sets what belongs to the process, for every phase anew: a worker used again has the settings of the last."""
    torch.set_num_threads(runtime.threads)
    torch.set_float32_matmul_precision(runtime.matmul_precision)
    if runtime.device.type == "cuda" and runtime.device.index is not None:
        torch.cuda.set_device(runtime.device)


def set_model(runtime: Runtime, model: GPT2) -> None:
    """Chooses the model's kernels."""
    model.attention = runtime.attention
    if runtime.compile:
        for block in model.transformer.h:
            block.compile()  # one graph for all blocks, so the cost does not grow with the depth


def provenance(runtime: Runtime) -> dict[str, Any]:
    """Everything that may change bits but not meaning, as plain data; equal for equal circumstances."""
    facts: dict[str, Any] = {
        "device": torch.cuda.get_device_name(runtime.device) if runtime.device.type == "cuda" else _cpu_name(),
        "device_type": runtime.device.type,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": runtime.threads,
        "world_size": runtime.world_size,
        "attention": "products in blocks" if runtime.attention == "matmul" else runtime.attention,
        "head": "gradients with the logits, which are not kept",
        "matmul_precision": runtime.matmul_precision,
        "autocast": "bfloat16" if runtime.autocast else None,
        "compile": runtime.compile,
        "pad_vocab": runtime.pad_vocab,
        "logits_bound": runtime.logits_bound,
        "micro_batch": runtime.micro_batch,
        "trim": runtime.trim,
        "optimizer": "torch AdamW, fused",
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        # The order of sums on a GPU and over processes is not fixed.
        "repeats_exactly": runtime.device.type == "cpu" and runtime.world_size == 1,
        "platform": platform.platform(),
    }
    if runtime.device.type == "cuda":
        facts |= {"cuda": torch.version.cuda, "capability": list(torch.cuda.get_device_capability(runtime.device))}
    return facts


def _bytes_per_sequence(config: GPT2Config, positions: int, attention: str, autocast: bool) -> int:
    """About what the activations of one sequence take until the backward pass has used them."""
    element = 2 if autocast else 4
    block = (20 * element + 8) * config.width  # normalisations, q k v, both sides of the GELU, residuals
    if attention == "matmul":
        block += 3 * element * config.heads * positions
    return positions * (config.layers * block + 3 * element * config.width)


@lru_cache
def _float32_through_onednn() -> bool:
    """Whether "medium" means a faster true float32: AMD with AVX-512 and without AMX.

    torch's default library takes its AVX2 path on AMD. With AMX the same setting would mean bfloat16.
    """
    flags = _cpu_facts().get("flags", "").split()
    amd = _cpu_facts().get("vendor_id") == "AuthenticAMD"
    return amd and "avx512f" in flags and not any(flag.startswith("amx") for flag in flags)


def _cpu_name() -> str:
    return _cpu_facts().get("model name") or platform.processor() or platform.machine()


@lru_cache
def _cpu_facts() -> dict[str, str]:
    """The first processor of /proc/cpuinfo; empty elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
