"""A Python function as a waiter uses it, in worker processes that live on from order to order."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

from waiter.delivery.environment import inherited, secret_kitchen
from waiter.delivery.functions import is_to_be_alone
from waiter.delivery.options import DeliveryOptions, Processes
from waiter.delivery.outputs import capture, make_output_folder, output_paths
from waiter.delivery.prefetch import checked_timeout
from waiter.delivery.runner.child import package_root
from waiter.delivery.runner.client import Job, ProcessRunner, Runner, RunnerOptions, Workers
from waiter.delivery.worker_process import BOOT, order_facts
from waiter.errors import UsageError
from waiter.orders import Order


class ProcessExecutor:
    """The function of a setup (`worker_setup`), with the options of a process that concern it."""

    def __init__(
        self,
        setup: str,
        options: DeliveryOptions,
        *,
        processes: int,
        name: str,
        version: str,
        words: tuple[str, ...],
    ) -> None:
        if options.cwd and not Path(options.cwd).is_dir():
            raise UsageError(f"--cwd {options.cwd}: no such folder")
        if options.processes is Processes.FORKSERVER and sys.platform != "linux":
            raise UsageError("processes=forkserver: Linux alone can contain what is forked so\nhint: processes=spawn")
        checked_timeout(options.timeout)
        make_output_folder(options)
        self._setup = setup
        self._options = options
        self._processes = processes
        self.slots = processes * (options.many or 1)
        self._name = name
        self._version = version
        self.words = words
        self.title = words[0]

    def missing(self, order: Order) -> None:
        """It is here."""

    def version(self, order: Order | None = None) -> str:  # noqa: ARG002 - one function for all
        return self._version

    def check(self, orders: Iterable[Order]) -> None:
        """A function takes whatever order there is."""

    def line(self, order: Order) -> str:
        return f"{self.title} {shlex.join(order.arguments)}"

    def start_runner(self) -> Runner:
        options = self._options
        return ProcessRunner(
            RunnerOptions(
                slots=self._processes,
                program=sys.executable,
                env={**inherited(os.environ), **options.env, "WAITER_NAME": self._name},
                kitchen=secret_kitchen(os.environ),
                cwd=options.cwd,
                nice=options.nice,
                grace_s=options.grace_s,
                capture=capture(options, self._processes),
                workers=Workers(
                    argv=(sys.executable, "-c", BOOT, package_root()),
                    setup=self._setup,
                    many=options.many or 1,
                    is_forked=options.processes is Processes.FORKSERVER,
                ),
            )
        )

    def job(self, order: Order) -> Job:
        out, err, spare = output_paths(self._options, order)
        return Job(
            id=order.id,
            argv=order.arguments,
            env={"WAITER_ORDER": order.id, "WAITER_ATTEMPT": str(order.attempt)},
            stdin=order_facts(order),
            stdout_path=out,
            stderr_path=err,
            spare_path=spare,
            is_alone=is_to_be_alone(order),
        )
