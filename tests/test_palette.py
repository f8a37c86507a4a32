import re

from procray.palette import BLACK, HUES, colours, is_baseline


def lightness(colour: str) -> int:
    return sum(int(colour[i : i + 2], 16) for i in (1, 3, 5))


def test_baseline_is_black_and_lone_variants_have_pure_hues():
    table = colours(["baseline", "union/attention", "union/mlp"])
    assert table == {"baseline": BLACK, "union/attention": HUES[0], "union/mlp": HUES[1]}


def test_budgets_of_one_family_share_a_hue_and_darken_as_they_grow():
    names = ["union/8M/mlp", "union/0.8M/mlp", "union/2M/mlp", "union/8M/attention"]
    table = colours(names)
    light, middle, dark = (lightness(table[f"union/{count}/mlp"]) for count in ("0.8M", "2M", "8M"))
    assert light > middle > dark
    assert table["union/2M/mlp"] == HUES[0]
    assert table["union/8M/attention"] == HUES[1]


def test_every_name_has_a_distinct_valid_colour_also_beyond_seven_families():
    names = ["baseline", "baseline/lr1e-3", *(f"task{i}/{t}M" for i in range(12) for t in (1, 2))]
    table = colours(names)
    assert list(table) == names
    assert all(re.fullmatch("#[0-9A-F]{6}", colour) for colour in table.values())
    assert len(set(table.values())) == len(names)


def test_baseline_is_recognised_as_a_whole_part_of_the_name_only():
    assert is_baseline("baseline")
    assert is_baseline("code/baseline")
    assert not is_baseline("baselines/mlp")


def test_a_warm_up_has_one_colour_on_all_targets():
    table = colours(["code/baseline", "code/2M/mlp", "haystack/baseline", "haystack/2M/mlp", "haystack/1M/mlp"])
    assert table["code/baseline"] == table["haystack/baseline"] == BLACK
    assert table["code/2M/mlp"] == table["haystack/2M/mlp"] != table["haystack/1M/mlp"]
