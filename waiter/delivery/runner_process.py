"""The runner: a small process that spawns commands, waits for them, and leaves nothing of them behind.

It is the parent of every command and, on Linux, the subreaper of what they daemonise. The waiter talks to it over a
socket (JSON, a line a message, see `runner`); when the waiter's end closes, for whatever reason, the runner kills
all its descendants and goes. Should the runner itself be killed, a guard (a shell that waits for the end of a pipe)
sweeps up.

One thread, one poll. Only light modules are imported: this process should weigh no more than Python itself.

Long because it is one loop over one poll: every source of events touches the same slots and the same socket.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import select
import signal
import socket
import struct
import sys
import time
from collections import deque
from typing import Any

from waiter.delivery import containment
from waiter.delivery.outlet import Outlet
from waiter.delivery.slot import Running, Slot

FLUSH_S = 0.016
"""How long events may wait for company while there is more to do: fewer, larger messages."""

TRY_SPAWN_AGAIN_S = 0.1
MAX_UNSENT = 4 << 20
"""Bytes that may wait for a slow waiter before the commands' output is left in their pipes."""

KILL_S = 2.0
_PASSING = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETXTBSY}
_DEFAULTED = [
    signal.SIGPIPE,
    signal.SIGXFSZ,
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGCHLD,
]
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now() -> float:
    return time.clock_gettime(_CLOCK)


class RunnerProcess:
    """All that the process knows. `loop` returns when the waiter is gone and everything is dead."""

    def __init__(self, control: socket.socket, options: dict[str, Any]) -> None:
        self.control = control
        self.program: str = options["program"]
        self.env: dict[str, str] = options["env"]
        self.grace_s: float = options["grace_s"]
        self.nonce = os.urandom(8).hex()
        self.folder = _private_folder(self.nonce)
        self.deadline = 0.0
        self.queue: deque[list[Any]] = deque()
        self.serial = 0
        self.is_refusing = False
        self.spawn_again_at = 0.0
        self.received = b""
        self.unsent = b""
        self.flushed_at = 0.0
        self.outlet = Outlet(options["capture"])
        self.slots = [Slot(number, self.folder, options["capture"]) for number in range(1, options["slots"] + 1)]
        self.free = self.slots[::-1]
        self.by_pid: dict[int, Slot] = {}
        self.by_fd = {fd: (slot, stream) for slot in self.slots for stream, fd in slot.pipes()}
        self.leaders = _shared_leaders(self.folder, len(self.slots))
        self.poll = select.poll()
        self._start(options)

    def _start(self, options: dict[str, Any]) -> None:
        os.chdir(options["cwd"] or ".")
        if options["nice"]:
            os.nice(options["nice"])
        self.is_reaper = containment.become_subreaper()
        thread = f"/proc/self/task/{os.getpid()}/children"
        self.children = os.open(thread, os.O_RDONLY) if os.path.exists(thread) else None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)  # the waiter decides what these mean
        self.wake, wake_end = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(wake_end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        self.guard_reads, self.lifeline = os.pipe()
        self.guard = self._spawn_guard()
        self.control.setblocking(False)
        self.poll.register(self.control, select.POLLIN)
        self.poll.register(self.wake, select.POLLIN)
        for fd in self.by_fd:
            self.poll.register(fd, select.POLLIN)

    def _spawn_guard(self) -> int:
        # It holds our end of the control socket: the waiter sees the end of the stream only after the guard has swept.
        boot = "import sys; sys.path.insert(0, sys.argv[1]); "
        boot += "from waiter.delivery.containment import sweep_main; sweep_main()"
        sweep = [sys.executable, "-I", "-S", "-c", boot, sys.argv[1], self.nonce, self.folder]
        line = 'read _ <&3 && exit 0; exec "$@"'
        return os.posix_spawn(
            "/bin/sh",
            ["/bin/sh", "-c", line, "sh", *sweep],
            {"PATH": "/usr/bin:/bin"},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, self.guard_reads, 3),
                (os.POSIX_SPAWN_DUP2, self.control.fileno(), 4),
            ],
            setsid=True,
            setsigdef=[signal.SIGPIPE],
        )

    def loop(self) -> None:
        while True:
            for fd, _ in self.poll.poll(self._wait_ms()):
                if fd == self.wake:
                    os.read(self.wake, 4096)
                elif fd == self.control.fileno():
                    if not self._hear():
                        return
                else:
                    slot, stream = self.by_fd[fd]
                    slot.read(stream, self.outlet)
            self._reap()
            self._stop_overdue()
            self._start_queued()
            self._throttle()
            self._flush()

    def _wait_ms(self) -> float | None:
        """Until the next thing that happens by itself."""
        times = [slot.running.stop_at for slot in self.by_pid.values() if slot.running and slot.running.stop_at]
        if self.outlet.events and not self.unsent:
            times.append(self.flushed_at + FLUSH_S)
        if self.queue and self.spawn_again_at:
            times.append(self.spawn_again_at)
        return max(0.0, (min(times) - now()) * 1000 + 1) if times else None

    # The waiter's words.

    def _hear(self) -> bool:
        """Read what the waiter sends; False when it is gone."""
        try:
            received = self.control.recv(1 << 20)
        except BlockingIOError:
            received = None
        except ConnectionResetError:
            received = b""
        if received == b"":
            return False
        if received:
            *lines, self.received = (self.received + received).split(b"\n")
            for line in lines:
                self._heed(json.loads(line))
        if self.unsent:
            self._send()
        return True

    def _heed(self, message: dict[str, Any]) -> None:
        self.deadline = message.get("deadline", self.deadline)
        self.queue.extend(message.get("jobs", ()))
        if message.get("give_back"):
            self._return_queue()
        if stopped := set(message.get("stop", ())):
            self._stop(stopped)

    def _return_queue(self) -> None:
        if self.queue:
            self.outlet.events.append(("returned", [job[0] for job in self.queue]))
            self.queue.clear()

    def _stop(self, ids: set[str]) -> None:
        waiting = [job[0] for job in self.queue if job[0] in ids]
        if waiting:
            self.queue = deque(job for job in self.queue if job[0] not in ids)
            self.outlet.events.append(("returned", waiting))
        for slot in self.by_pid.values():
            if slot.running and slot.running.id in ids and slot.running.end == "exited":
                self._terminate(slot, "stopped")

    # Starting.

    def _start_queued(self) -> None:
        while self.queue and self.free:
            if self.is_refusing or now() >= self.deadline:
                self._return_queue()
                return
            if self.spawn_again_at and now() < self.spawn_again_at:
                return
            self.spawn_again_at = 0.0
            job = self.queue.popleft()
            try:
                self._spawn(job, self.free[-1])
            except OSError as error:
                self._not_spawned(job, error)

    def _spawn(self, job: list[Any], slot: Slot) -> None:
        job_id, argv, env, timeout_s, stdin, out_path, err_path = job
        self.serial += 1
        marker = f"{self.nonce}.{self.serial}"
        environment = {**self.env, **env, **slot.env, containment.MARK: marker}
        actions, opened = slot.file_actions(stdin, out_path, err_path)
        try:
            started = now()
            pid = os.posix_spawn(
                self.program, argv, environment, file_actions=actions, setsid=True, setsigmask=(), setsigdef=_DEFAULTED
            )
        finally:
            for fd in opened:
                os.close(fd)
        self.free.pop()
        stop_at = started + timeout_s if timeout_s is not None else None
        slot.running = Running(job_id, pid, marker, started, stop_at, out_path, err_path)
        self.by_pid[pid] = slot
        struct.pack_into("<i", self.leaders, 4 * (slot.number - 1), pid)

    def _not_spawned(self, job: list[Any], error: OSError) -> None:
        if error.errno in _PASSING:
            self.queue.appendleft(job)
            self.spawn_again_at = now() + TRY_SPAWN_AGAIN_S
        elif error.errno == errno.E2BIG:
            at = now()
            self.outlet.events.append(("ended", job[0], 0, at, at, None, None, "unstartable", "", None, None, None))
        else:
            self.is_refusing = True
            self.outlet.events.append(("refused", job[0], _why(self.program, error)))

    # Ending.

    def _stop_overdue(self) -> None:
        for slot in list(self.by_pid.values()):
            running = slot.running
            if running and running.stop_at is not None and now() >= running.stop_at:
                if running.end == "exited":
                    self._terminate(slot, "timeout")
                else:
                    self._signal(slot, signal.SIGKILL)
                    running.stop_at = now() + KILL_S

    def _terminate(self, slot: Slot, end: str) -> None:
        if slot.running:
            slot.running.end = end
            slot.running.stop_at = now() + self.grace_s
            self._signal(slot, signal.SIGTERM)
            self._signal(slot, signal.SIGCONT)  # a stopped process hears nothing before it continues

    def _signal(self, slot: Slot, number: int) -> None:
        if not slot.running:
            return
        pids = containment.tree(slot.running.pid)
        for orphan in self._orphans():
            if containment.mark(orphan) == slot.running.marker:
                pids.extend(containment.tree(orphan))
        containment.send(pids, number)
        containment.send_group(slot.running.pid, number)

    def _reap(self) -> None:
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            pid = ended.si_pid
            slot = self.by_pid.get(pid)
            if slot is None:
                os.waitpid(pid, 0)
                if pid == self.guard:
                    self.guard = self._spawn_guard()
                continue
            # The group goes before its leader is reaped: until then nobody else can have its number.
            containment.send_group(pid, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
            self._ended(slot, status, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))

    def _ended(self, slot: Slot, status: int, peak: int) -> None:
        running = slot.running
        if running is None:
            return
        stopped = now()
        del self.by_pid[running.pid]
        struct.pack_into("<i", self.leaders, 4 * (slot.number - 1), 0)
        if self.is_reaper:
            self._kill_orphans_of(running)
        tail = slot.finish(self.outlet)
        code = os.waitstatus_to_exitcode(status)
        exit_code, number = (None, -code) if code < 0 else (code, None)
        message, result = slot.words()
        facts = (running.id, slot.number, running.started, stopped, exit_code, number, running.end)
        self.outlet.events.append(("ended", *facts, tail.decode("latin-1"), message, result, peak))
        slot.running = None
        self.free.append(slot)

    def _orphans(self) -> list[int]:
        if self.children is None:
            return []
        listed = os.pread(self.children, 1 << 16, 0).split()
        if len(listed) <= len(self.by_pid) + 1:  # the guard and the jobs: the usual case, and this runs after every job
            return []
        known = {*self.by_pid, self.guard}
        return [pid for pid in map(int, listed) if pid not in known]

    def _kill_orphans_of(self, ended: Running) -> None:
        """Kill what the ended job daemonised.

        An orphan that nobody claims goes when its last possible parent has ended.
        """
        give_up = now() + KILL_S
        while now() < give_up:
            orphans = [pid for pid in self._orphans() if self._belongs_to(pid, ended)]
            if not orphans:
                return
            containment.send(orphans, signal.SIGSTOP)
            containment.send(orphans, signal.SIGKILL)
            for pid in orphans:
                os.waitpid(pid, 0)

    def _belongs_to(self, pid: int, ended: Running) -> bool:
        facts = containment.stat(pid)
        marker = containment.mark(pid)
        others = [slot.running for slot in self.by_pid.values() if slot.running]
        if facts is None or facts[0] == "Z" or marker == ended.marker or facts[2] == ended.pid:
            return True
        if any(marker == other.marker or facts[2] == other.pid for other in others):
            return False
        # It has washed its environment and left its session: only jobs that started before it can be its parents.
        return not any(other.started <= facts[3] + 0.02 for other in others)

    # Sending.

    def _throttle(self) -> None:
        for fd, (slot, _) in self.by_fd.items():
            is_wanted = len(self.unsent) < MAX_UNSENT and not slot.is_held_back(self.outlet)
            if is_wanted != slot.is_polled.get(fd, True):
                slot.is_polled[fd] = is_wanted
                self.poll.modify(fd, select.POLLIN if is_wanted else 0)

    def _flush(self) -> None:
        if not self.outlet.events or self.unsent:
            return
        if self.queue and now() - self.flushed_at < FLUSH_S and self.by_pid:
            return
        self.flushed_at = now()
        lines = [json.dumps(event) for event in self.outlet.events]
        self.outlet.events.clear()
        self.unsent = ("\n".join(lines) + "\n").encode("ascii")
        self._send()

    def _send(self) -> None:
        try:
            sent = self.control.send(self.unsent)
        except BlockingIOError:
            sent = 0
        except (BrokenPipeError, ConnectionResetError):
            return  # the next poll sees the end of the stream
        self.unsent = self.unsent[sent:]
        self.poll.modify(self.control, select.POLLIN | (select.POLLOUT if self.unsent else 0))

    def leave(self) -> None:
        """Kill every descendant, tell the guard that all is well, and clean up."""
        for leader in self.by_pid:
            containment.send_group(leader, signal.SIGKILL)
        ends = now() + containment.SWEEP_S
        while self.is_reaper and now() < ends:
            left = [pid for pid in containment.children(os.getpid()) if pid != self.guard]
            if not left:
                break
            containment.send(left, signal.SIGSTOP)
            containment.send(left, signal.SIGKILL)
            for pid in left:
                os.waitpid(pid, 0)
        containment.remove(self.folder)
        os.write(self.lifeline, b"bye\n")


def _why(program: str, error: OSError) -> str:
    if error.errno == errno.ENOEXEC:
        return f"{program}: not a program, and no #! line says what runs it. Start it with #!/bin/sh or the like"
    if error.errno == errno.ENOENT and os.path.exists(program):
        return f"{program}: the interpreter that its #! line names does not exist"
    return f"{program}: cannot be started: {error.strerror}"


def _private_folder(nonce: str) -> str:
    parent = os.environ.get("XDG_RUNTIME_DIR") or os.environ.get("TMPDIR") or "/tmp"
    folder = os.path.join(parent if os.access(parent, os.W_OK) else "/tmp", f"waiter-{nonce}")
    os.mkdir(folder, 0o700)
    return folder


def _shared_leaders(folder: str, slots: int) -> mmap.mmap:
    """The first process of each slot's job, four bytes each, where the guard finds them after our death."""
    with open(os.path.join(folder, "slots"), "w+b") as file:
        file.truncate(4 * slots)
        return mmap.mmap(file.fileno(), 4 * slots)


def main() -> None:
    """`ROOT FD`: the folder or zipapp of the waiter package, and the control socket.

    The first message are the options.
    """
    control = socket.socket(fileno=int(sys.argv[2]))
    control.set_inheritable(False)
    first = b""
    while not first.endswith(b"\n"):
        received = control.recv(1)
        if not received:
            return
        first += received
    runner = RunnerProcess(control, json.loads(first))
    try:
        runner.loop()
    finally:
        runner.leave()
