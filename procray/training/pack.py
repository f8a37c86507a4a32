"""Trains several phases of one small shape together, as one stacked model: `train_pack`.

Off unless asked for: neither planning nor scheduling use it. Batches are made on the host, once for phases that see
the same data, and travel together. Every phase keeps its own journal, marks and resume states, as if alone.

Shape suffixes: M phases, U different batches, B sequences, T positions, S scored positions (at most, of one phase),
P weights of one model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from procray.batch import Batch
from procray.errors import EnvironmentProblem, PhaseFailed, ProcrayError
from procray.model.pack import Pack
from procray.training import runtime as rt
from procray.training.context import Context
from procray.training.loop import Outcome, Run
from procray.training.losses import PENDING
from procray.training.objective import send
from procray.training.parts import computed
from procray.training.recipe import PhaseRecipe
from procray.training.schedule import lr_at
from procray.training.source import Source

Step = Callable[..., tuple[Tensor, Tensor]]


def train_pack(
    recipes: Sequence[PhaseRecipe],
    sources: Sequence[Source],
    contexts: Sequence[Context],
    *,
    until: int,
    marks: Iterable[int] = (),
    threads: int = 1,
    compile: bool = False,
    capture: bool = False,
) -> list[Outcome | PhaseFailed]:
    """Trains phases together to step `until`, each to the numbers that `train` gives it alone, up to rounding.

    The phases share model shape, vocabulary, batch, precision and device; seeds, data, optimisers, inits, what is
    frozen and evaluations are each one's own. One that is behind the others is first trained alone as far as they
    are; one that is solved, fails or is asked to stop leaves, and the rest go on.

    Args:
        recipes, sources, contexts: of each phase, as for `train`; one process a pack.
        until, marks, threads: as for `train`.
        compile: compile loss and optimiser step; worth some ten thousand steps.
        capture: record a whole step as a CUDA graph and replay it.

    Returns:
        How each ended, or why it failed.

    Raises:
        ProcrayError: phases that cannot be packed.
        PhaseFailed: a batch in which nothing is scored.
        EnvironmentProblem: `capture` without CUDA.
    """
    _require_alike(recipes, contexts, capture)
    wanted = {step for step in marks if step <= until} | {until}
    runs = []
    for recipe, source, context in zip(recipes, sources, contexts, strict=True):
        choices = rt.resolve(
            recipe,
            context.device,
            vocab=source.vocab,
            rows=source.rows,
            positions=source.context,
            steps=until,
            threads=threads,
        )
        # Evaluations, and whoever is behind, use the members one by one; what is compiled is the pack.
        runs.append(Run(recipe, source, context, replace(choices, compile=False, pad_vocab=1, pack=len(recipes))))
    outcomes: list[Outcome | PhaseFailed] = []
    most = max(run.state.step for run in runs)
    waiting: dict[int, Iterator[None]] = {}
    for member, run in enumerate(runs):
        try:
            if run.state.step < most:
                run.to(most, wanted - {most})
        except PhaseFailed as error:
            outcomes.append(error)
            continue
        outcomes.append(run.outcome())
        if run.status == "done":
            waiting[member] = run.steps(until, wanted)
    together: Together | None = None
    while True:
        left = _between(runs, waiting, outcomes)
        if not waiting:
            break
        if together is None or left:
            together = Together([runs[member] for member in waiting], compile, capture)
        together.update(wanted)
    for run in runs:
        run.ranks.close()
    return outcomes


def _between(runs: Sequence[Run], waiting: dict[int, Iterator[None]], outcomes: list[Outcome | PhaseFailed]) -> bool:
    """What each does between two updates; whoever is at its end leaves. Whether somebody left."""
    gone = []
    for member, steps in waiting.items():
        try:
            next(steps)
        except StopIteration:
            outcomes[member] = runs[member].outcome()
            gone.append(member)
        except PhaseFailed as error:
            outcomes[member] = error
            gone.append(member)
    for member in gone:
        del waiting[member]
    return bool(gone)


def _require_alike(recipes: Sequence[PhaseRecipe], contexts: Sequence[Context], capture: bool) -> None:
    first = recipes[0]
    for name in ("model", "batch", "precision"):
        if any(getattr(recipe, name) != getattr(first, name) for recipe in recipes):
            raise ProcrayError(f"phases with different {name} cannot be trained as one pack")
    if any(recipe.interleaving is not None for recipe in recipes):  # whose softmax is over a part of the head
        raise ProcrayError("a phase with a task among its text, or rows for one, cannot be trained in a pack")
    if any(context.world_size > 1 or context.device != contexts[0].device for context in contexts):
        raise ProcrayError("a pack is trained by one process on one device")
    if capture and contexts[0].device.type != "cuda":
        raise EnvironmentProblem(f"a step can be captured on CUDA only, not on '{contexts[0].device}'")


class Together:
    """The members' weights and moments in one matrix each, and the step that moves them all.

    On CUDA nothing in a step waits for the device.
    """

    def __init__(self, runs: Sequence[Run], compile: bool, capture: bool):
        self.runs = runs
        self.device = runs[0].context.device
        self.autocast = runs[0].runtime.autocast
        self.capture = capture
        self.pack = Pack([run.model for run in runs])
        flat_MP = self.pack.flat_MP
        self.exp_avg_MP, self.exp_avg_sq_MP = torch.zeros_like(flat_MP), torch.zeros_like(flat_MP)
        self._adopt_moments()
        chosen = [run.recipe.optimizer for run in runs]
        self.beta1_M1, self.beta2_M1, self.eps_M1, self.clip_M1 = (
            torch.tensor(values, dtype=torch.float64, device=self.device)[:, None]
            for values in (
                [one.beta1 for one in chosen],
                [one.beta2 for one in chosen],
                [one.eps for one in chosen],
                [one.clip or math.inf for one in chosen],
            )
        )
        self.trained_MP, self.decay_MP = (torch.zeros_like(flat_MP) for _ in range(2))
        for filled, of in ((self.trained_MP, lambda group: 1.0), (self.decay_MP, lambda group: group["weight_decay"])):
            views = self.pack.views(filled.detach())
            for member, run in enumerate(runs):
                for group in run.optimizer.param_groups:
                    for name in group["names"]:
                        views[name][member] = of(group)
                for name, where in run.held.places.items():
                    views[name][member][where.to(self.device)] = 0.0
        self.updates_M1 = torch.full((len(runs), 1), runs[0].state.step, dtype=torch.float64, device=self.device)
        self.ring_M2K = torch.zeros(len(runs), 2, PENDING, device=self.device)
        for member, run in enumerate(runs):
            run.drain()
            run.losses.ring = self.ring_M2K[member]
        # The first phase that sees the same data; at the same length of a curriculum the batch is the same too.
        self.leaders = [next(i for i, other in enumerate(runs) if other.source == run.source) for run in runs]
        self.losses = torch.compile(self._losses) if compile else self._losses
        self.advance = torch.compile(self._advance) if compile else self._advance
        self.captured: dict[tuple[int, ...], _Captured] = {}

    def update(self, wanted: set[int]) -> None:
        """One optimiser step of every member."""
        for run in self.runs:
            run.pace.start()
        drawn: dict[tuple[int, int | None], int] = {}  # whose data at which length -> place among the batches
        batches: list[Batch] = []
        places = []
        for run, leader in zip(self.runs, self.leaders, strict=True):
            key = (leader, run.state.length)
            if key not in drawn:
                drawn[key] = len(batches)
                batch = run.source.batch(run.state.step, run.state.length)
                assert isinstance(batch, Batch)
                batches.append(batch)
            places.append(drawn[key])
        scored = [self.runs[places.index(place)].scored(batch) for place, batch in enumerate(batches)]
        rates = [lr_at(run.state.step, run.recipe.optimizer, run.recipe.steps) for run in self.runs]
        # Whoever shows its progress reads its losses, so the members need not stand at one slot of their rings.
        host = np.array([(place, len(run.losses.pending)) for place, run in zip(places, self.runs, strict=True)])
        place_M, slot_M = send(host, self.device).unbind(1)
        *data, lr_M1 = (send(array, self.device) for array in self._stacked(batches, scored, rates))
        inputs = [*(value.index_select(0, place_M) for value in data), lr_M1]
        found_M2 = torch.stack(self._step_for(inputs)(*inputs), 1)
        self.ring_M2K.scatter_(2, slot_M[:, None, None].expand(-1, 2, -1), found_M2[:, :, None])
        # What each would compute alone: what fills a stack up, or would be cut off there, is no work of a phase.
        alone = [self.runs[places.index(place)].runtime for place in range(len(batches))]
        parts = [
            computed(batch.mask_BT, 1, one.micro_batch, one.trim) for batch, one in zip(batches, alone, strict=True)
        ]
        for run, place, lr in zip(self.runs, places, rates, strict=True):
            run.count(batches[place], scored[place], lr, parts[place])
        if any(run.state.step % run.recipe.evaluation.every == 0 or run.state.step in wanted for run in self.runs):
            # No clock of a phase may run while another one evaluates.
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            for run in self.runs:
                run.pace.stop()

    def _stacked(self, batches: Sequence[Batch], scored: Sequence[int], rates: Sequence[float]) -> list[np.ndarray]:
        """`tokens_UBT, index_US, targets_US, weight_US, lr_M1`; what fills up weighs nothing."""
        U, B = len(batches), len(batches[0].mask_BT)
        T, S = max(batch.mask_BT.shape[1] for batch in batches), max(scored)
        if self.capture:  # as few shapes as possible: each is recorded by itself
            T, S = max(run.source.context for run in self.runs), -(-S // B) * B
        tokens_UBT = np.zeros((U, B, T), np.int32)
        index_US, targets_US = np.zeros((U, S), np.int64), np.zeros((U, S), np.int64)
        weight_US = np.zeros((U, S), np.float32)
        for place, (batch, values) in enumerate(zip(batches, scored, strict=True)):
            width = batch.mask_BT.shape[1]
            tokens_UBT[place, :, :width] = batch.tokens_BT
            index_N = np.flatnonzero(batch.mask_BT)
            targets_US[place, :values] = batch.targets_BT.reshape(-1)[index_N]
            index_US[place, :values] = index_N + index_N // width * (T - width)
            weight_US[place, :values] = 1 / values
        return [tokens_UBT, index_US, targets_US, weight_US, np.array(rates)[:, None]]

    def _step_for(self, inputs: Sequence[Tensor]) -> Step:
        if not self.capture:
            return self._step
        shape = tuple(inputs[0].shape + inputs[1].shape)
        if shape not in self.captured:
            state = [self.pack.flat_MP.detach(), self.exp_avg_MP, self.exp_avg_sq_MP, self.updates_M1]
            self.captured[shape] = _Captured(self._step, inputs, state)
        return self.captured[shape]

    def _step(
        self, tokens_MBT: Tensor, index_MS: Tensor, targets_MS: Tensor, weight_MS: Tensor, lr_M1: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Moves every member; returns `loss_M` and the gradient norms before clipping, `norm_M`."""
        loss_M = self.losses(self.pack.flat_MP, tokens_MBT, index_MS, targets_MS, weight_MS)
        (gradient_MP,) = torch.autograd.grad(loss_M.sum(), self.pack.flat_MP)
        return loss_M.detach(), self.advance(gradient_MP, lr_M1)

    def _losses(
        self, flat_MP: Tensor, tokens_MBT: Tensor, index_MS: Tensor, targets_MS: Tensor, weight_MS: Tensor
    ) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            logits_MSV = self.pack.logits(flat_MP, tokens_MBT, index_MS)
        loss_N = F.cross_entropy(logits_MSV.float().flatten(0, 1), targets_MS.flatten(), reduction="none")
        return (loss_N.view_as(weight_MS) * weight_MS).sum(1)

    @torch.no_grad()
    def _advance(self, gradient_MP: Tensor, lr_M1: Tensor) -> Tensor:
        """Clips and takes the step of AdamW, row by row; returns the norms before."""
        flat_MP, exp_avg_MP, exp_avg_sq_MP = self.pack.flat_MP, self.exp_avg_MP, self.exp_avg_sq_MP
        gradient_MP = gradient_MP * self.trained_MP
        norm_M1 = torch.linalg.vector_norm(gradient_MP, dim=1, keepdim=True)
        gradient_MP = gradient_MP * (self.clip_M1.float() / (norm_M1 + 1e-6)).clamp(max=1.0)
        self.updates_M1 += 1
        # The corrections need float64: early on they are differences of nearly equal numbers.
        size_M1 = (lr_M1 / (1 - self.beta1_M1**self.updates_M1)).float()
        root_M1 = (1 - self.beta2_M1**self.updates_M1).sqrt().float()
        flat_MP.mul_(1 - lr_M1.float() * self.decay_MP)
        exp_avg_MP.lerp_(gradient_MP, (1 - self.beta1_M1).float().expand_as(gradient_MP))
        exp_avg_sq_MP.lerp_(gradient_MP.square(), (1 - self.beta2_M1).float().expand_as(gradient_MP))
        flat_MP.sub_(size_M1 * exp_avg_MP / (exp_avg_sq_MP.sqrt() / root_M1 + self.eps_M1.float()))
        return norm_M1[:, 0]

    def _adopt_moments(self) -> None:
        """The members' moments become views of the pack's, with what is in them."""
        for key, flat_MP in (("exp_avg", self.exp_avg_MP), ("exp_avg_sq", self.exp_avg_sq_MP)):
            views = self.pack.views(flat_MP)
            for member, run in enumerate(self.runs):
                for group in run.optimizer.param_groups:
                    for name, parameter in zip(group["names"], group["params"], strict=True):
                        state: dict[str, Any] = run.optimizer.state[parameter]
                        if key in state:
                            views[name][member].copy_(state[key])
                        state[key] = views[name][member]


class _Captured:
    """A step recorded as a CUDA graph. Recording leaves `state` as it was."""

    def __init__(self, step: Step, inputs: Sequence[Tensor], state: Sequence[Tensor]):
        self.inputs = [value.clone() for value in inputs]
        before = [value.clone() for value in state]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # kernels choose themselves and allocate in the first steps
            for _ in range(3):
                step(*self.inputs)
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.outputs = step(*self.inputs)
        for value, old in zip(state, before, strict=True):
            value.copy_(old)

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        for mine, given in zip(self.inputs, inputs, strict=True):
            mine.copy_(given)
        self.graph.replay()
        return self.outputs
