"""~/.ssh/config as one text: Paramiko, which reads it, knows neither Include nor `Match final`."""

from __future__ import annotations

import re
from pathlib import Path

DEPTH = 16
"""How deep Includes may nest, as in OpenSSH."""

_WORD = re.compile(r'"([^"]*)"|(\S+)')


def ssh_config() -> str:
    """The user's file, then the system's: the first value that is given for a host counts."""
    user, system = Path.home() / ".ssh/config", Path("/etc/ssh/ssh_config")
    return "\n".join([*lines_of(user, user.parent), "Host *", *lines_of(system, system.parent)]) + "\n"


def lines_of(file: Path, folder: Path, depth: int = 0) -> list[str]:
    """A file's lines, with those of included files in place; none if it cannot be read.

    Relative Includes are below `folder`. What follows an Include belongs to the block that it stands in.
    """
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    block, out = "Host *", []
    for line in lines:
        keyword, value = split(line)
        if keyword in ("host", "match"):
            block = without_final(line)
            out.append(block)
        elif keyword != "include":
            out.append(line)
        elif depth < DEPTH:
            for included in included_files(value, folder):
                out += [*lines_of(included, folder, depth + 1), block]
    return out


def without_final(line: str) -> str:
    """A Match in words that Paramiko knows. `final` is for what Fedora says at the end of its own: to all, at last."""
    words = [word for word in line.split() if word.lower() != "final"]
    if len(words) == len(line.split()):
        return line
    return " ".join(words if len(words) > 1 else [*words, "all"])


def split(line: str) -> tuple[str, str]:
    """The keyword in lower case, and what it is given. Both may be parted by blanks or by `=`."""
    match = re.match(r"\s*(\w+)(?:\s*=\s*|\s+)(.*?)\s*$", line)
    return (match[1].lower(), match[2]) if match else ("", "")


def included_files(value: str, folder: Path) -> list[Path]:
    patterns = [folder / Path(quoted or bare).expanduser() for quoted, bare in _WORD.findall(value)]
    return [path for pattern in patterns for path in sorted(Path("/").glob(str(pattern.relative_to("/"))))]
