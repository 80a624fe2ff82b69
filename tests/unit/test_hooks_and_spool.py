"""What stands beside the delivery: hooks that hang, and outcomes on disk that nobody here can read."""

from __future__ import annotations

import json
from dataclasses import replace

from tests.conftest import eventually, outcome
from waiter.delivery.hooks import Hooks
from waiter.delivery.options import DeliveryOptions
from waiter.delivery.spool import Spool
from waiter.orders import Order, Shift, Status


def order(number: int) -> Order:
    return Order(f"b-{number}", "b", number, (), None, Status.RUNNING, attempt=1, start=0.0)


def test_one_hook_that_hangs_holds_up_no_other(tmp_path):
    heard = tmp_path / "heard"
    heard.touch()
    line = f'[ "$WAITER_ORDER" != b-1 ] || exec sleep 300; echo "$WAITER_ORDER" >> {heard}'
    hooks = Hooks(DeliveryOptions(on_done=line), print, farewell_s=0.0)

    for number in range(1, 21):
        hooks.call(order(number), outcome(order(number)))

    eventually(lambda: len(heard.read_text().split()) == 19)
    hooks.close()


def test_hooks_that_all_hang_are_ended_one_by_one():
    hooks = Hooks(DeliveryOptions(on_error="exec sleep 300"), print, room_wait_s=0.1, farewell_s=0.0)

    for number in range(8):
        hooks.call(order(number), outcome(order(number), Status.ERROR))

    hooks.close()


def test_a_hook_gets_what_the_kernel_takes_of_what_an_order_holds(tmp_path):
    long = replace(order(1), arguments=("x" * 200_000,))
    hooks = Hooks(DeliveryOptions(on_done=f'echo "$WAITER_ORDER ${{WAITER_ARGUMENTS-none}}" > {tmp_path}/long'), print)
    hooks.call(long, outcome(long))
    hooks.close()
    line = f'printf "%s\\n" "$WAITER_RESULT_TEXT" "$WAITER_ERROR_TEXT" "$WAITER_ARGUMENTS" > {tmp_path}/odd'
    hooks = Hooks(DeliveryOptions(on_error=line), print)
    hooks.call(order(2), outcome(order(2), Status.ERROR, result="a\0b", error="\ud800 \udcff"))
    hooks.close()

    assert (tmp_path / "long").read_text() == "b-1 none\n"
    assert (tmp_path / "odd").read_bytes() == "a\ufffdb\n? ?\n[]\n".encode()


def test_hooks_that_cannot_be_started_are_said_once():
    said: list[str] = []
    hooks = Hooks(DeliveryOptions(on_done="true"), said.append, env={f"N{n}": "x" * 120_000 for n in range(60)})

    for number in range(3):
        hooks.call(order(number), outcome(order(number)))
    hooks.close()

    assert len(said) == 1
    assert "b-0 cannot be started: Argument list too long" in said[0]


def test_outcomes_of_another_version_stay_on_disk_and_hold_up_no_others(tmp_path):
    spool = Spool("k" * 32, "k.sqlite", tmp_path)
    shift = Shift("a" * 32, "w", "h", 1, since=0.0, heartbeat_at=0.0, lease_until=0.0)
    spool.save(shift, [outcome(order(1))])
    (kept,) = spool
    saved = json.loads(kept.file.read_text())
    saved["outcomes"][0]["colour"] = "blue"
    (spool.folder / "0.json").write_text(json.dumps(saved))
    (spool.folder / "1.json").write_text("{}")

    assert [[one.order_id for one in spooled.outcomes] for spooled in spool] == [["b-1"]]
    assert {"0.json", "1.json", kept.file.name} == {entry.name for entry in spool.folder.iterdir()}
