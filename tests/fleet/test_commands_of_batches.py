"""Commands are looked at beside the orders before anything starts, and batches bring their own."""

from __future__ import annotations

import sys

from tests.conftest import eventually
from tests.fleet.environment import Laptop, SharedKitchen
from waiter.orders import Selector, Status

ANNA = ("--limit", "*.2")


def load(laptop: Laptop, shared: SharedKitchen, batch: str, text: str, *words: str) -> None:
    (laptop.folder / f"{batch}.csv").write_text(text)
    typed = (sys.executable, "-m", "waiter", "load", *shared.flags, "--batch", batch, *words, f"{batch}.csv")
    done = laptop.type(*typed)
    assert done.returncode == 0, done.stderr


def results(shared: SharedKitchen, batch: str) -> set[str]:
    return {(order.result or "").strip() for order in shared.kitchen.find(Selector(batch=batch), with_details=True)}


def test_a_command_that_no_order_fits_is_refused_before_anything_starts(laptop: Laptop, shared: SharedKitchen) -> None:
    laptop.script('echo "$1" > "$WAITER_RESULT"')
    load(laptop, shared, "samples", "sample_id\nS1\nS2\n", "--header")
    start = ("start", *shared.flags, *ANNA)

    misspelt = laptop.fleet(*start, "./crunch.sh", "{sampleid}")
    no_batch = laptop.fleet(*start, "--batch", "sampels", "./crunch.sh")

    assert (misspelt.returncode, misspelt.stdout) == (2, "")
    assert "asks for {sampleid}" in misspelt.stderr
    assert "Did you mean {sample_id}" in misspelt.stderr
    assert (no_batch.returncode, "samples" in no_batch.stderr) == (2, True)
    assert not laptop.network.hosts["anna"].waiter_home.exists()

    load(laptop, shared, "others", "7\n")
    load(laptop, shared, "reserved", "8\n", "--for", "./another.sh")
    started = laptop.fleet(*start, "./crunch.sh", "{sample_id}")

    assert (started.returncode, " started " in started.stdout) == (0, True), started.stderr
    assert "Batch others will be left alone: the command asks for {sample_id}" in started.stderr
    eventually(lambda: shared.count(Status.DONE) == 2, 30)
    assert results(shared, "samples") == {"S1", "S2"}
    laptop.fleet("stop", *ANNA)
    idle = laptop.fleet(*start, "--batch", "samples", "./crunch.sh", "{sample_id}")
    assert (idle.returncode, idle.stderr.count("left alone")) == (0, 0)


def test_a_start_without_a_command_delivers_each_batch_with_its_own(laptop: Laptop, shared: SharedKitchen) -> None:
    start = ("start", *shared.flags, *ANNA)
    nothing = laptop.fleet(*start)
    assert (nothing.returncode, "which command?" in nothing.stderr) == (2, True)

    (laptop.folder / "sub").mkdir()
    laptop.script('echo "align $*" > "$WAITER_RESULT"', "align.sh")
    laptop.script('echo "render $*" > "$WAITER_RESULT"', "sub/render.sh")
    load(laptop, shared, "align", "s1\ns2\n", "--for", "./align.sh --fast {1}")
    load(laptop, shared, "render", "f1\n", "--for", "--shell ./sub/render.sh {1}.png | cat")
    load(laptop, shared, "gone", "x\n", "--for", "./gone.sh")

    first = laptop.fleet(*start)

    assert (first.returncode, ": each batch's own command" in first.stdout) == (0, True), first.stderr
    assert "./gone.sh: no such file here\nhint: hosts that have it deliver its batch" in first.stderr
    eventually(lambda: shared.count(Status.DONE) == 3, 30)
    assert results(shared, "align") == {"align --fast s1", "align --fast s2"}
    assert results(shared, "render") == {"render f1.png"}
    assert shared.kitchen.counts(Selector(batch="gone"))[Status.READY] == 1

    laptop.script('echo "found $*" > "$WAITER_RESULT"', "gone.sh")
    again = laptop.fleet(*start)
    assert "    waiter fleet restart " in again.stderr
    assert again.stderr.rstrip().splitlines()[-2].endswith(" --own-commands")
    assert laptop.outcomes("restart", *shared.flags, *ANNA, "--own-commands") == {"anna": "restarted"}
    eventually(lambda: shared.count(Status.DONE) == 4, 30)
    assert results(shared, "gone") == {"found x"}
