"""Modules that are imported when they are asked for something are the library's own then."""

from __future__ import annotations

import inspect
import subprocess
import sys

import click
import pytest

from waiter.cli import VERBS, cli
from waiter.late_modules import cleandoc

LATE = """
import sys
from waiter.late_modules import make_late
make_late()
"""


def said_by(program: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", LATE + program], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    "text", ["", "a", "a\n   b\n    c\n\n", "\n\n  x\n", "\ta\n\tb\n\t  c", "a\n\nb", "  \n  ", "a\n   \n  b\n "]
)
def test_help_is_cleaned_as_by_inspect(text):
    assert cleandoc(text) == inspect.cleandoc(text)


def test_the_help_of_every_verb_is_cleaned_as_by_inspect():
    for verb in VERBS:
        command = cli.get_command(click.Context(cli), verb)
        assert command is not None
        assert cleandoc(command.help or "") == inspect.cleandoc(command.help or "")


def test_the_fields_of_a_class_are_found_as_by_inspect():
    program = """
import inspect
class Plain: ...
class Fields:
    a: int
    b: "str" = ""
class More(Fields): ...
def function(a: int): ...
late = [inspect.get_annotations(one) for one in (Plain, Fields, More)]
print("ast" in sys.modules)
late += [inspect.get_annotations(one) for one in (type, function)] + [inspect.get_annotations(Fields, eval_str=True)]
print("ast" in sys.modules)
import inspect
print([inspect.get_annotations(one) for one in (Plain, Fields, More, type, function)] == late[:-1])
print(late[-1]["b"].__name__)
"""
    assert said_by(program) == [str(sys.version_info >= (3, 14)), "True", "True", "str"]


def test_a_late_module_is_imported_when_it_is_asked_for_something():
    program = """
import inspect, ipaddress, locale, platform
print(inspect.__class__.__name__, "ast" in sys.modules)
print(inspect.isfunction(print), "ast" in sys.modules)
from ipaddress import ip_address
print(ip_address("::1").is_loopback, platform.machine() == __import__("os").uname().machine)
import inspect, platform
print(inspect.__file__.endswith("inspect.py"), platform.__class__.__name__, platform.system())
print(locale.normalize("C"))
"""
    assert said_by(program) == ["_Late", "False", "False", "True", "True", "True", "True", "module", "Linux", "C"]


def test_versions_of_packages_are_looked_up_when_they_are_asked_for():
    program = """
from importlib.metadata import requires, version
print("email" in sys.modules, version("pymongo") == __import__("pymongo").version, bool(requires("pymongo")))
import importlib.metadata
print(importlib.metadata.version is version, importlib.metadata.metadata("pymongo")["Name"], "email" in sys.modules)
"""
    assert said_by(program) == ["False", "True", "True", "False", "pymongo", "True"]
    assert said_by("import importlib.metadata\nprint(importlib.metadata.metadata('pymongo')['Name'])") == ["pymongo"]


def test_the_driver_of_mongodb_is_imported_without_what_late_modules_bring():
    program = """
import pymongo
print("email" in sys.modules, "zipfile" in sys.modules)
"""
    assert said_by(program) == ["False", "False"]


def test_the_half_of_mongodbs_driver_for_asyncio_is_imported_when_it_is_asked_for():
    pytest.importorskip("pymongo.asynchronous", reason="this driver has none")
    program = """
import pymongo
print("pymongo.asynchronous.database" in sys.modules)
from pymongo import *
import pymongo.asynchronous.mongo_client as half
class Mine(AsyncMongoClient): ...
print(AsyncMongoClient is pymongo.AsyncMongoClient, half.AsyncMongoClient is AsyncMongoClient, Mine.__mro__[1].__name__)
print(sys.modules[half.__name__].__class__.__name__, half.__class__.__name__)
"""
    assert said_by(program) == ["False", "True", "True", "AsyncMongoClient", "module", "module"]
    directly = "from pymongo.asynchronous.mongo_client import AsyncMongoClient as one\nimport pymongo\n"
    assert said_by(directly + "print(one is pymongo.AsyncMongoClient, one.__name__)") == ["True", "AsyncMongoClient"]


def test_threads_that_ask_at_once_all_have_their_answer():
    program = """
import inspect, threading
together, found = threading.Barrier(8), []
def ask():
    together.wait()
    found.append(inspect.signature(ask))
threads = [threading.Thread(target=ask) for _ in range(8)]
for one in threads: one.start()
for one in threads: one.join()
print(len(found))
"""
    assert said_by(program) == ["8"]


def test_what_is_imported_already_stays_as_it_is():
    done = subprocess.run(
        [sys.executable, "-c", f"import inspect{LATE}\nprint(sys.modules['inspect'] is inspect, inspect.__class__)"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "True <class 'module'>\n"
