"""How fast a phase trains: the clock of training, the share of the device's peak, and the live numbers."""

from __future__ import annotations

import time

from procray.training.context import Context
from procray.training.losses import Losses
from procray.training.state import State

PROGRESS_SECONDS = 1.0


class Pace:
    """The clock of one run. It begins standing still; evaluations and saving are not training time."""

    def __init__(self, state: State, peak: float | None):
        """`peak`: FLOP/s of all processes together; None where that is not known."""
        self._state, self._peak = state, peak
        self._started: float | None = None
        self._shown_at = time.perf_counter()
        self._shown_tokens, self._shown_seconds, self._shown_flops = self._consumed, state.seconds, state.flops

    def start(self) -> None:
        if self._started is None:
            self._started = time.perf_counter()

    def stop(self) -> None:
        if self._started is not None:
            passed = time.perf_counter() - self._started
            self._state.seconds += passed
            self._state.since_seconds += passed
            self._started = None

    def mfu(self, flops: float, seconds: float) -> float | None:
        """Model FLOPs utilisation, a fraction; None where the device's peak is not known."""
        return flops / seconds / self._peak if self._peak and seconds else None

    def show(self, context: Context, losses: Losses) -> None:
        """Live numbers, at most one a second."""
        now = time.perf_counter()
        if now - self._shown_at < PROGRESS_SECONDS or context.rank != 0:
            return
        state = self._state
        if context.world_size == 1:
            losses.drain(state)
        assert state.row is not None
        loss = state.row["loss"] if losses.shown is None else losses.shown
        seconds = state.seconds + (now - self._started if self._started else 0.0)
        passed = max(1e-9, seconds - self._shown_seconds)
        speed = (self._consumed - self._shown_tokens) / passed
        mfu = self.mfu(state.flops - self._shown_flops, passed)
        context.progress({"step": state.step, "tokens": state.tokens, "loss": loss, "tokens_per_s": speed, "mfu": mfu})
        self._shown_at = now
        self._shown_tokens, self._shown_seconds, self._shown_flops = self._consumed, seconds, state.flops

    @property
    def _consumed(self) -> int:
        return self._state.tokens + self._state.inserted_tokens
