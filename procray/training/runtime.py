"""How a phase is computed: everything that may change bits or speed, and nothing that changes meaning.

What is settled here is provenance, not identity: the same recipe on another device is the same phase.
"""

from __future__ import annotations

import platform
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from procray.errors import EnvironmentProblem
from procray.model import ModelConfig, Network, family_of, flops_per_token, parameters
from procray.model.steady import steady_products
from procray.training.environment import worker_environment
from procray.training.parts import CPU_TRIM
from procray.training.recipe import PhaseRecipe

__all__ = [
    "Runtime",
    "compiles_loss",
    "provenance",
    "resolve",
    "set_model",
    "set_process",
    "without_compiling",
    "worker_environment",
]

# Plain attention needs B x H x T x T values, so beyond this many positions the fused kernel takes over.
LONGEST_MATMUL_ATTENTION = 512
# A constant, never the free memory: on a CPU how a batch is cut must follow from the recipe alone.
CPU_MEMORY = 1 << 30
CPU_LOGITS = 1 << 20  # elements of one piece of logits, which then stay in the cache ...
FEWEST_ROWS = 512  # ... but no fewer rows than this, which would make slow products
CUDA_LOGITS = 1 << 28
LOGITS_BYTES = 12  # for each of them, in several precisions
CUDA_SHARE = 0.5  # of the free memory; several phases may share a GPU
STATE_BYTES = 16  # per parameter in float32: weight, gradient, two moments
GRADIENT_BYTES = 4
# Compiling a block costs some 20-40 s, and the gain is at most a factor of 2.
COMPILE_FROM_SECONDS = 90.0
COMPILE_LOSS_FROM = 4096  # entries of the vocabulary; with fewer the logits are a small part of the work
ANY_THREADS = "any"  # in place of their number where it changes no bit
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
        shard: every worker holds a share of weights, gradients and moments, instead of a copy.
        recompute: the backward pass computes the blocks again, instead of keeping what is inside them.
        pack: phases that are computed as one.
        steady: whether the kernels of the model's family are known to give the same bits on any number of threads.
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
    shard: bool = False
    recompute: bool = False
    pack: int = 1
    steady: bool = True


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
    shard: bool | None = None,
) -> Runtime:
    """Chooses how to compute a phase.

    Args:
        vocab, rows, positions: what the data need (`Source.vocab`, `.rows`, `.context`); positions
            default to the model's context.
        steps: how far this process will train, to judge whether compiling pays.
        threads: of each process, on a CPU.
        world_size: processes that share a batch.
        shard: as in `Runtime`; by default where a copy for each GPU does not fit its share of the memory.

    Raises:
        EnvironmentProblem: a CUDA device that is not there, or sequences that cannot be shared out.
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
    elif device.type == "cpu" and attention == "matmul" and float32_through_onednn():
        # Under "medium" fused CPU attention would run its many small products one by one, far slower.
        precision = "medium"
    config = recipe.model.config(vocab, rows)
    work = float(steps or 0) * recipe.batch * positions * flops_per_token(config, positions) / world_size
    bound = max(CUDA_LOGITS if cuda else CPU_LOGITS, FEWEST_ROWS * (rows or vocab))
    compiled = cuda and work / ASSUMED_FLOPS >= COMPILE_FROM_SECONDS
    need = partial(_bytes_per_sequence, config, positions, attention, recipe.precision == "bf16")
    memory, state = CPU_MEMORY, 0
    if cuda:
        free, total = torch.cuda.mem_get_info(device)
        state = STATE_BYTES * parameters(config)
        if shard is None:
            shard = state + need() > CUDA_SHARE * total
        if shard and world_size > 1:
            # Until the last part of a batch sums them up, every worker also holds whole gradients. All workers must
            # cut alike, so only what all of them see may count.
            state = state // world_size + GRADIENT_BYTES * parameters(config)
            free = total
        memory = int(CUDA_SHARE * free)
    shard = bool(shard) and world_size > 1
    if shard and recipe.batch % world_size:
        raise EnvironmentProblem(
            f"{world_size} workers that hold a share of the weights each need equal parts of the batch, "
            f"and {recipe.batch} sequences cannot be shared out equally"
        )
    if cuda:
        state += LOGITS_BYTES * bound
    room = max(0, memory - state)
    recompute = cuda and room < need()
    share = -(-recipe.batch // world_size)
    micro_batch = max(1, min(share, room // need(recompute)))
    if compiled:
        micro_batch = _even(share, micro_batch)
    return Runtime(
        device=device,
        threads=threads,
        world_size=world_size,
        attention=attention,
        matmul_precision=precision,
        autocast=recipe.precision == "bf16",
        compile=compiled,
        pad_vocab=64 if cuda and rows is None else 1,
        logits_bound=bound,
        micro_batch=micro_batch,
        trim=0 if cuda or shard else CPU_TRIM,
        shard=shard,
        recompute=recompute,
        steady=family_of(config).steady,
    )


def _even(share: int, most: int) -> int:
    """Sequences at once so that all parts are alike, which a compiled graph wants; at worst half of `most`."""
    return next((size for size in range(most, most // 2, -1) if share % size == 0), most)


def set_process(runtime: Runtime) -> None:
    """Sets what belongs to the process, for every phase anew: a worker used again has the settings of the last."""
    torch.set_num_threads(runtime.threads)
    torch.set_float32_matmul_precision(runtime.matmul_precision)
    if runtime.device.type == "cuda" and runtime.device.index is not None:
        torch.cuda.set_device(runtime.device)


def set_model(runtime: Runtime, model: Network) -> None:
    """Chooses the model's kernels."""
    model.attention = runtime.attention
    model.recompute = runtime.recompute
    if runtime.compile:
        for block in model.blocks:
            block.compile()  # one graph for all blocks, so the cost does not grow with the depth


def compiles_loss(runtime: Runtime, vocab: int) -> bool:
    """Whether the head and its loss are worth compiling, beside the blocks."""
    return runtime.compile and vocab >= COMPILE_LOSS_FROM


def without_compiling(runtime: Runtime) -> AbstractContextManager[Any]:
    """For evaluations: compiled for them too, with their own batch sizes, a graph would cost more than it saves.

    The graphs of training would also be made for any size then, instead of for theirs.
    """
    return torch.compiler.set_stance("force_eager") if runtime.compile else nullcontext()


def provenance(runtime: Runtime) -> dict[str, Any]:
    """Everything that may change bits but not meaning, as plain data; equal for equal circumstances."""
    facts: dict[str, Any] = {
        "device": torch.cuda.get_device_name(runtime.device) if runtime.device.type == "cuda" else _cpu_name(),
        "device_type": runtime.device.type,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": ANY_THREADS if any_threads(runtime) else runtime.threads,
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
        "shard": runtime.shard,
        "recompute": runtime.recompute,
        "pack": runtime.pack,
        "optimizer": "torch AdamW, fused",
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        # The order of sums on a GPU and over many processes is not fixed; of two numbers there is but one sum.
        "repeats_exactly": runtime.device.type == "cpu" and (runtime.world_size == 1 or _pair_of_copies(runtime)),
        "platform": platform.platform(),
    }
    if runtime.device.type == "cpu" and steady_products():
        facts["sums"] = "in one order"
    if runtime.device.type == "cuda":
        facts |= {"cuda": torch.version.cuda, "capability": list(torch.cuda.get_device_capability(runtime.device))}
    return facts


def any_threads(runtime: Runtime) -> bool:
    """Whether the numbers are the same bit for bit on any number of threads.

    On a CPU of Intel in float32 they are, where MKL was told to add up in one order (see `steady_products`), which
    is tried. The libraries of other makers' processors are not known to do so; oneDNN, which "medium" means on AMD,
    splits narrow products among the threads.
    """
    plain = (
        runtime.device.type == "cpu"
        and not runtime.autocast
        and not runtime.shard
        and runtime.pack == 1
        and runtime.steady
    )
    return plain and runtime.matmul_precision == "highest" and steady_products() and _products_are_steady()


def _pair_of_copies(runtime: Runtime) -> bool:
    return runtime.world_size == 2 and not runtime.shard


@lru_cache
def _products_are_steady() -> bool:
    """Tries products that libraries like to split: of few results and long sums."""
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    generator = torch.Generator().manual_seed(0)
    found = []
    for wide, narrow in ((256, 64), (64, 64), (102, 64), (48, 16)):
        x_ND, y_NE = (torch.randn(4096, size, generator=generator) for size in (wide, narrow))
        products = []
        for count in (1, 2, 3, 8):
            torch.set_num_threads(count)
            products.append(x_ND.t() @ y_NE)
        found.append(all(torch.equal(products[0], product) for product in products))
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(precision)
    return all(found)


def _bytes_per_sequence(
    config: ModelConfig, positions: int, attention: str, autocast: bool, recompute: bool = False
) -> int:
    """About what the activations of one sequence take until the backward pass has used them."""
    element = 2 if autocast else 4
    block = (20 * element + 8) * config.width  # normalisations, q k v, both sides of the GELU, residuals
    if attention == "matmul":
        block += 3 * element * config.heads * positions
    ends = 3 * element * config.width  # the states that the head gets, and their gradients
    if recompute:
        return positions * (config.layers * 4 * config.width + block + ends)
    return positions * (config.layers * block + ends)


@lru_cache
def float32_through_onednn() -> bool:
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
