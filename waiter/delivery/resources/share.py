"""One waiter's share of the host: what it has granted to its orders, what it may still grant, and what it waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from waiter.delivery.resources.detect import VISIBLE, Host
from waiter.delivery.resources.ledger import Account, Ledger, LedgerBusy
from waiter.delivery.resources.packing import Grant, Reservation, free_gpus, room
from waiter.errors import UsageError
from waiter.needs import NOTHING, Needs, cpu_words, gpu_words, memory_words, parse_needs
from waiter.processes import boottime

RESERVE_AFTER_S = 5.0
"""An order that has waited for so long, while smaller ones went past it, has its place kept."""


class HostShare:
    """Asks nothing of the host before something is needed."""

    def __init__(self, needs: str | None, has: str | None, runner: Callable[[], str | None]) -> None:
        """`needs` of every order that says nothing else, what the host `has`; `runner` names the private folder of the
        runner that holds the commands. Raises UsageError for more than the host has.
        """
        self.usual = NOTHING if needs is None else option("--needs", needs)
        self.host = Host(NOTHING if has is None else option("--has", has))
        self.is_asked = needs is not None
        """Each order needs something, whatever the kitchen knows."""
        self.blocked_by: str | None = None  # the order that waits for room
        self._blocked_at = 0.0
        self._ledger = Ledger()
        self._runner = runner
        self._account = Account()
        self._is_written = False  # something of it stands in the ledger
        if self.is_asked and (words := self.too_much(self.usual)):
            raise UsageError(f"--needs {needs}: {words}\nhint: ask for less, or say what the host has: --has")

    def too_much(self, needs: Needs) -> str | None:
        """Why this host can never run an order with these needs; None if it can."""
        total = self.host.total(needs)
        words = []
        if needs.cpus and needs.cpus > self.host.cpus:
            words.append(f"{cpu_words(needs.cpus)}, and it has {self.host.cpus:.4g}")
        if needs.memory and needs.memory > self.host.memory:
            words.append(f"{memory_words(needs.memory)}, and it has {memory_words(self.host.memory)}")
        if needs.gpus and needs.gpus > (total.gpus or 0):
            words.append(f"{gpu_words(needs.gpus)}, and it has {total.gpus or 'none'}")
        return f"this host has less: {'; '.join(words)}" if words else None

    @property
    def grants(self) -> Mapping[str, Grant]:
        """What its orders have, by their ids."""
        return self._account.grants

    def room(self, wanted: Needs) -> Needs:
        """What may be granted now. Raises LedgerBusy."""
        total = self.host.total(wanted)
        with self._ledger.opened() as book:
            return room(total, book.grants(), book.reservations_before(self._since()))

    def grant(self, order_id: str, needs: Needs) -> bool:
        """Let the order have what it needs, if there is room; one that has it already keeps it."""
        if order_id in self._account.grants:
            return True
        total, runner = self.host.total(needs), self._runner()
        try:
            with self._ledger.opened() as book:
                grants, ahead = book.grants(), book.reservations_before(self._since())
                if order_id != self.blocked_by and self._account.reservation is not None:
                    ahead.append(self._account.reservation)  # no other order of ours goes before it either
                gpus = free_gpus(self.host.gpus, grants, needs.gpus) if needs.gpus else ()
                if gpus is None or not needs.fits(room(total, grants, ahead)):
                    return False
                granted = Grant(needs.cpus or 0.0, needs.memory or 0, gpus, boottime())
                self._account.grants[order_id] = granted
                self._account.runner = runner
                if order_id == self.blocked_by:
                    self._forget()
                book.mine, self._is_written = self._account, True
        except LedgerBusy:
            return False
        return True

    def keep_only(self, held: Iterable[str]) -> None:
        """Take back what was granted to orders that are not held any more."""
        if not self._account.grants:
            return
        still = set(held)
        kept = {order_id: grant for order_id, grant in self._account.grants.items() if order_id in still}
        if len(kept) == len(self._account.grants):
            return
        try:
            with self._ledger.opened() as book:
                self._account.grants = kept
                book.mine = self._account
        except LedgerBusy:
            return  # the next look does it

    def note_blocked(self, order_id: str, needs: Needs) -> None:
        """This order is next and has no room: once it has waited for long, its place is kept. Raises LedgerBusy."""
        now = boottime()
        if order_id != self.blocked_by:
            self._forget()
            self.blocked_by, self._blocked_at = order_id, now
        if now - self._blocked_at >= RESERVE_AFTER_S:
            at = self._account.reservation.at if self._account.reservation else now
            self._account.reservation, self._account.renewed_at = Reservation(needs, at), now
            self._publish()

    def note_unblocked(self) -> None:
        """Nothing waits for room. Raises LedgerBusy."""
        had = self._account.reservation is not None
        self._forget()
        if had:
            self._publish()

    def close(self) -> None:
        """Give everything back: nothing of this waiter's orders lives any more."""
        self._forget()
        with suppress(LedgerBusy, UsageError):  # then what is written there ends with this process
            if self._account.grants:
                self.keep_only(())
            elif self._is_written:
                self._publish()

    def env(self, order_id: str, needs: Needs) -> dict[str, str]:
        """What tells a command what its order was granted: of GPUs the ids, never only how many."""
        granted = self._account.grants.get(order_id)
        if granted is None:
            return {}
        env = {"WAITER_CPUS": f"{granted.cpus:.6g}"} if needs.cpus else {}
        if needs.memory:
            env["WAITER_MEMORY"] = str(granted.memory)
        if needs.gpus is not None:  # none: then none is to be seen either
            env |= dict.fromkeys(("WAITER_GPU", *VISIBLE), ",".join(granted.gpus))
        return env

    def _since(self) -> float:
        """Since when this waiter's reservation counts; who has none comes last."""
        reservation = self._account.reservation
        return boottime() if reservation is None else reservation.at

    def _forget(self) -> None:
        self.blocked_by, self._account.reservation = None, None

    def _publish(self) -> None:
        with self._ledger.opened() as book:
            book.mine, self._is_written = self._account, True


def option(name: str, text: str) -> Needs:
    """The value of an option. Raises UsageError."""
    try:
        needs = parse_needs(text)
    except UsageError as error:
        raise UsageError(
            f"{name}: {error}" if str(error).startswith(f"{text}:") else f"{name} {text}: {error}"
        ) from None
    if needs == NOTHING:
        raise UsageError(f"{name}: no value\nhint: {name} cpus=2,mem=4G,gpu=1")
    return needs
