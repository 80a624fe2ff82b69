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
from typing import TYPE_CHECKING, TypeAlias

from waiter.delivery.batch_scope import BatchScope, bound_words, unbound_words, wanted
from waiter.delivery.command import SHELL, Version, command
from waiter.delivery.environment import inherited, secret_kitchen
from waiter.delivery.function_names import names_function
from waiter.delivery.listener import Listener, Summary
from waiter.delivery.options import OUTPUT_NAME, DeliveryOptions, Grouping, Processes, slots
from waiter.delivery.outcomes import parse_halt
from waiter.delivery.outputs import capture, make_output_folder, output_paths
from waiter.delivery.placeholders import refuse_if_none_fits
from waiter.delivery.prefetch import checked_timeout
from waiter.delivery.resources.limits import check_limits
from waiter.delivery.resources.share import option
from waiter.delivery.runner.client import Job, ProcessRunner, Runner, RunnerOptions
from waiter.delivery.runner.slot_mark import with_slot
from waiter.delivery.shutdown import Shutdown
from waiter.delivery.spool import Spool
from waiter.delivery.waiter import Delivery
from waiter.errors import CommandUnstartable, UsageError
from waiter.kitchen.contract import Kitchen
from waiter.orders import Order, Selector, Status, is_in_scope

if TYPE_CHECKING:  # few waiters deliver with a function
    from waiter.delivery.function_processes import ProcessExecutor
    from waiter.delivery.functions import FunctionExecutor


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
        self._command = command(
            words, shell=options.shell, literal=options.literal, cwd=options.cwd, path=self._env.get("PATH")
        )
        self._version = Version(self._command.words, self._command.program, options.cwd)
        self.title = shlex.join(words)
        make_output_folder(options)

    @property
    def words(self) -> tuple[str, ...]:
        return bound_words(self._command.words, shell=self._command.is_shell, literal=self._command.is_literal)

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
                has_limits=options.mem_limit is not None,
            )
        )

    def check(self, orders: Iterable[Order]) -> None:
        refuse_if_none_fits(self.job, orders)

    def line(self, order: Order) -> str:
        """What runs for this order in the first slot, as one would type it. Raises NoSuchArgument."""
        variables = self._command.variables(order).items()
        words = shlex.join(with_slot(self._command.argv(order), 1))
        return " ".join([*(f"{name}={shlex.quote(value)}" for name, value in variables), words])

    def job(self, order: Order) -> Job:
        out, err, spare = output_paths(self._options, order)
        return Job(
            id=order.id,
            argv=self._command.argv(order),
            env={
                "WAITER_ORDER": order.id,
                "WAITER_ATTEMPT": str(order.attempt),
                **self._command.variables(order),
            },
            stdin=stdin_json(order) if self._options.stdin == "json" else None,
            stdout_path=out,
            stderr_path=err,
            spare_path=spare,
        )


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

    def line(self, order: Order) -> str:
        """What runs for this order in the first slot, as one would type it. Raises NoSuchArgument."""
        return self._executor(order).line(order)

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
                has_limits=options.mem_limit is not None,
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
            plain, is_shell, is_literal = unbound_words(words)
            options = replace(self._options, shell=is_shell, literal=is_literal)
            kind = _one_by_one() if names_function(plain, shell=is_shell) else CommandExecutor
            self._executors[words] = kind(plain, options, slots=self.slots, name=self._name)
        return self._executors[words]


def _one_by_one() -> type[CommandExecutor]:
    from waiter.delivery.one_by_one import OneByOne  # few batches are bound to a function

    return OneByOne


Executor: TypeAlias = "CommandExecutor | FunctionExecutor | ProcessExecutor | OwnCommands"


def stdin_json(order: Order) -> bytes:
    """The arguments as a JSON list, or as an object when they have names."""
    return json.dumps(dict(order.named) if order.names else list(order.arguments)).encode("ascii") + b"\n"


def check_values(options: DeliveryOptions) -> None:
    """Raise UsageError for values that make no sense on any machine."""
    checked_timeout(options.timeout)
    slots(options.jobs, 1)
    if options.halt:
        parse_halt(options.halt)
    if options.keep_order and options.grouping in (Grouping.STREAM, Grouping.LINE):
        raise UsageError(
            f"--keep-order shows each order's output as a whole, --grouping {options.grouping} does not\n"
            "hint: leave one of them out"
        )
    if options.output is None and options.output_format != OUTPUT_NAME:
        raise UsageError("--output-format: no output goes to files\nhint: add --output FOLDER")
    check_limits(options)
    for name, value in (("--needs", options.needs), ("--has", options.has)):
        if value is not None:
            option(name, value)


def checked(words: Sequence[str], options: DeliveryOptions) -> CommandExecutor | FunctionExecutor | ProcessExecutor:
    """The command or function, and its options, as far as they can be checked before an order is there.

    Raises UsageError and CommandUnstartable.
    """
    check_values(options)
    if names_function(words, shell=options.shell):
        from waiter.delivery.function_choice import named_executor  # few waiters need it

        return named_executor(words, options, slots=slots(options.jobs))
    if options.many is not None or options.processes is not Processes.AUTO:
        raise UsageError("--many and --processes are for functions\nhint: waiter deliver python:MODULE:FUNCTION")
    name = options.name or f"{socket.gethostname()}/{os.getpid()}"
    return CommandExecutor(words, options, slots=slots(options.jobs), name=name)


def orders_to_come(
    kitchen: Kitchen, words: Sequence[str], options: DeliveryOptions
) -> tuple[Executor, Iterator[Order]]:
    """What these words deliver with, and what is READY for it, in the order in which it was loaded."""
    executor: Executor = checked(words, options) if words else _own_commands(options)
    scope = _scope(kitchen, executor, options)
    scope.check()
    ready = kitchen.find(Selector(statuses=(Status.READY,)))
    return executor, (order for order in ready if is_in_scope(order, scope.all()))


def _own_commands(options: DeliveryOptions) -> OwnCommands:
    check_values(options)
    name = options.name or f"{socket.gethostname()}/{os.getpid()}"
    return OwnCommands(options, slots=slots(options.jobs), name=name)


def _scope(kitchen: Kitchen, executor: Executor, options: DeliveryOptions) -> BatchScope:
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
