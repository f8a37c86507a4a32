from __future__ import annotations

import pytest
from small_plans import phase

from procray.execution.jobs import executor_of


@pytest.mark.parametrize(
    ("resources", "flops", "executor"),
    [
        ({"workers": 1}, 1e20, "inprocess"),
        ({"workers": 2}, 1e12, "train-warm"),
        ({"workers": 2, "cpu": 4}, 2e14, "train-warm"),
        ({"workers": 2}, 2e14, "train"),
        ({"workers": 8, "gpu": 1.0}, 9e17, "train-warm"),
        ({"workers": 8, "gpu": 1.0}, 1e18, "train"),
        ({"workers": 8, "gpu": 1.0, "executor": "train-warm"}, 1e20, "train-warm"),
        ({"workers": 1, "executor": "train"}, 1.0, "train"),
    ],
)
def test_the_executor_follows_workers_and_work_unless_it_is_named(resources, flops, executor):
    assert executor_of(phase("small", [10], **resources), flops) == executor
