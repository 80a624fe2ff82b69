"""Where the output of commands and of worker processes goes: to the waiter, or to files that an order names."""

from __future__ import annotations

from pathlib import Path

from waiter.delivery.options import DeliveryOptions, Grouping
from waiter.delivery.output_names import stem
from waiter.delivery.runner.client import Capture
from waiter.errors import UsageError
from waiter.orders import Order
from waiter.user_dirs import full_path


def capture(options: DeliveryOptions, slots: int) -> Capture:
    """How the runner is to collect output."""
    if options.output is not None:
        return Capture.FILES
    grouping = options.grouping
    if grouping is Grouping.AUTO:
        grouping = Grouping.STREAM if slots == 1 and not options.keep_order else Grouping.GROUP
    return {
        Grouping.STREAM: Capture.STREAM,
        Grouping.GROUP: Capture.GROUP,
        Grouping.LINE: Capture.LINE,
        Grouping.NONE: Capture.DISCARD,
    }[grouping]


def output_paths(options: DeliveryOptions, order: Order) -> tuple[str | None, str | None, str | None]:
    """The files for stdout and stderr, and the name to take where one of them exists, as a `Job` has them."""
    if options.output is None:
        return None, None, None
    folder = full_path(Path(options.output))
    names = stem(options.output_format, order)
    return f"{folder}/{names.name}.out", f"{folder}/{names.name}.err", f"{folder}/{names.spare}"


def make_output_folder(options: DeliveryOptions) -> None:
    """Make the folder of `--output`, if there is to be one. Raises UsageError."""
    if not options.output:
        return
    try:
        Path(options.output).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--output {options.output}: {error.strerror}") from error
