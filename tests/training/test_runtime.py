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
    runtime._float32_through_onednn.cache_clear()
    monkeypatch.setattr(runtime, "_cpu_facts", lambda: {"vendor_id": vendor, "flags": flags})
    try:
        assert runtime.resolve(recipe(), CPU, vocab=50).matmul_precision == expected
        # Fused attention would be several times slower under "medium".
        long = recipe(model=ModelShape(1, 1, 8, context=2048))
        assert runtime.resolve(long, CPU, vocab=50).matmul_precision == "highest"
    finally:
        runtime._float32_through_onednn.cache_clear()


def test_settings_of_the_last_phase_do_not_stay():
    torch.set_num_threads(2)
    torch.set_float32_matmul_precision("high")
    chosen = runtime.resolve(recipe(), CPU, vocab=50, threads=1)
    model = GPT2(runtime.model_config(recipe(), 50, None), seed=0)
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
    assert not two["repeats_exactly"]
    assert {key for key in two if two[key] != facts[0][key]} == {"world_size", "micro_batch", "repeats_exactly"}


def test_workers_get_threads_and_a_patient_openmp():
    assert worker_environment(3)["OMP_NUM_THREADS"] == "3"
    assert worker_environment(1)["OMP_WAIT_POLICY"] == "passive"
