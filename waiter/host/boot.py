"""Coming back after a reboot: a systemd user unit where systemd runs, else a line of the user's crontab.

The crontab is somebody else's file: it is opened only where `--boot` asked for a line in it (`CRON_NOTED` remembers
that), its bytes pass through as they are, and it is written only after it could be read.
"""

from __future__ import annotations

import getpass
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from waiter.errors import WaiterError
from waiter.host.state_dir import Home

UNIT = "waiter.service"
_MARK = b"# waiter"

CRONTAB_S = 10.0
"""How long `crontab` may take."""

CRON_NOTED = "boots-by-cron"
"""In this host's folder while there is a line of ours in the user's crontab."""

_UNIT_TEXT = """\
[Unit]
Description=Waiter delivers orders

[Service]
ExecStart={command}
Restart=on-failure
SuccessExitStatus=1 2 4 124 130
RestartSec=15
KillMode=mixed
TimeoutStopSec=90
Delegate=memory

[Install]
WantedBy=default.target
"""


class NoBoot(WaiterError):
    """This host offers no way to start something after a reboot."""


def install(zipapp: Path) -> str:
    """Let the waiter come back after a reboot, and return by what: "systemd" or "cron". Raises NoBoot."""
    if has_systemd():
        _install_unit(zipapp)
        return "systemd"
    if shutil.which("crontab"):
        # To cron, a percent sign is the end of the line.
        line = shlex.join(boot_command(zipapp)).replace("%", "\\%")
        others = _foreign_lines()
        _cron_noted().touch(mode=0o600)
        _set_crontab([*others, os.fsencode(f"@reboot {line} ") + _MARK])
        return "cron"
    raise NoBoot("--boot: this host has neither systemd for users nor cron. Install cron, or leave --boot out")


def remove() -> None:
    """Undo `install`. Without one, nothing happens. Raises NoBoot if the crontab cannot be read or written."""
    unit = _unit_file()
    if unit.exists():
        _systemctl("disable", UNIT)
        unit.unlink(missing_ok=True)
        _systemctl("daemon-reload")
    if _cron_noted().exists():
        _set_crontab(_foreign_lines())
        _cron_noted().unlink(missing_ok=True)


def installed() -> str | None:
    """What would start the waiter after a reboot, if anything."""
    if _unit_file().exists():
        return "systemd"
    return "cron" if _cron_noted().exists() else None


def boot_command(zipapp: Path) -> list[str]:
    return [sys.executable, "-IS", str(zipapp), "run", "--patient"]


# systemd.


def has_systemd() -> bool:
    """Whether systemd runs this host and takes units from this user."""
    return Path("/run/systemd/system").is_dir() and _systemctl("show-environment") == 0


def _systemctl(*words: str) -> int:
    return _exit_code("systemctl", "--user", *words)


def _exit_code(*words: str) -> int:
    if not shutil.which(words[0]):
        return 127
    # A session over SSH may come without the address of the user's own systemd.
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    env = {**os.environ, "XDG_RUNTIME_DIR": runtime}
    return subprocess.run(words, env=env, capture_output=True, check=False, timeout=30).returncode


def _unit_file() -> Path:
    return Path.home() / ".config/systemd/user" / UNIT


def _install_unit(zipapp: Path) -> None:
    unit = _unit_file()
    unit.parent.mkdir(parents=True, exist_ok=True)
    # %% is systemd's own word for a percent sign.
    unit.write_text(_UNIT_TEXT.format(command=shlex.join(boot_command(zipapp)).replace("%", "%%")))
    user = getpass.getuser()
    lingers = Path("/var/lib/systemd/linger", user).exists() or not _exit_code("loginctl", "enable-linger")
    if _systemctl("daemon-reload") or _systemctl("enable", UNIT) or not lingers:
        remove()
        raise NoBoot(f"--boot: systemd refuses. Run on the host: sudo loginctl enable-linger {user}")


# cron.


def _cron_noted() -> Path:
    return Home().own / CRON_NOTED


def _foreign_lines() -> list[bytes]:
    """The lines of the user's crontab but ours. Raises NoBoot unless it could be read, or there is none."""
    listed = _crontab(["-l"])
    # Every cron says so of a user without one, and exits with 1 as it does for any other problem.
    if listed.returncode and not re.search(rb"no crontab", listed.stderr, re.IGNORECASE):
        raise NoBoot(f"--boot: the crontab cannot be read, so it was left alone: {_words(listed.stderr)}")
    lines = listed.stdout.splitlines() if listed.returncode == 0 else []
    return [line for line in lines if not line.endswith(_MARK)]


def _set_crontab(lines: list[bytes]) -> None:
    done = _crontab(["-"], b"".join(line + b"\n" for line in lines))
    if done.returncode:
        raise NoBoot(f"--boot: crontab refuses: {_words(done.stderr)}")


def _crontab(words: list[str], sent: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("crontab")
    if program is None:
        raise NoBoot("--boot: there is no crontab on this host any more; its line of Waiter was left as it is")
    try:
        return subprocess.run(
            [program, *words],
            input=sent,
            stdin=subprocess.DEVNULL if sent is None else None,
            capture_output=True,
            check=False,
            timeout=CRONTAB_S,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        raise NoBoot(f"--boot: crontab does not answer within {CRONTAB_S:.0f} s; it was left alone") from None


def _words(stderr: bytes) -> str:
    return " ".join(stderr.decode("utf-8", "replace").split()) or "it does not say why"
