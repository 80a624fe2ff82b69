"""`@worker` gives a function the settings that it is delivered with, and `main` makes a program of its module.

A host that delivers with the function imports its module, and so this one, but never the command line.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from functools import update_wrapper
from importlib import import_module
from types import ModuleType
from typing import Any, overload

from waiter.delivery.options import DeliveryOptions
from waiter.delivery.worker_setup import home_of, refuse_while_reading
from waiter.errors import UsageError

_SLOTS = "slots"
"""What `jobs` is called as well: a function knows no jobs."""


class Worker:
    """A function that can be called as before, with the settings of its own."""

    def __init__(self, function: Callable[..., object], settings: Mapping[str, object]) -> None:
        self.function = function
        self.settings = settings
        """Fields of `DeliveryOptions`."""
        update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __reduce__(self) -> str:
        """Found again by its name, as functions are."""
        return self.function.__qualname__


@overload
def worker(function: Callable[..., object], /) -> Worker: ...
@overload
def worker(**settings: object) -> Callable[[Callable[..., object]], Worker]: ...
def worker(
    function: Callable[..., object] | None = None, /, **settings: object
) -> Worker | Callable[[Callable[..., object]], Worker]:
    """Decorate a function that delivers, with `slots` and any other of the `DeliveryOptions`. Raises UsageError."""
    checked = _checked(settings)
    if function is not None:
        return Worker(function, checked)
    return lambda decorated: Worker(decorated, checked)


def _checked(settings: Mapping[str, object]) -> Mapping[str, object]:
    known = [field.name for field in fields(DeliveryOptions)]
    named = {"jobs" if name == _SLOTS else name: value for name, value in settings.items()}
    for name in named:
        if name not in known:
            alike = get_close_matches(name, [*known, _SLOTS], n=1)
            meant = f"did you mean {alike[0]}?" if alike else f"they are {_SLOTS}, {', '.join(known)}"
            raise UsageError(f"@worker: no such setting: {name}\nhint: {meant}")
    if len(named) < len(settings):
        raise UsageError("@worker: slots and jobs are the same\nhint: leave one of them out")
    read = DeliveryOptions(**named)  # type: ignore[arg-type] # which checks each value
    return {name: getattr(read, name) for name in named}


def unwrapped(function: object) -> object:
    """The function itself, without the settings."""
    return function.function if isinstance(function, Worker) else function


def settings_of(function: object) -> Mapping[str, object]:
    return function.settings if isinstance(function, Worker) else {}


def main() -> None:
    """Deliver with the program's `@worker` function, as its own arguments say.

    `python -m crunch OPTIONS` is then `waiter deliver OPTIONS python:crunch:FUNCTION`. If there are several, the first
    argument names one of them. The program ends with the exit code.
    """
    refuse_while_reading()
    workers, arguments = _workers(sys.modules["__main__"]), sys.argv[1:]
    if not workers:
        raise UsageError("waiter.main: no function of this program has @worker above it")
    if len(workers) == 1:
        (name,) = workers
    elif arguments and arguments[0] in workers:
        name, *arguments = arguments
    else:
        sys.exit(f"which function? The first argument must be one of {', '.join(workers)}")
    # By its name: a host, which has no command line, must be able to import this module.
    import_module("waiter.cli").main(["deliver", *arguments, f"python:{home_of(workers[name])}:{name}"])


def _workers(program: ModuleType) -> dict[str, Worker]:
    """The program's own by their names; without any, those that it has imported."""
    found = {name: thing for name, thing in vars(program).items() if isinstance(thing, Worker)}
    own = {name: thing for name, thing in found.items() if thing.__module__ == "__main__"}
    return own or found
