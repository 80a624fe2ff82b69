"""Verbs as a user types them, against the test's kitchen."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


@pytest.fixture
def ask(waiter_cli, kitchen_url):
    """Runs a verb and expects an exit code, 0 unless told; `ask.json` reads what it says."""

    def run(*arguments, code=0, **more):
        ended = waiter_cli("-k", kitchen_url, *arguments, **more)
        assert ended.returncode == code, ended.stderr
        return ended

    run.json = lambda *arguments, **more: json.loads(run(*arguments, "--json", **more).stdout)
    return run


@pytest.fixture
def begin(kitchen_url, home, tmp_path):
    """Starts a verb as a process that the test's end takes down."""
    begun: list[subprocess.Popen[str]] = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-m", "waiter", "-k", kitchen_url, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=home,
            cwd=tmp_path,
        )
        begun.append(process)
        return process

    yield start
    for process in begun:
        process.kill()
        process.communicate()
