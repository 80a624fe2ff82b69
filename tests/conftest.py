"""What tests stand on: fresh kitchens of both kinds, a clock to bend, and the `waiter` command as a real process."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import hypothesis
import pytest

from tests.mongod import Mongod, mongod_binary
from waiter.kitchen.contract import Kitchen, grace_s
from waiter.orders import Batch, Order, Outcome, Selector, Shift, Status

hypothesis.settings.register_profile("waiter", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("waiter")

KITCHENS = ("sqlite", "mongodb")

# Thousands of processes of these tests import the program: without its compiled files each of them compiles it anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Under pytest-xdist, tests that wait for long begin first: nobody waits for one of them at the end.

    With worksteal each process gets an equal part of the list, and idle ones take from the ends of others. Every other
    part begins with some long tests; what the rest do meanwhile needs the processors.
    """
    processes = getattr(config, "workerinput", {"workercount": 1})["workercount"]
    if processes == 1:
        return
    long = [item for item in items if item.get_closest_marker("long")]
    short = [item for item in items if not item.get_closest_marker("long")]
    ordered: list[pytest.Item] = []
    for process in range(processes):
        size = (len(items) - len(ordered)) // (processes - process)  # as worksteal cuts the list
        first = long[process // 2 :: (processes + 1) // 2] if process % 2 == 0 else []
        taken = max(0, size - len(first))
        ordered += [*first, *short[:taken]]
        short = short[taken:]
    items[:] = ordered + short


def unavailable(reason: str) -> NoReturn:
    """Skip with a plain reason; on CI everything must be there."""
    if os.environ.get("CI"):
        pytest.fail(f"on CI this cannot be missing: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session", autouse=True)
def _signals_as_in_a_terminal() -> None:
    """What tests start heeds every signal, although these tests were started by nohup or in the background.

    A handler, unlike an ignored signal, is nothing that a new program inherits; and this process goes on ignoring it.
    """
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@pytest.fixture(scope="session")
def mongod_url() -> Iterator[str]:
    """A MongoDB server for the whole run: WAITER_TEST_MONGODB, or one that is started here."""
    if url := os.environ.get("WAITER_TEST_MONGODB"):
        yield url
        return
    server = Mongod(needed_binary())
    server.start()
    yield server.url
    server.remove()


@pytest.fixture
def server() -> Iterator[Mongod]:
    """A MongoDB server of this test's own, to be hurt."""
    server = Mongod(needed_binary())
    server.start()
    yield server
    server.remove()


def needed_binary() -> str:
    """Where `mongod` is; a test that needs one of its own, to hurt it, is skipped where there is none."""
    binary = mongod_binary()
    if binary is None:
        unavailable("no mongod: install the test dependencies, or set WAITER_TEST_MONGODB")
    return binary


def with_database(server: str, name: str) -> str:
    """The server's address with a database in it: mongodb://host/NAME?options."""
    address, question, options = server.partition("?")
    scheme, _, hosts = address.partition("://")
    return f"{scheme}://{hosts.partition('/')[0]}/{name}{question}{options}"


class Clock:
    """The kitchen's clock, as far ahead of the real one as a test wants."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def advance(self, seconds: float) -> None:
        self.ahead_s += seconds

    def __call__(self) -> float:
        return self.ahead_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=KITCHENS)
def kitchen_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """What `--kitchen` takes, for a kitchen that nobody has used."""
    if request.param == "sqlite":
        yield str(tmp_path / "kitchen.sqlite")
        return
    server = request.getfixturevalue("mongod_url")
    name = f"waiter_test_{secrets.token_hex(6)}"
    yield with_database(server, name)
    import pymongo

    with pymongo.MongoClient(server) as client:
        client.drop_database(name)


@pytest.fixture
def open_again(kitchen_url: str, clock: Clock) -> Iterator[Callable[[], Kitchen]]:
    """Opens the test's kitchen once more, as another waiter would."""
    opened: list[Kitchen] = []

    def open_kitchen() -> Kitchen:
        kitchen: Kitchen
        if kitchen_url.startswith("mongodb://"):
            from waiter.kitchen.mongo.kitchen import MongoKitchen

            kitchen = MongoKitchen(kitchen_url, ahead=clock)
        else:
            from waiter.kitchen.sqlite.kitchen import SqliteKitchen

            kitchen = SqliteKitchen(Path(kitchen_url), ahead=clock)
        opened.append(kitchen)
        return kitchen

    yield open_kitchen
    for kitchen in opened:
        kitchen.close()


@pytest.fixture
def kitchen(open_again: Callable[[], Kitchen]) -> Kitchen:
    return open_again()


def fill(kitchen: Kitchen, rows: Sequence[Sequence[str]], *, batch: str = "b", priority: int = 0) -> list[str]:
    """Load rows as a batch of their own; returns the ids of the orders."""
    kitchen.open_batch(
        Batch(
            id=batch,
            name=None,
            source=f"{batch}.csv",
            digest=batch,
            rows=len(rows),
            orders=len(rows),
            priority=priority,
            loaded_at=kitchen.now(),
            is_complete=True,
        )
    )
    kitchen.add(batch, [(number, row, None) for number, row in enumerate(rows, 1)], priority)
    return [f"{batch}-{number}" for number in range(1, len(rows) + 1)]


def let_leases_run_out(kitchen: Kitchen, clock: Clock) -> None:
    """Let nobody be heard of for so long that one look has missed everybody, and the next one declares them lost."""
    clock.advance(kitchen.lease_s + 1)
    kitchen.reclaim()
    clock.advance(grace_s(kitchen.lease_s))


def only(kitchen: Kitchen, order_id: str | None = None) -> Order:
    """The one order that the kitchen holds, or that has this id, with its details."""
    (order,) = kitchen.find(Selector(ids=() if order_id is None else (order_id,)), with_details=True)
    return order


def check_in(kitchen: Kitchen, name: str = "a") -> Shift:
    return kitchen.check_in(name, f"host-of-{name}", os.getpid())


def outcome(order: Order, status: Status = Status.DONE, **facts: Any) -> Outcome:
    """An outcome of this attempt; it took one second."""
    start = order.start or 0.0
    return Outcome(order.id, order.attempt, status, **{"start": start, "stop": start + 1, **facts})


def eventually(predicate: Callable[[], Any], within_s: float = 40.0) -> Any:
    """The first true value of the predicate; fails when there is none in time."""
    ends = time.monotonic() + within_s
    while not (value := predicate()):
        assert time.monotonic() < ends, f"not within {within_s} s: {predicate}"
        time.sleep(0.02)
    return value


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment in which `waiter` finds nothing of the developer's own."""
    folder = tmp_path / "home"
    folder.mkdir(exist_ok=True)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("WAITER_", "XDG_", "PYTEST"))}
    return {**kept, "HOME": str(folder), "PYTHONPATH": str(Path(__file__).parents[1]), "COLUMNS": "80"}


_SAID_WHEN_SLOW = re.compile(r"^(Waiting for \S+ to answer|Looking through the orders)…(\r?\n|\Z)", re.MULTILINE)


def said_on_any_machine(text: str) -> str:
    """What was said, but for what is said only where the kitchen's machine has too much to do."""
    return _SAID_WHEN_SLOW.sub("", text)


@pytest.fixture
def all_said_by_cli(tmp_path: Path, home: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `python -m waiter` to its end in tmp_path; returns code, stdout and stderr."""

    def run(*arguments: str, input: str = "", timeout_s: float = 120, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "waiter", *arguments],
            input=input,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            cwd=tmp_path,
            env={**home, **env},
            timeout=timeout_s,
        )

    return run


@pytest.fixture
def waiter_cli(
    all_said_by_cli: Callable[..., subprocess.CompletedProcess[str]],
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The same, without what is said only where the machine has too much to do."""

    def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        done = all_said_by_cli(*arguments, **options)
        done.stderr = said_on_any_machine(done.stderr)
        return done

    return run
