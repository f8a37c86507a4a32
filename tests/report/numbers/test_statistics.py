import numpy as np
import pytest
from scipy import stats

from procray.report.numbers.statistics import (
    binomial_interval,
    crossed_difference,
    fisher_exact,
    full_table,
    holm,
    mean_and_error,
    p_value,
    paired_difference,
    pooled_sd,
    smallest_difference,
    spread,
    t_quantile,
)


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


def test_no_spread_is_less_than_what_can_be_measured():
    three = paired_difference([1.0, 2.0, 3.0], [0.0, 1.0, 2.0], 0.5)
    half = 4.30265 * 0.5 / 3**0.5
    assert (three.low, three.high) == (pytest.approx(1 - half, rel=1e-5), pytest.approx(1 + half, rel=1e-5))
    assert three.p == pytest.approx(2 * stats.t.sf(1 / (0.5 / 3**0.5), 2))
    apart = ([1.0, 2.0, 3.0], [0.0, 0.0, 0.0])
    assert paired_difference(*apart, 0.5) == paired_difference(*apart)
    ten = paired_difference([1.0] * 10, [0.0] * 10, 0.5)
    assert ten.bootstrap == (ten.low, ten.high)
    crossed = crossed_difference(np.ones((3, 4)), 0.5)
    assert (crossed.high - 1, crossed.units) == (pytest.approx(half, rel=1e-5), 3)


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
    n, sd = 5, 0.3
    draws = np.random.default_rng(0).normal(smallest_difference(sd, n), sd, (4000, n))
    found = np.mean([paired_difference(row, [0.0] * n).excludes_zero for row in draws])
    assert 0.74 < found < 0.86


def test_p_is_that_of_a_paired_t_test():
    values, others = [1.0, 2.5, 3.0, 2.0], [0.5, 1.0, 3.5, 1.0]
    assert paired_difference(values, others).p == pytest.approx(stats.ttest_rel(values, others).pvalue)
    assert (p_value(0.0, 0.0, 2), p_value(0.1, 0.0, 2)) == (1.0, 0.0)


def test_holm_by_hand():
    found = holm([0.01, 0.04, None, 0.03, 0.005], 5)
    assert [one.p for one in found] == [
        pytest.approx(0.04),
        pytest.approx(0.09),
        None,
        pytest.approx(0.09),
        pytest.approx(0.025),
    ]
    assert [one.rejected for one in found] == [True, False, False, False, True]
    # The third step ends it, and its level is that of all that follow.
    levels = [0.05 / 4, 0.05 / 3, 0.05 / 5, 0.05 / 3, 0.05 / 5]
    assert [one.level for one in found] == pytest.approx(levels)
    assert holm([0.049], 1)[0].rejected
    assert not holm([0.051], 1)[0].rejected
    assert not holm([0.03], 2)[0].rejected  # the one without a result belongs to the family
    assert holm([], 3) == []


@pytest.mark.parametrize(("k", "n"), [(0, 3), (2, 3), (3, 3), (1, 10), (7, 10)])
def test_the_interval_of_clopper_and_pearson(k, n):
    expected = stats.binomtest(k, n).proportion_ci(0.95, method="exact")
    assert binomial_interval(k, n) == (pytest.approx(expected.low), pytest.approx(expected.high))


@pytest.mark.parametrize("table", [(3, 3, 0, 3), (5, 5, 0, 5), (2, 3, 1, 3), (4, 10, 8, 9), (0, 4, 0, 4)])
def test_fishers_exact_test(table):
    k, n, other_k, other_n = table
    expected = stats.fisher_exact([[k, n - k], [other_k, other_n - other_k]]).pvalue
    assert fisher_exact(*table) == pytest.approx(expected)
    assert fisher_exact(other_k, other_n, k, n) == pytest.approx(expected)


def test_crossed_donors_and_targets_by_hand():
    # Donors at -1, 0, 1 and targets at -2, 2: no rest, so both variances are known.
    values = np.array([[-3.0, 1.0], [-2.0, 2.0], [-1.0, 3.0]])
    found = crossed_difference(values)
    assert (found.mean, found.n, found.targets, found.units) == (0.0, 3, 2, 2)
    assert (found.donor_sd, found.target_sd) == (pytest.approx(1.0), pytest.approx(8**0.5))
    error = (1 / 3 + 8 / 2) ** 0.5
    assert found.high == pytest.approx(t_quantile(1) * error)
    assert found.p == pytest.approx(1.0)


@pytest.mark.parametrize(("shape", "units"), [((3, 1), 1), ((1, 4), 1)])
def test_one_donor_or_one_target_has_no_interval(shape, units):
    found = crossed_difference(np.ones(shape))
    assert (found.low, found.high, found.p, found.units) == (None, None, None, units)


def test_cells_that_differ_while_rows_and_columns_agree_are_no_certainty():
    values = np.eye(3) / 64  # one sequence of 64 right, in another cell of every donor
    found = crossed_difference(values)
    assert found.low < 0 < found.high
    assert found.p > 0.05


def test_an_error_of_crossed_means_is_never_less_than_that_of_either_part():
    values = np.array([[1.0, -1.0, 0.2], [-1.0, 1.0, -0.2], [0.3, -0.2, 0.0]])  # all rest, hardly donors or targets
    _, error, degrees = mean_and_error(values, crossed=True)
    rows, columns = values.mean(axis=1), values.mean(axis=0)
    assert degrees == 2
    assert error >= rows.std(ddof=1) / 3**0.5 - 1e-12
    assert error >= columns.std(ddof=1) / 3**0.5 - 1e-12


def test_the_largest_part_of_a_table_without_gaps():
    full = [(d, t) for d in range(3) for t in range(3)]
    assert full_table(full) == ([0, 1, 2], [0, 1, 2])
    assert full_table([cell for cell in full if cell[0] != 1 or cell[1] == 0]) == ([0, 2], [0, 1, 2])
    assert full_table([cell for cell in full if cell[1] != 2 or cell[0] == 0]) == ([0, 1, 2], [0, 1])


def test_a_table_needs_a_larger_difference():
    alone = smallest_difference(0.5, 3)
    assert smallest_difference(0.5, 3, family=5) == pytest.approx(
        (stats.t.ppf(1 - 0.005, 2) + stats.t.ppf(0.8, 2)) * 0.5 / 3**0.5
    )
    assert smallest_difference(0.5, 3, family=5) > alone
