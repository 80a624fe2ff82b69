"""What the buttons do. A form must carry the server's own token for forms, which no other site can read."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from waiter.kitchen.contract import Kitchen
from waiter.orders import Selector, Status
from waiter.report.formatting import plural
from waiter.web.pages import Pages

LARGEST = 64 << 10
"""The most bytes of a form."""

LOOK_S = 2.0
"""So long the answer to a change waits for a look that shows it."""

Fields = Mapping[str, str]


def _group(fields: Fields) -> Selector | None:
    """The failures that the form means; None: it means no group."""
    group, batch = fields.get("group"), fields.get("batch") or None
    return Selector(statuses=(Status.ERROR,), error_group=group, batch=batch) if group else None


def _reset(kitchen: Kitchen, fields: Fields) -> None:
    if (group := _group(fields)) is not None:
        kitchen.reset(group)
    elif order_id := fields.get("id"):
        kitchen.reset(Selector(ids=(order_id,)))


def _cancel(kitchen: Kitchen, fields: Fields) -> None:
    if order_id := fields.get("id"):
        kitchen.cancel(Selector(ids=(order_id,)))


def _drain(kitchen: Kitchen, fields: Fields) -> None:
    if waiter := fields.get("waiter"):
        kitchen.drain(waiter)


ACTIONS: Mapping[str, Callable[[Kitchen, Fields], object]] = {
    "reset": _reset,
    "cancel": _cancel,
    "drain": _drain,
    "pause": lambda kitchen, fields: kitchen.pause(fields.get("waiter"), "paused from the page"),
    "resume": lambda kitchen, fields: kitchen.resume(fields.get("waiter")),
}


@dataclass(frozen=True, slots=True)
class Actions:
    """The buttons of the pages."""

    pages: Pages

    async def act(self, request: Request) -> Response:
        action = ACTIONS.get(request.path_params["what"])
        if action is None:
            return await self.pages.missing(request)
        if self.pages.form is None:
            return self.pages.message("This server only shows: it was started with --read-only.", 403)
        fields = await _fields(request)
        if fields is None:
            return self.pages.message("This form is too large.", 413)
        if not hmac.compare_digest(fields.get("form", "").encode(), self.pages.form.encode()):
            return self.pages.message("This form is none of this server's, or an old one: load the page again.", 403)
        back = _local(fields["back"]) if fields.get("back") else _back(request)
        if (group := _group(fields)) is not None and "confirmed" not in fields:
            return await self._asked(group, fields, back)
        await self.pages.kitchen.ask(lambda kitchen: action(kitchen, fields))
        await self.pages.viewing.show_change(LOOK_S)
        return RedirectResponse(back, 303)

    async def _asked(self, group: Selector, fields: Fields, back: str) -> Response:
        """What many orders are to do is asked for twice: they may have cost days."""
        counts = await self.pages.kitchen.ask(lambda kitchen: kitchen.counts(group))
        orders = plural(counts.total, "order")
        return self.pages.html(
            "confirm.html",
            "Do again?",
            "Failures",
            what="reset",
            question=f"{orders} of this kind failed. Do again what they do, from the beginning?",
            answer=f"Yes, do {orders} again",
            fields={**{name: fields.get(name, "") for name in ("group", "batch")}, "back": back, "confirmed": "yes"},
            back=back,
        )


async def _fields(request: Request) -> Fields | None:
    """What stands in the form; None: it is too large."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST:
            return None
    return dict(parse_qsl(body.decode("utf-8", "replace")))


def _back(request: Request) -> str:
    """The page of ours that the form stood on."""
    came = urlsplit(request.headers.get("referer", ""))
    if came.netloc != request.headers.get("host"):
        return "/"
    return _local(f"{came.path}?{came.query}" if came.query else came.path)


def _local(address: str) -> str:
    """The address as one of this server, whatever it was."""
    return "/" + address.lstrip("/\\")
