"""Batches that wait for others: when they do, for what, and whether their turn can still come by itself."""

from __future__ import annotations

import sqlite3

import pymongo
import pytest

from tests.conftest import check_in, outcome
from waiter.errors import UsageError
from waiter.kitchen.mongo import held
from waiter.kitchen.stages import STALE_S, refuse_ring, waiting, why_waiting
from waiter.orders import HELD, Batch, Scope, Selector, Status
from waiter.report.selection import Selection, resolve_selector
from waiter.report.waiting import counts_by_word, waiting_batches


def load(kitchen, name: str, rows: int = 2, *, is_complete: bool = True, **before) -> None:
    kitchen.open_batch(Batch(name, None, name, name, rows, rows, 0, kitchen.now(), is_complete, **before))
    kitchen.add(name, [(row, (str(row),), None) for row in range(1, rows + 1)])


def end(kitchen, batch: str, *statuses: Status) -> None:
    """Let the next orders of the batch end so."""
    shift = check_in(kitchen)
    wanted = scope_of(kitchen, batch)
    orders = kitchen.claim(shift, len(statuses), scope=wanted)
    assert len(orders) == len(statuses)
    kitchen.finish(shift, [outcome(order, status) for order, status in zip(orders, statuses, strict=True)])
    kitchen.check_out(shift)


def scope_of(kitchen, batch: str):
    assert batch not in who_waits(kitchen)
    return Scope((batch,))


def who_waits(kitchen) -> dict[str, bool]:
    """The batches that wait, and whether in vain."""
    batches = {batch.id: batch for batch in kitchen.batches()}
    return {id: one.is_stuck for id, one in waiting(kitchen, batches.values(), batches).items()}


def why(kitchen, batch: str) -> str:
    batches = {one.id: one for one in kitchen.batches()}
    return why_waiting(kitchen, batches[batch], waiting(kitchen, [batches[batch]], batches)[batch])


def test_a_batch_waits_until_all_of_another_is_done(kitchen):
    load(kitchen, "prepare")
    load(kitchen, "align", after=("prepare",))

    assert who_waits(kitchen) == {"align": False}
    end(kitchen, "prepare", Status.DONE)
    assert who_waits(kitchen) == {"align": False}
    assert why(kitchen, "align") == "waits for batch prepare: 1 left"
    end(kitchen, "prepare", Status.DONE)
    assert who_waits(kitchen) == {}
    assert kitchen.batch("align").after == ("prepare",)


def test_a_failure_keeps_it_waiting_in_vain_until_it_is_done_again(kitchen):
    load(kitchen, "prepare", 3)
    load(kitchen, "align", after=("prepare",))
    end(kitchen, "prepare", Status.ERROR, Status.DONE)
    assert who_waits(kitchen) == {"align": False}

    end(kitchen, "prepare", Status.DONE)

    assert who_waits(kitchen) == {"align": True}
    assert why(kitchen, "align") == "waits for batch prepare: 1 ERROR"
    kitchen.reset(Selector(statuses=(Status.ERROR,)))
    assert who_waits(kitchen) == {"align": False}
    end(kitchen, "prepare", Status.DONE)
    assert who_waits(kitchen) == {}


def test_what_is_reset_while_somebody_looks_keeps_others_waiting(kitchen, monkeypatch):
    load(kitchen, "prepare")
    load(kitchen, "align", after=("prepare",))
    end(kitchen, "prepare", Status.DONE, Status.ERROR)
    find = kitchen.find

    def find_late(selector, **options):
        """What failed is READY before anybody looks for it, and after the look whether all has ended."""
        kitchen.reset(Selector(statuses=(Status.ERROR,)))
        return find(selector, **options)

    monkeypatch.setattr(kitchen, "find", find_late)
    assert who_waits(kitchen) == {"align": False}
    end(kitchen, "prepare", Status.DONE)
    assert who_waits(kitchen) == {}


def test_after_any_a_batch_waits_for_the_end_alone_also_for_that_of_who_waits_in_vain(kitchen):
    load(kitchen, "prepare")
    load(kitchen, "align", after=("prepare",))
    load(kitchen, "report", after_any=("align",))
    assert who_waits(kitchen) == {"align": False, "report": False}
    assert why(kitchen, "report") == "waits for the end of batch align: 2 left"

    end(kitchen, "prepare", Status.ERROR, Status.ERROR)

    assert who_waits(kitchen) == {"align": True}  # nothing comes of align any more, so it has ended


def test_what_is_loaded_or_reset_later_makes_others_wait_again(kitchen):
    load(kitchen, "prepare")
    load(kitchen, "align", after=("prepare",))
    end(kitchen, "prepare", Status.DONE, Status.DONE)
    assert who_waits(kitchen) == {}

    kitchen.add("prepare", [(3, ("3",), None)])
    assert who_waits(kitchen) == {"align": False}
    end(kitchen, "prepare", Status.DONE)
    assert who_waits(kitchen) == {}
    kitchen.reset(Selector(ids=("prepare-1",)))
    assert who_waits(kitchen) == {"align": False}


def test_a_load_that_was_interrupted_keeps_others_waiting_and_one_that_goes_on_gives_hope(kitchen, clock):
    load(kitchen, "prepare", is_complete=False)
    load(kitchen, "align", after=("prepare",))
    load(kitchen, "report", after_any=("prepare",))
    end(kitchen, "prepare", Status.DONE, Status.DONE)
    assert who_waits(kitchen) == {"align": False, "report": False}

    clock.advance(STALE_S + 1)

    assert who_waits(kitchen) == {"align": True}
    assert why(kitchen, "align") == "waits for batch prepare: its load is not complete"


def test_a_batch_that_was_deleted_or_let_go_keeps_nobody(kitchen):
    load(kitchen, "prepare")
    load(kitchen, "align", after=("prepare",), after_any=("other",))
    load(kitchen, "report", after=("align",))
    assert who_waits(kitchen) == {"align": False, "report": False}

    kitchen.amend_batch("report", after=(), after_any=())
    assert who_waits(kitchen) == {"align": False}
    assert kitchen.batch("report").after == ()
    kitchen.remove_batch("prepare")
    assert who_waits(kitchen) == {}


def test_a_batch_goes_on_waiting_when_more_of_it_is_loaded(kitchen):
    load(kitchen, "prepare")
    load(kitchen, "align", after=("prepare",), after_any=("prepare",))

    kitchen.open_batch(Batch("align", "new name", "align", "d", 3, 3, 0, kitchen.now(), is_complete=True))

    assert (kitchen.batch("align").name, kitchen.batch("align").after) == ("new name", ("prepare",))
    assert kitchen.batch("align").after_any == ("prepare",)


def test_batches_that_would_wait_for_each_other_are_refused_with_the_way_from_one_to_the_other(kitchen):
    load(kitchen, "a")
    load(kitchen, "b", after=("a",))
    load(kitchen, "c", after_any=("b",))
    batches = {batch.id: batch for batch in kitchen.batches()}

    with pytest.raises(UsageError, match="wait for each other: a → c → b → a"):
        refuse_ring(batches, "a", ["c"])
    with pytest.raises(UsageError, match="wait for each other: a → a"):
        refuse_ring(batches, "a", ["a"])
    refuse_ring(batches, "c", ["a"])
    kitchen.amend_batch("a", after=("c",))  # by two who looked at the same time: nobody looks for ever
    assert who_waits(kitchen) == {"a": True, "b": True, "c": True} or set(who_waits(kitchen)) <= {"a", "b", "c"}


def test_orders_that_wait_are_counted_as_such_with_the_reason(kitchen):
    load(kitchen, "prepare", 3)
    load(kitchen, "align", 4, after=("prepare",))
    end(kitchen, "prepare", Status.DONE, Status.ERROR)

    (found,) = waiting_batches(kitchen)

    assert (found.id, found.orders, str(found)) == ("align", 4, "align waits for batch prepare: 1 left, 1 ERROR")
    counted = {"READY": 1, "WAITING": 4, "RUNNING": 0, "DONE": 1, "ERROR": 1, "CANCELLED": 0}
    assert counts_by_word(kitchen.counts(), [found]) == counted
    assert waiting_batches(kitchen, "prepare") == []
    load(kitchen, "draw", 3, after_row="prepare")
    held = [order.id for order in kitchen.find(Selector(batch="draw")) if order.is_held]
    assert len(held) == 2
    assert chosen(kitchen, "WAITING") == [*(f"align-{row}" for row in (1, 2, 3, 4)), *held]
    assert len(chosen(kitchen, "waiting", "ERROR")) == 7
    assert chosen(kitchen, "WAITING", batch="prepare") == []
    assert kitchen.cancel(resolve_selector(kitchen, Selection(statuses=("WAITING",), batch="draw"))) == 2


def chosen(kitchen, *statuses: str, **more) -> list[str]:
    """The orders that `--status` means."""
    selector = resolve_selector(kitchen, Selection(statuses=statuses, **more))
    found = [order.id for order in kitchen.find(selector)]
    assert len(found) == kitchen.counts(selector).total
    return found


# Row by row


def free(kitchen, batch: str) -> list[str]:
    """The orders of the batch that are READY and not held."""
    return [o.id for o in kitchen.find(Selector(batch=batch, statuses=(Status.READY,))) if not o.is_held]


def test_row_by_row_an_order_is_let_go_when_the_one_of_its_row_is_done(kitchen):
    load(kitchen, "prepare", 3)
    load(kitchen, "align", 3, after_row="prepare")
    shift = check_in(kitchen)
    assert kitchen.held_rows() == {"align": 3}
    backlog = kitchen.backlog(Scope(("align",)))
    assert (backlog.ready, backlog.next_due_s, backlog.held, backlog.is_done) == (0, None, 3, True)
    assert kitchen.backlog().held == 3
    assert [order.id for order in kitchen.claim(shift, 9)] == ["prepare-1", "prepare-2", "prepare-3"]
    assert (kitchen.is_only_running(), kitchen.is_only_running(Scope(("align",)))) == (True, False)

    first, second, third = kitchen.held(shift)
    kitchen.finish(shift, [outcome(third), outcome(first, Status.ERROR)])

    assert free(kitchen, "align") == ["align-3"]
    assert [order.id for order in kitchen.claim(shift, 9)] == ["align-3"]
    assert who_waits(kitchen) == {"align": False}
    kitchen.finish(shift, [outcome(second, Status.READY)])  # another try is not the end
    assert free(kitchen, "align") == []
    (again,) = kitchen.claim(shift, 9)
    kitchen.finish(shift, [outcome(again)])
    assert free(kitchen, "align") == ["align-2"]
    assert who_waits(kitchen) == {"align": True}
    assert why(kitchen, "align") == "waits row by row for batch prepare: 1 ERROR"
    (found,) = waiting_batches(kitchen)
    assert (found.orders, found.is_by_row) == (1, True)


def test_rows_that_are_loaded_when_theirs_are_done_are_not_held(kitchen):
    load(kitchen, "prepare", 3)
    end(kitchen, "prepare", Status.DONE, Status.ERROR)

    load(kitchen, "align", 4, after_row="prepare")

    assert free(kitchen, "align") == ["align-1"]
    kitchen.add("align", [(1, ("1",), None), (2, ("2",), None)])
    assert free(kitchen, "align") == ["align-1"]
    assert kitchen.batch("align").after_row == "prepare"


def test_a_row_that_is_reset_holds_the_next_one_again_unless_that_has_begun(kitchen):
    load(kitchen, "prepare", 3)
    load(kitchen, "align", 3, after_row="prepare")
    end(kitchen, "prepare", Status.DONE, Status.DONE, Status.DONE)
    shift = check_in(kitchen)
    (begun,) = kitchen.claim(shift, 1, scope=Scope(("align",)))

    kitchen.reset(Selector(ids=("prepare-1", "prepare-2")))

    assert begun.id == "align-1"
    assert free(kitchen, "align") == ["align-3"]
    kitchen.finish(shift, [outcome(begun)])
    kitchen.reset(Selector(ids=("align-1",)))
    assert free(kitchen, "align") == ["align-3"]
    assert kitchen.held_rows() == {"align": 2}


def test_what_is_held_in_vain_is_let_go_by_whoever_looks_through_it(kitchen, kitchen_url):
    load(kitchen, "prepare", 3)
    load(kitchen, "align", 3, after_row="prepare")
    end(kitchen, "prepare", Status.DONE, Status.DONE, Status.ERROR)
    hold(kitchen_url, "align-2")  # as if who finished prepare-2 had died before it said so
    assert free(kitchen, "align") == ["align-1"]

    assert kitchen.release_rows() == 1
    assert free(kitchen, "align") == ["align-1", "align-2"]
    assert kitchen.release_rows() == 0

    kitchen.remove_batch("prepare")
    assert free(kitchen, "align") == ["align-1", "align-2", "align-3"]


@pytest.mark.parametrize("kitchen_url", ["mongodb"], indirect=True)  # SQLite ends and lets go in one transaction
def test_a_sweep_lets_rows_go_long_before_the_other_batch_ends(kitchen, kitchen_url, clock, monkeypatch):
    monkeypatch.setattr(held, "_LOOKED_AT", 2)
    load(kitchen, "prepare", 9)
    load(kitchen, "align", 9, after_row="prepare")
    end(kitchen, "prepare", *[Status.ERROR] * 3, *[Status.DONE] * 3)
    for row in (4, 5, 6):
        hold(kitchen_url, f"align-{row}")  # as if who finished these had died before it said so

    found = []
    for _ in range(4):  # each looks at the first two, and at two others
        kitchen.sweep()
        found.append(free(kitchen, "align"))
        clock.advance(kitchen.lease_s)

    assert found[:2] == [["align-4"], ["align-4", "align-5", "align-6"]]
    assert found[3] == found[1]


def hold(kitchen_url: str, order_id: str) -> None:
    if kitchen_url.startswith("mongodb"):
        with pymongo.MongoClient(kitchen_url) as client:
            client.get_default_database().orders.update_one({"_id": order_id}, {"$set": {"due": HELD}})
        return
    with sqlite3.connect(kitchen_url) as db:
        db.execute("UPDATE orders SET due = ? WHERE seq = (2 << 32) + 2", (HELD,))
    db.close()


def test_a_batch_that_is_let_go_holds_nothing_any_more(kitchen):
    load(kitchen, "prepare", 3)
    load(kitchen, "align", 3, after_row="prepare", after=("prepare",))
    load(kitchen, "report", 1, after_any=("align",))
    assert who_waits(kitchen) == {"align": False, "report": False}
    kitchen.amend_batch("align", name="x")
    assert free(kitchen, "align") == []

    kitchen.amend_batch("align", after=(), after_row=None)

    assert free(kitchen, "align") == ["align-1", "align-2", "align-3"]
    assert who_waits(kitchen) == {"report": False}


def test_rows_that_nothing_comes_of_are_the_end_for_who_waits_for_it_alone(kitchen):
    load(kitchen, "prepare")
    load(kitchen, "align", after_row="prepare")
    load(kitchen, "well", after=("align",))
    load(kitchen, "report", after_any=("align",))
    end(kitchen, "prepare", Status.DONE, Status.ERROR)
    assert who_waits(kitchen) == {"align": True, "well": False, "report": False}

    end_free(kitchen, "align")

    assert who_waits(kitchen) == {"align": True, "well": True}


def end_free(kitchen, batch: str) -> None:
    shift = check_in(kitchen)
    kitchen.finish(shift, [outcome(order) for order in kitchen.claim(shift, 9, scope=Scope((batch,)))])
    kitchen.check_out(shift)
