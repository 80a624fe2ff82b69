"""What the stages of a pipeline would run, for `--dry-run`: their rows, with what those before have of the same row.

Arguments of earlier stages are known from their input; results are not, before anything has run: such a placeholder
stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from waiter.cli.commands.load import opened_input
from waiter.cli.input_orders import orders_of
from waiter.cli.pipeline_file import Stage
from waiter.delivery.earlier import facts_of
from waiter.delivery.placeholders import BRACES, parted
from waiter.errors import CommandUnstartable, UsageError
from waiter.matching import BadRows
from waiter.orders import Order
from waiter.row_numbers import row_shift


@contextmanager
def naming_stage(stage: Stage, file: Path) -> Iterator[None]:
    """Inside, what is wrong names the file and the stage."""
    try:
        yield
    except (UsageError, CommandUnstartable) as error:
        raise type(error)(f"{file}, stage {stage.name}: {error}") from None


@contextmanager
def stage_orders(stage: Stage, stages: Sequence[Stage], file: Path) -> Iterator[Iterator[Order]]:
    """The orders of the stage, as far as its command sees them before anything has run."""
    by_name = {one.name: one for one in stages}
    with ExitStack() as kept:

        def rows_of(one: Stage) -> Iterator[Order]:
            first = _first_of(one, by_name)
            input = kept.enter_context(opened_input(str(file.parent / one.input), one.reading))
            shift = row_shift(is_headed=one.reading.header, is_other_headed=first.reading.header)
            return orders_of(replace(input, shift=shift), BadRows(is_skipping=one.reading.skip_bad))

        before = [one for one in _before(stage, by_name) if any(f"{{{one.name}." in word for word in stage.words)]
        yield _with_earlier(rows_of(stage), stage.words, [(one.name, _Rows(rows_of(one))) for one in before])


def _before(stage: Stage, by_name: dict[str, Stage]) -> Iterator[Stage]:
    """The stages that it comes after row by row, the nearest first."""
    while stage.after_row is not None:
        stage = by_name[stage.after_row]
        yield stage


def _first_of(stage: Stage, by_name: dict[str, Stage]) -> Stage:
    return [stage, *_before(stage, by_name)][-1]


class _Rows:
    """Looks rows up whose numbers rise."""

    def __init__(self, orders: Iterator[Order]) -> None:
        self._orders = orders
        self._at: Order | None = next(orders, None)

    def find(self, row: int) -> Order | None:
        while self._at is not None and self._at.row < row:
            self._at = next(self._orders, None)
        return self._at if self._at is not None and self._at.row == row else None


def _with_earlier(
    orders: Iterable[Order], words: Sequence[str], before: Sequence[tuple[str, _Rows]]
) -> Iterator[Order]:
    asked = {parted(name, None)[0] for word in words for _, name, _ in BRACES.findall(word)}
    for order in orders:
        earlier: list[tuple[str, str]] = []
        for name, rows in before:
            known = dict(facts_of(name, other)) if (other := rows.find(order.row)) else {}
            results = [one for one in asked if one.startswith(f"{name}.") and one not in known]
            earlier += [*known.items(), *((one, f"{{{one}}}") for one in results)]
        yield replace(order, earlier=tuple(earlier)) if before else order
