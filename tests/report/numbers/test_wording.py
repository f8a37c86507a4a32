import pytest

from procray.report.numbers.wording import count, listing, percent, plural, probability, seeds, signed, wrapped


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


@pytest.mark.parametrize(
    "kept",
    ["95 %", "+62.2 points", "−0.056 nats", "3 donors", "20.5k tokens", "1.5M words", "p = 0.04", "p < 0.001",
     "84.6 ± 1.2", "schedule-matched"],
)  # fmt: skip
def test_a_number_and_its_unit_stand_on_one_line_of_every_terminal(kept):
    text = f"so it is said of {kept} and of {kept}, which are {kept} at the end"
    for width in range(len(kept) + 3, 60):
        lines = wrapped(text, width, "- ", "  ")
        assert sum(line.count(kept) for line in lines) == 3, (width, lines)
        assert all(len(line) <= width for line in lines)
        assert " ".join(line[2:] for line in lines) == text


def test_a_long_word_is_broken_unless_it_is_to_be_copied():
    path = "/a/long/path/of/some/file"
    assert wrapped(f"see {path}", 12, long_words=False) == ["see", path]
    assert max(map(len, wrapped(f"see {path}", 12))) == 12


def test_a_probability_is_never_none():
    assert [probability(p) for p in (0.0, 0.0009, 0.001, 0.0414, 1.0)] == [
        "p < 0.001", "p < 0.001", "p = 0.001", "p = 0.041", "p = 1",
    ]  # fmt: skip
