"""docs/architecture.md names what exists, and its diagram shows the changes that the kitchens make to orders."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Clock, check_in, fill, let_leases_run_out, outcome
from tests.docs.page import ROOT
from waiter.kitchen import transitions
from waiter.kitchen.contract import MAX_LOSSES, Kitchen
from waiter.kitchen.transitions import Change, Given, IfCancelAsked, Value
from waiter.orders import Selector, Shift, Status

PAGE = (ROOT / "docs" / "architecture.md").read_text()

ALL = Selector()
GONE = "[*]"

TOO_LARGE = ("READY", "ERROR", "claim")
"""Of an order with 16 MB: tests/contract/test_orders_that_grow.py makes one."""

Edge = tuple[str, str, str]
"""From, to, the method that does it."""


def diagram() -> set[Edge]:
    arrows = re.findall(r"^ +(\S+) --> (\S+): ([\w, ]+)$", PAGE, re.MULTILINE)
    return {(before, after, method) for before, after, methods in arrows for method in methods.split(", ")}


def paths() -> set[str]:
    """What the page names of ours: paths from the root, in text and in diagrams."""
    return {word.rstrip("./") for word in re.findall(r"(?<![\w/.])(?:waiter|tests|docs|benchmarks)/[\w./-]+", PAGE)}


def test_every_path_exists():
    assert {path for path in paths() if not (ROOT / path).exists()} == set()
    assert len(paths()) > 40


def test_every_file_named_beside_another_exists():
    """`validation.py` behind `waiter/intake/rows.py`: in the folder of a path on the same line."""
    named = [
        (name, folders(line)) for line in PAGE.splitlines() for name in re.findall(r"(?<![\w/.])(\w+\.py)\b", line)
    ]

    assert [name for name, beside in named if not any((folder / name).is_file() for folder in beside)] == []


def folders(line: str) -> list[Path]:
    """The folders of the paths on this line."""
    found = [ROOT / path for path in re.findall(r"waiter/[\w./]+", line)]
    return [path if path.is_dir() else path.parent for path in found]


def test_every_link_within_the_docs_leads_somewhere():
    links = re.findall(r"\]\(([\w-]+\.md)\)", PAGE)

    assert links != []
    assert [link for link in links if not (ROOT / "docs" / link).is_file()] == []


def test_every_package_of_ours_is_in_the_page():
    rooms = {path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "waiter").glob("*/__init__.py")}

    assert rooms - paths() == set()


def test_every_arrow_is_a_method_of_the_contract():
    assert {method for *_, method in diagram() if not hasattr(Kitchen, method)} == set()


def in_status(kitchen: Kitchen, status: Status) -> Shift:
    """Let the kitchen have one order, of that status; returns the shift that has it or had it."""
    fill(kitchen, [["x"]])
    shift = check_in(kitchen)
    if status is Status.CANCELLED:
        kitchen.cancel(ALL)
    elif status is not Status.READY:
        orders = kitchen.claim(shift, 1)
        if status is not Status.RUNNING:
            kitchen.finish(shift, [outcome(orders[0], status)])
    return shift


def acts(kitchen: Kitchen, clock: Clock) -> Iterator[tuple[str, Callable[[Shift], object]]]:
    """All that may change an order: the method's name, and a call of it."""

    def finish(status: Status) -> Callable[[Shift], object]:
        return lambda shift: kitchen.finish(shift, [outcome(order, status) for order in kitchen.find(ALL)])

    def reclaim(max_losses: int) -> Callable[[Shift], object]:
        def act(_shift: Shift) -> None:
            let_leases_run_out(kitchen, clock)
            kitchen.reclaim(max_losses)

        return act

    yield "claim", lambda shift: kitchen.claim(shift, 1)
    yield from (("finish", finish(status)) for status in Status if status is not Status.RUNNING)
    yield "release", lambda shift: kitchen.release(shift, list(kitchen.find(ALL)))
    yield "check_out", kitchen.check_out
    yield from (("reclaim", reclaim(max_losses)) for max_losses in (1, MAX_LOSSES))
    yield "reset", lambda _: kitchen.reset(ALL, from_living=True)
    yield "cancel", lambda _: kitchen.cancel(ALL)
    yield "clean", lambda _: kitchen.clean(ALL)


@pytest.mark.parametrize("status", list(Status))
def test_the_diagram_shows_the_changes_that_a_kitchen_makes(kitchen, clock, status):
    made: set[Edge] = set()
    for is_cancel_asked in (False, True) if status is Status.RUNNING else (False,):
        for method, act in acts(kitchen, clock):
            shift = in_status(kitchen, status)
            if is_cancel_asked:
                kitchen.cancel(ALL)

            act(shift)

            after = [order.status.value for order in kitchen.find(ALL)] or [GONE]
            made |= {(status.value, after[0], method)} if after != [status.value] else set()
            kitchen.clean(ALL)

    assert made == {edge for edge in diagram() - {TOO_LARGE} if edge[0] == status.value}


def test_the_diagram_has_the_arrows_of_the_legal_changes():
    changes = [transitions.refuse(), *(value for value in vars(transitions).values() if isinstance(value, Change))]
    legal = {
        (before.value, after)
        for change in [*changes, *transitions.LOSE.values()]
        for before in change.origin
        for after in ends(change.fields.get("status"))
    }

    assert legal == {(before, after) for before, after, _ in diagram() if GONE not in (before, after)}


def ends(status: Value) -> list[str]:
    """The statuses that a change may lead to; none if it leaves the status alone."""
    match status:
        case None:
            return []
        case IfCancelAsked(then, otherwise):
            return ends(then) + ends(otherwise)
        case Given():  # by an outcome
            return [status.value for status in Status if status.is_final]
        case _:
            return [str(status)]
