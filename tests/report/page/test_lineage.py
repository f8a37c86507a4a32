import xml.etree.ElementTree as ElementTree

import pytest

from procray.errors import StoreError
from procray.model import GPT2, GPT2Config, save_weights
from procray.report.figures.lineage import lineage_svg
from procray.report.numbers.lineage import boxes
from procray.report.numbers.phase_names import find_phase
from procray.report.page.lineage_text import lineage_text
from procray.store.store import Store

from ..synthetic import YAML, fill, make_plan

SVG = "{http://www.w3.org/2000/svg}"


def test_seeds_and_lengths_of_schedule_stand_as_one_box(finished):
    found = boxes(*finished)
    assert len(found) == 1 + 2 * 5  # one warm-up; a baseline and four variants on each target
    full = next(box for box in found if box.title == "20k/full" and box.kind == "semantic")
    assert len(full.phases) == 9
    assert (full.seeds, full.state) == ({0, 1, 2}, "done")
    (carried,) = full.carried
    assert carried[2] == ("attention", "layernorm", "mlp")
    warmup = next(box for box in found if box.kind == "procedural")
    assert sorted(warmup.marks.values()) == [20_000, 40_000]


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


def test_the_tree_of_a_sweep(finished):
    text = lineage_text(*finished)
    assert "identity/L2-24" in text
    assert "├─ at 20k, attention → 20k/attention  [haystack (pairs 4)]" in text
    assert text.count("baseline  [") == 2


def test_the_tree_of_one_phase_has_ancestors_and_descendants(finished):
    plan, store = finished
    child = next(p for p in plan.phases.values() if p.label == "text/40k/full s1")
    text = lineage_text(plan, store, child.id[:8])
    assert text.startswith(f"* text/40k/full s1  [{child.id}]")
    assert "attention + layernorm + mlp from identity L2-24 s1" in text
    assert "mark at 40k" in text
    parent = child.parents[0].phase
    below = lineage_text(plan, store, parent)
    assert f"mark at 40k gave attention + layernorm + mlp to text/40k/full s1  [{child.id}]" in below
    assert "began with random weights" in below


def test_phases_are_found_by_id_prefix_or_label_only_when_unique(finished):
    plan, _ = finished
    phase = next(iter(plan.phases.values()))
    assert find_phase(plan, phase.label) == find_phase(plan, phase.id) == phase.id
    with pytest.raises(StoreError, match=r"no phase 'text/baselin s0'; did you mean 'text/baseline s0'\?"):
        find_phase(plan, "text/baselin s0")
    with pytest.raises(StoreError, match=f"fits {len(plan.phases)} phases"):
        find_phase(plan, "")


COMPOSED = (
    YAML.replace("task: identity", "task: {grid: [identity, set]}")
    .replace("{min: 2, max: 24}", "24")
    .replace("tokens: {grid: [20k, 40k]}", "tokens: 20k")
)


@pytest.fixture
def composed(tmp_path):
    """Attention of one task, MLP of another or of an outside checkpoint; noise and frozen parts."""
    outside = tmp_path / "gpt2-tiny"
    save_weights(GPT2(GPT2Config(1, 2, 16, 60, 80), seed=1), outside)
    change = {
        "transfer": {"attention": "identity", "mlp": {"grid": ["set", {"path": str(outside)}]}},
        "perturb": {"noise": 0.05, "components": ["mlp"]},
        "freeze": ["attention", "embeddings"],
        "matched": [],
    }
    return make_plan(tmp_path, COMPOSED, **change)


def test_a_composed_phase_shows_both_parents_and_what_was_done(composed):
    (outside,) = composed.outside.values()
    found = {box.key: box for box in boxes(composed)}
    assert found[outside.id].title == "gpt2-tiny"
    pair = next(box for box in found.values() if box.title == "mlp=set" and box.kind == "semantic")
    told = {found[parent].title: words for (parent, _), words in pair.links.items()}
    assert told == {"identity/L24": ["attention, frozen"], "set/L24": ["mlp, noise 0.05"]}
    assert pair.frozen == ["embeddings"]  # nobody gave them, so no line says it
    other = next(box for box in found.values() if box.title == "mlp=gpt2-tiny" and box.kind == "semantic")
    told = {found[parent].title: words for (parent, _), words in other.links.items()}
    assert told == {"identity/L24": ["attention, frozen"], "gpt2-tiny": ["mlp, noise 0.05"]}


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


def test_the_texts_name_both_parents_and_the_outside(composed):
    text = lineage_text(composed)
    assert "├─ at 20k, attention, frozen (with mlp, noise 0.05 from set/L24) → mlp=set" in text
    assert (
        "gpt2-tiny  [checkpoints from outside]\n├─ mlp, noise 0.05 (with attention, frozen from identity/L24)" in text
    )
    child = next(p for p in composed.phases.values() if p.label == "text/mlp=gpt2-tiny s0")
    one = lineage_text(composed, None, child.id)
    (outside,) = composed.outside.values()
    assert f"mlp from gpt2-tiny  [{outside.id}]  outside checkpoint" in one
    assert f"sha256 {outside.digest[:12]}" in one
    assert "what was carried has noise 0.05 (only mlp)" in one
    assert "attention+embeddings frozen" in one
