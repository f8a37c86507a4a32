from procray.report.numbers.lineage import boxes


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
