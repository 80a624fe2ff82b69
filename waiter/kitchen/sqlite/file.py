"""Opening an SQLite file as a kitchen: where it may be, what is in it, and what SQLite's refusals mean to a user."""

from __future__ import annotations

import os
import re
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from waiter.errors import KitchenDamaged, KitchenError, KitchenHindered, KitchenMissing, KitchenUnreachable
from waiter.kitchen.open_files import BESIDE, Identity, checked, hold, let_go, still_there
from waiter.kitchen.sqlite import tally

APPLICATION_ID = 0x57414954  # "WAIT", where SQLite keeps what a file is for
VERSION = 4
"""1: batches knew no command; 2: none waited for others; 3: orders were counted each time. Such a file becomes one of 4
when somebody opens it to bring work."""
BUSY_S = 30.0
ANEW_MS = 90
"""After so long who waits to write asks as often again as in the beginning."""
OLDEST = (3, 35, 0)  # UPDATE … RETURNING

NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "lustre", "gpfs", "beegfs", "ceph", "afs"}
NETWORK |= {"fuse.glusterfs", "glusterfs", "fuse.s3fs", "fuse.gcsfuse", "ocfs2", "gfs2"}

_OCTAL = rb"\\([0-7]{3})"
"""How /proc/self/mounts writes spaces, tabs, line ends and backslashes."""

SCHEMA = """
CREATE TABLE batches (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, name TEXT, source TEXT NOT NULL,
    digest TEXT NOT NULL, rows INTEGER NOT NULL, orders INTEGER NOT NULL, priority INTEGER NOT NULL,
    loaded_at REAL NOT NULL, is_complete INTEGER NOT NULL,
    bound_to TEXT, is_reserved INTEGER NOT NULL DEFAULT 0, weight INTEGER, pause_reason TEXT,
    after TEXT, after_any TEXT, after_row TEXT,
    needs_from TEXT);
CREATE INDEX batches_by_after_row ON batches (after_row) WHERE after_row IS NOT NULL;
-- seq is batch number * 2^32 + row: the age of an order, and its identity. names holds kinds, too: `rows.names_text`.
CREATE TABLE orders (
    seq INTEGER PRIMARY KEY, arguments TEXT NOT NULL, names TEXT, status TEXT NOT NULL DEFAULT 'READY',
    priority INTEGER NOT NULL DEFAULT 0, attempt INTEGER NOT NULL DEFAULT 0, failures INTEGER NOT NULL DEFAULT 0,
    losses INTEGER NOT NULL DEFAULT 0, due REAL, waiter TEXT, host TEXT, shift TEXT,
    is_cancel_asked INTEGER NOT NULL DEFAULT 0, start REAL, stop REAL, exit_code INTEGER, signal INTEGER, reason TEXT,
    error TEXT, error_group TEXT, tail TEXT, result TEXT, command TEXT, peak_memory INTEGER, history TEXT, late TEXT);
CREATE INDEX by_status ON orders (status);
CREATE INDEX claimable ON orders (priority DESC, seq) WHERE status = 'READY' AND due IS NULL;
CREATE INDEX waiting ON orders (due) WHERE status = 'READY' AND due IS NOT NULL;
CREATE INDEX running ON orders (shift) WHERE status = 'RUNNING';
CREATE INDEX failures ON orders (error_group, host, stop) WHERE status = 'ERROR';
CREATE INDEX by_stop ON orders (stop, status, start, peak_memory) WHERE stop IS NOT NULL;
CREATE TABLE shifts (
    token TEXT PRIMARY KEY, waiter TEXT NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL, pid_started TEXT NOT NULL,
    namespace TEXT NOT NULL, boot TEXT NOT NULL, since REAL NOT NULL, lease_ends REAL NOT NULL,
    heartbeat_at REAL NOT NULL, left_at REAL, lost_at REAL, is_paused INTEGER NOT NULL DEFAULT 0, pause_reason TEXT,
    is_draining INTEGER NOT NULL DEFAULT 0, vitals TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE state (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
"""

_DIGESTS_OF = (
    "INSERT INTO digests SELECT DISTINCT value, {0}.number "
    """FROM {1} json_each('[' || replace(json_quote({0}.digest), ' ', '","') || ']')"""
)
_FORGET = "DELETE FROM digests WHERE number = OLD.number;"
_LOOK_UPS = (
    # Each digest that a batch has or had, which stand in one column there. Kept by triggers: a version of Waiter that
    # does not know the table keeps it too.
    "CREATE TABLE digests (digest TEXT, number INTEGER, PRIMARY KEY (digest, number)) WITHOUT ROWID",
    "CREATE INDEX digests_by_batch ON digests (number)",
    f"CREATE TRIGGER batch_made AFTER INSERT ON batches BEGIN {_DIGESTS_OF.format('NEW', '')}; END",
    "CREATE TRIGGER batch_grown AFTER UPDATE OF digest ON batches WHEN OLD.digest <> NEW.digest "
    f"BEGIN {_FORGET} {_DIGESTS_OF.format('NEW', '')}; END",
    f"CREATE TRIGGER batch_gone AFTER DELETE ON batches BEGIN {_FORGET} END",
    "CREATE INDEX batches_by_orders ON batches (orders)",
    "CREATE INDEX batches_by_source ON batches (source)",
    "CREATE INDEX batches_by_name ON batches (name)",
    _DIGESTS_OF.format("batches", "batches,"),
)
"""What finds one batch among thousands. Files were made without it; they get it when somebody opens them to write."""

_COLUMN = "ALTER TABLE batches ADD COLUMN "
_ADDED = {
    2: [
        _COLUMN + column
        for column in ("bound_to TEXT", "is_reserved INTEGER NOT NULL DEFAULT 0", "weight INTEGER", "pause_reason TEXT")
    ],
    3: [
        *(_COLUMN + column for column in ("after TEXT", "after_any TEXT", "after_row TEXT", "needs_from TEXT")),
        "CREATE INDEX batches_by_after_row ON batches (after_row) WHERE after_row IS NOT NULL",
    ],
    # By status and age now: how many orders each version of the command delivered is counted no more.
    4: [*tally.COUNTED, "DROP INDEX by_status", "CREATE INDEX by_status ON orders (status)"],
}
"""What files of earlier versions lack: what came with each."""

_WIDENED = {
    "by_stop": "CREATE INDEX by_stop ON orders (stop, status, start, peak_memory) WHERE stop IS NOT NULL",
    "failures": "CREATE INDEX failures ON orders (error_group, host, stop) WHERE status = 'ERROR'",
}
"""Indexes of these names had fewer columns; they have all that rates, timelines and groups of failures ask for."""

HAS_LOOK_UPS = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'digests'"


class Connection(sqlite3.Connection):
    """An open kitchen. Its file counts as open in this process until it is closed."""

    is_read_only = False
    is_immutable = False
    """SQLite takes the file for one that nobody changes: a connection is good for one look."""
    identity: Identity

    def close(self) -> None:
        super().close()
        let_go(self)


def connect(path: Path, *, create: bool) -> Connection:
    """Open the file as a kitchen; one that is not there is made, or KitchenMissing. Raises KitchenError.

    `path` is absolute: SQLite has a meaning of its own for names such as file:x and :memory:.
    """
    if sqlite3.sqlite_version_info < OLDEST:
        raise KitchenError(
            f"Python's SQLite is {sqlite3.sqlite_version}; a kitchen needs 3.35\nhint: use another Python, or MongoDB"
        )
    with translate_errors(path):
        if path.is_dir():
            raise KitchenError(
                f"{path}: a directory, and a kitchen is a file\nhint: name one, for example {path / 'orders.sqlite'}"
            )
        refuse_network(path)
        identity = checked(path) or _made(path, create=create)
        if os.access(path, os.W_OK):
            try:
                db = _opened(path, identity)
                return _with_look_ups(upgraded(db, path), path) if create else db
            except sqlite3.OperationalError as error:
                if not _is_for_readers(error) or os.access(path.parent, os.W_OK):
                    raise
        try:
            return _opened(path, identity, mode="ro")
        except sqlite3.OperationalError as error:
            # It wants to make a -shm beside the file. Where nobody left a -wal, all is in the file.
            if not _is_for_readers(error) or _has_wal(path):
                raise
            return _opened(path, identity, mode="ro", immutable="1")


def _is_for_readers(error: sqlite3.Error) -> bool:
    """Whether it is about writing, to the file or to its folder."""
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)


def _has_wal(path: Path) -> bool:
    return Path(os.path.realpath(path) + BESIDE[0]).exists()


def _made(path: Path, *, create: bool) -> Identity:
    """A new, empty file."""
    if not create:
        raise KitchenMissing(f"{path}: no such kitchen\nhint: check the name, or make one: waiter load FILE")
    real = Path(os.path.realpath(path))
    _make_folder(real.parent)
    with suppress(FileExistsError):  # somebody else was faster, and has locks that this would drop
        os.close(os.open(real, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    return checked(path) or _made(path, create=create)


def _opened(path: Path, identity: Identity, **how: str) -> Connection:
    """A connection to the file; `how` are parameters of an SQLite URI."""
    name: str | Path = path
    if how:
        from urllib.parse import quote, urlencode  # which who writes does without

        name = f"file://{quote(os.fsencode(path))}?{urlencode(how)}"
    db = sqlite3.connect(
        name, timeout=BUSY_S, isolation_level=None, check_same_thread=False, factory=Connection, uri=bool(how)
    )
    try:
        hold(db, path, identity)
        db.identity, db.is_read_only, db.is_immutable = identity, bool(how), "immutable" in how
        _prepare_patiently(db, path)
        still_there(path, identity)
    except BaseException:
        db.close()
        raise
    return db


def upgraded(db: Connection, path: Path) -> Connection:
    """The connection to a file of this version: its batches know their command, and each other.

    Who only looks adds nothing, and does without.
    """
    if _pragma(db, "user_version") < VERSION:
        with _made_once(db, path):
            has = _pragma(db, "user_version")  # perhaps somebody else was faster
            for statement in (one for version, added in _ADDED.items() if version > has for one in added):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {VERSION}")
    return db


def knows_stages(db: Connection) -> bool:
    """Whether batches of the file may wait for others: a file of before has no such columns."""
    return _pragma(db, "user_version") >= 3


def keeps_tally(db: sqlite3.Connection) -> bool:
    """Whether the file knows how many orders have which status: a file of before has to count."""
    return _pragma(db, "user_version") >= 4


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _with_look_ups(db: Connection, path: Path) -> Connection:
    """The connection to a file that has `_LOOK_UPS`, and the indexes of today."""
    needed: list[tuple[str, tuple[str, ...]]] = [(HAS_LOOK_UPS, _LOOK_UPS)]
    for name, made in _WIDENED.items():
        is_wide = f"SELECT 1 FROM sqlite_master WHERE name = '{name}' AND sql = {_quoted(made)}"
        needed.append((is_wide, (f"DROP INDEX {name}", made)))
    for there, statements in needed:
        if db.execute(there).fetchone() is None:
            with _made_once(db, path):
                if db.execute(there).fetchone() is None:  # nobody else was faster
                    for statement in statements:
                        db.execute(statement)
    return db


@contextmanager
def _made_once(db: Connection, path: Path) -> Iterator[None]:
    """A change of the file's shape, in one transaction; the connection is closed if it fails."""
    try:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("COMMIT")
        still_there(path, db.identity)
    except BaseException:
        db.close()
        raise


def _make_folder(folder: Path) -> None:
    """Make the folder and those above it that are missing, for nobody else to look into."""
    if not folder.exists():
        _make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _prepare_patiently(db: sqlite3.Connection, path: Path) -> None:
    """Prepare the file, again while it is busy: SQLite does not wait by itself when several turn a new file to WAL."""
    until = time.monotonic() + BUSY_S
    while True:
        try:
            return _prepare(db, path)
        except sqlite3.OperationalError as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        time.sleep(0.01)


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    # Asked first: who sees tables sees also what they are for, since both come with one commit.
    if _is_empty(db):
        if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise KitchenError(
                f"{path}: this file system is too simple for SQLite's WAL\nhint: use another disk, or MongoDB"
            )
        _create(db)
    if _pragma(db, "application_id") != APPLICATION_ID:
        raise KitchenError(f"{path}: an SQLite database of another program\nhint: name another file for the kitchen")
    if _pragma(db, "user_version") > VERSION:
        raise KitchenError(f"{path}: made by a newer Waiter\nhint: upgrade this one: pip install -U simple-waiter")
    db.execute("PRAGMA synchronous = FULL")


def begin_in_turn(db: sqlite3.Connection) -> None:
    """Begin to write: of many who do so all the time, each has its turn.

    SQLite by itself asks ever more rarely: who comes anew is faster then, and some wait for half a minute.
    """
    until = time.monotonic() + BUSY_S
    try:
        db.execute(f"PRAGMA busy_timeout = {ANEW_MS}")
        while True:
            try:
                db.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
    finally:
        db.execute(f"PRAGMA busy_timeout = {BUSY_S * 1000:.0f}")


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])


def _is_empty(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None


def _create(db: sqlite3.Connection) -> None:
    # Not durable by itself, which an empty kitchen need not be: the first write makes all before it durable.
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("BEGIN IMMEDIATE")
    if _is_empty(db):  # nobody else was faster
        for statement in (*SCHEMA.split(";"), *_LOOK_UPS, *tally.MADE):
            db.execute(statement)
        db.execute("INSERT INTO state VALUES ('id', ?)", (os.urandom(16).hex(),))
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {VERSION}")
    db.execute("COMMIT")


def refuse_network(path: Path, mounts: Callable[[], bytes] | None = None) -> None:
    """Raise KitchenError on a file system whose locks SQLite cannot trust (sqlite.org/faq.html, question 5).

    And for a file that is a mount of its own: in a container it has another folder, and another -wal, than outside.
    """
    if sys.platform != "linux":
        return
    try:
        content = mounts() if mounts else Path("/proc/self/mounts").read_bytes()
    except OSError:
        return
    where, kind = b"", b""
    real = os.path.realpath(os.fsencode(path))  # a link may lead there
    for line in filter(None, content.split(b"\n")):
        _, point, type_, *_ = line.split(b" ")
        point = re.sub(_OCTAL, lambda octal: bytes([int(octal[1], 8)]), point)
        if real == point and not path.is_dir():
            raise KitchenError(
                f"{path}: mounted by itself, without what SQLite keeps beside it\nhint: mount its folder"
            )
        if real.startswith(point.rstrip(b"/") + b"/") and len(point) >= len(where):
            where, kind = point, type_
    if kind.decode() in NETWORK:
        raise KitchenError(
            f"{path}: on a network file system ({kind.decode()} at {os.fsdecode(where)}), where SQLite loses data\n"
            "hint: use a local file, or MongoDB: --kitchen mongodb://HOST"
        )


@contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's and the system's refusals into errors that name the file and what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translated(error, path) from None
    except OverflowError as error:
        raise KitchenError(f"{path}: {error}\nhint: use a smaller number") from None
    except OSError as error:
        raise KitchenError(
            f"{path}: cannot be used as a kitchen: {error.strerror or error}\n"
            "hint: name a file in a folder that you may write to"
        ) from None


def _translated(error: sqlite3.Error, path: Path) -> KitchenError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    said = str(error).rstrip(".")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return KitchenUnreachable(f"{path}: locked by somebody else for more than {BUSY_S:.0f} s.")
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return KitchenDamaged(f"{path}: not a database, or damaged ({said})\nhint: name another file for the kitchen")
    if code == sqlite3.SQLITE_FULL:
        return KitchenHindered(f"{path}: the disk is full\nhint: make room on it")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN):
        return KitchenHindered(f"{path}: cannot be written: {said}\nhint: check who owns the file and its folder")
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM):  # a quota that is used up is an IOERR
        return KitchenHindered(f"{path}: {said}\nhint: check its disk: errors, or a quota that is used up")
    return KitchenError(f"{path}: {said}\nhint: check the file and its disk, or name another file for the kitchen")
