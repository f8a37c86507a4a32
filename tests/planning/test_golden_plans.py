"""What the shipped sweeps are, phase by phase: a refactoring leaves these texts as they are, and what changes the
meaning of a sweep file shows in them. `python tests/planning/golden_plans.py` writes them anew."""

import pytest
from golden_plans import FILES, GOLDEN, name_of, scales, text_of

CASES = [(file, scale) for file in FILES for scale in scales(file)]


@pytest.mark.parametrize(("file", "scale"), CASES, ids=lambda value: getattr(value, "stem", value))
def test_a_shipped_sweep_is_what_it_was(file, scale):
    assert text_of(file, scale).splitlines() == (GOLDEN / name_of(file, scale)).read_text("utf-8").splitlines()


def test_every_golden_text_belongs_to_a_scale():
    assert {path.name for path in GOLDEN.iterdir()} == {name_of(file, scale) for file, scale in CASES}
