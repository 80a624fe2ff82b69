"""The page of all batches: which of them its address asks for, and its live part.

Rendered from what the server's poller saw last: no viewer, and no number of batches, costs the kitchen a question.
"""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from waiter.errors import UsageError
from waiter.report.batch_list import ONLY, BatchList, Place, Wanted
from waiter.report.run_view import WHOLE
from waiter.web.asking import limit_from, position_from, refuse_unknown
from waiter.web.rendering import render
from waiter.web.viewing import Viewing

KNOWN = ("only", "match", "after", "limit")


def batches_wanted(query: QueryParams) -> Wanted:
    """The batches that an address asks for. Raises UsageError."""
    refuse_unknown(query, KNOWN)
    only, at = query.get("only") or None, position_from(query)
    if only not in (None, *ONLY):
        raise UsageError(f"only: {only} is none of {', '.join(ONLY)}")
    after = None if at is None else Place(at.value or 0.0, at.order_id)
    return Wanted(only, query.get("match") or "", after, limit_from(query))


def address_of(query: QueryParams, after: Place | None = None) -> str:
    """The query of the same list from this place on, or from its beginning."""
    kept = [(name, query[name]) for name in KNOWN if query.get(name) and name != "after"]
    return urlencode([*kept, *([("after", f"{after.loaded_at!r}~{after.id}")] if after else [])])


class BatchesPart:
    """The live part of the page of somebody; made anew only when there is something new to be seen."""

    def __init__(self, viewing: Viewing, query: QueryParams) -> None:
        self._viewing, self._query, self._wanted = viewing, query, batches_wanted(query)
        self._made_of: tuple[BatchList | None, str | None] | None = None
        self._text = ""

    def parts(self) -> dict[str, str]:
        look, trouble = self._viewing.looks.get(WHOLE), self._viewing.trouble
        listing = look.run.listing if look else None
        if self._made_of is None or self._made_of[0] is not listing or self._made_of[1] != trouble:
            self._made_of, self._text = (listing, trouble), self._render(listing, trouble)
        return {"batches": self._text}

    def _render(self, listing: BatchList | None, trouble: str | None) -> str:
        page = listing.page(self._wanted) if listing else None
        return render(
            "batches_part.html",
            page=page,
            now=listing.now if listing else 0.0,
            wanted=self._wanted,
            trouble=trouble,
            first=address_of(self._query),
            more=address_of(self._query, page.next) if page and page.next else "",
        )
