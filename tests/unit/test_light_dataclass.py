"""`light_dataclass` makes what `dataclasses` makes: each promise is asked of both."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import sys
from typing import Any

import pytest

from waiter import light_dataclass


def classes(library: Any) -> dict[str, Any]:
    @library.dataclass(frozen=True, slots=True)
    class Point:
        """A place."""

        x: int
        y: int = 2
        tags: list[str] = library.field(default_factory=list)

        def moved(self, by: int) -> Point:
            return dataclasses.replace(self, x=self.x + by)

    @library.dataclass(slots=True)
    class Counter:
        n: int = 0

        def __post_init__(self) -> None:
            self.n *= 2

    @library.dataclass(slots=True, eq=False)
    class Thing:
        name: str

    @library.dataclass(frozen=True, slots=True)
    class Nothing:
        def __repr__(self) -> str:
            return "nothing"

    return {made.__name__: made for made in (Point, Counter, Thing, Nothing)}


BOTH = [pytest.param(dataclasses, id="library"), pytest.param(light_dataclass, id="light")]


@pytest.fixture(params=BOTH)
def made(request) -> dict[str, Any]:
    return classes(request.param)


def test_values_are_kept_compared_and_shown(made):
    point_of = made["Point"]

    one, other = point_of(1, tags=["a"]), point_of(y=2, x=1, tags=["a"])

    assert (one.x, one.y, one.tags) == (1, 2, ["a"])
    assert one == other
    assert one != point_of(2, tags=["a"])
    assert one != (1, 2, ["a"])
    assert repr(one) == f"{point_of.__qualname__}(x=1, y=2, tags=['a'])"
    assert point_of.__doc__ == "A place."


def test_the_hundredth_is_made_as_the_first(made):
    several = [made["Point"](x=n // 2, tags=[]) for n in range(100)]
    assert several[::2] == several[1::2]
    assert {(one.y, one.tags == []) for one in several} == {(2, True)}
    assert [made["Counter"]().n for _ in range(100)] == [0] * 100


def test_a_default_is_made_anew_for_each(made):
    point_of = made["Point"]
    assert point_of(1).tags == []
    assert point_of(1).tags is not point_of(1).tags


def test_frozen_ones_can_be_keys_and_never_change(made):
    point_of = made["Point"]
    point = point_of(1, 2, ())  # type: ignore[arg-type]

    assert {point: "here"}[point_of(1, 2, ())] == "here"
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'x'"):
        point.x = 3
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'x'"):
        del point.x
    assert point.x == 1


def test_others_change_and_are_no_keys(made):
    counter = made["Counter"](2)
    assert counter.n == 4
    counter.n = 5
    assert counter == made["Counter"](2.5)
    with pytest.raises(TypeError, match="unhashable"):
        hash(counter)
    with pytest.raises(AttributeError):
        counter.m = 1  # a slip of the pen is no new attribute


def test_without_eq_each_is_itself(made):
    thing = made["Thing"]("a")
    assert thing != made["Thing"]("a")
    assert {thing: 1}[thing] == 1


def test_without_fields_all_are_equal(made):
    nothing = made["Nothing"]
    assert nothing() == nothing()
    assert hash(nothing()) == hash(nothing())
    assert repr(nothing()) == "nothing"


@pytest.mark.parametrize(
    ("values", "named", "words"),
    [
        ((), {}, "missing 1 required positional argument: 'x'"),
        ((1,), {"x": 1}, "multiple values for argument 'x'"),
        ((1,), {"z": 1}, "unexpected keyword argument 'z'"),
        ((1, 2, [], 4), {}, "takes from 2 to 4 positional arguments but 5 were given"),
    ],
)
def test_what_it_does_not_take_is_refused_in_pythons_words(made, values, named, words):
    for _ in range(2):  # the first instance, and later ones
        with pytest.raises(TypeError, match=words):
            made["Point"](*values, **named)


def test_the_library_knows_it(made):
    point_of = made["Point"]
    point = point_of(1, tags=["a"])

    assert dataclasses.is_dataclass(point_of)
    assert [field.name for field in dataclasses.fields(point_of)] == ["x", "y", "tags"]
    assert dataclasses.asdict(point) == {"x": 1, "y": 2, "tags": ["a"]}
    assert dataclasses.astuple(point) == (1, 2, ["a"])
    assert dataclasses.replace(point, y=3) == point_of(1, 3, ["a"])
    assert point.moved(2).x == 3
    assert list(inspect.signature(point_of).parameters) == ["x", "y", "tags"]
    assert inspect.signature(point_of).parameters["y"].default == 2


def test_patterns_know_its_places(made):
    point_of = made["Point"]
    assert point_of.__match_args__ == ("x", "y", "tags")


def test_copies_and_pickles_are_the_same(made, monkeypatch):
    for name, values in (("Point", (1,)), ("Counter", (2,))):
        cls = made[name]
        cls.__qualname__ = name
        monkeypatch.setattr(sys.modules[__name__], name, cls, raising=False)  # where pickle looks for it
        one = cls(*values)
        assert copy.copy(one) == one
        assert copy.deepcopy(one) == one
        assert pickle.loads(pickle.dumps(one)) == one
