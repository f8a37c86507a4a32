from procray.tracking.facts import Point
from procray.tracking.missing import late, news
from procray.tracking.session import Known


def never(name: str) -> int:
    return 0


ROWS = [{"step": 4, "tokens": 100, "loss": 2.0, "time": 7.0}, {"step": 8, "tokens": 200, "loss": 1.0, "time": 8.0}]


def test_a_checkpoint_that_came_after_its_row_gets_the_loss_of_the_row() -> None:
    run = Known("run", steps={100, 200})
    assert late(set(), run, "val", ROWS, {}) == []
    assert late(set(), run, "val", ROWS, {4: "early"}) == [[Point("val", 2.0, 7000, 100, "early")]]
    assert late({("early", "run", "val", 2.0)}, run, "val", ROWS, {4: "early"}) == []
    # What is not in the curve yet comes with it.
    assert late(set(), Known("run", steps={100}), "val", ROWS, {8: "end"}) == []


def test_numbers_of_the_whole_run_are_told_once_for_every_checkpoint_that_it_started_from() -> None:
    number = Point("first", 3.0, 5000, 0)
    assert news(set(), Known("run"), [number], [], never) == [[number]]
    assert news(set(), Known("run", metrics={"first": 3.0}), [number], [], never) == []
    one, other = news(set(), Known("run"), [number], ["a", "b"], never)
    assert (one[0].model, other[0].model) == ("a", "b")
    assert news({("a", "run", "first", 3.0)}, Known("run", metrics={"first": 3.0}), [number], ["a", "b"], never) == [
        other
    ]


def test_a_number_that_changed_is_told_with_the_time_of_now() -> None:
    [[found]] = news(set(), Known("run", metrics={"first": 4.0}), [Point("first", 3.0, 5000, 0)], [], never)
    assert found.value == 3.0
    assert found.time > 5000
