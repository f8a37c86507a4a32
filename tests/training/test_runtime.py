import json

import pytest
import torch

from procray.errors import EnvironmentProblem
from procray.model import GPT2
from procray.training import runtime
from procray.training.environment import worker_environment
from procray.training.recipe import ModelShape

from .phases import recipe

CPU = torch.device("cpu")


def test_attention_follows_the_length_that_the_data_need():
    def kernel(positions):
        return runtime.resolve(recipe(), CPU, vocab=50, positions=positions).attention

    assert kernel(512) == "matmul"
    assert kernel(513) == "sdpa"


def test_a_small_batch_is_taken_whole_and_a_large_one_in_parts():
    assert runtime.resolve(recipe(), CPU, vocab=50).micro_batch == 8
    large = recipe(model=ModelShape(12, 12, 768, context=1024), batch=512)
    part = runtime.resolve(large, CPU, vocab=50257).micro_batch
    assert 1 <= part < 32
    assert runtime.resolve(large, CPU, vocab=50257, threads=4).micro_batch == part, "a matter of the recipe alone"


def test_workers_share_the_batch():
    assert runtime.resolve(recipe(batch=9), CPU, vocab=50, world_size=2).micro_batch == 5
    with pytest.raises(EnvironmentProblem, match="a batch of 8 sequences cannot be shared by 9 workers"):
        runtime.resolve(recipe(), CPU, vocab=50, world_size=9)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_gpu_is_named():
    with pytest.raises(EnvironmentProblem, match="'cuda:1' was asked for"):
        runtime.resolve(recipe(), torch.device("cuda:1"), vocab=50)


GIB = 1 << 30
PAPERS_124M = recipe(model=ModelShape(12, 12, 768, context=1024), batch=64, precision="bf16")
LARGE = recipe(model=ModelShape(24, 16, 2048, context=2048), batch=32, precision="bf16")


@pytest.fixture
def gpu(monkeypatch):
    """Pretends that there is a GPU of so many GiB, all of them free."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    def resolve(phase, gib, vocab=50257, **more):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (gib * GIB, gib * GIB))
        return runtime.resolve(phase, torch.device("cuda:0"), vocab=vocab, **more)

    return resolve


def test_what_a_gpu_computes_with(gpu):
    chosen = gpu(PAPERS_124M, 140, steps=10_000)
    assert (chosen.attention, chosen.matmul_precision, chosen.autocast) == ("sdpa", "high", True)
    assert (chosen.pad_vocab, chosen.trim, chosen.compile) == (64, 0, True)
    assert not chosen.shard
    assert not chosen.recompute
    assert 64 % chosen.micro_batch == 0, "equal parts need one graph"
    assert runtime.compiles_loss(chosen, 50257)
    assert not runtime.compiles_loss(chosen, 102)


def test_compiling_has_to_pay(gpu):
    official = recipe(model=ModelShape(12, 12, 768, context=129, dropout=0.1), batch=64, precision="bf16")
    assert not gpu(official, 140, vocab=102, steps=2501).compile, "20.6 M positions take less than a minute"
    assert not gpu(PAPERS_124M, 140, steps=100).compile
    assert gpu(official, 140, vocab=102, steps=25_010).compile


def test_a_model_of_1_3_billion_fits_one_gpu_and_is_shared_out_over_small_ones(gpu):
    """Weights, gradients and moments take 21 GB, and a phase may have half of the memory."""
    alone = gpu(LARGE, 79)
    assert not alone.shard
    assert not alone.recompute
    assert alone.micro_batch >= 2
    assert not gpu(LARGE, 79, world_size=4).shard
    spread = gpu(LARGE, 40, world_size=8)
    assert spread.shard
    assert spread.micro_batch >= 1
    tight = gpu(LARGE, 46)
    assert tight.recompute, "21 of 23 GB are taken, and one sequence needs 6"
    assert not gpu(PAPERS_124M, 24, world_size=4).shard
    assert gpu(PAPERS_124M, 24, world_size=4, shard=True).shard
    assert not gpu(PAPERS_124M, 24, shard=True).shard, "one worker has nobody to share with"


@pytest.mark.parametrize(
    ("vendor", "flags", "expected"),
    [
        ("AuthenticAMD", "sse2 avx2 avx512f", "medium"),
        ("AuthenticAMD", "sse2 avx2", "highest"),
        ("AuthenticAMD", "avx512f amx_bf16", "highest"),
        ("GenuineIntel", "avx512f", "highest"),
    ],
)
def test_onednn_only_where_it_stays_float32(monkeypatch, vendor, flags, expected):
    runtime.float32_through_onednn.cache_clear()
    monkeypatch.setattr(runtime, "_cpu_facts", lambda: {"vendor_id": vendor, "flags": flags})
    try:
        assert runtime.resolve(recipe(), CPU, vocab=50).matmul_precision == expected
        # Fused attention would be several times slower under "medium".
        long = recipe(model=ModelShape(1, 1, 8, context=2048))
        assert runtime.resolve(long, CPU, vocab=50).matmul_precision == "highest"
    finally:
        runtime.float32_through_onednn.cache_clear()


def test_settings_of_the_last_phase_do_not_stay():
    torch.set_num_threads(2)
    torch.set_float32_matmul_precision("high")
    chosen = runtime.resolve(recipe(), CPU, vocab=50, threads=1)
    model = GPT2(recipe().model.config(50, None), seed=0)
    runtime.set_process(chosen)
    runtime.set_model(chosen, model)
    assert torch.get_num_threads() == 1
    assert torch.get_float32_matmul_precision() == chosen.matmul_precision
    assert model.attention == "matmul"


def test_provenance_is_plain_and_repeatable():
    facts = [runtime.provenance(runtime.resolve(recipe(), CPU, vocab=50)) for _ in range(2)]
    assert facts[0] == facts[1] == json.loads(json.dumps(facts[0]))
    assert facts[0]["repeats_exactly"]
    two = runtime.provenance(runtime.resolve(recipe(), CPU, vocab=50, world_size=2))
    assert two["repeats_exactly"], "of two numbers there is but one sum"
    assert {key for key in two if two[key] != facts[0][key]} == {"world_size", "micro_batch"}
    three = runtime.provenance(runtime.resolve(recipe(), CPU, vocab=50, world_size=3))
    assert not three["repeats_exactly"]


def test_workers_get_threads_and_a_patient_openmp():
    assert worker_environment(3)["OMP_NUM_THREADS"] == "3"
    assert worker_environment(1)["OMP_WAIT_POLICY"] == "passive"
