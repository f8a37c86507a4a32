"""Runs of small plans, and what to compare them with."""

from __future__ import annotations

from comparing import listen, reference, same_numbers, store

__all__ = ["listen", "reference", "same_numbers", "store"]
