import json

import pytest

from .golden import FOLDER, KEYS, NAMES, measure


@pytest.mark.parametrize("name", NAMES)
def test_the_same_recipe_gives_the_same_curve(tmp_path, name):
    """Other processors round differently, so losses agree within a tolerance; counts agree exactly."""
    expected, found = json.loads((FOLDER / f"{name}.json").read_text()), measure(name, tmp_path)
    assert found["numerics"] == expected["numerics"], "numerics were raised: write the golden curves anew"
    assert len(found["rows"]) == len(expected["rows"]) == 5
    for row, golden in zip(found["rows"], expected["rows"], strict=True):
        for key in KEYS:
            relative = {"loss": 1e-4, "train_loss": 1e-4, "grad_norm": 1e-3, "lr": 1e-12}.get(key, 0)
            close = golden[key] is None or pytest.approx(golden[key], rel=relative, abs=0) == row[key]
            assert close, (
                f"step {row['step']}, {key} is {row[key]} and was {golden[key]}: results changed. "
                "If that is meant, raise NUMERICS and run tests/training/golden.py"
            )
