import pytest

from procray.report.numbers.statistics import paired_difference, pooled_sd, smallest_difference, spread, t_quantile


def test_spread_uses_n_minus_one_and_has_no_sd_for_one_value():
    three = spread([1.0, 2.0, 4.0])
    assert three is not None
    assert (three.mean, three.n) == (pytest.approx(7 / 3), 3)
    assert three.sd == pytest.approx(1.5275252)
    one = spread([2.0])
    assert one is not None
    assert (one.mean, one.sd, one.n) == (2.0, None, 1)
    assert spread([]) is None


@pytest.mark.parametrize(("degrees", "factor"), [(1, 12.7062), (2, 4.30265), (4, 2.77645), (9, 2.26216)])
def test_t_quantiles_are_those_of_the_tables(degrees, factor):
    assert t_quantile(degrees) == pytest.approx(factor, rel=1e-5)


def test_pairing_removes_what_the_seeds_share():
    base = [4.0, 5.0, 6.0]  # seeds differ far more than the variants do
    result = paired_difference([3.9, 4.9, 5.9], base)
    assert result is not None
    assert result.mean == pytest.approx(-0.1)
    assert result.low == pytest.approx(-0.1)
    assert result.high == pytest.approx(-0.1)
    assert result.excludes_zero
    assert result.bootstrap is None


def test_interval_of_three_pairs_by_hand():
    result = paired_difference([1.0, 2.0, 3.0], [0.0, 0.0, 0.0])
    assert result is not None
    half = 4.30265 * 1.0 / 3**0.5
    assert (result.low, result.high) == (pytest.approx(2 - half, rel=1e-5), pytest.approx(2 + half, rel=1e-5))
    assert not result.excludes_zero


def test_one_pair_has_no_interval():
    result = paired_difference([1.0], [3.0])
    assert result is not None
    assert (result.mean, result.low, result.high, result.n) == (-2.0, None, None, 1)
    assert result.excludes_zero is None
    assert paired_difference([], []) is None


def test_bootstrap_only_from_ten_pairs_and_the_same_each_time():
    values = [0.1 * i for i in range(10)]
    nine, ten = paired_difference(values[:9], [0.0] * 9), paired_difference(values, [0.0] * 10)
    assert nine is not None
    assert nine.bootstrap is None
    assert ten is not None
    assert ten.bootstrap is not None
    assert ten.bootstrap[0] < 0.45 < ten.bootstrap[1]
    assert ten == paired_difference(values, [0.0] * 10)


def test_unequal_lists_are_no_pairs():
    with pytest.raises(ValueError, match="1 values cannot be paired with 3"):
        paired_difference([1.0], [1.0, 2.0, 3.0])


def test_a_pooled_sd_ignores_the_groups_means_and_weights_by_degrees():
    assert pooled_sd([[0.0, 2.0], [100.0, 102.0]]) == pytest.approx(2**0.5)
    # Variances 2 (one degree) and 4 (two degrees).
    assert pooled_sd([[0.0, 2.0], [5.0, 7.0, 9.0], [1.0]]) == pytest.approx(((2 + 2 * 4) / 3) ** 0.5)
    assert pooled_sd([[1.0], []]) is None


def test_the_smallest_difference_by_the_tables():
    # t_0.975 and t_0.8 with 2 degrees of freedom: 4.30265 and 1.06066.
    assert smallest_difference(0.5, 3) == pytest.approx((4.30265 + 1.06066) * 0.5 / 3**0.5, rel=1e-5)
    assert smallest_difference(0.5, 1) is None
    assert smallest_difference(0.5, 12) < smallest_difference(0.5, 6) < smallest_difference(0.5, 3)


def test_the_smallest_difference_is_found_about_four_times_in_five():
    import numpy as np

    n, sd = 5, 0.3
    draws = np.random.default_rng(0).normal(smallest_difference(sd, n), sd, (4000, n))
    found = np.mean([paired_difference(row, [0.0] * n).excludes_zero for row in draws])
    assert 0.74 < found < 0.86
