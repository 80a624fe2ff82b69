"""The legal changes of an order, once: from where to where, what is set and what goes, and what the history says of it.

Values, which the kitchens render: `sqlite.changes` as SQL, `mongo.updates` as update pipelines. All of a change happens
in one atomic step, and reads the order as it was before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from operator import attrgetter

from waiter.failure_groups import error_group
from waiter.kitchen.printable import printable
from waiter.light_dataclass import dataclass, field
from waiter.orders import Outcome, Reason, Status

LOST_WORDS = "its waiter died while it ran"
TOO_LARGE_WORDS = "too large to be claimed: MongoDB takes no document of more than 16 MB"

OF_AN_ATTEMPT = (
    "stop",
    "exit_code",
    "signal",
    "reason",
    "error",
    "error_group",
    "tail",
    "result",
    "command",
    "peak_memory",
)
"""What an order has of its last attempt besides the start: all that an outcome brings."""

OF_AN_OUTCOME = ("start", *OF_AN_ATTEMPT)
_facts = attrgetter(*OF_AN_OUTCOME)

OF_AN_EVENT = ("start", "stop", "exit_code", "signal", "reason", "error", "command")
"""What of an outcome the history keeps."""


@dataclass(frozen=True, slots=True)
class Now:
    """The kitchen's clock."""


@dataclass(frozen=True, slots=True)
class Given:
    """What whoever changes the order brings along, under this name."""

    name: str


@dataclass(frozen=True, slots=True)
class Own:
    """What the order has in this field."""

    field: str


@dataclass(frozen=True, slots=True)
class Plus:
    """A number of the order's, and so much more."""

    field: str
    by: int | Given


@dataclass(frozen=True, slots=True)
class IfCancelAsked:
    """Somebody wants the running order to stop: it gets no other try."""

    then: Value
    otherwise: Value


Value = Now | Given | Own | Plus | IfCancelAsked | str | int | None
"""What a field becomes. None: the order has nothing there any more."""


@dataclass(frozen=True, slots=True)
class Record:
    """An event for the history, with the time, the order's attempt and its waiter besides these facts."""

    what: str
    status: Value  # the order's after it
    facts: Mapping[str, Value] = field(default_factory=lambda: {"shift": Own("shift")})
    is_if_cancel_asked: bool = False  # else there is none


@dataclass(frozen=True, slots=True)
class Change:
    """One legal change of an order."""

    origin: tuple[Status, ...]
    fields: Mapping[str, Value]
    record: Record | None = None


_AGAIN = IfCancelAsked(Status.CANCELLED, Status.READY)
_FREE: Mapping[str, Value] = {"shift": None, "is_cancel_asked": None}
_TOLD: Mapping[str, Value] = {
    **{name: Given(name) for name in OF_AN_OUTCOME},
    "failures": Plus("failures", Given("failed")),
    "losses": Plus("losses", Given("lost")),
    **_FREE,
}
_FINISHED: Mapping[str, Value] = {"shift": Given("shift"), **{name: Given(name) for name in OF_AN_EVENT}}
_RUNNING = (Status.RUNNING,)

CLAIM = Change(
    (Status.READY,),
    {
        "status": Status.RUNNING,
        "shift": Given("shift"),
        "waiter": Given("waiter"),
        "host": Given("host"),
        "attempt": Plus("attempt", 1),
        "start": Given("start"),
        **dict.fromkeys(OF_AN_ATTEMPT),  # nothing of an earlier attempt stays beside the new one
    },
)
END = Change(
    _RUNNING,
    {**_TOLD, "status": Given("status"), "due": None},
    Record("finish", Given("status"), _FINISHED),
)
"""An outcome that is DONE, ERROR or CANCELLED."""

# What is READY again tells of its last attempt until the next one begins.
TRY_AGAIN = Change(
    _RUNNING,
    {**_TOLD, "status": _AGAIN, "due": IfCancelAsked(None, Given("due"))},
    Record("finish", _AGAIN, _FINISHED),
)
"""An outcome that is READY."""

RELEASE = Change(
    _RUNNING,
    {
        "status": _AGAIN,
        "attempt": Plus("attempt", -1),
        **dict.fromkeys(("due", "waiter", "host", "start")),
        "stop": IfCancelAsked(Now(), None),
        "reason": IfCancelAsked(Reason.CANCELLED, None),
        **_FREE,
    },
    Record("cancel", Status.CANCELLED, is_if_cancel_asked=True),
)
"""As if it had never been claimed."""


def _lost(status: Status) -> Change:
    return Change(
        _RUNNING,
        {
            "status": status,
            "losses": Plus("losses", 1),
            "due": Given("due") if status is Status.READY else None,
            "stop": Now(),
            "exit_code": None,
            "signal": None,
            "reason": Reason.CANCELLED if status is Status.CANCELLED else Reason.LOST,
            "error": LOST_WORDS,
            "error_group": error_group(LOST_WORDS, Reason.LOST, None, None),
            **_FREE,
        },
        Record(
            "lost",
            status,
            {"shift": Own("shift"), "start": Own("start"), "stop": Now(), "reason": Reason.LOST, "error": LOST_WORDS},
        ),
    )


LOSE = {status: _lost(status) for status in (Status.READY, Status.ERROR, Status.CANCELLED)}
"""Its shift is dead: READY to be tried again, ERROR at the last loss, CANCELLED if that was asked."""

RESET = Change(
    (Status.RUNNING, Status.DONE, Status.ERROR, Status.CANCELLED),
    {
        "status": Status.READY,
        "failures": 0,
        "losses": 0,
        **dict.fromkeys(("due", "start", "waiter", "host", *OF_AN_ATTEMPT)),
        **_FREE,
    },
    Record("reset", Status.READY),
)
"""Counted from zero again; `attempt` goes on."""

CANCEL = Change(
    (Status.READY,),
    {"status": Status.CANCELLED, "due": None, "reason": Reason.CANCELLED, "start": None, "stop": Now()},
    Record("cancel", Status.CANCELLED),
)
ASK_TO_CANCEL = Change(_RUNNING, {"is_cancel_asked": True})


@cache
def refuse() -> Change:
    """The kitchen cannot hand it out. What can be spared goes, so that the reason fits.

    A function: few processes need it, and to tell the kind of its error takes long.
    """
    return Change(
        (Status.READY,),
        {
            "status": Status.ERROR,
            "stop": Now(),
            "reason": Reason.UNSTARTABLE,
            "error": TOO_LARGE_WORDS,
            "error_group": error_group(TOO_LARGE_WORDS, Reason.UNSTARTABLE, None, None),
            "tail": None,
            "result": None,
        },
        Record("refused", Status.ERROR, {"reason": Reason.UNSTARTABLE, "error": TOO_LARGE_WORDS}),
    )


def told_by(outcome: Outcome) -> dict[str, str | float | None]:
    """What the outcome tells of `OF_AN_OUTCOME`, as a database takes it. The order has nothing in the other fields."""
    facts = zip(OF_AN_OUTCOME, _facts(outcome), strict=True)
    return {name: printable(str(fact)) if isinstance(fact, str) else fact for name, fact in facts if fact is not None}


def facts_of(outcome: Outcome) -> dict[str, str | float | None]:
    """All of `OF_AN_OUTCOME`, as a database takes it."""
    return {**dict.fromkeys(OF_AN_OUTCOME), **told_by(outcome)}


def counted(outcome: Outcome) -> tuple[int, int]:
    """What the outcome adds to the order's failures and to its losses."""
    is_loss = outcome.reason is Reason.LOST
    is_innocent = outcome.status in (Status.DONE, Status.CANCELLED) or outcome.reason is Reason.INTERRUPTED
    return int(not (is_loss or is_innocent)), int(is_loss)
