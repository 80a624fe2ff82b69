"""Which batches a waiter takes orders of: its own command's, and those of none; others are refused by name."""

from __future__ import annotations

import pytest

from tests.conftest import fill, outcome
from waiter.delivery.batch_scope import SHELL_WORD, BatchScope, Wanted, command_line
from waiter.errors import NoSuchBatch, UsageError
from waiter.orders import Scope, Selector, Status


@pytest.fixture
def several(kitchen):
    """Three batches: `align` is bound to ./align.sh, `render` to ./render.sh, `free` to nothing."""
    for batch in ("align", "render", "free"):
        fill(kitchen, [["1"], ["2"]], batch=batch)
    kitchen.bind_batch("align", ["./align.sh"])
    kitchen.bind_batch("render", ["./render.sh"])
    return kitchen


def scope_of(kitchen, words, **wanted) -> BatchScope:
    scope = BatchScope(kitchen, words, Wanted(**wanted))
    scope.check()
    return scope


def test_a_command_takes_its_own_batches_and_those_of_none(several):
    assert scope_of(several, ["./align.sh"]).all() == Scope(("align", "free"))
    assert scope_of(several, ["./new.sh"]).all() == Scope(("free",))
    assert scope_of(several, ["./new.sh"], is_any_command=True).all() == Scope(None)
    assert scope_of(several, ["./new.sh"], batches=("render",), match="1").all() == Scope(("render",), "1")
    assert scope_of(several, None).all() == Scope(("align", "render"))


def test_a_batch_that_is_not_there_is_refused(several):
    with pytest.raises(NoSuchBatch, match="no such batch: nigth"):
        scope_of(several, ["./a"], batches=("nigth",))


def test_the_first_that_takes_an_order_binds_its_batch(several):
    mine, other = scope_of(several, ["./align.sh"]), scope_of(several, ["./render.sh"])
    (order,) = several.claim(several.check_in("a", "h", 1), 1, scope=Scope(("free",)))

    assert mine.admit([order]) == ([order], [])
    assert several.batch("free").command == ("./align.sh",)
    assert other.admit([order]) == ([], [order])
    assert other.is_stale


def test_orders_of_a_batch_that_came_since_the_last_look_are_looked_at(several):
    scope = scope_of(several, ["./align.sh"])
    fill(several, [["1"]], batch="new")
    several.amend_batch("new", command=["./render.sh"])
    (order,) = several.claim(several.check_in("a", "h", 1), 1, scope=Scope(("new",)))

    assert scope.admit([order]) == ([], [order])


def test_a_batch_that_is_named_goes_over_to_the_command(several):
    scope = scope_of(several, ["./new.sh"], batches=("align",))
    (order,) = several.claim(several.check_in("a", "h", 1), 1, scope=next(scope.claims())[0])

    assert scope.admit([order]) == ([order], [])
    assert several.batch("align").command == ("./new.sh",)


def test_nothing_but_orders_of_other_commands_is_refused(several):
    several.remove_batch("free")
    shift = several.check_in("a", "h", 1)
    for order in several.claim(shift, 9):
        if order.row == 1:
            several.finish(shift, [outcome(order, Status.DONE)])
        else:
            several.release(shift, [order])

    with pytest.raises(UsageError) as refused:
        scope_of(several, ["./new.sh"]).refuse_if_all_are_others()

    assert "batch align is for ./align.sh; batch render is for ./render.sh" in str(refused.value)
    assert "hint: to run it over their orders all the same: --batch align, or --any-command" in str(refused.value)
    assert several.batch("align").command == ("./align.sh",)


def test_a_batch_of_which_nothing_was_delivered_gives_way_unless_it_is_reserved(several):
    several.remove_batch("free")
    several.amend_batch("render", command=["./render.sh"])
    scope = scope_of(several, ["./new.sh"])

    scope.refuse_if_all_are_others()

    assert scope.all() == Scope(("align",))
    assert several.batch("align").command == ("./new.sh",)
    assert several.batch("render").command == ("./render.sh",)


def test_paused_batches_are_waited_for_and_not_taken(several):
    several.amend_batch("free", pause_reason="its first 20 orders failed")
    scope = scope_of(several, ["./align.sh"])

    assert list(scope.claims()) == [(Scope(("align",)), 1.0)]
    assert scope.all() == Scope(("align", "free"))
    assert scope.pauses() == {"free": "its first 20 orders failed"}


def test_weights_share_the_claims(kitchen):
    for batch in ("align", "free"):
        fill(kitchen, [[str(n)] for n in range(100)], batch=batch)
    kitchen.amend_batch("align", weight=3)
    scope, shift = scope_of(kitchen, ["./align.sh"]), kitchen.check_in("a", "h", 1)

    for _ in range(20):
        (first, part), *_ = scope.claims()
        scope.admit(kitchen.claim(shift, round(4 * part), scope=first))

    assert kitchen.counts(Selector(batch="align"))[Status.RUNNING] == pytest.approx(30, abs=4)
    assert kitchen.counts(Selector(batch="free"))[Status.RUNNING] == pytest.approx(10, abs=4)


def test_a_batch_without_orders_keeps_nobody_from_the_others(several):
    several.amend_batch("align", weight=1000)
    several.cancel(Selector(batch="align"))
    scope = scope_of(several, ["./align.sh"])

    assert [claim.batches for claim, _ in scope.claims()] == [("align",), ("free",), ("align", "free")]


def test_a_command_line_is_shown_as_it_is_typed():
    assert command_line(["./a b", "{1}"]) == "'./a b' {1}"
    assert command_line([SHELL_WORD, "echo {} | wc"]) == "--shell 'echo {} | wc'"
