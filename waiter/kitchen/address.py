"""Addresses of kitchens as they may be shown: the one place that knows where in them a secret may stand.

Whatever is no good address is shown with less rather than with more.
"""

from __future__ import annotations

import re

_CREDENTIALS = r"[^/]*:[^/]*@"
"""USER:PASSWORD@ in a part of a path: who forgot the scheme, or a slash of it."""

_OPTION = r"(authSource|replicaSet|tls|ssl|directConnection|loadBalanced)=[\w.-]*"
"""What of the options is needed to come in again, and can be no secret. All others are left out."""

HIDDEN = "…"

_STRAY_PERCENT = "%(?![0-9a-fA-F]{2})"
_PORT_OF_WORDS = r":[^\]:]*[^\d\]:][^\]:]*$"


def shown(url: str) -> str:
    """The address without user, password and whatever else could be secret."""
    if is_path(url):
        return re.sub(_CREDENTIALS, f"{HIDDEN}@", url)
    place, _, options = without_user(url).partition("?")
    kept = [option for option in options.split("&") if re.fullmatch(_OPTION, option, re.IGNORECASE)]
    return f"{place}?{'&'.join(kept)}" if kept else place


def without_user(url: str) -> str:
    """The address without user and password. A password with a bare @, / or ? is wrong, but stays unseen too."""
    scheme, slashes, rest = url.partition("://") if "://" in url else ("", "", url)
    place, question, options = rest.partition("?")
    if "@" in options:  # of the password or of an option: nobody can know
        return f"{scheme}{slashes}{HIDDEN}"
    return f"{scheme}{slashes}{place.rpartition('@')[2]}{question}{options}"


def has_bare_password(url: str) -> bool:
    """Whether a user or password stands in it with characters that only %XX may stand for: a driver would take a part
    of it for the host, for the database or for an option."""
    rest = url.partition("://")[2]
    authority = re.split("[/?]", rest)[0]
    path, _, options = rest[len(authority) :].partition("?")
    user, at, _ = authority.rpartition("@")
    if "@" in path:
        return True
    if at:
        return "@" in user or user.count(":") > 1 or re.search(_STRAY_PERCENT, user) is not None
    before, at, _ = options.partition("@")  # an option may hold one, too
    return bool(at) and (not path or "=" not in before or re.search(_PORT_OF_WORDS, authority) is not None)


def options_of(url: str) -> dict[str, str]:
    """The options of an address whose password is encoded, their names in lower case."""
    pairs = (option.partition("=") for option in re.split("[&;]", url.partition("?")[2]))
    return {name.lower(): value for name, _, value in pairs if name}


def weaker_writes(url: str) -> str | None:
    """The options that ask for other writes than a kitchen's, which wait for a majority and its journal; or None."""
    options = {} if is_path(url) or has_bare_password(url) else options_of(url)
    weaker = [f"w={options['w']}"] if options.get("w", "majority") != "majority" else []
    weaker += [f"{name}=false" for name in ("journal", "j") if options.get(name) == "false"]
    return " and ".join(weaker) or None


def user_of(url: str) -> str | None:
    """The user's name, if that is certain."""
    credentials, at, _ = url.partition("://")[2].rpartition("@")
    user = credentials.partition(":")[0]
    return user if at and not set(user) & set("/?@") else None


def is_path(url: str) -> bool:
    """Whether it is written as a path, and not as an address or a bare host."""
    return url.startswith(("sqlite:", "/", ".", "~")) or ("/" in url and "://" not in url)


def has_credentials(url: str) -> bool:
    """Whether a part of it looks like USER:PASSWORD@."""
    return re.search(_CREDENTIALS, url) is not None
