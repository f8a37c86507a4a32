import pytest

from procray.report.numbers.matrix import matrices
from procray.report.numbers.settings import Settings
from procray.report.page.answer import answer
from procray.report.page.grid import Entry, Grid, Row
from procray.report.page.plain import grid_text
from procray.report.page.sweep_page import page
from procray.report.page.tables import grids

from .. import science


def named(results, name) -> Grid:
    return next(grid for grid in grids(results) if grid.name.startswith(name))


def cell(grid, *labels, column) -> Entry | None:
    row = next(row for row in grid.rows if row.labels == labels)
    return row.entries[grid.heads.index(column) - len(labels)]


def test_tasks_by_modes_with_the_baseline_first(diagnostics):
    grid = named(diagnostics, "modes")
    assert grid.heads == ("target", "setting", "none", "full", "attention", "mlp")
    assert [row.labels for row in grid.rows] == [
        ("find, %", "identity"), ("find, %", "set"), ("text, nats", "identity"), ("text, nats", "set"),
    ]  # fmt: skip
    assert cell(grid, "find, %", "set", column="none") == Entry("31.0 ± 1.0")
    # Seeds end at 0.6, 0.611 and 0.622; the baseline's at 0.3, 0.31 and 0.32.
    best = cell(grid, "find, %", "set", column="attention")
    assert (best.text, best.verdict) == ("61.1 ± 1.1", "better")
    assert best.details == ("+30.10 [+29.13, +31.07]",)
    assert cell(grid, "find, %", "set", column="mlp").verdict == "worse"
    # A loss is better when it is lower.
    assert cell(grid, "text, nats", "set", column="attention").verdict == "better"
    assert cell(grid, "text, nats", "set", column="mlp").verdict == "worse"


def test_early_stops_are_told_with_seeds_and_tokens(diagnostics):
    entry = cell(named(diagnostics, "modes"), "find, %", "identity", column="attention")
    assert entry.details[1] == "solved: 205k (3/3)"
    stopped = next(v for v in diagnostics.targets[0].variants if v.short == "identity/attention")
    # Seed 0 is at 0.8 half way and stops there; the curve goes on to the end of the budget.
    assert stopped.solved[0] == pytest.approx(200_000, rel=0.1)
    assert stopped.runs[0].curve.tokens[-1] == diagnostics.targets[0].baselines[0].runs[0].curve.tokens[-1]
    assert "solved after" in answer(diagnostics)


def test_one_mode_or_one_row_needs_no_table_across(tmp_path):
    one = science.DIAGNOSTICS.replace("{grid: [full, attention, mlp]}", "full")
    assert "modes" not in [grid.name for grid in grids(science.made(tmp_path, one))]


def test_marks_are_explained_and_only_those_that_occur(diagnostics, tmp_path):
    text = answer(diagnostics)
    assert "▲ better and ▼ worse: against none, paired by seed, at 5 % for the whole table" in text
    assert "~ not told apart" not in text
    single = science.made(tmp_path, science.DIAGNOSTICS.replace("[0, 1, 2]", "[0]"))
    entry = cell(named(single, "modes"), "find, %", "set", column="attention")
    assert (entry.text, entry.verdict) == ("60.0", "unclear")  # one seed has no interval


def test_a_cell_of_fewer_seeds_says_so(tmp_path):
    results = science.made(tmp_path, science.DIAGNOSTICS, lambda p: 0.5 if p.label == "find/identity/full s2" else 1.0)
    grid = named(results, "modes")
    assert cell(grid, "find, %", "identity", column="full").text.endswith("(2)")
    assert "in brackets: of fewer" in grid.title


def test_ways_to_score_stand_side_by_side(diagnostics):
    grid = named(diagnostics, "scores")
    assert grid.heads == ("target", "variant", "official", "corrected", "exact match")
    row = next(row for row in grid.rows if row.labels == ("find", "set/attention"))
    assert [entry.text for entry in row.entries] == ["80.5 ± 0.5", "61.1 ± 1.1", "37.3 ± 1.3"]
    assert {row.labels[0] for row in grid.rows} == {"find"}  # text has one way only


def test_the_matrix_of_two_parents(composition):
    (matrix,) = matrices(composition.targets[0])
    assert (matrix.down, matrix.across) == ("attention", "MLP")
    assert matrix.rows == matrix.columns == ("identity", "set", "sort")
    grid = named(composition, "composition")
    assert grid.heads == ("attention \\ MLP", "identity", "set", "sort")
    # Attention of SET adds 0.3, the MLP of SORT 0.15, that of IDENTITY takes 0.1.
    assert cell(grid, "set", column="sort").text.startswith("76.1")
    assert cell(grid, "set", column="identity").text.startswith("51.1")
    assert (cell(grid, "sort", column="set").text[:4], cell(grid, "sort", column="set").verdict) == ("21.1", "worse")
    assert "Without a warm-up: 31.0 ± 1.0." in grid.notes
    assert "modes" not in [grid.name for grid in grids(composition)]


def test_a_matrix_is_also_read_from_pairs_in_one_grid(tmp_path):
    pairs = "[{attention: set, mlp: sort}, {attention: sort, mlp: set}, {attention: set, mlp: set}]"
    yaml = science.COMPOSITION.replace(
        "{attention: {grid: [identity, set, sort]}, mlp: {grid: [identity, set, sort]}}", f"{{grid: {pairs}}}"
    )
    (matrix,) = matrices(science.made(tmp_path, yaml).targets[0])
    assert sorted(matrix.cells) == [("set", "set"), ("set", "sort"), ("sort", "set")]


def test_phases_after_the_warm_up_stand_beside_each_other(chain):
    grid = named(chain, "stages")
    assert [head.partition(":")[0] for head in grid.heads] == [
        "variant", "1. semantic", "against baseline (95 %)", "2. finetune", "against baseline (95 %)",
    ]  # fmt: skip
    rows = {row.labels[0]: [entry.text for entry in row.entries] for row in grid.rows}
    # The effect halves in the third phase: 0.1 - 0.05 nats for full transfer, -0.05 for attention.
    assert rows["full"][1].startswith("+0.051")
    assert rows["full"][3].startswith("+0.025")
    assert rows["attention"][1].startswith("−0.049")
    assert rows["attention"][3].startswith("−0.025")
    assert rows["baseline"][1] == rows["baseline"][3] == "-"


def test_comparing_an_earlier_phase_still_shows_the_last(tmp_path, chain):
    earlier = science.made(tmp_path, "compare: semantic\n" + science.CHAIN)
    assert earlier.targets[0].kind == "semantic"
    assert [row.entries for row in named(earlier, "stages").rows] == [
        row.entries for row in named(chain, "stages").rows
    ]


def test_columns_that_do_not_fit_stand_below_with_their_labels():
    row = Row(("a", "b"), tuple(Entry("12345678") for _ in range(4)))
    grid = Grid("x", "Title", ("one", "two", "c1", "c2", "c3", "c4"), (row, row))
    lines = grid_text(grid, 40)
    assert max(map(len, lines)) <= 40
    assert [line.split() for line in lines if line.startswith("  one")] == [
        ["one", "two", "c1", "c2", "c3"], ["one", "two", "c4"],
    ]  # fmt: skip
    assert grid_text(grid, 80)[1].split() == ["one", "two", "c1", "c2", "c3", "c4"]


@pytest.mark.parametrize("width", [80, 120])
def test_the_ending_keeps_to_the_terminal(diagnostics, composition, width):
    for results in (diagnostics, composition):
        assert max(map(len, answer(results, width=width).splitlines())) <= width


def test_the_page_has_the_same_numbers(diagnostics, composition, chain):
    for results in (diagnostics, composition, chain):
        text = page(results, [], "<svg></svg>", Settings((), (), "", {}, ()))
        entries = [entry for grid in grids(results) for row in grid.rows for entry in row.entries if entry]
        assert entries
        assert all(said in text for entry in entries for said in (entry.text, *entry.details))
