"""How a function gets into a worker process: by its name, or pickled, with the program that it was made in read again.

As multiprocessing's spawn does it, which finds the functions of a program in the same way.
"""

from __future__ import annotations

import base64
import json
import runpy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from pickle import dumps, loads
from types import ModuleType

from waiter.errors import UsageError

_MAIN = "__main__"
_READ_AGAIN = "__mp_main__"
"""What a program is called in a worker: `if __name__ == "__main__"` is not for it. The name is multiprocessing's."""

_is_reading = False


def refuse_while_reading() -> None:
    """Raise UsageError in a worker that is just reading the user's program: it must not deliver in turn."""
    if _is_reading:
        raise UsageError(
            "this program delivers while its own worker process reads it\n"
            "hint: what begins the work goes under: if __name__ == '__main__':"
        )


@contextmanager
def reading() -> Iterator[None]:
    """While a module of the user's is imported only for a function in it."""
    global _is_reading
    before, _is_reading = _is_reading, True
    try:
        yield
    finally:
        _is_reading = before


def home_of(function: object) -> str:
    """The module of a function by the name under which another process can import it."""
    module: str = getattr(function, "__module__", None) or _MAIN
    if module != _MAIN:
        return module
    main = sys.modules[_MAIN]
    if (spec := main.__spec__) is not None:  # python -m
        return spec.name
    return Path(file).stem if (file := getattr(main, "__file__", None)) else _MAIN


def pickled_setup(function: Callable[..., object], *, is_many: bool) -> str:
    """What a worker must be told to have this function. Raises UsageError for one that cannot be sent."""
    try:
        pickled = dumps(function)
    except Exception as error:  # noqa: BLE001 - of pickle's own, and of whatever the user's objects do
        raise UsageError(
            f"{function!r:.80} cannot be sent to a worker process: {error}\n"
            "hint: define it at the top of a module, or let it run in threads: processes=False"
        ) from None
    program = _program() if _MAIN.encode() in pickled else None  # else its modules can be imported
    told = {"pickle": base64.b64encode(pickled).decode("ascii")}
    return json.dumps({"path": sys.path, "argv": sys.argv[:1], "program": program, "function": told, "many": is_many})


def _program() -> dict[str, str]:
    """How the program that runs can be read again: the function, or a class that it needs, is found in it."""
    main = sys.modules[_MAIN]
    spec, file = main.__spec__, getattr(main, "__file__", None)
    if spec is not None:
        return {"module": spec.name}
    if file is not None and Path(file).is_file():
        return {"file": str(Path(file).absolute())}
    raise UsageError(
        "a function that was typed at a prompt, or read from stdin, cannot be sent to a worker process\n"
        "hint: put it in a file and import it; or let it run in threads: processes=False"
    )


def named_setup(module: str, name: str, *, is_many: bool) -> str:
    """The same for a function that can be imported."""
    told = {"module": module, "name": name}
    return json.dumps({"path": sys.path, "argv": sys.argv[:1], "program": None, "function": told, "many": is_many})


def read_setup(line: str) -> tuple[Callable[..., object], bool]:
    """In a worker: the function, and whether it takes several orders. Raises whatever the user's program raises."""
    setup = json.loads(line)
    sys.path[:] = setup["path"]
    sys.argv[:] = setup["argv"]
    with reading():
        if setup["program"]:
            _read_again(**setup["program"])
        return _function(**setup["function"]), setup["many"]


def _function(pickle: str | None = None, module: str = "", name: str = "") -> Callable[..., object]:
    if pickle is not None:
        return loads(base64.b64decode(pickle))  # type: ignore[no-any-return]
    found: Callable[..., object] = attrgetter(name)(import_module(module))
    return found


def _read_again(module: str | None = None, file: str | None = None) -> None:
    program = ModuleType(_READ_AGAIN)
    sys.modules[_MAIN] = sys.modules[_READ_AGAIN] = program
    read = (
        runpy.run_module(module, run_name=_READ_AGAIN, alter_sys=False)
        if module
        else runpy.run_path(file or "", run_name=_READ_AGAIN)
    )
    program.__dict__.update(read)
