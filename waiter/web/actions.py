"""What the buttons do. A form must carry the server's own token for forms, which no other site can read."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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


def _waiting(fields: Fields) -> Selector | None:
    """The READY orders of the batch that the form means, with a group only those that failed so before."""
    group, batch = fields.get("group") or None, fields.get("batch")
    return Selector(statuses=(Status.READY,), error_group=group, batch=batch) if batch else None


def _reset(kitchen: Kitchen, fields: Fields) -> None:
    if (group := _group(fields)) is not None:
        kitchen.reset(group)
    elif order_id := fields.get("id"):
        kitchen.reset(Selector(ids=(order_id,)))


def _cancel(kitchen: Kitchen, fields: Fields) -> None:
    if (waiting := _waiting(fields)) is not None:
        kitchen.cancel(waiting)
    elif order_id := fields.get("id"):
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
class Question:
    """What many orders are to do is asked once more: they may have cost days. An answer is its words and its form."""

    title: str
    text: str
    answers: Sequence[tuple[str, Fields]]


def _is_reset_meant(kitchen: Kitchen, fields: Fields) -> Question | None:
    if (group := _group(fields)) is None:
        return None
    failed = kitchen.counts(group).total
    if not failed:
        return Question("Do again?", "No order is failed so any more: somebody did them again, or deleted them.", [])
    orders = plural(failed, "order")
    text = f"{orders} of this kind failed. Do again what they do, from the beginning?"
    mine = {name: fields.get(name, "") for name in ("group", "batch")}
    return Question("Do again?", text, [(f"Yes, do {orders} again", mine)])


def _is_cancel_meant(kitchen: Kitchen, fields: Fields) -> Question | None:
    if (waiting := _waiting(fields)) is None:
        return None
    batch = fields["batch"]
    all_, again = (kitchen.counts(one).total for one in (replace(waiting, error_group=None), waiting))
    if not all_:
        return Question("Cancel?", f"Of batch {batch} no order waits any more: there is nothing to cancel.", [])
    text = f"{plural(all_, 'order')} of batch {batch} are still to be run. Those that run go on."
    answers = [(f"Cancel the {plural(all_, 'order')}", {"batch": batch})]
    if again and waiting.error_group:
        text += f" {plural(again, 'order')} of them failed so before, and would be tried again."
        answers.insert(
            0, (f"Cancel the {plural(again, 'order')} that failed so", {**answers[0][1], "group": fields["group"]})
        )
    return Question("Cancel?", text, answers)


ASKED: Mapping[str, Callable[[Kitchen, Fields], Question | None]] = {
    "reset": _is_reset_meant,
    "cancel": _is_cancel_meant,
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
        asked = None if "confirmed" in fields else ASKED.get(request.path_params["what"])
        if asked and (question := await self.pages.kitchen.ask(lambda kitchen: asked(kitchen, fields))):
            return self._asked(request.path_params["what"], question, back)
        await self.pages.kitchen.ask(lambda kitchen: action(kitchen, fields))
        await self.pages.viewing.show_change(LOOK_S)
        return RedirectResponse(back, 303)

    def _asked(self, what: str, question: Question, back: str) -> Response:
        answers = [(words, {**fields, "back": back, "confirmed": "yes"}) for words, fields in question.answers]
        return self.pages.html(
            "confirm.html", question.title, "Failures", what=what, said=question.text, answers=answers, back=back
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
