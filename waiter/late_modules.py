"""Modules of the standard library that are imported when they are first asked for something.

Click imports `inspect` for one function, and dataclasses for another; others import `platform`, `ipaddress` and
`locale` for what hardly anybody does. That is a tenth of the time in which a waiter starts. MongoDB's driver asks
`importlib.metadata`, which brings `email` and `zipfile`, for other packages' versions if they are too old: a sixth of
what the driver takes. Its half for asyncio, which a waiter does not use, is an eighth.
Only `python -m waiter` makes them late, in its own process.
"""

from __future__ import annotations

import os
import sys
from _thread import RLock
from importlib import import_module
from types import ModuleType

TYPE_CHECKING = False  # `typing` is not needed here
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

_importing = RLock()
_ASYNC = "pymongo.asynchronous.mongo_client"


class _Late(ModuleType):
    """Stands in `sys.modules` for a module until an attribute is asked for that it has not."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):  # what the import system asks
            raise AttributeError(name)
        with _importing:
            if sys.modules.get(self.__name__) is self:
                del sys.modules[self.__name__]
            real = import_module(self.__name__)
            vars(self).update(vars(real))
        return getattr(real, name)


class _Driver(ModuleType):
    """MongoDB's driver, once its half for asyncio is late."""

    @property
    def AsyncMongoClient(self) -> object:  # noqa: N802 - as the driver calls it
        return import_module(_ASYNC).AsyncMongoClient


class _AsyncHalf(_Late):
    """Stands for that half. The driver, while it is imported, asks for one class, only to hand it on."""

    def __getattr__(self, name: str) -> object:
        driver = sys.modules.get("pymongo")
        if name == "AsyncMongoClient" and getattr(driver and driver.__spec__, "_initializing", False):
            driver.__class__ = _Driver  # whose property wins over what the driver keeps under that name
            return None
        return super().__getattr__(name)


def make_late() -> None:
    """Put off the import of modules that few commands use."""
    if "pymongo" not in sys.modules:
        sys.modules[_ASYNC] = _AsyncHalf(_ASYNC)
    for name, known in _KNOWN.items():
        if name not in sys.modules:
            sys.modules[name] = late = _Late(name)
            vars(late).update(known)
            package, _, own_name = name.rpartition(".")
            if package:
                setattr(import_module(package), own_name, late)


def cleandoc(doc: str) -> str:
    """As `inspect` has it, by which Click cleans the help of each option."""
    first, *others = doc.expandtabs().split("\n")
    margin = min((len(line) - len(line.lstrip()) for line in others if line.strip()), default=0)
    lines = [first.lstrip(), *(line[margin:] for line in others)]
    while lines and not lines[-1]:
        lines.pop()
    while lines and not lines[0]:
        lines.pop(0)
    return "\n".join(lines)


def annotations_of(thing: Any, **how: Any) -> Mapping[str, Any]:
    """As `inspect.get_annotations`, by which dataclasses of Python 3.12 and 3.13 find the fields of a class."""
    if isinstance(thing, type) and not how and sys.version_info < (3, 14):
        found = vars(thing).get("__annotations__", {})
        if isinstance(found, dict):
            return dict(found)
    import inspect
    from inspect import signature  # noqa: F401 - asked for this, the stand-in becomes the module itself

    return inspect.get_annotations(thing, **how)


def _version(distribution: str) -> str:
    from importlib.metadata import distribution as found

    return found(distribution).version


def _requires(distribution: str) -> list[str] | None:
    from importlib.metadata import distribution as found

    return found(distribution).requires


_KNOWN: Mapping[str, Mapping[str, Callable[..., object]]] = {
    "importlib.metadata": {"version": _version, "requires": _requires},
    "inspect": {"cleandoc": cleandoc, "get_annotations": annotations_of},
    "platform": {"system": lambda: os.uname().sysname},
    "ipaddress": {},
    "locale": {},
}
"""Late modules, each with what is asked of it at every start."""
