import xml.etree.ElementTree as ElementTree

from procray.report.figures.lineage import lineage_svg
from procray.report.numbers.lineage import boxes
from procray.store.store import Store

from ..synthetic import fill, make_plan

SVG = "{http://www.w3.org/2000/svg}"


def test_the_drawing_is_valid_and_has_every_box_mark_and_link(finished):
    root = ElementTree.fromstring(lineage_svg(*finished))
    texts = [text for element in root.iter(f"{SVG}text") for text in element.itertext()]
    assert texts.count("20k/full") == 2
    assert texts.count("40k") == 1
    assert len(list(root.iter(f"{SVG}circle"))) == 2
    assert len(list(root.iter(f"{SVG}path"))) == 8


def test_boxes_do_not_overlap(finished):
    root = ElementTree.fromstring(lineage_svg(*finished))
    places = [
        tuple(float(rect.get(name)) for name in ("x", "y", "width", "height"))
        for group in root.iter(f"{SVG}g")
        for rect in list(group.iter(f"{SVG}rect"))[:1]
    ]
    assert len(places) == 11
    for i, (x, y, width, height) in enumerate(places):
        for other_x, other_y, other_width, other_height in places[i + 1 :]:
            apart = (
                x + width <= other_x
                or other_x + other_width <= x
                or y + height <= other_y
                or other_y + other_height <= y
            )
            assert apart


def test_failures_show_in_the_boxes(tmp_path):
    plan, store = make_plan(tmp_path), Store(tmp_path / "store")
    bad = next(p for p in plan.phases.values() if p.label == "text/20k/full s1")
    failed = {"state": "failed", "reason": "x", "step": 1}
    fill(plan, store, until=lambda p: 0.1 if p is bad else 1.0, state=lambda p: failed if p is bad else None)
    assert "8 done, 1 failed" in lineage_svg(plan, store)


def test_a_large_grid_is_drawn_in_fewer_boxes(tmp_path):
    plan = make_plan(tmp_path, **{"transfer": {"grid": ["attention", "mlp", "full", "attention+mlp", "layernorm"]},
                                  "procedural.tokens": {"grid": ["10k", "20k", "30k", "40k"]}})  # fmt: skip
    assert len(boxes(plan)) == 1 + 2 * 21
    assert lineage_svg(plan).count("<g>") == 1 + 2 * 5


def test_lines_of_the_drawing_say_what_they_carry(composed):
    root = ElementTree.fromstring(lineage_svg(composed))
    texts = [text for element in root.iter(f"{SVG}text") for text in element.itertext()]
    assert texts.count("attention, frozen") == 2 * 4  # and as a hint of the mouse
    assert texts.count("mlp, noise 0.05") == 2 * 4
    assert "checkpoints from outside" in texts
    assert f"sha256 {next(iter(composed.outside.values())).digest[:16]}" in texts
    assert "frozen: embeddings" in texts
    assert len(list(root.iter(f"{SVG}path"))) == 8


def test_lines_that_arrive_at_one_box_are_apart(composed):
    root = ElementTree.fromstring(lineage_svg(composed))
    ends = [tuple(map(float, path.get("d").split("L")[1].split())) for path in root.iter(f"{SVG}path")]
    for i, (x, y) in enumerate(ends):
        assert all(x != other_x or abs(y - other_y) >= 16 for other_x, other_y in ends[i + 1 :])
