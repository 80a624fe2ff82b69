"""Pages of orders: behind a position, in the order of `find`, whatever is sorted by."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.conftest import check_in, fill, outcome
from waiter.errors import UsageError
from waiter.kitchen.contract import Kitchen, Position, position_of
from waiter.kitchen.mongo import earliest, paging
from waiter.orders import Order, Reason, Selector, Status

SORTS = [sign + by for by in ("age", "start", "stop", "duration") for sign in ("", "-")]
CHOSEN = [
    Selector(),
    Selector(statuses=(Status.DONE,)),
    Selector(statuses=(Status.ERROR,), error_group="aaaa0000"),
    Selector(statuses=(Status.ERROR, Status.READY), host="host-of-a"),
    Selector(statuses=(Status.DONE,), waiting=("c",)),
    Selector(batch="b"),
    Selector(ids=("b-1", "c-2", "b-3")),
]


@pytest.fixture
def worked(kitchen: Kitchen) -> Kitchen:
    """Orders that never began, one cancelled and some held; that run; that are to be tried again; that began and ended
    at equal times, or, as a clock was set back, ended before they began."""
    fill(kitchen, [[str(n)] for n in range(9)])
    fill(kitchen, [[str(n)] for n in range(9)], batch="c")
    shift = check_in(kitchen)
    *orders, _running = kitchen.claim(shift, limit=14)
    now = kitchen.now()
    ends = [
        outcome(order, Status.ERROR if n % 3 == 1 else Status.DONE, start=now - 100 - n % 4, stop=now - 90 + n % 5)
        for n, order in enumerate(orders)
    ]
    bad = {"exit_code": 3, "reason": Reason.EXIT, "error": "no", "error_group": "aaaa0000"}
    ends[3] = replace(ends[3], status=Status.READY, delay_s=900.0)
    ends[4] = replace(ends[4], start=now - 50, stop=now - 300)
    ends[5] = replace(ends[5], start=now - 900)
    kitchen.finish(shift, [replace(end, **bad) if end.status is Status.ERROR else end for end in ends])
    kitchen.set_priority(Selector(ids=("c-9",)), 3)
    kitchen.cancel(Selector(ids=("c-8",)))
    fill(kitchen, [["1"], ["2"]], batch="d")
    kitchen.open_batch(replace(kitchen.batch("d"), id="e", digest="e", after_row="d"))
    kitchen.add("e", [(1, ["1"], None), (2, ["2"], None)])
    return kitchen


def pages(kitchen: Kitchen, selector: Selector, sort: str, limit: int) -> list[Order]:
    """All orders, a page at a time."""
    found: list[Order] = []
    after = None
    while page := kitchen.page(selector, sort=sort, limit=limit, after=after):
        assert len(page) <= limit
        found += page
        after = position_of(page[-1], sort, kitchen.now())
    return found


@pytest.mark.parametrize("many", [10_000, 2], ids=["few", "many"])
@pytest.mark.parametrize("sort", SORTS)
def test_pages_are_what_find_streams_a_piece_at_a_time(worked, sort, many, monkeypatch):
    monkeypatch.setattr(earliest, "_LONG", many)
    monkeypatch.setattr(paging, "FEW", 1)  # else few orders go another way
    for selector in CHOSEN:
        assert pages(worked, selector, sort, 4) == list(worked.find(selector, sort=sort)), selector


def test_a_page_goes_on_where_it_was_although_its_last_order_has_moved_on(worked):
    sort, selector = "-stop", Selector(statuses=(Status.DONE,))
    whole = [order.id for order in worked.find(selector, sort=sort)]
    first = worked.page(selector, sort=sort, limit=3)
    at = position_of(first[-1], sort, worked.now())

    worked.reset(Selector(ids=(first[-1].id,)))

    assert [order.id for order in worked.page(selector, sort=sort, limit=99, after=at)] == whole[3:]


@pytest.mark.parametrize("order_id", ["nowhere-1", "b", "b-x", "b-99999999999999999999", ""])
def test_a_position_that_cannot_be_is_refused(worked, order_id):
    with pytest.raises(UsageError, match="go on from"):
        worked.page(Selector(), sort="age", limit=3, after=Position(None, order_id))
