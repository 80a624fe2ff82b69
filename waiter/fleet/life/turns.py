"""One at a time: who may launch and end a fleet's machines for now, and who follows it. It stands in the kitchen.

A turn ends by itself, so nobody who died keeps others waiting for ever; on the same machine not even for a moment.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from waiter.errors import FleetError, KitchenUnreachable
from waiter.machines import Ledger
from waiter.processes import Place, here, lives, start_time

SCALE, FOLLOW = "turn", "follower"
"""What there are turns of."""

LAUNCH_S = 120.0
"""What a launch takes at most, with all that is asked anew."""


NOWHERE = Place("", "", "")


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has a turn."""

    name: str  # words that nobody else has at this moment
    pid: int = 0
    started: str = ""
    place: Place = NOWHERE


def me() -> Holder:
    who = "somebody"
    with suppress(OSError, KeyError):
        who = getpass.getuser()
    name = f"{who}@{socket.gethostname()} (process {os.getpid()})"
    return Holder(name, os.getpid(), start_time(os.getpid()), here())


def take_turn(ledger: Ledger, holder: Holder, for_s: float, of: str = SCALE) -> str | None:
    """Have the fleet to oneself for so long, or hear who has it."""
    now = ledger.kitchen.now()
    return _turn(ledger, holder, for_s, of, lambda facts: facts["until"] > now and not is_dead(facts))


def keep_turn(ledger: Ledger, holder: Holder, for_s: float, of: str = SCALE) -> str | None:
    """Have it for so long from now on, 0 to give it back; or hear who has taken it meanwhile, if only for a moment."""
    return _turn(ledger, holder, for_s, of, lambda _: True)


def take_over(ledger: Ledger, holder: Holder) -> None:
    """Have nobody go on scaling: who has the fleet hears of it with the next look."""
    _turn(ledger, holder, 0.0, SCALE, lambda _: False)


@contextmanager
def turn_to_launch(ledger: Ledger, note: Callable[[str], None], within_s: float = LAUNCH_S) -> Iterator[None]:
    """Have the fleet to oneself for one launch, after whoever launches just now. Raises FleetError if that goes on."""
    holder, told = me(), False
    until = time.monotonic() + within_s
    while other := take_turn(ledger, holder, LAUNCH_S):
        if time.monotonic() > until:
            raise FleetError(
                f"{other} scales {ledger.fleet}; nothing was launched\n"
                f"hint: waiter fleet scale {ledger.fleet} --count N makes it stop, and takes the fleet over"
            )
        if not told:
            note(f"{other} scales {ledger.fleet}; waiting for it.")
        told = True
        time.sleep(1)
    try:
        yield
    finally:
        with suppress(KitchenUnreachable):
            keep_turn(ledger, holder, 0.0)


def is_dead(facts: Mapping[str, Any]) -> bool:
    """Whether who has the turn was a process of this machine that is no more."""
    if not facts.get("pid"):
        return False
    return lives(facts["pid"], facts["started"], Place(*facts["place"]), here()) is False


def _turn(
    ledger: Ledger, holder: Holder, for_s: float, of: str, is_respected: Callable[[Mapping[str, Any]], bool]
) -> str | None:
    """Take the turn for so long, unless it is another's that is respected: whose?"""
    key, kitchen = f"fleets/{ledger.fleet}/{of}", ledger.kitchen
    while True:
        before = kitchen.ledger(key).get(key)
        facts = json.loads(before) if before else {}
        if facts and facts["by"] != holder.name and is_respected(facts):
            return str(facts["by"])
        at = holder.place
        process = {"pid": holder.pid, "started": holder.started, "place": [at.host, at.boot, at.namespace]}
        text = json.dumps({"by": holder.name, "until": kitchen.now() + for_s, **process})
        if text == before or kitchen.enter(key, text, instead_of=before):
            return None
