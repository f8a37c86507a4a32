"""The door of a page on this machine: who has the secret of this start comes in, everybody else gets 401.

Every user of a machine reaches its 127.0.0.1. The link that `procray ui` prints carries the secret; following it sets a
cookie, which only the browser that followed it has. Programs send it as a bearer token. What stands behind the door
sees neither.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = "/open/"
_CLOSED = b"This page belongs to somebody who started it: open the link that `procray ui` printed.\n"
_ELSEWHERE = b"Another page asked for this in your browser; that is not allowed.\n"
# A browser sends no strict cookie along a redirect that began on another page (a file, a terminal in a browser), but
# does so when this page leads on. What stands behind `#` comes along.
_ONWARD = b'<!DOCTYPE html><meta charset="utf-8"><script>location.replace("/" + location.hash)</script>\n'
_HEADERS = [(b"cache-control", b"no-store"), (b"referrer-policy", b"no-referrer"), (b"x-frame-options", b"DENY")]


def door(app: App, secret: str, name: str) -> App:
    """`app` behind a door.

    Args:
        secret: of this start, ASCII.
        name: of the cookie; browsers keep those of all ports of a host together.
    """

    async def behind(scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind not in ("http", "websocket"):  # the start and the end of the server
            return await app(scope, receive, send)
        headers = [(key.lower(), value.decode("latin-1")) for key, value in scope["headers"]]
        path = str(scope["path"])
        if kind == "http" and path.startswith(OPEN) and _same(path.removeprefix(OPEN).rstrip("/"), secret):
            return await _let_in(send, headers, f"{name}={secret}; Path=/; HttpOnly; SameSite=Strict")
        if not _knows(headers, secret, name):
            return await _refuse(kind, send, 401, _CLOSED)
        if not _from_here(headers):
            return await _refuse(kind, send, 403, _ELSEWHERE)
        kept = [(key, value) for key, value in scope["headers"] if key.lower() not in (b"cookie", b"authorization")]
        return await app({**scope, "headers": kept}, receive, send)

    return behind


def _same(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), secret.encode())


def _all(headers: Iterable[tuple[bytes, str]], name: bytes) -> list[str]:
    return [value for key, value in headers if key == name]


def _knows(headers: list[tuple[bytes, str]], secret: str, name: str) -> bool:
    given = [text[7:].strip() for text in _all(headers, b"authorization") if text[:7].lower() == "bearer "]
    for text in _all(headers, b"cookie"):
        for part in text.split(";"):  # one by one: another site's cookie may be malformed
            try:
                given += [morsel.value for key, morsel in SimpleCookie(part.strip()).items() if key == name]
            except CookieError:
                continue
    return any(_same(one, secret) for one in given)


def _from_here(headers: list[tuple[bytes, str]]) -> bool:
    """Whether a request is the page's own, a link that was followed, or a program's.

    To a browser every port of a host is one site: it would send the cookie for a page of another user's server too.
    """
    host = next(iter(_all(headers, b"host")), "")
    if any(urlsplit(origin).netloc != host for origin in _all(headers, b"origin")):
        return False
    if "navigate" in _all(headers, b"sec-fetch-mode"):
        return True
    return all(site in ("same-origin", "none") for site in _all(headers, b"sec-fetch-site"))


async def _let_in(send: Send, headers: list[tuple[bytes, str]], cookie: str) -> None:
    more = [*_HEADERS, (b"set-cookie", cookie.encode())]
    if any(site not in ("same-origin", "none") for site in _all(headers, b"sec-fetch-site")):
        await _send(send, 200, [*more, (b"content-type", b"text/html; charset=utf-8")], _ONWARD)
    else:
        await _send(send, 303, [*more, (b"location", b"/")], b"")


async def _refuse(kind: str, send: Send, status: int, text: bytes) -> None:
    if kind == "websocket":  # closed before it was accepted: 403 to who asked
        await send({"type": "websocket.close", "code": 1008})
    else:
        await _send(send, status, [*_HEADERS, (b"content-type", b"text/plain; charset=utf-8")], text)


async def _send(send: Send, status: int, headers: list[tuple[bytes, bytes]], text: bytes) -> None:
    length = (b"content-length", str(len(text)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": text})
