"""`dataclass` as the standard library has it, for a tenth of the time at start.

The library writes and compiles up to six methods for each class when it is made, half a millisecond of CPU; of the
eighty classes that `waiter deliver` imports that was 40 ms of each waiter's start. Here the methods are shared, and
`__init__` is compiled when the first instance is made. Whatever else a dataclass has (`fields`, `asdict`, `replace`,
its signature) comes from the library's own, which is made of the same class when somebody asks for it.

It takes what this package uses: `frozen`, `slots` (always), `eq`, and `field(default_factory=…)`.
"""

from __future__ import annotations

from operator import attrgetter

TYPE_CHECKING = False  # `typing` would cost the runner as much again
if TYPE_CHECKING:  # to type checkers it is the library's, with all that they know of it
    from collections.abc import Callable
    from dataclasses import dataclass as dataclass
    from dataclasses import field as field
    from typing import Any
else:

    def dataclass(*, slots: bool, frozen: bool = False, eq: bool = True):
        """Make a dataclass of a class; see the docs of `dataclasses`."""
        if not slots:
            raise TypeError("a light dataclass has slots")
        return lambda cls: _made(cls, frozen=frozen, eq=eq)

    def field(*, default_factory):
        """A field whose default is made anew for each instance."""
        return _Factory(default_factory)


class _Factory:
    """Stands in the class for a default that is made."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


class _FromLibrary:
    """An attribute of the class that the library's dataclass knows."""

    def __init__(self, library: _Library, name: str) -> None:
        self._library = library
        self._name = name

    def __get__(self, instance: object, owner: type) -> Any:
        return getattr(self._library, self._name)()


class _Library:
    """The library's dataclass of a class, made when it is first asked for."""

    def __init__(self, cls: type, defaults: dict[str, Any], how: dict[str, bool]) -> None:
        self._cls = cls
        self._defaults = defaults
        self._how = how
        self._made: Any = None

    def fields(self) -> Any:
        return self._class().__dataclass_fields__

    def parameters(self) -> Any:
        return self._class().__dataclass_params__

    def signature(self) -> Any:
        import inspect  # only who asks for a signature needs it

        return inspect.signature(self._class())

    def _class(self) -> Any:
        if self._made is None:
            import dataclasses  # with all that it imports it costs as much as ten of these classes

            for name, default in self._defaults.items():
                if isinstance(default, _Factory):
                    setattr(self._cls, name, dataclasses.field(default_factory=default.make))
            self._made = dataclasses.dataclass(**self._how)(self._cls)
        return self._made


def _made(cls: type, *, frozen: bool, eq: bool) -> type:
    names = tuple(cls.__annotations__)
    inside = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    defaults = {name: inside.pop(name) for name in names if name in inside}
    library = _Library(cls, defaults, {"frozen": frozen, "eq": eq})
    inside |= {
        "__slots__": names,
        "__match_args__": names,
        "__init__": _first_init(names, defaults, frozen=frozen),
        "__dataclass_fields__": _FromLibrary(library, "fields"),
        "__dataclass_params__": _FromLibrary(library, "parameters"),
        "__signature__": _FromLibrary(library, "signature"),
    }
    inside.setdefault("__repr__", _repr)
    if eq:
        inside |= {"__eq__": _equality(names), "__hash__": _hash(names) if frozen else None}
    if frozen:
        inside |= {"__setattr__": _refuse_set, "__delattr__": _refuse_delete}
        inside |= {"__getstate__": _state, "__setstate__": _set_state}  # copies would set attributes
    made = type(cls)(cls.__name__, cls.__bases__, inside)
    made.__qualname__ = cls.__qualname__
    return made


def _first_init(names: tuple[str, ...], defaults: dict[str, Any], *, frozen: bool) -> Callable[..., None]:
    def first(self: Any, *values: Any, **named: Any) -> None:
        cls = type(self)
        cls.__init__ = _compiled_init(cls, names, defaults, frozen=frozen)
        cls.__init__(self, *values, **named)

    return first


def _compiled_init(cls: type, names: tuple[str, ...], defaults: dict[str, Any], *, frozen: bool) -> Callable[..., None]:
    known: dict[str, Any] = {}
    said, lines = [], []
    for name in names:
        value, default = name, defaults.get(name)
        if isinstance(default, _Factory):
            known[f"_made_{name}"] = default.make
            value = f"_made_{name}() if {name} is _default_{name} else {name}"
        if name in defaults:
            known[f"_default_{name}"] = default
        said.append(f", {name}=_default_{name}" if name in defaults else f", {name}")
        if frozen:
            known[f"_set_{name}"] = getattr(cls, name).__set__
        lines.append(f"    _set_{name}(self, {value})" if frozen else f"    self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        lines.append("    self.__post_init__()")
    exec("\n".join([f"def __init__(self{''.join(said)}):", *lines, "    pass"]), known)
    made: Callable[..., None] = known["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    return made


def _values(names: tuple[str, ...]) -> Callable[[Any], object]:
    return attrgetter(*names) if names else lambda _: ()


def _equality(names: tuple[str, ...]) -> Callable[[Any, object], object]:
    values = _values(names)

    def is_equal(self: Any, other: object) -> object:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return values(self) == values(other)

    return is_equal


def _hash(names: tuple[str, ...]) -> Callable[[Any], int]:
    values = _values(names)
    return lambda self: hash(values(self))


def _repr(self: Any) -> str:
    told = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
    return f"{type(self).__qualname__}({told})"


def _refuse_set(self: object, name: str, value: object) -> None:  # noqa: ARG001 - it refuses whatever it is
    from dataclasses import FrozenInstanceError  # only a mistake needs it

    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_delete(self: object, name: str) -> None:  # noqa: ARG001
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[Any]:
    return [getattr(self, name) for name in self.__slots__]


def _set_state(self: Any, state: list[Any]) -> None:
    for name, value in zip(self.__slots__, state, strict=True):
        object.__setattr__(self, name, value)
