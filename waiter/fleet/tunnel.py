"""Tunnels through which hosts reach a kitchen that only this machine reaches: a port of their loopback leads here.

They last as long as the process that holds them. One that breaks is opened again, after a moment that grows.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from waiter.fleet import protocol
from waiter.fleet.actions import Payload, ask
from waiter.fleet.inventory import Host
from waiter.fleet.problems import HostError, Problem, fix
from waiter.fleet.runner import FleetRunner, Report
from waiter.fleet.ssh.session import Session

LOOK_S = 0.5
"""How often is looked whether a tunnel still stands."""

LONGEST_PAUSE_S = 60.0
"""Between two tries to open a tunnel again."""

Note = Callable[[str, str], None]
"""Is told what became of a host's tunnel: the host's name, and words."""


@dataclass(frozen=True, slots=True)
class Passage:
    """Where tunnels lead: this port of each host's 127.0.0.1 to `target`, as seen from here."""

    port: int
    target: tuple[str, int]
    kitchen: str = field(repr=False)  # its address through the tunnel, which may hold a password

    def __str__(self) -> str:
        return f"127.0.0.1:{self.port} of each host leads to {self.target[0]}:{self.target[1]}"


class Tunnels:
    """All tunnels of a fleet. Close it to let go of them."""

    def __init__(self, runner: FleetRunner, payload: Payload, passage: Passage, db: str, note: Note) -> None:
        self._runner, self._payload, self._passage, self._db, self._note = runner, payload, passage, db, note
        self._is_over = threading.Event()
        self._open: dict[str, Tunnel] = {}
        self._opening = threading.Lock()

    def open(self, hosts: Sequence[Host]) -> list[Report]:
        """Reports of those hosts to which no tunnel can be opened. The others have one."""

        def act(host: Host) -> Report:
            tunnel = Tunnel(host, self._opened)
            tunnel.open()
            with self._opening:
                self._open[host.name] = tunnel
            return Report(host, "open")

        # Nobody needs a row for a tunnel that is open: the verb goes on there.
        quiet = FleetRunner(self._runner.network, self._runner.parallel, self._runner.timeout_s)
        return [report for report in quiet.each(hosts, act) if not report.is_ok]

    def hold(self, names: Sequence[str]) -> None:
        """Keep the tunnels of these hosts open until `close`, and let the others go."""
        for name, tunnel in list(self._open.items()):
            if name not in names:
                self._open.pop(name).close()
                continue
            threading.Thread(target=tunnel.keep, args=(self._is_over, self._note), daemon=True).start()
        while not self._is_over.wait(1):
            pass

    def close(self) -> None:
        self._is_over.set()
        for tunnel in self._open.values():
            tunnel.close()

    def _opened(self, host: Host) -> tuple[ExitStack, Session]:
        """A connection with the port open on the other side. Raises HostError."""
        with ExitStack() as opened:
            session = opened.enter_context(self._runner.network.session(host))
            passage = self._passage
            if not session.forward_back(passage.port, passage.target):
                self._clear(host, session)
            session.run(protocol.note_tunnel(passage.port), timeout_s=self._runner.timeout_s)
            return opened.pop_all(), session

    def _clear(self, host: Host, session: Session) -> None:
        """The port is taken: by a connection of ours that has died here and not there, or by a tunnel that works."""
        passage, timeout_s = self._passage, self._runner.timeout_s
        sent = {"kitchen": passage.kitchen, "db": self._db}
        kitchen: Any = ask(session, self._payload, ["check"], sent=sent, timeout_s=timeout_s).get("kitchen")
        if kitchen and not kitchen.get("error"):
            raise HostError(
                Problem.TUNNEL,
                f"another `fleet start --tunnel` holds port {passage.port} there, and it works",
                "go on without --tunnel's terminal here, or end the other one with Ctrl-C",
            )
        session.run(protocol.end_stale_tunnel(passage.port), timeout_s=timeout_s)
        for pause_s in (0.2, 0.5, 1.0, 2.0):
            if session.forward_back(passage.port, passage.target):
                return
            self._is_over.wait(pause_s)
        words = f"sshd there refuses port {passage.port}: it is in use, or AllowTcpForwarding is off"
        raise HostError(Problem.TUNNEL, words, fix(Problem.TUNNEL, host))


class Tunnel:
    """The tunnel of one host."""

    def __init__(self, host: Host, opened: Callable[[Host], tuple[ExitStack, Session]]) -> None:
        self._host, self._opened = host, opened
        self._connection: ExitStack | None = None
        self._session: Session | None = None

    def open(self) -> None:
        """Raises HostError."""
        self._connection, self._session = self._opened(self._host)

    def keep(self, is_over: threading.Event, note: Note) -> None:
        """Open it again whenever it has broken, until it is over."""
        tries = 0
        while not is_over.wait(LOOK_S):
            if self._session is not None and self._session.is_open:
                continue
            if not tries:
                note(self._host.name, "the tunnel broke; opening it again")
            self.close()
            try:
                self.open()
            except HostError as error:
                if not tries:
                    note(self._host.name, f"no tunnel yet ({error}); retrying")
                tries += 1
                is_over.wait(pause_s(tries))
            else:
                note(self._host.name, "the tunnel is open again")
                tries = 0
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = self._session = None


def pause_s(tries: int, rng: random.Random | None = None) -> float:
    """Before the next try: 1 s, 2 s, … up to LONGEST_PAUSE_S, of which a random half."""
    longest = min(LONGEST_PAUSE_S, 2.0 ** (tries - 1))
    return longest * (rng or random.Random()).uniform(0.5, 1.0)
