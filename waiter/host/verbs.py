"""What the laptop may ask of a host: start, stop, restart, look, check, push. Each returns one JSON value.

Each can be repeated without harm, and interrupted: the lock is held for moments only, never while orders end. What is
to work next waits as a process of its own for the waiter that leaves, so it begins whether or not anybody still waits
for it, unless somebody has wanted something else meanwhile (`Home.new_intent`).
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from waiter import __version__
from waiter.errors import KitchenMissing, WaiterError
from waiter.host import boot
from waiter.host.state_dir import (
    KITCHEN,
    NEXT,
    OVERTAKEN,
    SETTINGS,
    STATE,
    Home,
    is_alive,
    is_of_an_earlier_boot,
    process_start_id,
)
from waiter.light_dataclass import dataclass
from waiter.processes import with_given_locale

CHECK_IN_S = 20.0
"""How long `start` waits to hear that the kitchen has let the waiter in."""

KILL_AFTER_S = 20.0
"""How long after its commands' grace a waiter that was told to stop at once may live."""

_OF_THE_SESSION = (
    *("SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY", "SSH_AUTH_SOCK"),
    *("WAITER_KITCHEN", "WAITER_KITCHEN_FILE", "WAITER_KITCHEN_FROM_HOSTS"),
)

Reply = dict[str, Any]


def start(home: Home, sent: Reply) -> Reply:
    """Start the waiter, unless it runs.

    `sent` holds settings (else those of the last time are used), the kitchen's URL, and whether to come back after a
    reboot.
    """
    with home.lock():
        mine = home.new_intent()
        state = home.json(STATE)
        is_busy = is_alive(state)
        if is_busy and not home.is_draining(state):
            if sent.get("boot"):
                boot.install(home.path / state["parcel"])
            is_same = not sent.get("settings") or state.get("settings") == sent["settings"]["digest"]
            changed = [] if is_same else _changed_options(home.json(SETTINGS), state, sent["settings"])
            told = {**_told(state), "boot": boot.installed()}
            return {"outcome": "already running", **told, "is_same": is_same, "changed": changed}
        launch = _launch(home, sent, mine if is_busy else None)
        if not is_busy:
            return _first_word(home, launch)
    if not _ends(state, CHECK_IN_S):
        return {"outcome": "starts when its orders end", **_told(state)}
    return _started_after(home, mine, launch)


def restart(home: Home, sent: Reply, grace_s: float) -> Reply:
    """Let the waiter finish, then have another start with new settings, however long that takes.

    The reply comes after `grace_s` at the latest; what it then says is "still draining".
    """
    with home.lock():
        mine = home.new_intent()
        state = home.json(STATE)
        is_busy = is_alive(state)
        launch = _launch(home, sent, mine if is_busy else None)  # what is missing is found out before anything stops
        if not is_busy:
            return _first_word(home, launch)
        _signal(home, state, signal.SIGUSR1)
    if not _ends(state, grace_s):
        return {"outcome": "still draining", **_told(state), "is_next_ready": _is_next_ready(home)}
    started = _started_after(home, mine, launch)
    return {**started, "outcome": "restarted"} if started["outcome"] == "started" else started


def stop(home: Home, *, grace_s: float, is_now: bool) -> Reply:
    """Let the waiter finish its orders and leave, or stop them and give them back at once, never to return."""
    with home.lock():
        home.new_intent()
        still_boots = ""
        try:
            boot.remove()
        except WaiterError as error:
            still_boots = str(error)
    stopped = _stop_now(home) if is_now else _stop(home, grace_s=grace_s)
    return {**stopped, "error": f"{stopped['outcome']}, but {still_boots}"} if still_boots else stopped


def push(home: Home, sent: Reply) -> Reply:
    """Unpack what was sent."""
    with home.lock():
        if sent.get("bundle"):
            home.bundle(sent["bundle"])
        return {"outcome": "pushed", "version": __version__}


def status(home: Home, *, lines: int = 5) -> Reply:
    """What this host knows of its waiter."""
    state = home.json(STATE)
    is_draining = is_alive(state) and home.is_draining(state)
    return {
        "outcome": "draining" if is_draining else "running" if is_alive(state) else "not running",
        "is_next_ready": is_draining and _is_next_ready(home),
        **_told(state),
        "left": state.get("left"),
        "is_rebooted": is_of_an_earlier_boot(state),
        "boot": boot.installed(),
        "log": home.log_lines(lines),
        "now": time.time(),
    }


def check(home: Home, sent: Reply) -> Reply:
    """Facts for `doctor`: the host, its clock and disk, and whether the kitchen can be reached from here."""
    url = sent.get("kitchen") or (home.read(KITCHEN) or "").strip()
    disk = shutil.disk_usage(home.path)
    return {
        **status(home, lines=0),
        "python": ".".join(map(str, sys.version_info[:3])),
        "cpus": os.cpu_count(),
        "disk_free": disk.free,
        "kitchen": _kitchen(url, sent.get("db") or "simplewaiter") if url else None,
    }


def _kitchen(url: str, db: str) -> Reply:
    from waiter.kitchen import open_kitchen

    try:
        with open_kitchen(url, db, create=False) as kitchen:
            return {"error": None, "now": kitchen.now(), "host_now": time.time(), "url": kitchen.url}
    except KitchenMissing:  # it answered, and nothing was loaded yet
        return {"error": None, "now": None}
    except WaiterError as error:
        return {"error": str(error)}


def _told(state: Reply) -> Reply:
    known = ("pid", "since", "shift", "waiter", "version", "parcel", "words", "jobs", "bundle", "script", "settings")
    return {"host": socket.gethostname(), **{key: state.get(key) for key in known}}


def _changed_options(there: Reply, state: Reply, asked: Reply) -> list[str]:
    """The names of the options in which what is asked for differs from what the waiter of this state works with."""
    if there.get("digest") != state.get("settings"):
        return []  # they were sent for a waiter that is to come
    old, new = there.get("options") or {}, asked.get("options") or {}
    names = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
    return names + (["db"] if there.get("db") != asked.get("db") else [])


# Starting.


def _put_settings(home: Home, sent: Reply) -> None:
    if sent.get("settings"):
        # After a reboot there is no login shell that would set the PATH.
        home.write(SETTINGS, json.dumps({**sent["settings"], "path": os.environ.get("PATH")}))
    if sent.get("kitchen"):
        home.write(KITCHEN, sent["kitchen"] + "\n")
    settings = home.json(SETTINGS)
    if not settings:
        raise WaiterError("nothing was ever started on this host. Run: waiter fleet start --cmd …")
    if settings.get("bundle"):
        home.bundle(settings["bundle"])


@dataclass(frozen=True, slots=True)
class Launch:
    """A daemon that was begun, and where its first word is heard."""

    process: subprocess.Popen[bytes]
    hear: int
    zipapp: Path
    boots_by: str | None  # systemd or cron, if it comes back after a reboot
    is_boot_new: bool


def _launch(home: Home, sent: Reply, successor: str | None) -> Launch:
    """Begin the daemon with the settings that were sent; a `successor` waits until the present waiter has left."""
    _put_settings(home, sent)
    zipapp = home.path / Path(sys.argv[0]).name
    # What is to come back names its zipapp, and an earlier one is about to be forgotten.
    was_installed = boot.installed()
    by = boot.install(zipapp) if sent.get("boot") or was_installed else None
    process, hear = _spawned(home, zipapp, ["--successor", successor] if successor else [])
    if successor:
        home.write(NEXT, json.dumps({"pid": process.pid, "birth": process_start_id(process.pid), "intent": successor}))
    return Launch(process, hear, zipapp, by, is_boot_new=by is not None and not was_installed)


def _is_next_ready(home: Home) -> bool:
    """Whether another waiter waits for the present one to leave."""
    waiting = home.json(NEXT)
    return is_alive(waiting) and home.is_current(str(waiting.get("intent")))


def _started_after(home: Home, mine: str, launch: Launch) -> Reply:
    """What became of the daemon that waited for the one before it, which has just gone."""
    with home.lock():
        if not home.is_current(mine):
            raise WaiterError(OVERTAKEN)
        return _first_word(home, launch)


def _first_word(home: Home, launch: Launch) -> Reply:
    """Wait until the kitchen has let the daemon in, or it has died of something."""
    word = _heard(home, launch)
    if "error" in word:
        if launch.is_boot_new:
            boot.remove()
        return {"outcome": "not started", "error": word["error"], "log": home.log_lines(5)}
    _tidy(home, launch.zipapp)
    outcome = "started" if word else "started, not checked in yet"
    return {
        "outcome": outcome,
        **_told(home.json(STATE)),
        "pid": launch.process.pid,
        "boot": launch.boots_by,
        "is_same": True,
    }


def _spawned(home: Home, zipapp: Path, words: Sequence[str]) -> tuple[subprocess.Popen[bytes], int]:
    hear, tell = os.pipe()
    env = {key: value for key, value in with_given_locale(os.environ).items() if key not in _OF_THE_SESSION}
    log = home.open_log()
    process = subprocess.Popen(
        [sys.executable, "-IS", str(zipapp), "run", "--tell", str(tell), *words],
        pass_fds=[tell],
        cwd=Path.home(),
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    os.close(tell)
    os.close(log)
    return process, hear


def _heard(home: Home, launch: Launch) -> Reply:
    """The daemon's first word: its shift, an error, or nothing within CHECK_IN_S."""
    if not select.select([launch.hear], [], [], CHECK_IN_S)[0]:
        return {}
    heard = os.read(launch.hear, 1 << 16)
    if heard:
        word: Reply = json.loads(heard)
        if "error" in word:
            with suppress(subprocess.TimeoutExpired):
                launch.process.wait(5)  # whoever starts the next one shall not meet this one
        return word
    last = (home.log_lines(1) or [f"exit code {launch.process.wait(5)}"])[-1]
    return {"error": f"it ended at once: {last}"}


def _tidy(home: Home, zipapp: Path) -> None:
    """Forget what earlier starts left: all but the zipapps and the files in use."""
    kept = {zipapp.name, *home.used("parcel")}
    for file in home.path.glob("waiter-*.pyz"):
        if file.name not in kept:
            file.unlink(missing_ok=True)
    home.forget_bundles()
    home.remove_partial()


# Stopping.


def _stop(home: Home, *, grace_s: float) -> Reply:
    state = home.json(STATE)
    if not _signal(home, state, signal.SIGUSR1):
        return {"outcome": "not running", "host": socket.gethostname()}
    if not _ends(state, grace_s):
        return {"outcome": "still draining", **_told(state)}
    return {"outcome": "stopped", **_told(state), "left": home.json(STATE).get("left")}


def _stop_now(home: Home) -> Reply:
    state = home.json(STATE)
    if not _signal(home, state, signal.SIGUSR2):
        return {"outcome": "not running", "host": socket.gethostname()}
    grace_s = home.json(SETTINGS).get("options", {}).get("grace_s", 10.0)
    if not _ends(state, grace_s + KILL_AFTER_S):
        # Its runner kills the commands when it is gone; what it held goes back now, not when its lease ends.
        _signal(home, state, signal.SIGKILL)
        _ends(state, 5.0)
        _check_out(home, state)
    return {"outcome": "stopped", **_told(state), "left": home.json(STATE).get("left")}


def _signal(home: Home, state: Reply, number: signal.Signals) -> bool:
    """Whether the waiter was there to hear it. It is on its way out from then on, even before it has heard."""
    if not is_alive(state):
        return False
    home.note_draining(state)
    try:
        os.kill(state["pid"], number)
    except ProcessLookupError:
        return False
    return True


def _ends(state: Reply, within_s: float) -> bool:
    return _eventually(lambda: process_start_id(state["pid"]) != state["birth"], within_s)


def _eventually(is_so: Callable[[], bool], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _check_out(home: Home, state: Reply) -> None:
    from waiter.kitchen import open_kitchen

    url = (home.read(KITCHEN) or "").strip()
    with open_kitchen(url, home.json(SETTINGS)["db"], create=False) as kitchen:
        for shift in kitchen.shifts():
            if shift.token == state.get("shift"):
                kitchen.check_out(shift)
