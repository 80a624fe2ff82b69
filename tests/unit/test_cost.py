"""What machines cost, by the ledger in the kitchen and the prices that are kept there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import fill
from waiter.errors import UsageError
from waiter.kitchen import open_kitchen
from waiter.machines import Call, CallState, Ledger, Machine, Market
from waiter.report.cost import cost_of, fleet_costs
from waiter.report.dashboard import frame
from waiter.report.eta import Eta
from waiter.report.formatting import dollars
from waiter.report.poller import Poller
from waiter.settings import settings


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with open_kitchen(str(tmp_path / "kitchen.sqlite"), "x") as kitchen:
        yield Ledger(kitchen, "crunch")


def launched(ledger: Ledger, *machines: Machine, max_life_s: float = 43_200.0) -> Call:
    call = Call("a" * 32, 0.0, "ann@laptop", len(machines), Market.SPOT, {}, CallState.DONE, machines)
    call = replace(call, max_life_s=max_life_s)
    ledger.intend(call)
    ledger.keep_plan({"idle_s": 600.0})
    return call


def test_a_fleet_costs_the_time_of_its_machines_at_the_price_of_each_and_says_what_is_unknown(ledger: Ledger) -> None:
    now = ledger.kitchen.now()
    hour_old = Machine("i-1", "m7a.large", Market.SPOT, now - 3600, price=0.04)
    gone = Machine("i-2", "m7a.large", Market.ON_DEMAND, now - 7200, price=0.12, ended_at=now - 3600)
    launched(ledger, hour_old, gone)
    fill(ledger.kitchen, [["1"]])

    (cost,) = fleet_costs(ledger.kitchen)

    assert (cost.living, cost.ended, cost.per_hour, cost.per_order) == (1, 1, 0.04, None)
    assert cost.so_far == pytest.approx(0.16, abs=1e-4)
    assert cost.projected(Eta(3600, 7200)) == pytest.approx((0.2, 0.2467), abs=1e-4)  # the last machine idles 10 min
    assert cost.words(None) == "crunch: $0.16 so far, $0.040 an hour for 1 machine"
    lines = ["".join(text for text, _ in line) for line in frame(Poller(ledger.kitchen, 1.0).look(), 100, 20)]
    assert "cost of crunch: $0.16 so far, $0.040 an hour for 1 machine" in lines
    (listed,) = fleet_costs(ledger.kitchen, {"m7a.large": 0.2, "spot.m7a.large": 0.1})
    assert listed.so_far == pytest.approx(0.3, abs=1e-4)  # what waiter.toml says comes before what was kept

    ledger.note({"i-1"}, lambda machine: replace(machine, price=None))
    (unknown,) = fleet_costs(ledger.kitchen)
    assert (unknown.so_far, unknown.per_hour, unknown.unpriced) == (None, None, ("m7a.large, spot",))
    ledger.kitchen.enter("fleets/later/calls/1", '{"of": "another version"}')
    assert fleet_costs(ledger.kitchen) == [unknown]


def test_a_price_that_changes_counts_from_then_on_and_no_machine_outlives_its_longest_life(ledger: Ledger) -> None:
    machine = Machine("i-1", "m7a.large", Market.SPOT, 0.0, price=0.04)
    call = launched(ledger, machine, max_life_s=36_000.0)

    dearer = machine.priced(0.08, 3600.0).priced(0.08, 5000.0)

    assert cost_of(dearer, call, 7200.0) == pytest.approx(0.04 + 0.08)
    assert cost_of(dearer, call, 1e9) == pytest.approx(0.04 + 0.08 * (36_060 - 3600) / 3600)
    assert cost_of(replace(machine, ended_at=5.0), call, 9.0) == pytest.approx(0.04 / 60)  # a minute at least
    assert [dollars(each) for each in (0, 0.0031, 0.000045, 12.4, 1240)] == [
        "$0.00", "$0.0031", "$0.000045", "$12.40", "$1,240"
    ]  # fmt: skip


def test_prices_are_read_with_and_without_quotes_and_nonsense_is_refused(tmp_path: Path) -> None:
    file, environ = tmp_path / "waiter.toml", {"HOME": str(tmp_path)}
    file.write_text('[prices]\n"m7a.large" = 0.12\nm7i.large = 1\nspot.m7a.large = 0.04\n')
    assert settings(folder=tmp_path, environ=environ).prices == {
        "m7a.large": 0.12,
        "m7i.large": 1.0,
        "spot.m7a.large": 0.04,
    }

    for value in ("0", "-1", "true", '"cheap"', "nan"):
        file.write_text(f"[prices]\nm7a.large = {value}\n")
        with pytest.raises(UsageError, match=r"\[prices\] m7a.large: .* is no price"):
            settings(folder=tmp_path, environ=environ)
