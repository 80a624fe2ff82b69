"""Where the runner's process begins and ends: its guards stand before it, and are told when all is well.

Only light modules of the standard library are imported, see `process`.
"""

from __future__ import annotations

import mmap
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from waiter.delivery.runner import containment, last_guard
from waiter.delivery.runner import folder as private_folder
from waiter.delivery.runner.connection import decline, first_message
from waiter.delivery.runner.process import RunnerProcess

TYPE_CHECKING = False  # `typing` itself would be a tenth of this process's start
if TYPE_CHECKING:
    from typing import Any


def _runner(options: dict[str, Any]) -> Callable[..., RunnerProcess]:
    if options["workers"] is None:
        return partial(RunnerProcess, options=options)
    if options["workers"]["is_forked"]:
        from waiter.delivery.runner.forked_workers import ForkingRunner  # most waiters have none

        return partial(ForkingRunner, options=options)
    from waiter.delivery.runner.workers import WorkerRunner

    return partial(WorkerRunner, options=options)


def main() -> None:
    """`ROOT CONTROL TABLE`: the folder or zipapp of the waiter package, and two descriptors.

    The first message on the control socket are the options; the table has its size when they come. It holds the serial
    of the job that was started last, and for each slot the pid of its job's first process, or 0: eight bytes each. It
    outlives this process.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # whoever started the waiter may have blocked SIGCHLD
    control, table_fd = int(sys.argv[2]), int(sys.argv[3])
    try:
        folder = private_folder.make()
        tag = containment.ProcessTag()
        lock = private_folder.keep(folder)
        os.set_inheritable(lock, True)  # the guards have it, too: the folder is locked until all is cleaned up
        guard_fd, watched = last_guard.stand_guards(control, table_fd, folder, tag)
        os.set_inheritable(control, False)
        os.set_inheritable(table_fd, False)
        os.set_inheritable(lock, False)
        options, rest = first_message(control)
        runner = options and _runner(options)(control, mmap.mmap(table_fd, 0), folder, guard_fd, tag)
    except OSError as error:
        decline(control, error)
        return
    if runner:
        try:
            runner.begin(rest)
            runner.loop()
        finally:
            runner.kill_everything()
    os.close(lock)
    private_folder.remove(folder)
    for pipe in watched:
        with suppress(BrokenPipeError):  # that guard was killed
            os.write(pipe, b"bye\n")
    os._exit(0)  # Python's own end would take apart what goes with the process
