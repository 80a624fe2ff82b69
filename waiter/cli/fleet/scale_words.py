"""What `scale` says: how a fleet stands, how many machines it is to have, why, and what that costs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from waiter.durations import format_duration
from waiter.report.formatting import clock_time, dollars, plural

if TYPE_CHECKING:
    from waiter.fleet.life.policy import Wish
    from waiter.fleet.life.scaling import Look


def decision_lines(name: str, seen: Look, wish: Wish) -> list[str]:
    """How it stands and what is decided, in a line; then what will not come true."""
    scene, decision = seen.scene, seen.decision
    there = [plural(scene.up, "machine") + " at work"]
    there += [f"{scene.booting} starting"] if scene.booting else []
    there += [f"{scene.leaving} leaving"] if scene.leaving else []
    left = f"{plural(scene.left, 'order')} left" if scene.left else "no orders left"
    first = f"{name}: {', '.join(there)}; {left}; wanted: {plural(decision.target, 'machine')} ({decision.why})"
    return [first, *expected(seen, wish), *(f"{name}: {warning}" for warning in decision.warnings)]


def expected(seen: Look, wish: Wish) -> list[str]:
    """When all is done, and for how much."""
    decision, now = seen.decision, time.time()
    if decision.done_in_s is None or not seen.scene.left:
        return []
    at = clock_time(now + decision.done_in_s, now)[:-3]
    cost = "" if decision.costs is None else f", for {dollars(decision.costs)} in all"
    deadline = None if wish.by is None else time.localtime(now + wish.by - seen.scene.now)
    by = "" if deadline is None else f" (deadline {time.strftime('%Y-%m-%d %H:%M', deadline)})"
    return [f"With so many it is done in about {format_duration(decision.done_in_s)}, at {at}{by}{cost}"]


def decision_facts(name: str, seen: Look) -> dict[str, Any]:
    """The same as JSON."""
    scene, decision = seen.scene, seen.decision
    return {
        "verb": "scale",
        "fleet": name,
        "orders_left": scene.left,
        "machines": scene.up,
        "starting": scene.booting,
        "leaving": scene.leaving,
        "target": decision.target,
        "why": decision.why,
        "warnings": list(decision.warnings),
        "done_in_s": decision.done_in_s,
        "spent": scene.spent,
        "costs": decision.costs,
    }
