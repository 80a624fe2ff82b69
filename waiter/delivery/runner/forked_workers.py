"""The runner for functions whose workers are forked: one process reads the user's program, the others begin as it is.

That process forks twice, so that a worker is nobody's child but the runner's, its subreaper's (Linux). What is forked
from it tells its number itself. Only light modules are imported, see `process`.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
from contextlib import suppress

from waiter import processes
from waiter.delivery.runner.slot import Running, Slot
from waiter.delivery.runner.workers import SERVER, Worker, WorkerRunner


class ForkingRunner(WorkerRunner):
    """The server is no slot's, and among the runner's children it counts as an orphan that is to live."""

    server: Worker | None = None

    def _hear(self, fd: int) -> bool:
        server = self.server
        if server is None or fd != server.socket.fileno():
            return super()._hear(fd)
        if not self._listen_to(server):
            self._part_with(server)
        return True

    def _alive(self) -> list[Running]:
        return [*super()._alive(), *([self.server.life] if self.server else [])]

    def _start_worker(self, slot: Slot) -> None:
        server = self.server = self.server or self._start_server(slot)
        self.serial += 1
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        life = Running("", self.serial, 0, processes.boottime(), None, None, None)
        self.workers[ours.fileno()] = Worker(slot, ours, life)
        self.poll.register(ours, select.POLLIN)
        asked = json.dumps([self.tag.number(self.serial), slot.own]).encode("ascii") + b"\n"
        self._send(server, asked, [*map(os.dup, slot.outputs()), theirs.detach()])

    def _start_server(self, slot: Slot) -> Worker:
        """A worker that forks and works not; it begins with the variables of some slot."""
        self.serial += 1
        self.tag.apply(self.serial)
        ours, theirs = socket.socketpair()
        try:
            pid = self._spawned(slot, theirs, SERVER)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        server = Worker(slot, ours, Running("", self.serial, pid, processes.boottime(), None, None, None))
        self.poll.register(ours, select.POLLIN)
        self._send(server, self.setup)
        return server

    def _part_with(self, server: Worker) -> None:
        """It is gone: if it has worked once, another one comes when there is need."""
        if not (server.is_ready or self.refusal):
            self.refusal = "the process that worker processes are forked from ended before it was ready"
        self.poll.unregister(server.socket)
        server.socket.close()
        self.server = None

    def _is_ready(self, worker: Worker) -> None:
        if worker is self.server:
            worker.is_ready = True
        else:
            super()._is_ready(worker)

    def _has_begun(self, worker: Worker, pid: int) -> None:
        """Its number, while that is nobody else's."""
        with suppress(ChildProcessError):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            worker.life.pid = pid
            self.by_pid[pid] = worker.slot
            struct.pack_into("<q", self.table, 8 * worker.slot.number, pid)

    def _cut_off(self, worker: Worker) -> None:
        if worker.life.pid:
            super()._cut_off(worker)
        else:
            self._leave(worker)  # it was not even forked
