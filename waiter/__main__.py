"""`python -m waiter` and the `waiter` command: the whole life of a process, from the first import to the end."""

import atexit
import gc
import os
import sys
import threading

gc.set_threshold(100_000)  # what is imported stays: looking through it for waste takes 6 ms of each start

from waiter.late_modules import make_late  # noqa: E402 - see the line above

make_late()

from waiter.delivery.runner import child  # noqa: E402 - as above


def main() -> None:
    """Run the command line, and end this process with its exit code."""
    if child.will_deliver(sys.argv[1:]):
        child.start_early()
    from waiter.cli import run, stdio  # while the runner starts
    from waiter.kitchen import has_lasting_threads

    code = run(sys.argv[1:])
    child.discard()
    if not has_lasting_threads():  # else what the driver has registered waits half a second for its threads
        if _is_waited_for():
            sys.exit(code)
        atexit._run_exitfuncs()
        stdio.flush_or_give_up()
    os._exit(code)  # Python's own end would take all modules apart: 18 ms


def _is_waited_for() -> bool:
    """Whether a user's function has left a thread that is to end first, as in any program."""
    return any(not each.daemon for each in threading.enumerate() if each is not threading.main_thread())


if __name__ == "__main__":
    main()
