"""The parts of the runner's process that need no command: what it sends, and what it says of failed starts."""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Iterator
from enum import IntEnum, StrEnum
from math import inf

import pytest

from waiter.delivery.runner.connection import FLUSH_S, MANY_QUEUED, MAX_UNSENT, Sender, decline, first_message
from waiter.delivery.runner.event_buffer import EventBuffer
from waiter.delivery.runner.messages import packed, unpacked
from waiter.delivery.runner.start_errors import NO_PROCESS, TELL_OF_DELAY_S, Delay, why_no_file, why_not_started


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    runner, waiter = socket.socketpair()
    with runner, waiter:
        runner.setblocking(False)
        waiter.settimeout(10)
        yield runner, waiter


def sender_of(runner: socket.socket) -> tuple[Sender, EventBuffer]:
    poll, buffer = select.poll(), EventBuffer("stream")
    poll.register(runner, select.POLLIN)
    return Sender(runner.fileno(), poll, buffer), buffer


def test_events_are_sent_a_line_each(ends):
    runner, waiter = ends
    sender, buffer = sender_of(runner)
    buffer.events += [("hello", 1), ("delayed", None)]
    assert sender.flush_at == FLUSH_S

    sender.flush(now=5.0)

    assert unpacked(waiter.recv(1 << 16)) == ([("hello", 1), ("delayed", None)], b"")
    assert sender.flush_at == inf
    assert sender.may_wait(5.0, MANY_QUEUED)
    assert not sender.may_wait(5.0 + FLUSH_S, MANY_QUEUED)
    assert not sender.may_wait(5.0 + FLUSH_S / 2, MANY_QUEUED - 1)


def test_what_a_slow_waiter_does_not_take_waits_and_arrives_whole(ends):
    runner, waiter = ends
    sender, buffer = sender_of(runner)
    for _ in range(40):
        buffer.output("a", 1, b"x" * 100_000)
    assert sender.is_full()

    received = b""
    while buffer.events or sender.unsent:
        if sender.unsent:
            sender.send()
        else:
            sender.flush(now=1.0)
        received += waiter.recv(1 << 20)
    waiter.setblocking(False)
    while len(unpacked(received)[0]) < 40:
        received += waiter.recv(1 << 20)

    assert len(received) > MAX_UNSENT
    assert unpacked(received) == ([("output", "a", 1, b"x" * 100_000)] * 40, b"")
    assert not sender.is_full()


def test_a_waiter_that_is_gone_is_no_error(ends):
    runner, waiter = ends
    sender, buffer = sender_of(runner)
    waiter.close()
    buffer.events.append(("hello", 1))

    sender.flush(now=1.0)

    assert not sender.send()


def test_the_first_message_and_what_came_with_it(ends):
    runner, waiter = ends
    runner.setblocking(True)
    more = packed({"jobs": []})[:-1]
    waiter.sendall(packed({"slots": 1}) + more)
    assert first_message(runner.fileno()) == ({"slots": 1}, more)


def test_a_waiter_that_went_before_it_said_anything(ends):
    runner, waiter = ends
    runner.setblocking(True)
    waiter.close()
    assert first_message(runner.fileno()) == (None, b"")


def test_a_waiter_is_told_why_there_is_no_runner(ends):
    runner, waiter = ends
    decline(runner.fileno(), OSError(errno.EAGAIN, "try again"))
    assert unpacked(waiter.recv(1 << 16)) == ([("cannot", NO_PROCESS)], b"")


def test_messages_that_come_in_pieces_are_the_same():
    said = [("a", 1, 2.5, None, b"\xff\0\n"), {"jobs": [["\udcff", {"K": "v\n"}]]}, [], "x" * 100_000]
    stream = b"".join(map(packed, said))

    heard, rest = [], b""
    for at in range(0, len(stream), 7):
        messages, rest = unpacked(rest + stream[at : at + 7])
        heard += messages

    assert (heard, rest) == (said, b"")


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


def test_texts_and_numbers_of_a_users_kind_are_sent_as_what_they_are():
    message = {"env": {Colour.RED: Colour.RED}, "argv": (Colour.RED, "\udcff"), "facts": [Level.HIGH, True, None, b"x"]}
    (heard,), _ = unpacked(packed(message))
    assert heard == {"env": {"red": "red"}, "argv": ["red", "\udcff"], "facts": [3, True, None, b"x"]}
    assert {type(heard["argv"][0]), type(heard["facts"][0]), type(heard["facts"][1])} == {str, int, bool}


def test_a_delay_is_told_once_and_its_end_too():
    delay = Delay()
    assert not delay.ends()
    assert not delay.begins_to_matter(10.0)
    assert not delay.begins_to_matter(10.0 + TELL_OF_DELAY_S / 2)
    assert delay.begins_to_matter(10.0 + TELL_OF_DELAY_S)
    assert not delay.begins_to_matter(20.0)

    assert delay.ends()
    assert not delay.ends()
    assert not delay.begins_to_matter(30.0)  # counted anew


def test_a_delay_that_is_soon_over_is_not_told_of():
    delay = Delay()
    delay.begins_to_matter(10.0)
    assert not delay.ends()
    assert not delay.begins_to_matter(10.0 + TELL_OF_DELAY_S)


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (b"#!/bin/sh\r\n", "ends as Windows ends lines"),
        (b"#!/no/such/shell\n", "the interpreter that its #! line names does not exist"),
    ],
)
def test_a_script_without_its_interpreter_is_named(tmp_path, first, expected):
    script = tmp_path / "crunch.sh"
    script.write_bytes(first)
    assert expected in why_not_started(str(script), FileNotFoundError(errno.ENOENT, "No such file"))


def test_other_reasons_name_the_file():
    assert (
        why_not_started("/x", OSError(errno.EACCES, "Permission denied")) == "/x: cannot be started: Permission denied"
    )
    assert why_no_file(OSError(errno.EACCES, os.strerror(errno.EACCES), "/out/1")) == "/out/1: Permission denied"
