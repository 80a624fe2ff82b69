"""Wait until every order has ended.

While nobody is at work it says so, takes back the orders of waiters that died, and goes on waiting: somebody may
start a waiter; --unattended bounds that. Exit code: 0 all DONE, 1 some not, 124 the time was up, 125 nobody came,
5 all DONE but --notify failed.

\b
waiter wait && waiter extract -o all.csv
waiter wait --batch night --timeout 2h --unattended 10m
"""

from __future__ import annotations

import click

from waiter.cli.at_end import EndOptions, end_options
from waiter.cli.console import say
from waiter.cli.options import Wait, json_option, open_kitchen_or_exit, waiting_options, with_settings
from waiter.cli.tables import show_json
from waiter.notify.completion import wait_for_end
from waiter.notify.result import result_facts
from waiter.settings import Settings


@click.command(help=__doc__)
@waiting_options
@end_options
@json_option
@with_settings
def wait(settings: Settings, at_end: EndOptions, is_json: bool, wait_for: Wait) -> int:
    then = at_end.ready(settings, is_json=is_json)
    with open_kitchen_or_exit(settings) as kitchen:
        result = wait_for_end(
            kitchen, say, batch=wait_for.batch, timeout_s=wait_for.timeout, unattended_s=wait_for.unattended
        )
        result = then.result(kitchen, result)
    if is_json:
        show_json(result_facts(result))
    else:
        say(result.sentence)
    return then.told(result)
