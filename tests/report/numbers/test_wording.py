import pytest

from procray.report.numbers.wording import count, listing, percent, plural, seeds, signed


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (640, "640"), (12_500, "12.5k"), (200_000, "200k"), (999_950, "1M"), (2_000_000, "2M"),
     (655_360_000, "655M"), (1_638_400_000, "1.64B"), (7e12, "7T"), (-1500, "−1.5k")],
)  # fmt: skip
def test_counts(number, text):
    assert count(number) == text


def test_signs_percent_plurals_and_lists():
    assert (signed(-0.0312), signed(0.0312), signed(-0.0001)) == ("−0.031", "+0.031", "0.000")
    assert percent(0.331) == "33\N{NARROW NO-BREAK SPACE}%"
    assert (plural(1, "seed"), plural(2, "seed")) == ("1 seed", "2 seeds")
    assert (seeds([]), seeds([3, 3]), seeds([3, 1])) == ("no seeds yet", "3 seeds", "1-3 seeds")
    assert (listing([]), listing(["a"]), listing(["a", "b", "c"])) == ("", "a", "a, b and c")
