"""The files in docs/services.md that other programs read: systemd's unit and cron's table."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import unavailable
from tests.docs.page import ROOT, blocks
from tests.docs.running import parse

PAGE = ROOT / "docs/services.md"


def block(language: str, beginning: str) -> list[str]:
    """The lines of the page's block in that language that begins so."""
    (found,) = [one for one in blocks(PAGE) if one.language == language and one.text[0].startswith(beginning)]
    return list(found.text)


def test_systemd_takes_the_unit(tmp_path):
    if shutil.which("systemd-analyze") is None:
        unavailable("no systemd-analyze: install Debian's package systemd")
    lines = block("ini", "[Unit]")
    (start,) = [line for line in lines if line.startswith("ExecStart=")]
    program, command = start.removeprefix("ExecStart=").split(" ", 1)
    here = "\n".join(lines).replace(program, str(Path(sys.executable).with_name("waiter")))
    unit = tmp_path / "waiter-crunch.service"
    unit.write_text(here.replace("User=waiter\n", "") + "\n")

    verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60)

    about_it = [line for line in verified.stderr.splitlines() if "waiter-crunch" in line]
    assert (verified.returncode, about_it) == (0, []), verified.stderr
    parse(f"waiter {command}")


def test_systemd_would_refuse_a_unit_that_is_wrong(tmp_path):
    if shutil.which("systemd-analyze") is None:
        unavailable("no systemd-analyze: install Debian's package systemd")
    unit = tmp_path / "waiter-crunch.service"
    unit.write_text("[Service]\nExecStart=/no/such/waiter deliver\nKillMode=mixd\n")

    verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60)

    assert "waiter-crunch" in verified.stderr


def test_the_crontabs_lines_have_five_times_and_a_command_that_waiter_knows():
    lines = [line for line in block("text", "MAILTO") if re.match(r"[\d*]", line)]

    assert len(lines) == 3
    for line in lines:
        *times, command = line.split(maxsplit=5)
        assert all(re.fullmatch(r"[\d*/,-]+", time) for time in times), line
        assert "%" not in command
        parse(re.sub(r"\d?>> \S+", "", command))
