"""A slot of the runner: the pipes and files that one command after the other uses."""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Mapping

from waiter.delivery.runner import folder as private_folder
from waiter.delivery.runner.descriptors import OpenFiles
from waiter.delivery.runner.event_buffer import GROUP_BYTES, EventBuffer
from waiter.delivery.runner.output_files import Paths, open_files, take_back
from waiter.delivery.runner.slot_mark import with_slot as with_slot
from waiter.delivery.runner.spawn import Streams
from waiter.light_dataclass import dataclass
from waiter.limits import MESSAGE_BYTES, RESULT_BYTES, TAIL_BYTES

TYPE_CHECKING = False  # `typing` itself would be a tenth of this process's start
if TYPE_CHECKING:
    from typing import Any

_CHUNK = 1 << 16
_PIPE_BYTES = 1 << 20
"""The most that a pipe holds, /proc/sys/fs/pipe-max-size: what an ended job can have left in it."""

_NOTHING = None, 0
"""What a job has left that has not written there: see `_taken`."""


@dataclass(slots=True)
class Running:
    """The job in a slot."""

    id: str
    serial: int
    pid: int
    started: float
    stop_at: float | None  # timeout, or the end of the grace period
    out_path: str | None
    err_path: str | None
    end: str = "exited"  # see runner.End; anything else means that TERM was sent
    status: int = 0  # of its first process, once that has ended
    peak: int = 0
    has_left_none: bool = False  # of its processes, when the first one ended
    memory: int | None = None  # bytes that its processes may have
    group: str | None = None  # where the kernel sees to that

    def is_watched(self) -> bool:
        """Whether the runner has to see to its limit of memory."""
        return self.memory is not None and self.group is None and self.end == "exited"

    def had_too_much(self) -> bool:
        """Whether it failed with more memory than it may have, taken and gone between two looks."""
        return self.is_watched() and self.status != 0 and self.peak > (self.memory or 0)


class Slot:
    """Pipes are made once and used again:

    Their write ends stay open here, so a job's end is known by its death alone.
    """

    def __init__(
        self, number: int, folder: str, capture: str, env: Mapping[str, str], null: int, files: OpenFiles
    ) -> None:
        """`null` is /dev/null, open for reading and writing."""
        self.number = number
        self.running: Running | None = None
        self._folder = folder
        self._result = os.path.join(folder, f"result-{number}")
        self._message = os.path.join(folder, f"error-{number}")
        self._stdin = os.path.join(folder, f"stdin-{number}")
        own = {"WAITER_SLOT": str(number), "WAITER_RESULT": self._result, "WAITER_ERROR": self._message}
        self.own = own
        self._env = {**env, **own}
        self._named: tuple[str, ...] = ()
        self._unnamed = _lines(self._env)
        self._null = null
        self._is_out_of_the_way = files.is_raised
        self._reads: dict[int, int] = {}
        self._writes: dict[int, int] = {}
        for stream in _pipes(capture):
            self._reads[stream], self._writes[stream] = map(files.out_of_the_way, os.pipe())
            os.set_blocking(self._reads[stream], False)
        if self._writes:
            self._writes.setdefault(2, self._writes[1])
        self._usual_streams = (null, *self.outputs())
        self._streams = {descriptor: stream for stream, descriptor in self._reads.items()}
        self._unread = select.poll()
        for descriptor in self._streams:
            self._unread.register(descriptor, select.POLLIN)
        self._has_written = False  # the job in it, as far as that was read
        self._tail = b""
        self._kept = {1: bytearray(), 2: bytearray()}
        self._partial = {1: b"", 2: b""}

    def pipes(self) -> list[tuple[int, int]]:
        """(stream, descriptor) of what is to be read."""
        return list(self._reads.items())

    def outputs(self) -> tuple[int, int]:
        """What stdout and stderr of a process of this slot are."""
        return self._writes.get(1, self._null), self._writes.get(2, self._null)

    def environment(self, env: Mapping[str, str]) -> list[bytes]:
        """All variables of a job that has these of its own, `NAME=value`."""
        if tuple(env) != self._named:  # else they are the same as those of the job before
            self._named = tuple(env)
            self._unnamed = _lines({name: value for name, value in self._env.items() if name not in env})
        return self._unnamed + _lines(env)

    def streams(self, stdin: bytes | None, paths: Paths, spare: str | None) -> tuple[Streams, list[int], Paths]:
        """What is 0, 1 and 2 of a job, the descriptors to close here once it has begun, and which files take output.

        Raises OSError.
        """
        is_usual = stdin is None and (self._writes or paths == (None, None))
        if is_usual and not self._is_out_of_the_way:
            return self._usual_streams, [], (None, None)
        writes = self._writes
        opened: list[int] = []
        if not writes:
            writes, paths = open_files(paths, spare)
            opened.extend(writes.values())
        reads = self._null
        try:
            if stdin is not None:
                reads = self._given(stdin)
                opened.append(reads)
            if self._writes and self._is_out_of_the_way:
                writes = {stream: os.dup(descriptor) for stream, descriptor in self._writes.items()}
                opened.extend(writes.values())
        except OSError:
            for descriptor in opened:
                os.close(descriptor)
            take_back(paths, spare)
            raise
        return (reads, writes.get(1, self._null), writes.get(2, self._null)), opened, paths

    def _given(self, stdin: bytes) -> int:
        os.makedirs(self._folder, 0o700, exist_ok=True)  # a command may have deleted it
        _clear(self._stdin)  # or put something else in its place
        with open(self._stdin, "xb") as file:
            file.write(stdin)
        return os.open(self._stdin, os.O_RDONLY)

    def read(self, stream: int, buffer: EventBuffer) -> int:
        """Take what is in the pipe; how many bytes that was."""
        try:
            chunk = os.read(self._reads[stream], _CHUNK)
        except BlockingIOError:
            return 0
        if self.running is None:
            return len(chunk)  # of somebody who got away: no job's
        self._has_written = True
        self._tail = (self._tail + chunk)[-TAIL_BYTES:]
        if buffer.capture == "stream" or buffer.live is self:
            buffer.output(self.running.id, stream, chunk)
        elif buffer.capture == "line":
            self._lines(stream, chunk, buffer)
        elif buffer.capture == "group":
            self._keep(stream, chunk, buffer)
        return len(chunk)

    def _lines(self, stream: int, chunk: bytes, buffer: EventBuffer) -> None:
        whole, newline, rest = (self._partial[stream] + chunk).rpartition(b"\n")
        if len(rest) > GROUP_BYTES:
            whole, newline, rest = whole + newline + rest, b"", b""
        self._partial[stream] = rest
        if self.running:
            buffer.output(self.running.id, stream, whole + newline)

    def _keep(self, stream: int, chunk: bytes, buffer: EventBuffer) -> None:
        self._kept[stream] += chunk
        if buffer.live is None and self._keeps_too_much():
            buffer.live = self
            self._let_go(buffer)

    def _keeps_too_much(self) -> bool:
        return len(self._kept[1]) + len(self._kept[2]) > GROUP_BYTES

    def is_held_back(self, buffer: EventBuffer) -> bool:
        """More than is kept back, and another job is live: its command waits in its pipe."""
        return buffer.live not in (None, self) and self.running is not None and self._keeps_too_much()

    def _let_go(self, buffer: EventBuffer) -> None:
        for stream, kept in self._kept.items():
            if kept and self.running:
                buffer.output(self.running.id, stream, kept)
                self._kept[stream] = bytearray()

    def finish(self, buffer: EventBuffer) -> bytes:
        """Read what is left of the ended job's output, pass it on, and return its tail."""
        if not self._reads:
            return self._tail_of_files()
        left = _PIPE_BYTES * len(self._reads)  # somebody else may still write: whoever got away, or was handed the pipe
        while left > 0 and (unread := self._unread.poll(0)):
            left -= sum(self.read(self._streams[descriptor], buffer) for descriptor, _ in unread)
        if not self._has_written:
            return b""
        self._has_written = False
        if self.running:
            self._let_go(buffer)
            for stream, rest in self._partial.items():
                buffer.output(self.running.id, stream, rest)
        if buffer.live is self:
            buffer.live = None
        self._partial = {1: b"", 2: b""}
        tail, self._tail = self._tail, b""
        return tail

    def _tail_of_files(self) -> bytes:
        if self.running is None:
            return b""
        return (_end(self.running.out_path) + _end(self.running.err_path))[-TAIL_BYTES:]

    def words(self) -> tuple[str | None, str | None, int | None]:
        """What the job left in $WAITER_ERROR and $WAITER_RESULT, which are gone then, and how long a result was of
        which there is more than is taken."""
        # The usual case is that there is neither.
        message, _ = _taken(self._message, MESSAGE_BYTES) if os.access(self._message, os.F_OK) else _NOTHING
        result, size = _taken(self._result, RESULT_BYTES) if os.access(self._result, os.F_OK) else _NOTHING
        return message, result, size if size > RESULT_BYTES else None


def files_per_slot(capture: str) -> int:
    """How many descriptors a slot keeps open."""
    return 2 * len(_pipes(capture))


def _pipes(capture: str) -> tuple[int, ...]:
    """The streams that have a pipe of their own. Of what nobody sees, the tail alone is kept: one pipe does."""
    return {"files": (), "discard": (1,)}.get(capture, (1, 2))


def _lines(env: Mapping[str, str]) -> list[bytes]:
    """An environment as it is handed to a program."""
    return [f"{name}={value}".encode("utf-8", "surrogateescape") for name, value in env.items()]


def _end(path: str | None) -> bytes:
    if path is None:
        return b""
    try:
        # Not waiting: a command may have put a FIFO in its place.
        with open(path, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            return file.read(TAIL_BYTES)
    except OSError:
        return b""


def _taken(path: str, limit: int) -> tuple[str | None, int]:
    """The beginning of what was written there, and how long all of it is."""
    content, size = None, 0
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            facts = os.fstat(descriptor)
            if stat.S_ISREG(facts.st_mode):
                content, size = os.read(descriptor, limit), facts.st_size
        finally:
            os.close(descriptor)
    except OSError:
        pass  # a link, a directory, or not readable: nothing that a command was asked to leave
    _clear(path)
    return None if content is None else content.decode("utf-8", "replace"), size


def _clear(path: str) -> None:
    """Take the file away, or whatever the command has put in its place: the next job must not find it."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError:
        try:
            os.rename(path, f"{path}-{os.urandom(4).hex()}")
        except OSError:
            return


def make_slots(folder: str, files: OpenFiles, options: dict[str, Any]) -> list[Slot]:
    """As many as the options say; their jobs find the kitchen's address in a private file, if it is told."""
    env = options["env"]
    if options["kitchen"] is not None:
        env = {**env, "WAITER_KITCHEN_FILE": private_folder.write(folder, "kitchen", options["kitchen"])}
    null = os.open(os.devnull, os.O_RDWR)
    numbers = range(1, options["slots"] + 1)
    return [Slot(number, folder, options["capture"], env, null, files) for number in numbers]
