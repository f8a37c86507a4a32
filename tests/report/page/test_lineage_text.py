from procray.report.page.lineage_text import lineage_text


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
