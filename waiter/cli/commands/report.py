"""Write the run as one HTML file, for a mail or the archive.

It has what `waiter serve` shows of the run: how far it is, charts, failures with examples, waiters. The file loads
nothing from elsewhere.

\b
waiter report --html run.html
waiter report --html night.html --batch night
waiter notify --report run.html ./mail-it.sh
"""

from __future__ import annotations

import click

from waiter.cli.console import say
from waiter.cli.options import batch_option, complete_file, open_kitchen_or_exit, with_settings
from waiter.cli.report_file import html_writer
from waiter.settings import Settings


@click.command(help=__doc__)
@click.option("--html", "file", metavar="FILE", required=True, shell_complete=complete_file,
              help="Write here; - is stdout. The file is whole or not there.")  # fmt: skip
@batch_option("Only orders of this batch: its id or name.")
@with_settings
def report(settings: Settings, file: str, batch: str | None) -> int:
    write = html_writer(file, settings)
    with open_kitchen_or_exit(settings) as kitchen:
        write(kitchen, batch)
    if file != "-":
        say(f"Wrote {file}.")
    return 0
