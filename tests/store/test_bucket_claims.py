"""Claims as objects of a bucket: what `lease.py` asks of them."""

from __future__ import annotations

import math

import pytest

from procray.store import lease
from procray.store.bucket_claims import BucketClaims
from procray.store.folder_claims import FolderClaims
from procray.store.objects import Objects


@pytest.fixture
def open_claims(bucket):
    """Claims on one phase as another process sees them, and how often it wrote one."""

    def opened() -> tuple[BucketClaims, list[None]]:
        written: list[None] = []
        return BucketClaims(Objects(bucket), "phase", "phases/phase/leases", lambda: written.append(None)), written

    return opened


def test_one_of_two_makes_a_claim_and_both_have_written(open_claims):
    (mine, written), (theirs, written_there) = open_claims(), open_claims()
    assert mine.attempts() == []
    assert mine.create(1, "mine")
    assert not theirs.create(1, "theirs")
    assert (mine.read(1), theirs.read(1), theirs.attempts()) == ("mine", "mine", [1])
    assert (len(written), len(written_there)) == (1, 1), "a copy of the phase is looked at again in either case"
    assert 0 <= theirs.age(1) < 60


def test_a_claim_that_is_gone_has_no_text_and_no_age_that_counts(open_claims):
    (mine, _), (theirs, _) = open_claims(), open_claims()
    assert (mine.read(1), mine.age(1)) == (None, math.inf)
    assert mine.create(1, "mine")
    theirs.drop(number for number in (1, 2))
    assert (mine.read(1), mine.age(1), mine.attempts()) == (None, math.inf, [])
    assert not mine.beat(1, "mine")


def test_heartbeats_follow_each_other_until_somebody_else_has_written(open_claims, bucket):
    (mine, written), (theirs, _) = open_claims(), open_claims()
    assert mine.create(1, "first")
    assert [mine.beat(1, text) for text in ("second", "third", "fourth")] == [True] * 3
    assert theirs.read(1) == "fourth"
    assert len(written) == 1, "a heartbeat tells nothing new"
    Objects(bucket).put("phases/phase/leases/1.json", b"\xff of theirs")
    assert not mine.beat(1, "fifth")
    assert theirs.read(1) == "� of theirs"
    mine.write(1, "released")
    assert theirs.read(1) == "� of theirs", "what another wrote is not replaced"


@pytest.mark.parametrize("claims", [BucketClaims, FolderClaims])
def test_two_heartbeats_may_fail_before_another_host_takes_over(claims):
    assert 3 * claims.beat_every <= lease.STALE_AFTER


def test_a_release_is_seen_at_once(open_claims):
    (mine, written), (theirs, _) = open_claims(), open_claims()
    held = lease.acquire(mine, {"sweep": "x"})
    assert lease.acquire(theirs) is None
    held.heartbeat()
    held.release()
    assert len(written) == 2
    found = lease.holder(theirs)
    assert (found.attempt, found.released, found.alive(), found.about) == (1, True, False, {"sweep": "x"})
    again = lease.acquire(theirs)
    assert (again.attempt, theirs.attempts()) == (2, [2])
    again.release()
