"""What is said to a host, as text, and the reading of what it answers. Nothing here touches a network.

One command line does a whole verb: it finds a Python that is new enough, checks the folder, says what must be sent
first, puts in place what has been sent, and hands on to Waiter's own file. Secrets go through stdin, never into words.
"""

from __future__ import annotations

import base64
import dataclasses
import errno
import hashlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from waiter.fleet import replies
from waiter.fleet.problems import HostError, Problem
from waiter.host import REPLY_MARK

PYTHONS = ("python3", "python3.14", "python3.13", "python3.12", "python3.11")

TOO_OLD = 93
"""The exit code of a Python that is too old, whatever else it may be told."""

NO_LOG = 66
"""How the reading of a log ends where nothing was ever started."""

LONGEST_WORDS = 2000
"""A host's own words about what went wrong are shown up to so many characters."""

FULL_BYTES = 1 << 20
"""With less free, it is the disk's fault that a file came short."""

FULL = (errno.ENOSPC, errno.EDQUOT)

# Plain sh: nothing is known of the host yet. "$@" is UNPACK and its argument. One line, and no `!` or backslash: the
# login shell may be csh or fish, which read those even in quotes.
FIND_PYTHON = (
    f'for python in {" ".join(PYTHONS)}; do command -v "$python" >/dev/null 2>&1 || continue; '
    f'"$python" -ISc "$@"; code=$?; [ "$code" = 0 ] && exit; [ "$code" = {TOO_OLD} ] || '
    '{ "$python" -ISc "import hashlib, json, zlib" >/dev/null 2>&1 && exit "$code"; found="$found broken:"; }; '
    'found="$found $("$python" -V 2>&1 | head -n 1)"; done; '
    f"""echo; echo '{REPLY_MARK}{{"trouble": "{Problem.NO_PYTHON}", "error": "found:'"${{found:- none}}"'"}}'"""
)

OWN_COMMANDS = "each batch's own command"
"""What hosts run that were given no words."""

UNPACK = "import base64, sys; exec(base64.b64decode(sys.argv[1]))"

# Read by any Python, even one that is too old to run the rest. `task` stands before it.
GATE = f"""
import sys
if sys.version_info < (3, 11):
    sys.exit({TOO_OLD})
import hashlib, json, os, runpy, shutil, stat
def reply(**words):
    print("\\n{REPLY_MARK}" + json.dumps(words))
    sys.exit(0)
home = os.path.join(os.path.expanduser("~"), ".waiter")
try:
    try:
        os.mkdir(home, 0o700)
    except FileExistsError:
        pass
    facts = os.lstat(home)
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
        reply(trouble="{Problem.UNSAFE_FOLDER}", error=home + " is a symlink, or not a folder of your own")
    if stat.S_IMODE(facts.st_mode) & 0o077:
        os.chmod(home, 0o700)
    for sent, name, digest in task["place"]:
        sent, name = os.path.join(home, sent), os.path.join(home, name)
        with open(sent, "rb") as file:
            os.fsync(file.fileno())
            is_whole = hashlib.file_digest(file, "sha256").hexdigest() == digest
        if not is_whole:
            free = shutil.disk_usage(home).free
            os.unlink(sent)
            if free < {FULL_BYTES}:
                reply(trouble="{Problem.DISK}", error="%d KiB free in %s" % (free // 1024, home))
            reply(trouble="{Problem.UPLOAD}", error=sent + " came with another hash than it left with")
        os.replace(sent, name)
except OSError as error:
    reply(
        trouble="{Problem.DISK}" if error.errno in {FULL} else "{Problem.NOT_WRITABLE}",
        error="%s: %s" % (error.filename, error.strerror),
    )
missing = [name for name in task["needs"] if not os.path.lexists(os.path.join(home, name))]
if missing and task["any"]:
    here = [name for name in os.listdir(home) if name.startswith("waiter-") and name.endswith(".pyz")]
    here.sort(key=lambda name: os.path.getmtime(os.path.join(home, name)))
    task["run"][:1] = here[-1:] or reply(missing=missing, home=home)
elif missing:
    reply(missing=missing, home=home)
sys.argv[:] = [os.path.join(home, task["run"][0])] + task["run"][1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file that was sent under a temporary name, all in ~/.waiter, and what it must be."""

    sent: str
    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class HostSettings:
    """How a host's waiter is to deliver. `options` are DeliveryOptions as JSON values; nothing here is secret."""

    words: tuple[str, ...]
    options: Mapping[str, Any]
    db: str
    bundle: str | None = None
    script: str | None = None  # the hash of the command's first word, where that is a file that goes along

    @property
    def digest(self) -> str:
        """The same for the same work: tells whether a waiter that runs already does what is asked for now."""
        return hashlib.sha256(json.dumps(dataclasses.asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "digest": self.digest}


def host_command(
    zipapp: str,
    words: Sequence[str],
    *,
    needs: Sequence[str] = (),
    uploaded: Sequence[UploadedFile] = (),
    is_any: bool = False,
) -> str:
    """The command line that has the zipapp do a verb, or says what of it and of `needs` must be sent first.

    `is_any`: the newest zipapp that lies there will do, of whatever version.
    """
    task = {
        "needs": [zipapp, *needs],
        "any": is_any,
        "place": [dataclasses.astuple(each) for each in uploaded],
        "run": [zipapp, *words],
    }
    program = base64.b64encode(f"task = {task!r}{GATE}".encode()).decode()
    return shlex.join(["exec", "sh", "-c", FIND_PYTHON, "waiter", UNPACK, program])


def read_reply(stdout: bytes, stderr: bytes, exit_code: int | None) -> dict[str, Any]:
    """The value of the reply's line, whatever else the host printed.

    Raises HostError when there is none, and when it names a problem.
    """
    text = stdout.decode("utf-8", "replace")
    lines = [line for line in text.splitlines() if line.startswith(REPLY_MARK)]
    if not lines:
        raise no_reply(text + stderr.decode("utf-8", "replace"), exit_code)
    try:
        said = json.loads(lines[-1].removeprefix(REPLY_MARK))
    except (ValueError, RecursionError) as error:
        raise replies.senseless("its reply", lines[-1].removeprefix(REPLY_MARK)) from error
    reply = replies.checked(said)
    if (problem := reply.get("trouble")) is not None:
        if problem not in set(Problem):
            raise replies.senseless("trouble", problem)
        raise HostError(Problem(problem), _short(reply.get("error") or ""))
    if reply.get("error") is not None:
        raise failure(reply)
    return reply


def _short(words: str) -> str:
    return words if len(words) <= LONGEST_WORDS else words[:LONGEST_WORDS] + "…"


_ERRNO = {
    **dict.fromkeys(FULL, Problem.DISK),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), Problem.NOT_WRITABLE),
    errno.ELOOP: Problem.UNSAFE_FOLDER,  # a symlink where O_NOFOLLOW refuses it
}


def failure(reply: Mapping[str, Any]) -> HostError:
    """What a reply that carries an error says."""
    kinds = {"UnsafeFolder": Problem.UNSAFE_FOLDER, "KitchenUnreachable": Problem.KITCHEN}
    if reply.get("outcome") == Problem.NOT_STARTED:
        problem = Problem.NOT_STARTED
    else:
        problem = kinds.get(str(reply.get("error_type"))) or _ERRNO.get(reply.get("errno", 0), Problem.FAILED)
    return HostError(problem, _short(reply["error"]))


def no_reply(said: str, exit_code: int | None) -> HostError:
    """A host that ran something else than what it was asked to: its last line says why, mostly."""
    if (found := wrong_user(said)) is not None:
        return found
    last = next(iter(said.strip().splitlines()[-1:]), "it said nothing")[:300]
    if re.search(r"no space left|disk quota", said, re.IGNORECASE):
        return HostError(Problem.DISK, last)
    ending = "a signal ended it" if exit_code is None else f"exit code {exit_code}"
    return HostError(Problem.NO_REPLY, f"{ending}: {last}")


def wrong_user(said: str) -> HostError | None:
    """EC2's images let root in only to be told another name."""
    # Names of users, and nothing else: the second line is there to be run.
    match = re.search(r'Please login as the user "([\w.][\w.-]{0,63})" rather than the user "([\w.-]{1,64})"', said)
    if match is None:
        return None
    return HostError(Problem.WRONG_USER, f"not {match[2]}, but {match[1]}", f"--user {match[1]}")


def logs_command(lines: int, *, follow: bool) -> str:
    """Show the end of the log, or end with NO_LOG. Following ends when the connection does: `cat` sees stdin's end."""
    tail = f"tail -n {lines}" + (" -F" if follow else "")
    shown = f'{tail} "$log" & cat >/dev/null; kill $! 2>/dev/null' if follow else f'{tail} "$log"'
    script = f'log="$HOME/.waiter/hosts/$(uname -n)/waiter.log"; [ -f "$log" ] || exit {NO_LOG}; {shown}'
    return shlex.join(["exec", "sh", "-c", script])


def note_tunnel(port: int) -> str:
    """Note which of the host's sshd processes holds this port: it may outlive its connection, and be in the way."""
    folder = '"$HOME/.waiter/hosts/$(uname -n)"'
    script = f"umask 077; mkdir -p {folder} && echo $PPID > {folder}/tunnel-{port}"
    return shlex.join(["exec", "sh", "-c", script])


def end_stale_tunnel(port: int) -> str:
    """End the process that `note_tunnel` noted, if it is an sshd still."""
    script = (
        f'pid=$(cat "$HOME/.waiter/hosts/$(uname -n)/tunnel-{port}") || exit 0; '
        'name=$(cat "/proc/$pid/comm" 2>/dev/null || ps -o comm= -p "$pid"); '
        'case "$name" in *sshd*) kill "$pid";; esac'
    )
    return shlex.join(["exec", "sh", "-c", script])


# A watchdog beside the command reads the connection's stdin: when that ends, nobody waits any more, and the command's
# whole group ends. `setsid` makes the group; where there is none (macOS), the command alone is told.
WATCHED = """\
exec 3<&0
group=$(command -v setsid)
$group "${SHELL:-/bin/sh}" -c "$1" </dev/null 3<&- &
child=$!
(cat <&3; for how in TERM KILL; do kill -$how -$child || kill -$how $child; sleep 5; done) >/dev/null 2>&1 &
exec 3<&-
wait $child
code=$?
kill $! 2>/dev/null
exit $code
"""


def user_command(words: Sequence[str]) -> tuple[str, bytes]:
    """The words of `fleet run`, as a command line and what to send on its stdin, which is to stay open.

    One word is a line for the host's shell; several are words, quoted. What runs ends with the connection. The line
    travels on stdin: a login shell may read newlines, `!` and backslashes its own way.
    """
    line = words[0] if len(words) == 1 else shlex.join(words)
    program = f"set -- {shlex.quote(line)}\n{WATCHED}".encode("utf-8", "surrogateescape")
    return f"exec sh -c 'eval \"$(dd bs=1 count={len(program)} 2>/dev/null)\"'", program
