"""EC2 takes a spot instance back while its waiter delivers. The metadata service is a real one, on loopback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import pytest

from tests.conftest import eventually, fill
from tests.metadata_service import MetadataService
from waiter.delivery import spot
from waiter.delivery.shutdown import Shutdown, Stop
from waiter.orders import Selector, Status


@pytest.fixture
def metadata() -> Iterator[MetadataService]:
    metadata = MetadataService()
    Thread(target=metadata.server.serve_forever, daemon=True).start()
    yield metadata
    metadata.server.shutdown()
    metadata.server.server_close()


def start(url: str, folder: Path, home: dict[str, str], *flags: str) -> subprocess.Popen[str]:
    work = "touch begun; while [ ! -e go ]; do sleep 0.02; done"
    command = [sys.executable, "-m", "waiter", "deliver", "-k", url, *flags, "sh", "-c", work, "sh"]
    return subprocess.Popen(command, cwd=folder, env=home, stderr=subprocess.PIPE, text=True)


def test_after_the_notice_what_runs_ends_and_the_rest_goes_back(kitchen, kitchen_url, metadata, tmp_path, home):
    fill(kitchen, [[str(n)] for n in range(5)])
    home["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = metadata.url
    waiter = start(kitchen_url, tmp_path, home, "--spot")
    eventually((tmp_path / "begun").exists)

    metadata.has_notice = True

    assert waiter.stderr is not None
    assert any("EC2 is reclaiming this spot instance" in line for line in waiter.stderr)
    (tmp_path / "go").touch()
    assert waiter.wait(20) == 0
    waiter.stderr.close()
    assert sorted((order.status, order.attempt) for order in kitchen.find(Selector())) == [
        (Status.DONE, 1),
        *[(Status.READY, 0)] * 4,
    ]


def test_nobody_is_asked_unless_the_user_says_so(kitchen, kitchen_url, metadata, tmp_path, home):
    fill(kitchen, [["x"]])
    (tmp_path / "go").touch()
    home["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = metadata.url

    assert start(kitchen_url, tmp_path, home).wait(20) == 0

    assert metadata.asked == []


def test_where_there_is_no_metadata_service_the_user_is_told(kitchen, kitchen_url, metadata, tmp_path, home):
    fill(kitchen, [["x"]])
    home["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = metadata.url
    metadata.server.shutdown()
    metadata.server.server_close()

    waiter = start(kitchen_url, tmp_path, home, "--spot")

    said = waiter.communicate(timeout=20)[1]
    assert (waiter.returncode, said.count("\n")) == (2, 2)  # and a hint
    assert "no EC2 metadata service" in said
    assert kitchen.counts()[Status.READY] == 1


def test_what_still_runs_when_the_time_is_nearly_over_is_stopped(metadata, monkeypatch):
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.url)
    metadata.has_notice = True
    shutdown = Shutdown()

    with spot.watched(shutdown, runs_on_s=0.2):
        eventually(lambda: shutdown.level is Stop.NOW)

    assert shutdown.why == spot.WHY


def test_a_service_that_falls_silent_is_asked_again(metadata, monkeypatch):
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.url)
    silent, unanswered = Event(), []

    def ask_or_not(method: str, path: str, **headers: str) -> tuple[int, str]:
        if silent.is_set():
            unanswered.append(path)
            raise TimeoutError("timed out")
        return spot.ask_metadata(method, path, **headers)

    shutdown = Shutdown()
    with spot.watched(shutdown, ask=ask_or_not, ask_s=0.05):
        silent.set()
        metadata.has_notice = True
        eventually(lambda: len(unanswered) >= 2)
        assert shutdown.level is Stop.NO
        silent.clear()

        eventually(lambda: shutdown.level is Stop.DRAIN)
