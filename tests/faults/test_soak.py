"""Half a minute of the soak, so that it is known to work when somebody needs an hour of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"), pytest.mark.timeout(600)]


@pytest.mark.long
def test_waiters_that_die_and_freeze_at_random_break_no_promise(home):
    command = [sys.executable, "-m", "tests.faults.soak", "--minutes", "0.6", "--seed", "1"]
    ended = subprocess.run(
        command, cwd=Path(__file__).parents[2], env=home, capture_output=True, text=True, timeout=580
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "SQLite" in ended.stdout
