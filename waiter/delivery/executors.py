"""The user's command as a waiter uses it: orders become jobs for the runner, with what the command is to see."""

from __future__ import annotations

import errno
import json
import os
import shlex
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from waiter.delivery.batch_scope import SHELL_WORD, BatchScope, bound_words, wanted
from waiter.delivery.command import SHELL, Version, command
from waiter.delivery.environment import inherited, secret_kitchen
from waiter.delivery.listener import Listener, Summary
from waiter.delivery.options import DeliveryOptions, Grouping, cpu_count, slots
from waiter.delivery.outcomes import parse_halt
from waiter.delivery.output_names import stem
from waiter.delivery.placeholders import refuse_if_none_fits
from waiter.delivery.prefetch import checked_timeout
from waiter.delivery.runner.client import Capture, Job, ProcessRunner, Runner, RunnerOptions
from waiter.delivery.shutdown import Shutdown
from waiter.delivery.spool import Spool
from waiter.delivery.waiter import Delivery
from waiter.errors import CommandUnstartable, UsageError
from waiter.kitchen.contract import Kitchen
from waiter.orders import Order
from waiter.user_dirs import full_path


class CommandExecutor:
    """A command with the options that concern it.

    Raises CommandUnstartable or UsageError when it cannot be used at all.
    """

    def __init__(self, words: Sequence[str], options: DeliveryOptions, *, slots: int, name: str) -> None:
        if options.cwd and not Path(options.cwd).is_dir():
            raise UsageError(f"--cwd {options.cwd}: no such folder")
        self._options = options
        self.slots = slots
        self._env = {**inherited(os.environ), **options.env, "WAITER_NAME": name}
        self._command = command(words, shell=options.shell, cwd=options.cwd, path=self._env.get("PATH"))
        self._version = Version(self._command.words, self._command.program, options.cwd)
        self.title = shlex.join(words)
        if options.output:
            _make(options.output)

    @property
    def words(self) -> tuple[str, ...]:
        return bound_words(self._command.words, shell=self._command.is_shell)

    @property
    def program(self) -> str:
        """What is started: an absolute path."""
        return self._command.program

    def missing(self, order: Order) -> None:
        """It was found when this was made."""

    def version(self, order: Order | None = None) -> str:  # noqa: ARG002 - one command for all
        return self._version.current()

    def start_runner(self) -> Runner:
        options = self._options
        return ProcessRunner(
            RunnerOptions(
                slots=self.slots,
                program=self._command.program,
                env=self._env,
                kitchen=secret_kitchen(os.environ),
                cwd=options.cwd,
                nice=options.nice,
                grace_s=options.grace_s,
                capture=capture(options, self.slots),
            )
        )

    def check(self, orders: Iterable[Order]) -> None:
        refuse_if_none_fits(self.job, orders)

    def job(self, order: Order) -> Job:
        out, err, spare = self._files(order)
        return Job(
            id=order.id,
            argv=self._command.argv(order),
            env={"WAITER_ORDER": order.id, "WAITER_ATTEMPT": str(order.attempt)},
            stdin=stdin_json(order) if self._options.stdin == "json" else None,
            stdout_path=out,
            stderr_path=err,
            spare_path=spare,
        )

    def _files(self, order: Order) -> tuple[str | None, str | None, str | None]:
        if self._options.output is None:
            return None, None, None
        folder = full_path(Path(self._options.output))
        names = stem(self._options.output_format, order)
        return f"{folder}/{names.name}.out", f"{folder}/{names.name}.err", f"{folder}/{names.spare}"


Words = tuple[str, ...]


class OwnCommands:
    """For a waiter that was given no command: each order becomes a job of the command that its batch is bound to."""

    title = "each batch's own command"
    words = None

    def __init__(self, options: DeliveryOptions, *, slots: int, name: str) -> None:
        self._options = options
        self.slots = slots
        self._name = name
        self._executors: dict[Words, CommandExecutor] = {}
        self.command_of: Callable[[Order], Words | None] = lambda _: None
        """The words of the command of an order's batch; the waiter's scope knows them."""

    def missing(self, order: Order) -> str | None:
        """Why the command of this order cannot run on this machine; None if it can."""
        try:
            self._executor(order)
        except (CommandUnstartable, UsageError) as error:
            return str(error)
        return None

    def check(self, orders: Iterable[Order]) -> None:
        """Each batch's orders are checked one by one, as they start."""

    def version(self, order: Order | None = None) -> str:
        return "" if order is None else self._executor(order).version()

    def start_runner(self) -> Runner:
        options = self._options
        return ProcessRunner(
            RunnerOptions(
                slots=self.slots,
                program=SHELL,
                env={**inherited(os.environ), **options.env, "WAITER_NAME": self._name},
                kitchen=secret_kitchen(os.environ),
                cwd=options.cwd,
                nice=options.nice,
                grace_s=options.grace_s,
                capture=capture(options, self.slots),
            )
        )

    def job(self, order: Order) -> Job:
        """The runner starts one program: a shell that becomes the command."""
        executor = self._executor(order)
        job = executor.job(order)
        if executor.program == SHELL:
            return job
        return replace(job, argv=(SHELL, "-c", 'exec "$0" "$@"', executor.program, *job.argv[1:]))

    def _executor(self, order: Order) -> CommandExecutor:
        words = self.command_of(order) or ()
        if words not in self._executors:
            is_shell = words[:1] == (SHELL_WORD,)
            options = replace(self._options, shell=is_shell)
            plain = words[1:] if is_shell else words
            self._executors[words] = CommandExecutor(plain, options, slots=self.slots, name=self._name)
        return self._executors[words]


def _make(folder: str) -> None:
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--output {folder}: {error.strerror}") from error


def stdin_json(order: Order) -> bytes:
    """The arguments as a JSON list, or as an object when they have names."""
    return json.dumps(dict(order.named) if order.names else list(order.arguments)).encode("ascii") + b"\n"


def capture(options: DeliveryOptions, slots: int) -> Capture:
    """How the runner is to collect output."""
    if options.output is not None:
        return Capture.FILES
    grouping = options.grouping
    if grouping is Grouping.AUTO:
        grouping = Grouping.STREAM if slots == 1 else Grouping.GROUP
    return {
        Grouping.STREAM: Capture.STREAM,
        Grouping.GROUP: Capture.GROUP,
        Grouping.LINE: Capture.LINE,
        Grouping.NONE: Capture.DISCARD,
    }[grouping]


def check_values(options: DeliveryOptions) -> None:
    """Raise UsageError for values that make no sense on any machine."""
    checked_timeout(options.timeout)
    slots(options.jobs, 1)
    if options.halt:
        parse_halt(options.halt)


def checked(words: Sequence[str], options: DeliveryOptions) -> CommandExecutor:
    """The command, and its options, as far as they can be checked before an order is there.

    Raises UsageError and CommandUnstartable.
    """
    check_values(options)
    name = options.name or f"{socket.gethostname()}/{os.getpid()}"
    return CommandExecutor(words, options, slots=slots(options.jobs, cpu_count()), name=name)


def _own_commands(options: DeliveryOptions) -> OwnCommands:
    check_values(options)
    name = options.name or f"{socket.gethostname()}/{os.getpid()}"
    return OwnCommands(options, slots=slots(options.jobs, cpu_count()), name=name)


def _scope(kitchen: Kitchen, executor: CommandExecutor | OwnCommands, options: DeliveryOptions) -> BatchScope:
    scope = BatchScope(kitchen, executor.words, wanted(options))
    if isinstance(executor, OwnCommands):
        executor.command_of = scope.command_of
    return scope


def _spot_notice(options: DeliveryOptions, shutdown: Shutdown) -> AbstractContextManager[None]:
    if not options.spot:
        return nullcontext()
    from waiter.delivery.spot import watched  # only here: HTTP weighs 2 MB

    return watched(shutdown)


@contextmanager
def _crowded_host_in_words() -> Iterator[None]:
    """Raise CommandUnstartable where the system refuses a waiter its own processes and threads."""
    try:
        yield
    except (RuntimeError, OSError) as error:
        is_crowded = "can't start new thread" in str(error) or (
            isinstance(error, OSError) and error.errno in (errno.EAGAIN, errno.ENOMEM) and error.filename is None
        )
        if not is_crowded:
            raise
        raise CommandUnstartable(
            "this machine gives the waiter no more processes or threads, or no memory for them\n"
            "hint: end what is not needed, or raise the limit: ulimit -u, or pids.max of its cgroup (TasksMax=)"
        ) from error


def deliver(
    open_kitchen: Callable[[], Kitchen],
    words: Sequence[str],
    options: DeliveryOptions | None = None,
    *,
    listener: Listener | None = None,
    shutdown: Shutdown | None = None,
    state: Path | None = None,
) -> Summary:
    """Deliver orders with a command until `options.until`, and say what came of it.

    `state` is the folder for outcomes that the kitchen does not take now (default: the user's state folder). Raises
    UsageError and CommandUnstartable before any order is taken where possible, KitchenError when the kitchen refuses.
    """
    options = options or DeliveryOptions()
    if isinstance(words, str) or not callable(open_kitchen):
        raise UsageError("deliver: not understood\nhint: deliver(lambda: open_kitchen('./k.sqlite'), ['./crunch.sh'])")
    executor = checked(words, options) if words else _own_commands(options)
    shutdown = shutdown or Shutdown()
    with _crowded_host_in_words(), shutdown.by_signals(), _spot_notice(options, shutdown):
        return Delivery(
            open_kitchen,
            executor,
            options,
            slots=executor.slots,
            spool=lambda kitchen: Spool(kitchen.id, kitchen.url, state),
            scope=lambda kitchen: _scope(kitchen, executor, options),
            shutdown=shutdown,
            listener=listener or Listener(),
        ).run()
