"""A real `waiter serve`, and what a browser or another client asks it."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from tests.conftest import said_on_any_machine


@dataclass
class Site:
    """A server, as a browser knows it."""

    address: str  # host:port
    token: str

    def ask(self, path: str, *, method: str = "GET", body: dict[str, str] | None = None, **headers: str):
        """Status, headers and text of the answer; with the cookie unless `headers` say otherwise."""
        port = self.address.rpartition(":")[2]
        sent = {"Host": self.address, "Cookie": f"waiter_{port}={self.token}", **headers}
        if body is not None:
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        connection = http.client.HTTPConnection(self.address, timeout=60)
        try:
            connection.request(method, path, urlencode(body) if body is not None else None, sent)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        finally:
            connection.close()

    def looks(self, within_s: float = 60) -> Iterator[str]:
        """The upper part of the first page, each time that it changes; so long at most."""
        return self.events("/events/run", "run", within_s)

    def events(self, path: str, part: str, within_s: float = 60) -> Iterator[str]:
        """A live part of a page, each time that it changes; so long at most."""
        ends = time.monotonic() + within_s
        connection = http.client.HTTPConnection(self.address, timeout=60)
        connection.request("GET", path, headers={"Authorization": f"Bearer {self.token}"})
        event = ""
        for line in connection.getresponse():
            if time.monotonic() > ends:
                return
            if line.startswith(b"event: "):
                event = line[7:].strip().decode()
            elif line.startswith(b"data: ") and event == part:
                yield json.loads(line[6:])


@contextmanager
def serving(
    kitchen_url: str, env: dict[str, str], *options: str, cwd: Path | None = None, expected: str = "Ctrl-C ends it.\n"
) -> Iterator[Site]:
    words = [sys.executable, "-m", "waiter", "-k", kitchen_url, "serve", "--listen", "127.0.0.1:0", *options]
    server = subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd)
    try:
        address = urlsplit(server.stdout.readline())
        yield Site(address.netloc, address.query.removeprefix("token=").strip())
    finally:
        server.send_signal(signal.SIGINT)
        _, said = server.communicate(timeout=60)
    said = said_on_any_machine(said)
    assert (server.returncode, said) == (0, expected), f"{server.returncode}: {said}"
