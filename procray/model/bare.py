"""Torch's modules without weights of their own: `procray.model.network.initialise` draws all of them.

Building a model on the device "meta" would draw none either, but takes 1.5 s for what torch imports there.
"""

from __future__ import annotations

from torch import nn


class Embedding(nn.Embedding):
    def reset_parameters(self) -> None:
        """Draws nothing."""


class Linear(nn.Linear):
    def reset_parameters(self) -> None:
        """Draws nothing."""
