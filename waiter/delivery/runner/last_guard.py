"""The last guard: what is left when a waiter, its runner and the runner's guard are killed together (Linux).

A shell that waits for the end of a pipe, as the guard is, but no relative of theirs: init adopts it. What it has to
kill is not its child either, so it looks for the number that commands inherit, and for their sessions. Its command line
names no waiter: `pkill -9 -f waiter` is the usual way in which all three go at once.
"""

from __future__ import annotations

import os
import signal
import struct
import sys
import time
from contextlib import suppress

from waiter import processes
from waiter.delivery.runner import containment
from waiter.delivery.runner import folder as private_folder
from waiter.delivery.runner.boot import BOOT, PYTHON_FLAGS
from waiter.delivery.runner.guard import SWEEP_S, stand_guard

TYPE_CHECKING = False  # `typing` itself would be a tenth of this process's start
if TYPE_CHECKING:
    from typing import NoReturn

_SCRIPT = f"""read _ && exit 0; exec "$GUARD_PYTHON" {" ".join(PYTHON_FLAGS)} "$GUARD_BOOT" $GUARD_TABLE $GUARD_MARK"""


def stand_guards(control: int, table: int, folder: str, tag: containment.ProcessTag) -> tuple[int, list[int]]:
    """Start both; returns what is readable when the guard is dead, and where each wants to hear of a clean end."""
    watched = [stand(control, table, folder, tag.mark)] if containment.IS_LINUX else []
    runner_fd, guard_fd = stand_guard(control, table, folder, tuple(watched))
    return guard_fd, [*watched, runner_fd]


def stand(control: int, table: int, folder: str, mark: int) -> int:
    """Start it; returns where to write a line before a clean end. It acts when nobody holds that any more.

    Like the guard it holds the runner's end of the control socket: a waiter that lives hears of the death afterwards.
    """
    reads, writes = os.pipe()
    if (child := os.fork()) == 0:
        with suppress(OSError):  # without it there is one guard less
            if os.fork() == 0:
                os.close(writes)
                _wait_as_a_shell(reads, control, table, folder, mark)
        os._exit(0)
    os.waitpid(child, 0)
    os.close(reads)
    return writes


def _wait_as_a_shell(reads: int, control: int, table: int, folder: str, mark: int) -> NoReturn:
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    os.dup2(reads, 0)
    for descriptor in (control, table):
        os.set_inheritable(descriptor, True)
    said = {
        "GUARD_PYTHON": sys.executable,
        "GUARD_BOOT": BOOT.format(room="last_guard").replace("sys.argv[1]", repr(sys.argv[1])),
        "GUARD_TABLE": str(table),
        "GUARD_MARK": str(mark),
        "GUARD_FOLDER": folder,
    }
    os.execve("/bin/sh", ["/bin/sh", "-c", _SCRIPT], {**os.environ, **said})


def main() -> None:
    """`TABLE MARK`, and GUARD_FOLDER: runner and guard are dead, whether or not the guard has done its part."""
    table, tag = int(sys.argv[1]), containment.ProcessTag(int(sys.argv[2]))
    size = os.fstat(table).st_size
    leaders = set(struct.unpack(f"<{size // 8}q", os.pread(table, size, 0))[1:]) - {0}
    ends = time.monotonic() + SWEEP_S
    while time.monotonic() < ends and (victims := _commands(tag, leaders)):
        containment.send(victims, signal.SIGSTOP)
        containment.send(victims, signal.SIGKILL)
        time.sleep(0.005)
    private_folder.remove(os.environ["GUARD_FOLDER"])


def _commands(tag: containment.ProcessTag, leaders: set[int]) -> list[int]:
    """What of the runner's commands lives."""
    found = []
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        facts = processes.facts_of(pid)
        if facts and facts.state not in "ZX" and (facts.session in leaders or tag.read(pid) is not None):
            found.append(pid)
    return found
