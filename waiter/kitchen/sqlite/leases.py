"""Which shifts of an SQLite kitchen are lost: by their processes where these can be seen, else by their leases.

A lease is kept on the machine's steady clock, which tells nothing of a shift with another boot id: that was before a
reboot, or is a container whose boot id is its own. Whoever is missed is written down in `state`, one row for each boot
that looks: which heartbeat it was, since when that is the last one, and when somebody looked.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace

from waiter import processes
from waiter.kitchen.contract import grace_s, sweep_s
from waiter.light_dataclass import dataclass
from waiter.orders import Shift

OPEN = "FROM shifts WHERE left_at IS NULL AND lost_at IS NULL"
_ROW = "missed "
"""The name of a row of `state`, before the boot of who looks."""

_Seen = tuple[float, float, float]
"""The last heartbeat (on whichever clock), since when it is the last, when somebody looked (both on our clock)."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the open shifts found."""

    living: list[str]  # tokens, those of the missed included
    dead: list[sqlite3.Row]
    missed: tuple[str, ...]  # names of those whose lease ran out
    missed_s: float  # so long from now they may say that they live


@dataclass(frozen=True, slots=True)
class Looker:
    """Who looks: from where, and at what time on this boot's steady clock and on the wall's."""

    here: processes.Place
    steady: float
    wall: float
    lease_s: float

    def lives(self, shift: sqlite3.Row) -> bool | None:
        at = processes.Place(shift["host"], shift["boot"], shift["namespace"])
        return processes.lives(shift["pid"], shift["pid_started"], at, self.here)

    def is_foreign(self, shift: sqlite3.Row) -> bool:
        """Its lease is on another clock than ours."""
        return bool(shift["boot"] != self.here.boot)

    def misses(self, shift: sqlite3.Row) -> bool:
        """It is dead, or one has to look twice."""
        lives = self.lives(shift)
        if lives is not None:
            return not lives
        return self.is_foreign(shift) or bool(shift["lease_ends"] < self.steady + sweep_s(self.lease_s))

    def is_over(self, shift: sqlite3.Row) -> bool:
        """Its lease ran out, as far as one can tell at one look."""
        if self.is_foreign(shift):
            return bool(shift["heartbeat_at"] < self.wall - 2 * sweep_s(self.lease_s))
        return bool(shift["lease_ends"] <= self.steady)

    def left_s(self, shift: sqlite3.Row, seen: _Seen) -> float:
        """For how long the shift may still say that it lives."""
        silent_s = self.steady - seen[1]
        if self.is_foreign(shift):
            return self.lease_s - silent_s
        return max(grace_s(self.lease_s) - silent_s, float(shift["lease_ends"]) - self.steady)


def look(db: sqlite3.Connection, looker: Looker) -> Look:
    """Look at the open shifts, and write down who is missed. Inside the caller's transaction."""
    rows = db.execute(f"SELECT * {OPEN}").fetchall()
    before, now = _seen_before(db, looker), dict[str, _Seen]()
    dead: list[sqlite3.Row] = []
    missed: list[tuple[str, float]] = []
    for row in filter(looker.misses, rows):
        if looker.lives(row) is False:
            dead.append(row)
            continue
        seen = _seen_now(row, before.get(row["token"]), looker)
        left_s = looker.left_s(row, seen)
        if left_s <= 0:
            dead.append(row)
            continue
        now[row["token"]] = seen
        if looker.is_over(row):
            missed.append((row["waiter"], left_s))
    if now or before:
        _write_down(db, looker, now)
    gone = {row["token"] for row in dead}
    living = [row["token"] for row in rows if row["token"] not in gone]
    return Look(living, dead, tuple(name for name, _ in missed), max((left_s for _, left_s in missed), default=0.0))


def _seen_now(shift: sqlite3.Row, before: _Seen | None, looker: Looker) -> _Seen:
    """What is known of a missed shift after this look. Who did not look for long begins anew: much may have slept."""
    longest_s = looker.lease_s / 2 if looker.is_foreign(shift) else looker.lease_s
    is_same = before is not None and before[0] == shift["heartbeat_at"]
    if before is None or not is_same or not 0 <= looker.steady - before[2] <= longest_s:
        return shift["heartbeat_at"], looker.steady, looker.steady
    return before[0], before[1], looker.steady


def _seen_before(db: sqlite3.Connection, looker: Looker) -> dict[str, _Seen]:
    row = db.execute("SELECT value FROM state WHERE name = ?", (_ROW + looker.here.boot,)).fetchone()
    return {token: (beat, since, at) for token, (beat, since, at) in json.loads(row["value"]).items()} if row else {}


def _write_down(db: sqlite3.Connection, looker: Looker, seen: dict[str, _Seen]) -> None:
    # What other boots wrote stays while somebody of theirs is here.
    db.execute(
        f"DELETE FROM state WHERE name GLOB '{_ROW}*' AND substr(name, {len(_ROW) + 1}) NOT IN (SELECT boot {OPEN})"
    )
    db.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (_ROW + looker.here.boot, json.dumps(seen)))


def as_it_is(shift: Shift, row: sqlite3.Row, looker: Looker) -> Shift:
    """The shift with the lease that it has by all that can be known, whatever is stored."""
    if shift.left_at is not None or shift.lost_at is not None:
        return shift
    lives = looker.lives(row)
    if lives is False:
        return shift.ended()
    if lives:
        return replace(shift, lease_until=max(shift.lease_until, looker.wall + looker.lease_s))
    return replace(shift, lease_until=shift.heartbeat_at + looker.lease_s) if looker.is_foreign(row) else shift
