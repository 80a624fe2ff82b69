"""What an ended command means for its order: done, failed, or another try. Pure, but for the dice of the backoff."""

from __future__ import annotations

import signal as signals
from collections.abc import Collection
from dataclasses import replace
from random import Random

from waiter.delivery.options import DeliveryOptions, Keep
from waiter.delivery.runner.client import End, Ended
from waiter.errors import UsageError
from waiter.failure_groups import error_group
from waiter.kitchen.contract import loss_delay_s
from waiter.light_dataclass import dataclass
from waiter.limits import TAIL_BYTES
from waiter.orders import Order, Outcome, Reason, Status

MAX_BACKOFF_S = 600.0


@dataclass(frozen=True, slots=True)
class Halt:
    """GNU parallel's `--halt when,why`: when to stop taking orders, and how."""

    is_now: bool  # running commands are stopped too
    counts: str  # "fail", "success" or "done"
    number: int
    is_percent: bool

    def left(self, delivered: int, failed: int) -> int | None:
        """How many orders may end until it can be reached; None where that depends on how they end."""
        count = {"fail": failed, "success": delivered, "done": delivered + failed}[self.counts]
        return None if self.is_percent else self.number - count

    def is_reached(self, delivered: int, failed: int) -> bool:
        """Whether these counts of one waiter call for it. A percentage wants at least three orders that ended."""
        finished = delivered + failed
        count = {"fail": failed, "success": delivered, "done": finished}[self.counts]
        if self.is_percent:
            return finished >= 3 and count * 100 >= self.number * finished
        return count >= self.number


def parse_halt(text: str) -> Halt:
    """`now,fail=1`, `soon,fail=10%`, `soon,done=100`. Raises UsageError."""
    when, _, why = text.partition(",")
    what, _, number = why.partition("=")
    digits = number.removesuffix("%")
    if (
        when not in ("now", "soon")
        or what not in ("fail", "success", "done")
        or not digits.isdigit()
        or int(digits) < 1
    ):
        raise UsageError(f"--halt {text}: not understood\nhint: write now or soon, and what to count: soon,fail=10%")
    return Halt(when == "now", what, int(digits), number.endswith("%"))


def backoff(failures: int, base_s: float, rng: Random) -> float:
    """Seconds before an order that failed `failures` times is tried again.

    Full jitter between 0 and base * 2**(failures - 1), 600 at most: orders that failed together do not come back
    together.
    """
    return rng.uniform(0, min(MAX_BACKOFF_S, base_s * 2.0 ** min(failures - 1, 30)))


def decide_outcome(
    order: Order,
    ended: Ended,
    options: DeliveryOptions,
    clock_offset_s: float,
    rng: Random,
    command: str,
    why_stopped: Reason = Reason.CANCELLED,
) -> Outcome:
    """The outcome of one attempt. `clock_offset_s` turns the runner's clock into the kitchen's.

    `why_stopped` is CANCELLED or INTERRUPTED: why the waiter had stopped the order, if it had.
    """
    reason = _reason(ended, options, why_stopped)
    status, delay_s = _status(order, ended, reason, options, rng)
    error = None if reason is None else (ended.message or _words(ended, reason)).strip()
    is_well = reason is None or reason is Reason.INTERRUPTED
    group = None if is_well else error_group(error or "", reason, ended.exit_code, ended.signal, order.arguments)
    is_tail_kept = options.keep_output is Keep.ALL or (options.keep_output is Keep.ERRORS and reason is not None)
    return Outcome(
        order_id=order.id,
        attempt=order.attempt,
        status=status,
        start=ended.started + clock_offset_s,
        stop=ended.stopped + clock_offset_s,
        exit_code=ended.exit_code,
        signal=ended.signal,
        reason=reason,
        delay_s=delay_s,
        error=error,
        error_group=group,
        tail=ended.tail[-TAIL_BYTES:].decode("utf-8", "replace") if is_tail_kept and ended.tail else None,
        result=ended.result,
        command=command,
        peak_memory=ended.peak_memory,
    )


def died_of(ended: Ended, numbers: Collection[int]) -> bool:
    """Whether one of these signals, sent by somebody else, ended the command; a shell says so with 128 + its number."""
    number = ended.signal if ended.signal is not None else (ended.exit_code or 0) - 128
    return ended.end is End.EXITED and number in numbers


def unstartable(order: Order, why: str, at: float, command: str) -> Outcome:
    """The outcome of an order that no kernel starts: too long, or a placeholder that it cannot fill."""
    return Outcome(
        order_id=order.id,
        attempt=order.attempt,
        status=Status.ERROR,
        start=at,
        stop=at,
        reason=Reason.UNSTARTABLE,
        error=why,
        error_group=error_group(why, Reason.UNSTARTABLE, None, None, order.arguments),
        command=command,
    )


def lost(order: Order, why: str, at: float, command: str, max_losses: int, rng: Random) -> Outcome:
    """The outcome of an order whose waiter, or the runner under it, died while it ran."""
    is_last = order.losses + 1 >= max_losses
    return replace(
        unstartable(order, why, at, command),
        status=Status.ERROR if is_last else Status.READY,
        start=order.start or at,
        reason=Reason.LOST,
        error_group=error_group(why, Reason.LOST, None, None, order.arguments),
        delay_s=0.0 if is_last else loss_delay_s(order.losses + 1, rng),
    )


def _reason(ended: Ended, options: DeliveryOptions, why_stopped: Reason) -> Reason | None:
    if ended.end is End.TIMEOUT:
        return Reason.TIMEOUT
    if ended.end is End.MEMORY:
        return Reason.MEMORY
    if ended.end is End.STOPPED:
        return why_stopped
    if ended.end is End.UNSTARTABLE:
        return Reason.UNSTARTABLE
    if ended.signal is not None:
        return Reason.SIGNAL
    code = ended.exit_code or 0
    is_failure = code in options.fail_on if options.fail_on else code != 0
    return Reason.EXIT if is_failure else None


def _status(
    order: Order, ended: Ended, reason: Reason | None, options: DeliveryOptions, rng: Random
) -> tuple[Status, float]:
    if reason is None:
        return Status.DONE, 0.0
    if reason is Reason.CANCELLED:
        return Status.CANCELLED, 0.0
    if reason is Reason.INTERRUPTED:
        return Status.READY, 0.0  # it has done nothing wrong
    is_worth_it = not options.retry_on or (reason is Reason.EXIT and ended.exit_code in options.retry_on)
    if reason is Reason.UNSTARTABLE or order.failures >= options.retries or not is_worth_it:
        return Status.ERROR, 0.0
    return Status.READY, backoff(order.failures + 1, options.backoff_s, rng)


def _words(ended: Ended, reason: Reason) -> str:
    """What failed in one line: the command's last words on stderr or stdout, else how it ended."""
    if reason is Reason.UNSTARTABLE:
        return "its arguments are longer than the kernel takes"
    if reason is Reason.TIMEOUT:
        return f"timeout after {ended.stopped - ended.started:.1f} s"
    if reason is Reason.MEMORY:
        return "killed for memory"
    if reason in (Reason.CANCELLED, Reason.INTERRUPTED):
        return reason.value
    last = next((line for line in reversed(ended.tail.decode("utf-8", "replace").splitlines()) if line.strip()), "")
    if reason is Reason.SIGNAL and ended.signal is not None:
        return f"killed by {_signal_name(ended.signal)}" + (f": {last[:200]}" if last else "")
    return f"exit code {ended.exit_code}" + (f": {last[:200]}" if last else "")


def _signal_name(number: int) -> str:
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"signal {number}"
