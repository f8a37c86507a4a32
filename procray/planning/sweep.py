"""A sweep file whose chains have been checked."""

from __future__ import annotations

from dataclasses import dataclass, field

from procray.planning.chains import Chains
from procray.spec.structure import SweepSpec


@dataclass
class Sweep(SweepSpec):
    """A valid sweep at one scale, and what is known of its phases since they were checked."""

    chains: Chains = field(kw_only=True, repr=False)
