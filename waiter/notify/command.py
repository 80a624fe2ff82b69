"""Telling somebody by a command: it sees the facts as WAITER_… variables, and as JSON on stdin."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence

from waiter.delivery.command import found
from waiter.delivery.environment import inherited
from waiter.errors import CommandUnstartable, NotificationFailed
from waiter.notify.result import WaitResult, result_facts, result_variables


def to_command(
    words: Sequence[str], *, is_json: bool = False, shown: str | None = None
) -> Callable[[WaitResult], None]:
    """Tells by running a command, its output here (with `is_json` on stderr). Raises CommandUnstartable."""
    program = found(words[0])

    def tell(result: WaitResult) -> None:
        env = inherited(os.environ) | result_variables(result)
        sys.stdout.flush()
        try:
            done = subprocess.run(
                words,
                executable=program,
                env=env,
                input=json.dumps(result_facts(result)).encode() + b"\n",
                stdout=2 if is_json else None,
                check=False,
            )
        except OSError as error:
            raise CommandUnstartable(f"{words[0]}: cannot be started: {error.strerror}") from None
        if done.returncode:
            how = f"exit code {done.returncode}" if done.returncode > 0 else f"signal {-done.returncode}"
            raise NotificationFailed(f"notification failed: {shown or shlex.join(words)} ended with {how}.")

    return tell
