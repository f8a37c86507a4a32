"""What a step does as a GPU does it, watched on a CPU: nothing in it may wait for the device."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from procray import tasks
from procray.training import FolderContext, task_source
from procray.training import runtime as rt
from procray.training.loop import Run
from procray.training.recipe import ModelShape

from .phases import RANGE, ROWS, recipe

# Each of them reads a value, or a number of elements, from the device.
WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "item", "equal", "bincount", "unique"}
READS = ("item", "tolist", "cpu", "numpy", "__bool__", "__int__", "__float__")
HAYSTACK = {"task": tasks.get("haystack", pairs=4).recipe()}


class Watch(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.seen = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.seen[function.overloadpacket.__name__] += 1
        return function(*args, **(kwargs or {}))


def begin(phase, folder, **changes):
    """A phase begun with the choices for a GPU."""
    source = task_source(phase)
    plain = rt.resolve(phase, torch.device("cpu"), vocab=source.vocab, rows=source.rows, positions=source.context)
    pad_vocab = 64 if source.rows is None else 1
    chosen = replace(plain, attention="sdpa", pad_vocab=pad_vocab, trim=0, **changes)
    return Run(phase, source, FolderContext(folder), chosen)


@pytest.mark.parametrize("data", [RANGE, ROWS, HAYSTACK])
@pytest.mark.parametrize("changes", [{}, {"micro_batch": 3, "logits_bound": 200}, {"autocast": True}])
def test_no_step_waits_for_the_device(tmp_path, monkeypatch, data, changes):
    run = begin(recipe(data=data, model=ModelShape(2, 2, 16, context=32, dropout=0.1)), tmp_path, **changes)
    run.update()
    reads = []
    for name in READS:
        plain = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor, name, lambda *given, _plain=plain, _name=name: (reads.append(_name), _plain(*given))[1]
        )
    with Watch() as watch:
        for _ in range(3):
            run.update()
    assert watch.seen["addmm"] > 0
    assert not WAITS.intersection(watch.seen)
    assert not reads
    run.drain()
    assert reads, "what an evaluation reads is seen"


def test_a_step_of_the_two_layer_model_is_few_calls(tmp_path):
    """Every call is a launch: at some 5 microseconds each they are what a tiny model's step costs on a GPU."""
    run = begin(recipe(data=HAYSTACK), tmp_path)
    run.update()
    with Watch() as watch:
        run.update()
    free = ("view", "_unsafe_view", "t", "transpose", "detach", "split", "expand", "as_strided", "select", "slice")
    assert sum(count for name, count in watch.seen.items() if name not in free) < 140


def test_computing_blocks_again_gives_the_same_gradients(tmp_path):
    """Dropout included: the second time it has to strike the same places."""
    phase = recipe(data=RANGE, model=ModelShape(3, 2, 16, context=32, dropout=0.1))
    losses = []
    for recompute in (False, True):
        run = begin(phase, tmp_path / str(recompute), recompute=recompute)
        for _ in range(3):
            run.update()
        run.drain()
        losses.append(run.losses.last)
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
