"""What a command sees of the runner, and what of its output and results comes through: all of it, in bounded memory."""

from __future__ import annotations

import os
import resource
import select
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from socket import socketpair

import pytest

from tests.conftest import unavailable
from tests.faults.jobs import end_of, living, script, until_ended, wait_for
from waiter.delivery.runner.client import (
    Capture,
    End,
    Ended,
    Output,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="subreapers and /proc are Linux's")


def test_a_command_sees_three_descriptors_and_no_signal_dispositions_of_ours(start):
    runner = start(capture=Capture.GROUP)
    runner.submit([script("a", "ls /proc/self/fd | wc -l; grep SigIgn /proc/self/status; readlink /proc/self/fd/0")])

    output = b"".join(event.chunk for event in until_ended(runner) if isinstance(event, Output))

    # ls itself opens the folder: 0, 1, 2 and that.
    count, ignored, stdin = output.decode().split("\n")[:3]
    assert int(count) == 4
    assert int(ignored.split()[1], 16) & 0x7FFFFFFF == 0  # 32 and 33 are the C library's own
    assert stdin == "/dev/null"


def test_slots_keep_their_numbers(start):
    runner = start(slots=3, capture=Capture.GROUP)
    runner.submit([script(str(n), "echo $WAITER_SLOT; sleep 0.05") for n in range(9)])

    events = until_ended(runner, 9)

    slots = {event.id: event.slot for event in events if isinstance(event, Ended)}
    printed = {event.id: int(event.chunk) for event in events if isinstance(event, Output)}
    assert printed == slots
    assert set(slots.values()) == {1, 2, 3}


def test_a_result_and_words_of_its_own_belong_to_one_order_only(start):
    runner = start()
    runner.submit([script("a", "echo 42 > $WAITER_RESULT; echo no disk > $WAITER_ERROR; exit 3"), script("b", "true")])

    ends = {e.id: (e.exit_code, e.result, e.message) for e in until_ended(runner, 2) if isinstance(e, Ended)}

    assert ends == {"a": (3, "42\n", "no disk\n"), "b": (0, None, None)}


def test_a_result_that_is_too_long_is_cut_and_that_is_known(start):
    runner = start()
    texts = {"fits": "head -c 65536 /dev/zero", "long": "head -c 65537 /dev/zero", "none": "true"}
    runner.submit([script(name, f"{text} > $WAITER_RESULT") for name, text in texts.items()])

    ends = {e.id: (len(e.result or ""), e.cut_from) for e in until_ended(runner, 3) if isinstance(e, Ended)}

    assert ends == {"fits": (65_536, None), "long": (65_536, 65_537), "none": (0, None)}


def test_what_is_no_file_in_the_place_of_a_result_harms_nobody(start):
    runner = start()
    texts = [
        "mkdir $WAITER_RESULT; touch $WAITER_RESULT/x",
        "ln -s /etc/passwd $WAITER_RESULT",
        "mkfifo $WAITER_RESULT",
    ]
    runner.submit([script(str(n), text) for n, text in enumerate([*texts, "echo 42 > $WAITER_RESULT"])])

    results = {e.id: e.result for e in until_ended(runner, 4) if isinstance(e, Ended)}

    assert results == {"0": None, "1": None, "2": None, "3": "42\n"}


@pytest.mark.parametrize("capture", [Capture.STREAM, Capture.LINE, Capture.GROUP])
def test_a_waiter_that_hears_nothing_does_not_make_the_runner_grow(start, capture, pids):
    runner = start(slots=2, capture=capture)
    runner.submit([script(str(n), f"echo $$ >> {pids}; head -c 30000000 /dev/zero | tr '\\0' y") for n in range(2)])
    wait_for(lambda: len(living(pids)) == 2)

    memory = max(resident_mb(runner.pid) for _ in range(20) if not time.sleep(0.05))

    assert memory < 40
    assert living(pids)
    received = sum(len(e.chunk) for e in until_ended(runner, 2, within_s=60) if isinstance(e, Output))
    assert received == 60_000_000


def test_a_stop_is_heeded_while_the_waiter_hears_nothing(start, pids):
    runner = start(capture=Capture.STREAM)
    runner.submit([script("a", f"echo $$ >> {pids}; exec yes")])
    wait_for(lambda: living(pids))
    time.sleep(0.3)  # the socket is full by now

    runner.stop(["a"])

    wait_for(lambda: not living(pids), within_s=5)


def test_a_flood_of_output_costs_no_memory_and_leaves_its_end(start):
    runner = start(capture=Capture.DISCARD)
    runner.submit([script("flood", "head -c 1000000000 /dev/zero | tr '\\0' x; echo the end")])

    ended = end_of(runner)

    assert ended.tail.endswith(b"xxx" + b"the end\n")
    assert len(ended.tail) == 4096
    assert resident_mb(runner.pid) < 30


def resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_grouped_output_arrives_whole_and_in_one_piece_though_it_is_large(start):
    runner = start(slots=2, capture=Capture.GROUP)
    runner.submit([script(str(n), f"yes {n} | head -c 3000000") for n in range(2)])

    pieces: dict[str, bytes] = {}
    order: list[str] = []
    for event in until_ended(runner, 2):
        if isinstance(event, Output):
            pieces[event.id] = pieces.get(event.id, b"") + event.chunk
            order.append(event.id)

    assert {id: len(piece) for id, piece in pieces.items()} == {"0": 3_000_000, "1": 3_000_000}
    assert len([1 for a, b in pairwise(order) if a != b]) == 1  # one after the other, not mixed


def test_lines_stay_whole_when_they_are_mixed(start):
    runner = start(slots=2, capture=Capture.LINE)
    text = "for i in 1 2 3 4 5; do printf a; sleep 0.01; printf 'b\\n'; done; printf rest"
    runner.submit([script(str(n), text) for n in range(2)])

    chunks = [event.chunk for event in until_ended(runner, 2) if isinstance(event, Output)]

    assert {line for chunk in chunks for line in chunk.splitlines(keepends=True)} == {b"ab\n", b"rest"}


def test_files_get_everything(start, tmp_path):
    runner = start(capture=Capture.FILES)
    out, err = tmp_path / "a.out", tmp_path / "a.err"
    runner.submit([script("a", "echo out; echo err >&2", stdout_path=str(out), stderr_path=str(err))])

    ended = end_of(runner)

    assert (out.read_text(), err.read_text(), ended.tail) == ("out\n", "err\n", b"out\nerr\n")


def test_a_fifo_that_nobody_reads_takes_no_output_and_holds_up_nobody(start, tmp_path):
    runner = start(capture=Capture.FILES)
    fifo, out = tmp_path / "fifo", tmp_path / "out"
    os.mkfifo(fifo)
    runner.submit([script("a", "echo a", stdout_path=str(fifo)), script("b", "echo b", stdout_path=str(out))])

    ends = {e.id: e for e in until_ended(runner, 2, within_s=5) if isinstance(e, Ended)}

    assert ends["a"].end is End.UNSTARTABLE
    assert "FIFO" in str(ends["a"].message)
    assert (ends["b"].end, out.read_text()) == (End.EXITED, "b\n")


def test_a_fifo_that_is_read_gets_the_output(start, tmp_path):
    runner = start(capture=Capture.FILES)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    descriptor = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    runner.submit([script("a", "head -c 300000 /dev/zero", stdout_path=str(fifo))])  # more than a pipe holds

    os.set_blocking(descriptor, True)
    wait_for(lambda: select.select([descriptor], [], [], 0)[0])
    with open(descriptor, "rb") as reader:
        assert len(reader.read()) == 300_000
    assert end_of(runner).exit_code == 0


@pytest.fixture
def few_files() -> Iterator[int]:
    """As under `ulimit -Sn 200`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    yield 200
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("capture", [Capture.GROUP, Capture.DISCARD])
def test_more_slots_than_open_files_by_default_work_and_commands_keep_the_default(few_files, start, capture):
    runner = start(slots=120, capture=capture)
    texts = [f"[ $(ulimit -Sn) = {few_files} ] && echo out && echo err >&2 && exec sleep 0.5"] * 120
    runner.submit([script(str(n), text, stdin=b"x") for n, text in enumerate(texts)])

    ends = [event for event in until_ended(runner, 120) if isinstance(event, Ended)]

    assert {(end.exit_code, end.tail) for end in ends} == {(0, b"out\nerr\n")}
    assert {end.slot for end in ends} == set(range(1, 121))


def test_more_slots_than_open_files_work_where_the_process_has_many_open(few_files, start):
    """What the runner is handed has high numbers then, among those that its slots are to have."""
    with ExitStack() as stack:
        for _ in range(40):
            stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        runner = start(slots=120, capture=Capture.GROUP)
        runner.submit([script(str(n), f"[ $(ulimit -Sn) = {few_files} ] && exec sleep 0.5") for n in range(120)])

        ends = [event for event in until_ended(runner, 120) if isinstance(event, Ended)]

    assert {(end.exit_code, end.tail) for end in ends} == {(0, b"")}


def test_stdin_is_what_the_job_says(start):
    runner = start(capture=Capture.GROUP)
    runner.submit([script("a", "cat", stdin=b'["x"]\n')])

    assert b"".join(e.chunk for e in until_ended(runner) if isinstance(e, Output)) == b'["x"]\n'


def test_thousands_of_jobs_leak_no_descriptor(start):
    runner = start(slots=2)
    runner.submit([script(str(n), "true") for n in range(50)])
    until_ended(runner, 50)
    before = len(os.listdir(f"/proc/{runner.pid}/fd"))

    runner.submit([script(str(n), "true") for n in range(50, 1050)])
    until_ended(runner, 1000)

    assert len(os.listdir(f"/proc/{runner.pid}/fd")) == before


def test_much_output_of_many_slots_is_handed_over_whole_and_in_little_memory(start):
    runner = start(slots=32, capture=Capture.GROUP)
    runner.submit([script(str(n), "head -c 900000 /dev/zero") for n in range(96)])
    time.sleep(1)  # the waiter is busy elsewhere, and hears nothing

    received = sum(len(e.chunk) for e in until_ended(runner, 96, within_s=60) if isinstance(e, Output))

    assert received == 96 * 900_000
    assert resident_mb(runner.pid) < 80


@pytest.mark.parametrize("capture", [Capture.STREAM, Capture.LINE, Capture.GROUP])
def test_output_goes_on_when_all_that_was_read_is_sent_at_once(start, capture, monkeypatch):
    if os.geteuid() != 0:
        unavailable("only root may make a socket's buffer larger than what the runner sends at a time")
    monkeypatch.setattr(socket, "socketpair", wide_socketpair)
    runner = start(slots=2, capture=capture)
    runner.submit([script(str(n), "head -c 30000000 /dev/zero") for n in range(2)])

    received = sum(len(e.chunk) for e in until_ended(runner, 2) if isinstance(e, Output))

    assert received == 60_000_000


def wide_socketpair() -> tuple[socket.socket, socket.socket]:
    """As if the waiter read as fast as the runner writes: nothing has to wait for it."""
    ours, theirs = socketpair()
    so_sndbufforce = 32  # asm-generic/socket.h
    theirs.setsockopt(socket.SOL_SOCKET, so_sndbufforce, 16 << 20)
    return ours, theirs
