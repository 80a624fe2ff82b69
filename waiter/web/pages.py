"""The pages, each a function from a request to HTML; the app holds what they share."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlencode

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse

from waiter.errors import KitchenError, UsageError, WaiterError
from waiter.orders import Selector
from waiter.report.batch_list import ONLY
from waiter.report.command_line import line_by_hand
from waiter.report.formatting import truncate
from waiter.report.order import facts_in_words, took
from waiter.report.run_view import WHOLE, Aspect
from waiter.report.selection import STATUS_WORDS
from waiter.report.waiting import why_waits, word_of
from waiter.web.asking import (
    aspect_from,
    find_failures,
    find_order,
    find_orders,
    list_heads,
    query_of,
    refuse_unknown,
    sort_from,
)
from waiter.web.batches_page import BatchesPart, batches_wanted
from waiter.web.charts import attempts, written_at
from waiter.web.rendering import render, zone
from waiter.web.viewing import KitchenThread, Viewing

GROUPS_SHOWN = 50
QUIET_S = 1.0
"""So often something is sent to who watches, even if there is no news: so it is found out who has left."""

FIRST_LOOK_S = 0.1
"""So long a page waits for what nobody has looked at yet; then it says so, and shows it as soon as it is there."""

PARTS = {"run": ("run", "charts", "below"), "waiters": ("waiters",)}
"""The live parts of each page, from top to bottom."""

Page = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Pages:
    """What the pages share."""

    where: str  # the kitchen, in words that may be shown
    viewing: Viewing
    kitchen: KitchenThread
    form: str | None  # the token of forms; None: nothing may be changed

    def html(self, template: str, title: str, here: str, status: int = 200, **values: object) -> Response:
        text = render(template, title=title, here=here, kitchen=self.where, zone=zone(), form=self.form, **values)
        return HTMLResponse(text, status)

    def parts(self, page: str, aspect: Aspect = WHOLE) -> dict[str, str]:
        """The live parts of a page as they are now, by name."""
        look, trouble, batch = self.viewing.looks.get(aspect), self.viewing.trouble, aspect.batch
        seen, run = (look.seen, look.run) if look else (None, None)
        now = written_at(look.run.line, look.seen.now) if look else 0.0

        def made(name: str) -> str:
            of = (run, now) if name == "charts" else seen
            values = {"seen": seen, "view": run, "now": now, "trouble": trouble, "batch": batch, "linked": True}
            return self.viewing.text(
                name, aspect, (of, trouble), lambda: render(f"{name}_part.html", form=self.form, **values)
            )

        return {name: made(name) for name in PARTS[page]}

    async def run(self, request: Request) -> Response:
        aspect = aspect_from(request.query_params)
        await self._looked_at(aspect)
        name = self._name(aspect)
        return self._live("run", f"Batch {truncate(name, 80)}" if name else "Run", "Run", aspect)

    def _name(self, aspect: Aspect) -> str | None:
        """What the batch is called, or else how the address calls it; None: it is of all."""
        look = self.viewing.looks.get(aspect)
        return look.run.name or aspect.batch if look else aspect.batch

    async def _looked_at(self, aspect: Aspect) -> None:
        """Wait a little for a look at this, if there was none. Raises NoSuchBatch."""
        batch = aspect.batch
        if batch is not None and aspect not in self.viewing.looks:
            await self.kitchen.ask(lambda kitchen: next(iter(kitchen.find(Selector(batch=batch), limit=1)), None))
        self.viewing.want(aspect)
        await self.viewing.look_at(aspect, FIRST_LOOK_S)

    async def waiters(self, request: Request) -> Response:
        refuse_unknown(request.query_params, ())
        await self._looked_at(WHOLE)
        return self._live("waiters", "Waiters", "Waiters")

    def _live(self, name: str, title: str, here: str, aspect: Aspect = WHOLE) -> Response:
        parts = {part: Markup(text) for part, text in self.parts(name, aspect).items()}
        query = urlencode(query_of(aspect))
        return self.html(
            "live.html",
            title,
            here,
            parts=parts,
            events=f"/events/{name}?{query}".rstrip("?"),
            aspect=aspect,
            is_known=aspect in self.viewing.looks,
        )

    async def events(self, request: Request) -> Response:
        """The live parts as they change, as server-sent events; who reads slowly misses some of them."""
        name = request.path_params["name"]
        if name == "batches":
            aspect, seen = WHOLE, BatchesPart(self.viewing, request.query_params).parts
        elif name in PARTS:
            aspect = aspect_from(request.query_params)
            seen = partial(self.parts, name, aspect)
        else:
            return await self.missing(request)

        async def looks() -> AsyncIterator[str]:
            number, sent = 0, dict[str, str]()
            while not self.viewing.is_ending:
                self.viewing.want(aspect)
                number = await self.viewing.next_look(number, QUIET_S)
                parts = seen()
                news = {part: text for part, text in parts.items() if sent.get(part) != text}
                yield "".join(f"event: {part}\ndata: {json.dumps(text)}\n\n" for part, text in news.items()) or ":\n\n"
                sent = parts

        return StreamingResponse(looks(), media_type="text/event-stream")

    async def batches(self, request: Request) -> Response:
        query = request.query_params
        wanted = batches_wanted(query)
        await self._looked_at(WHOLE)
        (part,) = BatchesPart(self.viewing, query).parts().values()
        return self.html(
            "batches.html",
            "Batches",
            "Batches",
            part=Markup(part),
            events=f"/events/batches?{urlencode(query.multi_items())}".rstrip("?"),
            is_known=WHOLE in self.viewing.looks,
            only=ONLY,
            wanted=wanted,
            query=query,
        )

    async def failures(self, request: Request) -> Response:
        refuse_unknown(request.query_params, ("batch",))
        batch = request.query_params.get("batch") or None
        look = self.viewing.looks.get(Aspect(batch))
        found = await self.kitchen.ask(find_failures(look.seen if look else None, GROUPS_SHOWN, batch))
        self.viewing.want(Aspect(batch))
        return self.html(
            "failures.html",
            "Failures",
            "Failures",
            found=found,
            batch=batch,
            name=self._name(Aspect(batch)),
            linked=True,
            most=GROUPS_SHOWN,
        )

    async def orders(self, request: Request) -> Response:
        query = request.query_params
        found = await self.kitchen.ask(find_orders(query))
        return self.html(
            "orders.html",
            "Orders",
            "Orders",
            orders=found.orders,
            more=found.more,
            first=urlencode([(name, value) for name, value in query.multi_items() if value and name != "after"]),
            now=found.now,
            took=took,
            query=query,
            chosen=[word.upper() for word in query.getlist("status")],
            statuses=STATUS_WORDS.split(", "),
            waiting=found.waiting,
            word_of=word_of,
            heads=list_heads(query),
            sort=sort_from(query),
        )

    async def order(self, request: Request) -> Response:
        found = await self.kitchen.ask(find_order(request.path_params["id"]))
        if found.order is None:
            return self.message("There is no such order.", 404)
        order, by_hand = found.order, line_by_hand(found.order, found.shifts)
        return self.html(
            "order.html",
            f"Order {order.id}",
            "Orders",
            order=order,
            now=found.now,
            by_hand=by_hand,
            ran=attempts(order, found.now),
            word=word_of(order, found.waiting),
            facts=[("waiting", why_waits(order, found.waiting)), *facts_in_words(order, found.now)],
        )

    def message(self, said: str, status: int) -> Response:
        return self.html("message.html", "Waiter", "", status, said=said)

    async def missing(self, _request: Request) -> Response:
        return self.message("There is no such page.", 404)

    async def failed(self, _request: Request, error: Exception) -> Response:
        """What is said of an error that somebody can do something about."""
        status = 400 if isinstance(error, UsageError) else 503 if isinstance(error, KitchenError) else 500
        return self.message(str(error), status)


def errors_told(pages: Pages) -> dict[type[Exception] | int, Callable[[Request, Exception], Awaitable[Response]]]:
    """What answers instead of a page."""

    async def missing(request: Request, _error: Exception) -> Response:
        return await pages.missing(request)

    return {WaiterError: pages.failed, 404: missing}
