"""The page of all batches: a page at a time, whatever happens to them meanwhile, and live."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from starlette.datastructures import QueryParams

from tests.cli.test_run_page import Labels, shown
from tests.conftest import check_in, fill, outcome
from tests.serving import serving
from waiter.errors import UsageError
from waiter.orders import BatchProgress, Counts, Reason, Status, Throughput
from waiter.report.batch_list import BatchList, Wanted, batch_list
from waiter.report.run_view import BATCHES_SHOWN, RunPoller
from waiter.web.asking import find_order, find_orders
from waiter.web.batches_page import address_of, batches_wanted


def rows_of(page: str) -> dict[str, str]:
    """The rows of the table by the id of the batch."""
    rows = page.partition('<table class="all-batches"')[2].partition("</table>")[0].split('<tr role="row"><td')[1:]
    return {re.search(r'href="/\?batch=(.*?)"', row)[1]: row for row in rows}


def test_each_batch_says_how_far_it_is_and_what_keeps_it(kitchen, kitchen_url, home):
    for batch in ("a", "b", "c", "d"):
        fill(kitchen, [[str(n)] for n in range(10)], batch=batch)
    kitchen.amend_batch("a", name="<b>night</b>\u202e")
    kitchen.amend_batch("c", after=["a"])
    kitchen.amend_batch("d", pause_reason="its disk is <full>")
    shift = check_in(kitchen)
    for order in kitchen.claim(shift, limit=9):
        failed = {"exit_code": 3, "reason": Reason.EXIT, "error": "no such tile", "error_group": "3f9c2a1b"}
        bad = order.id in ("a-1", "a-2")
        kitchen.finish(shift, [outcome(order, Status.ERROR, **failed) if bad else outcome(order)])

    with serving(kitchen_url, home) as site:
        rows = rows_of(shown(site, "/batches", "all-batches"))
        only = {word: [*rows_of(site.ask(f"/batches?only={word}")[2])] for word in ("failed", "waiting", "paused")}
        named = [*rows_of(site.ask("/batches?match=night")[2])]
        none = site.ask("/batches?match=nothing")[2]
        refused = [site.ask(f"/batches?{query}")[0] for query in ("only=some", "onyl=left", "after=b", "limit=0")]
        failures = site.ask(re.search('href="(/failures.*?)"', rows["a"])[1])[2]
        left = site.ask(re.search('href="(/orders.status=READY.*?)"', rows["a"])[1].replace("&amp;", "&"))[2]

    assert [*rows] == ["d", "c", "b", "a"]
    assert "&lt;b&gt;night&lt;/b&gt;\\u202e</a>" in rows["a"]
    assert Labels(rows["a"]).one("Orders by status: 1 READY, 7 DONE, 2 ERROR")
    assert re.findall(r">([\d,]+)</a></td>", rows["a"].replace("\n", "")) == ["7", "2", "1"]
    assert re.search(r"ends in</span> \d", rows["a"])
    assert "/s" in rows["a"]
    assert "ends in" not in rows["b"]
    assert "10 WAITING" in Labels(rows["c"]).one("Orders by status")
    assert "waits for batch &lt;b&gt;night&lt;/b&gt;\\u202e: 1 left, 2 ERROR" in rows["c"]
    assert "paused: its disk is &lt;full&gt;" in rows["d"]
    assert (only, named) == ({"failed": ["a"], "waiting": ["c"], "paused": ["d"]}, ["a"])
    assert "No such batches." in none
    assert refused == [400, 400, 400, 400]
    assert "no such tile" in failures
    assert left.count('href="/orders/a-') == 1


@pytest.mark.parametrize("kitchen_url", ["sqlite"], indirect=True)
def test_the_run_leads_to_all_batches_where_it_leaves_some_out(kitchen, kitchen_url, home):
    names = [f"b{number:02}" for number in range(BATCHES_SHOWN + 3)]
    for number, batch in enumerate(names):
        kitchen.open_batch(replace(listed_batch(kitchen, batch), loaded_at=kitchen.now() + number))
    with serving(kitchen_url, home) as site:
        run = shown(site, "/", 'class="batches"')
        path, found = re.search('3 batches more: <a href="(.*?)"', run)[1] + "?limit=4", list[str]()
        while path:
            page = shown(site, path, "all-batches")
            found += rows_of(page)
            more = re.search('rel="next" href="(.*?)"', page)
            path = more and more[1].replace("&amp;", "&")

    assert found == names[::-1]
    assert "15 batches, of which these are 13 to 15" in page
    assert 'href="/batches?limit=4">From the beginning' in page


def listed_batch(kitchen, batch: str):
    fill(kitchen, [["a"]], batch=batch)
    return kitchen.batch(batch)


def test_what_a_batch_does_is_pushed_into_its_row(kitchen, kitchen_url, home):
    fill(kitchen, [["a"], ["b"]])
    with serving(kitchen_url, home) as site:
        looks = site.events("/events/batches?only=left", "batches")
        assert any("Orders by status: 2 READY" in part for part in looks)
        shift = check_in(kitchen)
        kitchen.finish(shift, [outcome(order) for order in kitchen.claim(shift, limit=1)])
        assert any("Orders by status: 1 READY, 1 DONE" in part for part in looks)
        kitchen.finish(shift, [outcome(order) for order in kitchen.claim(shift, limit=1)])
        assert any("No such batches." in part for part in looks), "it has nothing left"


def progress_of(done: int, ready: int = 1) -> BatchProgress:
    return BatchProgress(Counts({Status.DONE: done, Status.READY: ready}), Throughput(300.0, done, 0, 1.0))


@pytest.fixture
def many(kitchen) -> BatchList:
    fill(kitchen, [["a"]])
    one = kitchen.batch("b")
    batches = [replace(one, id=f"b{n:05}", name=f"night {n}", loaded_at=1000.0 + n // 3) for n in range(10_000)]
    return batch_list(2000.0, batches, {batch.id: progress_of(n % 7, n % 2) for n, batch in enumerate(batches)}, ())


@pytest.mark.parametrize("kitchen_url", ["sqlite"], indirect=True)
def test_pages_of_batches_are_all_of_them_and_no_deletion_loses_the_place(many):
    found, wanted = list[str](), Wanted(limit=999)
    while page := many.page(wanted).batches:
        found += [one.id for one in page]
        here = many.page(wanted)
        if here.next is None:
            break
        # Whoever goes on does so from the address, and the last batch of every other page is gone by then.
        query = QueryParams(address_of(QueryParams("limit=999"), here.next))
        wanted, gone = batches_wanted(query), page[-1].id
        if len(found) % 2:
            many = BatchList(many.now, [one for one in many.batches if one.id != gone])

    expected = sorted((-(1000.0 + n // 3), f"b{n:05}") for n in range(10_000))
    assert found == [id for _, id in expected]


@pytest.mark.parametrize("kitchen_url", ["sqlite"], indirect=True)
def test_batches_are_found_by_name_and_by_what_is_left_of_them(many):
    named, left = many.page(Wanted(match="night 999")), many.page(Wanted("left", limit=5))

    assert {one.id for one in named.batches} == {f"b{n:05}" for n in (999, *range(9990, 10_000))}
    assert left.number == 5000
    assert all(one.left for one in left.batches)
    with pytest.raises(UsageError, match="only: all is none of"):
        batches_wanted(QueryParams("only=all"))


def test_a_list_of_batches_is_made_anew_only_of_new_answers(kitchen):
    fill(kitchen, [["a"]])
    poller = RunPoller(kitchen, every_s=60.0)
    waiting = ()

    one, other = poller.view(waiting), poller.view(waiting)
    poller.forget()

    assert one.listing is other.listing
    assert poller.view(waiting).listing is not one.listing


def test_no_page_of_orders_reads_every_batch(kitchen, monkeypatch):
    for batch in "abcd":
        fill(kitchen, [["1"], ["2"]], batch=batch)
    kitchen.amend_batch("b", after=["a"])
    kitchen.amend_batch("c", after_any=["b"])
    monkeypatch.setattr(type(kitchen), "batches", lambda _: pytest.fail("read every batch"))

    found, alone = find_orders(QueryParams("batch=c"))(kitchen), find_order("b-1")(kitchen)
    whole = find_orders(QueryParams(""))(kitchen)

    assert [*found.waiting] == ["c"]
    assert alone.waiting["b"].why == "waits for batch a: 2 left"
    assert {*whole.waiting} == {"b", "c"}
