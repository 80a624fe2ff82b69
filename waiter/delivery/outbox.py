"""Where outcomes and orders wait on their way back to the kitchen.

Nothing that is put here is lost: it is accepted by the kitchen, or it is on disk when this waiter leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from waiter.delivery.absence import KitchenAbsence
from waiter.delivery.spool import REFUSED, Spool, Spooled
from waiter.errors import PASSING, KitchenDamaged, KitchenError, KitchenMissing
from waiter.failure_groups import error_group
from waiter.kitchen.contract import Kitchen
from waiter.light_dataclass import dataclass
from waiter.orders import FinishResult, Order, Outcome, Reason, Shift, Status


@dataclass(frozen=True, slots=True)
class PendingOutcome:
    """An outcome on its way to the kitchen, with the order and the shift that it belongs to."""

    shift: Shift
    order: Order
    outcome: Outcome


class Outbox:
    """Outcomes and released orders of one waiter that the kitchen does not have yet."""

    def __init__(self, kitchen: Kitchen, spool: Spool, absence: KitchenAbsence, note: Callable[[str], None]) -> None:
        self._kitchen = kitchen
        self._spool = spool
        self._absence = absence
        self._note = note
        self._outcomes: list[PendingOutcome] = []
        self._releases: list[tuple[Shift, Order]] = []
        self._left_lying: set[Path] = set()  # files whose refused outcomes could not be set aside
        self.is_spool_full = False
        self.refused = 0  # outcomes that were set aside

    def finish(self, pending: PendingOutcome) -> None:
        self._outcomes.append(pending)

    def release(self, shift: Shift, order: Order) -> None:
        self._releases.append((shift, order))

    @property
    def is_clear(self) -> bool:
        """Nothing waits in memory."""
        return not self._outcomes and not self._releases

    @property
    def may_leave(self) -> bool:
        """Nothing waits that this waiter has to see to. Orders that a kitchen which is away cannot take back are not
        waited for: the lease, when it runs out, gives them back too."""
        return not self._outcomes and (not self._releases or not self._absence.is_waited_for)

    @property
    def spooled(self) -> int:
        """How many outcomes wait on disk, also those of other waiters of this machine."""
        return sum(len(spooled.outcomes) for spooled in self._spool if spooled.file not in self._left_lying)

    def hand_in(self) -> list[tuple[PendingOutcome, FinishResult]]:
        """Give the kitchen what waits.

        What it does not take now goes to disk, and stays in memory if the disk refuses too.
        """
        if self.is_clear:
            return []
        if not self._absence.may_ask:
            self._keep()
            return []
        try:
            accepted = self._finish_all()
            self._release_all()
        except PASSING as error:
            self._absence.went_away(error)
            self._keep()
            return []
        except KitchenError:
            self._keep()
            raise
        except OSError as error:
            self._cannot_keep(error)
            return []
        self._absence.came_back()
        self.is_spool_full = False  # nothing waits for the disk any more
        return accepted

    def hand_in_spool(self) -> int:
        """Give the kitchen what lies on disk, also what earlier waiters left. Returns how many outcomes it has now."""
        handed_in = 0
        for spooled in self._ours():
            try:
                results = self._finish(spooled.shift, spooled.outcomes)
                handed_in += len(results) - results.count(None)
                spooled.file.unlink(missing_ok=True)
            except OSError as error:
                self._leave_lying(spooled, error)
        self._name_unreadable()
        if handed_in:
            self._note(f"Delivered outcomes that were kept on disk: {handed_in}.")
        return handed_in

    def _ours(self) -> Iterator[Spooled]:
        """The files that surely belong to this kitchen."""
        for spooled in self._spool:
            if spooled.file in self._left_lying:
                continue
            if spooled.kitchen == self._kitchen.id:
                yield spooled
            else:
                self._turn_away(spooled)
        for spooled in self._spool.of_earlier_versions():
            if spooled.file not in self._left_lying and self._kitchen.knows(spooled.shift.token):
                yield spooled

    def _name_unreadable(self) -> None:
        for file in sorted(self._spool.unreadable - self._left_lying):
            self._left_lying.add(file)
            self._note(f"{file}: holds no outcomes that this version of Waiter can read. It is left there.")

    def _turn_away(self, spooled: Spooled) -> None:
        """Somebody put outcomes of another kitchen among ours: they stay there under a name that nobody hands in."""
        try:
            aside = spooled.file.rename(spooled.file.with_suffix(REFUSED))
            self._note(f"Outcomes of another kitchen are among those of this one: set aside in {aside}.")
        except OSError as error:
            self._leave_lying(spooled, error)

    def _leave_lying(self, spooled: Spooled, error: OSError) -> None:
        self._left_lying.add(spooled.file)
        self._note(f"{spooled.file}: cannot be removed or set aside: {error.strerror}. It is left there.")

    def _finish_all(self) -> list[tuple[PendingOutcome, FinishResult]]:
        answered: list[tuple[PendingOutcome, FinishResult | None]] = []
        for shift, pending in by_shift(self._outcomes):
            answered.extend(zip(pending, self._finish(shift, [one.outcome for one in pending]), strict=True))
        self._outcomes.clear()
        return [(pending, result) for pending, result in answered if result is not None]

    def _finish(self, shift: Shift, outcomes: Sequence[Outcome]) -> list[FinishResult | None]:
        """What the kitchen says to each; None where it refused that one, which is then set aside.

        Raises OSError if that cannot be done.
        """
        try:
            return [*self._kitchen.finish(shift, outcomes)]
        except (*PASSING, KitchenDamaged, KitchenMissing):
            raise
        except KitchenError as error:
            if len(outcomes) == 1:
                return [self._refused(shift, outcomes[0], error)]
        return [result for outcome in outcomes for result in self._finish(shift, [outcome])]

    def _refused(self, shift: Shift, outcome: Outcome, error: KitchenError) -> FinishResult | None:
        """Set one outcome aside, and end its order with no more than the news of that."""
        file = self._spool.set_aside(shift, outcome, str(error))
        self.refused += 1
        self._note(f"{outcome.order_id}: the kitchen refuses its outcome, which is set aside in {file}. {error}")
        with suppress(KitchenError):
            return self._kitchen.finish(shift, [without_words(outcome)])[0]
        return None

    def _release_all(self) -> None:
        for token in dict.fromkeys(shift.token for shift, _ in self._releases):
            mine = [(shift, order) for shift, order in self._releases if shift.token == token]
            self._kitchen.release(mine[0][0], [order for _, order in mine])
        self._releases.clear()

    def _keep(self) -> None:
        if self._absence.is_final:
            self._releases.clear()  # nobody hears of them any more: the lease covers them
        try:
            for shift, pending in by_shift(self._outcomes):
                self._spool.save(shift, [one.outcome for one in pending])
            self._outcomes.clear()
            self.is_spool_full = False
        except OSError as error:
            self._cannot_keep(error)

    def _cannot_keep(self, error: OSError) -> None:
        if not self.is_spool_full:
            self._note(f"Outcomes cannot be kept in {self._spool.folder}: {error}. No new orders until they can.")
        self.is_spool_full = True


def without_words(outcome: Outcome) -> Outcome:
    """What is left of an outcome that a kitchen refuses: the order ends, and nobody tries it again for nothing."""
    error = "the kitchen refused its outcome"
    reason = outcome.reason or Reason.EXIT
    group = error_group(error, reason, outcome.exit_code, outcome.signal)
    bare = Outcome(outcome.order_id, outcome.attempt, Status.ERROR, outcome.start, outcome.stop, reason=reason)
    return replace(bare, exit_code=outcome.exit_code, signal=outcome.signal, error=error, error_group=group)


def by_shift(outcomes: Sequence[PendingOutcome]) -> list[tuple[Shift, list[PendingOutcome]]]:
    """The outcomes sorted by the shift that they belong to: two only around the loss of one."""
    sorted_out: dict[str, tuple[Shift, list[PendingOutcome]]] = {}
    for pending in outcomes:
        sorted_out.setdefault(pending.shift.token, (pending.shift, []))[1].append(pending)
    return list(sorted_out.values())
