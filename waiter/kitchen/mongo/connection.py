"""The connection to a MongoDB database: its address, its collections and indexes, and its errors in Waiter's words.

Here, so that neither what is asked of the database nor who asks must know a driver's exception or a deadline.
"""

from __future__ import annotations

import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import pymongo
from bson.errors import BSONError
from pymongo import MongoClient, ReadPreference
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    DocumentTooLarge,
    InvalidURI,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
)
from pymongo.read_concern import ReadConcern
from pymongo.server_description import ServerDescription
from pymongo.uri_parser import parse_uri
from pymongo.write_concern import WriteConcern

from waiter.errors import KitchenError, KitchenHindered, KitchenMissing, KitchenUnreachable
from waiter.kitchen.address import has_bare_password, options_of, user_of, without_user
from waiter.kitchen.mongo.documents import Document
from waiter.kitchen.mongo.turns import Turns
from waiter.kitchen.mongo.updates import Expression, now

_Suitable = Callable[[list[ServerDescription]], list[ServerDescription]]

CLOSE_S = 0.5

CONNECT_MS = 5000
"""How long a host may take to accept a connection."""

_ENCODE = (
    "hint: to encode it:\n  python3 -c 'import getpass, urllib.parse as u; print(u.quote(getpass.getpass(), str()))'"
)

_OURS = {
    "appname": "waiter",
    # A watched server is asked over one connection; the driver's own way takes a second one for each.
    "serverMonitoringMode": "poll",
    # Whatever is asked and fails has the servers looked at anew; ten thousand waiters that look by themselves add up.
    "heartbeatFrequencyMS": 30_000,
    # Two threads need a second connection beside a step over many orders, and seldom again. Longer than a waiter of
    # a large fleet is silent: one that is made anew costs more than one that is kept.
    "maxIdleTimeMS": 60_000,
}

PATIENCE_S = 12.0
"""How long one thread of a waiter waits at the most for what the other one asks, before it takes a connection of its
own: longer than an answer may take, so that a slow server is not asked for more connections, and well within the half
of a lease that is left when a heartbeat is due. What is meant to take longer is not waited for to its end."""

HURRY_S = 2.0
"""What is left for a question, at the least, that has waited for its turn."""

LONG_STEP_S = 60.0
"""For one step over many orders."""

SAFE = WriteConcern("majority", j=True)
"""On a standalone too: with less, a server that is killed forgets writes that it had acknowledged."""

# The server says with these that it is going, new, or not the primary: another one answers soon.
_NOT_PRIMARY = frozenset((189, 10107, 13435, 13436))
_THROTTLED = frozenset((462, 16500))
_PASSING = _NOT_PRIMARY | _THROTTLED
_PASSING |= frozenset((6, 7, 24, 46, 50, 64, 89, 91, 112, 134, 175, 202, 234, 262, 290, 9001, 11600, 11602))
_PASSING_LABELS = ("RetryableWriteError", "NoWritesPerformed", "TransientTransactionError", "SystemOverloadedError")
_UNKNOWN_TO_IT = frozenset((9, 59, 115, 168, 238, 17276, 40323, 40324))
"""Codes of a server that lacks a command, a stage or a variable."""
UNAUTHORIZED, _AUTHENTICATION_FAILED = 13, 18
_TOO_LARGE = frozenset((10334, 17280, 17419, 17420))
_NO_SPACE = frozenset((14031, 39, 28))
DUPLICATE_KEY = 11000
_OLDEST_WIRE = 13  # MongoDB 5.0


class Connection:
    """One client, its collections, and the clock of its server.

    `url` is for people and holds no password.
    """

    def __init__(self, url: str, db: str, ahead: Callable[[], float], timeout_s: float) -> None:
        self._ahead = ahead
        self._turns, self._is_shared = Turns(), False
        self.fleet_size = 0  # as the server said last, to whoever asked it for news; and so is
        self.swept_at: float | None = None  # on the server's clock
        address = url if "://" in url else f"mongodb://{url}"
        self.url, self._user = re.split(r"(?<!/)[/?](?!/)", without_user(address))[0], user_of(address)
        if has_bare_password(address):
            raise KitchenError(f"{self.url}: the password or user in the address must be percent-encoded\n{_ENCODE}")
        limits = _limits(address, timeout_s)
        if limits["timeoutMS"] == 0:
            raise KitchenError(f"{self.url}: timeoutMS=0 of the address would wait for ever\nhint: leave it out")
        self._timeout_s = limits["timeoutMS"] / 1000
        self._silent_at = 0.0  # on the steady clock
        with self.translate_errors():
            self._client = _client(address, limits, self._heard_of)
            self._find_server(limits["serverSelectionTimeoutMS"] / 1000)
            self.db = self._client.get_default_database(db, write_concern=SAFE, read_preference=ReadPreference.PRIMARY)
            self.url = f"{self.url}/{self.db.name}"
            self.orders: Collection[Document] = self.db["orders"]
            self.orders_w1 = self.orders.with_options(write_concern=WriteConcern(1))
            """For updates that may be forgotten without harm."""
            self.shifts: Collection[Document] = self.db["shifts"]
            self.batches: Collection[Document] = self.db["batches"]
            self.state: Collection[Document] = self.db["state"]
            self.counts: Collection[Document] = self.db["counts"]
            self.counts_w1 = self.counts.with_options(write_concern=WriteConcern(1))

    def _find_server(self, within_s: float) -> None:
        """Look for the primary as long as the address allows: inside `timeoutMS` the driver leaves that limit out."""
        whole_s, self._timeout_s = self._timeout_s, min(self._timeout_s, within_s)
        if self._timeout_s < whole_s:
            try:
                _ = self._client.is_primary
            except PyMongoError:
                self.close()
                raise
        self._timeout_s = whole_s

    def kept_id(self) -> str:
        """The kitchen's own id, known to a majority: a new primary has the same.

        Written only if it is not there: a write waits for the disk. On a single server what is read may be written so
        lately that a crash takes it back, but not once a later write is acknowledged: no shift and no launch begins
        without one.
        """
        mine: Document = {"_id": "kitchen"}
        fresh = {"id": os.urandom(16).hex()}
        with self.translate_errors():
            kept = self.state.with_options(read_concern=ReadConcern("majority")).find_one(mine)
            kept = kept or self.state.find_one_and_update(mine, {"$setOnInsert": fresh}, upsert=True)
        return str((kept or fresh)["id"])  # nothing was there before: ours is

    def require_version(self) -> None:
        """Raise KitchenError if the server that was asked last is too old."""
        servers = self._client.topology_description.server_descriptions().values()
        versions = [server.max_wire_version for server in servers if server.is_server_type_known]
        if versions and max(versions) < _OLDEST_WIRE:
            raise self._too_old(f"its wire version is {max(versions)}")

    def _too_old(self, said: str) -> KitchenError:
        return KitchenError(f"{self.url} is older than MongoDB 5.0, which a kitchen needs, or no MongoDB. ({said})")

    def gone(self) -> KitchenError:
        return KitchenMissing(f"{self.url}: the kitchen is gone: somebody dropped its database while it was used.")

    def time(self) -> float:
        """The server's clock, seconds since 1970."""
        stages = [{"$match": {"_id": "news"}}, {"$project": {"now": self.now}}]
        for told in self.state.aggregate(stages):
            return float(told["now"])
        raise self.gone()

    @contextmanager
    def one_moment(self) -> Iterator[ClientSession | None]:
        """A session whose reads all see the same moment; None where the server has no such thing."""
        if self._client.topology_description.topology_type_name not in ("ReplicaSetWithPrimary", "Sharded"):
            yield None
            return
        with self._client.start_session(snapshot=True) as session:
            yield session

    @property
    def now(self) -> Expression:
        """The server's clock, as an expression for its own use."""
        return now(self._ahead())

    def close(self) -> None:
        with pymongo.timeout(CLOSE_S):  # else a server that is away is waited for, to end the driver's sessions
            self._client.close()

    def share(self) -> None:
        """Two threads ask from here on: they take turns, so that one connection is enough for both."""
        self._is_shared = True

    @contextmanager
    def _in_turn(self) -> Iterator[float]:
        """What hangs in one thread holds up the other until it is given up, and for `PATIENCE_S` at the most. Gives how
        long."""
        began = time.monotonic()
        has_turn = self._is_shared and self._turns.acquire(timeout=min(PATIENCE_S, 1.2 * self._timeout_s))
        try:
            yield time.monotonic() - began
        finally:
            if has_turn:
                self._turns.release()

    @contextmanager
    def _asking(self, longer_s: float | None = None) -> Iterator[None]:
        try:
            with self._in_turn() as waited_s:
                limit_s = longer_s or max(HURRY_S, self._timeout_s - waited_s)  # together no longer than one alone
                with pymongo.timeout(limit_s) if longer_s or waited_s > HURRY_S else nullcontext():
                    yield
        except (PyMongoError, BSONError, OverflowError, OSError) as problem:
            if isinstance(problem, PyMongoError) and problem.timeout:
                self._silent_at = time.monotonic()
            raise self._in_words(problem) from problem

    def _heard_of(self, servers: list[ServerDescription]) -> list[ServerDescription]:
        """Those of whom the driver has heard since one kept silent: without any it asks them all, at once.

        By itself it takes a primary that hangs for the primary until it looks the next time, though another one was
        elected long ago.
        """
        return [server for server in servers if server.last_update_time > self._silent_at]

    def translate_errors(self) -> AbstractContextManager[None]:
        """Every use of the driver happens inside, so that its errors come out as `KitchenError`."""
        return self._asking()

    def patiently(self) -> AbstractContextManager[None]:
        """As `translate_errors`, for what takes longer the more orders there are."""
        return self._asking(max(LONG_STEP_S, self._timeout_s))

    def _in_words(self, problem: Exception) -> KitchenError:
        said = _in_short(str(problem))
        if isinstance(problem, OSError):  # the driver reads a file, before it connects
            return KitchenError(f"{self.url}: a file that the address names for TLS cannot be used. ({said})")
        if isinstance(problem, ConfigurationError):
            return self._misconfigured(problem, said)
        code = _code(problem)
        if code in (UNAUTHORIZED, _AUTHENTICATION_FAILED):
            return self._refused(code, said)
        if is_too_large(problem):
            return KitchenError(f"{self.url}: an order is larger than the 16 MB that MongoDB takes. {said}")
        if code in _NO_SPACE:
            return KitchenHindered(f"{self.url}: no space is left on the server's disk. ({said})\nhint: free some")
        if _may_pass(problem, code):
            return self._not_now(problem, code, said)
        if code in _UNKNOWN_TO_IT:
            return self._too_old(said)
        return KitchenError(f"{self.url}: {said}")

    def _not_now(self, problem: Exception, code: int | None, said: str) -> KitchenUnreachable:
        # The driver gives its label for overload to a server that keeps silent, too.
        if code in _THROTTLED or (code is not None and _has_label(problem, "SystemOverloadedError")):
            return KitchenUnreachable(f"{self.url} rejects requests: a limit is exceeded. ({said})")
        if _met_no_primary(problem) or self._sees_no_primary():
            return KitchenUnreachable(
                f"{self.url} has no primary at the moment ({said})\nhint: {self._how_to_primary()}"
            )
        servers = self._client.topology_description.server_descriptions() if hasattr(self, "_client") else ()
        return KitchenUnreachable(
            f"{self.url} did not answer within {self._timeout_s:g} s ({said})\n"
            "hint: is MongoDB running there, and may this host connect to it?",
            servers,
        )

    def _sees_no_primary(self) -> bool:
        """Some server answers, and none of them takes writes: the driver asks again until the time is up."""
        if not hasattr(self, "_client"):
            return False
        servers = self._client.topology_description.server_descriptions().values()
        known = [server for server in servers if server.is_server_type_known]
        return bool(known) and not any(server.is_writable for server in known)

    def _how_to_primary(self) -> str:
        if hasattr(self, "_client") and self._client.topology_description.topology_type_name == "ReplicaSetNoPrimary":
            return "it elects another one within seconds, unless a majority of its nodes is away"
        return "name all nodes, without directConnection: ?replicaSet=NAME"

    def _refused(self, code: int, said: str) -> KitchenHindered:
        if code == _AUTHENTICATION_FAILED:
            return KitchenHindered(
                f"wrong user or password for {self.url} (user {self._user})\n"
                "hint: for a user that another database keeps, add ?authSource=NAME"
            )
        if self._user is None:
            return KitchenHindered(
                f"{self.url} needs a user and a password\nhint: mongodb://USER:PASSWORD@HOST/{self.db.name}"
            )
        return KitchenHindered(
            f"user {self._user} may not do this on {self.url} ({said})\n"
            "hint: grant it the role readWrite on the database"
        )

    def _misconfigured(self, problem: ConfigurationError, said: str) -> KitchenError:
        if "dnspython" in said:
            return KitchenError(
                f"{self.url}: mongodb+srv:// needs dnspython here\nhint: pip install 'simple-waiter[srv]'"
            )
        if "reports wire version" in said:
            return self._too_old(said)
        if isinstance(problem, InvalidURI):
            return KitchenError(
                f"{self.url}: not a MongoDB address: {said}\n"
                "hint: mongodb://[USER:PASSWORD@]HOST[:PORT][/DB], special characters of the password as %XX"
            )
        return KitchenError(f"{self.url}: {said}")


def _limits(address: str, timeout_s: float) -> dict[str, int]:
    """The driver's limits in ms. What the address says wins, also as the default of the others."""
    said = {name: int(value) for name, value in options_of(address).items() if value.isascii() and value.isdigit()}
    whole = said.get("timeoutms", round(timeout_s * 1000))
    return {
        "timeoutMS": whole,
        "serverSelectionTimeoutMS": said.get("serverselectiontimeoutms", whole),
        "connectTimeoutMS": said.get("connecttimeoutms", min(whole, CONNECT_MS)),
    }


def _client(address: str, limits: Mapping[str, int], suitable: _Suitable) -> MongoClient[Document]:
    _refuse_misspelt(address)
    said = options_of(address)  # an argument would win over it
    ours: dict[str, Any] = {name: value for name, value in _OURS.items() if name.lower() not in said} | dict(limits)
    try:
        return MongoClient(address, server_selector=suitable, **ours)
    except ValueError as problem:  # how the driver refuses a port
        raise InvalidURI(str(problem)) from problem


def _refuse_misspelt(address: str) -> None:
    """Raise ConfigurationError for what the driver would only warn of, and then leave out: TLS, or who the user is."""
    rest, _, options = address.partition("://")[2].rpartition("@")[2].partition("?")
    database = rest.partition("/")[2]
    if "." in database or "%2E" in database.upper():
        raise ConfigurationError(f"a database's name has no dot: {database}")
    for option in filter(None, re.split("[&;]", options)):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                parse_uri(f"mongodb://host/?{option}", warn=True)
            except (PyMongoError, ValueError):
                continue  # it needs others beside it: the driver tells, who sees them all
        if said:
            name, _, value = option.partition("=")
            words = str(said[0].message).partition(" or maybe a camelCase")[0]
            # What is wrong may be a secret.
            raise ConfigurationError(f"option {name} of the address: {'no such value' if value in words else words}")


def _in_short(said: str) -> str:
    """A driver's message without its settings, its whole command and its views of every server."""
    return re.split(r", full error:|, Timeout:| \(configured timeouts:| \{|\n", said)[0].rstrip(".")


def _code(problem: Exception) -> int | None:
    if isinstance(problem, BulkWriteError):
        details = problem.details or {}
        failures = [*details.get("writeErrors", ()), *details.get("writeConcernErrors", ())]
        return next((failure["code"] for failure in failures if failure["code"] != DUPLICATE_KEY), None)
    return problem.code if isinstance(problem, OperationFailure) else None


def is_too_large(problem: Exception) -> bool:
    """A document would be larger than the 16 MB that MongoDB takes."""
    return isinstance(problem, DocumentTooLarge) or _code(problem) in _TOO_LARGE


def _may_pass(problem: Exception, code: int | None) -> bool:
    if isinstance(problem, (ConnectionFailure, AutoReconnect)) or code in _PASSING:
        return True
    is_late = isinstance(problem, PyMongoError) and problem.timeout
    return is_late or any(_has_label(problem, label) for label in _PASSING_LABELS)


def _met_no_primary(problem: Exception) -> bool:
    if isinstance(problem, NotPrimaryError) or _code(problem) in _NOT_PRIMARY:
        return True
    return isinstance(problem, ConnectionFailure) and "rimary" in _in_short(str(problem))


def _has_label(problem: Exception, label: str) -> bool:
    return isinstance(problem, PyMongoError) and problem.has_error_label(label)
