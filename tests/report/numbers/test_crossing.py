import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procray.report.numbers.crossing import tokens_to_match, value_at

finite = st.floats(-10, 10, allow_nan=False).map(lambda x: round(x, 3))


@st.composite
def curves(draw):
    count = draw(st.integers(1, 12))
    steps = draw(st.lists(st.integers(1, 10**6), min_size=count, max_size=count))
    tokens, at = [], draw(st.sampled_from([0, 0, 1, 500]))
    for step in steps:
        tokens.append(at)
        at += step
    return tokens, draw(st.lists(finite, min_size=count, max_size=count))


def interpolated(tokens, values, place):
    """The curve as the definition draws it, written another way than the code under test."""
    for low, high, a, b in zip(tokens, tokens[1:], values, values[1:], strict=False):
        if low <= place <= high:
            if low == 0:
                return a + (b - a) * place / high
            return a + (b - a) * math.log(place / low) / math.log(high / low)
    return values[0] if place == tokens[0] else values[-1]


@given(curves(), finite)
def test_from_the_answer_on_the_curve_is_good_and_just_before_it_is_not(curve, target):
    tokens, values = curve
    answer = tokens_to_match(tokens, values, target)
    if answer is None:
        assert values[-1] > target
        return
    assert tokens[0] <= answer <= tokens[-1]
    assert all(v <= target for t, v in zip(tokens, values, strict=True) if t > answer)
    assert interpolated(tokens, values, answer) <= target + 1e-6
    if answer > tokens[0]:
        last_bad = max(t for t, v in zip(tokens, values, strict=True) if v > target)
        assert last_bad <= answer
        # No smaller place would do: between the last bad evaluation and the answer the curve is above.
        middle = (last_bad + answer) / 2
        if middle > last_bad and answer - middle > 1e-3:
            assert interpolated(tokens, values, middle) >= target - 1e-6


@given(curves(), finite)
def test_accuracy_is_the_mirror_of_loss(curve, target):
    tokens, values = curve
    assert tokens_to_match(tokens, values, target) == tokens_to_match(tokens, [-v for v in values], -target, "max")


@given(curves(), finite, st.floats(0, 5))
def test_an_easier_target_is_never_reached_later(curve, target, ease):
    tokens, values = curve
    hard, easy = tokens_to_match(tokens, values, target), tokens_to_match(tokens, values, target + ease)
    if hard is not None:
        assert easy is not None
        assert easy <= hard * (1 + 1e-12)


@given(curves(), finite, st.floats(0, 3))
def test_a_better_curve_never_needs_more(curve, target, gain):
    tokens, values = curve
    worse, better = tokens_to_match(tokens, values, target), tokens_to_match(tokens, [v - gain for v in values], target)
    if worse is not None:
        assert better is not None
        assert better <= worse * (1 + 1e-12)


def test_interpolation_is_linear_in_log_tokens():
    # Half of the way in value from 1M to 4M is 2M in logarithms (2.5M would be linear in tokens).
    assert tokens_to_match([1e6, 4e6], [5.0, 4.0], 4.5) == pytest.approx(2e6)


def test_next_to_token_zero_interpolation_is_linear_in_tokens():
    assert tokens_to_match([0, 1000, 2000], [10.0, 4.0, 3.0], 7.0) == pytest.approx(500)


def test_a_touch_that_is_lost_again_does_not_count():
    tokens, values = [1, 2, 4, 8], [5.0, 3.0, 5.0, 3.0]
    assert tokens_to_match(tokens, values, 4.0) == pytest.approx(4 * 2**0.5)
    assert tokens_to_match(tokens, [5.0, 3.0, 5.0, 4.1], 4.0) is None


def test_exactly_at_the_target_counts():
    assert tokens_to_match([1, 2, 4], [3.0, 2.0, 2.0], 2.0) == 2
    assert tokens_to_match([0, 2], [2.0, 2.0], 2.0) == 0


def test_no_line_is_drawn_to_a_value_that_is_not_finite():
    assert tokens_to_match([1, 2, 4], [math.nan, 1.0, 1.0], 2.0) == 2
    assert tokens_to_match([1, 2, 4], [1.0, 1.0, math.inf], 2.0) is None
    assert tokens_to_match([1, 2], [math.inf, -math.inf], 2.0) is None


# C4 validation perplexity of GPT-2 small at these steps of 65,536 tokens, from the data of the project page of
# arXiv 2601.21725 (procedural pretraining; 10,000 steps are the baseline's budget).
C4_STEPS = (100, 1100, 2100, 3100, 4100, 5100, 5600, 6100, 7100, 8100, 9100, 10000)
C4_BASELINE_END = 62.03
C4 = {
    "sort": (983.6, 177.1, 92.27, 74.93, 66.94, 63.81, 61.52, 60.78, 59.21, 59.10, 58.94, 58.82),
    "set": (795.7, 155.2, 88.75, 74.38, 66.93, 63.60, 61.80, 61.30, 59.97, 59.98, 59.81, 59.85),
    "union": (796.8, 160.7, 89.31, 74.52, 67.16, 63.82, 61.78, 61.49, 60.01, 60.10, 59.95, 59.90),
}


@pytest.mark.parametrize("task", C4)
@pytest.mark.parametrize("of", [float, math.log], ids=["perplexity", "loss"])
def test_the_published_c4_curves_need_55_percent_of_the_tokens(task, of):
    tokens = [65_536 * step for step in C4_STEPS]
    needed = tokens_to_match(tokens, [of(value) for value in C4[task]], of(C4_BASELINE_END))
    assert 0.548 <= needed / tokens[-1] <= 0.554


def test_an_empty_curve_matches_nothing():
    assert tokens_to_match([], [], 1.0) is None


@pytest.mark.parametrize(
    ("tokens", "values", "target", "mode"),
    [([1, 2], [1.0], 1.0, "min"), ([2, 1], [1.0, 1.0], 1.0, "min"), ([1, 1], [1.0, 1.0], 1.0, "min"),
     ([-1, 1], [1.0, 1.0], 1.0, "min"), ([1], [1.0], math.nan, "min"), ([1], [1.0], 1.0, "best")],
)  # fmt: skip
def test_senseless_input_is_refused(tokens, values, target, mode):
    with pytest.raises(ValueError, match=r"tokens|values|target|mode"):
        tokens_to_match(tokens, values, target, mode)


def test_cumulative_counts_are_linear_and_never_extrapolated():
    assert value_at([0, 10, 20], [0.0, 100.0, 400.0], 15) == 250
    assert value_at([0, 10, 20], [0.0, 100.0, 400.0], 10) == 100
    assert value_at([0, 10], [0.0, 1.0], 11) is None
    assert value_at([5, 10], [0.0, 1.0], 4) is None
    assert value_at([], [], 0) is None
