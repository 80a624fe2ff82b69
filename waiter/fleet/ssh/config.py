"""What OpenSSH's configuration says of a host. OpenSSH itself is asked (`ssh -G`): one reader, and it is right.

Where no `ssh` is installed, Paramiko's reader does for the plain part: it knows neither Include (done here) nor most
criteria of Match.
"""

from __future__ import annotations

import getpass
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import paramiko

from waiter.errors import FleetError

DEPTH = 16
"""How deep Includes may nest, as in OpenSSH."""

ASKING_S = 10.0
"""How long `ssh -G` may take: a `Match exec` runs commands of the user's."""

_WORD = re.compile(r'"([^"]*)"|(\S+)')


@dataclass(frozen=True, slots=True)
class HostConfig:
    """How to reach one host, all names and tokens put in."""

    name: str  # as it was typed
    host: str  # what to connect to
    user: str
    port: int
    identity_files: tuple[str, ...]
    certificate_files: tuple[str, ...]
    identities_only: bool
    agent: str | None  # the agent's socket
    proxy_command: str | None
    proxy_jump: tuple[str, ...]
    known_hosts: tuple[str, ...]  # the user's files first
    key_name: str  # how known_hosts calls it
    accepts_new: bool  # StrictHostKeyChecking accept-new, or no


class SshConfig:
    """The user's configuration, read for one verb. Raises FleetError when it makes no sense."""

    def __init__(self) -> None:
        self._ssh = shutil.which("ssh")
        self._file = None if _is_at_home() else _inlined()

    def of(self, name: str, user: str | None, port: int | None) -> HostConfig:
        """What holds for this name. `user` and `port` were typed, and win. Raises FleetError."""
        if self._ssh is None:
            return _config(name, _by_paramiko(name), user, port)
        words = [self._ssh, "-G", *(["-F", self._file.name] if self._file else [])]
        words += [*(["-l", user] if user else []), *(["-p", str(port)] if port else []), "--", name]
        try:
            asked = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=ASKING_S)
        except subprocess.TimeoutExpired:
            raise FleetError(
                f"ssh -G {name} takes longer than {ASKING_S:.0f} s.\nhint: look at the Match exec of ~/.ssh/config"
            ) from None
        if asked.returncode:
            said = asked.stderr.decode("utf-8", "replace").strip().splitlines()
            why = " ".join(said).replace(self._file.name, "~/.ssh/config") if self._file else " ".join(said)
            raise FleetError(f"~/.ssh/config: {why or f'ssh -G {name} failed'}")
        return _config(name, _facts(asked.stdout), user, port)


def _facts(output: bytes) -> dict[str, list[str]]:
    facts: dict[str, list[str]] = {}
    for line in os.fsdecode(output).splitlines():
        keyword, _, value = line.partition(" ")
        facts.setdefault(keyword.lower(), []).append(value)
    return facts


def _config(name: str, facts: Mapping[str, list[str]], user: str | None, port: int | None) -> HostConfig:
    def first(keyword: str, default: str = "") -> str:
        return facts.get(keyword, [default])[0]

    host, at = first("hostname", name), port or int(first("port", "22"))
    who = user or first("user") or getpass.getuser()
    tokens = {"%": "%", "h": host, "n": name, "p": str(at), "r": who, "d": str(Path.home()), "i": str(os.getuid())}
    tokens |= {"u": getpass.getuser(), "l": os.uname().nodename, "L": os.uname().nodename.partition(".")[0]}
    alias = first("hostkeyalias")
    tokens["k"] = alias or name
    command = first("proxycommand")
    return HostConfig(
        name=name,
        host=host,
        user=who,
        port=at,
        identity_files=tuple(_expanded(file, tokens) for file in facts.get("identityfile", ()) if file != "none"),
        certificate_files=tuple(_expanded(file, tokens) for file in facts.get("certificatefile", ())),
        identities_only=first("identitiesonly") == "yes",
        agent=_agent(first("identityagent"), tokens),
        proxy_command=None if command in ("", "none") else _with_tokens(command, tokens),
        proxy_jump=tuple(hop.strip() for hop in first("proxyjump").split(",") if hop.strip() not in ("", "none")),
        known_hosts=_known_hosts(first("userknownhostsfile"), first("globalknownhostsfile"), tokens),
        key_name=alias or (host if at == 22 else f"[{host}]:{at}"),
        accepts_new=first("stricthostkeychecking") in ("accept-new", "no", "off", "false"),
    )


def _with_tokens(text: str, tokens: Mapping[str, str]) -> str:
    return re.sub(r"%(.)", lambda found: tokens.get(found[1], found[0]), text)


def _expanded(file: str, tokens: Mapping[str, str]) -> str:
    """A file's name with its tokens, variables and ~ put in."""
    file = re.sub(r"\$\{(\w+)\}", lambda found: os.environ.get(found[1], ""), _with_tokens(file.strip('"'), tokens))
    return str(Path(file).expanduser()) if file.startswith("~") else file


def _agent(said: str, tokens: Mapping[str, str]) -> str | None:
    socket = os.environ.get("SSH_AUTH_SOCK") if said in ("", "SSH_AUTH_SOCK") else said
    if not socket or socket == "none":
        return None
    return os.environ.get(socket[1:]) if re.fullmatch(r"\$\w+", socket) else _expanded(socket, tokens)


def _known_hosts(user: str, system: str, tokens: Mapping[str, str]) -> tuple[str, ...]:
    """The files of known hosts. `ssh -G` parts them by blanks and quotes none: what exists as a whole is one name."""
    files = _parted(user) or ["~/.ssh/known_hosts", "~/.ssh/known_hosts2"]
    if not _is_at_home():  # OpenSSH takes the home of the password file for ~
        own = f"{pwd.getpwuid(os.getuid()).pw_dir}/.ssh/known_hosts"
        files = [re.sub(f"^{re.escape(own)}(2?)$", r"~/.ssh/known_hosts\1", file) for file in files]
    return tuple(_expanded(file, tokens) for file in [*files, *(_parted(system) or ["/etc/ssh/ssh_known_hosts"])])


def _parted(value: str) -> list[str]:
    words, files = value.split(" ") if value else [], []
    while words:
        # The longest run of words that is a file; else one word.
        ends = (end for end in range(len(words), 1, -1) if Path(" ".join(words[:end])).expanduser().exists())
        end = next(ends, 1)
        files.append(" ".join(words[:end]))
        del words[:end]
    return [file for file in files if file]


# Where OpenSSH would not find the user's own file, because HOME is another than the password file's.


def _is_at_home() -> bool:
    with suppress(KeyError):
        return Path.home() == Path(pwd.getpwuid(os.getuid()).pw_dir)
    return True


def _inlined() -> tempfile._TemporaryFileWrapper[str]:
    """The user's file and the system's as one, Includes put in."""
    file = tempfile.NamedTemporaryFile("w", encoding="utf-8", errors="surrogateescape", suffix=".ssh")  # noqa: SIM115
    file.write(ssh_config())
    file.flush()
    return file


def ssh_config() -> str:
    """The user's file, then the system's: the first value that is given for a host counts."""
    user, system = Path.home() / ".ssh/config", Path("/etc/ssh/ssh_config")
    return "\n".join([*lines_of(user, user.parent), "Host *", *lines_of(system, system.parent)]) + "\n"


def lines_of(file: Path, folder: Path, depth: int = 0) -> list[str]:
    """A file's lines, with those of included files in place; none if it cannot be read.

    Relative Includes are below `folder`. What follows an Include belongs to the block that it stands in.
    """
    try:
        lines = file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
    block, out = "Host *", []
    for line in lines:
        keyword, value = split(line)
        if keyword in ("host", "match"):
            block = line
            out.append(line)
        elif keyword != "include":
            out.append(line)
        elif depth < DEPTH:
            for included in included_files(value, folder):
                out += [*lines_of(included, folder, depth + 1), block]
    return out


def split(line: str) -> tuple[str, str]:
    """The keyword in lower case, and what it is given. Both may be parted by blanks or by `=`."""
    match = re.match(r"\s*(\w+)(?:\s*=\s*|\s+)(.*?)\s*$", line)
    return (match[1].lower(), match[2]) if match else ("", "")


def included_files(value: str, folder: Path) -> list[Path]:
    patterns = [folder / Path(quoted or bare).expanduser() for quoted, bare in _WORD.findall(value)]
    return [path for pattern in patterns for path in sorted(Path("/").glob(str(pattern.relative_to("/"))))]


# Without OpenSSH.


@cache
def _paramiko_config() -> paramiko.SSHConfig:
    plain = [without_final(line) if split(line)[0] == "match" else line for line in ssh_config().splitlines()]
    try:
        return paramiko.SSHConfig.from_text("\n".join(plain))
    except (paramiko.SSHException, ValueError, OSError) as error:
        raise FleetError(f"~/.ssh/config: {error}") from error


def _by_paramiko(name: str) -> dict[str, list[str]]:
    found = _paramiko_config().lookup(name)
    facts = {key: value if isinstance(value, list) else [str(value)] for key, value in found.items()}
    facts.setdefault("identityfile", [f"~/.ssh/id_{kind}" for kind in ("ed25519", "ecdsa", "rsa")])
    return facts


def without_final(line: str) -> str:
    """A Match in words that Paramiko knows. `final` is for what Fedora says at the end of its own: to all, at last."""
    words = [word for word in line.split() if word.lower() != "final"]
    if len(words) == len(line.split()):
        return line
    return " ".join(words if len(words) > 1 else [*words, "all"])


def parsed_hop(hop: str) -> tuple[str | None, str, int | None]:
    """User, name and port of a hop of ProxyJump: `user@name:port`, `[v6]:port`, `ssh://user@name:port`."""
    user, _, rest = hop.removeprefix("ssh://").rstrip("/").rpartition("@")
    match = re.fullmatch(r"\[([^]]+)\](?::(\d+))?|([^:]+):(\d+)|(.+)", rest)
    if match is None:
        return user or None, rest, None
    port = match[2] or match[4]
    return user or None, match[1] or match[3] or match[5], int(port) if port else None
