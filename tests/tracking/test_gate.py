"""The door of the page: who has the secret comes in, everybody else is told nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from procray.tracking.gate import OPEN, door

SECRET = "the-secret-of-this-start"
NAME = "procray-5001"
HOST = {"host": "127.0.0.1:5001"}
COOKIE = {**HOST, "cookie": f"{NAME}={SECRET}"}


def ask(path: str, headers: dict[str, str], kind: str = "http") -> tuple[int, dict[str, str], bytes, dict[str, Any]]:
    """Status, headers and text of the answer, and what arrived behind the door; 999 for a websocket that is closed."""
    seen: dict[str, Any] = {}
    sent: list[Any] = []

    async def behind(scope: Any, receive: Any, send: Any) -> None:
        seen.update(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"inside"})

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    scope = {"type": kind, "path": path, "headers": [(k.encode(), v.encode("latin-1")) for k, v in headers.items()]}
    asyncio.run(door(behind, SECRET, NAME)(scope, receive, send))
    if sent[0]["type"] == "websocket.close":
        return 999, {}, b"", seen
    found = {key.decode(): value.decode() for key, value in sent[0]["headers"]}
    return sent[0]["status"], found, sent[1]["body"], seen


@pytest.mark.parametrize(
    "path", ["/", "/health", "/version", "/static-files/x.js", "/api/2.0/mlflow/runs/create", OPEN]
)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"cookie": f"{NAME}="},
        {"cookie": f"{NAME}={SECRET[:-1]}"},
        {"cookie": f"{NAME}={SECRET}x"},
        {"cookie": f"procray-5002={SECRET}"},
        {"cookie": "a=\xff; ;;=; =x"},
        {"authorization": f"Basic {SECRET}"},
        {"authorization": "Bearer "},
        {"authorization": "Bearer \xe9"},
    ],
)
def test_without_the_secret_there_is_nothing(path: str, headers: dict[str, str]) -> None:
    status, said, text, seen = ask(path, {**HOST, **headers})
    assert (status, seen) == (401, {})
    assert "set-cookie" not in said
    assert SECRET.encode() not in text
    assert ask(path, {**HOST, **headers}, "websocket") == (999, {}, b"", {})


@pytest.mark.parametrize("path", [OPEN + SECRET, f"{OPEN}{SECRET}/"])
def test_the_link_gives_the_cookie_and_leads_on(path: str) -> None:
    status, said, _, seen = ask(path, {**HOST, "sec-fetch-site": "none", "sec-fetch-mode": "navigate"})
    assert (status, said["location"], seen) == (303, "/", {})
    cookie = said["set-cookie"]
    assert cookie == f"{NAME}={SECRET}; Path=/; HttpOnly; SameSite=Strict"
    assert said["cache-control"] == "no-store"
    assert said["referrer-policy"] == "no-referrer"
    assert ask("/", {**HOST, "cookie": f"other=1; {cookie.split(';')[0]}; a=\x01"})[0] == 200


def test_from_another_page_it_leads_on_by_itself() -> None:
    """A browser sends no strict cookie along a redirect that began elsewhere, such as in the file of `procray ui`."""
    status, said, text, _ = ask(OPEN + SECRET, {**HOST, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"})
    assert status == 200
    assert "HttpOnly; SameSite=Strict" in said["set-cookie"]
    assert b'location.replace("/" + location.hash)' in text


@pytest.mark.parametrize("wrong", ["", "x", SECRET[:-1], SECRET + "x", f"{SECRET}/x", "é"])
def test_another_link_gives_nothing(wrong: str) -> None:
    status, said, _, _ = ask(OPEN + wrong, HOST)
    assert status == 401
    assert "set-cookie" not in said


def test_what_is_behind_the_door_never_sees_the_secret() -> None:
    for headers in (COOKIE, {**HOST, "authorization": f"Bearer {SECRET}"}):
        status, _, text, seen = ask("/x", {**headers, "accept": "text/html"})
        assert (status, text) == (200, b"inside")
        assert seen["headers"] == [(b"host", b"127.0.0.1:5001"), (b"accept", b"text/html")]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://127.0.0.1:5001", "sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}, 200),
        ({"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}, 200),
        ({"sec-fetch-site": "same-site", "sec-fetch-mode": "navigate"}, 200),
        ({"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"origin": "http://localhost:5001"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "https://example.com"}, 403),
    ],
)
def test_another_page_in_the_same_browser_gets_nothing(headers: dict[str, str], status: int) -> None:
    """To a browser every port of 127.0.0.1 is one site: the page of another user's server has the cookie sent along."""
    assert ask("/api/2.0/mlflow/experiments/search", {**COOKIE, **headers})[0] == status
    assert bool(ask("/api/x", {**COOKIE, **headers})[3]) == (status == 200)
