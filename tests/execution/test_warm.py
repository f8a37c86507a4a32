"""Worker groups that live on between segments: the numbers of fresh ones, and nothing that spreads or stays."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import time

import psutil
import pytest
from small_plans import phase, plan

from procray.execution import run
from procray.store.processes import process_start
from procray.store.store import Store

DONE, FAILED = {"state": "done"}, {"state": "failed"}


def family() -> dict[int, str]:
    """The processes below this one, by what Ray calls them."""
    found = {}
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            found[child.pid] = " ".join(child.cmdline())
    return found


@pytest.fixture
def nothing_left(local_ray):
    """Checks after the test that no placement group holds anything and every process of a group is gone."""
    import ray
    from ray.util.placement_group import placement_group_table

    yield
    until = time.monotonic() + 600
    while time.monotonic() < until:
        busy = [name for name in family().values() if re.search("RayTrain|TrainController|Mailbox|Trainable", name)]
        assert ray.is_initialized(), "asking would start another"
        states = {group["state"] for group in placement_group_table().values()}
        if states <= {"REMOVED"} and not busy and ray.available_resources().get("CPU") == local_ray["CPU"]:
            return
        time.sleep(0.2)
    raise AssertionError((states, busy, ray.available_resources()))


def pair(label, marks=(10, 20), **more):
    return phase(label, list(marks), **{"decaying": True, "batch": 8, "workers": 2, **more})


def test_a_warm_group_gives_the_numbers_of_one_process_and_outlives_a_nan(nothing_left, store, listen, reference):
    good = [pair("one"), pair("two", seed=1)]
    bad = pair("bad", marks=[20], lr=1e30, decaying=False)
    child = phase("child", [10], parent=(bad, 20), batch=8, workers=2)
    last = pair("last", seed=2, task="reverse")
    result, heard = listen(plan(*good, bad, child, last), store)
    assert sorted(result.done) == ["last", "one", "two"], (result, heard.events)
    assert "learning rate 1e+30" in result.failed["bad"]
    assert list(result.skipped) == ["child"]
    assert heard.labels("retry") == []
    status = store.phase(bad.id).status()
    assert (status["state"], status["final"]) == ("failed", True)
    about = [store.phase(small.id).description()["attempts"]["1"] for small in (*good, last)]
    assert {(run["world_size"], run["executor"]) for run in about} == {(2, "train-warm")}
    holders = {store.phase(small.id).holder().process["pid"] for small in (*good, bad, last)}
    assert len(holders) == 1, "one group trained them all"
    single = reference(plan(*(phase(p.label, p.marks, seed=p.recipe.seed, decaying=True, batch=8,
                                    task=p.recipe.data["task"]["name"]) for p in (*good, last))))  # fmt: skip
    for small in (*good, last):
        one, two = single.phase(small.id).curve(), store.phase(small.id).curve()
        assert store.phase(small.id).marks() == [10, 20]
        assert [row["step"] for row in one] == [row["step"] for row in two] == [0, 10, 20]
        for a, b in zip(one, two, strict=True):
            assert a["tokens"] == b["tokens"]
            assert a["loss"] == pytest.approx(b["loss"], abs=1e-4)


def two(executor):
    first = pair("first", marks=[20, 600], executor=executor)
    return plan(first, pair("second", seed=1, executor=executor), pair("third", seed=2, executor=executor)), first


@pytest.fixture(scope="module")
def undisturbed(local_ray, tmp_path_factory):
    """What a warm group makes of the plan when nobody disturbs it."""
    store = Store(tmp_path_factory.mktemp("undisturbed"))
    assert len(run(two("train-warm")[0], store).done) == 3
    return store


@pytest.mark.slow
def test_warm_and_fresh_groups_give_the_same_bits(nothing_left, undisturbed, store, listen, same_numbers):
    small, first = two("train")
    assert len(listen(small, store)[0].done) == 3
    assert store.phase(first.id).description()["attempts"]["1"]["executor"] == "train"
    same_numbers(small, store, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["rank 0", "rank 1", "controller", "mailbox", "trial"])
def test_whoever_of_a_group_is_killed_the_sweep_ends_with_the_same_numbers(
    nothing_left, undisturbed, store, listen, same_numbers, whom
):
    small, first = two("train-warm")
    times = []

    def victim(leader) -> int:
        name = {"controller": "TrainController", "mailbox": "Mailbox", "trial": "Trainable"}.get(whom, "RayTrain")
        found = [pid for pid, title in family().items() if name in title]
        if whom.startswith("rank"):
            found = [leader] if whom == "rank 0" else [pid for pid in found if pid != leader]
        (pid,) = found
        return pid

    def kill_once(event):
        folder = store.phase(first.id)
        if event["event"] == "progress" and not times and folder.exists_mark(20):
            times.append(time.monotonic())
            os.kill(victim(folder.holder().process["pid"]), signal.SIGKILL)
        if event["event"] == "retry":
            times.append(time.monotonic())

    result, heard = listen(small, store, kill_once)
    assert len(result.done) == 3, heard.events
    assert heard.labels("retry") == ["first"]
    assert times[1] - times[0] < 10
    same_numbers(small, store, undisturbed)


@pytest.mark.slow
def test_groups_and_single_processes_share_a_machine(nothing_left, store, listen):
    """A group of another size, and phases without one: nobody waits for what an idle group holds."""
    shapes = [{}, {"workers": 1}, {"workers": 1, "executor": "train-warm"}, {"cpu": 0.5}, {}]
    mixed = [pair(str(number), seed=number, **shape) for number, shape in enumerate(shapes)]
    result, heard = listen(plan(*mixed), store)
    assert len(result.done) == 5, (result, heard.events)
    assert heard.labels("retry") == []


@pytest.mark.slow
def test_a_warm_group_saves_when_time_runs_out_and_goes_on(nothing_left, tmp_path, store, listen, same_numbers):
    small = plan(pair("slow", marks=[20, 2500]))
    result, _ = listen(small, store, max_hours=25 / 3600)
    assert result.out_of_time
    assert result.unfinished == ["slow"]
    assert listen(small, store)[0].done == ["slow"]
    straight = Store(tmp_path / "straight")
    assert listen(small, straight)[0].done == ["slow"]
    same_numbers(small, store, straight)


def mailbox(workers=2):
    from procray.execution.warm import Mailbox  # imports Ray, which must not be before it is configured

    box = Mailbox(workers, {"host": "elsewhere", "pid": os.getpid(), "started": process_start(os.getpid())})
    box.patience = 0.2
    return box


def test_the_mailbox_hands_each_rank_every_segment_once():
    async def talk():
        box = mailbox()
        waiting = [asyncio.create_task(box.job(0)) for _ in range(2)]
        await box.give({"phase": "a"})
        assert await asyncio.gather(*waiting) == [{"phase": "a"}] * 2
        await box.put(1, DONE)
        answer = asyncio.create_task(box.outcome())
        await asyncio.sleep(0.3)
        assert not answer.done(), "rank 0 has not ended, and may take as long as it likes"
        await box.put(0, {"state": "done", "step": 3})
        assert await answer == ({"state": "done", "step": 3}, True)
        await box.give({"phase": "b"})
        assert await box.job(1) == {"phase": "b"}
        assert await box.all_ended(0), "asked late: the others went on, so they had ended"
        await box.give(None)
        assert await box.job(2) is None

    asyncio.run(talk())


def test_a_failure_that_only_some_ranks_find_breaks_the_group():
    async def talk():
        box = mailbox()
        await box.give({"phase": "a"})
        await box.put(0, FAILED)
        assert await box.outcome() == (FAILED, False)
        assert not await box.all_ended(0)
        await box.give({"phase": "b"})
        await asyncio.gather(box.put(0, FAILED), box.put(1, FAILED))
        assert await box.all_ended(1)
        assert await box.outcome() == (FAILED, True)

    asyncio.run(talk())
