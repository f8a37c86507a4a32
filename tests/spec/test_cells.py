"""Which cells a grid has: products, `zip`, `exclude`, `include`, and axes that do not matter."""

from __future__ import annotations

from procray.spec.axes import Axis
from procray.spec.cells import Entry, Selection, combinations, picks
from procray.spec.tree import Place


def axes(*sizes: int) -> list[Axis]:
    return [Axis((f"a{n}",), f"a{n}", Place("f", 1, 1), [], size) for n, size in enumerate(sizes)]


def cells(sizes, groups=None, exclude=(), include=(), relevant=None, target="t"):
    made = axes(*sizes)
    selection = Selection(groups or [(n,) for n in range(len(sizes))], list(exclude), list(include))
    matter = frozenset(range(len(sizes)) if relevant is None else relevant)
    found = picks(made, selection, matter, target)
    assert len(set(found)) == len(found)
    if not include and not exclude:
        assert combinations(made, selection, matter) == len(found)
    return found


def test_a_product_in_the_order_of_the_file_with_minus_one_for_what_does_not_matter():
    assert cells((2, 3)) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert cells((2, 3, 2), relevant=[1]) == [(-1, 0, -1), (-1, 1, -1), (-1, 2, -1)]
    assert cells((2, 3), relevant=[]) == [(-1, -1)]
    assert cells(()) == [()]


def test_zipped_axes_go_together_also_where_one_of_them_does_not_matter():
    assert cells((2, 3, 2), [(0, 2), (1,)]) == [(r, c, r) for r in range(2) for c in range(3)]
    assert cells((2, 3, 2), [(0, 2), (1,)], relevant=[2]) == [(-1, -1, 0), (-1, -1, 1)]


def test_an_exclusion_takes_out_what_has_all_of_its_values():
    gone = [Entry({0: [1], 1: [0, 2]}, None)]
    assert cells((2, 3), exclude=gone) == [(0, 0), (0, 1), (0, 2), (1, 1)]
    two = [*gone, Entry({0: [0]}, None)]
    assert cells((2, 3), exclude=two) == [(1, 1)]


def test_an_entry_concerns_tails_to_which_all_of_its_axes_matter_and_the_targets_that_it_names():
    entry = Entry({0: [0]}, ["t", "u"])
    for target, left in (("t", [(1,)]), ("u", [(1,)]), ("v", [(0,), (1,)])):
        assert cells((2,), exclude=[entry], target=target) == left
        more = Entry({0: [5]}, ["t", "u"])
        assert cells((2,), include=[more], target=target) == [(0,), (1,), *([(5,)] if target != "v" else [])]
    both = Entry({0: [0], 1: [0]}, None)
    assert cells((2, 2), exclude=[both], relevant=[0]) == [(0, -1), (1, -1)]
    assert cells((2, 2), include=[Entry({0: [7], 1: [7]}, None)], relevant=[0]) == [(0, -1), (1, -1)]
    assert cells((2, 2), exclude=[Entry({0: [0]}, None)], relevant=[0, 1]) == [(1, 0), (1, 1)]


def test_an_inclusion_adds_its_values_in_every_combination_of_the_other_axes():
    assert cells((1, 2), include=[Entry({0: [1, 2]}, None)]) == [
        *[(0, 0), (0, 1)],
        *[(1, 0), (1, 1), (2, 0), (2, 1)],
    ]
    assert cells((1, 2), include=[Entry({1: [1, 3]}, None)]) == [(0, 0), (0, 1), (0, 3)], "one stands there already"


def test_an_inclusion_comes_after_the_exclusions():
    back = cells((2, 2), exclude=[Entry({0: [0]}, None)], include=[Entry({0: [0], 1: [1]}, None)])
    assert back == [(1, 0), (1, 1), (0, 1)]


def test_an_inclusion_of_zipped_axes_is_read_line_by_line():
    """Where it names one of them only, the others take the value of the same number."""
    groups = [(0, 1), (2,)]
    assert cells((2, 2, 1), groups, include=[Entry({0: [2, 3], 1: [5, 4]}, None)]) == [
        *[(0, 0, 0), (1, 1, 0)],
        *[(2, 5, 0), (3, 4, 0)],
    ]
    gone = [Entry({2: [0]}, None)]
    assert cells((2, 2, 2), groups, exclude=gone, include=[Entry({1: [1], 2: [0]}, None)]) == [
        *[(0, 0, 1), (1, 1, 1)],
        (1, 1, 0),
    ]
    assert cells((2, 2, 2), groups, include=[Entry({1: [4], 2: [0]}, None)], relevant=[1, 2])[-1] == (-1, 4, 0)
