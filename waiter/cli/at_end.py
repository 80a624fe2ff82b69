"""What is to happen once all orders have ended: a report is written, and somebody is told, of it too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import click

from waiter.cli.console import say
from waiter.cli.options import complete_file, gathered
from waiter.cli.report_file import Write, html_writer
from waiter.errors import UsageError, WaiterError
from waiter.kitchen.contract import Kitchen
from waiter.notify.notifier import Notifier, make_notifier, notify_and_exit_code
from waiter.notify.result import WaitResult
from waiter.settings import Settings


@dataclass(frozen=True, slots=True)
class Report:
    """The report that is written at the end, and the address at which people find it, or the page."""

    report: str | None = None
    link: str | None = None

    def ready(self, settings: Settings) -> Callable[[Kitchen, WaitResult], WaitResult]:
        """What writes it, and gives the result with its path and its address.

        Without the path if it cannot be written: people are to be told all the same. Raises UsageError.
        """
        if self.report == "-":
            raise UsageError("--report -: name a file, whose path can be told")
        if self.link and (not self.link.isprintable() or " " in self.link or "://" not in self.link):
            raise UsageError("--link: no address\nhint: write https://host/path")
        write = html_writer(self.report, settings) if self.report else None

        def written(kitchen: Kitchen, result: WaitResult) -> WaitResult:
            path = _written(kitchen, result.batch, self.report, write) if self.report and write else None
            return replace(result, report=path, link=self.link)

        return written


def _written(kitchen: Kitchen, batch: str | None, file: str, write: Write) -> str | None:
    try:
        write(kitchen, batch)
    except WaiterError as error:
        say(f"waiter: {error}")
        return None
    return str(Path(file).absolute())


@dataclass(frozen=True, slots=True)
class AtEnd:
    """What `run` and `wait` do at their end, all checked before."""

    notifier: Notifier | None
    written: Callable[[Kitchen, WaitResult], WaitResult] | None  # None: no report is asked for

    @property
    def is_asked(self) -> bool:
        return bool(self.notifier or self.written)

    def result(self, kitchen: Kitchen, result: WaitResult) -> WaitResult:
        """The result, with the report if one is written."""
        return self.written(kitchen, result) if self.written else result

    def told(self, result: WaitResult) -> int:
        """Tell, and return the exit code: how the orders went, or else NotificationFailed's."""
        return notify_and_exit_code(self.notifier, result, say)


@dataclass(frozen=True, slots=True)
class EndOptions:
    """What was asked for at the end."""

    notify: str | None = None
    report: str | None = None
    link: str | None = None

    def ready(self, settings: Settings, *, is_json: bool = False) -> AtEnd:
        """Raises UsageError."""
        if self.link and not self.notify:
            raise UsageError("--link is what --notify tells: give both")
        notifier = make_notifier(self.notify, say, is_json=is_json)
        wanted = self.report or self.link
        return AtEnd(notifier, Report(self.report, self.link).ready(settings) if wanted else None)


def report_options(function: Any) -> Any:
    """--report and --link."""
    for option in (
        click.option(
            "--link", metavar="URL", help="Tell this address of the report, or of the page, too (WAITER_LINK)."
        ),
        click.option(
            "--report",
            metavar="FILE",
            shell_complete=complete_file,
            help="Write the run as one HTML file at the end, as `waiter report` does.",
        ),
    ):
        function = option(function)
    return function


def end_options(function: Any) -> Any:
    """--notify, --report and --link: one `at_end` value."""
    function = gathered([field.name for field in fields(EndOptions)], EndOptions, "at_end")(function)
    return click.option(
        "--notify", metavar="LINE|URL", help="At the end run this shell line, or POST to this URL; see `waiter notify`."
    )(report_options(function))
