"""Verbs that have verbs of their own: `waiter fleet …`, `waiter batch …`."""

from __future__ import annotations

import click


class VerbGroup(click.Group):
    """A group whose list of verbs has their first sentences whole."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(name, verb.get_short_help_str(1000)) for name, verb in sorted(self.commands.items())])
