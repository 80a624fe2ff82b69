"""/api/VERB answers what `waiter VERB --json` prints; the verb's options are the query of the address."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from waiter.errors import KitchenError, UsageError, WaiterError
from waiter.kitchen.contract import Kitchen
from waiter.orders import Selector
from waiter.report.json_answers import (
    Answer,
    batches_answer,
    errors_answer,
    orders_answer,
    show_answer,
    waiters_answer,
)
from waiter.report.selection import resolve_selector
from waiter.report.status import status_facts
from waiter.web.asking import find_orders, limit_from, number_from, refuse_unknown, selection_from, sort_from
from waiter.web.openapi import DESCRIPTION
from waiter.web.viewing import KitchenThread

Question = Callable[[Kitchen], Answer]

LINES = 3
"""The usual last lines of each example of `errors`."""


def _status(query: QueryParams, prices: Mapping[str, float]) -> Question:
    refuse_unknown(query, ("batch", "more-hosts"))
    more_hosts = number_from(query, "more-hosts", None, least=1)
    return lambda kitchen: status_facts(kitchen, query.get("batch") or None, more_hosts, prices)


def _show(query: QueryParams) -> Question:
    selection, sort, limit = selection_from(query), sort_from(query), limit_from(query, 10)

    def ask(kitchen: Kitchen) -> Answer:
        selector = resolve_selector(kitchen, selection)
        if selector == Selector():
            raise UsageError("show: name an order, for example: ?status=ERROR&limit=1")
        orders = kitchen.find(selector, sort=sort, limit=limit, with_details=True)
        return show_answer(kitchen, orders, is_one=len(selection.ids) == 1)

    return ask


def _errors(query: QueryParams) -> Question:
    selection = selection_from(query, ("limit", "lines"))
    limit, lines = number_from(query, "limit", None, least=1), number_from(query, "lines", LINES) or 0
    return lambda kitchen: errors_answer(kitchen, resolve_selector(kitchen, selection), limit, lines)


def _waiters(query: QueryParams) -> Question:
    is_all = _flag(query, "all")
    return lambda kitchen: waiters_answer(kitchen, is_all=is_all)


def _batches(query: QueryParams) -> Question:
    is_all = _flag(query, "all")
    return lambda kitchen: batches_answer(kitchen, is_all=is_all)


def _flag(query: QueryParams, name: str) -> bool:
    """Whether the one option that there is is set. Raises UsageError."""
    refuse_unknown(query, (name,))
    if (value := query.get(name, "0")) not in ("", "0", "1", "false", "true"):
        raise UsageError(f"{name}: {value} is neither 0 nor 1")
    return value in ("", "1", "true")


VERBS: Mapping[str, Callable[[QueryParams], Question]] = {
    "show": _show,
    "errors": _errors,
    "waiters": _waiters,
    "batches": _batches,
}


@dataclass(frozen=True, slots=True)
class Api:
    """The answers in JSON."""

    kitchen: KitchenThread
    prices: Mapping[str, float]  # of machines, those of waiter.toml

    @property
    def routes(self) -> list[Route]:
        return [
            Route("/api/openapi.json", self.description),
            Route("/api/orders", self.orders),
            Route("/api/{verb:path}", self.answer),
        ]

    async def description(self, _request: Request) -> Response:
        """The description of all this, as OpenAPI."""
        return _json(DESCRIPTION)

    async def orders(self, request: Request) -> Response:
        """As `answer`; where there are more orders a header has the address of the next ones."""
        try:
            found = await self.kitchen.ask(find_orders(request.query_params, 50))
        except WaiterError as error:
            return _refusal(error)
        more = {"Link": f'</api/orders?{found.more}>; rel="next"'} if found.more else {}
        return _json(orders_answer(found.orders), headers=more)

    async def answer(self, request: Request) -> Response:
        """What the verb prints with --json; an error is an object with `error`, as there."""
        verbs: dict[str, Callable[[QueryParams], Question]] = {"status": partial(_status, prices=self.prices), **VERBS}
        verb = verbs.get(request.path_params["verb"])
        if verb is None:
            return _json({"error": f"no such verb. Known are orders, {', '.join(verbs)}"}, 404)
        try:
            return _json(await self.kitchen.ask(verb(request.query_params)))
        except WaiterError as error:
            return _refusal(error)


def _refusal(error: WaiterError) -> Response:
    status = 400 if isinstance(error, UsageError) else 503 if isinstance(error, KitchenError) else 500
    return _json({"error": str(error)}, status)


def _json(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    # As the verbs write it: ASCII, so that bytes that are no UTF-8 pass, as escapes.
    return Response(json.dumps(value, ensure_ascii=True), status, headers, media_type="application/json")
