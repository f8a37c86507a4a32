"""What `procray sweep` does around the run: MLflow beside it, a table on top, the report and the answer after it."""

from __future__ import annotations

import os
from typing import Any

from procray.cli import live
from procray.cli.plan_view import finished
from procray.cli.prediction import against, predict
from procray.cli.terminal import answer, answer_json, say, short_time, width
from procray.errors import Stopped
from procray.planning import Plan
from procray.selection import select
from procray.store.store import Store
from procray.visible import on_one_line

OUT_OF_TIME = 4


def run_sweep(
    plan: Plan,
    store: Store,
    *,
    file: str,
    address: str | None,
    max_concurrent: int | None,
    max_hours: float | None,
    retry_failed: bool,
    tracking: bool,
    profile: tuple[int, int] | None = None,
    json: bool,
    again: str,
    ui: str,
) -> int:
    """Runs or continues a plan and reports on it.

    Returns:
        The exit code: 128 and the number of the signal that interrupted it; else 1 where a phase failed; else 4 where
        the time ran out before the end; else 0.

    Args:
        file: as the user named it; the report says how to repeat it.
        again: the command line that continues this sweep.
        ui: the command line that opens it in MLflow.
    """
    from procray.execution import RunOptions, run
    from procray.report import answer as answer_text
    from procray.report import results_json, write_report

    before = predict(plan, store, finished(plan, store))
    shown = select.whole(plan, store) or plan  # of a sweep with `select:` as far as it can be planned
    follower = _follow(shown, store) if tracking else None
    try:
        with live.watching(shown, store) as watcher:

            def tell(event: dict[str, Any]) -> None:
                nonlocal follower, shown
                if event["event"] != "chosen":
                    _tell(event)
                elif event["plan"] != shown:
                    shown = event["plan"]
                    say(f"settings are chosen; {len(shown.phases)} phases in all, of which the rest follows")
                    watcher.follow(shown)
                    if follower is not None:
                        _finish(follower)
                        follower = _follow(shown, store)

            result = run(
                plan,
                store,
                RunOptions(
                    max_concurrent=max_concurrent,
                    max_hours=max_hours,
                    address=address,
                    retry_failed=retry_failed,
                    on_event=tell,
                    retries=plan.retries,
                    profile=profile,
                    on_stuck=lambda reason: _give_up(reason, again, address is None),
                ),
            )
        paths = write_report(result.plan, store, file=file)
    except Stopped as error:
        raise Stopped(_kept(str(error), again)) from None
    finally:
        if follower is not None:
            _finish(follower)

    if json:
        answer_json(results_json(paths.results))
    else:
        more = [f"MLflow: {ui}"] if tracking else []
        answer(answer_text(paths.results, paths.page, more, width()))
    if not (result.trained or result.unfinished or result.failed):
        say("nothing was left to train")
    elif result.interrupted or result.out_of_time or result.failed or plan.then is not None:
        say(f"took {short_time(result.seconds)}; logs in {result.logs}")  # not all of what was predicted was run
    else:
        say(f"{against(before.seconds if before else None, result.seconds)}; logs in {result.logs}")
    out_of_time = result.out_of_time and bool(result.unfinished or result.plan.then is not None)
    if result.interrupted or out_of_time:
        say(_kept("interrupted" if result.interrupted else "out of time", again))
    if result.interrupted:
        return 128 + result.signal
    if result.failed or result.skipped:
        return 1
    return OUT_OF_TIME if out_of_time else 0


def _kept(why: str, again: str) -> str:
    return f"{why}; everything trained so far is kept. Continue with\n  {again}"


def _give_up(reason: str, again: str, local: bool) -> None:
    """Ray is gone and the main thread waits in it, until Ray ends the process without a word."""
    from procray.execution.cluster import kill_local_ray
    from procray.execution.fresh import begin_afresh, may_begin_afresh

    if local and may_begin_afresh():
        say(f"{reason}; starting the command again")
        begin_afresh()
    say(_kept(reason, again))
    kill_local_ray()
    os._exit(Stopped.exit_code)


def _follow(plan: Plan, store: Store) -> Any:
    from procray.tracking import Follower

    return Follower(plan, store).start()


def _finish(follower: Any) -> None:
    result = follower.stop()
    if not result.complete:
        say(result.message)


def _tell(event: dict[str, Any]) -> None:
    """The few events that the table cannot show."""
    match event["event"]:
        case "corpus" | "notice":
            say(event["message"])
        case "retry":
            say(f"{event['label']}: {event['reason']}; attempt {event['attempt']} of {event['of']}")
        case "paused" if "node is going away" in event.get("reason", ""):
            say(f"{event['label']}: {event['reason']}; it goes on elsewhere")
        case "ray" if event["state"] == "lost":
            say(f"{event['reason']}; starting Ray again, everything goes on from where it was saved last")
        case "ray" if event["state"] == "grows":
            say(f"{event['reason']}; waiting for nodes that its autoscaler may add")
        case "waiting":
            say(f"{event['label']} finds no room on the cluster, and nothing else runs; waiting for nodes")
        case "ray" if event["state"] == "silent":
            say(f"the head of the Ray cluster does not answer; waiting for it, {event['seconds']:.0f} s at most")
        case "ray" if event["state"] == "answers":
            say("the head of the Ray cluster answers again")
        case "elsewhere":
            host = on_one_line(event["host"])
            say(f"{event['label']} is being trained by process {event['pid']} on {host}; waiting for it")
        case "stopping" if event["reason"] == "disk":
            say("the disk of the store is full; stopping")
        case "stopping":
            say("saving what runs, then stopping (press Ctrl-C again to stop at once)")
