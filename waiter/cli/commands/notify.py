"""Wait until every order has ended, then run CMD or POST to a URL.

CMD sees the facts as WAITER_TEXT, WAITER_EXIT_CODE (as `waiter wait` would end), WAITER_BATCH, WAITER_TOTAL,
WAITER_COUNT_DONE, WAITER_COUNT_ERROR …, and as JSON on stdin. A URL gets the same JSON, and is tried four times if
it does not answer. --report writes the run as an HTML file first, whose path is WAITER_REPORT. It notifies also
when --timeout or --unattended end the waiting. Exit code: 0 sent, 5 not.

\b
waiter notify sh -c 'echo "$WAITER_TEXT" | mail -s "orders" me@example.com'
waiter notify --report run.html ./mail-it.sh
waiter notify --batch night --unattended 10m --post https://example.com/hook
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from waiter.cli.console import say
from waiter.cli.options import (
    COMMAND,
    Wait,
    complete_file,
    json_option,
    open_kitchen_or_exit,
    waiting_options,
    with_settings,
)
from waiter.cli.report_file import Write, html_writer
from waiter.cli.tables import show_json
from waiter.errors import UsageError, WaiterError
from waiter.kitchen.contract import Kitchen
from waiter.notify.command import to_command
from waiter.notify.completion import wait_for_end
from waiter.notify.notifier import to_url
from waiter.notify.result import WaitResult, result_facts
from waiter.settings import Settings


@click.command(help=__doc__, context_settings=COMMAND)
@waiting_options
@click.option("--post", "url", metavar="URL", help="POST the facts there, as one JSON object, instead of running CMD.")
@click.option("--report", "file", metavar="FILE", shell_complete=complete_file,
              help="Write the run as one HTML file first, as `waiter report` does.")  # fmt: skip
@json_option
@with_settings
@click.argument("command", nargs=-1, type=click.UNPROCESSED, shell_complete=complete_file, metavar="[CMD…]")
def notify(settings: Settings, url: str | None, file: str | None, is_json: bool, command: tuple[str, ...],
           wait_for: Wait) -> int:  # fmt: skip
    if bool(url) == bool(command):
        raise UsageError("notify: name a command, or --post URL")
    notifier = to_url(url, say) if url else to_command(command, is_json=is_json)
    if file == "-":
        raise UsageError("--report -: name a file, whose path can be told")
    write = html_writer(file, settings) if file else None
    with open_kitchen_or_exit(settings) as kitchen:
        result = wait_for_end(
            kitchen, say, batch=wait_for.batch, timeout_s=wait_for.timeout, unattended_s=wait_for.unattended
        )
        if file and write:
            result = _with_report(result, kitchen, file, write)
    if not is_json:
        say(result.sentence)
    notifier(result)
    if is_json:
        show_json(result_facts(result))
    return 0


def _with_report(result: WaitResult, kitchen: Kitchen, file: str, write: Write) -> WaitResult:
    """The result with the report that was written; without one if it cannot be: people are to be told all the same."""
    try:
        write(kitchen, result.batch)
    except WaiterError as error:
        say(f"waiter: {error}")
        return result
    return replace(result, report=str(Path(file).absolute()))
