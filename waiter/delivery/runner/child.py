"""The runner as the waiter's child process: how its end is waited for, and the memory that outlives it."""

from __future__ import annotations

import os
import select
import subprocess


def has_ended_within(process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    if hasattr(os, "pidfd_open"):
        descriptor = os.pidfd_open(process.pid)
        try:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            return bool(poll.poll(timeout_s * 1000))
        finally:
            os.close(descriptor)
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def shared_file(size: int) -> int:
    """A descriptor of a file without a name, which outlives the runner that writes to it."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("waiter-runner")
    else:
        import tempfile  # on macOS

        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor
