"""A published value, as a sweep file gives it."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from procray.spec.parts import wrong
from procray.spec.quantities import QUANTITIES, SHARES, published_effect
from procray.spec.section import Section
from procray.spec.values import Quantity, Share, Tolerance


class Published(Section):
    """A published value to compare with."""

    required = ("value", "source", "strength", "tolerance")

    value: Share | None = Field(None, description="shares also as 99 %")
    source: str | None = Field(None, min_length=1)
    strength: str | None = Field(None, min_length=1, description="how good the evidence for the value is")
    tolerance: Tolerance | None = Field(None, description="smaller than the published effect")
    baseline: Share | None = Field(None, description="the published baseline; needed unless the value is a difference")
    quantity: Quantity | None = Field(None, description="default data_fraction")
    variant: str | None = Field(None, description="its name, in which * stands for anything")
    target: str | None = None
    note: str | None = None
    comparable: str | None = Field(None, min_length=1, description="why ours is another number, where it is")

    @model_validator(mode="before")
    @classmethod
    def _units(cls, data: Any) -> Any:
        """Shares are numbers up to 1 or percentages; a forgotten sign would make a 99 out of 0.99."""
        if not isinstance(data, dict):
            return data
        quantity = data.get("quantity", "data_fraction")
        if not isinstance(quantity, str):
            return data  # the field says what is wrong
        for key in ("value", "tolerance", "baseline"):
            given = data.get(key)
            if isinstance(given, str) and given.rstrip().endswith("%"):
                if quantity in QUANTITIES and quantity not in SHARES:  # of another one the field says what is wrong
                    raise wrong(f"a percentage stands for a share, and {quantity} is none", key)
                try:
                    data = {**data, key: float(given.rstrip()[:-1]) / 100}
                except ValueError:
                    raise wrong(f"expected a percentage such as 99 % (got '{given}')", key) from None
            elif quantity in SHARES and isinstance(given, int | float) and abs(given) > 1:
                raise wrong(f"{quantity} is a share: write {given / 100:g} or {given:g} %", key)
        return data

    @model_validator(mode="after")
    def _effect(self) -> Published:
        """A value that could be reproduced by no effect at all, or by the opposite one, compares nothing."""
        if self.comparable or self.value is None or self.tolerance is None or "baseline" in (self.variant or ""):
            return self
        quantity = self.quantity or "data_fraction"
        effect = published_effect(quantity, self.value, self.baseline)
        if effect is None:
            raise wrong(f"missing key 'baseline', the published one: without it {quantity} has no direction")
        if not self.tolerance < abs(effect) * (1 - 1e-9):
            raise wrong(f"must be smaller than the published effect of {abs(effect):.6g}", "tolerance")
        return self
