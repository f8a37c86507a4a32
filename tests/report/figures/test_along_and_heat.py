from procray.palette import colours
from procray.report.figures import along, heat
from procray.report.figures.curves import accuracy
from procray.report.numbers.matrix import matrices

from .. import science


def test_pictures_of_matrix_mixture_and_sizes(tmp_path, composition, diagnostics):
    (matrix,) = matrices(composition.targets[0])
    drawn = heat.composition(matrix, "composition", "here")
    assert "mean ± sd" in drawn.caption
    assert drawn.svg.startswith("<?xml")
    mixed = science.made(tmp_path / "m", science.MIXTURES).targets[0]
    assert along.mixed_tasks(mixed) == ("set", "union")
    assert [v.shares for v in mixed.warmed][2] == {"set": 0.75, "union": 0.25}
    assert (
        "share of sequences that are set"
        in along.mixture(mixed, colours(v.name for v in mixed.variants), "m", "").caption
    )
    sized = science.made(tmp_path / "s", science.SCALE).targets[0]
    assert len(along.sizes(sized)) == 3
    assert "number of the model's parameters" in along.scale(sized, "s", "here").caption
    assert along.sizes(mixed) == []
    assert along.mixed_tasks(sized) is None
    find = diagnostics.targets[0]
    assert "A triangle marks" in accuracy(find, colours(v.name for v in find.variants), "a", "", False).caption
