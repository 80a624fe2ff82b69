"""Rename, bind or weigh a batch, or let it wait for others.

\b
waiter batch rename 7f2e90c14a night
waiter batch bind night ./align.sh {sample_id}
waiter batch unbind night
waiter batch weigh night 3         of four claims three are its own
waiter batch after align prepare   it waits until all of prepare is DONE
waiter batch release align         it waits no longer
"""

from __future__ import annotations

import click

from waiter.cli.console import say
from waiter.cli.groups import VerbGroup
from waiter.cli.options import COMMAND, batch_argument, json_option, named_batch, open_kitchen_or_exit, with_settings
from waiter.cli.tables import show_json
from waiter.delivery.batch_scope import bound_words, command_line
from waiter.kitchen.stages import batch_named, refuse_ring
from waiter.settings import Settings


@click.group(cls=VerbGroup, help=__doc__)
def batch() -> None:
    pass


@batch.command()
@batch_argument
@click.argument("new_name", metavar="NAME")
@json_option
@with_settings
def rename(settings: Settings, batch_name: str, new_name: str, is_json: bool) -> int:
    """Give a batch another name. Its id stays."""
    with open_kitchen_or_exit(settings) as kitchen:
        found = named_batch(kitchen, batch_name)
        kitchen.amend_batch(found.id, name=new_name)
    return _show(is_json, found.id, {"name": new_name}, f"Batch {found.id} is called {new_name}.")


@batch.command(context_settings=COMMAND)
@click.option("--shell", is_flag=True, help="The command is a line for sh, as in `deliver --shell`.")
@click.option("--literal", is_flag=True, help="Braces in the command are plain text.")
@json_option
@with_settings
@batch_argument
@click.argument("words", nargs=-1, type=click.UNPROCESSED, required=True, metavar="CMD…")
def bind(settings: Settings, batch_name: str, words: tuple[str, ...], shell: bool, literal: bool, is_json: bool) -> int:
    """Reserve a batch for a command: no other takes its orders unless it is told to."""
    words = bound_words(words, shell=shell, literal=literal)
    with open_kitchen_or_exit(settings) as kitchen:
        found = named_batch(kitchen, batch_name)
        kitchen.amend_batch(found.id, command=words)
    return _show(is_json, found.id, {"command": list(words)}, f"Batch {batch_name} is for {command_line(words)}.")


@batch.command()
@batch_argument
@json_option
@with_settings
def unbind(settings: Settings, batch_name: str, is_json: bool) -> int:
    """Let any command take the orders of a batch: the next that does binds it."""
    with open_kitchen_or_exit(settings) as kitchen:
        found = named_batch(kitchen, batch_name)
        kitchen.amend_batch(found.id, command=None)
    return _show(is_json, found.id, {"command": None}, f"Batch {batch_name} is for any command.")


@batch.command()
@batch_argument
@click.argument("weight", type=click.IntRange(1, 1_000_000), metavar="N")
@json_option
@with_settings
def weigh(settings: Settings, batch_name: str, weight: int, is_json: bool) -> int:
    """Share the claims: a batch of weight 3 is taken from three times as often as one of weight 1 (the usual)."""
    with open_kitchen_or_exit(settings) as kitchen:
        found = named_batch(kitchen, batch_name)
        kitchen.amend_batch(found.id, weight=weight)
    return _show(is_json, found.id, {"weight": weight}, f"Batch {batch_name} has the weight {weight}.")


@batch.command("after")
@click.option("--any", "is_any", is_flag=True, help="Until they have ended, well or not.")
@json_option
@with_settings
@batch_argument
@click.argument("others", nargs=-1, required=True, metavar="OTHER…")
def after_(settings: Settings, batch_name: str, others: tuple[str, ...], is_any: bool, is_json: bool) -> int:
    """Let a batch wait until all orders of other batches are DONE."""
    with open_kitchen_or_exit(settings) as kitchen:
        every = kitchen.batches()
        found, first = batch_named(every, batch_name), [batch_named(every, other) for other in others]
        ids = tuple(one.id for one in first)
        refuse_ring({one.id: one for one in every}, found.id, ids)
        after, after_any = ((), ids) if is_any else (ids, ())
        kitchen.amend_batch(found.id, after=after, after_any=after_any)
    named = ", ".join(one.name or one.id for one in first)
    changed: dict[str, object] = {"after": list(after), "after_any": list(after_any)}
    return _show(is_json, found.id, changed, f"Batch {batch_name} waits for {'the end of ' if is_any else ''}{named}.")


@batch.command()
@batch_argument
@json_option
@with_settings
def release(settings: Settings, batch_name: str, is_json: bool) -> int:
    """Stop a batch from waiting for others, whatever became of them."""
    with open_kitchen_or_exit(settings) as kitchen:
        found = named_batch(kitchen, batch_name)
        kitchen.amend_batch(found.id, after=(), after_any=(), after_row=None)
    changed: dict[str, object] = {"after": [], "after_any": [], "after_row": None}
    return _show(is_json, found.id, changed, f"Batch {batch_name} waits for no other batch.")


def _show(is_json: bool, batch_id: str, changed: dict[str, object], sentence: str) -> int:
    if is_json:
        show_json({"batch": batch_id, **changed})
    else:
        say(sentence)
    return 0
