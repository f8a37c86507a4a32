"""Trains one phase, or a stretch of it, on one process or on several that share each batch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from procray.batch import Batch, RowBatch
from procray.errors import PhaseFailed, StoreError
from procray.model import flops_per_token
from procray.model.draws import draw_key
from procray.training import keep, record
from procray.training import runtime as rt
from procray.training.begin import begin
from procray.training.context import Context
from procray.training.evaluate import Metrics, evaluate
from procray.training.interleaved import Interleaved, interleaved
from procray.training.losses import Losses
from procray.training.objective import scored_values, to_device
from procray.training.optimizer import clip_gradients
from procray.training.pace import Pace
from procray.training.pacing import pacing
from procray.training.parts import computed, micro_batches
from procray.training.peak import device_peak
from procray.training.recipe import PhaseRecipe
from procray.training.schedule import lr_at
from procray.training.source import Source
from procray.training.trace import Trace


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

    With `recipe.interleaving` a step is one update on the phase's own data, with the updates on a task before it.

    With `recipe.evaluation.solved`, training ends for good at the evaluation that completes the streak: its row
    has `solved: true`, and every later mark holds the weights of that step, with `solved_at` in its manifest. A
    phase that follows the lengths of another one (`recipe.paced_by`) ends so where that one was solved.

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
        StoreError: a resume state that does not belong here, or a phase to follow that is not trained as far.
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
        begun = begin(recipe, source, context, runtime)
        self.model, self.objective, self.placement = begun.model, begun.objective, begun.placement
        self.optimizer, self.held = begun.optimizer, begun.held
        self.ranks, self.state = begun.ranks, begun.state
        self.parameters = list(self.model.parameters())
        self.flops_at: dict[int, float] = {}  # per position, by length
        self.fresh = begun.fresh
        self.interleaved = interleaved(recipe, source, runtime)
        if recipe.interleaving is not None:
            # Each kind of data has a softmax over its own symbols: neither pushes the rows of the other away.
            tokenizer = source.vocab - recipe.interleaving.rows
            self.own = slice(0, tokenizer), slice(tokenizer, source.vocab)
            self.objective.own = self.own[0]
        self.paced = pacing(recipe, context)
        # What follows another phase does not grow by itself.
        self.curriculum = source.curriculum if self.paced is None else None
        self.status: Literal["done", "paused"] = "done"
        self.losses = Losses(self.ranks, context.device, self.state.step)
        peak = device_peak(context.device, runtime.autocast, runtime.threads)
        self.pace = Pace(self.state, None if peak is None else peak * context.world_size)
        self.keeper = keep.Keeper(recipe, context, runtime, begun, self.losses, self.pace)

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
        state, keeper, every = self.state, self.keeper, self.recipe.evaluation.every
        if max(state.step, keeper.between or 0) > until:
            raise StoreError(f"the resume state is at step {state.step}, beyond step {until} that is wanted")
        if self.fresh or (state.step in wanted and not state.marked and keeper.between is None):
            if state.row is None or state.row["step"] != state.step:
                self.measure()
            if state.step in wanted:
                keeper.mark()
            self.fresh = False
        while state.step < until and state.solved_at is None:
            if self.ranks.any(self.context.should_stop()):
                keeper.save()
                self.status = "paused"
                return
            if self.paced is not None:
                state.length = self.paced.length(state.step)
            if not self.insert_due():
                keeper.save()
                self.status = "paused"
                return
            yield
            on_cadence = state.step % every == 0
            ends = self.paced is not None and state.step == self.paced.solved_at
            if on_cadence or ends or state.step in wanted:
                self.measure()
                if on_cadence:
                    record.begin_interval(state, self.curriculum)
                if state.step in wanted:
                    keeper.mark()
                elif keeper.due(keep.SAVE_AT_EVALUATION_SECONDS):
                    keeper.save()
            elif self.losses.full:
                self.drain()
                if keeper.due(keep.SAVE_ANYWHERE_SECONDS):
                    keeper.save()
            self.pace.show(self.context, self.losses)
        if state.solved_at is not None:
            keeper.save()
            for step in sorted(step for step in wanted if step > state.step):
                keeper.save_mark(step)

    def insert_due(self) -> bool:
        """The updates on a task that stand before the next step; False where the context asked to stop among them."""
        state, found = self.state, self.interleaved
        while found is not None and state.inserted < found.interleaving.due(state.step):
            if self.ranks.any(self.context.should_stop()):
                return False
            self.insert(found)
            if state.inserted == found.interleaving.updates:
                self.drain()
                self.pace.stop()
                with self.symbols():
                    metrics = self.evaluate(found.validation())
                state.learned = [metrics.loss, metrics.accuracy]
            elif self.losses.full:
                self.drain()
                if self.keeper.due(keep.SAVE_ANYWHERE_SECONDS):
                    self.keeper.save()
            self.pace.show(self.context, self.losses)
        return True

    def insert(self, found: Interleaved) -> None:
        """One optimiser step on the task among the text."""
        state = self.state
        batch = found.batch(state.inserted)
        with self.symbols():
            lr, scored, shapes = self.apply(batch, "dropout inserted", state.inserted, found.micro_batch)
        self.losses.note(state.step, lr, scored, inserted=True)
        state.inserted += 1
        state.inserted_tokens += batch.nominal_tokens
        state.since_tokens += batch.nominal_tokens
        self.count_positions(shapes)

    @contextmanager
    def symbols(self) -> Iterator[None]:
        """In it the softmax is over the symbols of the task; else, in such a phase, over the tokenizer's."""
        self.objective.own, text = self.own[1], self.objective.own
        try:
            yield
        finally:
            self.objective.own = text

    def update(self) -> None:
        """One optimiser step on the phase's own data."""
        state = self.state
        batch = self.source.batch(state.step, state.length)
        lr, scored, shapes = self.apply(batch, "dropout", state.step, self.runtime.micro_batch)
        self.count(batch, scored, lr, shapes)

    def apply(
        self, batch: Batch | RowBatch, dropout: str, number: int, micro_batch: int
    ) -> tuple[float, int, Sequence[tuple[int, ...]]]:
        """One optimiser step. On CUDA nothing in it waits for the device.

        Args:
            dropout, number: key what dropout draws.
            micro_batch: sequences at once.

        Returns:
            The learning rate, how many values were scored, and sequences and positions of each part.
        """
        recipe, state, context = self.recipe, self.state, self.context
        self.pace.start()
        scored = self.scored(batch)
        lr = lr_at(recipe.place(state.step, state.inserted), recipe.optimizer, recipe.length)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        if recipe.model.dropout > 0:
            # Dropout is a function of the step too: there is no random state to save, or to lose.
            torch.manual_seed(draw_key(recipe.seed, recipe.role, dropout, number, context.rank))
        # Gradients are averaged over ranks; the objective wants the sum over all of them.
        weight = context.world_size / scored
        loss: torch.Tensor | None = None
        parts = micro_batches(batch, context.rank, context.world_size, micro_batch, self.runtime.trim)
        for number, part in enumerate(parts, 1):
            data = to_device(part, context.device)
            with self.placement.part(last=number == len(parts)):
                value = self.placement.module(data.inputs, data.targets, data.index_N, weight)
                value.backward()
            loss = value.detach() if loss is None else loss + value.detach()
        assert loss is not None, "a rank has at least one sequence"
        self.held.quiet()
        norm = clip_gradients(self.parameters, recipe.optimizer.clip, self.placement.whole)
        self.optimizer.step()
        self.held.restore()
        self.optimizer.zero_grad(set_to_none=True)
        self.losses.put(loss, norm)
        shapes: Sequence[tuple[int, ...]] = [part.mask_BT.shape for part in parts]
        if context.world_size > 1:
            shapes = computed(batch.mask_BT, context.world_size, micro_batch, self.runtime.trim)
        return lr, scored, shapes

    def scored(self, batch: Batch | RowBatch) -> int:
        """How many values the next batch scores.

        Raises:
            PhaseFailed: none at all.
        """
        scored = scored_values(batch)
        if scored == 0:
            step = self.state.step
            raise PhaseFailed(f"the batch of step {step} scores no position, so there is nothing to learn from", step)
        return scored

    def count(self, batch: Batch | RowBatch, scored: int, lr: float, parts: Sequence[tuple[int, ...]]) -> None:
        """Takes note of an update whose loss and norm stand in the ring.

        Args:
            parts: sequences and positions of each part that was computed.
        """
        state = self.state
        self.losses.note(state.step, lr, scored)
        state.step += 1
        state.marked = False
        state.tokens += batch.nominal_tokens
        state.scored_tokens += scored
        state.since_tokens += batch.nominal_tokens
        self.count_positions(parts)

    def count_positions(self, parts: Sequence[tuple[int, ...]]) -> None:
        """Takes note of what was computed."""
        state = self.state
        for sequences, positions_T in parts:
            if positions_T not in self.flops_at:
                self.flops_at[positions_T] = flops_per_token(self.model.config, positions_T)
            positions = sequences * positions_T
            flops = positions * self.flops_at[positions_T]
            state.positions += positions
            state.flops += flops
            state.since_flops += flops
            state.since_positions += positions

    def drain(self) -> None:
        """Reads the losses and norms that wait on the device, see `Losses.drain`."""
        self.losses.drain(self.state)

    def measure(self) -> None:
        """Evaluates and writes a row of the journal."""
        self.drain()
        self.pace.stop()
        state, source = self.state, self.source
        metrics = self.evaluate(source.validation(state.length))
        inserted = None
        if self.interleaved is not None:
            with self.symbols():
                inserted = self.evaluate(self.interleaved.validation())
        record.judge(state, metrics.accuracy, self.recipe, self.curriculum, self.paced)
        mfu = self.pace.mfu(state.since_flops, state.since_seconds)
        state.row = record.row(state, metrics, self.recipe, source, mfu)
        if inserted is not None:
            state.row |= record.inserted(state, inserted)
        if self.context.rank == 0:
            self.context.journal(state.row)

    def evaluate(self, batches: Iterable[Batch | RowBatch]) -> Metrics:
        """Loss and accuracy on held-out data.

        Raises:
            PhaseFailed: the loss is not finite.
        """
        ranks = self.context.rank, self.context.world_size
        with rt.without_compiling(self.runtime):
            metrics = evaluate(self.objective, batches, self.context.device, *ranks, self.ranks.add)
        self.placement.rest()
        if not math.isfinite(metrics.loss):
            raise self.losses.failure(f"the validation loss is {metrics.loss:g}", self.state.step)
        return metrics

    def outcome(self) -> Outcome:
        state = self.state
        return Outcome(state.step, self.status, state.tokens, state.row, state.transfer)
