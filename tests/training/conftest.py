import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread():
    """Bits depend on the thread count, and small models are fastest with one."""
    torch.set_num_threads(1)
