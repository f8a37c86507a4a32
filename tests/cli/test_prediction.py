import pytest

from procray.cli.prediction import against


@pytest.mark.parametrize(
    ("predicted", "seconds", "expected"),
    [
        (170, 157, "took 2 min 37 s; predicted 2 min 50 s (+8 %)"),
        (100, 200, "took 3 min 20 s; predicted 1 min 40 s (-50 %)"),
        (None, 200, "took 3 min 20 s; `procray doctor FILE` measures this machine once, then times are predicted"),
    ],
)
def test_the_end_of_a_sweep_says_how_good_the_prediction_was(predicted, seconds, expected):
    assert against(predicted, seconds) == expected
