"""How orders stood when the waiting for them was over, and the facts of it that a notification carries."""

from __future__ import annotations

from typing import Any

from waiter.errors import ExitCode
from waiter.kitchen.contract import Kitchen
from waiter.light_dataclass import dataclass
from waiter.orders import Counts, FailureGroup, Selector, Status
from waiter.report.columns import printable, timestamp
from waiter.report.formatting import format_counts

KINDS_TOLD = 5
"""How many kinds of failures are told."""


@dataclass(frozen=True, slots=True)
class WaitResult:
    """How orders stood when the waiting for them was over."""

    kitchen: str  # never with a password
    batch: str | None  # as it was asked for; None: all orders
    counts: Counts
    gave_up: int = 0  # the exit code of who waits no longer; 0: all orders have ended
    failures: tuple[FailureGroup, ...] = ()
    at: float | None = None  # the kitchen's clock; None: it does not answer
    is_enough: bool = False  # who asked for them wants no more to be delivered
    report: str | None = None  # the path of a report that was written of it
    link: str | None = None  # where people find it, or the page

    @property
    def exit_code(self) -> int:
        """What `wait` ends with."""
        if self.is_enough:
            return 0
        return self.gave_up or (0 if self.counts[Status.DONE] == self.counts.total else 1)

    @property
    def sentence(self) -> str:
        """It in words."""
        whys = {0: "", ExitCode.LIMIT: "The time is up: ", ExitCode.UNATTENDED: "Nobody is at work: "}
        why = whys.get(self.gave_up, "Not all: ")
        return f"{why}{format_counts(self.counts) if self.counts.total else 'Nothing was ordered'}."


def wait_result(kitchen: Kitchen, batch: str | None, gave_up: int = 0) -> WaitResult:
    """How the orders of a batch, or all, stand now, `gave_up` if some have not ended."""
    selector = Selector(batch=batch) if batch else None
    counts = kitchen.counts(selector)
    gave_up = gave_up if counts.finished < counts.total else 0
    failures = kitchen.failure_groups(selector)[:KINDS_TOLD] if counts[Status.ERROR] else []
    return WaitResult(kitchen.url, batch, counts, gave_up, tuple(failures), kitchen.now())


def result_facts(result: WaitResult) -> dict[str, Any]:
    """The JSON object."""
    text = result.sentence if result.batch is None else f"{result.batch}: {result.sentence}"
    return {
        "text": f"{text} {result.link}" if result.link else text,
        "is_done": not result.gave_up,
        "exit_code": result.exit_code,
        "kitchen": result.kitchen,
        "batch": result.batch,
        "total": result.counts.total,
        "counts": {status.value: result.counts[status] for status in Status},
        "failures": [
            {"group": g.group, "count": g.count, "message": printable(g.message), "example": g.example}
            for g in result.failures
        ],
        "at": timestamp(result.at),
        **({"report": printable(result.report)} if result.report else {}),
        **({"link": result.link} if result.link else {}),
    }


def result_variables(result: WaitResult) -> dict[str, str]:
    """The facts as WAITER_… variables; what nobody knows is left out."""
    values = {"report": None, "link": None, **result_facts(result)}
    named = {
        f"WAITER_{name.upper()}": values[name] for name in ("text", "exit_code", "batch", "total", "report", "link")
    }
    named |= {"WAITER_KITCHEN_URL": values["kitchen"]}
    named |= {f"WAITER_COUNT_{status}": count for status, count in values["counts"].items()}
    return {name: str(value) for name, value in named.items() if value is not None}
