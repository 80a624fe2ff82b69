"""`dataclass` as the standard library has it, for a tenth of the time at start.

The library writes and compiles up to six methods for each class when it is made, half a millisecond of CPU; of the
eighty classes that `waiter deliver` imports that was 40 ms of each waiter's start. Here the methods are shared, and
`__init__` is compiled when a class turns out to have many instances. What `fields`, `asdict` and `replace` ask for
comes from the library, when they ask.

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


FEW = 3
"""So many instances are made without an `__init__` that is compiled for them: of most classes there are no more."""


class _Factory:
    """Stands in the class for a default that is made."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make

    def __repr__(self) -> str:
        return "<factory>"


class _Late:
    """An attribute of the class that is made when somebody asks for it."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._made: Any = None

    def __get__(self, instance: object, owner: type) -> Any:
        if self._made is None:
            self._made = self._make()
        return self._made


def _made(cls: type, *, frozen: bool, eq: bool) -> type:
    names = tuple(cls.__annotations__)
    inside = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    defaults = {name: inside.pop(name) for name in names if name in inside}
    inside |= {
        "__slots__": names,
        "__match_args__": names,
        "__dataclass_fields__": _Late(lambda: _fields(cls, defaults)),
        "__signature__": _Late(lambda: _signature(made, defaults, frozen=frozen)),
    }
    inside.setdefault("__repr__", _repr)
    if eq:
        inside |= {"__eq__": _equality(names), "__hash__": _hash(names) if frozen else None}
    if frozen:
        inside |= {"__setattr__": _refuse_set, "__delattr__": _refuse_delete}
        inside |= {"__getstate__": _state, "__setstate__": _set_state}  # copies would set attributes
    made: Any = type(cls)(cls.__name__, cls.__bases__, inside)
    made.__qualname__ = cls.__qualname__
    made.__init__ = _first_init(made, defaults, frozen=frozen)
    return made  # type: ignore[no-any-return] # mypy knows no class that is made so


def _fields(cls: type, defaults: dict[str, Any]) -> Any:
    """What the library knows of the fields, for `fields`, `asdict` and `replace`."""
    import dataclasses  # with all that it imports it costs as much as fifty of these classes

    for name, default in defaults.items():
        if isinstance(default, _Factory):
            setattr(cls, name, dataclasses.field(default_factory=default.make))
    library: Any = dataclasses.dataclass(init=False, repr=False, eq=False)(cls)
    return library.__dataclass_fields__


def _signature(cls: type, defaults: dict[str, Any], *, frozen: bool) -> Any:
    import inspect  # as above

    init = inspect.signature(_compiled_init(cls, defaults, frozen=frozen))
    return init.replace(parameters=[*init.parameters.values()][1:])


def _first_init(cls: Any, defaults: dict[str, Any], *, frozen: bool) -> Callable[..., None]:
    """An `__init__` for few instances; the next one gets another, and so does what is not understood."""
    made = 0

    def init(self: Any, *values: Any, **named: Any) -> None:
        nonlocal made
        made += 1
        if made > FEW or not _is_filled(self, defaults, values, named):
            cls.__init__ = _compiled_init(cls, defaults, frozen=frozen)
            cls.__init__(self, *values, **named)
        elif hasattr(cls, "__post_init__"):
            self.__post_init__()

    return init


def _is_filled(self: Any, defaults: dict[str, Any], values: tuple[Any, ...], named: dict[str, Any]) -> bool:
    """Give each field its value. False if they are not what the fields are."""
    names = self.__slots__
    given = {**dict(zip(names, values, strict=False)), **named}
    if len(values) > len(names) or len(given) < len(values) + len(named) or not given.keys() <= {*names}:
        return False
    for name in names:
        if name in given:
            value = given[name]
        elif name in defaults:
            value = defaults[name].make() if isinstance(defaults[name], _Factory) else defaults[name]
        else:
            return False
        object.__setattr__(self, name, value)
    return True


def _compiled_init(cls: Any, defaults: dict[str, Any], *, frozen: bool) -> Callable[..., None]:
    known: dict[str, Any] = {}
    said, lines = [], []
    for name in cls.__slots__:
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
    made.__annotations__ = {**cls.__annotations__, "return": "None"}
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
