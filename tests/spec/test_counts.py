"""Counts as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procray.spec.counts import format_count, parse_count


@pytest.mark.parametrize(
    ("written", "count"),
    [
        ("2M", 2_000_000),
        ("0.8M", 800_000),
        ("1.5B", 1_500_000_000),
        ("64Ki", 65_536),
        ("2Mi", 2 * 1024**2),
        ("1e8", 100_000_000),
        ("2.5e3", 2500),
        ("1_000", 1000),
        ("3k", 3000),
        ("655.36M", 655_360_000),
        (7, 7),
        (1e8, 100_000_000),
        ("-3M", -3_000_000),
        ("0.1e1", 1),
    ],
)
def test_reads(written, count):
    assert parse_count(written) == count
    assert isinstance(parse_count(written), int)


@pytest.mark.parametrize(
    "written", ["", "M", "two", "1.5", "0.0001k", 1.5, True, None, [1], float("nan"), float("inf"), "1e999999", "1__0"]
)
def test_refuses(written):
    with pytest.raises(ValueError, match="expected a count such as"):
        parse_count(written)


def test_the_wrong_case_is_named():
    with pytest.raises(ValueError, match="did you mean '2M'"):
        parse_count("2m")


@given(st.integers(min_value=-(10**15), max_value=10**15))
def test_what_is_written_is_read_back(count):
    assert parse_count(format_count(count)) == count
    assert len(format_count(count)) <= len(str(count))


@pytest.mark.parametrize(
    ("count", "text"),
    [(2_000_000, "2M"), (8_190_000, "8.19M"), (65_536, "64Ki"), (1234, "1234"), (0, "0"), (820_000, "820k")],
)
def test_writes_shortly(count, text):
    assert format_count(count) == text
