"""Three stages of a thousand rows on two hosts: what fails keeps its own row waiting, an interruption costs none."""

from __future__ import annotations

import sys

import pytest

from tests.conftest import eventually
from tests.fleet.environment import Laptop, SharedKitchen
from waiter.orders import Selector, Status

TWO = ("--limit", "*.2,*.3")
ROWS = 1000
STAGES = ("prepare", "align", "report")
FAULTS = {"prepare": 10, "align": 20, "report": 30}  # rows whose last two digits are these fail
FAULTY = ROWS // 100  # rows of each stage


def write(laptop: Laptop, *, is_faulty: bool) -> None:
    for stage, digits in FAULTS.items():
        fault = f'[ $(($1 % 100)) != {digits} ] || {{ echo "no {stage}" >&2; exit 3; }}' if is_faulty else "true"
        laptop.script(f'{fault}\necho "{stage} $1" > "$WAITER_RESULT"', f"{stage}.sh")


def counts(shared: SharedKitchen, status: Status) -> list[int]:
    return [shared.kitchen.counts(Selector(batch=stage))[status] for stage in STAGES]


@pytest.mark.long
def test_stages_go_on_over_an_interruption_and_after_what_failed(laptop: Laptop, shared: SharedKitchen) -> None:
    (laptop.folder / "rows.txt").write_text("".join(f"{row}\n" for row in range(1, ROWS + 1)))
    write(laptop, is_faulty=True)
    waiter = (sys.executable, "-m", "waiter")
    before: str | None = None
    for stage in STAGES:
        after = () if before is None else ("--after-row", before)
        done = laptop.type(
            *waiter, "load", *shared.flags, "--batch", stage, *after, "--for", f"./{stage}.sh", "rows.txt"
        )
        assert done.returncode == 0, done.stderr
        before = stage
    start = ("start", *shared.flags, *TWO, "--jobs", "2")

    assert set(laptop.outcomes(*start).values()) == {"started"}
    eventually(lambda: counts(shared, Status.DONE)[1] > 50, 60)
    assert set(laptop.outcomes("stop", *TWO, "--now").values()) == {"stopped"}
    assert counts(shared, Status.RUNNING) == [0, 0, 0]
    assert sum(counts(shared, Status.DONE)) < 3 * ROWS

    assert set(laptop.outcomes(*start).values()) == {"started"}
    expected = [ROWS - FAULTY * (place + 1) for place in range(3)]
    eventually(lambda: counts(shared, Status.DONE) == expected, 90)
    assert counts(shared, Status.ERROR) == [FAULTY] * 3
    told = laptop.type(*waiter, "batches", *shared.flags)
    assert f"align waits row by row for batch prepare: {FAULTY} ERROR\n" in told.stderr

    write(laptop, is_faulty=False)
    assert set(laptop.outcomes("restart", *shared.flags, *TWO, "--jobs", "2", "--own-commands").values()) == {
        "restarted"
    }
    laptop.type(*waiter, "reset", "--yes", "--status", "ERROR", *shared.flags)
    eventually(lambda: counts(shared, Status.DONE) == [ROWS] * 3, 60)
    results = {order.result for order in shared.kitchen.find(Selector(batch="report"), with_details=True)}
    assert {(result or "").strip() for result in results} == {f"report {row}" for row in range(1, ROWS + 1)}
