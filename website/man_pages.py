"""The manual pages, made from the program as `--help` is: `hatch_build.py` puts them into the wheel.

Click's own writing of a help is kept, and only what it writes with is another: so a page has the groups of options and
verbs that the help has, and cannot say anything else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from waiter import __version__
from waiter.cli import cli
from waiter.errors import ExitCode
from website.make import READ, SEEN

_CHARACTERS = {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti", '"': r"\(dq"}


def write_pages(folder: Path) -> list[Path]:
    """Write `waiter.1`, `waiter-VERB.1` and `waiter-VERB-VERB.1` into the folder."""
    written = []
    for context in contexts(_context(cli, "waiter")):
        written.append(folder / f"{_name(context)}.1")
        written[-1].write_text(page(context), encoding="utf-8")
    return written


def contexts(parent: click.Context) -> Iterator[click.Context]:
    """This command and those below it."""
    yield parent
    command = parent.command
    if isinstance(command, click.Group):
        for name in command.list_commands(parent):
            if (below := command.get_command(parent, name)) is not None and not below.hidden:
                yield from contexts(_context(below, name, parent))


def _context(command: click.Command, name: str, parent: click.Context | None = None) -> click.Context:
    return click.Context(command, info_name=name, parent=parent, **command.context_settings)


def page(context: click.Context) -> str:
    """One manual page."""
    command, roff = context.command, Roff()
    roff.buffer.append(f'.TH {_escape(_name(context)).upper()} 1 "" "waiter {__version__}" "Waiter"\n.nh\n.ad l\n')
    roff.write_heading("Name")
    roff.write(f"{_escape(_name(context))} \\- {_escape(command.get_short_help_str(1000).removesuffix('.'))}\n")
    roff.write_heading("Synopsis")
    command.format_usage(context, roff)
    roff.write_heading("Description")
    command.format_help_text(context, roff)
    command.format_options(context, roff)
    roff.write_heading("Exit status")
    roff.write_dl([(str(code.value), code.words.replace("`", "")) for code in ExitCode])
    if command is cli:
        roff.write_heading("Environment")
        roff.write_dl([(name, words.replace("`", "")) for name, words in READ.items()])
        roff.write_paragraph()
        roff.write_text("Commands of orders see:")
        roff.write_dl([(name, words.replace("`", "")) for name, words in SEEN.items()])
    roff.write_heading("See also")
    roff.write(", ".join(f".BR {_escape(name)} (1)" for name in _related(context)).replace(", .", " ,\n.") + "\n")
    return roff.getvalue()


class Roff(click.HelpFormatter):
    """What Click writes a help with, here in the macros of man(7)."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:  # noqa: ARG002 - Click's
        self.write(f".B {_escape(prog)}\n{_escape(args)}\n")

    def write_heading(self, heading: str) -> None:
        self.write(f".SH {_escape(heading).upper()}\n")

    def write_paragraph(self) -> None:
        """Headings make room for themselves."""

    def write_text(self, text: str) -> None:
        for paragraph in re.split(r"\n\s*\n", text.strip()):
            told, is_verbatim = paragraph.removeprefix("\b\n"), paragraph.startswith("\b\n")
            lines = "\n".join(_escape(line if is_verbatim else line.strip()) for line in told.splitlines())
            self.write(f".PP\n.RS 4\n.nf\n{lines}\n.fi\n.RE\n" if is_verbatim else f".PP\n{lines}\n")

    def write_dl(self, rows: Sequence[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:  # noqa: ARG002
        for name, words in rows:
            self.write(f".TP\n\\fB{_escape(name.strip())}\\fR\n{_escape(' '.join(words.split()))}\n")


def _escape(text: str) -> str:
    """As roff shows it: no character means anything, not even a dot that begins a line."""
    shown = "".join(_CHARACTERS.get(character, character) for character in text)
    return rf"\&{shown}" if shown.startswith(".") else shown


def _name(context: click.Context) -> str:
    return context.command_path.replace(" ", "-")


def _related(context: click.Context) -> list[str]:
    """The pages above this one, and those right below it."""
    above: list[str] = []
    parent = context.parent
    while parent is not None:
        above.insert(0, _name(parent))
        parent = parent.parent
    command = context.command
    below = command.list_commands(context) if isinstance(command, click.Group) else []
    return [*above, *(f"{_name(context)}-{name}" for name in below)]
