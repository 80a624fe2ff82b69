"""Who is let in: the Host and Origin of a request, its token, and what every answer forbids the browser."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from secrets import token_urlsafe
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = {
    "default-src": "'none'",
    "style-src": "'self'",
    "script-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
}
HEADERS = {
    "Content-Security-Policy": "; ".join(f"{what} {whence}" for what, whence in POLICY.items()),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Secret:
    """The token of the server, and what follows from it."""

    token: str
    _tickets: set[str] = field(default_factory=set, init=False, repr=False, compare=False)  # that nobody has used yet

    def is_token(self, word: str) -> bool:
        return hmac.compare_digest(word.encode(errors="replace"), self.token.encode())

    def ticket(self) -> str:
        """A word that lets somebody in once, for a browser's command line, which others on this machine can read."""
        word = token_urlsafe(24)
        self._tickets.add(word)
        return word

    def lets_in(self, word: str) -> bool:
        """Whether it is the token, or a ticket, which it is no more then."""
        if word in self._tickets:
            self._tickets.remove(word)
            return True
        return self.is_token(word)

    @property
    def of_forms(self) -> str:
        """What every form carries: who can read our pages has it, and no other site does."""
        return hmac.new(self.token.encode(), b"form", "sha256").hexdigest()


def is_known_host(host: str, names: Iterable[str]) -> bool:
    """Whether a Host header means this server: one of its names, or an address.

    A name of another site that resolves to us (DNS rebinding) is what is kept out, and an address is no name.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name in names:
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


class Gate:
    """Stands before the pages: lets in who has the token, by a cookie that the first visit sets."""

    def __init__(self, app: ASGIApp, secret: Secret, names: frozenset[str], cookie: str, *, is_tls: bool) -> None:
        self._app = app
        self._secret = secret
        self._names = names
        self._cookie = cookie
        self._is_tls = is_tls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        """What is answered instead of the page."""
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if not is_known_host(host, self._names):
            return PlainTextResponse("This Host is not the server's. Name it with --host.\n", 421)
        is_change = scope["method"] not in ("GET", "HEAD")
        if origin is not None and urlsplit(origin).netloc != host:
            return PlainTextResponse("Another site may ask nothing here.\n", 403)
        if is_change and headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return PlainTextResponse("Another site may change nothing here.\n", 403)
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        words = [value for name, value in query if name == "token"]
        there = _without_token(scope["path"], query)
        if any(map(self._secret.lets_in, words)):
            return self._let_in(there)
        if self._has_token(headers):
            # An old link has the token of another day.
            return RedirectResponse(there, 303) if words and not is_change else None
        said = "Open the address that `waiter serve` printed: it has the token.\n"
        return PlainTextResponse(said, 401, {"WWW-Authenticate": "Bearer"})

    def _let_in(self, there: str) -> Response:
        """The token becomes a cookie, and leaves the address, its history and every link."""
        answer = RedirectResponse(there, 303)
        answer.set_cookie(self._cookie, self._secret.token, httponly=True, samesite="lax", secure=self._is_tls)
        return answer

    def _has_token(self, headers: Headers) -> bool:
        kind, _, word = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return self._secret.is_token(word.strip())
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            return False
        return cookie is not None and self._secret.is_token(cookie.value)


def _without_token(path: str, query: Sequence[tuple[str, str]]) -> str:
    """The address without the token, as one of this server."""
    there, kept = "/" + path.lstrip("/\\"), [(name, value) for name, value in query if name != "token"]
    return f"{there}?{urlencode(kept)}" if kept else there
