"""The guard of a runner: its parent, and what is left when it is killed.

While all is well the guard is a shell of less than a megabyte that waits for the end of a pipe. It is a subreaper: when
the runner dies, whatever it had under it becomes the guard's, daemons with washed environments included, and the shell
turns into a Python that kills it all. Until then the guard keeps the runner's end of the control socket open, so the
waiter hears of the death only when nothing is left alive.

The kernel tells it of the waiter's death, too: usually the runner has heard of that by itself and is just leaving, but
one that is frozen hears nothing. Then the guard kills it with the rest. What is left when all three die together is the
last guard's.
"""

from __future__ import annotations

import os
import select
import signal
import struct
import sys
import time

from waiter.delivery.runner import containment
from waiter.delivery.runner import folder as private_folder
from waiter.delivery.runner.boot import BOOT, PYTHON_FLAGS

TYPE_CHECKING = False  # `typing` itself would be a tenth of this process's start
if TYPE_CHECKING:
    from typing import NoReturn

SWEEP_S = 5.0
"""How long the guard tries."""

LEAVE_S = 0.5
"""How long a runner whose waiter has died may take to kill everything by itself."""

WAITER_DIED = signal.SIGURG
"""How the kernel tells the guard. Nothing happens should it come before the shell listens."""


def stand_guard(control: int, table: int, folder: str, keeping: tuple[int, ...]) -> tuple[int, int]:
    """Fork: the parent becomes the guard, the child returns `runner_fd` and `guard_fd`.

    The guard holds `keeping` for as long as it lives. Write a line to `runner_fd` before a clean end; `guard_fd` is
    readable when the guard is dead.
    """
    containment.become_subreaper()
    guard_reads, runner_fd = os.pipe()
    guard_fd, guard_writes = os.pipe()
    if os.fork():
        _wait_as_a_shell(guard_reads, table, folder, keeping=(control, table, guard_writes, *keeping))
    os.close(guard_reads)
    os.close(guard_writes)
    os.setsid()
    return runner_fd, guard_fd


def _wait_as_a_shell(guard_reads: int, table: int, folder: str, keeping: tuple[int, ...]) -> NoReturn:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # it goes when the runner goes, no sooner
    signal.signal(WAITER_DIED, signal.SIG_DFL)  # a shell cannot trap what was ignored when it started
    containment.hear_of_parents_death(WAITER_DIED)
    os.dup2(guard_reads, 0)
    for descriptor in keeping:
        os.set_inheritable(descriptor, True)
    python = [sys.executable, *PYTHON_FLAGS, BOOT.format(room="guard"), sys.argv[1], str(table), folder]
    # The trap comes first where a signal ends `read`, and where `read` goes on after it.
    script = """trap 'exec "$@"' URG; read _ && exit 0; exec "$@\""""
    os.execv("/bin/sh", ["/bin/sh", "-c", script, "sh", *python])


def main() -> None:
    """`ROOT TABLE FOLDER`: the runner died, or the waiter did. Descriptor 0 is the read end of the runner's pipe.

    TABLE is the descriptor of the table that names the first process of each job, FOLDER the runner's private folder.
    """
    if _leaves_by_itself():
        return
    if containment.become_subreaper():
        _kill_everything(time.monotonic() + SWEEP_S)
    else:
        _kill_groups(int(sys.argv[2]))
    private_folder.remove(sys.argv[3])


def _leaves_by_itself() -> bool:
    """Whether the runner ends well within the time that it has. If it is dead already, the answer comes at once."""
    poll = select.poll()
    poll.register(0, select.POLLIN)
    return bool(poll.poll(LEAVE_S * 1000)) and bool(os.read(0, 1))


def _kill_groups(table: int) -> None:
    size = os.fstat(table).st_size
    for leader in struct.unpack(f"<{size // 8}q", os.pread(table, size, 0))[1:]:
        if leader:
            containment.send_group(leader, signal.SIGKILL)


def _kill_everything(ends: float) -> None:
    """Kill and reap until this process has no children; what they leave behind becomes its child in turn."""
    while time.monotonic() < ends:
        family = containment.trees(containment.children(os.getpid()))
        containment.send(family, signal.SIGSTOP)
        containment.send(family, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.001)
