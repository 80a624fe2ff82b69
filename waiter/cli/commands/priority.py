"""Give READY orders the priority N. Higher goes first, 0 is usual, negative is last.

\b
waiter priority 10 --batch urgent
waiter priority -1 --match huge
"""

from __future__ import annotations

import click

from waiter.cli.console import said_if_long, say
from waiter.cli.options import (
    PRIORITIES,
    Selection,
    json_option,
    open_kitchen_or_exit,
    resolve_selector,
    selecting,
    with_settings,
)
from waiter.cli.tables import show_json
from waiter.report.formatting import plural
from waiter.settings import Settings


@click.command(help=__doc__, context_settings={"ignore_unknown_options": True})
@click.argument("number", type=PRIORITIES, metavar="N")
@click.argument("ids", nargs=-1, metavar="[ORDER]…")
@selecting
@json_option
@with_settings
def priority(settings: Settings, number: int, selection: Selection, is_json: bool) -> int:
    for word in selection.ids:
        if word.startswith("-"):  # negative numbers make us let unknown options through
            context = click.get_current_context()
            known = [option for parameter in context.command.params for option in parameter.opts]
            raise click.NoSuchOption(word.partition("=")[0], possibilities=known, ctx=context)
    with open_kitchen_or_exit(settings) as kitchen, said_if_long("Changing the priority of READY orders…"):
        changed = kitchen.set_priority(resolve_selector(kitchen, selection), number)
    if is_json:
        show_json({"changed": changed, "priority": number})
    else:
        say(f"Priority {number} for {plural(changed, 'READY order')}.")
    return 0
