from __future__ import annotations

import pytest
import torch

from procray.model import GPT2, GPT2Config


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def hf():
    """transformers, imported once: it takes seconds."""
    import transformers

    transformers.logging.set_verbosity_error()
    return transformers


@pytest.fixture
def build():
    """A small model; keyword arguments change its shape."""

    def make(seed: int = 0, **changes) -> GPT2:
        shape = {"layers": 2, "heads": 4, "width": 32, "vocab": 53, "context": 24} | changes
        model = GPT2(GPT2Config(**shape), seed=seed)
        generator = torch.Generator().manual_seed(seed + 1000)
        with torch.no_grad():  # biases and normalisations away from 0 and 1, or no test would see them
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        return model

    return make
