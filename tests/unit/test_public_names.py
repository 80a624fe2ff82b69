"""The names that `waiter` gives: the list for Python, the list for type checkers, the modules and the docs agree."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest

import waiter
from waiter import DeliveryOptions, errors, testing
from waiter.delivery import options

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "python.md").read_text()

_NAMED = re.compile(r"`([A-Za-z_]+)(?:\(([^`]*)\))?`")


def documented() -> dict[str, str | None]:
    """The names in the first cells of the page's tables, with the arguments that stand behind them."""
    cells = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    return {name: arguments or None for cell in cells for name, arguments in _NAMED.findall(cell)}


def for_type_checkers() -> set[tuple[str, str]]:
    """(module, name) of what `waiter/__init__.py` imports for type checkers."""
    tree = ast.parse((ROOT / "waiter" / "__init__.py").read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    return {
        (str(node.module), alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name  # else type checkers take it for a name of the module's own
    }


def test_type_checkers_and_python_are_given_the_same_names():
    assert for_type_checkers() == {(module, name) for name, module in waiter._HOMES.items()}
    assert sorted(waiter.__all__) == sorted(waiter._HOMES)


@pytest.mark.parametrize("name", waiter.__all__)
def test_a_name_is_what_its_module_has_under_it(name):
    assert getattr(waiter, name) is getattr(import_module(waiter._HOMES[name]), name)


def test_every_error_is_given():
    family = {name for name, thing in vars(errors).items() if isinstance(thing, type) and issubclass(thing, Exception)}

    assert {name for name in family if not name.startswith("_")} == {
        name for name, module in waiter._HOMES.items() if module == "waiter.errors"
    }


def test_the_docs_name_all_that_there_is_and_nothing_else():
    assert sorted(documented()) == sorted([*waiter.__all__, *testing.__all__])


@pytest.mark.parametrize(("name", "arguments"), [(name, words) for name, words in documented().items() if words])
def test_the_docs_name_arguments_as_the_function_does(name, arguments):
    thing = getattr(waiter if name in waiter.__all__ else testing, name)
    taken = list(inspect.signature(thing).parameters)
    written = [word.partition("=")[0].strip() for word in arguments.split(",")]

    assert [word for word in written if word not in taken] == []


def test_dir_shows_every_name_and_a_star_brings_it():
    brought: dict[str, object] = {}
    exec("from waiter import *", brought)  # as a program would

    assert set(waiter.__all__) <= set(dir(waiter)) & set(brought)


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'waiter' has no attribute 'Oder'"):
        waiter.Oder  # noqa: B018


def test_the_package_imports_none_of_its_modules():
    """Every runner and every guard imports it."""
    code = "import sys, waiter; dir(waiter); print(*[name for name in sys.modules if name.startswith('waiter.')])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert ended.stdout.split() == []


def test_type_checkers_are_told_that_the_package_is_typed():
    assert (ROOT / "waiter" / "py.typed").is_file()


def test_type_checkers_are_told_of_options_that_there_are():
    tree = ast.parse(inspect.getsource(options))
    (written,) = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "__init__"]

    assert {argument.arg for argument in written.args.kwonlyargs} < {field.name for field in fields(DeliveryOptions)}
