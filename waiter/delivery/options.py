"""How a waiter is to deliver: one frozen value, from whichever command line it came.

The laptop's `waiter deliver` makes it from flags, a host's waiter reads it as JSON: standard library only.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Mapping, Sequence
from enum import StrEnum
from math import ceil
from types import SimpleNamespace, UnionType
from typing import TYPE_CHECKING, Any, cast, get_args, get_origin, get_type_hints

from waiter.delivery import cgroup
from waiter.errors import UsageError
from waiter.kitchen.contract import MAX_LOSSES
from waiter.light_dataclass import dataclass, field

OUTPUT_NAME = "{order}"
"""What the files of an order's output are called, unless somebody says otherwise."""


class Until(StrEnum):
    """When a waiter leaves by itself."""

    DONE = "done"  # nothing is READY or RUNNING: the orders of a dead colleague still get delivered
    EMPTY = "empty"  # nothing is READY
    STOPPED = "stopped"  # never


class Grouping(StrEnum):
    """How the commands' output reaches the waiter's own stdout and stderr."""

    AUTO = "auto"  # STREAM with one slot, else GROUP
    STREAM = "stream"  # as it comes
    GROUP = "group"  # each order's as one piece, when it ends
    LINE = "line"  # whole lines, mixed
    NONE = "none"


class LogFormat(StrEnum):
    """How a waiter writes on stderr what it says."""

    AUTO = "auto"  # TEXT where stderr is a file or a pipe, PLAIN on a terminal and in systemd's journal
    PLAIN = "plain"  # the words alone
    TEXT = "text"  # the time before each line
    JSON = "json"  # one object a line


class Keep(StrEnum):
    """Which orders keep the last 4 KiB of their output in the kitchen."""

    NONE = "none"
    ERRORS = "errors"
    ALL = "all"


class Processes(StrEnum):
    """Whether a Python function runs in processes of its own, and how they begin."""

    AUTO = "auto"  # threads, but for `waiter deliver python:…`
    NO = "no"  # threads
    SPAWN = "spawn"  # each reads the program anew
    FORKSERVER = "forkserver"  # one reads the program, the others are forked from it


@dataclass(frozen=True, slots=True)
class DeliveryOptions:
    """All of `waiter deliver`'s options but the kitchen and the command. Durations in seconds."""

    name: str | None = None  # None: host/pid
    jobs: str = "1"  # a number, "auto", or "50%" of the CPUs
    until: Until = Until.DONE
    shell: bool = False  # the command is a line for /bin/sh, the arguments are "$@"
    literal: bool = False  # braces in the command are nothing but braces
    stdin: str = "none"  # or "json": the arguments as a JSON list
    cwd: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    nice: int = 0
    max_load: float | None = None  # no new starts above this load average
    min_memory: int | None = None  # no new starts with less memory available, bytes
    needs: str | None = None  # what each order needs of the host: "cpus=2,mem=4G,gpu=1"
    mem_limit: str | None = None  # bytes, "4G" or "needs": kill an order whose processes have more memory
    retry_mem: float | None = None  # try an order that was killed for memory again, with so many times as much
    has: str | None = None  # what the host has for orders, where that is not what is found out
    timeout: str | None = None  # seconds, or "200%" of the median so far
    grace_s: float = 10.0  # between TERM and KILL
    retries: int = 0
    backoff_s: float = 5.0  # before the first retry at most; doubles, full jitter
    retry_on: tuple[int, ...] = ()  # exit codes worth a retry; empty: every failure
    fail_on: tuple[int, ...] = ()  # exit codes that count as failures; empty: all but 0
    batch: tuple[str, ...] = ()  # take orders of these batches (ids or names), whatever they are bound to
    match: str | None = None  # … of which some argument contains this
    priority_min: int | None = None  # … with at least this priority
    any_command: bool = False  # also orders of batches that are bound to another command
    brake: int | None = None  # stop when the first so many all fail; 0: never; None: 20, unless `halt` says when
    halt: str | None = None  # "now,fail=1", "soon,fail=10%", as in GNU parallel
    max_losses: int = MAX_LOSSES
    pause_after: int = 10  # failures in a row, while others deliver theirs; 0: never
    grouping: Grouping = Grouping.AUTO
    keep_order: bool = False  # show output in the order of the input
    tag: bool = False  # start each line of output with the order's first argument
    log_format: LogFormat = LogFormat.AUTO
    keep_output: Keep = Keep.ERRORS
    output: str | None = None  # a folder that gets every order's stdout and stderr as files
    output_format: str = OUTPUT_NAME  # their names, without .out and .err
    joblog: str | None = None
    max_orders: int | None = None
    max_time_s: float | None = None
    idle_timeout_s: float | None = None
    on_lost: str = "finish"  # or "kill": what happens to running commands when the lease ran out
    spot: bool = False  # leave when EC2 says that it takes this instance back
    processes: Processes = Processes.AUTO  # of a Python function; True is SPAWN, False is NO
    many: int | None = None  # a Python function is given a list of so many orders at most; None: one order
    on_done: str | None = None  # a command line for /bin/sh after each delivered order
    on_error: str | None = None  # the same after each failed one

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            jobs: int | str = ...,
            until: Until | str = ...,
            timeout: float | str | None = ...,
            retry_on: Sequence[int] = ...,
            fail_on: Sequence[int] = ...,
            batch: Sequence[str] = ...,
            grouping: Grouping | str = ...,
            log_format: LogFormat | str = ...,
            keep_output: Keep | str = ...,
            processes: Processes | bool | str = ...,
            **others: Any,
        ) -> None:
            """What is taken in several ways, and the rest as the fields have it: `__post_init__` checks all of them."""

    def __post_init__(self) -> None:
        """Take what Python users write: numbers for `jobs` and `timeout`, texts for choices, lists. Raises UsageError
        for what no option can be."""
        for name, kind in _kinds().items():
            value = _read(getattr(self, name), kind)
            if not _fits(value, kind):
                raise UsageError(f"DeliveryOptions: {name}={value!r} is not understood\nhint: give {_words(kind)}")
            object.__setattr__(self, name, value)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> DeliveryOptions:
        """The options that `to_json` wrote. Raises UsageError for one that this version does not know."""
        values: dict[str, Any] = json.loads(text)
        unknown = sorted(set(values) - {f.name for f in dataclasses.fields(cls)})
        if unknown:
            raise UsageError(f"this version of Waiter does not know the option {unknown[0]}: push it again")
        return cls(**values)


@functools.cache
def _kinds() -> Mapping[str, tuple[type, ...]]:
    """What the values of each option may be."""
    written = DeliveryOptions.__annotations__
    # Each text once: of the many options most are of a few types.
    hints = get_type_hints(SimpleNamespace(__annotations__={text: text for text in written.values()}), globals())
    kinds = {}
    for name, text in written.items():
        hint = hints[text]
        kinds[name] = tuple(
            get_origin(one) or one for one in (get_args(hint) if isinstance(hint, UnionType) else [hint])
        )
    return kinds


def _read(value: object, kind: tuple[type, ...]) -> object:
    """The value as the field has it, where it is written otherwise but says the same."""
    if isinstance(value, bool) and kind[0] is Processes:
        return Processes.SPAWN if value else Processes.NO
    if isinstance(value, int | float) and not isinstance(value, bool) and str in kind:
        return str(value)
    if isinstance(value, list) and tuple in kind:
        return tuple(value)
    if isinstance(value, str) and issubclass(kind[0], StrEnum) and value in list(kind[0]):
        return kind[0](value)
    return value


def _fits(value: object, kind: tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return bool in kind
    return isinstance(value, kind) or (float in kind and isinstance(value, int))


def _words(kind: tuple[type, ...]) -> str:
    names = {str: "a text", int: "a whole number", float: "a number", bool: "True or False", type(None): "None"}
    names |= {tuple: "a tuple of numbers or texts", Mapping: "a dictionary of texts"}
    return " or ".join(names.get(one) or ", ".join(map(repr, map(str, cast(type[StrEnum], one)))) for one in kind)


def cpu_count() -> int:
    """The CPUs that this process may use; a part of one counts as one."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, ceil(min(count, cgroup.cpus())))


def slots(jobs: str, cpus: int | None = None) -> int:
    """How many slots "4", "auto" or "50%" are on a machine with that many CPUs, by default this one; at least one."""
    if jobs == "auto":
        return cpus or cpu_count()
    number = jobs.removesuffix("%")
    if not number.isascii() or not number.isdigit() or int(number) == 0:
        raise UsageError(f"--jobs {jobs}: not a number of slots\nhint: give 4, auto, or 50% of the CPUs")
    return max(1, int(number) * (cpus or cpu_count()) // 100) if jobs.endswith("%") else int(number)
