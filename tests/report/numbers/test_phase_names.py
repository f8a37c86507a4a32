import pytest

from procray.errors import StoreError
from procray.report.numbers.phase_names import find_phase


def test_phases_of_a_plan_are_found_by_id_prefix_or_label_only_when_unique(finished):
    plan, _ = finished
    phase = next(iter(plan.phases.values()))
    assert find_phase(plan, phase.label) == find_phase(plan, phase.id) == phase.id
    with pytest.raises(StoreError, match=r"no phase 'text/baselin s0'; did you mean 'text/baseline s0'\?"):
        find_phase(plan, "text/baselin s0")
    with pytest.raises(StoreError, match=f"fits {len(plan.phases)} phases"):
        find_phase(plan, "")
