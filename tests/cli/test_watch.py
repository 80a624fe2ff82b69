"""The live view: on a real terminal of 80 by 24, in a pipe, and how much it asks."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from dataclasses import replace

import pytest

from tests.conftest import check_in, eventually, fill, outcome, unavailable
from tests.mongod import Mongod, mongod_binary
from waiter.kitchen import open_kitchen
from waiter.kitchen.timeline import Step, Timeline
from waiter.orders import Counts, FailureGroup, Order, Reason, Shift, Status, Throughput, Vitals
from waiter.report.capacity import busy_slots, measure_capacity
from waiter.report.dashboard import Seen, frame, pace, summary
from waiter.report.poller import SHARES, Poller, ThrottledQuery


class Screen:
    """`waiter watch` on a terminal of 80 by 24."""

    def __init__(self, arguments, env) -> None:
        self.controller, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(terminal)
        self.terminal = terminal
        env = {key: value for key, value in env.items() if key not in ("COLUMNS", "LINES")}
        command = [sys.executable, "-m", "waiter", *arguments]
        self.process = subprocess.Popen(
            command,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env=env,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - so that Ctrl-C arrives
        )
        self._written = b""

    def written(self) -> str:
        """All that was written until now."""
        while select.select([self.controller], [], [], 0)[0]:
            self._written += os.read(self.controller, 65536)
        return self._written.decode()

    def press(self, key: bytes) -> None:
        os.write(self.controller, key)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.controller)
        os.close(self.terminal)


@pytest.fixture
def watch(kitchen_url, home):
    screens: list[Screen] = []

    def start(*arguments, **env):
        screens.append(Screen(["-k", kitchen_url, *arguments], {**home, "TERM": "xterm", **env}))
        return screens[-1]

    yield start
    for screen in screens:
        screen.close()


def scene(kitchen):
    fill(kitchen, [[f"tile-{n}"] for n in range(1, 11)])
    shift = check_in(kitchen, "ada")
    bad, *good = kitchen.claim(shift, limit=4)
    failure = {"reason": Reason.EXIT, "exit_code": 3, "error": "no such tile", "error_group": "0123abcd"}
    kitchen.finish(shift, [outcome(bad, Status.ERROR, **failure), *map(outcome, good)])
    kitchen.claim(shift, limit=1)
    return shift


@pytest.mark.parametrize("verb", [("watch",), ("status", "--watch")])
def test_the_view_shows_counts_waiters_what_they_run_and_what_failed(kitchen, watch, verb):
    scene(kitchen)
    screen = watch(*verb)
    for words in ("40.0 %", "4 of 10", "ada", "tile-5", "no such tile"):
        eventually(lambda words=words: words in screen.written())
    screen.press(b"q")
    assert screen.process.wait(60) == 0


@pytest.mark.parametrize("key", [b"q", b"\x03"])
def test_q_and_ctrl_c_quit_and_leave_the_terminal_as_it_was(kitchen, watch, key):
    fill(kitchen, [["1"]])
    screen = watch("watch")
    eventually(lambda: "READY" in screen.written())

    screen.press(key)

    assert screen.process.wait(60) == 0
    written = screen.written()
    assert written.rindex("\x1b[?1049l") > written.rindex("\x1b[?1049h")
    assert termios.tcgetattr(screen.terminal) == screen.before


def test_without_colour_none_is_written(kitchen, watch):
    scene(kitchen)
    screen = watch("watch", NO_COLOR="1", TERM="vt100")
    eventually(lambda: "no such tile" in screen.written())
    assert not re.search(r"\x1b\[[\d;]*3[0-7][\d;]*m", screen.written())


def test_a_terminal_that_cannot_draw_gets_lines_and_q_quits(kitchen, watch):
    scene(kitchen)
    screen = watch("watch", "--every", "0.2", TERM="dumb")
    eventually(lambda: screen.written().count("40.0 % of 10") > 1)
    screen.press(b"q")
    assert screen.process.wait(60) == 0
    assert "\x1b" not in screen.written()


def test_a_redraw_erases_nothing(kitchen, watch):
    scene(kitchen)
    screen = watch("watch", "--every", "0.1")
    eventually(lambda: screen.written().count("q quits") > 3)
    assert not re.search(r"\x1b\[\d*[JK]", screen.written())  # what is erased before it is drawn flickers


def test_the_view_follows_the_terminals_size(kitchen, watch):
    scene(kitchen)
    screen = watch("watch", "--every", "0.1")
    eventually(lambda: "q quits" in screen.written())
    fcntl.ioctl(screen.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 10, 40, 0, 0))
    before = len(screen.written())

    def last_frame():
        frames = re.sub(r"\x1b\[[\d;]*m", "", screen.written()[before:]).split("\x1b[H")
        return frames[-2].split("\r\n") if len(frames) > 2 else []

    eventually(lambda: len(last_frame()) == 10 and max(map(len, last_frame())) == 40)


def test_a_terminated_view_leaves_the_other_screen(kitchen, watch):
    fill(kitchen, [["1"]])
    screen = watch("watch")
    eventually(lambda: "READY" in screen.written())
    screen.process.send_signal(signal.SIGTERM)
    screen.process.wait(60)
    eventually(lambda: "\x1b[?1049l" in screen.written())


def test_in_a_pipe_it_writes_lines_until_all_is_done(kitchen, kitchen_url, home):
    shift = scene(kitchen)
    command = [sys.executable, "-m", "waiter", "-k", kitchen_url, "watch", "--every", "0.2", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=home) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        assert (first["counts"]["DONE"], first["waiters"], first["failures"][0]["count"]) == (3, 1, 1)
        kitchen.finish(shift, [outcome(order) for order in [*kitchen.held(shift), *kitchen.claim(shift, limit=9)]])
        last = [json.loads(line) for line in process.stdout][-1]
    assert last["counts"]["DONE"] == 9
    assert process.returncode == 0


def test_where_nothing_was_finished_the_last_minutes_are_told(kitchen, kitchen_url, home):
    fill(kitchen, [["1"]])
    command = [sys.executable, "-m", "waiter", "-k", kitchen_url, "watch"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=home) as process:
        assert process.stdout is not None
        assert "0/s now, 0/s over 5 min; no waiter is at work" in process.stdout.readline()
        process.terminate()


def test_a_slow_kitchen_is_asked_less_often():
    asked = []

    def slowly():
        asked.append(time.monotonic())
        time.sleep(0.02)

    question = ThrottledQuery(slowly, share=0.05, every_s=0.01)
    ends = time.monotonic() + 1
    while time.monotonic() < ends:
        question.answer()
        time.sleep(0.001)
    assert 1 < len(asked) <= 4
    assert sum(SHARES.values()) <= 0.05 + 1e-9


def test_waiters_and_rates_are_new_while_a_count_takes_long(kitchen, kitchen_url):
    """And counts are shown as soon as there are any, with their age once that is worth saying."""
    scene(kitchen)
    may_count = threading.Event()

    def open_another():
        another = open_kitchen(kitchen_url, create=False)
        count = another.counts
        another.counts = lambda: may_count.wait(60) and count()
        return another

    onlooker = Poller(kitchen, 0.1, open_another)
    seen = onlooker.look()
    assert seen.counted_s is None
    assert not seen.is_done
    assert "counting the orders" in summary(seen)
    assert [shift.waiter for shift in seen.at_work] == ["ada"]
    check_in(kitchen, "bob")
    eventually(lambda: len(onlooker.look().at_work) == 2)
    assert "counting the orders" in "".join(text for line in frame(onlooker.look(), 80, 24) for text, _ in line)
    may_count.set()
    eventually(lambda: onlooker.look().counts.finished == 4)
    assert "40.0 % of 10" in summary(onlooker.look())
    assert "(counted 2 min 15 s ago)" in summary(replace(onlooker.look(), counted_s=135.0))


def a_seen(waiters=40, kinds=30, total=100_000, done=99_999):
    shifts = [
        Shift(
            f"t{n}", f"ip-10-0-{n}-7.eu-central-1.compute.internal/{n}", f"h{n}", n, 0, 1e9, 990, vitals=Vitals(slots=8)
        )
        for n in range(waiters)
    ]
    running = [
        Order(f"b-{n}", "b", n, ("x" * 50, "\x1b[2J"), status=Status.RUNNING, shift="t1", start=10.0) for n in range(8)
    ]
    groups = [
        FailureGroup(f"{n:08x}", 5, "boom\nand more " * 9, 3, None, Reason.EXIT, ("h1",), 1, 900 + n, "b-1")
        for n in range(kinds)
    ]
    counts = Counts({Status.DONE: done, Status.ERROR: total - done - 1 if total > done + 1 else 0, Status.READY: 1})
    recent, longer = Throughput(15, 450, 1, 1.0), Throughput(300, 9000, 5, 1.0)
    capacity = measure_capacity(shifts, 1000.0, 300)
    return Seen("kitchen", 1000.0, counts, recent, longer, capacity, shifts, running, groups, {"h1", "h2"})


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 10), (200, 60), (20, 3)])
@pytest.mark.parametrize("is_unicode", [True, False])
def test_the_view_fits_any_terminal(width, height, is_unicode):
    lines = ["".join(text for text, _ in line) for line in frame(a_seen(), width, height, is_unicode=is_unicode)]
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    assert all(line.isprintable() for line in lines)


def test_at_80_by_24_many_waiters_leave_room_for_failures():
    text = "\n".join("".join(text for text, _ in line) for line in frame(a_seen(), 80, 24))
    assert "more waiters" in text
    assert "[all on h1]" in text
    assert "q quits" in text


def test_where_no_end_can_be_told_it_says_who_takes_no_orders():
    def said(**facts: object) -> str:
        seen = a_seen(waiters=2)
        shifts = [replace(shift, **facts) for shift in seen.shifts]
        return pace(replace(seen, shifts=shifts, capacity=measure_capacity(shifts, 1000.0, 300))).partition("; ")[2]

    assert said().startswith("done in ")
    assert said(lost_at=900.0) == said(left_at=900.0) == "no waiter is at work"
    assert said(is_paused=True) == "all waiters are paused"
    assert said(is_draining=True) == "all waiters drain or pause"


def test_a_waiter_is_as_busy_as_it_says_though_not_all_that_it_runs_was_looked_at():
    seen = a_seen(waiters=2)
    (busy, idle), running = seen.shifts, [replace(order, shift="t0") for order in seen.running[:2]]
    shifts = [replace(busy, vitals=Vitals(slots=8, busy=7)), idle]
    text = "\n".join(
        "".join(text for text, _ in line) for line in frame(replace(seen, shifts=shifts, running=running), 80, 24)
    )
    assert "7/8" in text
    assert "0/8" in text


def test_where_all_that_runs_is_known_a_waiter_is_as_busy_as_it_has_orders():
    shift = a_seen().shifts[0]

    def busy(held: int, **vitals: object) -> int:
        return busy_slots(replace(shift, vitals=Vitals(slots=8, busy=7, **vitals)), held, is_all_known=True)

    assert [busy(held) for held in (0, 3, 20)] == [0, 3, 8]
    assert busy(6, claimed=4, waits_for="gpu=1") == 2  # the others wait in its hands


def test_the_view_never_says_100_percent_too_early():
    assert "> 99.9 %" in summary(a_seen())


def test_a_view_without_unicode_writes_ascii():
    lines = frame(a_seen(), 80, 24, is_unicode=False)
    assert "".join(text for line in lines for text, _ in line).isascii()


def test_a_line_that_does_not_fit_says_that_it_goes_on():
    lines = ["".join(text for text, _ in line) for line in frame(a_seen(), 60, 24)]
    assert any(len(line) == 60 and line.endswith("…") for line in lines)


@pytest.mark.timeout(240)
def test_a_kitchen_that_goes_away_is_named_and_watched_again_when_it_is_back(home):
    if (binary := mongod_binary()) is None:
        unavailable("no mongod: install the test dependencies")
        return
    server = Mongod(binary)
    server.start()
    open_kitchen(f"{server.url}/gone", create=True).close()
    screen = Screen(["-k", f"{server.url}/gone", "watch", "--every", "0.3"], {**home, "TERM": "xterm"})
    try:
        eventually(lambda: "READY" in screen.written(), within_s=30)
        server.kill()
        eventually(lambda: "did not answer within" in screen.written(), within_s=90)
        server.start()
        before = len(screen.written())
        eventually(lambda: "q quits" in screen.written()[before:], within_s=60)
        screen.press(b"q")
        assert screen.process.wait(60) == 0
    finally:
        screen.close()
        server.remove()


def test_the_last_hour_is_a_line_of_blocks():
    steps = tuple(Step(done=n, failed=n // 4) for n in (0, 1, 4, 40))
    seen = replace(a_seen(), hour=Timeline(0.0, 60.0, 240.0, steps))

    lines = ["".join(text for text, _ in line) for line in frame(seen, 80, 24)]

    assert " ▁▁█ 56 in the last hour" in lines
    assert not any("last hour" in text for line in frame(seen, 80, 24, is_unicode=False) for text, _ in line)
