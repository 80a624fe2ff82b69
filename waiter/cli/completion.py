"""Completion of verbs, options, statuses and batches in bash, zsh and fish: Click does it, this prints the script."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from waiter.cli import COMPLETE, cli
from waiter.errors import UsageError


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Print a script that lets SHELL complete verbs, options, statuses and batches.

    \b
    waiter completion bash > ~/.local/share/bash-completion/completions/waiter
    waiter completion zsh > ~/.zfunc/_waiter        with ~/.zfunc in fpath
    waiter completion fish > ~/.config/fish/completions/waiter.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise UsageError(f"{shell}: no completion for this shell")
    click.echo(kind(cli, {}, "waiter", COMPLETE).source())
    return 0
