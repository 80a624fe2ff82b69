"""GPUs and memory of one host, shared by waiters that are started, killed and stopped for real.

The oracle is outside: each command makes a folder for every GPU that it was given, and fails where there is one.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import eventually, fill
from tests.freezing import freeze
from waiter.kitchen.contract import Kitchen
from waiter.orders import Reason, Selector, Status

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

# The last command to have a GPU may have been killed: what it left behind is nobody's if its process is gone.
COMMAND = r"""
for gpu in $(echo "$WAITER_GPU" | tr , ' '); do
  if ! mkdir "gpu-$gpu" 2> /dev/null; then
    other=$(cat "gpu-$gpu/pid" 2> /dev/null)
    if [ -n "$other" ] && kill -0 "$other" 2> /dev/null; then echo "GPU $gpu is shared with $other" >&2; exit 9; fi
  fi
  echo $$ > "gpu-$gpu/pid"
done
echo "$WAITER_ORDER $WAITER_GPU $CUDA_VISIBLE_DEVICES $HIP_VISIBLE_DEVICES" >> began
sleep "$1"
for gpu in $(echo "$WAITER_GPU" | tr , ' '); do rm -r "gpu-$gpu"; done
"""


class Host:
    """Where waiters work, which share one home."""

    def __init__(self, url: str, folder: Path, env: dict[str, str]) -> None:
        self.url, self.folder, self.env = url, folder, env
        self.waiters: list[subprocess.Popen[str]] = []

    def start(self, *options: str, command: str = COMMAND) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "waiter", "-k", self.url, "deliver", *options, "sh", "-c", command, "sh"]
        with (self.folder / f"log-{len(self.waiters)}").open("w") as log:
            waiter = subprocess.Popen(words, cwd=self.folder, env=self.env, stdout=log, stderr=log, text=True)
        self.waiters.append(waiter)
        return waiter

    def log(self, number: int = 0) -> str:
        return (self.folder / f"log-{number}").read_text()

    def began(self) -> list[list[str]]:
        """Order, and the GPUs that it was told of three times, of each command that began."""
        file = self.folder / "began"
        return [line.split() for line in file.read_text().splitlines()] if file.exists() else []

    def ledger(self) -> dict[str, dict[str, object]]:
        (file,) = (Path(self.env["HOME"]) / ".local/state/waiter/resources").glob("*.json")
        return json.loads(file.read_text())["waiters"]


@pytest.fixture
def host(kitchen_url: str, tmp_path: Path, home: dict[str, str]) -> Iterator[Host]:
    host = Host(kitchen_url, tmp_path, home)
    yield host
    for waiter in host.waiters:
        waiter.kill()
        waiter.wait()


def statuses(kitchen: Kitchen) -> dict[str, int]:
    return {status.value: n for status, n in kitchen.counts().by_status.items() if n}


def test_waiters_that_start_at_once_never_share_a_gpu_also_when_one_is_killed(kitchen, host):
    fill(kitchen, [["0.3"]] * 30)
    for _ in range(3):
        host.start("-j3", "--needs", "gpu=1", "--has", "gpu=4")
    eventually(lambda: len(host.began()) > 6)
    host.waiters[0].send_signal(signal.SIGKILL)

    for waiter in host.waiters[1:]:
        assert waiter.wait(60) == 0, host.log(1) + host.log(2)
    assert statuses(kitchen) == {"DONE": 30}
    assert {gpu for _, gpu, *_ in host.began()} == {"0", "1", "2", "3"}
    assert all(gpu == cuda == hip for _, gpu, cuda, hip in host.began())
    assert host.ledger() == {}, "nothing stays granted: neither by who left, nor by who was killed"


def test_what_a_killed_waiter_had_is_taken_only_when_nothing_of_it_lives(kitchen, host):
    fill(kitchen, [["0.5"]] * 4)
    killed = host.start("-j4", "--needs", "gpu=1", "--has", "gpu=4")
    eventually(lambda: len(host.began()) == 4)
    (guard,) = children(killed.pid)
    guards = [guard, *children(guard)]  # and the runner, whose children are the commands
    for pid in guards:  # who would clean up after it cannot, for now
        freeze(pid)
    killed.kill()
    killed.wait()

    second = host.start("-j4", "--needs", "gpu=1", "--has", "gpu=4")
    try:
        eventually(lambda: "Waiting for 1 GPU; 0 free." in host.log(1), 90)
        assert len(host.began()) == 4
    finally:
        for pid in guards:
            os.kill(pid, signal.SIGCONT)

    assert second.wait(90) == 0, host.log(1)
    assert statuses(kitchen) == {"DONE": 4}


def children(pid: int) -> list[int]:
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


# Holds a GPU for no time at all, as often as it can: whoever finds the folder of one that it was granted shares it.
GRABBER = """
import sys, time
from pathlib import Path
from waiter.delivery.resources.share import HostShare

share, granted, ends = HostShare("gpu=1", "gpu=2", lambda: None), 0, time.monotonic() + 60
while granted < 100 and time.monotonic() < ends:
    if share.grant("order", share.usual):
        gpu = Path(sys.argv[1], share.grants["order"].gpus[0])
        gpu.mkdir()
        gpu.rmdir()
        share.keep_only(())
        granted += 1
assert granted == 100
"""


def test_waiters_that_ask_at_the_same_moment_are_never_granted_the_same(tmp_path, home):
    words = [sys.executable, "-c", GRABBER, str(tmp_path)]
    all_ = [subprocess.Popen(words, env=home, stderr=subprocess.PIPE, text=True) for _ in range(4)]

    said = [one.communicate(timeout=90)[1] for one in all_]

    assert [one.returncode for one in all_] == [0] * 4, said


def test_a_waiter_says_what_it_waits_for_and_keeps_its_place(kitchen, host, waiter_cli):
    """One waiter has all GPUs, one after the other; another one that needs all four at once gets its turn."""
    fill(kitchen, [["1"]] * 400, batch="small")
    host.start("-j4", "--batch", "small", "--needs", "gpu=1", "--has", "gpu=4")
    eventually(lambda: len(host.began()) >= 4)
    fill(kitchen, [["0"]], batch="large")
    large = host.start("--batch", "large", "--any-command", "--needs", "gpu=4", "--has", "gpu=4")

    eventually(lambda: re.search(r"Waiting for 4 GPUs; [0-3] free\.", host.log(1)))
    eventually(lambda: "waits for 4 GPUs; " in waiter_cli("-k", host.url, "waiters").stderr)
    assert large.wait(30) == 0, host.log(1)
    assert [gpus for order, gpus, *_ in host.began() if order == "large-1"] == ["0,1,2,3"]
    assert kitchen.counts()[Status.READY] > 300, "the small ones were not all delivered first"


def test_a_waiter_says_in_its_log_why_nothing_starts_although_there_is_work(kitchen, host, waiter_cli):
    fill(kitchen, [["1"]])
    waiter = host.start("--max-load", "0.0001")
    eventually(lambda: "Waiting for a load below 0.0001; it is " in host.log())
    eventually(lambda: "waits for a load below 0.0001; " in waiter_cli("-k", host.url, "waiters").stderr)

    waiter_cli("-k", host.url, "pause")
    eventually(lambda: "Waiting for waiter resume: it is paused." in host.log())
    assert statuses(kitchen) == {"READY": 1}
    waiter.terminate()
    waiter.wait(60)

    waiter_cli("-k", host.url, "resume")
    kitchen.clean()
    host.start("--until", "stopped")
    eventually(lambda: "Waiting for orders: none is READY." in host.log(1))


def test_what_no_host_of_this_size_can_run_is_refused_before_anything_is_taken(kitchen, waiter_cli, kitchen_url):
    fill(kitchen, [["1"]])

    for needs, has, said in (
        ("gpu=5", "gpu=4", "5 GPUs, and it has 4"),
        ("mem=4G", "mem=2G", "4 GiB, and it has 2 GiB"),
        ("cpus=9", "cpus=2", "9 CPUs, and it has 2"),
        ("gpu=many", "gpu=4", "gpu=many: not a number of GPUs"),
        ("disk=9", "gpu=4", "disk=9: not understood"),
    ):
        ended = waiter_cli("-k", kitchen_url, "deliver", "--needs", needs, "--has", has, "true")
        assert (ended.returncode, said in ended.stderr) == (2, True), ended.stderr
        assert "Traceback" not in ended.stderr
    assert statuses(kitchen) == {"READY": 1}


# Two processes that share what they read: it counts once. What one of them takes beyond the limit ends both.
EATER = "import os, sys, time; kept = b'x' * (int(sys.argv[1]) << 20); child = os.fork(); time.sleep(0.4)"


def test_an_order_over_its_memory_ends_with_a_reason_of_its_own_and_its_neighbours_do_not_notice(
    kitchen, kitchen_url, waiter_cli
):
    fill(kitchen, [["1"], ["60"], ["300"], ["1"]])
    deliver = ("-k", kitchen_url, "deliver", "-j4", "--mem-limit", "100M", "--needs", "mem=100M", "--has", "mem=500M")

    ended = waiter_cli(*deliver, sys.executable, "-c", EATER)

    assert ended.returncode == 1, ended.stderr
    by_size = {order.arguments: order for order in kitchen.find(Selector(), with_details=True)}
    assert statuses(kitchen) == {"DONE": 3, "ERROR": 1}
    assert by_size[("60",)].status is Status.DONE, "what two processes share is no more than one has"
    killed = by_size[("300",)]
    assert (killed.status, killed.reason, killed.error) == (
        Status.ERROR,
        Reason.MEMORY,
        "killed for memory: limit 100 MiB",
    )
    assert "memory" in waiter_cli("-k", kitchen_url, "errors").stdout

    kitchen.reset(Selector(statuses=(Status.ERROR,)))
    assert waiter_cli(*deliver, "--retry-mem", "2x", "--any-command", sys.executable, "-c", EATER).returncode == 0
    (again,) = kitchen.find(Selector(match="300"), with_details=True)
    said = [event.error for event in again.history if event.what == "finish"]
    assert said[1:] == [f"killed for memory: limit {size} MiB" for size in (100, 200)] + [None]


def test_an_order_that_this_host_has_no_more_memory_for_is_not_tried_for_ever(kitchen, kitchen_url, waiter_cli):
    fill(kitchen, [["300"]])
    limits = ("--mem-limit", "needs", "--retry-mem", "2x", "--needs", "mem=50M", "--has", "mem=120M")

    ended = waiter_cli("-k", kitchen_url, "deliver", *limits, sys.executable, "-c", EATER)

    assert ended.returncode == 1, ended.stderr
    (order,) = kitchen.find(Selector(), with_details=True)
    assert [event.error for event in order.history] == [f"killed for memory: limit {n} MiB" for n in (50, 100, 120)]


def test_limits_that_say_nothing_are_refused(kitchen, kitchen_url, waiter_cli):
    for options, said in (
        (("--mem-limit", "much"), "much: not a size\nhint: write 512M or 4G\n"),
        (("--needs", "cpus=x"), "waiter: --needs: cpus=x: not a number of CPUs\nhint: write "),
        (("--retry-mem", "2x"), "nothing limits memory"),
        (("--retry-mem", "1x", "--mem-limit", "1G"), "no more memory"),
        (("--retry-mem", "twice", "--mem-limit", "1G"), "hint: write 2x"),
    ):
        ended = waiter_cli("-k", kitchen_url, "deliver", *options, "true")
        assert (ended.returncode, said in ended.stderr) == (2, True), ended.stderr


def test_each_row_says_what_it_needs_and_a_large_one_among_many_small_ones_is_not_starved(
    kitchen, kitchen_url, host, waiter_cli
):
    rows = [f"small-{n},gpu=1" for n in range(400)]
    rows[6] = "large,gpu=4"  # it is met when the small ones before it have all GPUs
    (host.folder / "rows.csv").write_text("\n".join(["name,needs", *rows, 'cpu-only,"gpu=0,cpus=1"']))
    loaded = waiter_cli("-k", kitchen_url, "load", "--header", "--needs-from", "needs", "rows.csv")
    assert loaded.returncode == 0, loaded.stderr
    command = COMMAND.replace("$1", "0.4").replace("$WAITER_ORDER", "$1")
    for _ in range(2):
        host.start("-j3", "--has", "gpu=4,cpus=8", command=command)

    eventually(lambda: any(order == "large" for order, *_ in host.began()), 120)

    began = host.began()
    assert [gpus for order, gpus, *_ in began if order == "large"] == ["0,1,2,3"]
    assert 6 < len(began) < 200, "small ones went past it, but not all"
    assert kitchen.counts()[Status.ERROR] == 0, "no GPU was shared"


def test_rows_that_no_host_of_this_size_can_run_are_left_to_others_and_said(kitchen_url, host, waiter_cli, kitchen):
    (host.folder / "rows.csv").write_text("a,gpu=9\nb,gpu=1\nc,\nd,gpu=8\n")
    waiter_cli("-k", kitchen_url, "load", "--needs-from", "2", "rows.csv")

    ended = waiter_cli("-k", kitchen_url, "deliver", "-j2", "--has", "gpu=4", "true")

    assert ended.returncode == 4
    assert "9 GPUs, and it has 4" in ended.stderr
    assert statuses(kitchen) == {"DONE": 2, "READY": 2}


def test_needs_that_nobody_understands_are_refused_with_file_and_row(kitchen_url, host, waiter_cli):
    (host.folder / "rows.csv").write_text("a,gpu=1\nb,gpu=x\n")
    load = ("-k", kitchen_url, "load", "--needs-from")

    bad = waiter_cli(*load, "2", "rows.csv")
    assert (bad.returncode, "rows.csv, row 2: gpu=x: not a number of GPUs" in bad.stderr) == (1, True), bad.stderr
    assert "rows.csv, row 1: no column mem" in waiter_cli(*load, "mem", "rows.csv").stderr
    assert "Loaded 1 order" in waiter_cli(*load, "2", "--skip-bad", "rows.csv").stderr
