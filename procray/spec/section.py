"""What all sections of a sweep file have in common."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, field_validator


class Section(BaseModel):
    """Keys that stand by themselves. An overlay changes a section key by key, and replaces everything else."""

    model_config = ConfigDict(extra="forbid", strict=True)
    required: ClassVar[tuple[str, ...]] = ()
    rivals: ClassVar[tuple[frozenset[str], ...]] = ()  # of each only one is there: a new one drops the others
    defaults: ClassVar[dict[str, Any]] = {}  # what a silent file means, where that depends on nothing else
    inherits: ClassVar[bool] = False  # below another section it says what differs from the sweep's own

    @classmethod
    def silent(cls, section: dict[str, Any]) -> dict[str, Any]:
        """What a section means by the keys that it does not have."""
        return cls.defaults

    @classmethod
    def needed(cls, keys: Collection[str]) -> tuple[str, ...]:
        """The keys that must be there beside some others."""
        return cls.required

    @field_validator("*")
    @classmethod
    def _one_zero(cls, value: Any) -> Any:
        return value + 0.0 if isinstance(value, float) else value  # -0.0 means 0
