import json
from itertools import pairwise

import pytest
import torch

from procray.training import FolderContext, loop, peak

from .phases import recipe, run


@pytest.mark.parametrize(
    ("name", "bf16", "tf32", "fp32"),
    [
        ("NVIDIA H200", 989.5, 494.7, 67.0),
        ("NVIDIA H100 80GB HBM3", 989.5, 494.7, 67.0),
        ("NVIDIA H100 PCIe", 756.0, 378.0, 51.0),
        ("NVIDIA GH200 480GB", 989.5, 494.7, 67.0),
        ("NVIDIA A100-SXM4-80GB", 312.0, 156.0, 19.5),
        ("NVIDIA L4", 121.0, 60.0, 30.3),
        ("NVIDIA L40S", 362.0, 183.0, 91.6),
        ("Tesla V100-SXM2-16GB", None, None, 15.7),
    ],
)
def test_the_peak_of_a_known_gpu_is_its_data_sheets(name, bf16, tf32, fp32):
    found = [peak.gpu_peak(name, *how) for how in ((True, True), (False, True), (False, False))]
    assert found == [None if one is None else one * 1e12 for one in (bf16, tf32, fp32)]


@pytest.mark.parametrize("name", ["NVIDIA H2000", "NVIDIA A1000 Laptop GPU", "AMD Instinct MI300X", "NVIDIA L400"])
def test_an_unknown_gpu_has_no_peak(name):
    assert peak.gpu_peak(name, True, True) is None


def test_a_cpu_is_measured_once_for_all_processes(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    peak._cpu_peak.cache_clear()
    first = peak.device_peak(torch.device("cpu"), False, 1)
    assert 1e8 < first < 1e14
    (path,) = (tmp_path / "procray").glob("peak-*.json")
    assert json.loads(path.read_text())["flops_per_s"] == first
    monkeypatch.setattr(peak, "matmul_rate", None)
    peak._cpu_peak.cache_clear()  # another process
    assert peak.device_peak(torch.device("cpu"), False, 1) == first
    peak._cpu_peak.cache_clear()


def test_a_cache_that_cannot_be_kept_costs_a_measurement(tmp_path, monkeypatch):
    (tmp_path / "procray").write_text("a file, where a folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(peak, "matmul_rate", lambda *_: 5e9)
    peak._cpu_peak.cache_clear()
    assert peak.device_peak(torch.device("cpu"), False, 1) == 5e9
    peak._cpu_peak.cache_clear()


def test_the_journal_has_the_share_of_the_peak(tmp_path, monkeypatch):
    """Model FLOPs of the interval over its seconds and the peak."""
    monkeypatch.setattr(loop, "device_peak", lambda *_: 1e10)
    run(recipe(), tmp_path / "phase", 8)
    rows = FolderContext(tmp_path / "phase").rows()
    assert rows[0]["mfu"] is None
    assert len(rows) > 2
    for before, after in pairwise(rows):
        seconds = (after["positions"] - before["positions"]) / after["positions_per_s"]
        assert after["mfu"] == pytest.approx((after["flops"] - before["flops"]) / seconds / 1e10)


def test_without_a_known_peak_there_is_no_share(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "device_peak", lambda *_: None)
    run(recipe(), tmp_path / "phase", 4)
    assert {row["mfu"] for row in FolderContext(tmp_path / "phase").rows()} == {None}
