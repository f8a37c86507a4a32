from __future__ import annotations

from pathlib import Path

import pytest
import torch

from procray.corpora.tokenizer import Tokenizer, bpe_recipe, build_tokenizer, load_tokenizer
from procray.downstream.material import Material, of_text
from procray.model import build

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


PROSE = """\
The keeper of the garden was old, and the gardens of the town were older. A gardener with a spade is near the door.
The doors in the wall are green. A wall behind the house has a window; the windows of the houses have curtains.
The keepers know every path. A path is a line from the house to the river, and the paths are short. The house was
built by a keeper. The garden has a path. The door in the wall is closed, and the door of the house is open.
A window does not close. The windows do. The river is near. These rivers were wide, and the walls were high.
Each wall has a door, each house has a wall, each garden has a river, a town has a house and the towns have houses.
"""


@pytest.fixture(scope="session")
def texts() -> tuple[str, ...]:
    """Held-out text as a corpus of code has it: modules of this repository, and some prose."""
    names = ("network", "attention", "family", "checkpoint", "transfer", "components", "outside", "layout")
    return (*((ROOT / "procray" / "model" / f"{name}.py").read_text() for name in names), PROSE * 3)


@pytest.fixture(scope="session")
def bpe(texts) -> Tokenizer:
    return build_tokenizer(bpe_recipe(600), lambda: texts)


@pytest.fixture(scope="session")
def byte() -> Tokenizer:
    return load_tokenizer("byte", "")


@pytest.fixture(scope="session", params=["bpe", "byte"])
def material(request, texts) -> Material:
    """Of a tokenizer that joins letters, and of one that does not."""
    return of_text(request.getfixturevalue(request.param), texts)


@pytest.fixture
def make_model():
    """A small model of any family; without a seed all of its weights are 0, so that it knows nothing at all."""
    from procray.model import family

    def make(vocab: int, *, name: str = "gpt2", seed: int | None = 0, context: int = 128, **more):
        config = family(name).config(
            **{"layers": 2, "heads": 2, "width": 16, "vocab": vocab, "context": context, "tied": True, **more}
        )
        model = build(config, seed=0 if seed is None else seed)
        with torch.no_grad():
            for parameter in model.parameters():
                if seed is None:
                    parameter.zero_()
                else:  # weights of a beginner are so small that all answers would be nearly alike
                    parameter.mul_(4)
        return model.eval()

    return make
