"""Functions in worker processes: whatever they do to their process is the end of their own order, and of no other."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import eventually
from tests.faults import python_work
from tests.faults.floor import is_alive
from waiter import DeliveryOptions, Selector, deliver_with, iter_orders, load_rows, open_kitchen
from waiter.errors import CommandUnstartable, UsageError
from waiter.loading import LoadOptions
from waiter.testing import Recorder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def outcomes(url: str) -> dict[tuple[str, ...], tuple[str, object]]:
    """Arguments → status, and value or error."""
    with open_kitchen(url) as kitchen:
        return {order.arguments[:1]: (order.status.value, order.error or order.value) for order in iter_orders(kitchen)}


@pytest.mark.parametrize("processes", ["spawn", "forkserver"])
def test_whatever_ends_a_worker_is_the_end_of_its_own_order_alone(kitchen_url, tmp_path, processes):
    daemon = tmp_path / "daemon"
    ends = {
        ("fault",): ("ERROR", "its process was killed by SIGSEGV"),
        ("leave", 3): ("ERROR", "its process ended with exit code 3"),
        ("say_goodbye", 4): ("ERROR", "exit code 4"),
        ("hang",): ("ERROR", "timeout after"),
        ("come_back_twice",): ("DONE", "once"),
        ("leave_a_daemon", daemon): ("ERROR", "its process ended with exit code 7"),
        ("take_all_memory",): ("ERROR", "MemoryError"),
    }
    with open_kitchen(kitchen_url) as kitchen:
        load_rows(kitchen, [row for bad in ends for row in (["well"], bad, ["well"])])
    recorder = Recorder()

    if processes == "forkserver":
        ends["kill_the_server",] = ("ERROR", "its process ended with exit code 8")
        with open_kitchen(kitchen_url) as kitchen:
            load_rows(kitchen, [["kill_the_server"], ["well"], ["well"]])

    options = DeliveryOptions(processes=processes, jobs=2, timeout=3, grace_s=0.2, keep_output="all")
    deliver_with(python_work.work, kitchen_url, options, listener=recorder, state=tmp_path)

    with open_kitchen(kitchen_url) as kitchen:
        orders = list(iter_orders(kitchen))
    found = {order.arguments: order for order in orders if order.arguments != ("well",)}
    for row, (status, words) in ends.items():
        order = found[tuple(map(str, row))]
        assert (order.status, (order.error or order.value)[: len(words)]) == (status, words)
    assert "before the fault\n" in found["fault",].tail
    well = [order for order in orders if order.arguments == ("well",)]
    assert len(well) == 2 * len(ends)
    assert {order.status for order in well} == {"DONE"}
    assert all(order.value["order"] == order.id for order in well)
    assert len({order.value["pid"] for order in well}) > 1  # others took the place of those that ended
    assert not is_alive(int(daemon.read_text()))


def test_a_worker_is_given_what_the_row_was(tmp_path):
    url = str(tmp_path / "kitchen.sqlite")
    with open_kitchen(url) as kitchen:
        load_rows(kitchen, [["well", 1, "1", None, (2.5,)]])

    options = DeliveryOptions(processes=True)
    deliver_with(python_work.types, url, options, listener=Recorder(), state=tmp_path)

    assert outcomes(url) == {("well",): ("DONE", ["str", "int", "str", "NoneType", "tuple"])}


def test_a_function_that_leaves_with_0_before_it_returns_has_failed(tmp_path):
    url = str(tmp_path / "kitchen.sqlite")
    with open_kitchen(url) as kitchen:
        load_rows(kitchen, [["leave", "0"]])

    deliver_with(python_work.work, url, DeliveryOptions(processes=True), listener=Recorder(), state=tmp_path)

    assert outcomes(url) == {("leave",): ("ERROR", "its process ended with exit code 0")}


@pytest.mark.parametrize("processes", ["spawn", "forkserver"])
def test_no_worker_and_nothing_that_it_started_outlives_its_waiter(tmp_path, home, processes):
    url, file = str(tmp_path / "kitchen.sqlite"), tmp_path / "pids"
    with open_kitchen(url) as kitchen:
        load_rows(kitchen, [["hang_with_a_daemon", str(file)], ["hang"]])
    waiter = subprocess.Popen([sys.executable, "-m", python_work.__name__, url, processes], cwd=tmp_path, env=home)
    pids = eventually(lambda: file.exists() and file.read_text().split())
    assert len(pids) == 2

    waiter.kill()
    waiter.wait()

    eventually(lambda: not any(is_alive(int(pid)) for pid in pids))


def test_output_folder_and_variables_are_as_for_commands(tmp_path):
    url = str(tmp_path / "kitchen.sqlite")
    with open_kitchen(url) as kitchen:
        load_rows(kitchen, [{"what": "red", "n": 1}, {"what": "blue", "n": 2}])
    recorder = Recorder()
    (tmp_path / "place").mkdir()
    options = {"processes": True, "cwd": str(tmp_path / "place"), "env": {"COLOUR": "bright"}}

    deliver_with(python_work.tell, url, DeliveryOptions(**options), listener=recorder, state=tmp_path)

    first, second = recorder.delivered
    assert recorder.output_of(first, 1) == b"place bright red\n"
    assert recorder.output_of(second, 2) == b"mind\n"

    with open_kitchen(url) as kitchen:
        kitchen.reset(Selector())
    options["output"] = str(tmp_path / "out")
    deliver_with(python_work.tell, url, DeliveryOptions(**options), listener=recorder, state=tmp_path)

    assert (tmp_path / "out" / f"{second.id}.out").read_text() == "place bright blue\n"
    assert (tmp_path / "out" / f"{second.id}.err").read_text() == "mind\n"


def test_a_call_of_many_orders_ends_each_by_itself_and_a_crash_only_the_one_that_brought_it(kitchen_url, tmp_path):
    with open_kitchen(kitchen_url) as kitchen:
        load_rows(kitchen, [[str(number)] for number in range(6)])

    options = DeliveryOptions(processes=True, many=100, cwd=str(tmp_path))
    deliver_with(python_work.each, kitchen_url, options, listener=Recorder(), state=tmp_path)

    assert (tmp_path / "calls").read_text() == "6\n"
    assert outcomes(kitchen_url) == {
        (str(n),): ("ERROR", "ValueError: odd") if n % 2 else ("DONE", n) for n in range(6)
    }

    with open_kitchen(kitchen_url) as kitchen:
        load_rows(kitchen, [["8"], ["fault"], ["10"]])
    recorder = Recorder()
    deliver_with(python_work.each, kitchen_url, options, listener=recorder, state=tmp_path)

    assert (tmp_path / "calls").read_text() == "6\n3\n1\n1\n1\n"
    crash = "its process was killed by SIGSEGV"
    found = outcomes(kitchen_url)
    assert [found[one,] for one in ("8", "fault", "10")] == [("DONE", 8), ("ERROR", crash), ("DONE", 10)]
    assert recorder.notes == [f"A call of 3 orders did not return: {crash}. They are tried again one by one."]


@pytest.mark.parametrize(
    ("program", "error", "words"),
    [
        ("deliver_with(lambda order: 1, URL, PROCESSES)", UsageError, "cannot be sent to a worker process"),
        ("deliver_with(len, URL, PROCESSES)", CommandUnstartable, "this program delivers while its own worker"),
    ],
)
def test_what_cannot_be_sent_to_a_process_is_refused_with_what_to_do(tmp_path, home, program, error, words):
    url = str(tmp_path / "kitchen.sqlite")
    with open_kitchen(url) as kitchen:
        load_rows(kitchen, [["1"]])
    (tmp_path / "program.py").write_text(
        f"from waiter import *\ndef own(order): pass\nURL, PROCESSES = {url!r}, DeliveryOptions(processes=True)\n"
        f"{program.replace('len', 'own')}\n"
    )

    ended = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, env=home, capture_output=True, text=True, timeout=60
    )

    last = ended.stderr.splitlines()[-2:]
    assert last[0].startswith(f"{error.__module__}.{error.__name__}: ")
    assert words in last[0]
    assert last[1].startswith("hint: ")
    with open_kitchen(url) as kitchen:
        assert kitchen.counts().by_status == {"READY": 1}


def test_a_function_over_its_limit_of_memory_ends_as_a_command_does_and_each_knows_its_own_peak(kitchen_url, tmp_path):
    processes = "spawn" if kitchen_url.startswith("mongodb") else "forkserver"
    with open_kitchen(kitchen_url) as kitchen:
        load_rows(kitchen, [["eat", "250"], ["eat", "90"], ["well"], ["well"]])
    options = DeliveryOptions(processes=processes, jobs=2, mem_limit="170M", retry_mem=1.2)

    deliver_with(python_work.work, kitchen_url, options, listener=Recorder(), state=tmp_path)

    with open_kitchen(kitchen_url) as kitchen:
        large, small, *well = sorted(iter_orders(kitchen), key=lambda order: order.id)
    said = [event.error for event in large.history if event.what == "finish"]
    assert said[:2] == [f"killed for memory: limit {size} MiB" for size in (170, 204)]
    assert (large.status, large.value, small.value) == ("DONE", 250 << 20, 90 << 20)
    assert (large.failures, small.attempt, [one.attempt for one in well]) == (len(said) - 1, 1, [1, 1])
    assert large.peak_memory > 250 << 20
    assert 90 << 20 < small.peak_memory < 170 << 20
    assert all(one.peak_memory < 80 << 20 for one in well), "also of a worker that had more before"


def test_functions_are_told_what_was_granted_to_their_own_orders_and_never_share_a_gpu(kitchen_url, tmp_path):
    (tmp_path / "gpus").mkdir()
    rows = [{"what": "show_grant", "folder": str(tmp_path / "gpus"), "needs": f"gpu={n % 3}"} for n in range(12)]
    rows += [{"what": "show_grant", "folder": str(tmp_path / "gpus"), "needs": "cpus=1"} for _ in range(4)]
    with open_kitchen(kitchen_url) as kitchen:
        load_rows(kitchen, rows, LoadOptions(needs_from="needs"))
    options = DeliveryOptions(processes=True, jobs=4, has="gpu=4,cpus=16,mem=8G")
    deliver_with(python_work.work_named, kitchen_url, options, listener=Recorder(), state=tmp_path)

    with open_kitchen(kitchen_url) as kitchen:
        orders = list(iter_orders(kitchen))
    for order in orders:
        count = int(order.named["needs"].removeprefix("gpu=")) if "gpu" in order.named["needs"] else None
        assert order.status == "DONE", order.error
        granted = order.value["gpus"]
        assert granted is None if count is None else len(list(filter(None, granted.split(",")))) == count

    url = str(tmp_path / "many.sqlite")
    with open_kitchen(url) as kitchen:
        load_rows(kitchen, [["1"], ["2"]])
    options = DeliveryOptions(processes=True, many=2, needs="gpu=1,mem=1G", has="gpu=2,mem=2G")
    deliver_with(python_work.grants, url, options, listener=Recorder(), state=tmp_path)
    assert {words for _, words in outcomes(url).values()} == {"0,1 2147483648"}
