"""Print a script that completes verbs and options in SHELL.

It completes statuses, batches and names of files as well.

\b
waiter completion bash > ~/.local/share/bash-completion/completions/waiter
waiter completion zsh > ~/.zfunc/_waiter        with ~/.zfunc in fpath
waiter completion fish > ~/.config/fish/completions/waiter.fish
"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from waiter.cli import COMPLETE, cli
from waiter.errors import UsageError


@click.command(help=__doc__)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    kind = get_completion_class(shell)
    if kind is None:
        raise UsageError(f"{shell}: no completion for this shell")
    click.echo(kind(cli, {}, "waiter", COMPLETE).source())
    return 0
