"""The probes that there are. A new one is a file beside this one, and a line here."""

from procray.downstream.probe import Probe
from procray.downstream.probes.agreement import AGREEMENT
from procray.downstream.probes.brackets import BRACKETS
from procray.downstream.probes.hops import HOPS
from procray.downstream.probes.identifiers import IDENTIFIERS
from procray.downstream.probes.induction import INDUCTION
from procray.downstream.probes.noise import NOISE
from procray.downstream.probes.retrieval import RETRIEVAL

PROBES: dict[str, Probe] = {
    probe.name: probe for probe in (RETRIEVAL, INDUCTION, HOPS, BRACKETS, AGREEMENT, IDENTIFIERS, NOISE)
}
