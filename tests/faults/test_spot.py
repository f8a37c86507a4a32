"""AWS takes a node back: the watcher hears of it and drains the node, the sweep moves on."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import plans
import pytest
from raylets import environment, trainer_of

from procray.execution.spot import NOTICE, REBALANCE, Metadata, Notice, notice, watch


class Service:
    """Stands in for the instance metadata service: nothing without a token, and tokens run out."""

    def __init__(self):
        self.pages: dict[str, str] = {}
        self.tokens: set[str] = set()
        self.given = 0
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self):
                right = self.path == "/latest/api/token" and int(self.headers["X-aws-ec2-metadata-token-ttl-seconds"])
                service.given += 1
                service.tokens.add(f"token-{service.given}")
                self.answer(200 if right else 400, f"token-{service.given}")

            def do_GET(self):
                if self.headers["X-aws-ec2-metadata-token"] not in service.tokens:
                    return self.answer(401, "")
                page = service.pages.get(self.path.lstrip("/"))
                return self.answer(404 if page is None else 200, page or "")

            def answer(self, code, text):
                self.send_response(code)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *words):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def end(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def service():
    started = Service()
    yield started
    started.end()


def in_seconds(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))


def test_a_notice_is_read_with_a_token_that_may_run_out(service):
    metadata = Metadata(service.endpoint)
    assert notice(metadata) is None
    service.tokens.clear()
    service.pages[REBALANCE] = '{"noticeTime": "2026-11-27T08:22:00Z"}'
    assert notice(metadata) is None
    assert notice(metadata, rebalance=True) == Notice("rebalance", 0.0)
    service.pages[NOTICE] = '{"action": "terminate", "time": "2026-11-27T08:22:00Z"}'
    assert notice(metadata) == Notice("terminate", 1795767720.0)
    service.pages[NOTICE] = "not what AWS documents"
    assert notice(metadata) == Notice("terminate", 0.0), "whatever it says, it is a notice"
    assert service.given == 2
    service.end()
    with pytest.raises(OSError):
        notice(metadata)


def test_whatever_fails_is_tried_again(caplog):
    answers = [OSError("no route"), OSError("no route"), None, *[Notice("stop", 0.0)] * 3]
    told = []

    def look():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def tell(found):
        told.append(found)
        if len(told) < 3:
            raise RuntimeError("Ray's head is busy")

    watch(look, tell, 0.0, sleep=lambda seconds: None)
    assert told == [Notice("stop", 0.0)] * 3
    assert answers == []
    assert caplog.text.count("no answer from the metadata service") == 1, "a silent service is named once"


@pytest.mark.slow
def test_a_notice_moves_the_sweep_to_another_node(raylets, sweep, store, service, reference, same_numbers):
    plan = plans.pair(2500)
    one = next(iter(plan.phases))
    running = sweep("pair:2500", store, raylets.address)
    node = raylets.of(trainer_of(store, one))
    options = ["--endpoint", service.endpoint, "--every", "1", "--node", node, "--head", raylets.address]
    watcher = subprocess.Popen(
        [sys.executable, "-m", "procray.execution.spot", *options],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        until = time.monotonic() + 600
        while not service.given:
            assert time.monotonic() < until
            time.sleep(0.1)
        noticed = time.time()
        service.pages[NOTICE] = f'{{"action": "terminate", "time": "{in_seconds(120)}"}}'
        saved = running.until(lambda event: event["event"] == "paused")["at"] - noticed
        assert watcher.wait(600) == 0
        assert "running phases save now" in watcher.stderr.read()
    finally:
        watcher.kill()
    assert saved < 10
    assert raylets.of(trainer_of(store, one)) not in (node, None)
    assert running.result()["done"] == ["behind", "one", "two"]
    assert running.named("retry") == []
    same_numbers(plan, store, reference(plan))
    raylets.remove(node)
    raylets.rest()
    print(f"notice of AWS to saved: {saved:.1f} s")
