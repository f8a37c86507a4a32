"""One Ray for all tests of this folder that need one."""

from __future__ import annotations

import pytest
from comparing import listen, reference, same_numbers, store

__all__ = ["listen", "local_ray", "reference", "same_numbers", "store"]


@pytest.fixture(scope="session")
def local_ray(tmp_path_factory):
    """Started as `run` starts its own; `run` uses what it finds."""
    from procray.execution.cluster import cluster
    from procray.training.environment import worker_environment

    with cluster(None, tmp_path_factory.mktemp("ray"), worker_environment(1)) as resources:
        yield resources
