"""`--spot`: an EC2 spot instance is told two minutes before it goes; its waiter then leaves with nothing lost.

The instance's own metadata service is asked for the notice (the protocol with a token, IMDSv2), and only when the user
has said so. Where it is can be set with AWS_EC2_METADATA_SERVICE_ENDPOINT, as for Amazon's own tools.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

from waiter.delivery.shutdown import Shutdown, Stop
from waiter.errors import UsageError

ENDPOINT = "http://169.254.169.254"
ANSWERS_WITHIN_S = 2.0
ASK_S = 5.0
"""How often it is asked: what Amazon recommends."""

RUNS_ON_S = 90.0
"""How long running orders may go on after the notice: ten seconds of grace, and a margin, stay of the two minutes."""

TOKEN_TTL_S = 21600
_TOKEN_HEADER = "X-aws-ec2-metadata-token"
Ask = Callable[..., tuple[int, str]]
WHY = "EC2 is reclaiming this spot instance"


@contextmanager
def watched(
    shutdown: Shutdown, *, ask: Ask | None = None, ask_s: float = ASK_S, runs_on_s: float = RUNS_ON_S
) -> Iterator[None]:
    """Inside, a notice asks for a drain, and later for a stop of what still runs.

    Raises UsageError where there is no metadata service.
    """
    over = threading.Event()
    ask = ask or ask_metadata
    _token(ask)

    def watch() -> None:
        while not _is_going(ask):
            if over.wait(ask_s):
                return
        shutdown.request(Stop.DRAIN, WHY)
        if not over.wait(runs_on_s):
            shutdown.request(Stop.NOW, WHY)

    threading.Thread(target=watch, name="spot", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _is_going(ask: Ask) -> bool:
    """Whether there is a notice; not, as far as one knows, while the service does not answer."""
    try:
        status, _ = ask("GET", "/latest/meta-data/spot/instance-action", **{_TOKEN_HEADER: _token(ask)})
    except (UsageError, OSError, HTTPException):
        return False
    return status == 200


def _token(ask: Ask) -> str:
    try:
        status, said = ask("PUT", "/latest/api/token", **{f"{_TOKEN_HEADER}-ttl-seconds": str(TOKEN_TTL_S)})
    except (OSError, HTTPException, ValueError) as error:
        said, status = str(error), 0
    if status != 200:
        raise UsageError(
            f"--spot: no EC2 metadata service at {_endpoint()} ({said or status})\nhint: leave --spot out here"
        )
    return said


def ask_metadata(method: str, path: str, **headers: str) -> tuple[int, str]:
    """The status and the text of the service's answer. Raises OSError and HTTPException where there is none."""
    # Never through a proxy: the service is the instance's own.
    connection = HTTPConnection(urlsplit(_endpoint()).netloc, timeout=ANSWERS_WITHIN_S)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read(1 << 16).decode("latin-1").strip()
    finally:
        connection.close()


def _endpoint() -> str:
    return os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or ENDPOINT
