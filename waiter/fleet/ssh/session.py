"""What is done on one open connection: commands and their output, and files. Every wait has a deadline."""

from __future__ import annotations

import selectors
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass

import paramiko

from waiter.fleet.problems import HostError, Problem
from waiter.fleet.ssh.errors import host_error_of
from waiter.fleet.ssh.files import Files
from waiter.fleet.ssh.forwarding import forward_back

OnChunk = Callable[[int, bytes], None]
"""Is told each piece of output as it comes: stream (1 or 2) and bytes."""

KEEP_ALIVE_S = 15

ANSWER_S = 30.0
"""How long a host may take to begin with a command that may itself run for ever."""

SESSION_WAITS_S = (0.2, 0.5, 1.0)
"""How long to wait before a session that was refused is asked for again."""

LINGER_S = 0.4
"""How long after a command's end its output may still be on the way."""

MOST_OUTPUT = 8 << 20
"""More output of a command, where all of it is to be kept, ends it."""

_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command on a host left. `exit_code` is None when a signal ended it."""

    exit_code: int | None
    stdout: bytes
    stderr: bytes


class Session:
    """One open connection."""

    def __init__(self, client: paramiko.SSHClient) -> None:
        self._client = client
        self._watched = ExitStack()

    def run(
        self,
        command: str,
        *,
        stdin: bytes = b"",
        timeout_s: float | None,
        on_chunk: OnChunk | None = None,
        is_stdin_open: bool = False,
        most_bytes: int = MOST_OUTPUT,
    ) -> CommandResult:
        """Run a command line in the user's login shell, and wait for it. None waits for ever.

        `is_stdin_open`: its stdin ends with the connection only. What the command leaves in the background is not
        waited for, even if it holds on to stdout. Where `on_chunk` hears all output, the reply has its end only.
        Raises HostError with TIMEOUT or CONNECTION_LOST, and when it prints more than `most_bytes` that are to be kept.
        """
        transport = self._transport()
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with _answering(transport, timeout_s or ANSWER_S):
            channel = _session(transport)
            channel.exec_command(command)
        with channel, _alive(transport) if timeout_s is None else nullcontext():
            channel.settimeout(timeout_s)
            try:
                channel.sendall(stdin)
            except OSError:
                if not channel.closed:
                    raise
                # It ended without reading: a login shell that exits at once. What it said tells why.
            if not is_stdin_open:
                channel.shutdown_write()
            output = _heard(_chunks(channel, deadline), on_chunk, most_bytes)
            exit_code = _exit_code(channel, deadline)
        return CommandResult(exit_code, bytes(output[1]), bytes(output[2]))

    @contextmanager
    def files(self, timeout_s: float) -> Iterator[Files]:
        """SFTP on this connection; paths are relative to the user's home. Raises HostError without it.

        `timeout_s` bounds each wait for the host, not the whole: a large file takes as long as it takes.
        """
        try:
            with _answering(self._transport(), timeout_s):
                sftp = Files.over(self._transport())
        except (paramiko.SSHException, EOFError) as error:
            if (failure := host_error_of(error)).problem is Problem.TIMEOUT:
                raise failure from error
            raise HostError(
                Problem.UPLOAD, "the host's sshd offers no SFTP", "add to its sshd_config: Subsystem sftp internal-sftp"
            ) from error
        except paramiko.SFTPError as error:
            raise HostError(Problem.NO_REPLY, "something else than SFTP answers there") from error
        with sftp:
            if (channel := sftp.get_channel()) is not None:
                channel.settimeout(timeout_s)
            yield sftp

    def forward_back(self, port: int, target: tuple[str, int]) -> bool:
        """Let the host's 127.0.0.1:port lead to `target` here. False: it refuses, or the port is taken there."""
        transport = self._transport()
        try:
            with _answering(transport, ANSWER_S):
                forward_back(transport, port, target)
        except paramiko.SSHException:
            if not transport.is_active():
                raise
            return False
        self._watched.enter_context(_alive(transport))
        return True

    def close(self) -> None:
        """Watch over it no longer."""
        self._watched.close()

    @property
    def is_open(self) -> bool:
        """Whether the connection still stands, as far as this side knows."""
        transport = self._client.get_transport()
        return transport is not None and transport.is_active()

    def _transport(self) -> paramiko.Transport:
        transport = self._client.get_transport()
        if transport is None:
            raise HostError(Problem.CONNECTION_LOST)
        return transport


def _heard(chunks: Iterator[tuple[int, bytes]], on_chunk: OnChunk | None, most_bytes: int) -> dict[int, bytearray]:
    """Both streams: all of them, or their ends where somebody else hears them. Raises HostError when they never end."""
    output = {1: bytearray(), 2: bytearray()}
    for stream, chunk in chunks:
        output[stream] += chunk
        if on_chunk:
            on_chunk(stream, chunk)
            del output[stream][:-_CHUNK]  # a flood, or days of `logs -f`, cost no memory
        elif len(output[stream]) > most_bytes:
            raise HostError(Problem.NO_REPLY, f"it prints without end: more than {most_bytes >> 20} MiB")
    return output


def _session(transport: paramiko.Transport) -> paramiko.Channel:
    """A new session. A host that just now has too many (MaxSessions) is asked again in a moment."""
    for wait_s in SESSION_WAITS_S:
        with suppress(paramiko.ChannelException):
            return transport.open_session()
        time.sleep(wait_s)
    return transport.open_session()


@contextmanager
def _alive(transport: paramiko.Transport) -> Iterator[None]:
    """Hang up on a host that is gone, however it is reached: a jump host in between keeps its own connection up."""
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.wait(KEEP_ALIVE_S):
            try:
                with _answering(transport, ANSWER_S):
                    transport.global_request("keepalive@openssh.com", wait=True)
            except (HostError, paramiko.SSHException, OSError, EOFError):
                return

    threading.Thread(target=ask, daemon=True).start()
    try:
        yield
    finally:
        is_over.set()


@contextmanager
def _answering(transport: paramiko.Transport, within_s: float) -> Iterator[None]:
    """Hang up on a host that says nothing more: Paramiko waits for some of its answers for ever."""
    is_late = threading.Event()

    def hang_up() -> None:
        is_late.set()
        transport.close()

    timer = threading.Timer(within_s, hang_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (paramiko.SSHException, OSError, EOFError) as error:
        if is_late.is_set():
            raise HostError(Problem.TIMEOUT, "connected, but the server stopped responding") from error
        raise
    finally:
        timer.cancel()


def _chunks(channel: paramiko.Channel, deadline: float | None) -> Iterator[tuple[int, bytes]]:
    """Both streams until they end, or the command has ended and nothing more comes."""
    with selectors.PollSelector() as selector:
        selector.register(channel.fileno(), selectors.EVENT_READ)
        quiet_since: float | None = None
        while True:
            if deadline is not None and time.monotonic() > deadline:
                raise HostError(Problem.TIMEOUT, *_LATE)
            is_over = channel.eof_received or channel.closed
            if channel.recv_ready():
                yield 1, channel.recv(_CHUNK)
            elif channel.recv_stderr_ready():
                yield 2, channel.recv_stderr(_CHUNK)
            elif is_over:
                return
            elif not channel.exit_status_ready():
                selector.select(0.2)  # the end of a command wakes nobody up
                continue
            elif quiet_since is None:
                quiet_since = time.monotonic()
                continue
            elif time.monotonic() - quiet_since > LINGER_S:
                return
            else:
                selector.select(LINGER_S / 4)
                continue
            quiet_since = None


_LATE = ("the command did not end in time", "--host-timeout SECONDS")


def _exit_code(channel: paramiko.Channel, deadline: float | None) -> int | None:
    left = 30.0 if deadline is None else max(0.5, deadline - time.monotonic())
    if not channel.status_event.wait(left):
        raise HostError(Problem.TIMEOUT, *_LATE)
    if channel.exit_status >= 0:
        return channel.exit_status
    if not channel.get_transport().is_active():
        raise HostError(Problem.CONNECTION_LOST, "while the command ran")
    return None
