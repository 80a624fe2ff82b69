"""Wait until every order has ended, then run CMD or POST to a URL.

CMD sees the facts as WAITER_TEXT, WAITER_EXIT_CODE (as `waiter wait` would end), WAITER_BATCH, WAITER_TOTAL,
WAITER_COUNT_DONE, WAITER_COUNT_ERROR …, and as JSON on stdin. A URL gets the same JSON, and is tried four times if
it does not answer. --report writes the run as an HTML file first, whose path is WAITER_REPORT; --link tells where
people find it, or the page. It notifies also when --timeout or --unattended end the waiting. Exit code: 0 sent, 5 not.

\b
waiter notify sh -c 'echo "$WAITER_TEXT" | mail -s "orders" me@example.com'
waiter notify --report run.html ./mail-it.sh
waiter notify --batch night --unattended 10m --post https://example.com/hook
"""

from __future__ import annotations

import click

from waiter.cli.at_end import Report, report_options
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
from waiter.cli.tables import show_json
from waiter.errors import UsageError
from waiter.notify.command import to_command
from waiter.notify.completion import wait_for_end
from waiter.notify.notifier import to_url
from waiter.notify.result import result_facts
from waiter.settings import Settings


@click.command(help=__doc__, context_settings=COMMAND)
@waiting_options
@click.option("--post", "url", metavar="URL", help="POST the facts there, as one JSON object, instead of running CMD.")
@report_options
@json_option
@with_settings
@click.argument("command", nargs=-1, type=click.UNPROCESSED, shell_complete=complete_file, metavar="[CMD…]")
def notify(settings: Settings, url: str | None, report: str | None, link: str | None, is_json: bool,
           command: tuple[str, ...], wait_for: Wait) -> int:  # fmt: skip
    if bool(url) == bool(command):
        raise UsageError("notify: name a command, or --post URL")
    notifier = to_url(url, say) if url else to_command(command, is_json=is_json)
    written = Report(report, link).ready(settings)
    with open_kitchen_or_exit(settings) as kitchen:
        result = wait_for_end(
            kitchen, say, batch=wait_for.batch, timeout_s=wait_for.timeout, unattended_s=wait_for.unattended
        )
        result = written(kitchen, result)
    if not is_json:
        say(result.sentence)
    notifier(result)
    if is_json:
        show_json(result_facts(result))
    return 0
