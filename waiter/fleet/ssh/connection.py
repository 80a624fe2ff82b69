"""Connections to hosts. Only this package knows Fabric and Paramiko.

The configuration is OpenSSH's (`config`). What Fabric leaves open is closed here: host keys are checked, every wait
has a deadline, through jump hosts too, a connection that fails in passing is tried again, and each failure has a name.
"""

from __future__ import annotations

import logging
import random
import shlex
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import fabric
import paramiko

from waiter.errors import FleetError
from waiter.fleet.inventory import Host
from waiter.fleet.problems import HostError, Problem
from waiter.fleet.ssh.auth import Keys
from waiter.fleet.ssh.config import HostConfig, SshConfig, parsed_hop
from waiter.fleet.ssh.errors import auth_error, host_error_of
from waiter.fleet.ssh.host_keys import HostKeys
from waiter.fleet.ssh.proxy import Proxy
from waiter.fleet.ssh.session import KEEP_ALIVE_S, Session

_PASSING = {Problem.REFUSED, Problem.NO_ROUTE, Problem.CONNECTION_LOST, Problem.JUMP_HOST}
"""What may be over in a moment."""

# Paramiko logs tracebacks of what is raised anyway.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class SshOptions:
    """How to connect. Durations in seconds."""

    accept_new: bool = False  # trust and remember the key of a host that was never met
    connect_timeout_s: float = 10.0  # for each of: TCP, greeting, authentication
    attempts: int = 3


class Network:
    """Opens sessions. One for a whole verb: ~/.ssh/config and known_hosts are read once."""

    def __init__(self, options: SshOptions) -> None:
        self._options = options
        self._keys = HostKeys(options.accept_new)
        self._config = SshConfig()

    def hasty(self) -> Network:
        """The same, for who comes again anyway: one try."""
        return Network(replace(self._options, attempts=1))

    @contextmanager
    def session(self, host: Host) -> Iterator[Session]:
        """Connect, and close whatever happens. Raises HostError."""
        if not host.address:
            raise HostError(Problem.NO_ADDRESS, "the instance has no such address")
        way = self._connected(host)
        session = Session(way.connection.client)
        try:
            yield session
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise host_error_of(error) from error
        finally:
            session.close()
            way.close()

    def _connected(self, host: Host) -> Way:
        """What fails in passing is tried again, after a moment that differs from host to host."""
        try:
            config = self._config.of(host.address, host.user, host.port)
        except FleetError as error:
            raise HostError(Problem.CONFIG, str(error)) from error
        for attempt in range(1, self._options.attempts + 1):
            way = self._way(config)
            try:
                way.open(self._keys, host.instance_id)
                return way
            except (HostError, paramiko.SSHException, OSError, EOFError) as error:
                failure = error if isinstance(error, HostError) else way.host_error_of(error)
                way.close()
                if attempt == self._options.attempts or failure.problem not in _PASSING or failure.is_lasting:
                    raise failure from error
            time.sleep(random.uniform(0.1, 0.5 * 2**attempt))
        raise AssertionError("unreachable")

    def _way(self, config: HostConfig, behind: frozenset[str] = frozenset()) -> Way:
        """The host, behind the hops of its ProxyJump.

        `Host *` with a ProxyJump means the jump host too: a host is not its own way, nor that of one before it.
        """
        behind |= {config.name, config.host}
        gateway: Way | None = None
        for hop in config.proxy_jump:
            user, name, port = parsed_hop(hop)
            if name in behind:
                continue
            of_hop = self._config.of(name, user, port)
            gateway = (
                Way(replace(of_hop, proxy_command=None), self._options, gateway)
                if gateway
                else self._way(of_hop, behind)
            )
        return Way(config, self._options, gateway)


class Way:
    """A connection to one host, and to those that it goes through."""

    def __init__(self, config: HostConfig, options: SshOptions, gateway: Way | None) -> None:
        self._config, self._options, self._gateway = config, options, gateway
        self._auth = Keys(config)
        self._proxy: Proxy | None = None
        timeout = options.connect_timeout_s
        self.connection = fabric.Connection(
            config.host,
            user=config.user,
            port=config.port,
            gateway=False,
            config=fabric.Config(ssh_config=paramiko.SSHConfig()),  # a connection writes into it: none shares one
            connect_timeout=max(1, round(timeout)),
            connect_kwargs={
                "banner_timeout": timeout,
                "auth_timeout": timeout,
                "channel_timeout": timeout,
                "auth_strategy": self._auth,
            },
        )

    def open(self, keys: HostKeys, instance_id: str | None = None) -> None:
        """Raises HostError, and what Paramiko and sockets raise."""
        if self._gateway is not None:
            try:
                self._gateway.open(keys)
            except (paramiko.SSHException, OSError, EOFError, HostError) as error:
                raise self._gateway.as_jump_host(error) from error
        known = keys.of(self._config, instance_id)
        connection = self.connection
        connection.client.set_missing_host_key_policy(known)
        connection.connect_kwargs["transport_factory"] = known.transport
        if (sock := self._sock()) is not None:
            connection.connect_kwargs["sock"] = sock
        connection.open()
        transport = connection.client.get_transport()
        transport.set_keepalive(KEEP_ALIVE_S)
        transport.channel_timeout = self._options.connect_timeout_s  # what it opens to hosts behind it
        is_tcp = isinstance(transport.sock, socket.socket) and transport.sock.family != socket.AF_UNIX
        if hasattr(socket, "TCP_USER_TIMEOUT") and is_tcp:
            transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000)

    def _sock(self) -> Any:
        """What the connection goes through; None is the network itself."""
        if self._gateway is not None:
            transport = self._gateway.connection.client.get_transport()
            return transport.open_channel(
                "direct-tcpip", (self._config.host, self._config.port), ("", 0), timeout=self._options.connect_timeout_s
            )
        if self._config.proxy_command:
            self._proxy = Proxy(self._config.proxy_command)
            return self._proxy.sock
        return None

    def host_error_of(self, error: Exception) -> HostError:
        """The name of what went wrong on the way to this host."""
        if self._proxy is not None:
            remedy = f"run it by hand: {self._config.proxy_command}"
            if (said := self._proxy.last_words()) is not None:
                return HostError(
                    Problem.JUMP_HOST, f"ProxyCommand: {said}", remedy, is_lasting=not self._proxy.is_passing
                )
            if host_error_of(error).problem is Problem.TIMEOUT:  # whatever it waits for, it is no port of the host's
                said = self._proxy.said() or "it neither connects nor ends"
                return HostError(Problem.TIMEOUT, f"ProxyCommand: {said}", remedy)
        if self._gateway is not None and isinstance(error, paramiko.ChannelException):
            gate = self._gateway.connection.host
            return HostError(Problem.NO_ROUTE, f"the jump host {gate} cannot reach it: {error}", f"ssh {gate} true")
        return auth_error(self._auth, error) or host_error_of(error)

    def as_jump_host(self, error: Exception) -> HostError:
        """The same, said of the host behind this one."""
        why = error if isinstance(error, HostError) else self.host_error_of(error)
        if why.problem is Problem.JUMP_HOST:
            return why
        name = self._config.name
        return HostError(Problem.JUMP_HOST, f"{name}: {why.problem}: {why.detail}", f"ssh {shlex.quote(name)} true")

    def close(self) -> None:
        self.connection.client.close()
        if self._proxy is not None:
            self._proxy.close()
        if self._gateway is not None:
            self._gateway.close()
