"""Coming back after a reboot: a systemd user unit where systemd runs, else a line of the user's crontab."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from waiter.errors import WaiterError

UNIT = "waiter.service"
_MARK = "# waiter"

_UNIT_TEXT = """\
[Unit]
Description=Waiter delivers orders

[Service]
ExecStart={command}
Restart=on-failure
SuccessExitStatus=1 2 4 130
RestartSec=15
KillMode=mixed
TimeoutStopSec=90

[Install]
WantedBy=default.target
"""


class NoBoot(WaiterError):
    """This host offers no way to start something after a reboot."""


def install(parcel: Path) -> str:
    """Let the waiter come back after a reboot, and return by what: "systemd" or "cron". Raises NoBoot."""
    if has_systemd():
        _install_unit(parcel)
        return "systemd"
    if shutil.which("crontab"):
        # To cron, a percent sign is the end of the line.
        line = shlex.join(command(parcel)).replace("%", "\\%")
        _set_crontab([*_foreign_lines(), f"@reboot {line} {_MARK}"])
        return "cron"
    raise NoBoot("--boot: this host has neither systemd for users nor cron. Install cron, or leave --boot out")


def remove() -> None:
    """Undo `install`. Without one, nothing happens."""
    unit = _unit_file()
    if unit.exists():
        _systemctl("disable", UNIT)
        unit.unlink(missing_ok=True)
        _systemctl("daemon-reload")
    if shutil.which("crontab") and any(line.endswith(_MARK) for line in _crontab()):
        _set_crontab(_foreign_lines())


def installed() -> str | None:
    """What would start the waiter after a reboot, if anything."""
    if _unit_file().exists():
        return "systemd"
    is_in_crontab = shutil.which("crontab") and any(line.endswith(_MARK) for line in _crontab())
    return "cron" if is_in_crontab else None


def command(parcel: Path) -> list[str]:
    return [sys.executable, "-IS", str(parcel), "run", "--patient"]


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


def _install_unit(parcel: Path) -> None:
    unit = _unit_file()
    unit.parent.mkdir(parents=True, exist_ok=True)
    # %% is systemd's own word for a percent sign.
    unit.write_text(_UNIT_TEXT.format(command=shlex.join(command(parcel)).replace("%", "%%")))
    user = getpass.getuser()
    lingers = Path("/var/lib/systemd/linger", user).exists() or not _exit_code("loginctl", "enable-linger")
    if _systemctl("daemon-reload") or _systemctl("enable", UNIT) or not lingers:
        remove()
        raise NoBoot(f"--boot: systemd refuses. Run on the host: sudo loginctl enable-linger {user}")


# cron.


def _crontab() -> list[str]:
    listed = subprocess.run(["crontab", "-l"], capture_output=True, text=True, check=False, timeout=30)
    return listed.stdout.splitlines() if listed.returncode == 0 else []


def _foreign_lines() -> list[str]:
    return [line for line in _crontab() if not line.endswith(_MARK)]


def _set_crontab(lines: list[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    done = subprocess.run(["crontab", "-"], input=text, capture_output=True, text=True, check=False, timeout=30)
    if done.returncode:
        raise NoBoot(f"--boot: crontab refuses: {done.stderr.strip()}")
