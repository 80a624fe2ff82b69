"""Connections to hosts. Only this room and `ssh_trouble` know Fabric and Paramiko.

Fabric reads ~/.ssh/config and walks through jump hosts; what it leaves open is closed here: host keys are checked,
every wait has a deadline, a connection that fails in passing is tried again, and each failure has a name.
"""

from __future__ import annotations

import logging
import random
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fabric
import paramiko

from waiter.errors import FleetError
from waiter.fleet import known_hosts
from waiter.fleet.inventory import Host
from waiter.fleet.ssh_config import ssh_config
from waiter.fleet.ssh_files import Files
from waiter.fleet.ssh_trouble import HostKeyRevoked, HostKeyUnknown, trouble_of
from waiter.fleet.trouble import HostError, Trouble

OnChunk = Callable[[int, bytes], None]
"""Is told each piece of output as it comes: stream (1 or 2) and bytes."""

KEEP_ALIVE_S = 15

ANSWER_S = 30.0
"""How long a host may take to begin with a command that may itself run for ever."""

LINGER_S = 0.4
"""How long after a command's end its output may still be on the way."""

_CHUNK = 1 << 16

_PASSING = {Trouble.REFUSED, Trouble.NO_ROUTE, Trouble.CONNECTION_LOST, Trouble.JUMP_HOST}
"""What may be over in a moment."""

# Paramiko logs tracebacks of what is raised anyway.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class SshOptions:
    """How to connect. Durations in seconds."""

    accept_new: bool = False  # trust and remember the key of a host that was never met
    connect_timeout_s: float = 10.0  # for each of: TCP, greeting, authentication
    attempts: int = 3


@dataclass(frozen=True, slots=True)
class Reply:
    """What a command on a host left. `exit_code` is None when a signal ended it."""

    exit_code: int | None
    stdout: bytes
    stderr: bytes


@dataclass(slots=True)
class HostKeys:
    """What known_hosts says, read once for the whole verb, and whether a stranger is let in."""

    accept_new: bool
    _read: dict[tuple[str, ...], list[known_hosts.KnownKey]] = field(default_factory=dict)

    def prepare(self, connection: fabric.Connection) -> None:
        """Let this connection accept the keys that known_hosts has for it, and no others."""
        files = _known_hosts_files(connection.ssh_config)
        known = self._read.get(files)
        if known is None:
            known = self._read[files] = known_hosts.read([Path(file) for file in files])
        name = _bracketed(connection.ssh_config.get("hostkeyalias") or connection.host, connection.port)
        keys = known_hosts.keys_of(name, known)
        # As OpenSSH does: the key of the same host on port 22 will do, but another one is no change.
        of_host = {key.key for key in known_hosts.keys_of(connection.host, known) if not key.is_revoked}
        revoked = {key.key for key in known if key.is_revoked}
        mine = connection.client.get_host_keys()
        for key in keys:
            if key.is_revoked:
                continue
            try:
                loaded = paramiko.PKey.from_type_string(key.key_type, key.key)
            except (paramiko.SSHException, ValueError):
                continue  # a type that Paramiko does not know
            mine.add(_bracketed(connection.host, connection.port), key.key_type, loaded)
        policy = _FirstMeeting(self.accept_new, of_host, revoked, Path(files[0]), name)
        connection.client.set_missing_host_key_policy(policy)


class _FirstMeeting(paramiko.MissingHostKeyPolicy):
    """What happens when known_hosts has no key for a host."""

    def __init__(self, accept_new: bool, of_host: set[bytes], revoked: set[bytes], file: Path, name: str) -> None:
        self._accept_new, self._of_host, self._revoked = accept_new, of_host, revoked
        self._file, self._name = file, name

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:  # noqa: ARG002
        shown = known_hosts.fingerprint(key.asbytes())
        if key.asbytes() in self._revoked:
            raise HostKeyRevoked(f"{key.get_name()} {shown} is revoked in {self._file}")
        if key.asbytes() in self._of_host:
            return
        if not self._accept_new:
            raise HostKeyUnknown(f"it shows {key.get_name()} {shown}")
        try:
            known_hosts.remember(self._file, self._name, key.get_name(), key.asbytes())
        except OSError as error:
            raise HostKeyUnknown(f"its key cannot be remembered: {error}") from error


def _known_hosts_files(ssh_config: Any) -> tuple[str, ...]:
    """UserKnownHostsFile first: new keys go into its first."""
    user = str(ssh_config.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2")).split()
    system = str(ssh_config.get("globalknownhostsfile", "/etc/ssh/ssh_known_hosts")).split()
    return tuple(str(Path(file).expanduser()) for file in (*user, *system))


def _bracketed(name: str, port: int) -> str:
    return name if port == 22 else f"[{name}]:{port}"


def _name_of(hop: str) -> str:
    """The host of `user@host:port`."""
    return hop.rpartition("@")[2].partition(":")[0]


class Network:
    """Opens sessions. One for a whole verb: ~/.ssh/config and known_hosts are read once. Raises FleetError."""

    def __init__(self, options: SshOptions) -> None:
        self._options = options
        self._keys = HostKeys(options.accept_new)
        try:
            self._config = fabric.Config(ssh_config=paramiko.SSHConfig.from_text(ssh_config()))
        except (paramiko.SSHException, ValueError, OSError) as error:
            raise FleetError(f"~/.ssh/config: {error}") from error

    @contextmanager
    def session(self, host: Host) -> Iterator[Session]:
        """Connect, and close whatever happens. Raises HostError."""
        if not host.address:
            raise HostError(Trouble.NO_ADDRESS, "the instance has no such address")
        connection = self._connected(host)
        try:
            yield Session(connection)
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise trouble_of(error) from error
        finally:
            _close(connection)

    def _connected(self, host: Host) -> fabric.Connection:
        """What fails in passing is tried again, after a moment that differs from host to host."""
        for attempt in range(1, self._options.attempts + 1):
            connection = self._connection(host)
            try:
                self._open(connection)
                return connection
            except (HostError, paramiko.SSHException, OSError, EOFError) as error:
                _close(connection)
                trouble = error if isinstance(error, HostError) else trouble_of(error)
                if attempt == self._options.attempts or trouble.trouble not in _PASSING:
                    raise trouble from error
            time.sleep(random.uniform(0.1, 0.5 * 2**attempt))
        raise AssertionError("unreachable")

    def _connection(self, host: Host) -> fabric.Connection:
        timeout = self._options.connect_timeout_s
        return fabric.Connection(
            host.address,
            user=host.user,
            port=host.port,
            gateway=self._gateway(host.address),
            config=self._config.clone(),  # a connection writes into its own: threads must not share one
            connect_timeout=max(1, round(timeout)),
            connect_kwargs={
                "banner_timeout": timeout,
                "auth_timeout": timeout,
                "channel_timeout": timeout,
            },
        )

    def _gateway(self, name: str, behind: frozenset[str] = frozenset()) -> fabric.Connection | bool | None:
        """The last hop of a name's ProxyJump, False for `none`; None leaves it to ProxyCommand.

        `Host *` with a ProxyJump means the jump host too: a host is not its own way, nor that of one before it.
        """
        jump = str(self._config.base_ssh_config.lookup(name).get("proxyjump", ""))
        behind |= {name}
        hops = [hop for hop in jump.split(",") if hop not in ("", "none") and _name_of(hop) not in behind]
        gateway: fabric.Connection | bool | None = False if jump else None
        for number, hop in enumerate(hops):
            way = gateway if number else self._gateway(_name_of(hop), behind)
            gateway = fabric.Connection(hop, gateway=way, config=self._config.clone())
        return gateway

    def _open(self, connection: fabric.Connection) -> None:
        self._keys.prepare(connection)
        # As OpenSSH does: what an IdentityFile names may be missing.
        keys = connection.connect_kwargs.get("key_filename", [])
        connection.connect_kwargs["key_filename"] = [key for key in keys if Path(key).expanduser().exists()]
        if str(connection.ssh_config.get("identitiesonly", "no")).lower() == "yes":
            connection.connect_kwargs.update(allow_agent=False, look_for_keys=False)
        gateway = connection.gateway
        if isinstance(gateway, fabric.Connection):
            gateway.connect_timeout = connection.connect_timeout
            gateway.connect_kwargs.update(
                banner_timeout=self._options.connect_timeout_s, auth_timeout=self._options.connect_timeout_s
            )
            try:
                self._open(gateway)
            except (paramiko.SSHException, OSError, EOFError) as error:
                trouble = trouble_of(error)
                words = f"{gateway.host}: {trouble.trouble}: {trouble.detail}"
                raise HostError(Trouble.JUMP_HOST, words, f"ssh {gateway.host} true") from error
        connection.open()
        transport = connection.client.get_transport()
        transport.set_keepalive(KEEP_ALIVE_S)
        if hasattr(socket, "TCP_USER_TIMEOUT") and isinstance(transport.sock, socket.socket):
            transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000)


def _close(connection: fabric.Connection) -> None:
    gateway = connection.gateway
    connection.client.close()
    if isinstance(gateway, fabric.Connection):
        _close(gateway)


class Session:
    """One open connection."""

    def __init__(self, connection: fabric.Connection) -> None:
        self._client: paramiko.SSHClient = connection.client

    def run(
        self,
        command: str,
        *,
        stdin: bytes = b"",
        timeout_s: float | None,
        on_chunk: OnChunk | None = None,
        is_stdin_open: bool = False,
    ) -> Reply:
        """Run a command line in the user's login shell, and wait for it. None waits for ever.

        `is_stdin_open`: its stdin ends with the connection only. What the command leaves in the background is not
        waited for, even if it holds on to stdout. Where `on_chunk` hears all output, the reply has its end only.
        Raises HostError with TIMEOUT or CONNECTION_LOST.
        """
        transport = self._transport()
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with _answering(transport, timeout_s or ANSWER_S):
            channel = transport.open_session()
            channel.exec_command(command)
        with channel:
            channel.settimeout(timeout_s)
            try:
                channel.sendall(stdin)
            except OSError:
                if not channel.closed:
                    raise
                # It ended without reading: a login shell that exits at once. What it said tells why.
            if not is_stdin_open:
                channel.shutdown_write()
            output = {1: bytearray(), 2: bytearray()}
            for stream, chunk in _chunks(channel, deadline):
                output[stream] += chunk
                if on_chunk:
                    on_chunk(stream, chunk)
                    del output[stream][:-_CHUNK]  # a flood, or days of `logs -f`, cost no memory
            exit_code = _exit_code(channel, deadline)
        return Reply(exit_code, bytes(output[1]), bytes(output[2]))

    @contextmanager
    def files(self, timeout_s: float) -> Iterator[Files]:
        """SFTP on this connection; paths are relative to the user's home. Raises HostError without it.

        `timeout_s` bounds each wait for the host, not the whole: a large file takes as long as it takes.
        """
        try:
            with _answering(self._transport(), timeout_s):
                sftp = Files.over(self._transport())
        except (paramiko.SSHException, EOFError) as error:
            if (trouble := trouble_of(error)).trouble is Trouble.TIMEOUT:
                raise trouble from error
            raise HostError(
                Trouble.UPLOAD, "the host's sshd offers no SFTP", "add to its sshd_config: Subsystem sftp internal-sftp"
            ) from error
        except paramiko.SFTPError as error:
            raise HostError(Trouble.NO_REPLY, "something else than SFTP answers there") from error
        with sftp:
            if (channel := sftp.get_channel()) is not None:
                channel.settimeout(timeout_s)
            yield sftp

    def _transport(self) -> paramiko.Transport:
        transport = self._client.get_transport()
        if transport is None:
            raise HostError(Trouble.CONNECTION_LOST)
        return transport


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
            raise HostError(Trouble.TIMEOUT, "it let us in and says nothing") from error
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
                raise HostError(Trouble.TIMEOUT, *_LATE)
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
        raise HostError(Trouble.TIMEOUT, *_LATE)
    if channel.exit_status >= 0:
        return channel.exit_status
    if not channel.get_transport().is_active():
        raise HostError(Trouble.CONNECTION_LOST, "while the command ran")
    return None
