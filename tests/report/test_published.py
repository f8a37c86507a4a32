import pytest

from procray.report.published import compare

ENTRY = {
    "value": 0.75,
    "tolerance": 0.05,
    "source": "a paper",
    "strength": "one seed",
    "variant": "20k/full",
    "target": "text",
}


@pytest.mark.parametrize(
    ("change", "verdict", "reason"),
    [
        ({}, "reproduced", "excludes no effect"),
        ({"value": 0.5}, "not reproduced", "is further than 5.0\N{NARROW NO-BREAK SPACE}% from 50.0"),
        ({"variant": "20k/attention"}, "not reproduced", "not reached"),
        ({"quantity": "delta", "value": -0.2}, "reproduced", "excludes no effect"),
        ({"quantity": "final_loss", "value": 10.07, "variant": "baseline"}, "reproduced", "no effect to exclude"),
        ({"variant": "80k/full"}, "not comparable", "no variant '80k/full'"),
        ({"target": "c4"}, "not comparable", "no target 'c4'"),
        ({"variant": None}, "not comparable", "4 variants could be meant"),
        ({"quantity": "speed"}, "not comparable", "unknown quantity 'speed'"),
    ],
)
def test_verdicts(results, change, verdict, reason):
    (found,) = compare(results, [{**ENTRY, **change}])
    assert found.verdict == verdict
    assert reason in found.reason
    assert (found.source, found.strength) == ("a paper", "one seed")


def test_an_effect_within_the_tolerance_that_could_be_none_is_not_reproduced(results):
    # 0.21 nats better; the published value is 0 and the tolerance wide, yet the retrieval task shows no difference.
    entry = {**ENTRY, "target": "find", "variant": "20k/attention", "quantity": "accuracy_delta", "value": 0.0}
    (found,) = compare(results, [entry])
    assert found.verdict == "not reproduced"
    assert "includes no effect" in found.reason
