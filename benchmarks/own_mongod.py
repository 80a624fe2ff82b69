"""The MongoDB server that a benchmark measures: its own, on a free port of loopback, gone with its files afterwards."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pymongo

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.mongod import free_port, mongod_binary

STARTS_WITHIN_MS = 60_000  # with the data of ten million orders


def add_mongod_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--mongod", metavar="PATH", default=mongod_binary())


def found(mongod: str | None) -> str:
    """The path of `--mongod`; the end of the benchmark if there is none."""
    if mongod is None or not shutil.which(mongod):
        where = mongod or "on the PATH or in a package"
        sys.exit(f"No mongod {where}: install what tests need (.ci/install), or say --mongod PATH")
    return mongod


@contextmanager
def server(mongod: str | None, *options: str, folder: Path | None = None) -> Iterator[tuple[str, int]]:
    """Its address and its pid. Its files stay where a folder is given."""
    with tempfile.TemporaryDirectory(prefix="bench-") if folder is None else nullcontext(folder) as files:
        Path(files).mkdir(exist_ok=True)
        port = free_port()
        words = [found(mongod), "--port", str(port), "--bind_ip", "127.0.0.1", "--dbpath", str(files), "--quiet"]
        # Of a session of its own: Linux gives each its share of the processor, as a machine of its own would.
        process = subprocess.Popen([*words, *options], stdout=subprocess.DEVNULL, start_new_session=True)
        try:
            url = f"mongodb://127.0.0.1:{port}"
            with pymongo.MongoClient(url, serverSelectionTimeoutMS=STARTS_WITHIN_MS) as client:
                client.admin.command("ping")
            yield url, process.pid
        finally:
            process.kill() if folder is None else process.terminate()
            process.wait()


def cpu_s(pid: int | None) -> float:
    """User and system time of that process, in seconds."""
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
