"""Trains one phase, or a stretch of it, on one process or on several that share each batch.

Shape suffixes: B sequences, T positions.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from procray.batch import Batch, RowBatch
from procray.errors import EnvironmentProblem, PhaseFailed, StoreError
from procray.files import read_json, sha256_file, write_json
from procray.model import (
    GPT2,
    Piece,
    compose,
    flops_per_token,
    load_weights,
)
from procray.model.checkpoint import write_weights
from procray.model.components import whole
from procray.model.outside import OUTSIDE, Outside
from procray.training import runtime as rt
from procray.training.context import Context
from procray.training.evaluate import evaluate
from procray.training.objective import Objective, scored_values, to_device
from procray.training.optimizer import build_optimizer, clip_gradients, freeze
from procray.training.peak import device_peak
from procray.training.placement import Copies, Placement
from procray.training.ranks import Ranks
from procray.training.recipe import Parent, PhaseRecipe
from procray.training.schedule import lr_at
from procray.training.source import Source
from procray.training.state import State, load_state, save_state, state_tensors
from procray.training.trace import Trace

# Losses and gradient norms wait on the device for this many steps before the host reads them, so that a
# GPU never waits for the host; a NaN is found that late at most.
PENDING = 50
SAVE_AT_EVALUATION_SECONDS = 20.0
SAVE_ANYWHERE_SECONDS = 300.0  # where evaluations lie far apart
PROGRESS_SECONDS = 1.0


@dataclass(frozen=True)
class Outcome:
    """How a call of `train` ended.

    Attributes:
        step: updates made since the phase began.
        status: "done" when `until` was reached or the phase is solved, "paused" when the context asked to stop.
        tokens: nominal tokens consumed.
        evaluation: the last row of the journal.
        transfer: the manifest of what was carried in from parents; None without parents.
    """

    step: int
    status: Literal["done", "paused"]
    tokens: int
    evaluation: dict[str, Any] | None
    transfer: dict[str, Any] | None = None


def train(
    recipe: PhaseRecipe,
    source: Source,
    context: Context,
    *,
    until: int,
    marks: Iterable[int],
    threads: int = 1,
    micro_batch: int | None = None,
    trim: int | None = None,
    shard: bool | None = None,
    trace: Trace | None = None,
) -> Outcome:
    """Trains a phase to step `until`, from its latest resume state or from the beginning.

    With several processes the caller has initialised torch.distributed, and every rank makes the same call.
    On one CPU process with a fixed thread count, weights and evaluations are the same bit for bit, however
    often the phase was interrupted, wherever it was marked and however far it is extended.

    With `recipe.evaluation.solved`, training ends for good at the evaluation that completes the streak: its row
    has `solved: true`, and every later mark holds the weights of that step, with `solved_at` in its manifest.

    Args:
        source: its data, from `task_source` or `text_source`.
        until: a step; for a decaying schedule at most `recipe.steps`.
        marks: steps at which to keep a checkpoint; `until` is always one, and later ones are left aside.
        threads: of this process.
        micro_batch: sequences that a process takes at once; by default as many as memory surely holds.
        trim: see `micro_batches`; by default what suits the device.
        shard: every process holds a share of weights, gradients and moments; by default where copies do not fit.
        trace: records some of the steps.

    Raises:
        PhaseFailed: the loss, the gradient or the weights are no longer finite. The last resume state stays.
        StoreError: a resume state that does not belong here.
        TransferError: parents that do not fit.
    """
    assert recipe.steps is None or until <= recipe.steps, "a decaying schedule ends at its own length"
    choices = rt.resolve(
        recipe,
        context.device,
        vocab=source.vocab,
        rows=source.rows,
        positions=source.context,
        steps=until,
        threads=threads,
        world_size=context.world_size,
        shard=shard,
    )
    if micro_batch is not None:
        choices = replace(choices, micro_batch=micro_batch)
    if trim is not None:
        assert not choices.shard, "workers that share out weights need equally many parts"
        choices = replace(choices, trim=trim)
    run = Run(recipe, source, context, choices)
    outcome = run.to(until, {step for step in marks if step <= until} | {until}, trace)
    run.ranks.close()
    return outcome


class Run:
    """One call of `train`: the model, its optimiser and the counters, moved forward step by step."""

    def __init__(self, recipe: PhaseRecipe, source: Source, context: Context, runtime: rt.Runtime):
        self.recipe, self.source, self.context, self.runtime = recipe, source, context, runtime
        rt.set_process(runtime)
        config = rt.model_config(recipe, source.vocab, source.rows, runtime.pad_vocab)
        self.model = GPT2(config, seed=recipe.seed)
        freeze(self.model, recipe.init.freeze)
        resume = context.latest_resume()
        self.fresh = resume is None
        transfer = carry_in(self.model, recipe, context) if resume is None else None
        compiled = rt.compiles_loss(runtime, source.vocab)
        self.objective = Objective(self.model, runtime.logits_bound, runtime.autocast, compiled)
        self.placement = _placement(runtime)(self.objective, context.device, context.world_size)
        rt.set_model(runtime, self.model)
        self.optimizer = build_optimizer(self.model, recipe.optimizer)
        self.parameters = list(self.model.parameters())
        self.ranks = Ranks(context.world_size)
        if resume is None:
            curriculum = source.curriculum
            self.state = State(length=None if curriculum is None else curriculum.start, transfer=transfer)
        else:
            self.state = load_state(resume, recipe, self.model, self.optimizer, self.placement.share)
        mine = [float(self.state.step), float(runtime.micro_batch if runtime.shard else 0)]
        step, size = (total / context.world_size for total in self.ranks.add(mine))
        if step != mine[0]:
            raise StoreError("the workers of a phase found different resume states; do they share one store?")
        if size != mine[1]:  # every part of a batch gathers weights from all workers
            raise EnvironmentProblem("workers with unequal devices cannot share out weights; choose a micro batch")
        self.objective.train()
        self.ring = torch.zeros(2, PENDING, device=context.device)  # losses and norms not read yet
        self.pending: list[tuple[int, float, int]] = []  # step, learning rate and scored values of each
        self.last: tuple[int, float, float, float] | None = None  # step, learning rate, loss, norm last read
        self.flops_at: dict[int, float] = {}  # per position, by length
        self.saved_step = self.state.step
        self.status: Literal["done", "paused"] = "done"
        self.started: float | None = None  # the clock of training stands still
        self.saved_at = self.shown_at = time.perf_counter()
        self.shown_tokens, self.shown_seconds, self.shown_flops = (
            self.state.tokens,
            self.state.seconds,
            self.state.flops,
        )
        peak = device_peak(context.device, runtime.autocast, runtime.threads)
        self.peak = None if peak is None else peak * context.world_size  # FLOP/s of all processes together

    def to(self, until: int, wanted: set[int], trace: Trace | None = None) -> Outcome:
        for _ in self.steps(until, wanted):
            if trace is not None:
                trace.before(self.state.step)
            self.update()
        if trace is not None:
            trace.end()
        return self.outcome()

    def steps(self, until: int, wanted: set[int]) -> Iterator[None]:
        """Everything but the updates: yields where one is due, and evaluates, marks and saves in between."""
        state, every = self.state, self.recipe.evaluation.every
        if state.step > until:
            raise StoreError(f"the resume state is at step {state.step}, beyond step {until} that is wanted")
        if self.fresh or (state.step in wanted and not state.marked):
            if state.row is None or state.row["step"] != state.step:
                self.measure()
            if state.step in wanted:
                self.keep()
            self.fresh = False
        while state.step < until and state.solved_at is None:
            if self.ranks.any(self.context.should_stop()):
                self.save()
                self.status = "paused"
                return
            yield
            on_cadence = state.step % every == 0
            if on_cadence or state.step in wanted:
                self.measure()
                if on_cadence:
                    self.begin_interval()
                if state.step in wanted:
                    self.keep()
                elif self.due(SAVE_AT_EVALUATION_SECONDS):
                    self.save()
            elif len(self.pending) == PENDING:
                self.drain()
                if self.due(SAVE_ANYWHERE_SECONDS):
                    self.save()
            self.show()
        if state.solved_at is not None:
            self.save()
            for step in sorted(step for step in wanted if step > state.step):
                self.save_mark(step)

    def update(self) -> None:
        """One optimiser step. On CUDA nothing in it waits for the device."""
        recipe, state, context = self.recipe, self.state, self.context
        self.start_clock()
        batch = self.source.batch(state.step, state.length)
        scored = self.scored(batch)
        lr = lr_at(state.step, recipe.optimizer, recipe.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        if recipe.model.dropout > 0:
            # Dropout is a function of the step too: there is no random state to save, or to lose.
            key = hashlib.sha256(f"{recipe.seed}/dropout/{state.step}/{context.rank}".encode()).digest()
            torch.manual_seed(int.from_bytes(key[:8]) >> 1)
        # Gradients are averaged over ranks; the objective wants the sum over all of them.
        weight = context.world_size / scored
        loss: torch.Tensor | None = None
        parts = micro_batches(batch, context.rank, context.world_size, self.runtime.micro_batch, self.runtime.trim)
        for number, part in enumerate(parts, 1):
            data = to_device(part, context.device)
            with self.placement.part(last=number == len(parts)):
                value = self.placement.module(data.inputs, data.targets, data.index_N, weight)
                value.backward()
            loss = value.detach() if loss is None else loss + value.detach()
        assert loss is not None, "a rank has at least one sequence"
        norm = clip_gradients(self.parameters, recipe.optimizer.clip, self.placement.whole)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.ring[0, len(self.pending)] = loss
        self.ring[1, len(self.pending)] = norm
        self.count(batch, scored, lr)

    def scored(self, batch: Batch | RowBatch) -> int:
        """How many values the next batch scores.

        Raises:
            PhaseFailed: none at all.
        """
        scored = scored_values(batch)
        if scored == 0:
            step = self.state.step
            raise PhaseFailed(f"the batch of step {step} scores no position, so there is nothing to learn from")
        return scored

    def count(self, batch: Batch | RowBatch, scored: int, lr: float) -> None:
        """Takes note of an update whose loss and norm stand in the ring."""
        state = self.state
        self.pending.append((state.step, lr, scored))
        positions_T = batch.mask_BT.shape[1]
        if positions_T not in self.flops_at:
            self.flops_at[positions_T] = flops_per_token(self.model.config, positions_T)
        positions = batch.mask_BT.size
        state.step += 1
        state.marked = False
        state.tokens += batch.nominal_tokens
        state.scored_tokens += scored
        state.positions += positions
        flops = positions * self.flops_at[positions_T]
        state.flops += flops
        state.since_flops += flops
        state.since_tokens += batch.nominal_tokens
        state.since_positions += positions

    def drain(self) -> None:
        """Reads the losses and norms that wait on the device; all ranks must do so at the same step.

        Raises:
            PhaseFailed: one of them is not finite.
        """
        if not self.pending:
            return
        losses, norms = self.ring[:, : len(self.pending)].tolist()
        losses = self.ranks.add(losses)
        for (step, lr, scored), total, norm in zip(self.pending, losses, norms, strict=True):
            loss = total / self.context.world_size
            self.last = (step, lr, loss, norm)
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise self.failure(f"the loss is {loss:g}")
            self.state.since_loss += loss * scored
            self.state.since_scored += scored
            self.state.since_norm += norm
            self.state.since_steps += 1
        self.pending.clear()

    def measure(self) -> None:
        """Evaluates and writes a row of the journal."""
        self.drain()
        self.stop_clock()
        state, source = self.state, self.source
        with rt.without_compiling(self.runtime):
            metrics = evaluate(
                self.objective,
                source.validation(state.length),
                self.context.device,
                self.context.rank,
                self.context.world_size,
                self.ranks.add,
            )
        self.placement.rest()
        if not math.isfinite(metrics.loss):
            raise self.failure(f"the validation loss is {metrics.loss:g}")
        trained, seconds = state.since_steps > 0, state.since_seconds
        state.row = {
            "step": state.step,
            "tokens": state.tokens,
            "scored_tokens": state.scored_tokens,
            "positions": state.positions,
            "flops": state.flops,
            "loss": metrics.loss,
            "accuracy": metrics.accuracy,
            "exact": metrics.exact if source.whole_answers else None,
            **metrics.parts,
            "train_loss": state.since_loss / state.since_scored if trained else None,
            "lr": lr_at(state.step - 1, self.recipe.optimizer, self.recipe.steps) if state.step else None,
            "grad_norm": state.since_norm / state.since_steps if trained else None,
            "tokens_per_s": state.since_tokens / seconds if trained and seconds else None,
            "positions_per_s": state.since_positions / seconds if trained and seconds else None,
            "mfu": self.mfu(state.since_flops, seconds) if trained else None,
            "seconds": state.seconds,
            **source.exposure(state.step),
            **({} if state.length is None else {"length": state.length}),
            **({"solved": True} if self.solved(metrics.accuracy) else {}),
            "time": time.time(),
        }
        if self.context.rank == 0:
            self.context.journal(state.row)

    def solved(self, accuracy: float) -> bool:
        """Whether this evaluation ends the phase. Only the cadence counts, and a curriculum only at its last length."""
        state, rule, curriculum = self.state, self.recipe.evaluation.solved, self.source.curriculum
        if rule is None or state.step == 0 or state.step % self.recipe.evaluation.every:
            return False
        grown = curriculum is None or state.length is None or curriculum.after(state.length) == state.length
        state.streak = state.streak + 1 if grown and accuracy >= rule.accuracy else 0
        if state.streak >= rule.evaluations:
            state.solved_at = state.step
        return state.solved_at is not None

    def begin_interval(self) -> None:
        """After an evaluation of the cadence: the sums begin anew, and a mastered curriculum grows."""
        state, curriculum = self.state, self.source.curriculum
        assert state.row is not None
        if curriculum is not None and state.length is not None and state.row["accuracy"] >= curriculum.mastery:
            state.length = curriculum.after(state.length)
        state.since_loss = state.since_norm = state.since_seconds = state.since_flops = 0.0
        state.since_scored = state.since_steps = state.since_tokens = state.since_positions = 0

    def keep(self) -> None:
        """Keeps a mark of this step, and a resume state to extend the phase from."""
        state = self.state
        self.require_finite_weights()
        self.save_mark(state.step)
        state.marked = True
        if state.step > 0:
            self.saved_step = -1
            self.save()

    def save_mark(self, step: int) -> None:
        """Writes the mark of a step: this one, or any later one of a phase that is solved."""
        state, row = self.state, self.state.row
        assert row is not None
        assert row["step"] == state.step
        weights = self.placement.gathered(self.model.state_dict(), keep=self.context.rank == 0)
        if self.context.rank == 0:
            about = {
                "step": step,
                "recipe": self.recipe.id,
                "kind": self.recipe.kind,
                "provenance": rt.provenance(self.runtime),
                **{name: row[name] for name in ("tokens", "scored_tokens", "positions", "loss", "accuracy", "exact")},
                **({} if state.solved_at is None else {"solved_at": state.solved_at}),
            }
            self.context.save_mark(step, lambda folder: self.write_mark(folder, weights), about)

    def write_mark(self, folder: Path, weights: dict[str, Tensor]) -> dict[str, Any]:
        facts = write_weights(weights, self.model.config, folder)
        if self.state.transfer is not None:
            write_json(folder / "transfer.json", self.state.transfer)
        return facts

    def due(self, seconds: float) -> bool:
        """Whether so much time has passed since the last save; where all workers must take part, rank 0 decides."""
        mine = time.perf_counter() - self.saved_at >= seconds
        if not self.placement.spread:
            return mine
        return self.ranks.add([float(mine and self.context.rank == 0)]) != [0.0]

    def save(self) -> None:
        """Saves the resume state of this step, unless that was done; never one with a NaN in it."""
        if self.saved_step == self.state.step:
            return
        self.drain()
        self.require_finite_weights()
        self.stop_clock()
        tensors = self.placement.gathered(state_tensors(self.model, self.optimizer), keep=self.context.rank == 0)
        if self.context.rank == 0:
            self.context.save_resume(
                self.state.step, lambda folder: save_state(folder, self.recipe, self.state, tensors)
            )
        self.saved_step = self.state.step
        self.saved_at = time.perf_counter()

    def require_finite_weights(self) -> None:
        """A last update can break the weights after a finite loss."""
        norms = torch.stack(torch._foreach_norm([p.detach() for p in self.parameters]))
        if not bool(self.placement.whole(norms).isfinite().all()):
            raise self.failure("the weights are not finite")

    def failure(self, what: str) -> PhaseFailed:
        if self.last is None:
            return PhaseFailed(f"{what} before the first step: the initial weights are broken")
        step, lr, loss, norm = self.last
        return PhaseFailed(
            f"{what} at step {step} (learning rate {lr:g}, training loss {loss:g}, gradient norm {norm:g}); "
            f"the last good state is that of step {max(0, self.saved_step)}. A lower learning rate may help"
        )

    def show(self) -> None:
        """Live numbers, at most one a second."""
        now = time.perf_counter()
        if now - self.shown_at < PROGRESS_SECONDS or self.context.rank != 0:
            return
        if self.context.world_size == 1:
            self.drain()
        assert self.state.row is not None
        loss = self.last[2] if self.last else self.state.row["loss"]
        step, tokens = self.state.step, self.state.tokens
        seconds = self.state.seconds + (now - self.started if self.started else 0.0)
        passed = max(1e-9, seconds - self.shown_seconds)
        speed, mfu = (tokens - self.shown_tokens) / passed, self.mfu(self.state.flops - self.shown_flops, passed)
        self.context.progress({"step": step, "tokens": tokens, "loss": loss, "tokens_per_s": speed, "mfu": mfu})
        self.shown_at, self.shown_tokens, self.shown_seconds, self.shown_flops = now, tokens, seconds, self.state.flops

    def mfu(self, flops: float, seconds: float) -> float | None:
        """Model FLOPs utilisation, a fraction; None where the device's peak is not known."""
        return flops / seconds / self.peak if self.peak and seconds else None

    def start_clock(self) -> None:
        if self.started is None:
            self.started = time.perf_counter()

    def stop_clock(self) -> None:
        """Evaluations and saving are not training time."""
        if self.started is not None:
            passed = time.perf_counter() - self.started
            self.state.seconds += passed
            self.state.since_seconds += passed
            self.started = None

    def outcome(self) -> Outcome:
        state = self.state
        return Outcome(state.step, self.status, state.tokens, state.row, state.transfer)


def _placement(runtime: rt.Runtime) -> Callable[[Objective, torch.device, int], Placement]:
    if not runtime.shard:
        return Copies
    from procray.training.shard import Shards

    return Shards


def carry_in(model: GPT2, recipe: PhaseRecipe, context: Context) -> dict[str, Any] | None:
    """Writes the weights that the recipe names into a fresh model; returns the manifest."""
    init = recipe.init
    parents = {parent: context.parent(parent) for parent in init.parents()}
    if not parents:
        return None
    weights = {parent: load_weights(folder) for parent, folder in parents.items()}
    names = {parent: _named(parent, folder) for parent, folder in parents.items()}
    alike: dict[Any, list[str]] = {}  # parts that come in the same way are one piece
    for share in init.every_share():
        alike.setdefault((share.parent, share.second, share.weight, share.layers), []).append(share.part)
    pieces = []
    for (parent, second, weight, layers), parts in alike.items():
        name, known = names[parent]
        other, other_known = names[second] if second else (None, None)
        pieces.append(
            Piece(
                weights[parent],
                whole(parts),
                init.embeddings,
                None if layers is None else dict(layers),
                weights[second] if second else None,
                0.0 if weight is None else weight,
                name,
                known,
                other,
                other_known,
            )
        )
    return compose(pieces, model, init.perturb, recipe.seed)


def _named(parent: Parent, folder: Path) -> tuple[str, str]:
    """What a manifest calls a parent, and the digest of its weights; of an outside checkpoint those of the original."""
    if (folder / OUTSIDE).exists():
        origin = Outside.from_json(read_json(folder / OUTSIDE))
        return f"{origin.name} (outside)", origin.digest or ""
    return f"{parent.phase}@{parent.step}", sha256_file(folder / "model.safetensors")


def micro_batches(
    batch: Batch | RowBatch, rank: int, world_size: int, most: int, trim: int = 0
) -> Sequence[Batch | RowBatch]:
    """A rank's rows of the global batch, cut into nearly equal parts of at most `most` sequences.

    Args:
        trim: with more positions than this the sequences are put in order of their last scored position first, in
            parts of about this many positions, each cut off where nothing later is scored. The sum of the losses
            stays the same. 0: never.
    """
    share = batch.rows(slice(rank, None, world_size)) if world_size > 1 else batch
    size, T = share.mask_BT.shape
    ends_B = np.full(size, T)
    if trim and size * T > trim:
        ends_B = (share.mask_BT * np.arange(1, T + 1)).max(1).clip(1)
    trimmed = bool(ends_B.min() < T)
    if trimmed:
        most = min(most, max(1, trim // T))
    count = -(-size // most)
    cuts = [size * part // count for part in range(count + 1)]
    if not trimmed:
        return [share.rows(slice(*cut)) for cut in pairwise(cuts)] if count > 1 else [share]
    order_B = ends_B.argsort(kind="stable")
    return [share.rows(order_B[first:last], int(ends_B[order_B[last - 1]])) for first, last in pairwise(cuts)]
