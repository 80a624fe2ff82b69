"""How many machines a fleet is to have: a wish, and what kitchen and ledger say, in; a number and the reason out.

Nothing here asks or waits, so a simulator can drive it through hours in a moment. It remembers nothing either: whoever
asks again, from cron or in a loop, goes by what the ledger has. Against flapping it grows only when the slowest rate
that is credible asks for it, shrinks only when far fewer would do, and does neither soon after the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from waiter.durations import format_duration
from waiter.report.formatting import dollars, plural

MOST = 100
"""So many machines at most, where --max does not say how many."""

USUAL_BOOT_S = 180.0
"""From a launch to a waiter at work, until some machine has shown how long it takes."""

SPARE = 1.1
"""So many times what is needed is launched: what was reckoned never comes quite true."""

TOO_MANY = 1.7
"""More than so many times what is needed, and one, is too many."""

FEW, ENOUGH = 3, 20
"""Finished orders: with fewer than `FEW` a rate is a guess, with `ENOUGH` it may be trusted in one step."""

TAIL_SHARE = 0.3
"""No more of the time that is left is kept for the last, long orders."""

OVERHEAD_SHARE = 0.2
"""Of a budget that does not suffice no more than this goes into booting and letting go."""


HOPELESS = "none of the last machines came up: no more are launched until `launch` brings one that does"


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants. Everything holds at once."""

    by: float | None = None  # the kitchen's clock
    budget: float | None = None  # dollars, with what the fleet has cost so far
    most: int | None = None  # machines
    grace_s: float = 600.0  # what orders take at most to end, when their machine is to go
    round_s: float = 20.0  # how often somebody decides anew
    idle_s: float = 600.0  # how long machines stay after the last order


@dataclass(frozen=True, slots=True)
class Pace:
    """What one host delivers, in orders a second."""

    mean: float
    slow: float  # the slowest that is credible
    slots: float
    finished: int  # orders that this was learnt from


@dataclass(frozen=True, slots=True)
class Scene:
    """What kitchen and ledger say."""

    now: float  # the kitchen's clock
    left: int  # orders that have not ended
    ready: int  # those of them that nobody has
    pace: Pace | None  # None: nobody has worked here yet
    up: int  # machines whose waiter is at work
    booting: int
    leaving: int = 0  # machines that end with their orders
    boot_s: float = USUAL_BOOT_S
    boot_left_s: float = USUAL_BOOT_S  # until those that boot are up
    tail_s: float = 0.0  # the longest order that is credible
    spent: float | None = None  # dollars; None: a price is unknown
    per_hour: float = 0.0  # dollars, of all machines that live
    price: float | None = None  # dollars an hour of one machine more, the dearest that may come
    since_grown_s: float = math.inf
    since_shrunk_s: float = math.inf
    is_refused: bool = False  # EC2 had fewer than were asked for, a short while ago
    is_hopeless: bool = False  # none of the last machines came up
    is_paused: bool = False  # the waiters there take no orders

    @property
    def working(self) -> int:
        return self.up + self.booting


@dataclass(frozen=True, slots=True)
class Decision:
    """How many machines there are to be, those that are leaving not counted."""

    target: int
    why: str
    warnings: tuple[str, ...] = ()
    is_contradiction: bool = False  # the deadline takes more than the budget
    done_in_s: float | None = None  # with so many, at the mean rate
    costs: float | None = None  # dollars, all told


def pace_of(finished: int, slot_s: float, slots: float, mean_s: float | None, all_slots: float) -> Pace:
    """The pace of a host with `slots`, where `all_slots` finished so many orders in `slot_s` seconds of slots.

    Orders that still run count with their time. Where slots had time for twenty orders each, and yet finished few, they
    had no orders to take, and the orders' own mean says more. The slowest rate is the lower end of the interval that
    holds 90 % for a Poisson process.
    """
    rate = max(finished, 1) / slot_s
    if mean_s and slot_s > 20 * mean_s * max(1.0, all_slots):
        rate = max(rate, 0.9 / mean_s)
    return Pace(mean=rate * slots, slow=rate * slots * doubt(finished), slots=slots, finished=finished)


def doubt(finished: int) -> float:
    """By what a rate that was learnt from so many orders is multiplied to be safe."""
    if finished < FEW:
        return 0.5
    return (1 - 1 / (9 * finished) - 1.645 / (3 * math.sqrt(finished))) ** 3


def decide(scene: Scene, wish: Wish) -> Decision:
    """How many machines there are to be."""
    if not scene.left:
        return Decision(0, "all orders have ended")
    if scene.is_paused and scene.working:
        return Decision(scene.working, "the waiters are paused, so nobody knows what they can do")
    if scene.pace is None:
        return _measuring(scene, wish)
    most = _most(scene, wish, scene.pace)
    wanted = _wanted(scene, wish, scene.pace, most)
    target, why = _steadied(scene, wish, scene.pace, wanted, most)
    if wish.budget is not None and (kept := _payable(scene, wish)) < target:
        target, why = kept, f"the budget of {dollars(wish.budget)} pays for no more"
    return _spoken(scene, wish, scene.pace, target, why, most)


# What would be needed.


def hosts_for(scene: Scene, within_s: float, rate: float) -> int | None:
    """The fewest machines, each delivering at `rate`, that finish what is left in time; None if no number does."""
    up, booting = rate * max(0.0, within_s), rate * max(0.0, within_s - scene.boot_left_s)
    fresh = rate * max(0.0, within_s - scene.boot_s)
    left: float = scene.left
    count = 0
    for each, there in ((up, scene.up), (booting, scene.booting)):
        if left <= there * each:
            return count + (math.ceil(left / each) if left > 0 else 0)
        left -= there * each
        count += there
    return count + math.ceil(left / fresh) if fresh > 0 else None


def time_with(scene: Scene, count: int, rate: float) -> float:
    """Seconds until so many machines have finished what is left."""
    if not count:
        return math.inf
    booting = max(0, min(scene.booting, count - scene.up))
    fresh = max(0, count - scene.working)
    lost = rate * (booting * scene.boot_left_s + fresh * scene.boot_s)
    return max((scene.left + lost) / (count * rate), scene.boot_s if count == fresh else 0.0)


def cost_with(scene: Scene, wish: Wish, count: int, rate: float) -> float:
    """Dollars that the fleet will have cost when so many machines have finished what is left. The price is known."""
    assert scene.spent is not None
    fresh = max(0, count - scene.working)
    each = _price_there(scene)
    going = scene.leaving + max(0, scene.working - count)
    burn = min(count, scene.working) * each + fresh * (scene.price or 0.0)
    stay_s = time_with(scene, count, rate) + scene.tail_s + wish.idle_s
    return scene.spent + (burn * stay_s + going * each * wish.grace_s) / 3600


def _price_there(scene: Scene) -> float:
    """Dollars an hour of one of the machines that live, on the average."""
    living = scene.working + scene.leaving
    return scene.per_hour / living if living else scene.price or 0.0


def _most(scene: Scene, wish: Wish, pace: Pace) -> int:
    """How many machines may be, and could have something to do."""
    limit = wish.most if wish.most is not None else max(MOST, scene.working)
    return min(limit, scene.working + math.ceil(scene.ready / pace.slots))


def _useful(scene: Scene, pace: Pace, most: int) -> int:
    """How many machines would work for longer than they boot."""
    return max(1, min(most, math.ceil(scene.left / (pace.mean * scene.boot_s))))


def _in_s(scene: Scene, wish: Wish) -> float:
    """Seconds until the deadline, without the last of them in which a few long orders keep most slots empty."""
    assert wish.by is not None
    left_s = wish.by - scene.now
    return left_s - min(scene.tail_s, TAIL_SHARE * max(0.0, left_s))


def _wanted(scene: Scene, wish: Wish, pace: Pace, most: int) -> tuple[int, int, str]:
    """The fewest and the most machines that will do, and why."""
    if wish.by is not None:
        return _wanted_by(scene, wish, pace, most)
    useful = _useful(scene, pace, most)
    if wish.budget is None:
        return useful, max(useful, scene.working), "as many as work for longer than they boot"
    paid = _paid(scene, wish, pace, useful)
    if scene.working < paid < SPARE * scene.working:
        paid = scene.working
    return paid, max(paid, scene.working), f"as many as {dollars(wish.budget)} pay for"


def _wanted_by(scene: Scene, wish: Wish, pace: Pace, most: int) -> tuple[int, int, str]:
    assert wish.by is not None
    in_s = _in_s(scene, wish)
    need, mean_need = (hosts_for(scene, in_s, rate) for rate in (pace.slow, pace.mean))
    if need is not None and need <= most:
        # Fewer are enough only if they still are when a long order comes.
        careful = hosts_for(scene, (1 - TAIL_SHARE) * (wish.by - scene.now), pace.slow) or most
        return need, math.ceil(careful * TOO_MANY) + 1, f"{plural(need, 'machine')} at the slowest credible rate"
    if mean_need is not None and mean_need <= scene.working:
        return scene.working, scene.working, "on time at the mean rate"
    if mean_need is not None and mean_need <= most:
        return most, most, "the deadline takes all that may be"
    late = _useful(scene, pace, most) if in_s > 0 else min(most, max(1, scene.working))
    late = max(late, min(scene.working, most))
    return late, late, "it will be late"


def _paid(scene: Scene, wish: Wish, pace: Pace, most: int) -> int:
    """How many machines a budget pays for until all is done; where it does not suffice, so many that little of it goes
    into booting."""
    assert wish.budget is not None
    assert scene.spent is not None
    assert scene.price is not None
    fits, too_many = 0, most + 1  # more machines never cost less
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if cost_with(scene, wish, middle, pace.slow) + _letting_go(scene, wish, middle) <= wish.budget:
            fits = middle
        else:
            too_many = middle
    return fits or min(most, _worthwhile(scene, wish))


def _worthwhile(scene: Scene, wish: Wish) -> int:
    """How many machines may be launched so that little of a budget that is too small goes into booting them."""
    assert wish.budget is not None
    assert scene.spent is not None
    assert scene.price is not None
    overhead = scene.price * (scene.boot_s + wish.grace_s) / 3600
    return max(0, int(OVERHEAD_SHARE * (wish.budget - scene.spent) / overhead))


def _letting_go(scene: Scene, wish: Wish, count: int) -> float:
    """Dollars that so many machines cost at most from the decision to end them until they have ended."""
    fresh = max(0, count - scene.working)
    burn = min(count, scene.working) * _price_there(scene) + fresh * (scene.price or 0.0)
    return burn * (wish.grace_s + 2 * wish.round_s) / 3600


# From what is wanted to what is done.


def _steadied(scene: Scene, wish: Wish, pace: Pace, wanted: tuple[int, int, str], most: int) -> tuple[int, str]:
    """The machines there are, unless they are too few or too many, and nothing has changed a moment ago."""
    fewest, enough, why = wanted
    if wish.budget is not None and wish.by is not None:
        fewest = min(fewest, max(scene.working, _paid(scene, wish, pace, most)))
    working = scene.working
    if not scene.ready:  # what runs cannot be divided
        enough = fewest = min(fewest, math.ceil(scene.left / pace.slots))
    if fewest > working:
        return _grown(scene, wish, pace, fewest, most), why
    is_soon = scene.since_grown_s < max(600.0, 2 * scene.boot_s) or scene.booting
    if working > most:
        return most, f"no more than {plural(most, 'machine')} have something to do, or may be"
    if working > enough and not is_soon:
        return min(working, max(fewest, math.ceil(enough * (1 + TOO_MANY) / TOO_MANY / 2))), f"fewer will do: {why}"
    return working, why


def _grown(scene: Scene, wish: Wish, pace: Pace, fewest: int, most: int) -> int:
    """How many there are to be, where more are needed than there are."""
    working = scene.working
    is_changing = scene.since_shrunk_s < scene.boot_s or scene.booting
    if scene.is_refused or scene.is_hopeless or (is_changing and not _is_pressing(scene, wish, pace)):
        return working
    step = most if pace.finished >= ENOUGH else (2 if pace.finished < FEW else 4) * max(scene.up, 1)
    spare = math.ceil(fewest * SPARE) if wish.by is not None else fewest
    return max(working, min(spare, step, most))


def _is_pressing(scene: Scene, wish: Wish, pace: Pace) -> bool:
    """Whether the deadline is missed at the mean rate, too, unless more machines come."""
    if wish.by is None:
        return False
    need = hosts_for(scene, _in_s(scene, wish), pace.mean)
    return need is None or need > scene.working


def _payable(scene: Scene, wish: Wish) -> int:
    """How many machines the rest of a budget keeps for another round, and lets finish their orders."""
    assert wish.budget is not None
    assert scene.spent is not None
    each = _price_there(scene)
    stay_s = wish.grace_s + 2 * wish.round_s
    rest = wish.budget - scene.spent - scene.leaving * each * wish.grace_s / 3600
    kept = min(scene.working, max(0, int(rest * 3600 / (each * stay_s)))) if each else scene.working
    if kept < scene.working:
        return kept
    rest -= scene.working * each * stay_s / 3600
    return scene.working + max(0, int(rest * 3600 / ((scene.price or each) * (stay_s + scene.boot_s))))


def _measuring(scene: Scene, wish: Wish) -> Decision:
    """One machine, to see what it does: nobody has worked here yet."""
    least = 0 if scene.is_refused or scene.is_hopeless else 1
    target = max(scene.working, least) if wish.most is None else min(max(scene.working, least), wish.most)
    if wish.budget is not None:
        target = min(target, _payable(scene, wish), max(scene.working, _worthwhile(scene, wish)))
    if not target and least:
        return Decision(0, "the budget pays for no machine")
    why = "nothing has been delivered yet: one machine shows how long orders take"
    return Decision(target, why, (HOPELESS,) if scene.is_hopeless else ())


# What is said.


def _spoken(scene: Scene, wish: Wish, pace: Pace, target: int, why: str, most: int) -> Decision:
    in_s = time_with(scene, target, pace.mean)
    costs = None if scene.spent is None or not target else cost_with(scene, wish, target, pace.mean)
    warnings = [HOPELESS] if scene.is_hopeless else []
    if wish.budget is not None and _is_short(scene, wish, pace, max(1, target)):
        warnings.append(_how_far(scene, wish, pace, target))
    if wish.by is not None and scene.now + in_s > wish.by:
        late = "nothing more is done"
        if math.isfinite(in_s):
            late = f"all is done {format_duration(scene.now + in_s - wish.by)} too late"
        warnings.append(f"with {plural(target, 'machine')} {late}")
    return Decision(
        target,
        why,
        tuple(warnings),
        is_contradiction=_contradict(scene, wish, pace, most),
        done_in_s=in_s if math.isfinite(in_s) else None,
        costs=costs,
    )


def _is_short(scene: Scene, wish: Wish, pace: Pace, count: int) -> bool:
    """Whether the budget does not suffice with so many machines."""
    assert wish.budget is not None
    return cost_with(scene, wish, count, pace.mean) > wish.budget


def _how_far(scene: Scene, wish: Wish, pace: Pace, target: int) -> str:
    """How many of the orders a budget pays for that is too small for all."""
    assert wish.budget is not None
    assert scene.spent is not None
    count = max(1, target)
    whole = cost_with(scene, wish, count, pace.mean)
    price = max(_price_there(scene), 1e-9)
    short = (whole - wish.budget) / price * 3600 * pace.mean
    paid = min(scene.left, max(0, math.floor(scene.left - short)))
    return (
        f"the budget of {dollars(wish.budget)} pays for about {paid:,} of {plural(scene.left, 'order')} that are left; "
        f"all of them take about {dollars(whole)}"
    )


def _contradict(scene: Scene, wish: Wish, pace: Pace, most: int) -> bool:
    """Whether the machines that the deadline takes cost more than the budget, though each alone could be kept."""
    if wish.by is None or wish.budget is None:
        return False
    need = hosts_for(scene, _in_s(scene, wish), pace.mean)
    return need is not None and need <= most and _is_short(scene, wish, pace, max(1, need))
