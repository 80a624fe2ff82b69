"""An HTTP POST of JSON to an address of the user's: a bounded number of tries, and one line that says what went wrong.

Addresses may hold secrets, in their path too: messages name scheme and host only.
"""

from __future__ import annotations

import base64
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from waiter import __version__
from waiter.errors import NotificationFailed, UsageError
from waiter.report.formatting import truncate

TIMEOUT_S = 10.0
PAUSES_S = (1.0, 2.0, 4.0)
"""Before each further try."""

TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that may be others in a moment."""


@dataclass(frozen=True, slots=True)
class WebhookAddress:
    """Where to; user and password, if the URL had some, are in a header."""

    url: str
    shown: str  # what may be shown of it
    headers: Mapping[str, str]


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would make a GET of a POST, and nobody would be told."""

    def redirect_request(self, *_: Any) -> None:
        return None


def webhook_address(url: str) -> WebhookAddress:
    """The address that a URL is. Raises UsageError."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or parts.scheme not in ("http", "https") or not url.isascii() or not url.isprintable() or " " in url:
        raise UsageError("invalid webhook URL: write https://host/path, in ASCII")
    place = (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
    headers = {"Content-Type": "application/json", "User-Agent": f"waiter/{__version__}"}
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return WebhookAddress(parts._replace(netloc=place, fragment="").geturl(), f"{parts.scheme}://{place}", headers)


def post(
    to: WebhookAddress, facts: Mapping[str, Any], say: Callable[[str], None], pauses_s: Sequence[float] = PAUSES_S
) -> None:
    """POST the facts as one JSON object; without an answer, or with a server's error, again after each of `pauses_s`.

    Raises NotificationFailed.
    """
    body = json.dumps(facts).encode()
    for pause_s in pauses_s:
        trouble, is_final = _tried(to, body)
        if trouble is None:
            return
        if is_final:
            break
        say(f"{to.shown}: {trouble}. Trying again in {pause_s:.0f} s.")
        time.sleep(pause_s)
    else:
        trouble, _ = _tried(to, body)
    if trouble is not None:
        raise NotificationFailed(f"notification failed: {to.shown}: {trouble}.")


def _tried(to: WebhookAddress, body: bytes) -> tuple[str | None, bool]:
    """One try: what went wrong, and whether it is no use to try again."""
    request = urllib.request.Request(to.url, data=body, headers=dict(to.headers), method="POST")
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=TIMEOUT_S):
            return None, True
    except urllib.error.HTTPError as answer:
        with answer:
            return _refusal(answer), answer.code not in TRY_AGAIN
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        return truncate(str(getattr(reason, "strerror", None) or reason or type(error).__name__), 120), False


def _refusal(answer: urllib.error.HTTPError) -> str:
    if 300 <= answer.code < 400:
        return f"answered {answer.code}: it has moved. Give the address that it moved to"
    try:
        said = answer.read(2000).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        said = ""
    return f"answered {answer.code} {truncate(f'{answer.reason} {said}', 160)}".rstrip(" .")
